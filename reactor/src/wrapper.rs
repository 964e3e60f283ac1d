//! `Async<T>`: an object of the OS, made waitable.
//!
//! Not here: waiting itself (`waiting`), the I/O traits (`io`), the typed methods (`net`).

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use polling::AsSource;

use crate::os::RawSource;
use crate::pages::{self, Slot};
use crate::reactor::{Reactor, with_current};
use crate::source::{Direction, bits};
use crate::waiting::{Interest, Readable, ReadableOwned, Readiness, Wait, Writable, WritableOwned};

/// An object of the operating system whose operations can be waited for: a socket, a pipe, a terminal, an inotify or
/// timer descriptor, anything that the OS can poll.
///
/// It works on every executor, and on plain threads: whoever waits is woken by the reactor of the thread that waited
/// ([`Reactor::current`]), and there is nothing to set up. Operations are tried first and wait only if they would
/// block. Any number of tasks may share one, as `&Async<T>` or `Arc<Async<T>>`, and wait at the same time.
///
/// For what its typed methods do not cover there are [`Async::read_with`] and [`Async::write_with`], which take any
/// operation that reports `WouldBlock`.
///
/// Whether a read that waits and a write that waits disturb each other is up to the object, not to this wrapper.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use futures_lite::{future, AsyncReadExt, AsyncWriteExt};
/// use untether::Async;
///
/// # future::block_on(async {
/// let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
/// let address = listener.get_ref().local_addr()?;
/// let (client, accepted) =
///     future::try_zip(Async::<TcpStream>::connect(address), listener.accept()).await?;
///
/// (&client).write_all(b"hello").await?;
/// let mut buf = [0; 5];
/// (&accepted.0).read_exact(&mut buf).await?;
/// assert_eq!(&buf, b"hello");
/// # std::io::Result::Ok(()) });
/// ```
#[derive(Debug)]
pub struct Async<T> {
    /// First: a handle leaves the poller before it is closed.
    pub(crate) handle: Handle,
    pub(crate) io: T,
}

/// The reactor's side of an [`Async`]. Dropping it deregisters.
pub(crate) struct Handle {
    pub(crate) slot: Slot,
    pub(crate) raw: RawSource,
    /// The kernel says that this is a byte stream.
    pub(crate) is_stream: bool,
    /// It is a socket of this machine, where a read also stops behind a message that carried descriptors.
    pub(crate) is_local: bool,
    /// The object's own `read` and `write` are the system calls and nothing else.
    pub(crate) is_plain: bool,
}

/// An object that could not be made waitable, and why: [`Async::try_new`] hands it back.
pub struct NewError<T> {
    /// The object. It may have been set to non-blocking mode.
    pub io: T,
    /// Why.
    pub error: io::Error,
}

impl<T> Unpin for Async<T> {}

impl<T: AsSource> Async<T> {
    /// Sets `io` to non-blocking mode and wraps it.
    ///
    /// The caller must not put it back into blocking mode, through a duplicate for instance: an operation would block
    /// its whole thread then.
    ///
    /// # Errors
    /// The object cannot be waited for, and the error says why: a regular file, a closed descriptor, one that is
    /// registered already in the current reactor. Otherwise those of the OS.
    ///
    /// ```
    /// let file = std::fs::File::open(std::env::current_exe()?)?;
    /// let error = untether::Async::new(file).unwrap_err();
    /// assert!(error.to_string().contains("regular file"), "{error}");
    /// # std::io::Result::Ok(())
    /// ```
    pub fn new(io: T) -> io::Result<Async<T>> {
        Async::try_new(io).map_err(|refused| refused.error)
    }

    /// Wraps `io` without setting it to non-blocking mode: the caller has done that.
    ///
    /// # Errors
    /// As [`Async::new`].
    pub fn new_nonblocking(io: T) -> io::Result<Async<T>> {
        let raw = RawSource::of(&io);
        Async::register(io, raw)
    }

