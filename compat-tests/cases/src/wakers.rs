//! A waker is somebody else's code: it may drop anything, use anything and even panic while we call it.

use std::io::Read;
use std::net::TcpStream;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures_lite::{AsyncReadExt, FutureExt};
use untether::{Async, Timer};

use crate::case::Case;
use crate::gate::{Bell, Gate};
use crate::scene::Scene;
use crate::wires::{send_byte, take_byte, tcp_pair};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            a_wake_may_drop_the_task_and_its_source,
            "A task that is cancelled by its own wake-up deadlocks the reactor.",
        ),
        Case::of(
            a_dropped_waker_may_drop_another_source,
            "Dropping one connection that owns another deadlocks the reactor.",
        ),
        Case::of(
            a_replaced_waker_may_drop_another_source,
            "A task that takes over a stream deadlocks the reactor.",
        ),
        Case::of(
            a_wake_may_use_its_own_source,
            "An executor that polls inside wake deadlocks the reactor.",
        ),
        Case::of(
            a_wake_may_make_sources_and_timers,
            "A task that opens connections when woken deadlocks the reactor.",
        ),
        Case::of(
            a_waker_that_panics_harms_nobody_else,
            "A panic in one task's waker leaves unrelated tasks waiting for ever.",
        ),
        Case::of(
            a_timers_waker_that_panics_harms_nobody_else,
            "A panic in one timer's waker stops all other timers.",
        ),
    ]
}

/// Does something once, when woken, and lets go of what it needed for that.
struct OnWake {
    action: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    woken: Gate,
}

impl OnWake {
    /// A waker that does `action`, and a gate that is open once it has.
    fn waker(action: impl FnOnce() + Send + 'static) -> (Waker, Gate) {
        let woken = Gate::new();
        let this = OnWake {
            action: Mutex::new(Some(Box::new(action))),
            woken: woken.clone(),
        };
        (Waker::from(Arc::new(this)), woken)
    }
}

impl Wake for OnWake {
    fn wake(self: Arc<Self>) {
        let action = self.action.lock().unwrap().take();
        if let Some(action) = action {
            action();
            self.woken.open();
        }
    }
}

/// Keeps something until the waker is dropped, and says so then.
struct OnDrop<T>(Option<T>, Gate);

impl<T> Drop for OnDrop<T> {
    fn drop(&mut self) {
        self.0 = None;
        self.1.open();
    }
}

impl<T: Send + Sync> Wake for OnDrop<T> {
    fn wake(self: Arc<Self>) {}
}

async fn reads_the_end(mut stream: Async<TcpStream>) {
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
}

fn a_wake_may_drop_the_task_and_its_source(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let there = Arc::new(there);
        let owned = there.clone();
        let (waker, woken) = OnWake::waker(move || drop(owned));
        assert!(
            there
                .poll_readable(&mut Context::from_waker(&waker))
                .is_pending()
        );
        // The waker is the only owner of the source that calls it.
        drop(there);
        send_byte(here.get_ref());
        steps.step("waiting for the wake that drops its source");
        woken.passed().await;
        steps.step("waiting for the end that follows");
        // The byte was never read, so it may also be a reset.
        let mut here = here;
        let end = here.read(&mut [0; 8]).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    });
}

fn a_dropped_waker_may_drop_another_source(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (_first_peer, first) = tcp_pair();
        let (second_peer, second) = tcp_pair();
        let dropped = Gate::new();
        let waker = Waker::from(Arc::new(OnDrop(Some(second), dropped.clone())));
        assert!(
            first
                .poll_readable(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(waker);
        assert!(!dropped.is_open());
        drop(first);
        assert!(dropped.is_open(), "a dropped source kept its waker");
        steps.step("waiting for the end of the source that the waker owned");
        reads_the_end(second_peer).await;
    });
}

fn a_replaced_waker_may_drop_another_source(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, first) = tcp_pair();
        let (second_peer, second) = tcp_pair();
        let dropped = Gate::new();
        let waker = Waker::from(Arc::new(OnDrop(Some(second), dropped.clone())));
        assert!(
            first
                .poll_readable(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(waker);
        let bell = Bell::new();
        assert!(
            first
                .poll_readable(&mut Context::from_waker(&bell.waker()))
                .is_pending()
        );
        assert!(dropped.is_open(), "a replaced waker was kept");
        steps.step("waiting for the end of the source that the waker owned");
        reads_the_end(second_peer).await;
        send_byte(here.get_ref());
        steps.step("waiting for the waker that replaced it");
        bell.heard(1).await;
    });
}

