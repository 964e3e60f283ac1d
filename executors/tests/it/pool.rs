//! Work stealing.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use untether::{Reactor, Timer};
use untether_executors::{Local, Pool, Spawn, block_on};

use crate::{PATIENCE, pending, yield_now};

#[test]
fn tasks_are_spawned_from_outside_and_inside() {
    let pool = Pool::new(2).unwrap();
    let handle = pool.handle();
    let task = pool.spawn(async move {
        let mut sum = 0;
        for n in 1..=100 {
            sum += handle.spawn(async move { n }).await;
        }
        sum
    });
    assert_eq!(block_on(task), 5050);
}

#[test]
fn a_given_reactor_is_the_threads_and_ends_with_the_pool() {
    let reactor = Reactor::builder()
        .spin(Duration::from_micros(20))
        .build()
        .unwrap();
    let builder = Pool::builder().threads(2).reactor(reactor.clone());
    let pool = builder.build().unwrap();
    assert_eq!(*pool.reactor(), reactor);
    let current = pool.spawn(async {
        for _ in 0..100 {
            Timer::after(Duration::from_micros(10)).await;
        }
        Reactor::current()
    });
    assert_eq!(block_on(current), reactor);
    drop(pool);
    assert!(!reactor.is_alive());
}

#[test]
fn each_thread_is_told_when_it_starts_and_stops() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let log = log.clone();
        move |thread: usize| {
            log.lock()
                .unwrap()
                .push((what, thread, thread::current().id()));
            // Harms nobody.
            std::panic::resume_unwind(Box::new("in a hook"));
        }
    };
    let pool = Pool::builder()
        .threads(3)
        .pin(true)
        .on_start(note("start"))
        .on_stop(note("stop"))
        .build()
        .unwrap();
    assert_eq!(block_on(pool.spawn(async { 1 })), 1);
    drop(pool);
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 6);
    for number in 0..3 {
        let of_thread: Vec<_> = log.iter().filter(|entry| entry.1 == number).collect();
        assert_eq!((of_thread[0].0, of_thread[1].0), ("start", "stop"));
        assert_eq!(of_thread[0].2, of_thread[1].2);
        assert_ne!(of_thread[0].2, thread::current().id());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn threads_can_be_bound_to_processors() {
    let allowed = async {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap().trim().to_string()
    };
    let pool = Pool::builder().threads(1).pin(true).build().unwrap();
    let list = block_on(pool.spawn(allowed));
    list.parse::<usize>().expect("one processor, not a list");
}

#[test]
fn all_workers_work_at_once() {
    let pool = Pool::new(4).unwrap();
    let meeting = Arc::new(Barrier::new(4));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let meeting = meeting.clone();
            pool.spawn(async move {
                meeting.wait();
                thread::current().id()
            })
        })
        .collect();
    let threads: HashSet<_> = pool.block_on(async {
        let mut threads = HashSet::new();
        for task in tasks {
            threads.insert(task.await);
        }
        threads
    });
    assert_eq!(threads.len(), 4);
}

