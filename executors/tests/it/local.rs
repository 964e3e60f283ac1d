//! Many `!Send` tasks on one thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::future::zip;
use untether::{Reactor, Timer};
use untether_executors::{Local, LocalSpawn, Spawn, block_on};

use crate::{Drops, pending, yield_now};

#[test]
fn tasks_share_what_is_not_send() {
    let local = Local::new();
    let sum = Rc::new(Cell::new(0));
    let tasks: Vec<_> = (1..=100)
        .map(|n| {
            let sum = sum.clone();
            local.spawn(async move {
                yield_now().await;
                sum.set(sum.get() + n);
            })
        })
        .collect();
    local.run(async {
        for task in tasks {
            task.await;
        }
    });
    assert_eq!(sum.get(), 5050);
}

#[test]
fn the_future_may_borrow() {
    let local = Local::new();
    let mut text = String::from("a");
    local.run(async {
        yield_now().await;
        text.push('b');
    });
    assert_eq!(text, "ab");
}

#[test]
fn tasks_stay_between_two_runs() {
    let local = Local::new();
    let steps = Rc::new(Cell::new(0));
    let task = local.spawn({
        let steps = steps.clone();
        async move {
            for _ in 0..10 {
                steps.set(steps.get() + 1);
                Timer::after(Duration::from_millis(1)).await;
            }
            "end"
        }
    });
    local.run(yield_now());
    assert!((1..10).contains(&steps.get()));
    assert_eq!(local.run(task), "end");
    assert_eq!(steps.get(), 10);
}

#[test]
fn tasks_are_woken_from_other_threads() {
    let local = Local::new();
    let (sender, wakers) = mpsc::channel::<Waker>();
    let waker = thread::spawn(move || wakers.iter().for_each(Waker::wake));
    let tasks: Vec<_> = (0..50)
        .map(|_| local.spawn(pending(sender.clone(), 50)))
        .collect();
    drop(sender);
    local.run(async {
        for task in tasks {
            task.await;
        }
    });
    waker.join().unwrap();
}

#[test]
fn a_task_that_wakes_itself_does_not_starve_the_others() {
    let local = Local::new();
    local
        .spawn(async {
            loop {
                yield_now().await;
            }
        })
        .detach();
    let other = local.spawn(async {
        yield_now().await;
        yield_now().await;
    });
    local.run(other);
}

#[test]
fn two_tasks_that_wake_each_other_do_not_starve_a_third() {
    let local = Local::new();
    let wakers: [Rc<RefCell<Option<Waker>>>; 2] = Default::default();
    for i in 0..2 {
        let [own, other] = [wakers[i].clone(), wakers[1 - i].clone()];
        let ping = poll_fn::<(), _>(move |cx| {
            *own.borrow_mut() = Some(cx.waker().clone());
            if let Some(waker) = other.take() {
                waker.wake();
            }
            Poll::Pending
        });
        local.spawn(ping).detach();
    }
    let third = local.spawn(async {
        for _ in 0..10 {
            yield_now().await;
        }
    });
    local.run(third);
}

#[test]
fn the_future_and_the_tasks_do_not_starve_each_other() {
    let local = Local::new();
    let steps = Rc::new(Cell::new(0));
    local
        .spawn({
            let steps = steps.clone();
            async move {
                loop {
                    steps.set(steps.get() + 1);
                    yield_now().await;
                }
            }
        })
        .detach();
    local.run(async {
        while steps.get() < 1_000 {
            yield_now().await;
        }
    });
}

#[test]
fn tasks_of_other_threads_and_timers_are_served_while_tasks_keep_busy() {
    let local = Local::new();
    local
        .spawn(async {
            loop {
                yield_now().await;
            }
        })
        .detach();
    let remote = local.remote();
    let sent = thread::spawn(move || remote.spawn(Timer::after(Duration::from_millis(1))));
    local.run(sent.join().unwrap());
}

#[test]
fn tasks_spawn_tasks() {
    let local = Local::new();
    let handle = local.handle();
    let depth = local.spawn(async move {
        let mut depth = 0;
        for _ in 0..100 {
            depth = handle.spawn(async move { depth + 1 }).await;
        }
        depth
    });
    assert_eq!(local.run(depth), 100);
}

#[test]
fn block_on_works_inside_a_task() {
    let local = Local::new();
    let (sender, wakers) = mpsc::channel::<Waker>();
    let waker = thread::spawn(move || wakers.iter().for_each(Waker::wake));
    let task = local.spawn(async move {
        Timer::after(Duration::from_millis(1)).await;
        block_on(async {
            Timer::after(Duration::from_millis(1)).await;
            pending(sender, 10).await;
        });
        Timer::after(Duration::from_millis(1)).await;
    });
    // Its wake-ups arrive while the other one blocks.
    let beside = local.spawn(async {
        for _ in 0..10 {
            Timer::after(Duration::from_micros(200)).await;
        }
    });
    local.run(zip(task, beside));
    waker.join().unwrap();
}

