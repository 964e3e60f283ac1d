//! A wait that is dropped takes nothing with it: no byte, no connection, and no other wait.

use std::net::TcpStream;
use std::pin::pin;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt, future};
use untether::{Async, Timer, timeout};

use crate::case::Case;
use crate::gate::{Bell, Gate, announce, poll_with};
use crate::scene::Scene;
use crate::wires::{fill, send_byte, take_byte, tcp_listener, tcp_pair};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            a_dropped_read_takes_no_bytes,
            "A read that was cancelled swallows data.",
        ),
        Case::of(
            a_dropped_accept_loses_no_connection,
            "An accept that was cancelled swallows a connection.",
        ),
        Case::of(
            a_dropped_connect_leaves_the_listener_working,
            "A connect that was cancelled disturbs the server.",
        ),
        Case::of(
            a_thousand_abandoned_waits_leave_nothing,
            "A loop that selects over waits fills the memory.",
        ),
        Case::of(
            an_abandoned_write_wait_leaves_nothing,
            "A sender that gave up keeps its task alive, or wakes it later.",
        ),
        Case::of(
            a_select_loop_serves_both_sides,
            "A loop that selects over two streams neglects one of them.",
        ),
        Case::of(
            a_read_can_be_timed_out_again_and_again,
            "A connection is useless after a time-out.",
        ),
        Case::of(
            a_cancelled_task_closes_its_source,
            "The connection of a cancelled task stays open.",
        ),
        Case::of(
            a_wait_dropped_after_its_wake_is_harmless,
            "A wake-up that nobody collected is delivered to somebody else, or lost to all.",
        ),
    ]
}

fn a_dropped_read_takes_no_bytes(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (mut here, mut there) = tcp_pair();
        let bell = Bell::new();
        let mut buffer = [0; 16];
        // Dropped before there was anything, and dropped between the wake and the poll.
        drop({
            let mut read = pin!(there.read(&mut buffer));
            poll_with(read.as_mut(), &bell.waker())
        });
        here.write_all(b"whole").await.unwrap();
        steps.step("waiting for the wake of a read that was dropped, or for a new one");
        let mut other = [0; 16];
        let n = there.read(&mut other).await.unwrap();
        assert_eq!(&other[..n], b"whole");

        let bell = Bell::new();
        {
            let mut read = pin!(there.read(&mut buffer));
            assert!(poll_with(read.as_mut(), &bell.waker()).is_pending());
            here.write_all(b"again").await.unwrap();
            steps.step("waiting for a wake");
            bell.heard(1).await;
        }
        steps.step("reading what the dropped read was woken for");
        let n = there.read(&mut other).await.unwrap();
        assert_eq!(&other[..n], b"again");
    });
}

fn a_dropped_accept_loses_no_connection(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (listener, address) = tcp_listener();
        let bell = Bell::new();
        let stream = {
            let mut accept = pin!(listener.accept());
            assert!(poll_with(accept.as_mut(), &bell.waker()).is_pending());
            let stream = TcpStream::connect(address).unwrap();
            steps.step("waiting for a wake");
            bell.heard(1).await;
            stream
        };
        steps.step("accepting what the dropped accept was woken for");
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, stream.local_addr().unwrap());
    });
}

fn a_dropped_connect_leaves_the_listener_working(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (listener, address) = tcp_listener();
        for _ in 0..10 {
            let bell = Bell::new();
            drop(poll_with(
                pin!(Async::<TcpStream>::connect(address)),
                &bell.waker(),
            ));
            assert_eq!(bell.owners(), 1, "a dropped connect kept its waker");
        }
        let client = Async::<TcpStream>::connect(address);
        let mut client = pin!(client);
        let mut early = future::poll_once(client.as_mut()).await;
        // The dropped ones may be in the backlog; ours is behind them.
        loop {
            steps.step("accepting behind dropped connects");
            let (_server, peer) = listener.accept().await.unwrap();
            let client = match early.take() {
                Some(client) => client.unwrap(),
                None => client.as_mut().await.unwrap(),
            };
            if client.get_ref().local_addr().unwrap() == peer {
                return;
            }
            early = Some(Ok(client));
        }
    });
}

