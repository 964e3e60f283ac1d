//! Connected things to play with, and the few moves that every promise repeats.
//!
//! Ports are ephemeral and paths are in temporary folders, so that any number of cases may run at once.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_lite::future;
use untether::{Async, Timer};

/// How long nothing must happen, where that is the promise.
pub(crate) const QUIET: Duration = Duration::from_millis(10);

/// How late a timer may be before we call it broken. Generous: other cases run at the same time.
pub(crate) const LATE: Duration = Duration::from_millis(500);

const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Both ends of a connection, not wrapped yet, blocking.
pub(crate) fn raw_tcp_pair() -> (TcpStream, TcpStream) {
    // One listener for all: a closed connection keeps its ports for a minute, and there are only so many.
    static LISTENER: OnceLock<Mutex<TcpListener>> = OnceLock::new();
    let listener = LISTENER
        .get_or_init(|| Mutex::new(TcpListener::bind(ANY_PORT).unwrap()))
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (there, peer) = listener.accept().unwrap();
    assert_eq!(peer, here.local_addr().unwrap(), "a stranger connected");
    drop(listener);
    here.set_nodelay(true).unwrap();
    there.set_nodelay(true).unwrap();
    (here, there)
}

/// Both ends of a connection.
pub(crate) fn tcp_pair() -> (Async<TcpStream>, Async<TcpStream>) {
    let (here, there) = raw_tcp_pair();
    (Async::new(here).unwrap(), Async::new(there).unwrap())
}

/// A listener, and where it listens.
pub(crate) fn tcp_listener() -> (Async<TcpListener>, SocketAddr) {
    let listener = Async::<TcpListener>::bind(ANY_PORT).unwrap();
    let address = listener.get_ref().local_addr().unwrap();
    (listener, address)
}

/// A datagram socket, and its address.
pub(crate) fn udp_socket() -> (Async<UdpSocket>, SocketAddr) {
    let socket = Async::<UdpSocket>::bind(ANY_PORT).unwrap();
    let address = socket.get_ref().local_addr().unwrap();
    (socket, address)
}

/// Two datagram sockets, each connected to the other.
pub(crate) fn udp_pair() -> (Async<UdpSocket>, Async<UdpSocket>) {
    let ((here, here_address), (there, there_address)) = (udp_socket(), udp_socket());
    here.get_ref().connect(there_address).unwrap();
    there.get_ref().connect(here_address).unwrap();
    (here, there)
}

/// Asserts that `future` does not end for a while.
pub(crate) async fn quiet<F: Future>(what: &str, future: F) {
    let ended = async {
        future.await;
        true
    };
    let silence = async {
        Timer::after(QUIET).await;
        false
    };
    assert!(
        !future::or(ended, silence).await,
        "{what} ended within {QUIET:?}, though nothing had happened"
    );
}

/// Sends one byte by a system call of our own, past the wrapper.
pub(crate) fn send_byte(mut stream: &TcpStream) {
    stream.write_all(b"!").unwrap();
}

/// Reads one byte by a system call of our own, past the wrapper.
pub(crate) fn take_byte(mut stream: &TcpStream) {
    let mut byte = [0];
    assert_eq!(stream.read(&mut byte).unwrap(), 1);
}

/// Writes past the wrapper until there is no more room. Returns how many bytes it took.
pub(crate) fn fill_now(mut stream: &TcpStream) -> usize {
    let chunk = [b'#'; 16 * 1024];
    let mut written = 0;
    loop {
        match stream.write(&chunk) {
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return written,
            Err(error) => panic!("filling the buffer failed: {error}"),
        }
    }
}

/// Fills the buffers on the way to the peer for good. The kernel moves bytes and grows its buffers for a while after
/// it has said that there is no room. Returns how many bytes it took.
pub(crate) async fn fill(stream: &Async<TcpStream>) -> usize {
    let mut written = 0;
    let mut quiet_rounds = 0;
    while quiet_rounds < 3 {
        match fill_now(stream.get_ref()) {
            0 => quiet_rounds += 1,
            more => {
                written += more;
                quiet_rounds = 0;
            }
        }
        Timer::after(Duration::from_millis(2)).await;
    }
    written
}

/// Reads exactly `count` bytes and forgets them.
pub(crate) async fn drain(stream: &Async<TcpStream>, mut count: usize) {
    let mut buffer = vec![0; 64 * 1024];
    while count > 0 {
        let n = stream
            .read_with(|mut stream| stream.read(&mut buffer))
            .await
            .unwrap();
        assert_ne!(n, 0, "the stream ended with {count} bytes to come");
        count = count
            .checked_sub(n)
            .expect("more bytes arrived than were sent");
    }
}

/// Byte `position` of a stream whose content can be checked anywhere.
pub(crate) fn pattern(position: usize) -> u8 {
    // A prime, so that a shift by any power of two shows.
    (position % 251) as u8
}
