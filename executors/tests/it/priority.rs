//! Classes: the upper get more turns, and none starves.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use futures_lite::future::zip;
use untether::Timer;
use untether_executors::{
    Class, Hooks, Priority, PriorityHandle, Spawn, TaskId, block_on, spawn_blocking,
};

use crate::{Drops, PATIENCE, pending, yield_now};

const CLASSES: [Class; 3] = [Class::Urgent, Class::Normal, Class::Background];
const WEIGHTS: [usize; 3] = [16, 4, 1];

/// Occupies all threads until the guard is dropped.
fn gate(priority: &Priority, threads: usize) -> mpsc::Sender<()> {
    let (open, opened) = mpsc::channel::<()>();
    let opened = Arc::new(Mutex::new(opened));
    let (arrive, arrived) = mpsc::channel();
    for _ in 0..threads {
        let (opened, arrive) = (opened.clone(), arrive.clone());
        let wait = async move {
            arrive.send(()).unwrap();
            // All end when the sender is gone.
            let _ = opened.lock().unwrap().recv();
        };
        priority.spawn_at(Class::Urgent, wait).detach();
    }
    for _ in 0..threads {
        arrived.recv_timeout(PATIENCE).unwrap();
    }
    open
}

#[test]
fn every_21_turns_in_a_row_are_shared_out_as_16_and_4_and_1() {
    let priority = Priority::new(1).unwrap();
    let open = gate(&priority, 1);
    let turns = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for class in CLASSES {
        for _ in 0..3 {
            let turns = turns.clone();
            tasks.push(priority.spawn_at(class, async move {
                while {
                    let mut turns = turns.lock().unwrap();
                    turns.push(class);
                    turns.len() < 2_100
                } {
                    yield_now().await;
                }
            }));
        }
    }
    drop(open);
    block_on(async {
        for task in tasks {
            task.await;
        }
    });
    let turns = turns.lock().unwrap();
    for window in turns[..2_100].windows(21) {
        for (class, weight) in CLASSES.into_iter().zip(WEIGHTS) {
            let count = window.iter().filter(|turn| **turn == class).count();
            assert_eq!(count, weight, "{class:?} in {window:?}");
        }
    }
}

#[test]
fn a_single_background_task_waits_for_at_most_20_others() {
    let priority = Priority::new(1).unwrap();
    let others = Arc::new(AtomicUsize::new(0));
    for class in [Class::Urgent, Class::Normal] {
        for _ in 0..10 {
            let others = others.clone();
            let busy = async move {
                loop {
                    others.fetch_add(1, SeqCst);
                    yield_now().await;
                }
            };
            priority.spawn_at(class, busy).detach();
        }
    }
    let task = priority.spawn_at(Class::Background, async move {
        let mut longest = 0;
        for _ in 0..1_000 {
            let before = others.load(SeqCst);
            yield_now().await;
            longest = longest.max(others.load(SeqCst) - before);
        }
        longest
    });
    assert_eq!(block_on(task), 20);
}

#[test]
fn with_several_threads_the_shares_are_the_same() {
    const THREADS: usize = 3;
    const TURNS: usize = 42_000;
    let priority = Priority::new(THREADS).unwrap();
    let open = gate(&priority, THREADS);
    let turns: Arc<[AtomicUsize; 3]> = Arc::default();
    let total = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for class in CLASSES {
        // Enough that the queue is never empty.
        for _ in 0..4 * THREADS {
            let (turns, total) = (turns.clone(), total.clone());
            tasks.push(priority.spawn_at(class, async move {
                while total.fetch_add(1, SeqCst) < TURNS {
                    turns[class as usize].fetch_add(1, SeqCst);
                    yield_now().await;
                }
            }));
        }
    }
    drop(open);
    block_on(async {
        for task in tasks {
            task.await;
        }
    });
    for (class, weight) in CLASSES.into_iter().zip(WEIGHTS) {
        let had = turns[class as usize].load(SeqCst);
        let due = TURNS / 21 * weight;
        // A rota that was begun at the start, one at the end, and what the threads had in hand.
        assert!(
            had.abs_diff(due) <= 2 * weight + THREADS,
            "{class:?} had {had} of {due}"
        );
    }
}

