//! A source is ready when the system says so: not earlier, not later, and not from memory.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::pin::pin;
use std::task::Context;
use std::thread;
use std::time::Duration;

use futures_lite::{AsyncWriteExt, future};
use untether::Reactor;

use crate::case::Case;
use crate::gate::{Bell, poll_with};
use crate::scene::Scene;
use crate::wires::{drain, fill, fill_now, quiet, send_byte, take_byte, tcp_pair, udp_socket};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            fresh_ends_are_writable_at_once,
            "A task waits for ever to write to a connection that has room.",
        ),
        Case::of(
            fresh_ends_are_not_readable,
            "A task is told that there is something to read when there is not, and spins.",
        ),
        Case::of(
            data_left_over_completes_the_next_wait,
            "Whoever reads part of what has arrived never learns of the rest.",
        ),
        Case::of(
            a_drained_source_is_pending_until_the_next_byte,
            "Old readiness is reported again, or new readiness is lost.",
        ),
        Case::of(
            readable_tells_the_truth_behind_its_back,
            "Code that waits with readable and reads by itself spins at full speed.",
        ),
        Case::of(
            poll_readable_tells_the_truth_behind_its_back,
            "Code that waits with poll_readable and reads by itself spins at full speed.",
        ),
        Case::of(
            writable_tells_the_truth_behind_its_back,
            "Code that waits with writable and writes by itself spins at full speed.",
        ),
        Case::of(
            a_full_buffer_is_writable_once_drained,
            "A sender that has filled the buffer never goes on, or does not wait at all.",
        ),
        Case::of(
            either_direction_works_after_the_other_fired,
            "A stream that is read and written at once stops in one direction.",
        ),
        Case::of(
            read_with_tries_again_only_when_ready,
            "An operation is tried over and over while there is nothing for it.",
        ),
        Case::of(
            an_event_during_the_attempt_is_not_forgotten,
            "Data that arrives while a task finds that there is none is never seen.",
        ),
        Case::of(
            a_silent_source_wakes_nobody,
            "Waiting tasks are polled for other people's events: idle connections cost time.",
        ),
        Case::of(
            io_that_never_waits_still_yields,
            "One busy connection keeps every other task of its thread from running.",
        ),
    ]
}

fn fresh_ends_are_writable_at_once(scene: &Scene) {
    scene.run(async {
        let (here, there) = tcp_pair();
        here.writable().await.unwrap();
        there.writable().await.unwrap();
        // Not used up by having been told.
        here.writable().await.unwrap();
    });
}

fn fresh_ends_are_not_readable(scene: &Scene) {
    scene.run(async {
        let (here, there) = tcp_pair();
        quiet("readable", future::or(here.readable(), there.readable())).await;
        poll_fn(|cx| {
            assert!(here.poll_readable(cx).is_pending(), "poll_readable");
            std::task::Poll::Ready(())
        })
        .await;
    });
}

fn data_left_over_completes_the_next_wait(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (mut here, there) = tcp_pair();
        here.write_all(b"ten bytes.").await.unwrap();
        let mut four = [0; 4];
        for part in [&b"ten "[..], b"byte", b"s."] {
            steps.step("waiting for data that has arrived already");
            there.readable().await.unwrap();
            let n = there
                .read_with(|mut stream| stream.read(&mut four))
                .await
                .unwrap();
            assert_eq!(&four[..n], part);
        }
        quiet("readable on a drained stream", there.readable()).await;
    });
}

fn a_drained_source_is_pending_until_the_next_byte(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let mut buffer = [0; 16];
        for round in 1..=3 {
            quiet("readable on a drained stream", there.readable()).await;
            steps.step(&format!("waiting for the byte of round {round}"));
            send_byte(here.get_ref());
            there.readable().await.unwrap();
            let n = there
                .read_with(|mut stream| stream.read(&mut buffer))
                .await
                .unwrap();
            assert_eq!(n, 1);
        }
    });
}

fn readable_tells_the_truth_behind_its_back(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        for round in 1..=3 {
            steps.step(&format!("waiting for the byte of round {round}"));
            send_byte(here.get_ref());
            there.readable().await.unwrap();
            // No WouldBlock from which the source could learn that it is drained.
            take_byte(there.get_ref());
            quiet("readable, emptied behind its back,", there.readable()).await;
        }
    });
}

fn poll_readable_tells_the_truth_behind_its_back(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        for round in 1..=3 {
            steps.step(&format!("waiting for the byte of round {round}"));
            send_byte(here.get_ref());
            poll_fn(|cx| there.poll_readable(cx)).await.unwrap();
            take_byte(there.get_ref());
            quiet(
                "poll_readable, emptied behind its back,",
                poll_fn(|cx| there.poll_readable(cx)),
            )
            .await;
        }
    });
}

