//! Foreign code at the worst places: tasks dropped inside wakes, wakers and hooks that panic, `block_on` within `block_on`.
//!
//! Not here: the pool's own, and panics in a task's poll and in its destructor (`panics`).

use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use untether::Timer;
use untether_executors::{Class, Hooks, Local, PerCore, Priority, Spawn, Task, block_on};

use crate::{Drops, pending, yield_now};

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs `check` with each executor, and with what runs a future on its caller's thread until it is done.
fn with_each(hooks: &Hooks, check: impl Fn(&dyn Spawn, &dyn Fn(Job))) {
    let local = Local::with_hooks(hooks.clone());
    check(&local, &|job| local.run(job));
    drop(local);
    let cores = PerCore::builder().cores(2).hooks(hooks.clone());
    let cores = cores.build().unwrap();
    check(&cores, &|job| cores.block_on(job));
    drop(cores);
    for threads in [1, 2] {
        let priority = Priority::builder().threads(threads).hooks(hooks.clone());
        let priority = priority.build().unwrap();
        for class in [Class::Urgent, Class::Background] {
            check(&priority.handle(class), &|job| priority.block_on(job));
        }
    }
}

fn fail() {
    resume_unwind(Box::new("on purpose"));
}

/// A waker that drops what it was given when it is called, once, and then wakes another.
struct DropInWake<T> {
    victim: Mutex<Option<T>>,
    then: Waker,
}

impl<T: Send + 'static> Wake for DropInWake<T> {
    fn wake(self: Arc<Self>) {
        let victim = self.victim.lock().unwrap().take();
        drop(victim);
        self.then.wake_by_ref();
    }
}

/// Is pending once, having polled `future` with `waker`; a waker of the task itself has to be called.
async fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) {
    let mut first = true;
    poll_fn(|_| {
        if !std::mem::take(&mut first) {
            return Poll::Ready(());
        }
        let poll = Pin::new(&mut *future).poll(&mut Context::from_waker(waker));
        assert!(poll.is_pending());
        Poll::Pending
    })
    .await;
}

async fn own_waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

#[test]
fn a_task_is_dropped_inside_the_wake_of_whoever_awaits_another() {
    with_each(&Hooks::new(), |spawner, run| {
        let drops = Drops::default();
        let counted = drops.one();
        let victim = spawner.spawn_boxed(Box::pin(async move {
            let _counted = counted;
            std::future::pending::<()>().await;
        }));
        let (sender, wakers) = mpsc::channel();
        let mut awaited = spawner.spawn_boxed(Box::pin(pending(sender, 1)));
        let waker = thread::spawn(move || wakers.recv().unwrap().wake());
        run(Box::pin(async move {
            let hostile = Arc::new(DropInWake {
                victim: Mutex::new(Some(victim)),
                then: own_waker().await,
            });
            // It drops the other one, unless the task is done already and wakes nobody.
            let waker = Waker::from(hostile);
            poll_fn(|_| Pin::new(&mut awaited).poll(&mut Context::from_waker(&waker))).await;
        }));
        waker.join().unwrap();
        until_dropped(spawner, run, &drops, 1);
    });
}

#[test]
fn a_task_is_dropped_between_two_wakes_of_it() {
    with_each(&Hooks::new(), |spawner, run| {
        for _ in 0..50 {
            let drops = Drops::default();
            let counted = drops.one();
            let (sender, wakers) = mpsc::channel::<Waker>();
            let task = spawner.spawn_boxed(Box::pin(async move {
                let _counted = counted;
                pending(sender, 1).await;
            }));
            // On another thread, while it may be running.
            let dropper = thread::spawn(move || {
                let waker = wakers.recv().unwrap();
                waker.wake_by_ref();
                drop(task);
                waker.wake();
            });
            while !dropper.is_finished() {
                run(spawner.spawn_boxed(Box::pin(yield_now())).boxed());
            }
            dropper.join().unwrap();
            until_dropped(spawner, run, &drops, 1);
        }
    });
}

#[test]
fn a_task_is_dropped_inside_a_turn_of_the_reactor() {
    with_each(&Hooks::new(), |spawner, run| {
        let drops = Drops::default();
        let counted = drops.one();
        let victim = spawner.spawn_boxed(Box::pin(async move {
            let _counted = counted;
            Timer::after(Duration::from_secs(3_600)).await;
        }));
        let task = spawner.spawn_boxed(Box::pin(async move {
            let hostile = Arc::new(DropInWake {
                victim: Mutex::new(Some(victim)),
                then: own_waker().await,
            });
            // The turn that finds it due calls the waker.
            let mut timer = Timer::after(Duration::from_millis(1));
            poll_once(&mut timer, &Waker::from(hostile.clone())).await;
            assert!(hostile.victim.lock().unwrap().is_none());
        }));
        run(task.boxed());
        until_dropped(spawner, run, &drops, 1);
    });
}

