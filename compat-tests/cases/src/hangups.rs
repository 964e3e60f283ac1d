//! The end of a connection reaches whoever waits for it, after the last byte and not before.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use socket2::SockRef;
use untether::{Async, Timer};

use crate::case::Case;
use crate::gate::{Bell, Gate, announce, poll_with};
use crate::scene::Scene;
use crate::wires::{quiet, raw_tcp_pair, send_byte, take_byte, tcp_pair};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            dropping_the_wrapper_closes_the_connection,
            "Connections leak: the peer never learns that we are gone.",
        ),
        Case::of(
            dropping_after_a_wait_closes_the_connection,
            "A connection that was ever waited for is not closed when dropped.",
        ),
        Case::of(
            the_inner_value_is_handed_out_open,
            "A socket that was taken back out is closed behind its new owner's back.",
        ),
        Case::of(
            other_owners_keep_the_descriptor_open,
            "A socket that is shared with other code is closed under it.",
        ),
        Case::of(
            a_waiting_reader_sees_the_end,
            "A reader sleeps for ever after its peer has gone.",
        ),
        Case::of(
            a_waiting_writer_sees_the_reader_go,
            "A sender with a full buffer sleeps for ever after its peer has gone.",
        ),
        Case::of(
            a_half_close_leaves_the_answer_open,
            "Request, half-close, answer: the answer is lost.",
        ),
        Case::of(
            a_half_close_wakes_a_waiting_reader,
            "A reader that reads to the end does not see the end.",
        ),
        Case::of(
            the_last_bytes_arrive_before_the_end,
            "The end of a stream that came with its last bytes is lost, or the bytes are.",
        ),
        Case::of(
            the_end_stays_the_end,
            "A second read after the end sleeps for ever.",
        ),
        Case::of(
            a_reset_reaches_a_waiting_reader,
            "A reader sleeps for ever after a reset, or takes it for a clean end.",
        ),
        Case::of(
            shutdown_after_a_reset_ends,
            "Closing a connection that the peer has reset hangs.",
        ),
        Case::of(
            closing_can_be_repeated,
            "Closing twice is an error, or hangs.",
        ),
        Case::of(
            peer_closed_tells_the_end_and_nothing_else,
            "Code that watches for vanished clients drops living ones, or never notices.",
        ),
    ]
}

fn dropping_the_wrapper_closes_the_connection(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, mut there) = tcp_pair();
        drop(here);
        steps.step("reading what should be the end");
        assert_eq!(there.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

fn dropping_after_a_wait_closes_the_connection(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, mut there) = tcp_pair();
        // A future that gave up, and a waker in the slot of the poll functions, which nobody takes back.
        let bell = Bell::new();
        assert!(poll_with(pin!(here.readable()), &bell.waker()).is_pending());
        assert!(poll_with(pin!((&here).read(&mut [0; 8])), &bell.waker()).is_pending());
        drop(here);
        steps.step("reading what should be the end");
        assert_eq!(there.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(bell.owners(), 1, "a dropped source kept a waker");
    });
}

fn the_inner_value_is_handed_out_open(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        assert!(poll_with(pin!(here.readable()), &Bell::new().waker()).is_pending());
        let inner = here.into_inner().unwrap();
        send_byte(&inner);
        steps.step("waiting for a byte from the inner value");
        there.readable().await.unwrap();
        take_byte(there.get_ref());
    });
}

fn other_owners_keep_the_descriptor_open(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = raw_tcp_pair();
        let here = Arc::new(here);
        let there = Async::new(there).unwrap();
        let wrapped = Async::new(here.clone()).unwrap();
        assert!(poll_with(pin!(wrapped.readable()), &Bell::new().waker()).is_pending());
        drop(wrapped);
        send_byte(&here);
        steps.step("waiting for a byte from the other owner");
        there.readable().await.unwrap();
        take_byte(there.get_ref());
    });
}

fn a_waiting_reader_sees_the_end(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (here, mut there) = tcp_pair();
        let waiting = Gate::new();
        let gate = waiting.clone();
        let reader =
            tasks.spawn(async move { announce(&gate, there.read(&mut [0; 8])).await.unwrap() });
        waiting.passed().await;
        drop(here);
        tasks.step("waiting for the reader to see the end");
        assert_eq!(reader.await, 0);
    });
}

fn a_waiting_writer_sees_the_reader_go(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (mut here, there) = tcp_pair();
        let waiting = Gate::new();
        let gate = waiting.clone();
        let writer = tasks.spawn(async move {
            let chunk = vec![b'#'; 64 * 1024];
            loop {
                if let Err(error) = announce(&gate, here.write(&chunk)).await {
                    return error.kind();
                }
            }
        });
        waiting.passed().await;
        drop(there);
        tasks.step("waiting for the writer to see that nobody reads");
        let kind = writer.await;
        assert!(
            matches!(
                kind,
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
            ),
            "{kind:?}"
        );
    });
}