    /// As [`Async::new`], and hands `io` back if it fails.
    ///
    /// # Errors
    /// As [`Async::new`].
    pub fn try_new(io: T) -> Result<Async<T>, NewError<T>> {
        let raw = RawSource::of(&io);
        let made = raw
            .set_nonblocking(true)
            .map_err(|error| raw.explain(error))
            .and_then(|()| with_current(|here| Handle::enroll(raw, here, false)));
        match made {
            Ok(handle) => Ok(Async { handle, io }),
            Err(error) => Err(NewError { io, error }),
        }
    }

    /// As [`Async::new`], pinned to `reactor`: it is watched there and nowhere else, whoever waits for it, and fails
    /// when that reactor ends. The caller sees to it that somebody drives that reactor.
    ///
    /// # Errors
    /// As [`Async::new`], and if the reactor has shut down.
    pub fn new_in(io: T, reactor: &Reactor) -> io::Result<Async<T>> {
        let raw = RawSource::of(&io);
        raw.set_nonblocking(true)
            .map_err(|error| raw.explain(error))?;
        Ok(Async {
            handle: Handle::enroll(raw, reactor, true)?,
            io,
        })
    }

    /// As [`Async::into_inner`], and sets the object back to blocking mode.
    ///
    /// # Errors
    /// Those of the OS. The object is lost then.
    pub fn into_blocking_inner(self) -> io::Result<T> {
        let io = self.into_inner()?;
        RawSource::of(&io).set_nonblocking(false)?;
        Ok(io)
    }
}

impl<T> Async<T> {
    /// Wraps what is known to the OS as `raw` and non-blocking.
    pub(crate) fn register(io: T, raw: RawSource) -> io::Result<Async<T>> {
        let handle = with_current(|here| Handle::enroll(raw, here, false))?;
        Ok(Async { handle, io })
    }

    /// Wraps a non-blocking object that this library has just made. It can be waited for, so registering it waits
    /// until somebody does: a connection that is answered and closed without a wait costs no registration at all.
    pub(crate) fn fresh(io: T, is_stream: bool, is_local: bool) -> Async<T>
    where
        T: AsSource,
    {
        let raw = RawSource::of(&io);
        let handle = Handle {
            slot: pages::open(raw),
            raw,
            is_stream,
            is_local,
            is_plain: true,
        };
        Async { handle, io }
    }

    /// Of a type whose own reads and writes are the system calls, and of nothing that only looks like it.
    pub(crate) fn plain(mut self) -> Async<T> {
        self.handle.is_plain = true;
        self
    }

