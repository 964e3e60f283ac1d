//! `Io`: what hyper hands over arrives as it was handed over.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use hyper::rt::{Read, ReadBuf, Write};
use untether::Async;
use untether_hyper::Io;

use crate::run;

/// Gives `bytes` to a reader, as many at once as it asks for, and keeps what is written to it.
#[derive(Default)]
struct Script {
    bytes: Vec<u8>,
    written: Vec<Vec<u8>>,
    largest_ask: usize,
    closed: bool,
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.largest_ask = self.largest_ask.max(buf.len());
        let n = buf.len().min(self.bytes.len());
        buf[..n].copy_from_slice(&self.bytes[..n]);
        self.bytes.drain(..n);
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        panic!("not vectored")
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written.extend(bufs.iter().map(|buf| buf.to_vec()));
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closed = true;
        Poll::Ready(Ok(()))
    }
}

fn read<T: AsyncRead + Unpin>(io: &mut Io<T>, most: usize) -> Vec<u8> {
    let mut room = vec![0xEE; most];
    let mut buf = ReadBuf::new(&mut room);
    let mut cx = Context::from_waker(Waker::noop());
    match Pin::new(io).poll_read(&mut cx, buf.unfilled()) {
        Poll::Ready(read) => read.unwrap(),
        Poll::Pending => panic!("pending"),
    }
    buf.filled().to_vec()
}

#[test]
fn vectored_writes_stay_vectored() {
    let mut io = Io::new(Script::default());
    assert!(io.is_write_vectored());
    let mut cx = Context::from_waker(Waker::noop());
    let bufs = [IoSlice::new(b"head"), IoSlice::new(b"body")];
    let wrote = Pin::new(&mut io).poll_write_vectored(&mut cx, &bufs);
    assert!(matches!(wrote, Poll::Ready(Ok(8))));
    assert_eq!(io.get_ref().written, [b"head", b"body"]);
}

#[test]
fn a_read_asks_for_no_more_than_there_is_room_for() {
    let mut io = Io::new(Script {
        bytes: (0..=255).collect(),
        ..Script::default()
    });
    assert_eq!(read(&mut io, 10), (0..10).collect::<Vec<u8>>());
    assert_eq!(io.get_ref().largest_ask, 10);
    assert_eq!(read(&mut io, 1000), (10..=255).collect::<Vec<u8>>());
    assert_eq!(read(&mut io, 1000), []);
}

#[test]
fn what_is_not_a_socket_is_closed_in_its_own_way() {
    let mut io = Io::new(Script::default());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut io).poll_shutdown(&mut cx).is_ready());
    assert!(io.into_inner().closed);
}

#[test]
fn shutting_down_a_socket_ends_what_the_peer_reads_and_not_what_it_writes() {
    run(async |_| {
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
        let address = listener.get_ref().local_addr().unwrap();
        let mut peer = Async::<TcpStream>::connect(address).await.unwrap();
        let mut io = Io::new(listener.accept().await.unwrap().0);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            let shut = Pin::new(&mut io).poll_shutdown(&mut cx);
            assert!(matches!(shut, Poll::Ready(Ok(()))));
        }
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
        peer.write_all(b"still").await.unwrap();
        peer.get_ref().shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        io.get_mut().read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"still");
    });
}

/// Reads through another `Io`, as TLS over one of ours would.
struct Nested(Io<Script>);

impl AsyncRead for Nested {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        buf[0] = 1;
        let inner = read(&mut self.0, 4);
        assert_eq!(buf[0], 1, "the inner read used the outer one's buffer");
        buf[..inner.len()].copy_from_slice(&inner);
        Poll::Ready(Ok(inner.len()))
    }
}

#[test]
fn a_read_within_a_read_has_a_buffer_of_its_own() {
    let script = Script {
        bytes: vec![7; 6],
        ..Script::default()
    };
    let mut io = Io::new(Nested(Io::new(script)));
    assert_eq!(read(&mut io, 100), [7; 4]);
    assert_eq!(read(&mut io, 100), [7; 2]);
}

/// Claims more than it was given room for.
struct Liar;

impl AsyncRead for Liar {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len() + 1))
    }
}

#[test]
#[should_panic(expected = "out of range")]
fn a_reader_cannot_claim_what_lies_beyond_its_room() {
    read(&mut Io::new(Liar), 8);
}