#[test]
fn what_a_class_does_not_use_goes_to_the_others() {
    let priority = Priority::builder()
        .threads(1)
        .weights(1, 1, 250)
        .build()
        .unwrap();
    let mut count = 0;
    let task = priority.spawn_at(Class::Urgent, async move {
        while count < 10_000 {
            count += 1;
            yield_now().await;
        }
        count
    });
    assert_eq!(block_on(task), 10_000);
}

#[test]
fn the_urgent_overtake_those_who_wait_already() {
    let priority = Priority::new(1).unwrap();
    let open = gate(&priority, 1);
    let order = Arc::new(Mutex::new(Vec::new()));
    let spawn = |class, n: usize| {
        for _ in 0..n {
            let order = order.clone();
            priority
                .spawn_at(class, async move { order.lock().unwrap().push(class) })
                .detach();
        }
    };
    spawn(Class::Background, 1_000);
    spawn(Class::Urgent, 10);
    let last = priority.spawn_at(Class::Background, async {});
    drop(open);
    block_on(last);
    let order = order.lock().unwrap();
    let done = order.iter().rposition(|class| *class == Class::Urgent);
    // Ten of their own, and two turns of each of the others at most.
    assert!(done.unwrap() < 21, "{done:?}");
}

#[test]
fn tasks_of_all_classes_wait_for_timers_threads_and_each_other() {
    for threads in [1, 3] {
        let priority = Priority::new(threads).unwrap();
        let (sender, wakers) = mpsc::channel::<Waker>();
        let waker = thread::spawn(move || wakers.iter().for_each(Waker::wake));
        let mut tasks = Vec::new();
        for n in 0..60 {
            let spawner = priority.handle(CLASSES[n % 3]);
            let inner = spawner.at(CLASSES[(n + 1) % 3]);
            let sender = sender.clone();
            tasks.push(spawner.spawn(async move {
                zip(Timer::after(Duration::from_millis(1)), pending(sender, 20)).await;
                inner.spawn(async { 1 }).await + spawn_blocking(|| 2).await
            }));
        }
        drop(sender);
        block_on(async {
            for task in tasks {
                assert_eq!(task.await, 3);
            }
        });
        waker.join().unwrap();
    }
}

#[test]
fn block_on_inside_a_task_lets_the_others_run() {
    let priority = Priority::new(2).unwrap();
    let handle = priority.handle(Class::Background);
    let task = priority.spawn(async move {
        block_on(async {
            Timer::after(Duration::from_millis(1)).await;
            handle.spawn(Timer::after(Duration::from_millis(1))).await;
        });
        "done"
    });
    assert_eq!(block_on(task), "done");
}

#[test]
fn its_hooks_see_its_tasks_and_nothing_else() {
    let names = Arc::new(Mutex::new(Vec::new()));
    let hooks = Hooks::new().before_poll({
        let names = names.clone();
        move |task| {
            assert_eq!(TaskId::current(), Some(task.id()));
            names.lock().unwrap().push(task.name().map(String::from));
        }
    });
    let priority = Priority::builder().threads(1).hooks(hooks).build().unwrap();
    block_on(priority.spawn_named("a", async {}));
    let background: &dyn Spawn = &priority.handle(Class::Background);
    block_on(background.spawn_boxed_named("b".into(), Box::pin(async {})));
    block_on(priority.spawn(async {}));
    let expected = [Some("a".into()), Some("b".into()), None];
    assert_eq!(*names.lock().unwrap(), expected);
}

