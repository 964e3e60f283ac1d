//! Unix domain sockets: streams and datagrams. On Linux a path that starts with NUL is an abstract name.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use futures_core::Stream;
use rustix::net::AddressFamily;

use super::incoming;
use crate::os::{self, unix::std_unix_address, unix::unix_address};
use crate::timer::Timer;
use crate::wrapper::Async;

/// How long a connect waits for room in a full backlog before it tries again: at first, and at most.
const ROOM: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(64));

impl Async<UnixListener> {
    /// Binds a listener to a path, which must not exist.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Async<UnixListener>> {
        let address = std_unix_address(path.as_ref())?;
        Async::new(UnixListener::bind_addr(&address)?)
    }

    /// Accepts a connection. Any number of tasks may wait on one listener; a connection wakes all, and one gets it.
    ///
    /// # Errors
    /// Those of the system call, unchanged; never `WouldBlock`. They leave the listener as it was.
    ///
    /// # Cancel safety
    /// A dropped future has accepted nothing.
    pub async fn accept(&self) -> io::Result<(Async<UnixStream>, SocketAddr)> {
        let handle = &self.handle;
        self.read_with(|listener| accept(listener, handle.is_stream))
            .await
    }

    /// The connections that are accepted, one after the other; it never ends. After an error, which is an item like
    /// another, it goes on.
    pub fn incoming(&self) -> impl Stream<Item = io::Result<Async<UnixStream>>> + Send + '_ {
        incoming(self, |listener| {
            let (stream, _) = accept(&listener.io, listener.handle.is_stream)?;
            Ok(stream)
        })
    }
}

/// A listener of packet sockets in a `UnixListener`'s clothes accepts its like, hence `is_stream`.
fn accept(listener: &UnixListener, is_stream: bool) -> io::Result<(Async<UnixStream>, SocketAddr)> {
    let (stream, address) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok((Async::fresh(stream, is_stream, true), address))
}

impl Async<UnixStream> {
    /// Connects to the listener at `path`. If its backlog is full, waits until there is room.
    ///
    /// # Errors
    /// How the attempt turned out (`ConnectionRefused` for instance), or those of making a socket.
    ///
    /// # Cancel safety
    /// A dropped future closes the half-made connection.
    pub async fn connect<P: AsRef<Path>>(path: P) -> io::Result<Async<UnixStream>> {
        let address = unix_address(path.as_ref())?;
        let mut pause = ROOM.0;
        let socket = loop {
            match os::connect(AddressFamily::UNIX, &address) {
                // Linux has no event for a backlog that has room again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Timer::after(pause).await;
                    pause = (pause * 2).min(ROOM.1);
                }
                connecting => break connecting?,
            }
        };
        let stream = Async::fresh(UnixStream::from(socket), true, true);
        stream.writable().await?;
        // A refusal is reported here, where the system has no other way to tell.
        match stream.get_ref().take_error()? {
            Some(error) => Err(error),
            None => {
                stream.get_ref().peer_addr()?;
                Ok(stream)
            }
        }
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn pair() -> io::Result<(Async<UnixStream>, Async<UnixStream>)> {
        let (one, other) = UnixStream::pair()?;
        one.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        Ok((
            Async::fresh(one, true, true),
            Async::fresh(other, true, true),
        ))
    }
}

impl Async<UnixDatagram> {
    /// Binds a socket to a path, which must not exist.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<Async<UnixDatagram>> {
        let address = std_unix_address(path.as_ref())?;
        Async::new(UnixDatagram::bind_addr(&address)?)
    }

    /// A socket without an address: it can send, and be connected.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn unbound() -> io::Result<Async<UnixDatagram>> {
        Async::new(UnixDatagram::unbound()?)
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn pair() -> io::Result<(Async<UnixDatagram>, Async<UnixDatagram>)> {
        let (one, other) = UnixDatagram::pair()?;
        Ok((Async::new(one)?, Async::new(other)?))
    }

    /// Receives one datagram. Returns how many bytes of `buf` it filled, and the sender. A longer datagram is cut to
    /// `buf` and its rest is lost.
    ///
    /// # Errors
    /// Those of the system call, unchanged; never `WouldBlock`.
    ///
    /// # Cancel safety
    /// A dropped future has received nothing.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_with(|socket| socket.recv_from(buf)).await
    }

    /// Sends one datagram to the socket at `path`. Returns its length in bytes.
    ///
    /// # Errors
    /// Those of the system call, unchanged; never `WouldBlock`.
    ///
    /// # Cancel safety
    /// A dropped future has sent nothing.
    pub async fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        let address = std_unix_address(path.as_ref())?;
        self.write_with(|socket| socket.send_to_addr(buf, &address))
            .await
    }

    /// Receives one datagram from the socket that this one is connected to.
    ///
    /// # Errors
    /// Those of the system call, unchanged; never `WouldBlock`.
    ///
    /// # Cancel safety
    /// A dropped future has received nothing.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(|socket| socket.recv(buf)).await
    }

    /// Sends one datagram to the socket that this one is connected to. Returns its length in bytes.
    ///
    /// # Errors
    /// Those of the system call, unchanged; never `WouldBlock`.
    ///
    /// # Cancel safety
    /// A dropped future has sent nothing.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.write_with(|socket| socket.send(buf)).await
    }
}

impl TryFrom<UnixListener> for Async<UnixListener> {
    type Error = io::Error;

    fn try_from(listener: UnixListener) -> io::Result<Self> {
        Async::new(listener)
    }
}

impl TryFrom<UnixStream> for Async<UnixStream> {
    type Error = io::Error;

    fn try_from(stream: UnixStream) -> io::Result<Self> {
        Async::new(stream).map(Async::plain)
    }
}

impl TryFrom<UnixDatagram> for Async<UnixDatagram> {
    type Error = io::Error;

    fn try_from(socket: UnixDatagram) -> io::Result<Self> {
        Async::new(socket)
    }
}