fn writable_tells_the_truth_behind_its_back(scene: &Scene) {
    scene.run(async {
        let (here, _there) = tcp_pair();
        here.writable().await.unwrap();
        fill(&here).await;
        quiet("writable, filled behind its back,", here.writable()).await;
        quiet(
            "poll_writable, filled behind its back,",
            poll_fn(|cx| here.poll_writable(cx)),
        )
        .await;
    });
}

fn a_full_buffer_is_writable_once_drained(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let written = fill(&here).await;
        let mut room = pin!(here.writable());
        quiet("writable on a full stream", room.as_mut()).await;
        drain(&there, written).await;
        steps.step("waiting for room");
        room.await.unwrap();
        assert!(
            fill_now(here.get_ref()) > 0,
            "told of room that is not there"
        );
    });
}

fn either_direction_works_after_the_other_fired(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let written = fill(&here).await;
        let (read, write) = (Bell::new(), Bell::new());
        let (read_waker, write_waker) = (read.waker(), write.waker());
        let read_cx = &mut Context::from_waker(&read_waker);
        let write_cx = &mut Context::from_waker(&write_waker);
        assert!(here.poll_writable(write_cx).is_pending());
        assert!(here.poll_readable(read_cx).is_pending());

        steps.step("waiting for the read side");
        send_byte(there.get_ref());
        read.heard(1).await;
        here.readable().await.unwrap();
        take_byte(here.get_ref());
        assert!(
            here.poll_writable(write_cx).is_pending(),
            "the read side's event made a full stream writable"
        );

        steps.step("waiting for the write side");
        let before = write.rings();
        drain(&there, written).await;
        write.heard(before + 1).await;
        here.writable().await.unwrap();

        steps.step("waiting for the read side again");
        let before = read.rings();
        assert!(here.poll_readable(read_cx).is_pending());
        send_byte(there.get_ref());
        read.heard(before + 1).await;
    });
}

fn read_with_tries_again_only_when_ready(scene: &Scene) {
    scene.run(async {
        let (here, there) = tcp_pair();
        let mut calls = 0;
        let mut buffer = [0; 16];
        let bell = Bell::new();
        {
            let mut read = pin!(there.read_with(|mut stream| {
                calls += 1;
                stream.read(&mut buffer)
            }));
            assert!(poll_with(read.as_mut(), &bell.waker()).is_pending());
            quiet("a read of nothing", read.as_mut()).await;
            send_byte(here.get_ref());
            assert_eq!(read.await.unwrap(), 1);
        }
        // At first, perhaps once more when the wait began, and when the byte was there.
        assert!(calls <= 3, "{calls} calls for one byte");
    });
}

fn an_event_during_the_attempt_is_not_forgotten(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let bell = Bell::new();
        let mut calls = 0;
        let mut read = pin!(there.read_with(|mut stream| {
            calls += 1;
            let mut byte = [0];
            if calls == 1 {
                return stream.read(&mut byte);
            }
            // Another byte comes after we have seen that there is none, and before we say so.
            let result = stream.read(&mut byte);
            if result.is_ok() && byte == *b"1" {
                let nothing = stream.read(&mut byte);
                here.get_ref().write_all(b"2")?;
                let_the_reactor_notice();
                return nothing;
            }
            // An attempt that found nothing, because an event came in that was not about bytes, is no mistake.
            if result.is_ok() {
                assert_eq!(&byte, b"2");
            }
            result
        }));
        assert!(poll_with(read.as_mut(), &bell.waker()).is_pending());
        here.get_ref().write_all(b"1").unwrap();
        steps.step("waiting for a byte that came during the attempt");
        assert_eq!(read.await.unwrap(), 1);
    });
}

/// Whoever drives the reactor of this thread, and be it this thread, hears of what has happened by now.
fn let_the_reactor_notice() {
    for _ in 0..5 {
        Reactor::current().turn(Some(Duration::ZERO)).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
}

fn a_silent_source_wakes_nobody(scene: &Scene) {
    scene.run(async {
        let (_silent_peer, silent) = tcp_pair();
        let (here, there) = tcp_pair();
        let bell = Bell::new();
        let mut wait = pin!(silent.readable());
        assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
        for _ in 0..20 {
            send_byte(here.get_ref());
            there.readable().await.unwrap();
            take_byte(there.get_ref());
        }
        assert_eq!(bell.rings(), 0, "wakes for a source that had no event");
    });
}

fn io_that_never_waits_still_yields(scene: &Scene) {
    const SENDS: usize = 20_000;
    scene.run(async {
        let (socket, address) = udp_socket();
        let bell = Bell::new();
        let mut busy = pin!(async {
            for _ in 0..SENDS {
                // Loopback throws away what nobody collects, so there is always room.
                socket.send_to(b"x", address).await.unwrap();
            }
        });
        assert!(
            poll_with(busy.as_mut(), &bell.waker()).is_pending(),
            "{SENDS} operations in one poll: nobody else ran meanwhile"
        );
        assert!(
            bell.rings() > 0,
            "it gave way, but would never have gone on"
        );
        busy.await;
    });
}
