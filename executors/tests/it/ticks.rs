//! One task at a time: an executor inside another loop.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use untether::Timer;
use untether_executors::{Local, Spawn, Task, block_on};

use crate::{PATIENCE, yield_now};

const MOMENT: Duration = Duration::from_millis(1);

/// A future that waits for ever and counts how often it is polled.
fn counting(polls: Rc<Cell<usize>>) -> impl Future<Output = ()> {
    let mut timer = Timer::after(Duration::from_secs(3600));
    poll_fn(move |cx| {
        polls.set(polls.get() + 1);
        Pin::new(&mut timer).poll(cx).map(drop)
    })
}

async fn endless() {
    loop {
        yield_now().await;
    }
}

fn finish<T>(local: &Local, task: &Task<T>) {
    let started = std::time::Instant::now();
    while !task.is_finished() {
        local.try_tick();
        assert!(started.elapsed() < PATIENCE);
    }
}

#[test]
fn a_tick_runs_one_task() {
    let local = Local::new();
    let polls = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let polls = polls.clone();
        local
            .spawn(async move { polls.set(polls.get() + 1) })
            .detach();
    }
    local.tick();
    assert_eq!(polls.get(), 1);
    assert!(local.try_tick());
    assert_eq!(polls.get(), 2);
    assert!(local.try_tick());
    assert_eq!(polls.get(), 3);
    assert!(!local.try_tick());
}

#[test]
fn ticks_that_need_not_wait_serve_timers() {
    let local = Local::new();
    let task = local.spawn(Timer::after(MOMENT));
    finish(&local, &task);
}

#[test]
fn ticks_serve_timers_while_a_task_is_always_ready() {
    let local = Local::new();
    local.spawn(endless()).detach();
    let task = local.spawn(Timer::after(MOMENT));
    finish(&local, &task);
}

#[test]
fn a_tick_waits_for_a_timer_and_for_other_threads() {
    let local = Local::new();
    let task = local.spawn(Timer::after(MOMENT));
    local.tick();
    assert!(!task.is_finished());
    local.tick();
    assert!(task.is_finished());

    let remote = local.remote();
    let (started, begins) = mpsc::channel();
    let other = thread::spawn(move || {
        begins.recv().unwrap();
        remote.spawn(async { 3 })
    });
    started.send(()).unwrap();
    local.tick();
    assert_eq!(local.run_until(other.join().unwrap()), 3);
}

#[test]
fn the_end_of_a_tick_wakes_nobody() {
    let local = Local::new();
    let polls = Rc::new(Cell::new(0));
    local.spawn(counting(polls.clone())).detach();
    assert!(local.try_tick());
    for _ in 0..200 {
        assert!(!local.try_tick());
    }
    assert_eq!(polls.get(), 1);
}

#[test]
fn who_waited_in_a_tick_goes_on_inside_another_reactor() {
    for waiting in [false, true] {
        let local = Local::new();
        let task = local.spawn(Timer::after(MOMENT));
        assert!(local.try_tick());
        block_on(async {
            if waiting {
                while !task.is_finished() {
                    local.tick();
                }
            } else {
                local.run(task);
            }
        });

        // And back.
        let task = local.spawn(Timer::after(MOMENT));
        block_on(async { assert!(local.try_tick()) });
        finish(&local, &task);
    }
}

#[test]
fn who_waited_in_a_run_goes_on_in_ticks() {
    let local = Local::new();
    let task = local.spawn(Timer::after(MOMENT));
    local.run(yield_now());
    finish(&local, &task);
}

#[test]
fn a_task_can_tick_its_own_executor() {
    let local = Rc::new(Local::new());
    let inner = local.spawn(Timer::after(MOMENT));
    let weak = Rc::downgrade(&local);
    let outer = local.spawn(async move {
        let local = weak.upgrade().unwrap();
        while !inner.is_finished() {
            local.tick();
        }
        finish(&local, &local.spawn(Timer::after(MOMENT)));
        Timer::after(MOMENT).await;
        "outer"
    });
    assert_eq!(local.run(outer), "outer");
}

#[test]
fn a_panic_stays_in_its_task() {
    let local = Local::new();
    let task: Task<()> = local.spawn(async { resume_unwind(Box::new("on purpose")) });
    assert!(local.try_tick());
    assert!(task.is_finished());
    let awaited = catch_unwind(AssertUnwindSafe(|| local.run(task)));
    assert_eq!(awaited.unwrap_err().downcast_ref(), Some(&"on purpose"));
}

/// Does something with a `Local` inside a waker that is called by a turn that the outer call makes while it sleeps.
fn inside_a_waker_of_its_own_park(act: fn(&Rc<Local>, mpsc::Sender<()>)) {
    struct Scene {
        local: Rc<Local>,
        act: fn(&Rc<Local>, mpsc::Sender<()>),
        done: mpsc::Sender<()>,
    }
    struct Acting;
    thread_local! {
        static SCENE: Cell<Option<Scene>> = const { Cell::new(None) };
    }
    impl Wake for Acting {
        fn wake(self: Arc<Self>) {
            if let Some(Scene { local, act, done }) = SCENE.take() {
                act(&local, done);
            }
        }
    }

    let local = Rc::new(Local::new());
    let (sender, done) = mpsc::channel();
    SCENE.set(Some(Scene {
        local: local.clone(),
        act,
        done: sender,
    }));
    let waker = Waker::from(Arc::new(Acting));
    let mut foreign = Timer::after(MOMENT);
    local.run(async {
        // Nothing else will wake this: only the ring of the inner call.
        let mut begun = false;
        let mut patience = Timer::after(PATIENCE);
        poll_fn(|cx| {
            if !begun {
                begun = true;
                let _ = Pin::new(&mut foreign).poll(&mut Context::from_waker(&waker));
                let waker = cx.waker().clone();
                WOKEN_BY_TASK.set(Some(waker));
            }
            if done.try_recv().is_ok() {
                return Poll::Ready(());
            }
            assert!(
                Pin::new(&mut patience).poll(cx).is_pending(),
                "a task is forgotten"
            );
            Poll::Pending
        })
        .await;
    });
}

thread_local! {
    static WOKEN_BY_TASK: Cell<Option<Waker>> = const { Cell::new(None) };
}

fn start_a_task_that_says(local: &Local, done: mpsc::Sender<()>) {
    local
        .spawn(async move {
            done.send(()).unwrap();
            WOKEN_BY_TASK.take().unwrap().wake();
        })
        .detach();
}

#[test]
fn a_task_started_by_a_run_inside_a_waker_is_not_forgotten() {
    inside_a_waker_of_its_own_park(|local, done| {
        local.run(async { start_a_task_that_says(local, done) });
    });
}

#[test]
fn a_task_woken_by_a_tick_inside_a_waker_is_not_forgotten() {
    inside_a_waker_of_its_own_park(|local, done| {
        local.spawn(pending::<()>()).detach();
        let weak = Rc::downgrade(local);
        local
            .spawn(async move { start_a_task_that_says(&weak.upgrade().unwrap(), done) })
            .detach();
        local.try_tick();
        local.try_tick();
    });
}
