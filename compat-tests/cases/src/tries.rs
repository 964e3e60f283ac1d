//! Operations that do not wait, and waits for more than room and data.

use std::io::{self, Read, Write};
use std::pin::pin;

use untether::{Async, Interest};

use crate::case::Case;
#[cfg(target_os = "linux")]
use crate::case::Need;
use crate::gate::{Bell, poll_with};
use crate::scene::Scene;
use crate::wires::{drain, quiet, send_byte, tcp_pair};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(
            try_read_with_asks_only_when_ready,
            "A try costs a system call though it is known that there is nothing, or data is never seen.",
        ),
        Case::of(
            try_write_with_asks_only_when_ready,
            "A try costs a system call though it is known that there is no room, or room is never seen.",
        ),
        Case::of(
            ready_waits_for_what_was_asked,
            "Waiting for data ends because there is room, and spins.",
        ),
        Case::of(
            ready_tells_both_directions,
            "Readiness of one direction hides the other.",
        ),
        Case::of(
            ready_tells_the_end,
            "A closed connection is not told apart from one with data.",
        ),
        #[cfg(target_os = "linux")]
        Case::of(
            priority_tells_of_out_of_band_data,
            "Urgent data is not noticed.",
        )
        .needs(&[Need::Linux]),
        #[cfg(target_os = "linux")]
        Case::of(
            error_tells_of_a_refused_datagram,
            "An entry in the error queue is not noticed.",
        )
        .needs(&[Need::Linux]),
    ]
}

/// Tries to read; tells what came of it, and whether the operation was called.
fn try_read(source: &Async<std::net::TcpStream>) -> (io::Result<usize>, bool) {
    let mut called = false;
    let mut buffer = [0; 8];
    let result = source.try_read_with(|mut stream| {
        called = true;
        stream.read(&mut buffer)
    });
    (result, called)
}

fn try_write(source: &Async<std::net::TcpStream>) -> (io::Result<usize>, bool) {
    let mut called = false;
    let chunk = [b'#'; 16 * 1024];
    let result = source.try_write_with(|mut stream| {
        called = true;
        stream.write(&chunk)
    });
    (result, called)
}

fn would_block<T: std::fmt::Debug>(result: io::Result<T>) {
    let error = result.expect_err("there was nothing to be had");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
}

fn try_read_with_asks_only_when_ready(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        // The first try may ask: nothing is known yet.
        would_block(try_read(&there).0);
        for round in 1..=3 {
            let (result, called) = try_read(&there);
            would_block(result);
            assert!(!called, "asked though it is known that there is nothing");
            send_byte(here.get_ref());
            steps.step(&format!("waiting for the byte of round {round}"));
            there.readable().await.unwrap();
            let (result, called) = try_read(&there);
            assert_eq!(result.unwrap(), 1);
            assert!(called);
            // Whether the source is drained may be known from the short read, or from this.
            would_block(try_read(&there).0);
        }
    });
}

fn try_write_with_asks_only_when_ready(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let (result, called) = try_write(&here);
        assert!(called, "a fresh stream has room");
        let mut written = result.unwrap();
        // The kernel moves bytes for a while after it has said that there is no room.
        let mut refusals = 0;
        while refusals < 3 {
            match try_write(&here) {
                (Ok(n), _) => {
                    written += n;
                    refusals = 0;
                }
                (Err(error), _) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                    refusals += 1;
                    untether::Timer::after(std::time::Duration::from_millis(2)).await;
                }
            }
        }
        let (result, called) = try_write(&here);
        would_block(result);
        assert!(!called, "asked though it is known that there is no room");
        let bell = Bell::new();
        let mut room = pin!(here.writable());
        assert!(poll_with(room.as_mut(), &bell.waker()).is_pending());
        drain(&there, written).await;
        steps.step("waiting for room");
        room.await.unwrap();
        let (result, called) = try_write(&here);
        assert!(result.unwrap() > 0);
        assert!(called);
    });
}

fn ready_waits_for_what_was_asked(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        there.writable().await.unwrap();
        quiet("ready for reading", there.ready(Interest::READABLE)).await;
        steps.step("waiting for room");
        let ready = there.ready(Interest::WRITABLE).await.unwrap();
        assert!(ready.is_writable());
        send_byte(here.get_ref());
        steps.step("waiting for data");
        let ready = there.ready(Interest::READABLE).await.unwrap();
        assert!(ready.is_readable());
        assert!(!ready.is_read_closed(), "{ready:?}");
    });
}

fn ready_tells_both_directions(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        send_byte(here.get_ref());
        steps.step("waiting for each direction");
        there.readable().await.unwrap();
        there.writable().await.unwrap();
        steps.step("waiting for either");
        let both = Interest::READABLE | Interest::WRITABLE;
        let ready = there.ready(both).await.unwrap();
        assert!(ready.is_readable() && ready.is_writable(), "{ready:?}");
        // Using one up leaves the other.
        assert_eq!(try_read(&there).0.unwrap(), 1);
        would_block(try_read(&there).0);
        let ready = there.ready(both).await.unwrap();
        assert!(!ready.is_readable() && ready.is_writable(), "{ready:?}");
    });
}

fn ready_tells_the_end(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        let bell = Bell::new();
        let mut wait = pin!(there.ready(Interest::READABLE));
        assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
        drop(here);
        steps.step("waiting for the end");
        let ready = wait.await.unwrap();
        // The end is something to read: a read says what it is.
        assert!(ready.is_readable(), "{ready:?}");
        assert_eq!(try_read(&there).0.unwrap(), 0);
        if cfg!(target_os = "linux") {
            assert!(ready.is_read_closed(), "{ready:?}");
        }
    });
}

#[cfg(target_os = "linux")]
fn priority_tells_of_out_of_band_data(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let (here, there) = tcp_pair();
        quiet("ready for priority", there.ready(Interest::PRIORITY)).await;
        // Data in the band is not urgent.
        send_byte(here.get_ref());
        there.readable().await.unwrap();
        quiet("ready for priority", there.ready(Interest::PRIORITY)).await;
        let bell = Bell::new();
        let mut wait = pin!(there.ready(Interest::PRIORITY));
        assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
        socket2::SockRef::from(here.get_ref())
            .send_out_of_band(b"!")
            .unwrap();
        steps.step("waiting for urgent data");
        let ready = wait.await.unwrap();
        assert!(ready.is_priority(), "{ready:?}");
    });
}

#[cfg(target_os = "linux")]
fn error_tells_of_a_refused_datagram(scene: &Scene) {
    use std::net::{Ipv4Addr, UdpSocket};

    let steps = scene.clone();
    scene.run(async move {
        // Its port is taken, and it hears only a third party: for everybody else the port is closed.
        let reserved = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        reserved.connect((Ipv4Addr::LOCALHOST, 9)).unwrap();
        let (socket, _) = crate::wires::udp_socket();
        let closed = reserved.local_addr().unwrap();
        // The system tells only a connected socket what became of its datagrams.
        socket.get_ref().connect(closed).unwrap();
        quiet("ready for errors", socket.ready(Interest::ERROR)).await;
        let bell = Bell::new();
        let mut wait = pin!(socket.ready(Interest::ERROR));
        assert!(poll_with(wait.as_mut(), &bell.waker()).is_pending());
        socket.get_ref().send(b"anybody there?").unwrap();
        steps.step("waiting for the error");
        let ready = wait.await.unwrap();
        assert!(ready.is_error(), "{ready:?}");
    });
}
