//! Bytes, from futures-io's traits to hyper's.
//!
//! hyper hands over uninitialised memory and takes back what was filled of it, in safe code by a copy. So a read goes
//! into a buffer that the thread keeps, initialised once in its life, and what was received is copied: tens of bytes for
//! most requests, instead of zeros over all of hyper's buffer, 8 KiB at least, each time. An idle connection needs no
//! buffer at all.
//!
//! Not here: waiting, which is up to the object that is wrapped.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use untether::Async;

/// A stream of futures-io's traits as one of [`hyper::rt`]'s: an [`Async`] socket, TLS over one, anything.
///
/// Vectored writes are passed on as such. hyper's "shut down" ends the sending side of an `Async<TcpStream>` or
/// `Async<UnixStream>`, and is `poll_close` of everything else, since an [`Async`]'s own `poll_close` leaves the socket as
/// it is.
///
/// What is read goes through a buffer that all streams of a thread share, and that nobody clears in between. A reader that
/// says it has filled more than it has would give out what another stream has read; safe code can be so wrong.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "server")] {
/// use std::convert::Infallible;
/// use std::net::{TcpListener, TcpStream};
/// use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
/// use hyper::{Response, server::conn::http1, service::service_fn};
/// use untether::Async;
/// use untether_hyper::Io;
///
/// let hello = service_fn(async |_| Ok::<_, Infallible>(Response::new(String::from("hello"))));
///
/// // Under any executor.
/// let answer = future::block_on(async {
///     let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
///     let mut client = Async::<TcpStream>::connect(listener.get_ref().local_addr()?).await?;
///     client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
///
///     let (stream, _) = listener.accept().await?;
///     http1::Builder::new().serve_connection(Io::new(stream), hello).await?;
///
///     let mut answer = String::new();
///     client.read_to_string(&mut answer).await?;
///     Ok::<_, Box<dyn std::error::Error>>(answer)
/// }).unwrap();
/// assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"));
/// # }
/// ```
#[derive(Debug)]
pub struct Io<T> {
    inner: T,
    /// What was read before hyper asked, and not yet given to it.
    ahead: Vec<u8>,
}

impl<T> Io<T> {
    /// Wraps a stream.
    pub fn new(inner: T) -> Io<T> {
        Io {
            inner,
            ahead: Vec::new(),
        }
    }

    /// The stream.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// The stream.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// The stream. Inside a service that upgrades it, hyper has been given everything that was read: what the peer sent
    /// early is in the `read_buf` of hyper's `Parts`.
    pub fn into_inner(self) -> T {
        self.inner
    }

    /// What was read ahead.
    #[cfg(feature = "server")]
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.ahead
    }
}

impl<T: AsyncRead + Unpin> Io<T> {
    /// Reads without giving it to hyper yet. Returns how many bytes came; 0 is the end.
    #[cfg(feature = "server")]
    pub(crate) fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Io { inner, ahead } = self;
        with_kept(|kept| {
            // As much as hyper would ask for at first.
            let room = &mut kept[..FIRST];
            let n = ready!(Pin::new(inner).poll_read(cx, room))?;
            ahead.extend_from_slice(&room[..n]);
            Poll::Ready(Ok(n))
        })
    }
}

impl<T: 'static> Io<T> {
    /// Ends the sending side, if it is nothing but a socket.
    fn shut_down(&self) -> Option<io::Result<()>> {
        let any: &dyn Any = &self.inner;
        if let Some(tcp) = any.downcast_ref::<Async<TcpStream>>() {
            return Some(tcp.get_ref().shutdown(Shutdown::Write));
        }
        #[cfg(unix)]
        if let Some(unix) = any.downcast_ref::<Async<UnixStream>>() {
            return Some(unix.get_ref().shutdown(Shutdown::Write));
        }
        None
    }

    /// Whether it is nothing but a socket, and so has nothing to flush. The compiler knows.
    fn is_socket() -> bool {
        #[cfg(unix)]
        if TypeId::of::<T>() == TypeId::of::<Async<UnixStream>>() {
            return true;
        }
        TypeId::of::<T>() == TypeId::of::<Async<TcpStream>>()
    }
}

impl<T: AsyncRead + Unpin> Read for Io<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Io { inner, ahead } = self.get_mut();
        if !ahead.is_empty() {
            let n = ahead.len().min(buf.remaining());
            buf.put_slice(&ahead[..n]);
            // Given away whole in one step, nearly always; then it is gone.
            *ahead = ahead.split_off(n);
            return Poll::Ready(Ok(()));
        }
        with_kept(|kept| {
            let len = kept.len().min(buf.remaining());
            let room = &mut kept[..len];
            let n = ready!(Pin::new(inner).poll_read(cx, room))?;
            buf.put_slice(&room[..n]);
            Poll::Ready(Ok(()))
        })
    }
}

impl<T: AsyncWrite + Unpin + 'static> Write for Io<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if Io::<T>::is_socket() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.shut_down() {
            // The peer has ended it for both; that is what was asked for.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            Some(done) => Poll::Ready(done),
            None => Pin::new(&mut self.get_mut().inner).poll_close(cx),
        }
    }
}

/// As much as is read at once. For uploads that never end 16 KiB cost a tenth more CPU time, 64 KiB a few per cent.
const MOST: usize = 128 * 1024;
/// As much as hyper asks for at first.
#[cfg(feature = "server")]
const FIRST: usize = 8 * 1024;

thread_local! {
    /// This thread's buffer, while nobody reads.
    static KEPT: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Runs `f` with this thread's buffer. A read inside `f` (TLS over another of ours, say) finds it taken, and gets one of
/// its own.
fn with_kept<R>(f: impl FnOnce(&mut [u8]) -> R) -> R {
    // It fails while the thread ends.
    let kept = KEPT.try_with(Cell::take).ok().flatten();
    let mut kept = kept.unwrap_or_else(|| vec![0; MOST].into_boxed_slice());
    let result = f(&mut kept);
    let _ = KEPT.try_with(|place| place.set(Some(kept)));
    result
}