#[test]
fn run_nests_on_the_same_executor() {
    let local = Rc::new(Local::new());
    let inner = local.spawn(async {
        Timer::after(Duration::from_millis(1)).await;
        "inner"
    });
    let weak = Rc::downgrade(&local);
    let outer = local.spawn(async move {
        let local = weak.upgrade().unwrap();
        let inner = local.run(inner);
        Timer::after(Duration::from_millis(1)).await;
        (inner, "outer")
    });
    assert_eq!(local.run(outer), ("inner", "outer"));
}

#[test]
fn run_nests_inside_a_waker_of_its_own_park() {
    // A foreign waker, called in a turn that the outer call is making, runs the executor again.
    struct RunAgain(Mutex<mpsc::Sender<()>>);
    thread_local! {
        static LOCAL: Cell<Option<Rc<Local>>> = const { Cell::new(None) };
    }
    impl Wake for RunAgain {
        fn wake(self: Arc<Self>) {
            // None on another thread.
            if let Some(local) = LOCAL.take() {
                local.run(Timer::after(Duration::from_millis(1)));
            }
            let _ = self.0.lock().unwrap().send(());
        }
    }

    let local = Rc::new(Local::new());
    LOCAL.set(Some(local.clone()));
    let (sender, ran) = mpsc::channel();
    let waker = Waker::from(Arc::new(RunAgain(Mutex::new(sender))));
    let mut foreign = Timer::after(Duration::from_millis(1));
    let woken_by_the_inner_run = local.spawn(Timer::after(Duration::from_micros(1_500)));
    local.run(async {
        let _ = Pin::new(&mut foreign).poll(&mut Context::from_waker(&waker));
        woken_by_the_inner_run.await;
        Timer::after(Duration::from_millis(5)).await;
    });
    ran.recv_timeout(crate::PATIENCE).unwrap();
}

#[test]
fn two_executors_nest() {
    let outer = Local::new();
    let task = outer.spawn(async {
        let inner = Local::new();
        let task = inner.spawn(async {
            Timer::after(Duration::from_millis(1)).await;
            1
        });
        inner.run(task)
    });
    let beside = outer.spawn(Timer::after(Duration::from_millis(1)));
    assert_eq!(outer.run(zip(task, beside)).0, 1);
}

#[test]
fn the_thread_is_in_the_executors_reactor_only_while_it_runs() {
    let local = Local::new();
    assert!(Reactor::entered().is_none());
    local.run(async { assert!(Reactor::entered().is_some()) });
    assert!(Reactor::entered().is_none());
}

#[test]
fn a_dropped_task_is_cancelled_on_its_own_thread() {
    struct SameThread(thread::ThreadId);
    impl Drop for SameThread {
        fn drop(&mut self) {
            assert_eq!(thread::current().id(), self.0);
        }
    }

    let local = Local::new();
    let drops = Drops::default();
    let (same, counted) = (SameThread(thread::current().id()), drops.one());
    let task = local.spawn(async move {
        let _keep = (same, counted);
        std::future::pending::<()>().await;
    });
    local.run(yield_now());
    thread::spawn(move || drop(task)).join().unwrap();
    assert_eq!(drops.count(), 0, "not by the thread that dropped the task");
    local.run(yield_now());
    assert_eq!(drops.count(), 1);
}

#[test]
fn the_last_waker_may_be_dropped_on_another_thread() {
    let local = Local::new();
    let drops = Drops::default();
    let counted = drops.one();
    let (sender, wakers) = mpsc::channel::<Waker>();
    local
        .spawn({
            let mut future = Box::pin(pending(sender, 1));
            poll_fn(move |cx| {
                let _ = &counted;
                future.as_mut().poll(cx)
            })
        })
        .detach();
    local.run(yield_now());
    let waker = wakers.recv().unwrap();
    thread::spawn(move || drop(waker)).join().unwrap();
    assert_eq!(drops.count(), 0);
    drop(local);
    assert_eq!(drops.count(), 1);
}

#[test]
fn it_is_a_spawner_of_both_kinds_and_through_dyn() {
    fn sends(spawner: &impl Spawn) -> untether_executors::Task<u32> {
        spawner.spawn(async { 1 })
    }
    fn stays(spawner: &impl LocalSpawn) -> untether_executors::Task<Rc<u32>> {
        spawner.spawn_local(async { Rc::new(2) })
    }

    let local = Local::new();
    let (remote, handle) = (local.remote(), local.handle());
    let spawner: &dyn Spawn = &remote;
    let local_spawner: &dyn LocalSpawn = &handle;
    let sum = local.run(async {
        spawner.spawn_boxed(Box::pin(async {})).await;
        local_spawner.spawn_local_boxed(Box::pin(async {})).await;
        sends(&local).await + sends(&remote).await + *stays(&local).await + *stays(&&handle).await
    });
    assert_eq!(sum, 6);
}
