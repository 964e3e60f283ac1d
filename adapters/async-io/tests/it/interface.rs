//! Every name, signature and trait of async-io 2.6, as a program that compiles only if they are there.
//!
//! `ci/downstream.sh` compiles this file against the original as well: what it asks for is what async-io has.

#![allow(dead_code, clippy::type_complexity)]

use std::fmt::Debug;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_io::{Async, IoSafe, Readable, ReadableOwned, Timer, Writable, WritableOwned, block_on};
use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::Stream;

/// A future that a task may take from thread to thread.
fn roams<T>(_: impl Future<Output = T> + Send) {}

fn roams_as_stream<T>(_: impl Stream<Item = T> + Send) {}

fn is_a_future<T>(_: &(impl Future<Output = T> + Unpin + Send + Sync + Debug)) {}

fn goes_anywhere<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}

/// An implementor of somebody else's.
struct Wrapped(TcpStream);

// SAFETY: the stream is never taken out.
unsafe impl IoSafe for Wrapped {}

#[test]
fn timers() {
    let _: fn() -> Timer = Timer::never;
    let _: fn(Duration) -> Timer = Timer::after;
    let _: fn(Instant) -> Timer = Timer::at;
    let _: fn(Duration) -> Timer = Timer::interval;
    let _: fn(Instant, Duration) -> Timer = Timer::interval_at;
    let _: fn(&Timer) -> bool = Timer::will_fire;
    let _: fn(&mut Timer, Duration) = Timer::set_after;
    let _: fn(&mut Timer, Instant) = Timer::set_at;
    let _: fn(&mut Timer, Duration) = Timer::set_interval;
    let _: fn(&mut Timer, Instant, Duration) = Timer::set_interval_at;
    let _: fn(&mut Timer) = Timer::clear;
    goes_anywhere_but_unwinds::<Timer>();
    is_a_future::<Instant>(&Timer::never());
    roams_as_stream::<Instant>(Timer::never());
}

fn goes_anywhere_but_unwinds<T: Send + Sync + Unpin>() {}

#[test]
fn waiting() {
    goes_anywhere::<Async<TcpStream>>();
    fn futures<'a, T: Send + Sync>(io: &'a Async<T>, shared: Arc<Async<T>>) {
        let readable: Readable<'a, T> = io.readable();
        let writable: Writable<'a, T> = io.writable();
        let readable_owned: ReadableOwned<T> = shared.clone().readable_owned();
        let writable_owned: WritableOwned<T> = shared.writable_owned();
        is_a_future::<io::Result<()>>(&readable);
        is_a_future::<io::Result<()>>(&writable);
        is_a_future::<io::Result<()>>(&readable_owned);
        is_a_future::<io::Result<()>>(&writable_owned);
    }
    let _: fn(&Async<TcpStream>, Arc<Async<TcpStream>>) = futures;
    let _: fn(&Async<u8>, &mut Context<'_>) -> Poll<io::Result<()>> = Async::poll_readable;
    let _: fn(&Async<u8>, &mut Context<'_>) -> Poll<io::Result<()>> = Async::poll_writable;
}

#[test]
fn wrapping_and_operations() {
    fn whatever_it_wraps<T: Debug>(io: &mut Async<T>) -> &mut T {
        let _: &T = io.get_ref();
        let _: &T = io.as_ref();
        let _: &dyn Debug = &*io;
        // SAFETY: nothing is done with it.
        unsafe { io.get_mut() }
    }
    let _: for<'a> fn(&'a mut Async<u8>) -> &'a mut u8 = whatever_it_wraps;
    let _: fn(Async<TcpStream>) -> io::Result<TcpStream> = Async::into_inner;

    async fn operations(io: &mut Async<TcpStream>) -> io::Result<()> {
        let _: u8 = io.read_with(|_: &TcpStream| Ok(0)).await?;
        let _: u8 = io.write_with(|_: &TcpStream| Ok(0)).await?;
        // SAFETY: the stream is left where it is.
        let _: u8 = unsafe { io.read_with_mut(|_: &mut TcpStream| Ok(0)).await? };
        // SAFETY: the same.
        let _: u8 = unsafe { io.write_with_mut(|_: &mut TcpStream| Ok(0)).await? };
        Ok(())
    }
    fn all_roam(io: &mut Async<TcpStream>) {
        roams(operations(io));
    }
    let _: fn(&mut Async<TcpStream>) = all_roam;
}

