//! What may cross threads, what may be moved, and what a panic may be caught around. A change here breaks users' builds.

use std::fmt::Debug;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use untether::{
    Async, Clock, Elapsed, Interest, NewError, Parker, Reactor, Readable, ReadableOwned, Readiness,
    Timeout, Timer, Unparker, Writable, WritableOwned, timeout,
};

fn crosses_threads<T: Send + Sync>() {}
fn is_sent<T: Send>(_: &T) {}
fn moves<T: Unpin>() {}
fn survives_panics<T: UnwindSafe + RefUnwindSafe>() {}
fn is_debug<T: Debug>() {}

#[test]
fn types_are_as_free_as_what_they_hold() {
    crosses_threads::<Async<TcpStream>>();
    crosses_threads::<Timer>();
    crosses_threads::<Reactor>();
    crosses_threads::<Clock>();
    crosses_threads::<Unparker>();
    crosses_threads::<Readable<'_, TcpStream>>();
    crosses_threads::<ReadableOwned<TcpStream>>();
    crosses_threads::<Writable<'_, TcpStream>>();
    crosses_threads::<WritableOwned<TcpStream>>();
    crosses_threads::<NewError<TcpStream>>();
    crosses_threads::<(Elapsed, Interest, Readiness)>();

    // Pinned or not, whatever is inside.
    struct Stuck(#[allow(dead_code)] std::marker::PhantomPinned);
    moves::<Async<Stuck>>();
    moves::<Timer>();
    moves::<Readable<'_, Stuck>>();
    moves::<ReadableOwned<Stuck>>();
    moves::<Writable<'_, Stuck>>();
    moves::<WritableOwned<Stuck>>();

    survives_panics::<Async<TcpStream>>();
    survives_panics::<Reactor>();

    is_debug::<Async<TcpStream>>();
    is_debug::<Readable<'_, Rc<()>>>();
    is_debug::<Timeout<Timer>>();
    is_debug::<(Timer, Reactor, Parker, Unparker)>();
}

#[test]
fn every_operation_is_a_future_that_can_be_spawned() {
    fn tcp(listener: &Async<TcpListener>, stream: &Async<TcpStream>) {
        is_sent(&listener.accept());
        is_sent(&listener.incoming());
        is_sent(&Async::<TcpStream>::connect(([127, 0, 0, 1], 1)));
        is_sent(&stream.peek(&mut []));
        is_sent(&stream.ready(Interest::READABLE));
        is_sent(&stream.read_with(|_| Ok(())));
        is_sent(&stream.write_with(|_| Ok(())));
        is_sent(&timeout(std::time::Duration::MAX, stream.readable()));
    }
    fn udp(socket: &Async<UdpSocket>) {
        is_sent(&socket.recv_from(&mut []));
        is_sent(&socket.peek_from(&mut []));
        is_sent(&socket.send_to(&[], ([127, 0, 0, 1], 1)));
        is_sent(&socket.recv(&mut []));
        is_sent(&socket.peek(&mut []));
        is_sent(&socket.send(&[]));
    }
    fn unix(
        listener: &Async<UnixListener>,
        stream: &Async<UnixStream>,
        socket: &Async<UnixDatagram>,
    ) {
        is_sent(&listener.accept());
        is_sent(&listener.incoming());
        is_sent(&Async::<UnixStream>::connect("path"));
        is_sent(&stream.writable());
        is_sent(&socket.recv_from(&mut []));
        is_sent(&socket.send_to(&[], "path"));
        is_sent(&socket.recv(&mut []));
        is_sent(&socket.send(&[]));
    }
    // That they compile is the test.
    let _ = (tcp as fn(_, _), udp as fn(_), unix as fn(_, _, _));
}

#[test]
fn a_wait_is_small_enough_to_be_kept_by_the_thousand() {
    assert!(
        size_of::<Async<TcpStream>>() <= 32,
        "{}",
        size_of::<Async<TcpStream>>()
    );
    assert!(size_of::<Timer>() <= 80, "{}", size_of::<Timer>());
    assert!(size_of::<Readable<'_, TcpStream>>() <= 40);
}