fn a_half_close_leaves_the_answer_open(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (mut here, mut there) = tcp_pair();
        here.write_all(b"question").await.unwrap();
        here.get_ref().shutdown(Shutdown::Write).unwrap();
        let mut question = Vec::new();
        steps.step("reading the question to its end");
        there.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        there.write_all(b"answer").await.unwrap();
        drop(there);
        let mut answer = Vec::new();
        steps.step("reading the answer to its end");
        here.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
    });
}

fn a_half_close_wakes_a_waiting_reader(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (here, mut there) = tcp_pair();
        let waiting = Gate::new();
        let gate = waiting.clone();
        let reader = tasks.spawn(async move {
            let mut all = Vec::new();
            announce(&gate, there.read_to_end(&mut all)).await.unwrap();
            all
        });
        waiting.passed().await;
        here.get_ref().shutdown(Shutdown::Write).unwrap();
        tasks.step("waiting for the reader to see the half-close");
        assert!(reader.await.is_empty());
    });
}

fn the_last_bytes_arrive_before_the_end(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        for round in 0..50 {
            let (mut here, mut there) = tcp_pair();
            let waiting = Gate::new();
            let gate = waiting.clone();
            let reader = tasks.spawn(async move {
                // Longer than the data: the short read says "drained", and the end came with it.
                let mut buffer = [0; 64];
                let first = announce(&gate, there.read(&mut buffer)).await.unwrap();
                let second = there.read(&mut buffer).await.unwrap();
                (first, second)
            });
            // By turns: a reader that waits already, and one that may come late.
            if round % 2 == 0 {
                waiting.passed().await;
            }
            here.write_all(b"last.").await.unwrap();
            drop(here);
            tasks.step(&format!("waiting for the end in round {round}"));
            assert_eq!(reader.await, (5, 0), "round {round}");
        }
    });
}

fn the_end_stays_the_end(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, mut there) = tcp_pair();
        assert!(poll_with(pin!(there.readable()), &Bell::new().waker()).is_pending());
        drop(here);
        for round in 1..=3 {
            steps.step(&format!("reading the end, time {round}"));
            assert_eq!(there.read(&mut [0; 8]).await.unwrap(), 0);
            steps.step(&format!("waiting for readable at the end, time {round}"));
            there.readable().await.unwrap();
        }
    });
}

fn reset(stream: Async<TcpStream>) {
    SockRef::from(stream.get_ref())
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
}

fn a_reset_reaches_a_waiting_reader(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let (here, mut there) = tcp_pair();
        let waiting = Gate::new();
        let gate = waiting.clone();
        let reader = tasks.spawn(async move { announce(&gate, there.read(&mut [0; 8])).await });
        waiting.passed().await;
        reset(here);
        tasks.step("waiting for the reader to see the reset");
        let error = reader.await.expect_err("a reset read as a clean end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

fn shutdown_after_a_reset_ends(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, mut there) = tcp_pair();
        reset(here);
        steps.step("waiting for the reset");
        there.readable().await.unwrap();
        if let Err(error) = there.get_ref().shutdown(Shutdown::Write) {
            assert!(
                matches!(
                    error.kind(),
                    io::ErrorKind::NotConnected | io::ErrorKind::ConnectionReset
                ),
                "{error}"
            );
        }
        steps.step("closing");
        there.close().await.unwrap();
    });
}

fn closing_can_be_repeated(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (mut here, mut there) = tcp_pair();
        here.get_ref().shutdown(Shutdown::Write).unwrap();
        for round in 1..=3 {
            steps.step(&format!("closing, time {round}"));
            here.close().await.unwrap();
        }
        assert_eq!(there.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

fn peer_closed_tells_the_end_and_nothing_else(scene: &Scene) {
    scene.run(async {
        let (mut here, mut there) = tcp_pair();
        quiet("readable", there.readable()).await;
        assert!(!there.peer_closed(), "closed from the beginning");
        here.write_all(b"data").await.unwrap();
        there.readable().await.unwrap();
        assert!(!there.peer_closed(), "closed because of data");
        here.get_ref().shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        there.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"data");
        for _ in 0..100 {
            if there.peer_closed() {
                return;
            }
            // A turn or two, for an event that was not needed to read the end.
            Timer::after(Duration::from_millis(1)).await;
        }
        panic!("the end was read, and peer_closed says no");
    });
}
