//! Many tasks, woken from everywhere, in bounded time.

use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::{future::Future, pin::Pin, thread};

use untether_executors::{
    Class, Local, PerCore, Pool, PoolHandle, Priority, Spawn, Task, block_on,
};

use crate::{Drops, pending, yield_now};

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

#[test]
fn foreign_threads_start_wake_and_cancel_all_at_once() {
    for threads in [1, 2, 4] {
        let drops = Drops::default();
        let pool = Pool::new(threads).unwrap();
        let kept: Mutex<Vec<Waker>> = Mutex::default();
        thread::scope(|scope| {
            for thread in 0..4usize {
                let (pool, drops, kept) = (&pool, &drops, &kept);
                scope.spawn(move || {
                    let (sender, wakers) = mpsc::channel::<Waker>();
                    let mut tasks = Vec::new();
                    for n in 0..2_000usize {
                        let (counted, sender) = (drops.one(), sender.clone());
                        let task = pool.spawn(async move {
                            let _counted = counted;
                            pending(sender, n % 4).await;
                        });
                        match (n + thread) % 3 {
                            0 => drop(task),
                            1 => task.detach(),
                            _ => tasks.push(task),
                        }
                        for waker in wakers.try_iter() {
                            waker.wake_by_ref();
                            // Others wake it as well, at any time.
                            let mut kept = kept.lock().unwrap();
                            if kept.len() < 64 {
                                kept.push(waker);
                            } else {
                                kept[n % 64].wake_by_ref();
                                waker.wake();
                            }
                        }
                    }
                    drop(sender);
                    for (n, task) in tasks.into_iter().enumerate() {
                        wakers.try_iter().for_each(Waker::wake);
                        if n % 2 == 0 {
                            drop(task);
                        } else {
                            task.detach();
                        }
                    }
                    // Ends when no task is left that could send.
                    wakers.iter().for_each(Waker::wake);
                });
            }
        });
        drop(pool);
        assert_eq!(drops.count(), 4 * 2_000);
    }
}

#[test]
fn waking_drops_tasks_and_starts_others() {
    /// Cancels a task and starts another, inside the wake of a third.
    struct Domino {
        pool: PoolHandle,
        falls: Mutex<Option<Task<()>>>,
        drops: Drops,
    }

    impl Wake for Domino {
        fn wake(self: Arc<Self>) {
            drop(self.falls.lock().unwrap().take());
            let counted = self.drops.one();
            self.pool.spawn(async move { drop(counted) }).detach();
        }
    }

    let drops = Drops::default();
    let pool = Pool::new(2).unwrap();
    for n in 0..2_000 {
        let counted = drops.one();
        let falls = pool.spawn(async move {
            let _counted = counted;
            std::future::pending::<()>().await;
        });
        let domino = Arc::new(Domino {
            pool: pool.handle(),
            falls: Mutex::new(Some(falls)),
            drops: drops.clone(),
        });
        // A worker wakes it when the first task is done.
        let mut first = pool.spawn(async move {
            if n % 2 == 0 {
                yield_now().await;
            }
        });
        let waker = Waker::from(domino.clone());
        match Pin::new(&mut first).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => waker.wake(),
            Poll::Pending => first.detach(),
        }
    }
    // All have been woken, since none but the dominoes can end the tasks that are pending.
    assert_eq!(pool.shutdown(std::time::Duration::MAX), 0);
    assert_eq!(drops.count(), 2 * 2_000);
}