/// Panics when it is called, and when the last one is dropped.
struct Panics {
    also: Waker,
    in_drop: bool,
}

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.also.wake_by_ref();
        if !self.in_drop {
            fail();
        }
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        if self.in_drop {
            fail();
        }
    }
}

#[test]
fn a_waker_that_panics_in_a_turn_harms_nobody() {
    with_each(&Hooks::new(), |spawner, run| {
        for in_drop in [false, true] {
            let task = spawner.spawn_boxed(Box::pin(async move {
                let also = own_waker().await;
                let hostile = Waker::from(Arc::new(Panics { also, in_drop }));
                let mut timer = Timer::after(Duration::from_millis(1));
                let mut neighbour = Timer::after(Duration::from_millis(1));
                // The timer keeps the last one, which is dropped in the turn as well.
                let mut hostile = Some(hostile);
                poll_fn(|_| match hostile.take() {
                    Some(hostile) => {
                        let mut cx = Context::from_waker(&hostile);
                        assert!(Pin::new(&mut timer).poll(&mut cx).is_pending());
                        Poll::Pending
                    }
                    None => Poll::Ready(()),
                })
                .await;
                (&mut neighbour).await;
            }));
            run(task.boxed());
            run(spawner.spawn_boxed(Box::pin(yield_now())).boxed());
        }
    });
}

#[test]
fn hooks_that_panic_harm_nobody() {
    let hooks = Hooks::new()
        .before_poll(|_| fail())
        .after_poll(|_, _| fail())
        .on_panic(|_, _| fail());
    with_each(&hooks, |spawner, run| {
        for _ in 0..10 {
            spawner.spawn_boxed(Box::pin(async { fail() })).detach();
        }
        let task = spawner.spawn_boxed(Box::pin(async {
            yield_now().await;
            Timer::after(Duration::from_millis(1)).await;
        }));
        run(task.boxed());
    });
}

#[test]
fn calls_of_block_on_nest_in_many_tasks() {
    with_each(&Hooks::new(), |spawner, run| {
        let nest = || {
            block_on(async {
                yield_now().await;
                block_on(async {
                    Timer::after(Duration::from_micros(100)).await;
                    let (sender, wakers) = mpsc::channel::<Waker>();
                    let waker = thread::spawn(move || wakers.iter().for_each(Waker::wake));
                    block_on(pending(sender, 3));
                    waker.join().unwrap();
                });
                Timer::after(Duration::from_micros(100)).await;
            });
        };
        let start = |_| {
            spawner.spawn_boxed(Box::pin(async move {
                yield_now().await;
                nest();
                Timer::after(Duration::from_micros(50)).await;
                nest();
            }))
        };
        let tasks: Vec<Task<()>> = (0..20).map(start).collect();
        run(Box::pin(async {
            for task in tasks {
                task.await;
            }
        }));
    });
}

#[test]
fn tasks_are_cancelled_while_other_threads_wake_them() {
    with_each(&Hooks::new(), |spawner, run| {
        const TASKS: usize = 500;
        let drops = Drops::default();
        let (sender, wakers) = mpsc::channel::<Waker>();
        let storm = thread::spawn(move || {
            for waker in wakers {
                waker.wake_by_ref();
                waker.wake();
            }
        });
        let start = |_| {
            let (counted, sender) = (drops.one(), sender.clone());
            spawner.spawn_boxed(Box::pin(async move {
                let _counted = counted;
                pending(sender, usize::MAX).await;
            }))
        };
        let tasks: Vec<Task<()>> = (0..TASKS).map(start).collect();
        drop(sender);
        run(Box::pin(async move {
            for task in tasks {
                yield_now().await;
                drop(task);
            }
        }));
        until_dropped(spawner, run, &drops, TASKS);
        storm.join().unwrap();
    });
}

/// A destructor runs when its executor gets to it.
fn until_dropped(spawner: &dyn Spawn, run: &dyn Fn(Job), drops: &Drops, count: usize) {
    let started = std::time::Instant::now();
    while drops.count() < count {
        assert!(started.elapsed() < crate::PATIENCE);
        run(spawner.spawn_boxed(Box::pin(yield_now())).boxed());
    }
    assert_eq!(drops.count(), count);
}

trait Boxed {
    fn boxed(self) -> Job;
}

impl Boxed for Task<()> {
    fn boxed(self) -> Job {
        Box::pin(async move { pin!(self).await })
    }
}
