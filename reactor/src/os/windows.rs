//! Windows: sockets, and waitable handles.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::windows::io::{
    AsHandle, AsRawHandle, AsRawSocket, AsSocket, BorrowedHandle, BorrowedSocket, OwnedHandle,
    OwnedSocket, RawHandle, RawSocket,
};
use std::pin::Pin;
use std::task::{Context, Poll};

use polling::os::iocp::PollerIocpExt;
use polling::{Event, PollMode, Poller};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketType, addr::SocketAddrArg, sockopt::socket_type};

use super::ask::ask;
use crate::source::bits;
use crate::{Async, Readable};

/// Waits until a handle is signalled: a process, a thread, an event, a semaphore.
#[derive(Debug)]
pub struct Waitable<T>(Async<T>);

impl<T: AsHandle> Waitable<T> {
    /// Starts to watch.
    ///
    /// # Errors
    /// Those of the OS: not a handle that can be waited for, or already watched in this reactor.
    pub fn new(handle: T) -> io::Result<Waitable<T>> {
        let raw = RawSource::Handle(handle.as_handle().as_raw_handle() as usize);
        Async::register(handle, raw).map(Waitable)
    }
}

impl<T> Waitable<T> {
    /// The object that is waited on.
    pub fn get_ref(&self) -> &T {
        self.0.get_ref()
    }

    /// The object that is waited on.
    ///
    /// # Safety
    /// (1) The handle is not closed or replaced through this reference.
    pub unsafe fn get_mut(&mut self) -> &mut T {
        // SAFETY: (1) is passed on as it is.
        unsafe { self.0.get_mut() }
    }

    /// Stops watching, and gives the object back.
    ///
    /// # Errors
    /// Those of the OS, if it did not know the handle any more.
    pub fn into_inner(self) -> io::Result<T> {
        self.0.into_inner()
    }

    /// Waits until the handle is signalled.
    ///
    /// # Cancel safety
    /// Safe to drop.
    pub fn ready(&self) -> Ready<'_, T> {
        Ready(self.0.readable())
    }

    /// The same for one task at a time, as [`Async::poll_readable`].
    ///
    /// # Errors
    /// As [`Async::poll_readable`].
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }
}

impl<T> AsRef<T> for Waitable<T> {
    fn as_ref(&self) -> &T {
        self.get_ref()
    }
}

impl<T: AsRawHandle> AsRawHandle for Waitable<T> {
    fn as_raw_handle(&self) -> RawHandle {
        self.get_ref().as_raw_handle()
    }
}

impl<T: AsHandle> AsHandle for Waitable<T> {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.get_ref().as_handle()
    }
}

impl<T: AsHandle + From<OwnedHandle>> TryFrom<OwnedHandle> for Waitable<T> {
    type Error = io::Error;

    fn try_from(handle: OwnedHandle) -> io::Result<Waitable<T>> {
        Waitable::new(handle.into())
    }
}

impl<T: Into<OwnedHandle>> TryFrom<Waitable<T>> for OwnedHandle {
    type Error = io::Error;

    fn try_from(waitable: Waitable<T>) -> io::Result<OwnedHandle> {
        waitable.into_inner().map(Into::into)
    }
}

/// Future of [`Waitable::ready`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
#[derive(Debug)]
pub struct Ready<'a, T>(Readable<'a, T>);

impl<T> Future for Ready<'_, T> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// What is watched. It does not own it: `Async` does, and takes it out of the poller first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RawSource {
    Socket(RawSocket),
    /// A `RawHandle` as a number, for a pointer would be neither Send nor Sync.
    Handle(usize),
}

impl Default for RawSource {
    /// Nobody's: INVALID_SOCKET.
    fn default() -> RawSource {
        RawSource::Socket(RawSocket::MAX)
    }
}

impl RawSource {
    pub(crate) fn of(io: &impl AsSocket) -> RawSource {
        RawSource::Socket(io.as_socket().as_raw_socket())
    }