    /// The object.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// The object.
    ///
    /// # Safety
    /// (1) The object is not dropped or replaced through this reference, so that what is watched stays what is
    /// wrapped.
    pub unsafe fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }

    /// Deregisters the object and hands it back, still in non-blocking mode ([`Async::into_blocking_inner`] restores
    /// the other). It can be wrapped again.
    ///
    /// # Errors
    /// The OS did not know it any more, for it was closed behind our back. The object is dropped then.
    pub fn into_inner(self) -> io::Result<T> {
        let Async { handle, io } = self;
        handle.retire()?;
        Ok(io)
    }

    /// Waits until it can be read from: there is data, the end, an error, a connection to accept.
    ///
    /// It tells the truth of the moment: a readiness that is remembered is confirmed with the OS. Another task may
    /// still be faster. Any number of tasks may wait; all are woken, by whichever thread drives.
    ///
    /// # Errors
    /// It cannot be watched any more: its reactor has shut down, its descriptor was closed behind our back.
    ///
    /// # Cancel safety
    /// Waiting takes nothing; drop it whenever you like.
    pub fn readable(&self) -> Readable<'_, T> {
        Readable::new(self)
    }

    /// As [`Async::readable`], for a task that owns a share.
    pub fn readable_owned(self: Arc<Self>) -> ReadableOwned<T> {
        ReadableOwned::new(self)
    }

    /// Waits until it can be written to: there is room, or an error.
    ///
    /// Otherwise as [`Async::readable`].
    ///
    /// # Errors
    /// As [`Async::readable`].
    pub fn writable(&self) -> Writable<'_, T> {
        Writable::new(self)
    }

    /// As [`Async::writable`], for a task that owns a share.
    pub fn writable_owned(self: Arc<Self>) -> WritableOwned<T> {
        WritableOwned::new(self)
    }

    /// As [`Async::readable`] for one task: there is one place for a waker of this direction, shared with the I/O
    /// traits' reads. When another task takes it, the one before is woken, so that it can look for itself.
    ///
    /// # Errors
    /// As [`Async::readable`].
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handle.poll_ready(Direction::Read, cx)
    }

    /// As [`Async::poll_readable`], for writing.
    ///
    /// # Errors
    /// As [`Async::readable`].
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.handle.poll_ready(Direction::Write, cx)
    }

    /// Waits for any of `interest`, and says what holds: readiness of either direction, priority data, an error that
    /// waits to be collected.
    ///
    /// Where the poller cannot be asked for priority data (all but epoll), the OS is asked for it every 5 ms; on Windows
    /// it is never found.
    ///
    /// ```
    /// # #[cfg(unix)] futures_lite::future::block_on(async {
    /// use std::os::unix::net::UnixStream;
    /// use untether::{Async, Interest};
    ///
    /// let (one, _other) = Async::<UnixStream>::pair()?;
    /// let ready = one.ready(Interest::READABLE | Interest::WRITABLE).await?;
    /// assert!(ready.is_writable() && !ready.is_readable());
    /// # std::io::Result::Ok(()) });
    /// ```
    ///
    /// # Errors
    /// As [`Async::readable`].
    ///
    /// # Cancel safety
    /// As [`Async::readable`].
    pub async fn ready(&self, interest: Interest) -> io::Result<Readiness> {
        let wants = interest.wants();
        let watched = wants & bits::PRIORITY == 0
            || with_current(|here| here.shared().poller().map(|poller| poller.tells_priority()))?;
        let holds = if watched {
            Wait::new(self, wants).await?
        } else {
            self.handle
                .look_for(wants, Wait::new(self, wants & !bits::PRIORITY))
                .await?
        };
        Ok(Readiness::of(holds))
    }

    /// Runs `op` until it does something else than to report `WouldBlock`, waiting in between until the object can be
    /// read from. Returns what `op` returned last.
    ///
    /// # Errors
    /// Those of `op`, unchanged; and as [`Async::readable`].
    ///
    /// # Cancel safety
    /// `op` is not running when this is dropped. What it did, it did.
    pub async fn read_with<R>(&self, op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        let mut op = op;
        self.handle.listed(Direction::Read, || op(&self.io)).await
    }

    /// As [`Async::read_with`], with exclusive access.
    ///
    /// # Safety
    /// (1) As for [`Async::get_mut`].
    ///
    /// # Errors
    /// As [`Async::read_with`].
    pub async unsafe fn read_with_mut<R>(
        &mut self,
        op: impl FnMut(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        let (mut op, io) = (op, &mut self.io);
        self.handle.listed(Direction::Read, || op(io)).await
    }

    /// As [`Async::read_with`], for writing.
    ///
    /// # Errors
    /// As [`Async::read_with`].
    pub async fn write_with<R>(&self, op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        let mut op = op;
        self.handle.listed(Direction::Write, || op(&self.io)).await
    }

    /// As [`Async::write_with`], with exclusive access.
    ///
    /// # Safety
    /// (1) As for [`Async::get_mut`].
    ///
    /// # Errors
    /// As [`Async::read_with`].
    pub async unsafe fn write_with_mut<R>(
        &mut self,
        op: impl FnMut(&mut T) -> io::Result<R>,
    ) -> io::Result<R> {
        let (mut op, io) = (op, &mut self.io);
        self.handle.listed(Direction::Write, || op(io)).await
    }

    /// Runs `op` once, if the object can be read from now; never waits, and needs no reactor.
    ///
    /// # Errors
    /// `WouldBlock` if it cannot be read from, `op` not having been called; and those of `op`.
    pub fn try_read_with<R>(&self, op: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        self.handle.try_now(Direction::Read, || op(&self.io))
    }

    /// As [`Async::try_read_with`], for writing.
    ///
    /// # Errors
    /// As [`Async::try_read_with`].
    pub fn try_write_with<R>(&self, op: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        self.handle.try_now(Direction::Write, || op(&self.io))
    }

    /// Whether the peer has closed its sending side, so that after the data that is there nothing more will come.
    /// False where the OS does not tell this apart from data; the end is then seen by reading.
    pub fn peer_closed(&self) -> bool {
        let remembered = self.handle.slot.source.observe().has(bits::READ_CLOSED);
        let said = match self.handle.raw.confirm(bits::READ_CLOSED, remembered) {
            Ok(Some(holds)) => holds & bits::READ_CLOSED,
            _ => remembered,
        };
        said != 0
    }
}