#[test]
fn the_io_traits() {
    fn reads<T: AsyncRead>() {}
    fn writes<T: AsyncWrite>() {}
    fn whoever_reads<T: IoSafe + Read>() {
        reads::<Async<T>>();
    }
    fn whoever_writes<T: IoSafe + Write>() {
        writes::<Async<T>>();
    }
    fn whoever_is_shared<T>()
    where
        for<'a> &'a T: Read + Write,
    {
        reads::<&Async<T>>();
        writes::<&Async<T>>();
    }
    whoever_reads::<TcpStream>();
    whoever_writes::<TcpStream>();
    whoever_is_shared::<TcpStream>();

    fn is_safe<T: IoSafe + ?Sized>() {}
    is_safe::<Wrapped>();
    is_safe::<&u8>();
    is_safe::<&mut TcpStream>();
    is_safe::<Box<TcpStream>>();
    is_safe::<std::fs::File>();
    is_safe::<io::Stdin>();
    is_safe::<io::Stdout>();
    is_safe::<io::Stderr>();
    is_safe::<io::StdinLock<'_>>();
    is_safe::<io::StdoutLock<'_>>();
    is_safe::<io::StderrLock<'_>>();
    is_safe::<std::process::ChildStdin>();
    is_safe::<std::process::ChildStdout>();
    is_safe::<std::process::ChildStderr>();
    is_safe::<io::BufReader<TcpStream>>();
    is_safe::<io::BufWriter<TcpStream>>();
    is_safe::<io::LineWriter<TcpStream>>();
    fn cow<T: Clone + IoSafe>() {
        is_safe::<std::borrow::Cow<'_, T>>();
    }
    cow::<&u8>();
}

#[test]
fn tcp_and_udp() {
    let _: fn([u8; 0]) = |_| {
        fn listener(listener: &Async<TcpListener>) {
            roams::<io::Result<(Async<TcpStream>, SocketAddr)>>(listener.accept());
            roams_as_stream::<io::Result<Async<TcpStream>>>(listener.incoming());
        }
        fn stream(stream: &Async<TcpStream>) {
            roams::<io::Result<Async<TcpStream>>>(Async::<TcpStream>::connect(([0; 4], 0)));
            roams::<io::Result<usize>>(stream.peek(&mut []));
        }
        fn socket(socket: &Async<UdpSocket>) {
            roams::<io::Result<(usize, SocketAddr)>>(socket.recv_from(&mut []));
            roams::<io::Result<(usize, SocketAddr)>>(socket.peek_from(&mut []));
            roams::<io::Result<usize>>(socket.send_to(&[], ([0; 4], 0)));
            roams::<io::Result<usize>>(socket.recv(&mut []));
            roams::<io::Result<usize>>(socket.peek(&mut []));
            roams::<io::Result<usize>>(socket.send(&[]));
        }
        let _: (fn(&_), fn(&_), fn(&_)) = (listener, stream, socket);
    };
    let _: fn(SocketAddr) -> io::Result<Async<TcpListener>> = Async::<TcpListener>::bind;
    let _: fn(SocketAddr) -> io::Result<Async<UdpSocket>> = Async::<UdpSocket>::bind;
    let _: fn(TcpListener) -> io::Result<Async<TcpListener>> = Async::try_from;
    let _: fn(TcpStream) -> io::Result<Async<TcpStream>> = Async::try_from;
    let _: fn(UdpSocket) -> io::Result<Async<UdpSocket>> = Async::try_from;
}

#[test]
fn blocking() {
    // Neither the future nor what it gives has to be Send or 'static.
    let here = std::rc::Rc::new(7);
    let borrowed = &here;
    assert_eq!(block_on::<i32>(async { **borrowed }), 7);
}

#[cfg(unix)]
mod unix {
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
    use std::path::Path;

    use super::*;

