//! What executors say about themselves is what has happened.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use untether_executors::{
    Class, Hooks, Local, Metrics, PerCore, Pool, Priority, block_on, yield_now,
};

use crate::{PATIENCE, pending};

/// Waits for what other threads do in their own time.
fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "it has not come to that");
        thread::yield_now();
    }
}

#[test]
fn of_a_local_they_follow_its_tasks() {
    let local = Local::new();
    let handle = local.handle();
    let first = local.spawn(async move { handle.metrics() });
    let second = local.spawn(yield_now());
    let third = local.spawn(std::future::pending::<()>());

    let metrics = local.metrics();
    assert_eq!((metrics.queued, metrics.running), (3, 0));
    assert_eq!((metrics.alive, metrics.spawned), (3, 3));
    assert_eq!((metrics.polls, metrics.parks, metrics.stolen), (0, 0, 0));

    let inside = local.run(first);
    assert_eq!((inside.queued, inside.running, inside.polls), (2, 1, 1));
    local.run(second);
    let metrics = local.metrics();
    // One poll of the first, two of the second, one of the third.
    assert_eq!((metrics.polls, metrics.spawned), (4, 3));
    assert_eq!(
        (metrics.queued, metrics.running, metrics.alive),
        (0, 0, 1),
        "the third is left, and waits"
    );

    // It is alive until its executor drops its future.
    drop(third);
    assert_eq!((local.metrics().queued, local.metrics().alive), (1, 1));
    assert!(local.try_tick());
    assert_eq!((local.metrics().queued, local.metrics().alive), (0, 0));
}

#[test]
fn what_the_running_task_wakes_is_queued_as_well() {
    let local = Local::new();
    let handle = local.handle();
    let task = local.spawn(async move {
        // The last one runs next, and waits in a place of its own.
        handle.spawn(async {}).detach();
        handle.spawn(async {}).detach();
        handle.metrics().queued
    });
    assert_eq!(local.run(task), 2);
    assert_eq!(local.metrics().queued, 2);
}

#[test]
fn a_thread_that_waits_has_gone_to_sleep_once() {
    let local = Local::new();
    let remote = local.remote();
    let (sender, wakers) = mpsc::channel::<Waker>();
    let waker = thread::spawn(move || {
        let waker = wakers.recv().unwrap();
        until(|| remote.metrics().parks == 1);
        assert_eq!(remote.metrics().running, 0);
        waker.wake();
    });
    local.run(local.spawn(pending(sender, 1)));
    assert_eq!(local.metrics().parks, 1);
    waker.join().unwrap();
}

#[test]
fn those_of_a_pool_are_the_sum_of_its_threads() {
    let pool = Pool::new(2).unwrap();
    let tasks: Vec<_> = (0..100).map(|_| pool.spawn(yield_now())).collect();
    block_on(async {
        for task in tasks {
            task.await;
        }
    });
    let handle = pool.handle();
    until(|| handle.metrics().running == 0);
    let (all, threads) = (pool.metrics(), pool.thread_metrics());
    assert_eq!(threads.len(), 2);
    assert_eq!((all.spawned, all.alive, all.queued), (100, 0, 0));
    assert_eq!(all.polls, 200);
    let polls: u64 = threads.iter().map(|thread| thread.polls).sum();
    assert_eq!(polls, 200);
    // All were started here, on none of its threads.
    assert!(threads.iter().all(|thread| thread.spawned == 0));
}

#[test]
fn a_task_that_another_thread_takes_is_stolen() {
    for threads in [2, 4] {
        let pool = Pool::new(threads).unwrap();
        let handle = pool.handle();
        let task = pool.spawn(async move {
            // More than the one that would run next; this thread does not get to them.
            let (done, finished) = mpsc::channel();
            for _ in 0..10 {
                let done = done.clone();
                handle.spawn(async move { done.send(()).unwrap() }).detach();
            }
            for _ in 0..10 {
                finished.recv_timeout(PATIENCE).unwrap();
            }
            handle.metrics()
        });
        let metrics: Metrics = block_on(task);
        // Some may have been stolen more than once, but none was run where it was started.
        assert!(metrics.stolen >= 10, "{metrics:?}");
        assert_eq!(metrics.spawned, 11);
        let of_threads = pool.thread_metrics().into_iter();
        let mut spawned: Vec<_> = of_threads.map(|thread| thread.spawned).collect();
        spawned.sort_unstable();
        assert_eq!(spawned.pop(), Some(10));
        assert!(spawned.iter().all(|spawned| *spawned == 0));
    }
}

#[test]
fn nothing_is_stolen_by_a_single_thread() {
    let pool = Pool::new(1).unwrap();
    for _ in 0..100 {
        block_on(pool.spawn(yield_now()));
    }
    let metrics = pool.metrics();
    assert_eq!((metrics.stolen, metrics.polls), (0, 200));
}

#[test]
fn a_pool_without_work_sleeps_and_says_so() {
    let pool = Pool::new(2).unwrap();
    let asleep = || pool.thread_metrics().iter().all(|thread| thread.parks > 0);
    until(asleep);
    assert_eq!(pool.metrics().running, 0);
}

