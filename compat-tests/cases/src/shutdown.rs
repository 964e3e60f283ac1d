//! A reactor may end: whoever waits there is told, and nobody hangs.
//!
//! A source that was made for one reactor fails when that one ends; any other source moves on to wherever its task
//! waits next. The reactors of these cases are driven by nobody unless a case says so: an end must not need a turn.

use std::net::TcpStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, FutureExt};
use untether::{Async, Reactor, Timer};

use crate::case::{Case, Need};
use crate::gate::{Bell, Gate, announce, poll_with};
use crate::scene::{Scene, Thread};
use crate::wires::{LATE, fill, raw_tcp_pair, send_byte, take_byte, tcp_pair};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            a_private_reactor_delivers_what_its_owner_drives,
            "Sources of a reactor of one's own are never woken.",
        ),
        Case::of(
            shutdown_wakes_and_fails_its_waiters,
            "Tasks that wait in a reactor that has ended sleep for ever.",
        ),
        Case::of(
            waits_after_the_end_fail_at_once,
            "A wait in a reactor that has ended is never answered.",
        ),
        Case::of(
            the_poll_functions_fail_after_the_end,
            "A poll in a reactor that has ended is pending for ever.",
        ),
        Case::of(
            an_accept_after_the_end_fails_at_once,
            "A server in a reactor that has ended waits for ever.",
        ),
        Case::of(
            a_wait_that_races_with_the_end_is_woken,
            "Now and then a task that begins to wait as the reactor ends sleeps for ever.",
        ),
        Case::of(
            dropping_the_last_handle_is_the_end,
            "Tasks that wait in a reactor that nobody can drive any more sleep for ever.",
        ),
        Case::of(
            tries_after_the_end_do_not_panic,
            "Cleaning up after a reactor has ended crashes the program.",
        ),
        Case::of(
            an_unpinned_source_outlives_a_reactor,
            "A connection dies with the executor that happened to wait for it first.",
        ),
        Case::of(
            evict_sends_waiters_elsewhere,
            "Tasks cannot be moved away from a reactor whose owner stops driving.",
        ),
        Case::of(
            a_timer_outlives_a_reactor,
            "A timer dies with the executor that happened to wait for it first.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            every_live_reactor_can_be_listed_and_printed,
            "A hang cannot be diagnosed.",
        ),
    ]
}

/// A connection whose second end lives in `reactor` for good.
fn pinned_pair(reactor: &Reactor) -> (TcpStream, Async<TcpStream>) {
    let (here, there) = raw_tcp_pair();
    (here, Async::new_in(there, reactor).unwrap())
}

/// A thread that drives a reactor until it is dropped.
struct Driver(Arc<AtomicBool>, Option<Thread<()>>);

impl Driver {
    fn start(scene: &Scene, reactor: &Reactor) -> Driver {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, reactor) = (stop.clone(), reactor.clone());
        let thread = scene.thread(move |_| {
            while !stopped.load(Ordering::Relaxed) {
                reactor.turn(Some(Duration::from_millis(2))).unwrap();
            }
        });
        Driver(stop, Some(thread))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            thread.join();
        }
    }
}

fn a_private_reactor_delivers_what_its_owner_drives(scene: &Scene) {
    let steps = scene.clone();
    let tasks = scene.clone();
    scene.run(async move {
        let reactor = Reactor::new().unwrap();
        let _driver = Driver::start(&tasks, &reactor);
        let (here, there) = pinned_pair(&reactor);
        for round in 1..=5 {
            let bell = Bell::new();
            let mut wait = pin!(there.readable());
            assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
            send_byte(&here);
            steps.step(&format!("waiting in a private reactor, round {round}"));
            bell.heard(1).await;
            wait.await.unwrap();
            take_byte(there.get_ref());
        }
    });
}

fn shutdown_wakes_and_fails_its_waiters(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let reactor = Reactor::new().unwrap();
        let (_here, there) = pinned_pair(&reactor);
        fill(&there).await;
        let there = Arc::new(there);
        let (reads, writes) = (Gate::new(), Gate::new());
        let reader = {
            let (there, gate) = (there.clone(), reads.clone());
            tasks.spawn(async move { announce(&gate, there.readable()).await })
        };
        let writer = {
            let (there, gate) = (there.clone(), writes.clone());
            tasks.spawn(async move { announce(&gate, there.writable()).await })
        };
        reads.passed().await;
        writes.passed().await;
        reactor.shutdown();
        tasks.step("waiting for the reader to be told of the end");
        assert!(reader.await.is_err(), "readable without a reactor");
        tasks.step("waiting for the writer to be told of the end");
        assert!(writer.await.is_err(), "writable without a reactor");
    });
}