#[test]
fn all_workers_work_at_once_on_what_one_of_them_spawned() {
    let pool = Pool::new(4).unwrap();
    let handle = pool.handle();
    let meeting = Arc::new(Barrier::new(4));
    pool.block_on(pool.spawn(async move {
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let meeting = meeting.clone();
                handle.spawn(async move {
                    meeting.wait();
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
    }));
}

#[test]
fn a_task_that_does_not_return_does_not_hold_what_it_woke() {
    let pool = Pool::new(2).unwrap();
    let (sender, wakers) = mpsc::channel::<Waker>();
    let woken = pool.spawn(pending(sender, 1));
    let waker = wakers.recv_timeout(PATIENCE).unwrap();
    let (done, finished) = mpsc::channel();
    let watcher = pool.spawn(async move {
        woken.await;
        done.send(Instant::now()).unwrap();
    });
    let late = pool.block_on(pool.spawn(async move {
        let start = Instant::now();
        // Into our own slot, and then we do not return until somebody else has run it.
        waker.wake();
        finished.recv_timeout(PATIENCE).unwrap() - start
    }));
    block_on(watcher);
    // 1 to 2 ms by itself; but this machine may be busy.
    assert!(late < Duration::from_secs(1), "{late:?}");
}

#[test]
fn a_task_that_does_not_return_does_not_hold_up_timers() {
    let pool = Pool::new(2).unwrap();
    let (done, finished) = mpsc::channel();
    let timer = pool.spawn(async move {
        for _ in 0..5 {
            Timer::after(Duration::from_millis(2)).await;
        }
        done.send(()).unwrap();
    });
    pool.block_on(pool.spawn(async move { finished.recv_timeout(PATIENCE).unwrap() }));
    block_on(timer);
}

#[test]
fn a_task_that_blocks_on_another_gives_its_queue_away() {
    let pool = Pool::new(2).unwrap();
    let handle = pool.handle();
    let sum = pool.block_on(pool.spawn(async move {
        let tasks: Vec<_> = (0..100).map(|n| handle.spawn(async move { n })).collect();
        // All of them are queued on this worker.
        block_on(async {
            let mut sum = 0;
            for task in tasks {
                sum += task.await;
            }
            Timer::after(Duration::from_millis(1)).await;
            sum
        })
    }));
    assert_eq!(sum, 4950);
}

#[test]
fn a_local_runs_inside_a_task() {
    let pool = Pool::new(1).unwrap();
    let output = pool.block_on(pool.spawn(async {
        let local = Local::new();
        let task = local.spawn(async {
            Timer::after(Duration::from_millis(1)).await;
            "local"
        });
        local.run(task)
    }));
    assert_eq!(output, "local");
}

#[test]
fn a_busy_pool_serves_the_injector_and_timers() {
    let pool = Pool::new(1).unwrap();
    pool.spawn(async {
        loop {
            yield_now().await;
        }
    })
    .detach();
    let wakers: [Arc<Mutex<Option<Waker>>>; 2] = Default::default();
    for i in 0..2 {
        let [own, other] = [wakers[i].clone(), wakers[1 - i].clone()];
        let ping = poll_fn::<(), _>(move |cx| {
            *own.lock().unwrap() = Some(cx.waker().clone());
            let other = other.lock().unwrap().take();
            if let Some(waker) = other {
                waker.wake();
            }
            Poll::Pending
        });
        pool.spawn(ping).detach();
    }
    for _ in 0..10 {
        block_on(pool.spawn(Timer::after(Duration::from_micros(100))));
    }
}

#[test]
fn more_tasks_than_a_ring_holds_are_run_all() {
    let pool = Pool::new(2).unwrap();
    let handle = pool.handle();
    let sum = pool.block_on(pool.spawn(async move {
        let tasks: Vec<_> = (0..5_000).map(|n| handle.spawn(async move { n })).collect();
        let mut sum = 0u64;
        for task in tasks {
            sum += task.await;
        }
        sum
    }));
    assert_eq!(sum, 4_999 * 5_000 / 2);
}

#[test]
fn two_pools_wake_each_others_tasks() {
    let pools = [Pool::new(2).unwrap(), Pool::new(1).unwrap()];
    let handles = [pools[0].handle(), pools[1].handle()];
    let task = pools[0].spawn(async move {
        let mut sum = 0;
        for n in 0..1_000 {
            sum += handles[n % 2].spawn(async move { n }).await;
        }
        sum
    });
    assert_eq!(pools[1].block_on(task), 499_500);
}

#[test]
fn it_is_a_spawner_also_through_dyn_and_arc() {
    let pool = Arc::new(Pool::new(1).unwrap());
    let shared: Arc<dyn Spawn + Send + Sync> = Arc::new(pool.handle());
    let (sender, receiver) = mpsc::channel();
    shared
        .spawn_boxed(Box::pin(async move { sender.send(1).unwrap() }))
        .detach();
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(block_on(Spawn::spawn(&pool, async { 2 })), 2);
}

#[test]
fn it_is_built_with_a_name_and_no_fewer_than_one_thread() {
    let pool = Pool::builder().threads(0).name("tester").build().unwrap();
    let name = block_on(pool.spawn(async { thread::current().name().map(String::from) }));
    assert_eq!(name.as_deref(), Some("tester-0"));
    assert!(Pool::builder().name("a\0b").build().is_err());
}