#[test]
fn the_longest_poll_is_known_only_if_asked_for() {
    let nap = || async {
        thread::sleep(Duration::from_millis(3));
        yield_now().await;
    };
    let three = Some(Duration::from_millis(3));

    let local = Local::new();
    local.run(local.spawn(nap()));
    assert_eq!(local.metrics().longest_poll, None);

    let hooks = Hooks::new().time_polls();
    let local = Local::with_hooks(hooks.clone());
    local.run(local.spawn(async {}));
    let short = local.metrics().longest_poll;
    assert!(short.is_some());
    local.run(local.spawn(nap()));
    let long = local.metrics().longest_poll;
    assert!(long >= three && long > short);
    local.run(local.spawn(async {}));
    assert_eq!(local.metrics().longest_poll, long);

    // Two executors with the same hooks do not mix theirs up.
    let pool = Pool::builder()
        .threads(2)
        .hooks(hooks.clone())
        .build()
        .unwrap();
    assert_eq!(pool.metrics().longest_poll, None);
    block_on(pool.spawn(nap()));
    assert!(pool.metrics().longest_poll >= three);
    let longest = pool.thread_metrics().into_iter();
    assert_eq!(
        longest.map(|thread| thread.longest_poll).max().unwrap(),
        pool.metrics().longest_poll
    );

    let priority = Priority::builder()
        .threads(2)
        .hooks(hooks.clone())
        .build()
        .unwrap();
    assert_eq!(priority.metrics().longest_poll, None);
    block_on(priority.spawn_at(Class::Background, nap()));
    assert!(priority.metrics().longest_poll >= three);

    // Another hook that needs the time takes it.
    let hooks = Hooks::new().warn_of_slow_polls(Duration::from_secs(3_600));
    let cores = PerCore::builder().cores(2).hooks(hooks).build().unwrap();
    block_on(cores.spawn_on(1, nap));
    let [first, second] = &cores.core_metrics()[..] else {
        panic!("two cores");
    };
    assert!(first.longest_poll.is_none() && second.longest_poll >= three);
}

#[test]
fn of_a_per_core_they_are_each_cores_own() {
    let cores = PerCore::new(2).unwrap();
    block_on(cores.spawn_on(1, || async {
        for _ in 0..5 {
            let forever = async {
                loop {
                    yield_now().await;
                }
            };
            PerCore::spawn_here(forever).detach();
        }
    }));
    // Seen from here, as of its last look at I/O.
    until(|| cores.core_metrics()[1].queued == 5);
    until(|| cores.core_metrics()[1].running == 1);
    until(|| cores.core_metrics()[0].parks > 0);
    let [first, second] = &cores.core_metrics()[..] else {
        panic!("two cores");
    };
    assert_eq!((first.polls, first.spawned, first.queued), (0, 0, 0));
    // What carried the output back is one, and what it carried.
    assert_eq!((second.alive, second.spawned), (5, 7));
    assert_eq!(cores.metrics().spawned, 7);
}

#[test]
fn of_a_priority_they_tell_the_classes_apart() {
    let priority = Priority::new(1).unwrap();
    let (open, opened) = mpsc::channel::<()>();
    let (arrive, arrived) = mpsc::channel();
    let gate = priority.spawn(async move {
        arrive.send(()).unwrap();
        let _ = opened.recv();
    });
    arrived.recv_timeout(PATIENCE).unwrap();
    let classes = [Class::Urgent, Class::Normal, Class::Background];
    let mut tasks = Vec::new();
    for (class, count) in classes.into_iter().zip([1, 2, 3]) {
        tasks.extend((0..count).map(|_| priority.spawn_at(class, yield_now())));
    }
    assert_eq!(classes.map(|class| priority.queued(class)), [1, 2, 3]);
    let metrics = priority.metrics();
    assert_eq!((metrics.queued, metrics.running), (6, 1));
    assert_eq!(
        (metrics.alive, metrics.spawned, metrics.polls),
        (7, 7, 1),
        "the gate is one"
    );

    drop(open);
    block_on(async {
        gate.await;
        for task in tasks {
            task.await;
        }
    });
    assert_eq!(classes.map(|class| priority.queued(class)), [0, 0, 0]);
    let handle = priority.handle(Class::Urgent);
    until(|| handle.metrics().running == 0);
    let metrics = handle.metrics();
    assert_eq!((metrics.alive, metrics.polls), (0, 13));
    until(|| handle.metrics().parks > 0);
}

#[test]
fn they_can_be_read_while_everything_moves() {
    let pool = Pool::new(3).unwrap();
    let ended = Arc::new(AtomicUsize::new(0));
    for _ in 0..30 {
        let (ended, handle) = (ended.clone(), pool.handle());
        let busy = async move {
            for _ in 0..300 {
                handle.spawn(yield_now()).detach();
                yield_now().await;
            }
            ended.fetch_add(1, SeqCst);
        };
        pool.spawn(busy).detach();
    }
    let mut before = pool.metrics();
    until(|| {
        let now = pool.metrics();
        assert!(now.running <= 3);
        assert!(now.alive as u64 <= now.spawned);
        ended.load(SeqCst) == 30
    });
    // What grows, never shrinks.
    for _ in 0..100 {
        let now = pool.metrics();
        assert!(now.polls >= before.polls && now.spawned >= before.spawned);
        assert!(now.stolen >= before.stolen && now.parks >= before.parks);
        before = now;
    }
    until(|| pool.metrics().alive == 0);
    assert_eq!(pool.metrics().spawned, 30 + 30 * 300);
    assert_eq!(pool.metrics().polls, 30 * 301 + 2 * 30 * 300);
}