impl<T> AsRef<T> for Async<T> {
    fn as_ref(&self) -> &T {
        self.get_ref()
    }
}

impl Handle {
    /// Registers `raw` at once, so that what cannot be waited for is refused at once.
    fn enroll(raw: RawSource, here: &Reactor, pinned: bool) -> io::Result<Handle> {
        let handle = Handle {
            slot: pages::open(raw),
            raw,
            is_stream: raw.is_stream(),
            is_local: raw.is_local(),
            is_plain: false,
        };
        let Slot { index, source, .. } = handle.slot;
        source.enroll(here, index, pinned)?;
        Ok(handle)
    }

    /// The end of the registration.
    fn retire(self) -> io::Result<()> {
        let slot = self.slot;
        std::mem::forget(self);
        leave(slot)
    }

    /// Gives an entry of the source's list back.
    pub(crate) fn unlist(&self, entry: Option<u32>) {
        if let Some(entry) = entry.filter(|_| !self.slot.born.is_stale()) {
            self.slot.source.unlist(entry);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The OS may have lost the handle already, closed behind our back; nobody is left to care.
        let _ = leave(self.slot);
    }
}

fn leave(slot: Slot) -> io::Result<()> {
    if slot.born.is_stale() {
        return Ok(()); // The parent's registration stays as it is, and nobody here will ever use the slot.
    }
    let left = with_current(|here| slot.source.retire(slot.index, here));
    pages::close(slot);
    left
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.raw)
    }
}

impl<T> fmt::Debug for NewError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl<T> fmt::Display for NewError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<T> std::error::Error for NewError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<T> From<NewError<T>> for io::Error {
    fn from(refused: NewError<T>) -> io::Error {
        refused.error
    }
}

#[cfg(unix)]
mod conversions {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

    use super::Async;

    impl<T: AsRawFd> AsRawFd for Async<T> {
        fn as_raw_fd(&self) -> RawFd {
            self.get_ref().as_raw_fd()
        }
    }

    impl<T: AsFd> AsFd for Async<T> {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.get_ref().as_fd()
        }
    }

    impl<T: AsFd + From<OwnedFd>> TryFrom<OwnedFd> for Async<T> {
        type Error = io::Error;

        fn try_from(fd: OwnedFd) -> io::Result<Async<T>> {
            Async::new(fd.into())
        }
    }

    impl<T: Into<OwnedFd>> TryFrom<Async<T>> for OwnedFd {
        type Error = io::Error;

        fn try_from(wrapped: Async<T>) -> io::Result<OwnedFd> {
            wrapped.into_inner().map(Into::into)
        }
    }
}

#[cfg(windows)]
mod conversions {
    use std::io;
    use std::os::windows::io::{AsRawSocket, AsSocket, BorrowedSocket, OwnedSocket, RawSocket};

    use super::Async;

    impl<T: AsRawSocket> AsRawSocket for Async<T> {
        fn as_raw_socket(&self) -> RawSocket {
            self.get_ref().as_raw_socket()
        }
    }

    impl<T: AsSocket> AsSocket for Async<T> {
        fn as_socket(&self) -> BorrowedSocket<'_> {
            self.get_ref().as_socket()
        }
    }

    impl<T: AsSocket + From<OwnedSocket>> TryFrom<OwnedSocket> for Async<T> {
        type Error = io::Error;

        fn try_from(socket: OwnedSocket) -> io::Result<Async<T>> {
            Async::new(socket.into())
        }
    }

    impl<T: Into<OwnedSocket>> TryFrom<Async<T>> for OwnedSocket {
        type Error = io::Error;

        fn try_from(wrapped: Async<T>) -> io::Result<OwnedSocket> {
            wrapped.into_inner().map(Into::into)
        }
    }
}