fn a_thousand_abandoned_waits_leave_nothing(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let bell = Bell::new();
        for _ in 0..1_000 {
            assert!(poll_with(pin!(there.readable()), &bell.waker()).is_pending());
        }
        assert_eq!(bell.owners(), 1, "abandoned waits kept their wakers");
        send_byte(here.get_ref());
        steps.step("waiting after a thousand abandoned waits");
        there.readable().await.unwrap();
        assert_eq!(bell.rings(), 0, "an abandoned wait was woken");
    });
}

fn an_abandoned_write_wait_leaves_nothing(scene: &Scene) {
    scene.run(async {
        let (here, _there) = tcp_pair();
        fill(&here).await;
        let bell = Bell::new();
        for _ in 0..100 {
            assert!(poll_with(pin!(here.writable()), &bell.waker()).is_pending());
        }
        assert_eq!(bell.owners(), 1, "abandoned waits kept their wakers");
        assert_eq!(bell.rings(), 0);
    });
}

fn a_select_loop_serves_both_sides(scene: &Scene) {
    const ROUNDS: usize = 100;
    let steps = scene.clone();
    scene.run(async move {
        let (left_peer, left) = tcp_pair();
        let (right_peer, right) = tcp_pair();
        let (mut lefts, mut rights) = (0, 0);
        for round in 0..ROUNDS {
            // By turns: left, right, and both at once.
            if round % 3 != 1 {
                send_byte(left_peer.get_ref());
            }
            if round % 3 != 0 {
                send_byte(right_peer.get_ref());
            }
            let expected = if round % 3 == 2 { 2 } else { 1 };
            for _ in 0..expected {
                steps.step(&format!("selecting in round {round}"));
                let from_left = async {
                    left.readable().await.unwrap();
                    true
                };
                let from_right = async {
                    right.readable().await.unwrap();
                    false
                };
                if from_left.race(from_right).await {
                    take_byte(left.get_ref());
                    lefts += 1;
                } else {
                    take_byte(right.get_ref());
                    rights += 1;
                }
            }
        }
        assert_eq!((lefts, rights), (67, 66));
    });
}

fn a_read_can_be_timed_out_again_and_again(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, mut there) = tcp_pair();
        let mut buffer = [0; 8];
        for _ in 0..20 {
            let read = timeout(Duration::from_millis(1), there.read(&mut buffer));
            assert!(read.await.is_err(), "a read of nothing has ended");
        }
        send_byte(here.get_ref());
        steps.step("reading after twenty time-outs");
        assert_eq!(there.read(&mut buffer).await.unwrap(), 1);
    });
}

fn a_cancelled_task_closes_its_source(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (mut here, mut there) = tcp_pair();
        let (waiting, cancel) = (Gate::new(), Gate::new());
        let (gate, cancelled) = (waiting.clone(), cancel.clone());
        let task = tasks.spawn(async move {
            let work = async move {
                let n = announce(&gate, there.read(&mut [0; 8])).await;
                panic!("a read of nothing has ended: {n:?}");
            };
            work.or(cancelled.passed()).await;
        });
        waiting.passed().await;
        cancel.open();
        task.await;
        tasks.step("waiting for the end of a cancelled task's connection");
        assert_eq!(here.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

fn a_wait_dropped_after_its_wake_is_harmless(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        for round in 1..=20 {
            let bell = Bell::new();
            {
                let mut wait = pin!(there.readable());
                assert!(
                    poll_with(wait.as_mut(), &bell.waker()).is_pending(),
                    "round {round}: ready without a byte"
                );
                send_byte(here.get_ref());
                steps.step(&format!("waiting for the wake of round {round}"));
                bell.heard(1).await;
            }
            steps.step(&format!("waiting once more in round {round}"));
            there.readable().await.unwrap();
            take_byte(there.get_ref());
            Timer::after(Duration::from_micros(100)).await;
        }
    });
}
