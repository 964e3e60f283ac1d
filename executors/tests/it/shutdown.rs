//! The end of an executor: every future is dropped, once, and nothing hangs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use untether::Timer;
use untether_executors::{Local, Pool, PoolHandle, Spawn, block_on};

use crate::{Drops, PATIENCE, pending, yield_now};

#[test]
fn dropping_a_local_drops_every_future_once() {
    let drops = Drops::default();
    let local = Local::new();
    let (sender, _wakers) = mpsc::channel();
    let mut tasks = Vec::new();
    for i in 0..300 {
        let (counted, sender) = (drops.one(), sender.clone());
        let task = local.spawn(async move {
            let _counted = counted;
            match i % 3 {
                0 => pending(sender, 2).await,
                1 => drop(Timer::after(Duration::from_secs(3_600)).await),
                _ => {
                    std::future::pending::<()>().await;
                }
            }
        });
        if i % 2 == 0 {
            task.detach()
        } else {
            tasks.push(task)
        }
        if i == 200 {
            // The rest is never polled.
            local.run(yield_now());
        }
    }
    drop(local);
    assert_eq!(drops.count(), 300);
    drop(tasks);
    assert_eq!(drops.count(), 300);
}

#[test]
fn dropping_a_pool_drops_every_future_once() {
    for threads in [1, 2, 4] {
        let drops = Drops::default();
        let pool = Pool::new(threads).unwrap();
        let mut tasks = Vec::new();
        for i in 0..300 {
            let counted = drops.one();
            let task = pool.spawn(async move {
                let _counted = counted;
                if i % 2 == 0 {
                    Timer::after(Duration::from_secs(3_600)).await;
                }
                loop {
                    yield_now().await;
                }
            });
            if i % 3 == 0 {
                task.detach()
            } else {
                tasks.push(task)
            }
        }
        drop(pool);
        assert_eq!(drops.count(), 300);
        drop(tasks);
        assert_eq!(drops.count(), 300);
    }
}

#[test]
fn wakers_race_with_the_end() {
    // Other threads wake all the time: a task may be between "scheduled" and "queued" when the executor ends.
    let storm = |wakers: mpsc::Receiver<Waker>, stop: Arc<AtomicBool>| {
        move || {
            let wakers: Vec<_> = wakers.iter().take(20).collect();
            while !stop.load(SeqCst) {
                wakers.iter().for_each(Waker::wake_by_ref);
            }
        }
    };
    for round in 0..100 {
        let drops = Drops::default();
        let (sender, wakers) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn(storm(wakers, stop.clone()));
        let future = |drops: &Drops, sender: &mpsc::Sender<Waker>| {
            let (counted, sender) = (drops.one(), sender.clone());
            async move {
                let _counted = counted;
                pending(sender, usize::MAX).await;
            }
        };
        if round % 2 == 0 {
            let local = Local::new();
            for _ in 0..20 {
                local.spawn(future(&drops, &sender)).detach();
            }
            local.run(async {
                for _ in 0..round {
                    yield_now().await;
                }
            });
        } else {
            let pool = Pool::new(2).unwrap();
            for _ in 0..20 {
                pool.spawn(future(&drops, &sender)).detach();
            }
            pool.block_on(pool.spawn(yield_now()));
        }
        assert_eq!(drops.count(), 20);
        stop.store(true, SeqCst);
        drop(sender);
        thread.join().unwrap();
    }
}

