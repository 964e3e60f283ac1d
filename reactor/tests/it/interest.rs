//! `ready` says what fired, and waits for nothing else.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_lite::future;
use rustix::net::{SendFlags, send};
use untether::{Async, Interest, Reactor, Readiness};

use crate::support::{Bell, block_on, ends, look};

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

/// What `source` is found to be when `happens` has happened to it, having been pending before.
fn becomes<T>(
    source: &Async<T>,
    reactor: &Reactor,
    interest: Interest,
    happens: impl FnOnce(),
) -> Readiness {
    let (bell, waker) = Bell::new();
    let mut cx = Context::from_waker(&waker);
    let mut ready = pin!(source.ready(interest));
    reactor.enter(|| {
        assert!(ready.as_mut().poll(&mut cx).is_pending(), "at once");
        while look(reactor) != 0 {}
        if bell.rung() != 0 {
            assert!(ready.as_mut().poll(&mut cx).is_pending(), "for nothing");
        }
        let before = bell.rung();
        happens();
        let start = std::time::Instant::now();
        while bell.rung() == before {
            assert!(start.elapsed() < crate::support::PATIENCE, "never woken");
            reactor
                .turn(Some(std::time::Duration::from_millis(10)))
                .unwrap();
        }
        match ready.as_mut().poll(&mut cx) {
            Poll::Ready(found) => found.unwrap(),
            Poll::Pending => panic!("woken, and not ready"),
        }
    })
}

#[test]
fn both_directions_at_once_are_told_apart() {
    block_on(async {
        let (one, mut peer) = UnixStream::pair().unwrap();
        let source = Async::new(one).unwrap();
        let both = Interest::READABLE | Interest::WRITABLE;
        let found = source.ready(both).await.unwrap();
        assert!(found.is_writable() && !found.is_readable(), "{found:?}");
        peer.write_all(b"x").unwrap();
        let found = source.ready(both).await.unwrap();
        assert!(found.is_writable() && found.is_readable(), "{found:?}");
        assert!(!found.is_read_closed() && !found.is_write_closed() && !found.is_error());
        source.get_ref().read_exact(&mut [0]).unwrap();
        let found = source.ready(both).await.unwrap();
        assert!(found.is_writable() && !found.is_readable(), "{found:?}");
        while source.get_ref().write(&[0; 4096]).is_ok() {}
        peer.write_all(b"x").unwrap();
        let found = source.ready(both).await.unwrap();
        assert!(!found.is_writable() && found.is_readable(), "{found:?}");
    });
}

#[test]
fn urgent_data_is_priority_and_other_data_is_not() {
    let reactor = Reactor::new().unwrap();
    let (mut peer, one) = tcp_pair();
    let source = reactor.enter(|| Async::new(one).unwrap());
    peer.write_all(b"nothing urgent").unwrap();
    let found = becomes(&source, &reactor, Interest::PRIORITY, || {
        send(&peer, b"!", SendFlags::OOB).unwrap();
    });
    assert!(found.is_priority(), "{found:?}");
}

#[test]
fn a_refused_datagram_is_an_error_to_collect() {
    let reactor = Reactor::new().unwrap();
    let nobody = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.connect(address).unwrap();
    let source = reactor.enter(|| Async::new(socket).unwrap());
    let found = becomes(&source, &reactor, Interest::ERROR, || {
        source.get_ref().send(b"anybody there?").unwrap();
    });
    assert!(found.is_error(), "{found:?}");
    assert!(source.get_ref().take_error().unwrap().is_some());
}