#[test]
fn each_thread_is_told_when_it_starts_and_stops() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let log = log.clone();
        move |thread: usize| {
            let entry = (thread, what, thread::current().id());
            log.lock().unwrap().push(entry);
        }
    };
    let priority = Priority::builder()
        .threads(2)
        .pin(true)
        .on_start(note("start"))
        .on_stop(note("stop"))
        .build()
        .unwrap();
    assert_eq!(block_on(priority.spawn(async { 1 })), 1);
    drop(priority);
    for number in 0..2 {
        let log = log.lock().unwrap();
        let mut of_thread = log.iter().filter(|entry| entry.0 == number);
        let (start, stop) = (of_thread.next().unwrap(), of_thread.next().unwrap());
        assert_eq!((start.1, stop.1), ("start", "stop"));
        assert_eq!(start.2, stop.2);
        assert_ne!(start.2, thread::current().id());
        assert!(of_thread.next().is_none());
    }
}

#[test]
fn dropping_it_drops_every_future_once() {
    for threads in [1, 2, 4] {
        let drops = Drops::default();
        let priority = Priority::new(threads).unwrap();
        let mut tasks = Vec::new();
        for i in 0..300 {
            let counted = drops.one();
            let task = priority.spawn_at(CLASSES[i % 3], async move {
                let _counted = counted;
                if i % 2 == 0 {
                    Timer::after(Duration::from_secs(3_600)).await;
                }
                loop {
                    yield_now().await;
                }
            });
            if i % 4 == 0 {
                task.detach()
            } else {
                tasks.push(task)
            }
        }
        drop(priority);
        assert_eq!(drops.count(), 300);
        drop(tasks);
        assert_eq!(drops.count(), 300);
    }
}

#[test]
fn wakers_race_with_its_end() {
    for _ in 0..50 {
        let drops = Drops::default();
        let (sender, wakers) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let storm = thread::spawn({
            let stop = stop.clone();
            move || {
                let wakers: Vec<Waker> = wakers.iter().take(20).collect();
                while !stop.load(SeqCst) {
                    wakers.iter().for_each(Waker::wake_by_ref);
                }
            }
        });
        let priority = Priority::new(2).unwrap();
        for i in 0..20 {
            let (counted, sender) = (drops.one(), sender.clone());
            let task = priority.spawn_at(CLASSES[i % 3], async move {
                let _counted = counted;
                pending(sender, usize::MAX).await;
            });
            task.detach();
        }
        priority.block_on(priority.spawn(yield_now()));
        drop(priority);
        assert_eq!(drops.count(), 20);
        stop.store(true, SeqCst);
        drop(sender);
        storm.join().unwrap();
    }
}

#[test]
fn it_can_be_dropped_by_a_task_of_its_own() {
    for threads in [1, 2] {
        let drops = Drops::default();
        let priority = Priority::new(threads).unwrap();
        let handle = priority.handle(Class::Normal);
        let counted = drops.one();
        handle
            .spawn(async move {
                let _counted = counted;
                std::future::pending::<()>().await;
            })
            .detach();
        let (done, finished) = mpsc::channel();
        let counted = drops.one();
        handle
            .spawn(async move {
                let _counted = counted;
                drop(priority);
                done.send(()).unwrap();
            })
            .detach();
        finished.recv_timeout(PATIENCE).unwrap();
        // The thread ends after the task.
        let started = std::time::Instant::now();
        while drops.count() < 2 {
            assert!(started.elapsed() < PATIENCE);
            thread::yield_now();
        }
    }
}

#[test]
fn a_task_that_blocks_on_another_does_not_outlast_the_end() {
    let priority = Priority::new(1).unwrap();
    let handle: PriorityHandle = priority.handle(Class::Urgent);
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let task = priority.spawn(async move {
        let never = handle.spawn(std::future::pending::<()>());
        begin.send(()).unwrap();
        // None: the task is cancelled because the executor ends.
        end.send(block_on(never.fallible())).unwrap();
    });
    task.detach();
    begun.recv_timeout(PATIENCE).unwrap();
    drop(priority);
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(None));
}

#[test]
fn a_handle_that_outlives_it_starts_nothing() {
    let priority = Priority::new(1).unwrap();
    let handle = priority.handle(Class::Urgent);
    drop(priority);
    assert_eq!(block_on(handle.spawn(async {}).fallible()), None);
}
