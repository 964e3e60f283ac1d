//! Any number of tasks may wait for one source, and none of them is forgotten.

use std::net::TcpStream;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;

use crate::case::Case;
use crate::gate::{Bell, Gate, announce, poll_with};
use crate::scene::Scene;
use crate::wires::{drain, fill, quiet, send_byte, take_byte, tcp_listener, tcp_pair};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            ten_waiters_of_one_source_all_wake,
            "Of several tasks that wait for one source, some sleep for ever.",
        ),
        Case::of(
            dropping_one_waiter_keeps_the_others,
            "A task that gives up takes another task's wake-up with it.",
        ),
        Case::of(
            the_displaced_waker_is_woken,
            "Two tasks that share a stream by turns (zbus, libp2p) hang or stall.",
        ),
        Case::of(
            polling_twice_rings_nothing,
            "A task that polls twice wakes itself, and spins.",
        ),
        Case::of(
            a_wait_handed_to_another_task_wakes_that_one,
            "A wait that moved to another task wakes the one that it left.",
        ),
        Case::of(
            slots_and_futures_wake_together,
            "Mixing poll_readable with readable on one source loses a wake-up.",
        ),
        Case::of(
            a_reader_and_a_writer_wait_side_by_side,
            "A full-duplex connection stalls when both directions wait.",
        ),
        Case::of(
            fifty_waiters_of_a_listener_all_wake,
            "Tasks that share a listener sleep through connections.",
        ),
        Case::of(
            a_hundred_sources_each_hear_their_own,
            "With many connections, some tasks are woken for others or not at all.",
        ),
        Case::of(
            an_owned_wait_outlives_the_borrow,
            "A wait that owns its source ends with a dangling one, or never.",
        ),
    ]
}

fn ten_waiters_of_one_source_all_wake(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let there = Arc::new(there);
        let mut waiting = Vec::new();
        for _ in 0..10 {
            let (there, gate) = (there.clone(), Gate::new());
            let mine = gate.clone();
            let task = tasks.spawn(async move { announce(&mine, there.readable()).await.unwrap() });
            waiting.push((gate, task));
        }
        for (gate, _) in &waiting {
            gate.passed().await;
        }
        send_byte(here.get_ref());
        for (number, (_, task)) in waiting.into_iter().enumerate() {
            tasks.step(&format!("waiting for waiter {number} of 10"));
            task.await;
        }
    });
}

fn dropping_one_waiter_keeps_the_others(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let bells = [Bell::new(), Bell::new(), Bell::new()];
        let mut waits: Vec<_> = bells
            .iter()
            .map(|bell| {
                let mut wait = Box::pin(there.readable());
                assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
                wait
            })
            .collect();
        drop(waits.remove(1));
        assert_eq!(bells[1].owners(), 1, "a dropped wait left its waker behind");
        send_byte(here.get_ref());
        steps.step("waiting for the first and the last of three waiters");
        bells[0].heard(1).await;
        bells[2].heard(1).await;
        assert_eq!(bells[1].rings(), 0);
        for wait in waits {
            wait.await.unwrap();
        }
    });
}

fn the_displaced_waker_is_woken(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let (first, second) = (Bell::new(), Bell::new());
        let (first_waker, second_waker) = (first.waker(), second.waker());
        assert!(
            there
                .poll_readable(&mut Context::from_waker(&first_waker))
                .is_pending()
        );
        assert!(
            there
                .poll_readable(&mut Context::from_waker(&second_waker))
                .is_pending()
        );
        assert_eq!(
            first.rings(),
            1,
            "the task that lost its place was not told"
        );
        assert_eq!(second.rings(), 0);
        send_byte(here.get_ref());
        steps.step("waiting for the task that took the place");
        second.heard(1).await;
    });
}

fn polling_twice_rings_nothing(scene: &Scene) {
    scene.run(async {
        let (_here, there) = tcp_pair();
        let bell = Bell::new();
        let waker = bell.waker();
        let mut wait = pin!(there.readable());
        for _ in 0..3 {
            assert!(
                there
                    .poll_readable(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            assert!(poll_with(wait.as_mut(), &waker).is_pending());
        }
        quiet("a wait for nothing", wait.as_mut()).await;
        assert_eq!(bell.rings(), 0, "wakes, and no event");
    });
}

fn a_wait_handed_to_another_task_wakes_that_one(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let (first, second) = (Bell::new(), Bell::new());
        let mut wait = pin!(there.readable());
        assert!(poll_with(wait.as_mut(), &first.waker()).is_pending());
        assert!(poll_with(wait.as_mut(), &second.waker()).is_pending());
        send_byte(here.get_ref());
        steps.step("waiting for the task that polled last");
        second.heard(1).await;
        assert!(poll_with(wait.as_mut(), &second.waker()).is_ready());
    });
}