fn a_wake_may_use_its_own_source(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let there = Arc::new(there);
        let bell = Bell::new();
        let (inside, next) = (there.clone(), bell.waker());
        let (waker, woken) = OnWake::waker(move || {
            // What an executor does that runs tasks inside wake: read, and wait again.
            take_byte(inside.get_ref());
            let cx = &mut Context::from_waker(&next);
            assert!(inside.poll_readable(cx).is_pending());
            drop(inside.poll_writable(cx));
            drop(inside.try_read_with(|mut stream| stream.read(&mut [0; 8])));
        });
        assert!(
            there
                .poll_readable(&mut Context::from_waker(&waker))
                .is_pending()
        );
        send_byte(here.get_ref());
        steps.step("waiting for the wake that uses its source");
        woken.passed().await;
        send_byte(here.get_ref());
        steps.step("waiting for the wait that was begun inside the wake");
        bell.heard(1).await;
        there.readable().await.unwrap();
    });
}

fn a_wake_may_make_sources_and_timers(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let bell = Bell::new();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (next, keep) = (bell.waker(), kept.clone());
        let (waker, woken) = OnWake::waker(move || {
            let cx = &mut Context::from_waker(&next);
            let (new_here, new_there) = tcp_pair();
            assert!(new_there.poll_readable(cx).is_pending());
            let mut timer = Timer::after(Duration::from_millis(1));
            let _ = timer.poll(cx);
            // One stays, one goes at once.
            drop(tcp_pair());
            send_byte(new_here.get_ref());
            keep.lock().unwrap().push((new_here, new_there, timer));
        });
        assert!(
            there
                .poll_readable(&mut Context::from_waker(&waker))
                .is_pending()
        );
        send_byte(here.get_ref());
        steps.step("waiting for the wake that makes a source and a timer");
        woken.passed().await;
        let (_new_here, new_there, timer) = kept.lock().unwrap().pop().unwrap();
        steps.step("waiting for the source that was made inside the wake");
        new_there.readable().await.unwrap();
        steps.step("waiting for the timer that was made inside the wake");
        timer.await;
    });
}

fn a_waker_that_panics_harms_nobody_else(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        for round in 1..=3 {
            let pairs: Vec<_> = (0..5).map(|_| tcp_pair()).collect();
            let bells: Vec<_> = (0..5).map(|_| Bell::new()).collect();
            // Past the panic hook, which would print it.
            let (panics, _) = OnWake::waker(|| resume_unwind(Box::new("a waker's own trouble")));
            for (number, (_, there)) in pairs.iter().enumerate() {
                let waker = match number {
                    2 => panics.clone(),
                    _ => bells[number].waker(),
                };
                assert!(
                    there
                        .poll_readable(&mut Context::from_waker(&waker))
                        .is_pending()
                );
            }
            for (here, _) in &pairs {
                send_byte(here.get_ref());
            }
            for number in [0, 1, 3, 4] {
                steps.step(&format!("waiting for waker {number} in round {round}"));
                bells[number].heard(1).await;
            }
            // Its source is none the worse.
            steps.step("waiting for the source whose waker panicked");
            pairs[2].1.readable().await.unwrap();
        }
    });
}

fn a_timers_waker_that_panics_harms_nobody_else(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let bell = Bell::new();
        let (panics, _) = OnWake::waker(|| resume_unwind(Box::new("a waker's own trouble")));
        let mut timers: Vec<_> = (0..5)
            .map(|_| Timer::after(Duration::from_millis(5)))
            .collect();
        for (number, timer) in timers.iter_mut().enumerate() {
            let waker = if number == 2 {
                panics.clone()
            } else {
                bell.waker()
            };
            assert!(timer.poll(&mut Context::from_waker(&waker)).is_pending());
        }
        steps.step("waiting for the four timers whose wakers do not panic");
        bell.heard(4).await;
        steps.step("waiting for the timer whose waker panicked");
        let mut timer = pin!(timers.remove(2));
        timer.as_mut().await;
    });
}
