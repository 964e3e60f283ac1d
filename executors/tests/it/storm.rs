//! Many tasks, woken from everywhere, in bounded time.

use std::sync::mpsc;
use std::task::Waker;
use std::thread;

use untether_executors::{Class, Local, PerCore, Pool, Priority, Spawn, Task, block_on};

use crate::{pending, yield_now};

/// Tasks that spawn, yield, wait for other threads, and for each other. Returns a sum that shows that all have run.
fn storm(
    spawner: &(impl Spawn + Clone + Send + 'static),
    tasks: u64,
    wakers: Vec<mpsc::Sender<Waker>>,
) -> Task<u64> {
    let spawner = spawner.clone();
    let parent = spawner.clone();
    parent.spawn(async move {
        let started: Vec<_> = (0..tasks / 4)
            .map(|n| {
                let waker = wakers[n as usize % wakers.len()].clone();
                let spawner2 = spawner.clone();
                spawner.spawn(async move {
                    let child = spawner2.spawn(async move { n });
                    if n % 10 == 0 {
                        pending(waker, 2).await;
                    }
                    yield_now().await;
                    let grandchildren = [1, 2].map(|k| spawner2.spawn(async move { k }));
                    let mut sum = child.await;
                    for grandchild in grandchildren {
                        sum += grandchild.await;
                    }
                    sum
                })
            })
            .collect();
        let mut sum = 0;
        for task in started {
            sum += task.await;
        }
        sum
    })
}

fn check(run: impl FnOnce(u64, Vec<mpsc::Sender<Waker>>) -> u64) {
    let (senders, threads): (Vec<_>, Vec<_>) = (0..2)
        .map(|_| {
            let (sender, wakers) = mpsc::channel::<Waker>();
            (
                sender,
                thread::spawn(move || wakers.iter().for_each(Waker::wake)),
            )
        })
        .unzip();
    let tasks = 100_000;
    let sum = run(tasks, senders);
    let parents = tasks / 4;
    assert_eq!(sum, parents * (parents - 1) / 2 + 3 * parents);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_pool_runs_a_hundred_thousand_tasks() {
    for threads in [1, 2, 4, 8] {
        let pool = Pool::new(threads).unwrap();
        check(|tasks, wakers| block_on(storm(&pool.handle(), tasks, wakers)));
    }
}

#[test]
fn a_local_runs_a_hundred_thousand_tasks() {
    let local = Local::new();
    check(|tasks, wakers| local.run(storm(&local.remote(), tasks, wakers)));
}

#[test]
fn a_per_core_runs_a_hundred_thousand_tasks() {
    let cores = PerCore::new(3).unwrap();
    check(|tasks, wakers| block_on(storm(&cores.handle(), tasks, wakers)));
}

#[test]
fn a_priority_runs_a_hundred_thousand_tasks() {
    let priority = Priority::new(3).unwrap();
    check(|tasks, wakers| block_on(storm(&priority.handle(Class::Normal), tasks, wakers)));
}

#[test]
fn tasks_injected_one_by_one_all_run() {
    // The pool falls asleep between any two: each must wake it again.
    for threads in [1, 2, 4] {
        let pool = Pool::new(threads).unwrap();
        for n in 0..2_000 {
            assert_eq!(block_on(pool.spawn(async move { n })), n);
        }
    }
}