#[test]
fn a_pool_may_be_dropped_by_its_own_task() {
    for threads in [1, 3] {
        let drops = Drops::default();
        let pool = Arc::new(Mutex::new(Some(Pool::new(threads).unwrap())));
        let (ended, end) = mpsc::channel();
        let guard = pool.lock().unwrap();
        for _ in 0..50 {
            let counted = drops.one();
            let future = async move {
                let _counted = counted;
                std::future::pending::<()>().await;
            };
            guard.as_ref().unwrap().spawn(future).detach();
        }
        struct TellAtEnd(mpsc::Sender<()>);
        impl Drop for TellAtEnd {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let task = guard.as_ref().unwrap().spawn({
            let (pool, tell) = (pool.clone(), TellAtEnd(ended));
            async move {
                let _tell = tell;
                let pool = pool.lock().unwrap().take();
                drop(pool);
                // Still running, and cancelled at this point.
                std::future::pending::<()>().await;
            }
        });
        task.detach();
        drop(guard);
        end.recv_timeout(PATIENCE).unwrap();
        let started = std::time::Instant::now();
        while drops.count() < 50 {
            assert!(started.elapsed() < PATIENCE);
            thread::yield_now();
        }
    }
}

#[test]
fn a_future_may_spawn_while_it_is_dropped() {
    struct SpawnInDrop(PoolHandle, Drops);
    impl Drop for SpawnInDrop {
        fn drop(&mut self) {
            let counted = self.1.one();
            let task = self.0.spawn(async move {
                let _counted = counted;
            });
            task.detach();
        }
    }

    let drops = Drops::default();
    let pool = Pool::new(2).unwrap();
    for _ in 0..20 {
        let guard = SpawnInDrop(pool.handle(), drops.clone());
        let future = async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        };
        pool.spawn(future).detach();
    }
    drop(pool);
    assert_eq!(drops.count(), 20);
}

#[test]
fn a_task_spawned_too_late_is_cancelled() {
    let (pool, local) = (Pool::new(1).unwrap(), Local::new());
    let (late, remote, handle) = (pool.handle(), local.remote(), local.handle());
    drop((pool, local));
    let drops = Drops::default();
    let (a, b, c) = (drops.one(), drops.one(), drops.one());
    let tasks = [
        late.spawn(async { drop(a) }),
        remote.spawn(async { drop(b) }),
        handle.spawn(async { drop(c) }),
    ];
    assert_eq!(drops.count(), 3);
    for task in tasks {
        assert_eq!(block_on(task.fallible()), None);
    }
}

#[test]
fn awaiting_a_task_of_a_dropped_executor_does_not_hang() {
    let pool = Pool::new(1).unwrap();
    let local = Local::new();
    let tasks = [
        pool.spawn(std::future::pending::<()>()),
        local.spawn(std::future::pending::<()>()),
    ];
    drop((pool, local));
    for task in tasks {
        assert!(catch_unwind(AssertUnwindSafe(|| block_on(task))).is_err());
    }
}

#[test]
fn who_waits_for_a_task_is_woken_when_the_executor_ends() {
    let pool = Pool::new(1).unwrap();
    let task = pool.spawn(std::future::pending::<()>());
    let (sender, waiting) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut task = Box::pin(task.fallible());
        block_on(std::future::poll_fn(|cx| {
            let poll = task.as_mut().poll(cx);
            let _ = sender.send(());
            poll
        }))
    });
    waiting.recv_timeout(PATIENCE).unwrap();
    drop(pool);
    assert_eq!(thread.join().unwrap(), None);
}

#[test]
fn a_remote_that_spawns_races_with_the_end_of_its_local() {
    for _ in 0..100 {
        let drops = Drops::default();
        let local = Local::new();
        let remote = local.remote();
        let (started, start) = mpsc::channel();
        let spawning = thread::spawn({
            let drops = drops.clone();
            move || {
                for i in 0..100 {
                    let counted = drops.one();
                    let task = Spawn::spawn(&remote, async move {
                        let _counted = counted;
                        std::future::pending::<()>().await;
                    });
                    task.detach();
                    if i == 10 {
                        started.send(()).unwrap();
                    }
                }
            }
        });
        start.recv_timeout(PATIENCE).unwrap();
        local.run(yield_now());
        drop(local);
        spawning.join().unwrap();
        assert_eq!(drops.count(), 100);
    }
}

#[test]
fn dropping_a_pool_frees_a_worker_that_blocks_on_a_task() {
    for threads in [1, 2] {
        let pool = Pool::new(threads).unwrap();
        let handle = pool.handle();
        let (blocking, blocked) = mpsc::channel();
        let (sender, outcome) = mpsc::channel();
        let task = pool.spawn(async move {
            let mut never = Box::pin(handle.spawn(std::future::pending::<()>()).fallible());
            let output = block_on(std::future::poll_fn(|cx| {
                let poll = never.as_mut().poll(cx);
                let _ = blocking.send(());
                poll
            }));
            sender.send(output).unwrap();
        });
        task.detach();
        blocked.recv_timeout(PATIENCE).unwrap();
        drop(pool);
        assert_eq!(outcome.try_recv(), Ok(None));
    }
}