/// IP_RECVERR: what went wrong lies in a queue of its own, and the socket works on.
#[test]
#[cfg(target_os = "linux")]
fn a_message_in_the_error_queue_is_an_error_to_collect() {
    use std::os::fd::AsRawFd;
    let reactor = Reactor::new().unwrap();
    let nobody = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the value is an int that lives during the call, of the length that is given.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_RECVERR,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(set, 0);
    let source = reactor.enter(|| Async::new(socket).unwrap());
    let collect = || {
        let mut buf = [0; 64];
        let flags = rustix::net::RecvFlags::ERRQUEUE | rustix::net::RecvFlags::DONTWAIT;
        rustix::net::recv(source.get_ref(), &mut buf[..], flags)
    };
    for round in 0..3 {
        let found = becomes(&source, &reactor, Interest::ERROR, || {
            source
                .get_ref()
                .send_to(b"anybody there?", address)
                .unwrap();
        });
        assert!(found.is_error(), "round {round}: {found:?}");
        collect().unwrap();
        // The socket has an error to report as well, once.
        let _ = source.get_ref().take_error();
        assert_eq!(collect().unwrap_err(), rustix::io::Errno::AGAIN);
    }
}

#[test]
fn the_end_of_the_peer_is_a_fact_of_its_own() {
    block_on(async {
        let (mut peer, one) = tcp_pair();
        let source = Async::new(one).unwrap();
        assert!(!source.peer_closed());
        peer.write_all(b"the last").unwrap();
        source.readable().await.unwrap();
        assert!(!source.peer_closed(), "data is no end");
        peer.shutdown(Shutdown::Write).unwrap();
        let start = std::time::Instant::now();
        while !source.peer_closed() {
            assert!(start.elapsed() < crate::support::PATIENCE);
            future::yield_now().await;
        }
        let both = Interest::READABLE | Interest::WRITABLE;
        let found = source.ready(both).await.unwrap();
        assert!(found.is_readable(), "{found:?}");
        let mut all = Vec::new();
        let mut reader = source.get_ref();
        source.readable().await.unwrap();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"the last");
        assert!(source.peer_closed());
        // The other direction is open.
        source.get_ref().write_all(b"answer").unwrap();
        let mut answer = [0; 6];
        peer.read_exact(&mut answer).unwrap();
    });
}

#[test]
fn a_broken_pipe_is_writable_so_that_the_error_is_seen() {
    ends(|| {
        block_on(async {
            let (reader, writer) = rustix::pipe::pipe().unwrap();
            let writer = Async::new(std::fs::File::from(writer)).unwrap();
            while writer.get_ref().write(&[0; 4096]).is_ok() {}
            let gone = async {
                future::yield_now().await;
                drop(reader);
            };
            let (writable, ()) = future::zip(writer.writable(), gone).await;
            writable.unwrap();
            let error = writer
                .write_with(|mut writer| writer.write(b"x"))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        });
    });
}

/// Waits for one thing are not ended by another, and cost no turns of the driver.
#[test]
fn a_wait_for_an_error_is_not_disturbed_by_data() {
    let reactor = Reactor::new().unwrap();
    let (mut peer, one) = tcp_pair();
    let source = reactor.enter(|| Async::new(one).unwrap());
    let mut error = pin!(source.ready(Interest::ERROR));
    let (bell, waker) = Bell::new();
    let mut cx = Context::from_waker(&waker);
    reactor.enter(|| {
        assert!(error.as_mut().poll(&mut cx).is_pending());
        peer.write_all(b"x").unwrap();
        let mut events = 0;
        for _ in 0..100 {
            events += look(&reactor);
        }
        println!("figure: {events} events of 100 looks");
        assert!(events < 10, "{events} events: the driver would spin");
        assert_eq!(bell.rung(), 0);
        let mut noop = Context::from_waker(Waker::noop());
        assert!(error.as_mut().poll(&mut noop).is_pending());
    });
}

#[test]
fn a_reader_beside_a_wait_for_errors_is_woken() {
    let reactor = Reactor::new().unwrap();
    let (one, mut peer) = UnixStream::pair().unwrap();
    reactor.enter(|| {
        let source = Async::new(one).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut error = pin!(source.ready(Interest::ERROR));
        assert!(error.as_mut().poll(&mut cx).is_pending());
        // A back end that was asked for errors alone has to be asked again.
        let found = becomes(&source, &reactor, Interest::READABLE, || {
            peer.write_all(b"x").unwrap();
        });
        assert!(found.is_readable() && !found.is_error(), "{found:?}");
        assert!(error.as_mut().poll(&mut cx).is_pending());
    });
}
