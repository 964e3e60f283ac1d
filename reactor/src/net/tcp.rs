//! TCP: connect, accept, peek.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use futures_core::Stream;
use rustix::net::AddressFamily;

use super::incoming;
use crate::os;
use crate::wrapper::Async;

impl Async<TcpListener> {
    /// Binds a listener; port 0 lets the OS choose.
    ///
    /// # Errors
    /// Those of the system calls.
    ///
    /// ```
    /// use std::net::TcpListener;
    /// use untether::Async;
    ///
    /// let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
    /// assert_ne!(listener.get_ref().local_addr()?.port(), 0);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn bind<A: Into<SocketAddr>>(addr: A) -> io::Result<Async<TcpListener>> {
        Async::new(TcpListener::bind(addr.into())?)
    }

    /// Accepts a connection. Any number of tasks may wait on one listener; a connection wakes all, and one gets it.
    ///
    /// # Errors
    /// Those of the system call, unchanged; never `WouldBlock`. Those that concern one connection
    /// (`ConnectionAborted`) or the process (too many open files: `EMFILE`) leave the listener as it was: call again,
    /// after a pause in the latter case, for the connection that could not be accepted still waits.
    ///
    /// # Cancel safety
    /// A dropped future has accepted nothing.
    pub async fn accept(&self) -> io::Result<(Async<TcpStream>, SocketAddr)> {
        let handle = &self.handle;
        self.read_with(|listener| {
            let (stream, address) = os::accept(listener)?;
            Ok((Async::fresh(stream, handle.is_stream, false), address))
        })
        .await
    }

    /// The connections that are accepted, one after the other; it never ends. After an error, which is an item like
    /// another, it goes on.
    pub fn incoming(&self) -> impl Stream<Item = io::Result<Async<TcpStream>>> + Send + '_ {
        incoming(self, |listener| {
            let (stream, _) = os::accept(&listener.io)?;
            Ok(Async::fresh(stream, listener.handle.is_stream, false))
        })
    }
}

impl Async<TcpStream> {
    /// Connects.
    ///
    /// # Errors
    /// How the attempt turned out (`ConnectionRefused` for instance), or those of making a socket.
    ///
    /// # Cancel safety
    /// A dropped future closes the half-made connection.
    pub async fn connect<A: Into<SocketAddr>>(addr: A) -> io::Result<Async<TcpStream>> {
        let addr = addr.into();
        let family = match addr {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let stream = Async::fresh(TcpStream::from(os::connect(family, &addr)?), true, false);
        stream.writable().await?;
        match stream.get_ref().take_error()? {
            None => Ok(stream),
            Some(error) => Err(error),
        }
    }

    /// Reads without taking: the same bytes come again. Returns how many bytes of `buf` it filled; 0 is the end, or an
    /// empty `buf`.
    ///
    /// # Errors
    /// Those of the system call, unchanged; never `WouldBlock`.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(|stream| stream.peek(buf)).await
    }
}

impl TryFrom<TcpListener> for Async<TcpListener> {
    type Error = io::Error;

    fn try_from(listener: TcpListener) -> io::Result<Self> {
        Async::new(listener)
    }
}

impl TryFrom<TcpStream> for Async<TcpStream> {
    type Error = io::Error;

    fn try_from(stream: TcpStream) -> io::Result<Self> {
        Async::new(stream).map(Async::plain)
    }
}
