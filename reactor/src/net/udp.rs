//! UDP: send and receive, connected and not.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use crate::wrapper::Async;

impl Async<UdpSocket> {
    /// Binds a socket; port 0 lets the OS choose.
    ///
    /// # Errors
    /// Those of the system calls.
    pub fn bind<A: Into<SocketAddr>>(addr: A) -> io::Result<Async<UdpSocket>> {
        Async::new(UdpSocket::bind(addr.into())?)
    }

    /// Receives one datagram. Returns how many bytes of `buf` it filled, and the sender; 0 is an empty datagram, not an
    /// end. A longer datagram is cut to `buf` and its rest is lost. Any number of tasks may wait; the driving thread
    /// wakes them all, holding no lock, and one of them gets the datagram.
    ///
    /// # Errors
    /// Those of the system call, unchanged; never `WouldBlock`.
    ///
    /// # Cancel safety
    /// A dropped future has received nothing: the datagram waits in the socket for the next caller.
    ///
    /// ```
    /// use std::net::UdpSocket;
    /// use untether::Async;
    ///
    /// # futures_lite::future::block_on(async {
    /// let one = Async::<UdpSocket>::bind(([127, 0, 0, 1], 0))?;
    /// let other = Async::<UdpSocket>::bind(([127, 0, 0, 1], 0))?;
    /// one.send_to(b"hello", other.get_ref().local_addr()?).await?;
    ///
    /// let mut buf = [0; 64];
    /// let (n, sender) = other.recv_from(&mut buf).await?;
    /// assert_eq!((&buf[..n], sender), (&b"hello"[..], one.get_ref().local_addr()?));
    /// # std::io::Result::Ok(()) });
    /// ```
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_with(|socket| socket.recv_from(buf)).await
    }

    /// As [`Async::recv_from`](Async#method.recv_from), and leaves the datagram in the socket.
    ///
    /// # Errors
    /// Those of the system call, unchanged; never `WouldBlock`.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_with(|socket| socket.peek_from(buf)).await
    }

    /// Sends one datagram to `addr`. Returns its length in bytes.
    ///
    /// # Errors
    /// Those of the system call, unchanged; never `WouldBlock`.
    ///
    /// # Cancel safety
    /// A dropped future has sent nothing.
    pub async fn send_to<A: Into<SocketAddr>>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        let addr = addr.into();
        self.write_with(|socket| socket.send_to(buf, addr)).await
    }

    /// Receives one datagram from the address that the socket is connected to.
    ///
    /// # Errors
    /// Those of the system call, unchanged; never `WouldBlock`. `ConnectionRefused` tells that nobody listened to what
    /// was sent before.
    ///
    /// # Cancel safety
    /// A dropped future has received nothing.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(|socket| socket.recv(buf)).await
    }

    /// As [`Async::recv`](Async#method.recv), and leaves the datagram in the socket.
    ///
    /// # Errors
    /// As for receiving it.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(|socket| socket.peek(buf)).await
    }

    /// Sends one datagram to the address that the socket is connected to. Returns its length in bytes.
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

impl TryFrom<UdpSocket> for Async<UdpSocket> {
    type Error = io::Error;

    fn try_from(socket: UdpSocket) -> io::Result<Self> {
        Async::new(socket)
    }
}