fn waits_after_the_end_fail_at_once(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let reactor = Reactor::new().unwrap();
        let (_here, mut there) = pinned_pair(&reactor);
        let bell = Bell::new();
        assert!(poll_with(pin!(there.readable()), &bell.waker()).is_pending());
        reactor.shutdown();
        steps.step("waiting for readable after the end");
        assert!(there.readable().await.is_err());
        steps.step("reading after the end");
        assert!(there.read(&mut [0; 8]).await.is_err());
        // A source that never waited before the end.
        let (_here, there) = raw_tcp_pair();
        if let Ok(there) = Async::new_in(there, &reactor) {
            steps.step("waiting in a reactor that has ended before");
            assert!(there.readable().await.is_err());
        }
    });
}

fn the_poll_functions_fail_after_the_end(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let reactor = Reactor::new().unwrap();
        let (_here, there) = pinned_pair(&reactor);
        fill(&there).await;
        let (read, write) = (Bell::new(), Bell::new());
        let (read_waker, write_waker) = (read.waker(), write.waker());
        let read_cx = &mut Context::from_waker(&read_waker);
        let write_cx = &mut Context::from_waker(&write_waker);
        assert!(there.poll_readable(read_cx).is_pending());
        assert!(there.poll_writable(write_cx).is_pending());
        reactor.shutdown();
        steps.step("waiting for both slots to be woken");
        read.heard(1).await;
        write.heard(1).await;
        for _ in 0..2 {
            let readable = there.poll_readable(read_cx);
            assert!(
                matches!(readable, std::task::Poll::Ready(Err(_))),
                "{readable:?}"
            );
            let writable = there.poll_writable(write_cx);
            assert!(
                matches!(writable, std::task::Poll::Ready(Err(_))),
                "{writable:?}"
            );
        }
    });
}

fn an_accept_after_the_end_fails_at_once(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let reactor = Reactor::new().unwrap();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let listener = Arc::new(Async::new_in(listener, &reactor).unwrap());
        let waiting = Gate::new();
        let (accepting, gate) = (listener.clone(), waiting.clone());
        let accept =
            tasks.spawn(async move { announce(&gate, accepting.accept()).await.map(|_| ()) });
        waiting.passed().await;
        reactor.shutdown();
        tasks.step("waiting for the accept to be told of the end");
        assert!(accept.await.is_err());
        tasks.step("accepting after the end");
        assert!(listener.accept().await.is_err());
    });
}

fn a_wait_that_races_with_the_end_is_woken(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        for round in 0..100 {
            let reactor = Reactor::new().unwrap();
            let (_here, there) = pinned_pair(&reactor);
            let start = Gate::new();
            let ending = {
                let (reactor, start) = (reactor.clone(), start.clone());
                tasks.thread(move |_| {
                    start.passed_blocking();
                    reactor.shutdown();
                })
            };
            start.open();
            tasks.step(&format!("waiting while the reactor ends, round {round}"));
            let wait = if round % 2 == 0 {
                there.readable().await
            } else {
                std::future::poll_fn(|cx| there.poll_readable(cx)).await
            };
            assert!(wait.is_err(), "readable without a byte");
            ending.join();
            assert!(there.readable().await.is_err(), "readable after the end");
        }
    });
}

fn dropping_the_last_handle_is_the_end(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let reactor = Reactor::new().unwrap();
        let (_here, there) = pinned_pair(&reactor);
        let bell = Bell::new();
        let mut wait = pin!(there.readable());
        assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
        let second = reactor.clone();
        drop(reactor);
        assert_eq!(bell.rings(), 0, "an end while there is a handle left");
        drop(second);
        steps.step("waiting for the wake of the end");
        bell.heard(1).await;
        assert!(wait.await.is_err());
    });
}