fn slots_and_futures_wake_together(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let there = Arc::new(there);
        let (slot, future, owned) = (Bell::new(), Bell::new(), Bell::new());
        let slot_waker = slot.waker();
        let mut wait = pin!(there.readable());
        let mut owned_wait = pin!(there.clone().readable_owned());
        assert!(
            there
                .poll_readable(&mut Context::from_waker(&slot_waker))
                .is_pending()
        );
        assert!(poll_with(wait.as_mut(), &future.waker()).is_pending());
        assert!(poll_with(owned_wait.as_mut(), &owned.waker()).is_pending());
        send_byte(here.get_ref());
        for (bell, who) in [
            (slot, "poll_readable"),
            (future, "readable"),
            (owned, "readable_owned"),
        ] {
            steps.step(&format!("waiting for {who}"));
            bell.heard(1).await;
        }
    });
}

fn a_reader_and_a_writer_wait_side_by_side(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let written = fill(&here).await;
        let here = Arc::new(here);
        let (reads, writes) = (Gate::new(), Gate::new());
        let reader = {
            let (here, gate) = (here.clone(), reads.clone());
            tasks.spawn(async move { announce(&gate, here.readable()).await.unwrap() })
        };
        let writer = {
            let (here, gate) = (here.clone(), writes.clone());
            tasks.spawn(async move { announce(&gate, here.writable()).await.unwrap() })
        };
        reads.passed().await;
        writes.passed().await;
        send_byte(there.get_ref());
        tasks.step("waiting for the reader");
        reader.await;
        drain(&there, written).await;
        tasks.step("waiting for the writer");
        writer.await;
    });
}

fn fifty_waiters_of_a_listener_all_wake(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (listener, address) = tcp_listener();
        let mut waits = Vec::new();
        for _ in 0..50 {
            let bell = Bell::new();
            let mut wait = Box::pin(listener.readable());
            assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
            waits.push((wait, bell));
        }
        let _connection = TcpStream::connect(address).unwrap();
        for (number, (_, bell)) in waits.iter().enumerate() {
            steps.step(&format!("waiting for waiter {number} of 50"));
            bell.heard(1).await;
        }
    });
}

fn a_hundred_sources_each_hear_their_own(scene: &Scene) {
    const SOURCES: usize = 100;
    let tasks = scene.clone();
    scene.run(async move {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..SOURCES).map(|_| tcp_pair()).unzip();
        let mut waiting = Vec::new();
        for receiver in receivers {
            let (gate, heard) = (Gate::new(), Gate::new());
            let (my_gate, my_heard) = (gate.clone(), heard.clone());
            let task = tasks.spawn(async move {
                announce(&my_gate, receiver.readable()).await.unwrap();
                take_byte(receiver.get_ref());
                my_heard.open();
            });
            waiting.push((gate, heard, task));
        }
        for (gate, ..) in &waiting {
            gate.passed().await;
        }
        // 37 and 100 have no common factor: every source, in no order.
        let mut sent = [false; SOURCES];
        for step in 0..SOURCES {
            let chosen = step * 37 % SOURCES;
            sent[chosen] = true;
            send_byte(senders[chosen].get_ref());
            tasks.step(&format!("waiting for source {chosen}"));
            waiting[chosen].1.passed().await;
            for (number, (_, heard, _)) in waiting.iter().enumerate() {
                assert_eq!(heard.is_open(), sent[number], "source {number}");
            }
        }
        for (.., task) in waiting {
            task.await;
        }
    });
}

fn an_owned_wait_outlives_the_borrow(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let there = Arc::new(there);
        let bell = Bell::new();
        let mut wait = Box::pin(there.clone().readable_owned());
        assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
        // The wait is the last owner now.
        drop(there);
        send_byte(here.get_ref());
        steps.step("waiting for readable_owned");
        wait.await.unwrap();
        drop(here);
    });
}
