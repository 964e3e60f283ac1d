//! `Pool::shutdown`: what is begun is finished, or cancelled when the time is over, and counted.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use untether::Timer;
use untether_executors::{Pool, PoolHandle, block_on, yield_now};

use crate::{Drops, PATIENCE};

#[test]
fn a_pool_without_tasks_is_shut_down_at_once() {
    for threads in [1, 3] {
        assert_eq!(Pool::new(threads).unwrap().shutdown(Duration::MAX), 0);
        assert_eq!(Pool::new(threads).unwrap().shutdown(Duration::ZERO), 0);
    }
}

#[test]
fn tasks_come_to_their_end_and_so_do_those_that_they_start() {
    fn descend(handle: PoolHandle, depth: u32, done: Arc<AtomicUsize>) {
        let next = handle.clone();
        let task = async move {
            match depth % 3 {
                0 => drop(Timer::after(Duration::from_millis(1)).await),
                1 => yield_now().await,
                _ => {}
            }
            if depth > 0 {
                descend(next.clone(), depth - 1, done.clone());
                descend(next, depth - 1, done.clone());
            }
            done.fetch_add(1, SeqCst);
        };
        handle.spawn(task).detach();
    }
    for threads in [1, 2, 4] {
        let pool = Pool::new(threads).unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        descend(pool.handle(), 8, done.clone());
        assert_eq!(pool.shutdown(Duration::MAX), 0);
        assert_eq!(done.load(SeqCst), (1 << 9) - 1);
    }
}

#[test]
fn what_is_left_after_the_time_is_cancelled_and_counted() {
    for timeout in [Duration::ZERO, Duration::from_millis(5)] {
        let pool = Pool::new(2).unwrap();
        let drops = Drops::default();
        let finished = pool.spawn(async { 1 });
        assert_eq!(block_on(finished), 1);
        let tasks: Vec<_> = (0..30)
            .map(|n| {
                let counted = drops.one();
                pool.spawn(async move {
                    let _counted = counted;
                    match n % 3 {
                        0 => pending::<()>().await,
                        1 => drop(Timer::never().await),
                        // Always ready.
                        _ => loop {
                            yield_now().await;
                        },
                    }
                })
            })
            .collect();
        assert_eq!(pool.shutdown(timeout), 30);
        assert_eq!(drops.count(), 30);
        for task in tasks {
            assert_eq!(block_on(task.fallible()), None);
        }
    }
}

#[test]
fn cancelling_the_last_task_ends_the_wait() {
    let pool = Pool::new(2).unwrap();
    let task = pool.spawn(pending::<()>());
    let cancelling = thread::spawn(move || drop(task));
    // Dropped by its owner, not by us, unless both happen at once.
    assert!(pool.shutdown(Duration::MAX) <= 1);
    cancelling.join().unwrap();
}

#[test]
fn a_wake_of_another_thread_ends_the_wait() {
    for _ in 0..50 {
        let pool = Pool::new(2).unwrap();
        let (sender, wakers) = mpsc::channel::<Waker>();
        let waking = thread::spawn(move || wakers.iter().for_each(Waker::wake));
        for _ in 0..5 {
            pool.spawn(crate::pending(sender.clone(), 3)).detach();
        }
        drop(sender);
        assert_eq!(pool.shutdown(Duration::MAX), 0);
        waking.join().unwrap();
    }
}

#[test]
fn starting_tasks_races_with_the_end_and_none_is_lost() {
    for round in 0..50 {
        let pool = Pool::new(2).unwrap();
        let (started, start) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let spawning: Vec<_> = (0..2)
            .map(|_| {
                let (handle, started, stop) = (pool.handle(), started.clone(), stop.clone());
                thread::spawn(move || {
                    let mut tasks = Vec::new();
                    while !stop.load(SeqCst) && tasks.len() < 500 {
                        tasks.push(handle.spawn(async {
                            yield_now().await;
                        }));
                        let _ = started.send(());
                    }
                    tasks
                })
            })
            .collect();
        for _ in 0..round {
            start.recv_timeout(PATIENCE).unwrap();
        }
        assert_eq!(pool.shutdown(Duration::MAX), 0, "accepted, hence finished");
        stop.store(true, SeqCst);
        for thread in spawning {
            let tasks = thread.join().unwrap();
            let outcomes = tasks.into_iter().map(|task| block_on(task.fallible()));
            let outcomes: Vec<_> = outcomes.map(|outcome| outcome.is_some()).collect();
            // First those that were accepted, then those that came too late.
            assert!(outcomes.is_sorted_by(|earlier, later| earlier >= later));
        }
    }
}

#[test]
fn on_a_thread_of_the_pool_it_panics_and_drops_the_pool() {
    let pool = Pool::new(2).unwrap();
    let handle = pool.handle();
    let place = Arc::new(Mutex::new(Some(pool)));
    let (sender, outcome) = mpsc::channel();
    let task = handle.spawn(async move {
        let pool = place.lock().unwrap().take().unwrap();
        let shutdown = catch_unwind(AssertUnwindSafe(|| pool.shutdown(Duration::MAX)));
        sender.send(shutdown.is_err()).unwrap();
    });
    task.detach();
    assert_eq!(outcome.recv_timeout(PATIENCE), Ok(true));
    let late = handle.spawn(async {});
    assert_eq!(block_on(late.fallible()), None);
}

#[test]
fn a_task_of_another_pool_may_wait_for_it() {
    let (outer, inner) = (Pool::new(2).unwrap(), Pool::new(1).unwrap());
    let slow = inner.spawn(Timer::after(Duration::from_millis(2)));
    let handle = outer.handle();
    let cancelled = outer.block_on(outer.spawn(async move {
        // Queued on this worker, which is about to wait: it gives it away.
        let beside = handle.spawn(async { 7 });
        let cancelled = inner.shutdown(Duration::MAX);
        (cancelled, beside.await)
    }));
    assert_eq!(cancelled, (0, 7));
    assert!(slow.is_finished());
}
