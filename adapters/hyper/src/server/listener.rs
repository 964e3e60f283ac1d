//! Where connections come from.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use untether::Async;

/// Something that accepts connections, for [`Server`](crate::Server).
pub trait Listener {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Who is at its other end.
    type Address;

    /// Accepts the next connection.
    ///
    /// # Errors
    /// [`Server`](crate::Server) goes on after those that concern one client, and after a pause when descriptors or memory
    /// are out.
    ///
    /// # Cancel safety
    /// A dropped future must have accepted nothing.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Io, Self::Address)>> + Send;

    /// The same connections behind a handshake, TLS for instance, that each makes in its own task.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::net::TcpListener;
    /// use futures_rustls::TlsAcceptor;
    /// use untether::Async;
    /// use untether_hyper::Listener;
    ///
    /// # fn listener(acceptor: TlsAcceptor) -> std::io::Result<impl Listener> {
    /// let listener = Async::<TcpListener>::bind(([0, 0, 0, 0], 443))?;
    /// Ok(listener.secured(move |tcp| acceptor.accept(tcp)))
    /// # }
    /// ```
    fn secured<F, H>(self, handshake: F) -> Secured<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Io) -> H,
    {
        Secured {
            listener: self,
            handshake,
        }
    }
}

/// Connections with `TCP_NODELAY`: hyper writes what belongs together at once, and waits for nothing more.
impl Listener for Async<TcpListener> {
    type Io = Async<TcpStream>;
    type Address = SocketAddr;

    async fn accept(&self) -> io::Result<(Async<TcpStream>, SocketAddr)> {
        let (stream, address) = Async::<TcpListener>::accept(self).await?;
        // It fails if the connection is over already, and then the first read says so.
        let _ = stream.get_ref().set_nodelay(true);
        Ok((stream, address))
    }
}

#[cfg(unix)]
impl Listener for Async<UnixListener> {
    type Io = Async<UnixStream>;
    type Address = UnixAddr;

    async fn accept(&self) -> io::Result<(Async<UnixStream>, UnixAddr)> {
        Async::<UnixListener>::accept(self).await
    }
}

/// A listener whose connections begin with a handshake. See [`Listener::secured`].
#[derive(Clone)]
pub struct Secured<L, F> {
    listener: L,
    handshake: F,
}

impl<L, F, H, T> Listener for Secured<L, F>
where
    L: Listener + Sync,
    L::Address: Send,
    F: Fn(L::Io) -> H + Sync,
    H: Future<Output = io::Result<T>> + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Io = Deferred<H, T>;
    type Address = L::Address;

    async fn accept(&self) -> io::Result<(Deferred<H, T>, L::Address)> {
        let (stream, address) = self.listener.accept().await?;
        Ok((Deferred::new((self.handshake)(stream)), address))
    }
}

impl<L: fmt::Debug, F> fmt::Debug for Secured<L, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secured").field(&self.listener).finish()
    }
}

/// A stream that is yet to be made: whoever reads or writes first makes it.
///
/// So a TLS handshake is waited for by its own connection, as part of its first request, and held to the same time-out.
pub struct Deferred<H, T> {
    state: State<H, T>,
}

enum State<H, T> {
    Making(Pin<Box<H>>),
    Made(T),
    Failed,
}

impl<H, T> Deferred<H, T> {
    /// A stream that `making` will make.
    pub fn new(making: H) -> Deferred<H, T> {
        Deferred {
            state: State::Making(Box::pin(making)),
        }
    }

    /// The stream, if it has been made.
    pub fn get_ref(&self) -> Option<&T> {
        match &self.state {
            State::Made(stream) => Some(stream),
            State::Making(_) | State::Failed => None,
        }
    }

    /// The stream, if it has been made. After a request it has.
    pub fn into_inner(self) -> Option<T> {
        match self.state {
            State::Made(stream) => Some(stream),
            State::Making(_) | State::Failed => None,
        }
    }
}

impl<H: Future<Output = io::Result<T>>, T: Unpin> Deferred<H, T> {
    fn poll_made(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut T>>> {
        if let State::Making(making) = &mut self.state {
            self.state = match ready!(making.as_mut().poll(cx)) {
                Ok(stream) => State::Made(stream),
                Err(error) => {
                    self.state = State::Failed;
                    return Poll::Ready(Err(error));
                }
            };
        }
        Poll::Ready(match &mut self.state {
            State::Made(stream) => Ok(Pin::new(stream)),
            State::Making(_) | State::Failed => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl<H, T> Unpin for Deferred<H, T> {}

impl<H, T> AsyncRead for Deferred<H, T>
where
    H: Future<Output = io::Result<T>>,
    T: AsyncRead + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_made(cx))?.poll_read(cx, buf)
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_made(cx))?.poll_read_vectored(cx, bufs)
    }
}

impl<H, T> AsyncWrite for Deferred<H, T>
where
    H: Future<Output = io::Result<T>>,
    T: AsyncWrite + Unpin,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_made(cx))?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_made(cx))?.poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().state {
            State::Made(stream) => Pin::new(stream).poll_flush(cx),
            // Nothing was written.
            State::Making(_) | State::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().state {
            State::Made(stream) => Pin::new(stream).poll_close(cx),
            // Nobody to say goodbye to; dropping it closes what is beneath.
            State::Making(_) | State::Failed => Poll::Ready(Ok(())),
        }
    }
}

impl<H, T: fmt::Debug> fmt::Debug for Deferred<H, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Making(_) => f.write_str("Deferred(being made)"),
            State::Made(stream) => f.debug_tuple("Deferred").field(stream).finish(),
            State::Failed => f.write_str("Deferred(failed)"),
        }
    }
}