fn tries_after_the_end_do_not_panic(scene: &Scene) {
    scene.run(async {
        let reactor = Reactor::new().unwrap();
        let (here, there) = pinned_pair(&reactor);
        let bell = Bell::new();
        assert!(poll_with(pin!(there.readable()), &bell.waker()).is_pending());
        send_byte(&here);
        reactor.shutdown();
        reactor.shutdown();
        reactor.evict();
        // What they answer is up to them.
        drop(there.try_read_with(|_| Ok(())));
        drop(there.try_write_with(|_| Ok(())));
        let _ = there.peer_closed();
        let _ = format!("{reactor:#?} {there:#?}");
        let inner = there.into_inner().unwrap();
        take_byte(&inner);
        // Its owner may take it elsewhere.
        let there = Async::new(inner).unwrap();
        send_byte(&here);
        there.readable().await.unwrap();
    });
}

/// Polls `poll` on this thread as if it were one that drives `reactor`.
fn inside<T>(reactor: &Reactor, poll: impl FnOnce() -> T) -> T {
    reactor.enter(poll)
}

fn an_unpinned_source_outlives_a_reactor(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let reactor = Reactor::new().unwrap();
        let bell = Bell::new();
        let mut wait = pin!(there.readable());
        inside(&reactor, || {
            assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
        });
        reactor.shutdown();
        steps.step("waiting for the wake of the end");
        bell.heard(1).await;
        // Woken to register anew, here.
        assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
        let before = bell.rings();
        send_byte(here.get_ref());
        steps.step("waiting where it lives now");
        bell.heard(before + 1).await;
        wait.await.unwrap();
    });
}

fn evict_sends_waiters_elsewhere(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let reactor = Reactor::new().unwrap();
        let (first, second) = (Bell::new(), Bell::new());
        let mut first_wait = pin!(there.readable());
        let mut second_wait = pin!(there.readable());
        inside(&reactor, || {
            assert!(poll_with(first_wait.as_mut(), &first.waker()).is_pending());
            assert!(poll_with(second_wait.as_mut(), &second.waker()).is_pending());
        });
        reactor.evict();
        steps.step("waiting to be told to go elsewhere");
        first.heard(1).await;
        second.heard(1).await;
        assert!(poll_with(first_wait.as_mut(), &first.waker()).is_pending());
        assert!(poll_with(second_wait.as_mut(), &second.waker()).is_pending());
        let (first_before, second_before) = (first.rings(), second.rings());
        send_byte(here.get_ref());
        steps.step("waiting where it lives now");
        first.heard(first_before + 1).await;
        second.heard(second_before + 1).await;
    });
}

fn a_timer_outlives_a_reactor(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let reactor = Reactor::new().unwrap();
        let bell = Bell::new();
        let deadline = Instant::now() + Duration::from_millis(20);
        let mut timer = Timer::at(deadline);
        inside(&reactor, || {
            let poll = timer.poll(&mut Context::from_waker(&bell.waker()));
            assert!(poll.is_pending());
        });
        reactor.shutdown();
        steps.step("waiting for the wake of the end");
        bell.heard(1).await;
        steps.step("waiting for the timer elsewhere");
        timer.await;
        let now = Instant::now();
        assert!(now >= deadline, "{:?} early", deadline - now);
        assert!(now < deadline + LATE, "{:?} late", now - deadline);
    });
}

fn every_live_reactor_can_be_listed_and_printed(scene: &Scene) {
    scene.run(async {
        let (_here, there) = tcp_pair();
        let bell = Bell::new();
        let mut wait = pin!(there.readable());
        assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
        let before = Reactor::all().len();
        assert!(before >= 1, "somebody waits, and there is no reactor");
        let reactor = Reactor::new().unwrap();
        let (_pinned_here, pinned) = pinned_pair(&reactor);
        let mut pinned_wait = pin!(pinned.readable());
        assert!(poll_with(pinned_wait.as_mut(), &bell.waker()).is_pending());
        let text = format!("{reactor:#?}");
        assert!(!text.is_empty());
        #[cfg(unix)]
        {
            use std::os::fd::AsRawFd;
            let descriptor = pinned.get_ref().as_raw_fd().to_string();
            assert!(
                text.contains(&descriptor),
                "somebody waits for descriptor {descriptor}, and it is not in {text}"
            );
        }
        // Every other case's reactors too, whatever they are doing.
        assert!(!format!("{:#?}", Reactor::all()).is_empty());
    });
}