    /// # Errors
    /// Nobody's socket, or a handle that is none.
    fn socket(&self) -> io::Result<BorrowedSocket<'_>> {
        match *self {
            RawSource::Socket(socket) if socket != RawSocket::MAX => {
                // SAFETY: the number is not INVALID_SOCKET. That it is open cannot be promised; the calls made with
                // it answer WSAENOTSOCK then, and touch no memory.
                Ok(unsafe { BorrowedSocket::borrow_raw(socket) })
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn handle(raw: usize) -> BorrowedHandle<'static> {
        // SAFETY: as for sockets; the borrow ends with the call it is made for.
        unsafe { BorrowedHandle::borrow_raw(raw as RawHandle) }
    }

    pub(crate) fn add(self, poller: &Poller, event: Event, mode: PollMode) -> io::Result<()> {
        // SAFETY: polling wants the handle removed from the poller before it is closed: `Async` owns it and calls
        // `Source::retire` in its `Drop` and `into_inner`, the only ways out.
        unsafe {
            match self {
                RawSource::Socket(socket) => poller.add_with_mode(socket, event, mode),
                RawSource::Handle(handle) => poller.add_waitable(handle as RawHandle, event, mode),
            }
        }
    }

    pub(crate) fn modify(self, poller: &Poller, event: Event, mode: PollMode) -> io::Result<()> {
        match self {
            RawSource::Socket(_) => poller.modify_with_mode(self.socket()?, event, mode),
            RawSource::Handle(raw) => poller.modify_waitable(Self::handle(raw), event, mode),
        }
    }

    pub(crate) fn remove(self, poller: &Poller) -> io::Result<()> {
        match self {
            RawSource::Socket(_) => poller.delete(self.socket()?),
            RawSource::Handle(raw) => poller.remove_waitable(Self::handle(raw)),
        }
    }

    /// Whether `confirm` can tell.
    pub(crate) fn confirms(self) -> bool {
        matches!(self, RawSource::Socket(_))
    }

    /// Whether an event that nobody has been told of is to be believed: a handle may have been reset since.
    pub(crate) fn counts_events(self) -> bool {
        false
    }

    /// Asks the OS which of `wants` hold this very moment. `None`: only waiting can tell.
    ///
    /// What was `seen` of errors and ends does not go stale, and is believed: WSAPoll says nothing of a connection that
    /// was refused, before Windows 10 of 2020. It knows no urgent data either.
    pub(crate) fn confirm(self, wants: u64, seen: u64) -> io::Result<Option<u64>> {
        const LASTING: u64 = bits::ERROR | bits::READ_CLOSED | bits::WRITE_CLOSED;
        match self {
            RawSource::Socket(_) if seen & LASTING != 0 => Ok(Some(seen)),
            RawSource::Socket(_) => {
                let nothing = PollFlags::empty();
                ask(self.socket()?, wants, nothing, nothing).map(Some)
            }
            RawSource::Handle(_) => Ok(None),
        }
    }

    pub(crate) fn set_nonblocking(self, nonblocking: bool) -> io::Result<()> {
        match self {
            RawSource::Socket(_) => Ok(rustix::io::ioctl_fionbio(self.socket()?, nonblocking)?),
            RawSource::Handle(_) => Ok(()),
        }
    }

    pub(crate) fn is_stream(self) -> bool {
        self.socket()
            .is_ok_and(|socket| socket_type(socket) == Ok(SocketType::STREAM))
    }

    /// Nothing but bytes passes through Windows' sockets.
    pub(crate) fn is_local(self) -> bool {
        false
    }

    pub(crate) fn explain(self, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(
                error.kind(),
                format!("cannot watch {self:?}: already registered; share it as Arc<Async<T>>"),
            ),
            _ => error,
        }
    }
}

/// Begins to connect a new non-blocking stream socket.
pub(crate) fn connect(
    family: AddressFamily,
    address: &impl SocketAddrArg,
) -> io::Result<OwnedSocket> {
    // The first socket of the process starts Windows' network library; std does it on its own, rustix does not.
    static STARTED: std::sync::Once = std::sync::Once::new();
    STARTED.call_once(|| {
        let _ = net::wsa_startup();
    });
    let socket = net::socket(family, SocketType::STREAM, None)?;
    RawSource::of(&socket).set_nonblocking(true)?;
    match net::connect(&socket, address) {
        Ok(()) | Err(Errno::WOULDBLOCK) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Accepts a connection, and makes it non-blocking.
pub(crate) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok((stream, address))
}

/// There is no fork here.
pub(crate) fn at_fork(_: extern "C" fn(), _: extern "C" fn(), _: extern "C" fn()) {}
