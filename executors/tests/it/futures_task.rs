//! The executors take futures from libraries that know `futures` only.

use std::sync::mpsc;

use futures::task::{FutureObj, LocalFutureObj, LocalSpawn, Spawn};
use untether_executors::{Class, Local, PerCore, Pool, Priority, block_on, yield_now};

use crate::PATIENCE;

fn check(spawner: &dyn Spawn, run: impl FnOnce()) {
    let (sender, receiver) = mpsc::channel();
    let future = async move {
        yield_now().await;
        sender.send(()).unwrap();
    };
    spawner.status().unwrap();
    spawner.spawn_obj(FutureObj::new(Box::new(future))).unwrap();
    run();
    receiver.recv_timeout(PATIENCE).unwrap();
}

fn check_local(spawner: &dyn LocalSpawn, run: impl FnOnce()) {
    let (sender, receiver) = mpsc::channel();
    let future = async move {
        yield_now().await;
        sender.send(()).unwrap();
    };
    spawner.status_local().unwrap();
    spawner
        .spawn_local_obj(LocalFutureObj::new(Box::new(future)))
        .unwrap();
    run();
    receiver.recv_timeout(PATIENCE).unwrap();
}

fn nothing() -> FutureObj<'static, ()> {
    FutureObj::new(Box::new(async {}))
}

#[test]
fn in_a_pool() {
    let pool = Pool::new(2).unwrap();
    let handle = pool.handle();
    check(&pool, || {});
    check(&handle, || {});
    drop(pool);
    assert!(handle.spawn_obj(nothing()).unwrap_err().is_shutdown());
}

#[test]
fn in_a_priority() {
    let priority = Priority::new(2).unwrap();
    let handle = priority.handle(Class::Background);
    check(&priority, || {});
    check(&handle, || {});
    drop(priority);
    assert!(handle.spawn_obj(nothing()).unwrap_err().is_shutdown());
}

#[test]
fn in_a_per_core() {
    let cores = PerCore::new(2).unwrap();
    let handle = cores.handle();
    check(&cores, || {});
    check(&handle, || {});
    block_on(cores.spawn_on(1, || async {
        let (sender, receiver) = mpsc::channel();
        let future = async move { sender.send(()).unwrap() };
        let here = PerCore::here().unwrap();
        here.spawn_local_obj(LocalFutureObj::new(Box::new(future)))
            .unwrap();
        yield_now().await;
        receiver.try_recv().unwrap();
    }));
    drop(cores);
    assert!(handle.spawn_obj(nothing()).unwrap_err().is_shutdown());
}

#[test]
fn in_a_local() {
    let local = Local::new();
    let run = || {
        local.run(async {
            for _ in 0..3 {
                yield_now().await;
            }
        })
    };
    let (handle, remote) = (local.handle(), local.remote());
    check(&local, run);
    check(&remote, run);
    check_local(&local, run);
    check_local(&handle, run);
    drop(local);
    assert!(remote.spawn_obj(nothing()).unwrap_err().is_shutdown());
    let future = LocalFutureObj::new(Box::new(async {}));
    assert!(handle.spawn_local_obj(future).unwrap_err().is_shutdown());
}