    #[test]
    fn descriptors() {
        fn whatever_has_one<T: AsFd + AsRawFd + From<OwnedFd> + Into<OwnedFd>>() {
            let _: fn(T) -> io::Result<Async<T>> = Async::new;
            let _: fn(T) -> io::Result<Async<T>> = Async::new_nonblocking;
            fn has<T: AsFd + AsRawFd>() {}
            has::<Async<T>>();
            let _: fn(OwnedFd) -> Result<Async<T>, io::Error> = Async::try_from;
            let _: fn(Async<T>) -> Result<OwnedFd, io::Error> = OwnedFd::try_from;
        }
        whatever_has_one::<UnixStream>();
        fn only_as_fd<T: AsFd>(io: T) -> io::Result<Async<T>> {
            Async::new(io)
        }
        let _: fn(UnixStream) -> io::Result<Async<UnixStream>> = only_as_fd;
        let _: fn() -> Option<BorrowedFd<'static>> = async_io::os::unix::reactor_fd;
        fn is_safe<T: IoSafe>() {}
        is_safe::<UnixStream>();
    }

    #[test]
    fn sockets() {
        let _: fn([u8; 0]) = |_| {
            fn listener(listener: &Async<UnixListener>) {
                roams::<io::Result<(Async<UnixStream>, SocketAddr)>>(listener.accept());
                roams_as_stream::<io::Result<Async<UnixStream>>>(listener.incoming());
                roams::<io::Result<Async<UnixStream>>>(Async::<UnixStream>::connect("/"));
            }
            fn socket(socket: &Async<UnixDatagram>) {
                roams::<io::Result<(usize, SocketAddr)>>(socket.recv_from(&mut []));
                roams::<io::Result<usize>>(socket.send_to(&[], Path::new("/")));
                roams::<io::Result<usize>>(socket.recv(&mut []));
                roams::<io::Result<usize>>(socket.send(&[]));
            }
            let _: (fn(&_), fn(&_)) = (listener, socket);
        };
        let _: fn(&'static str) -> io::Result<Async<UnixListener>> = Async::<UnixListener>::bind;
        let _: fn(&'static str) -> io::Result<Async<UnixDatagram>> = Async::<UnixDatagram>::bind;
        let _: fn() -> io::Result<Async<UnixDatagram>> = Async::<UnixDatagram>::unbound;
        let _: fn() -> io::Result<(Async<UnixDatagram>, Async<UnixDatagram>)> =
            Async::<UnixDatagram>::pair;
        let _: fn() -> io::Result<(Async<UnixStream>, Async<UnixStream>)> =
            Async::<UnixStream>::pair;
        let _: fn(UnixListener) -> io::Result<Async<UnixListener>> = Async::try_from;
        let _: fn(UnixStream) -> io::Result<Async<UnixStream>> = Async::try_from;
        let _: fn(UnixDatagram) -> io::Result<Async<UnixDatagram>> = Async::try_from;
    }
}

#[cfg(windows)]
mod windows {
    use std::os::windows::io::{AsHandle, AsRawHandle, AsRawSocket, AsSocket};
    use std::os::windows::io::{OwnedHandle, OwnedSocket};

    use async_io::os::windows::{Ready, Waitable};

    use super::*;

    #[test]
    fn sockets_and_handles() {
        fn whatever_is_a_socket<T>()
        where
            T: AsSocket + AsRawSocket + From<OwnedSocket> + Into<OwnedSocket>,
        {
            let _: fn(T) -> io::Result<Async<T>> = Async::new;
            let _: fn(T) -> io::Result<Async<T>> = Async::new_nonblocking;
            fn has<T: AsSocket + AsRawSocket>() {}
            has::<Async<T>>();
            let _: fn(OwnedSocket) -> Result<Async<T>, io::Error> = Async::try_from;
            let _: fn(Async<T>) -> Result<OwnedSocket, io::Error> = OwnedSocket::try_from;
        }
        whatever_is_a_socket::<TcpStream>();
        fn whatever_is_a_handle<T>()
        where
            T: AsHandle + AsRawHandle + From<OwnedHandle> + Into<OwnedHandle>,
        {
            let _: fn(T) -> io::Result<Waitable<T>> = Waitable::new;
            let _: fn(&Waitable<T>) -> &T = Waitable::get_ref;
            let _: unsafe fn(&mut Waitable<T>) -> &mut T = Waitable::get_mut;
            let _: fn(Waitable<T>) -> io::Result<T> = Waitable::into_inner;
            let _: fn(&Waitable<T>) -> Ready<'_, T> = Waitable::ready;
            let _: fn(&Waitable<T>, &mut Context<'_>) -> Poll<io::Result<()>> =
                Waitable::poll_ready;
        }
        whatever_is_a_handle::<OwnedHandle>();
    }
}
