//! What running a future means: it is polled when woken, by its own waker only, and not after its end.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_lite::future;
use untether::Timer;

use crate::case::{Case, Need};
use crate::gate::Gate;
use crate::scene::Scene;
use crate::wires::{LATE, send_byte, take_byte, tcp_pair};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            nothing_is_polled_after_it_was_ready,
            "A future that has ended is polled again, and panics.",
        ),
        Case::of(
            a_wake_during_the_poll_is_not_lost,
            "A task that yields is never polled again.",
        ),
        Case::of(
            a_wake_from_a_thread_is_not_lost,
            "The answer of another thread is not noticed.",
        ),
        Case::of(
            a_future_that_is_not_woken_is_not_polled,
            "The runtime spins while there is nothing to do.",
        )
        .needs(&[Need::PollsOnlyWhenWoken, Need::RealTime]),
        Case::of(
            a_wake_after_the_end_is_harmless,
            "A late answer to a run that is over crashes the program.",
        ),
        Case::of(
            a_stale_wake_does_not_reach_the_next_run,
            "A run is polled for the news of an earlier one on the same thread.",
        )
        .needs(&[Need::PollsOnlyWhenWoken]),
        Case::of(
            a_hundred_runs_follow_each_other,
            "A program that runs many futures one by one slows down, leaks or stops.",
        ),
        Case::of(
            nested_runs_have_wakers_of_their_own,
            "A run inside another takes its wake-ups.",
        )
        .needs(&[Need::Nesting]),
        Case::of(
            an_inner_wake_does_not_poll_the_outer,
            "A run is polled for the news of one inside it.",
        )
        .needs(&[Need::Nesting, Need::PollsOnlyWhenWoken]),
        Case::of(
            an_outer_wake_does_not_poll_the_inner,
            "A run inside another is polled for the other's news.",
        )
        .needs(&[Need::Nesting, Need::PollsOnlyWhenWoken]),
        Case::of(
            io_goes_on_in_a_nested_run,
            "A run inside another waits for a reactor that the outer one holds.",
        )
        .needs(&[Need::Nesting]),
        Case::of(
            runs_on_several_threads_go_on_together,
            "One run waits for another's reactor.",
        ),
    ]
}

/// Counts its polls and ends when `done` says so.
struct Polls<F>(Rc<Cell<usize>>, F);

