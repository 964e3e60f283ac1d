//! Functions that block, on threads of their own.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use untether::Timer;
use untether_executors::{Local, block_on, spawn_blocking};

use crate::PATIENCE;

#[test]
fn the_executor_goes_on_while_a_function_blocks() {
    let local = Local::new();
    let (release, released) = mpsc::channel();
    let blocked = local.spawn(async {
        let thread = spawn_blocking(move || {
            released.recv_timeout(PATIENCE).unwrap();
            thread::current().id()
        })
        .await;
        assert_ne!(thread, thread::current().id());
        "done"
    });
    let beside = local.spawn(async move {
        Timer::after(Duration::from_millis(1)).await;
        release.send(()).unwrap();
    });
    assert_eq!(local.run(blocked), "done");
    local.run(beside);
}

#[test]
fn a_panic_reaches_whoever_awaits() {
    let task = spawn_blocking(|| -> u32 { resume_unwind(Box::new("on purpose")) });
    let payload = catch_unwind(AssertUnwindSafe(|| block_on(task))).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
}

#[test]
fn what_has_begun_runs_to_its_end() {
    let (begin, begun) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let task = spawn_blocking(move || {
        begin.send(()).unwrap();
        released.recv_timeout(PATIENCE).unwrap();
        end.send(()).unwrap();
    });
    begun.recv_timeout(PATIENCE).unwrap();
    drop(task);
    release.send(()).unwrap();
    ended.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn what_is_dropped_before_it_begins_never_runs() {
    crate::in_a_process(
        "blocking::with_a_single_thread",
        &[("BLOCKING_MAX_THREADS", "1")],
    );
}

#[test]
#[ignore = "needs a process of its own, see above"]
fn with_a_single_thread() {
    let (release, released) = mpsc::channel::<()>();
    let first = spawn_blocking(move || released.recv_timeout(PATIENCE).unwrap());
    let (run, ran) = mpsc::channel();
    let second = spawn_blocking(move || run.send(()).unwrap());
    let third = spawn_blocking(|| 3);
    drop(second);
    release.send(()).unwrap();
    block_on(first);
    assert_eq!(block_on(third), 3);
    ran.recv_timeout(PATIENCE).unwrap_err();
}