impl<F: FnMut(usize, &Waker) -> bool + Unpin> Future for Polls<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polls = self.0.get() + 1;
        self.0.set(polls);
        if (self.1)(polls, cx.waker()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Runs `done` as the root future itself, with nothing around it. Returns how often it was polled.
fn count(scene: &Scene, done: impl FnMut(usize, &Waker) -> bool + Unpin + 'static) -> usize {
    let polls = Rc::new(Cell::new(0));
    scene.run_root(Box::pin(Polls(polls.clone(), done)));
    polls.get()
}

fn nothing_is_polled_after_it_was_ready(scene: &Scene) {
    let polls = count(scene, |_, waker| {
        // Woken and ready at once: the news of the wake comes too late.
        waker.wake_by_ref();
        true
    });
    assert_eq!(polls, 1);
    let polls = count(scene, |polls, waker| {
        waker.wake_by_ref();
        polls == 3
    });
    assert_eq!(polls, 3);
}

fn a_wake_during_the_poll_is_not_lost(scene: &Scene) {
    scene.run(async {
        for _ in 0..1_000 {
            future::yield_now().await;
        }
    });
}

fn a_wake_from_a_thread_is_not_lost(scene: &Scene) {
    for round in 0..200 {
        let (question, answer) = (Gate::new(), Gate::new());
        let thread = {
            let (question, answer) = (question.clone(), answer.clone());
            scene.thread(move |_| {
                question.passed_blocking();
                answer.open();
            })
        };
        scene.step(&format!("waiting for the wake of round {round}"));
        scene.run(async move {
            question.open();
            answer.passed().await;
        });
        thread.join();
    }
}

fn a_future_that_is_not_woken_is_not_polled(scene: &Scene) {
    let start = Instant::now();
    let mut timer = Timer::after(Duration::from_millis(30));
    let polls = count(scene, move |_, waker| {
        Pin::new(&mut timer)
            .poll(&mut Context::from_waker(waker))
            .is_ready()
    });
    assert!(start.elapsed() >= Duration::from_millis(30));
    // At first, when the timer has fired, and one that futures must be ready for.
    assert!(polls <= 3, "{polls} polls for one event");
}

fn a_wake_after_the_end_is_harmless(scene: &Scene) {
    let kept = Rc::new(Cell::new(None));
    let there = kept.clone();
    count(scene, move |_, waker| {
        there.set(Some(waker.clone()));
        true
    });
    let waker = kept.take().expect("polled at least once");
    waker.wake_by_ref();
    scene.thread(move |_| waker.wake()).join();
}

fn a_stale_wake_does_not_reach_the_next_run(scene: &Scene) {
    let kept = Rc::new(Cell::new(None));
    let there = kept.clone();
    count(scene, move |_, waker| {
        there.set(Some(waker.clone()));
        true
    });
    kept.take().expect("polled at least once").wake();
    let mut timer = Timer::after(Duration::from_millis(20));
    let polls = count(scene, move |_, waker| {
        Pin::new(&mut timer)
            .poll(&mut Context::from_waker(waker))
            .is_ready()
    });
    assert_eq!(polls, 2, "once to start, once for the timer");
}

fn a_hundred_runs_follow_each_other(scene: &Scene) {
    let (here, there) = tcp_pair();
    let (here, there) = (Rc::new(here), Rc::new(there));
    for round in 0..100 {
        let (here, there) = (here.clone(), there.clone());
        scene.step(&format!("waiting in run {round}"));
        scene.run(async move {
            let sent = async {
                future::yield_now().await;
                send_byte(here.get_ref());
            };
            let received = async { there.readable().await.unwrap() };
            future::zip(received, sent).await;
            take_byte(there.get_ref());
        });
    }
}

fn nested_runs_have_wakers_of_their_own(scene: &Scene) {
    let inner_scene = scene.clone();
    count(scene, move |_, outer| {
        let outer = outer.clone();
        for _ in 0..2 {
            let outer = outer.clone();
            count(&inner_scene, move |_, inner| {
                assert!(!inner.will_wake(&outer), "the inner waker is the outer one");
                true
            });
        }
        true
    });
}

fn an_inner_wake_does_not_poll_the_outer(scene: &Scene) {
    let inner_scene = scene.clone();
    let mut timer = Timer::after(Duration::from_millis(20));
    let polls = count(scene, move |polls, outer| {
        if polls == 1 {
            let kept = Rc::new(Cell::new(None));
            let there = kept.clone();
            count(&inner_scene, move |_, inner| {
                inner.wake_by_ref();
                there.set(Some(inner.clone()));
                true
            });
            kept.take().expect("polled at least once").wake();
        }
        Pin::new(&mut timer)
            .poll(&mut Context::from_waker(outer))
            .is_ready()
    });
    assert_eq!(polls, 2, "once to start, once for the timer");
}

fn an_outer_wake_does_not_poll_the_inner(scene: &Scene) {
    let inner_scene = scene.clone();
    count(scene, move |_, outer| {
        outer.wake_by_ref();
        let mut timer = Timer::after(Duration::from_millis(20));
        let polls = count(&inner_scene, move |_, inner| {
            Pin::new(&mut timer)
                .poll(&mut Context::from_waker(inner))
                .is_ready()
        });
        assert_eq!(polls, 2, "once to start, once for the timer");
        true
    });
}

fn io_goes_on_in_a_nested_run(scene: &Scene) {
    let inner_scene = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        // The outer run has waited before, so that its reactor is in use.
        send_byte(here.get_ref());
        there.readable().await.unwrap();
        take_byte(there.get_ref());
        Timer::after(Duration::from_millis(1)).await;

        inner_scene.step("waiting in a run inside a run");
        let nested = inner_scene.clone();
        let thread = inner_scene.thread(move |_| {
            std::thread::sleep(Duration::from_millis(5));
            send_byte(here.get_ref());
            here
        });
        let there = nested.run(async move {
            there.readable().await.unwrap();
            Timer::after(Duration::from_millis(1)).await;
            take_byte(there.get_ref());
            there
        });
        let here = thread.join();

        inner_scene.step("waiting in the outer run again");
        let sent = async {
            future::yield_now().await;
            send_byte(here.get_ref());
        };
        let received = async { there.readable().await.unwrap() };
        future::zip(received, sent).await;
    });
}

fn runs_on_several_threads_go_on_together(scene: &Scene) {
    let threads: Vec<_> = (0..4)
        .map(|number| {
            scene.thread(move |scene| {
                let start = Instant::now();
                scene.run(async move {
                    let (here, there) = tcp_pair();
                    for _ in 0..10 {
                        send_byte(here.get_ref());
                        there.readable().await.unwrap();
                        take_byte(there.get_ref());
                        Timer::after(Duration::from_millis(1)).await;
                    }
                });
                let took = start.elapsed();
                assert!(took < LATE * 4, "run {number} of 4 took {took:?}");
            })
        })
        .collect();
    for thread in threads {
        thread.join();
    }
}
