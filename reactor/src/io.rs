//! `AsyncRead` and `AsyncWrite` for [`Async`], and the promise that they rest on.
//!
//! Not here: the loop behind every operation (`waiting`).

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncRead, AsyncWrite};

use crate::source::{Direction, Place};
use crate::wrapper::{Async, Handle};

/// Types whose I/O methods leave alone the handle that is watched.
///
/// [`Async`] implements the I/O traits for `T: IoSafe` through `&mut T`.
///
/// # Safety
/// (1) The type's `Read` and `Write` methods never drop, replace or close the handle that `AsFd` or `AsSocket`
/// returned when the object was wrapped. (2) If [`IoSafe::READS_ARE_SYSTEM_CALLS`] is true, each of those methods is
/// one system call on that handle and returns its result: it keeps no buffer.
pub unsafe trait IoSafe {
    /// Whether a transfer that is shorter than was asked for proves that the kernel's buffer is drained, if the handle
    /// is a byte-stream socket (for reads: not of the Unix domain, where a read stops behind a message that carried
    /// descriptors or credentials). It spares the attempt that would only report `WouldBlock`.
    const READS_ARE_SYSTEM_CALLS: bool = false;
}

macro_rules! safe {
    ($($type:ty),* $(,)?) => { $(
        // SAFETY: (1) std's methods take the handle by reference. (2) The constant is false.
        unsafe impl IoSafe for $type {}
    )* };
}

safe!(
    std::fs::File,
    io::Stderr,
    io::Stdin,
    io::Stdout,
    io::StderrLock<'_>,
    io::StdinLock<'_>,
    io::StdoutLock<'_>,
    std::process::ChildStdin,
    std::process::ChildStdout,
    std::process::ChildStderr,
);

#[cfg(std_has_pipes)]
#[allow(clippy::incompatible_msrv, reason = "only where std has them")]
mod pipes {
    use std::io;

    use super::IoSafe;

    // SAFETY: (1) std's methods take the handle by reference. (2) The constant is false.
    unsafe impl IoSafe for io::PipeReader {}
    // SAFETY: the same.
    unsafe impl IoSafe for io::PipeWriter {}
}

// SAFETY: (1) the methods take the handle by reference. (2) They are recv, send and their vectored forms.
unsafe impl IoSafe for std::net::TcpStream {
    const READS_ARE_SYSTEM_CALLS: bool = true;
}

// SAFETY: as for TcpStream. A packet socket in a UnixStream's clothes is found out by asking the kernel.
#[cfg(unix)]
unsafe impl IoSafe for std::os::unix::net::UnixStream {
    const READS_ARE_SYSTEM_CALLS: bool = true;
}

// SAFETY: (1) a shared reference cannot drop or replace anything. (2) The constant is false.
unsafe impl<T: ?Sized> IoSafe for &T {}
// SAFETY: (1) and (2) as for T.
unsafe impl<T: IoSafe + ?Sized> IoSafe for &mut T {
    const READS_ARE_SYSTEM_CALLS: bool = T::READS_ARE_SYSTEM_CALLS;
}
// SAFETY: (1) and (2) as for T.
unsafe impl<T: IoSafe + ?Sized> IoSafe for Box<T> {
    const READS_ARE_SYSTEM_CALLS: bool = T::READS_ARE_SYSTEM_CALLS;
}
// SAFETY: (1) as for T. (2) The constant is false: it keeps a buffer.
unsafe impl<T: IoSafe + Read> IoSafe for io::BufReader<T> {}
// SAFETY: as for BufReader.
unsafe impl<T: IoSafe + Write> IoSafe for io::BufWriter<T> {}
// SAFETY: as for BufReader.
unsafe impl<T: IoSafe + Write> IoSafe for io::LineWriter<T> {}
// SAFETY: (1) as for T; cloning it into ownership happens before it is wrapped or not at all. (2) False.
unsafe impl<T: Clone + IoSafe> IoSafe for std::borrow::Cow<'_, T> {}

/// As many buffers as one system call takes on every system (POSIX's least; Linux and the BSDs take 1,024). With more
/// of them a transfer may be short of what was asked for, whatever the kernel's buffer holds.
const MOST_BUFFERS: usize = 16;

/// How much a transfer into or out of `bufs` would be if nothing were in its way, and so proves nothing by being less:
/// 0 if there are too many of them.
fn total(bufs: &[impl Deref<Target = [u8]>]) -> usize {
    if bufs.len() > MOST_BUFFERS {
        return 0;
    }
    bufs.iter().map(|buf| buf.len()).sum()
}

impl Handle {
    /// One read of up to `len` bytes; `direct` says that `op` is a system call and nothing else.
    fn receive(
        &self,
        cx: &Context<'_>,
        len: usize,
        direct: bool,
        op: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let place = Place::slot(Direction::Read);
        let was_short = |&n: &usize| direct && n < len && !self.is_local;
        self.attempt(Direction::Read, cx, place, &mut false, op, was_short)
    }

    /// One write of up to `len` bytes.
    fn send(
        &self,
        cx: &Context<'_>,
        len: usize,
        direct: bool,
        op: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let place = Place::slot(Direction::Write);
        let was_short = |&n: &usize| direct && n < len;
        self.attempt(Direction::Write, cx, place, &mut false, op, was_short)
    }

    /// A flush is tried even if there is no room to write: most objects have nothing to flush.
    fn flush(&self, cx: &Context<'_>, op: impl FnMut() -> io::Result<()>) -> Poll<io::Result<()>> {
        let place = Place::slot(Direction::Write);
        self.attempt(Direction::Write, cx, place, &mut true, op, |()| false)
    }
}

impl<T: IoSafe + Read> AsyncRead for Async<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Async { handle, io } = self.get_mut();
        handle.receive(cx, buf.len(), T::READS_ARE_SYSTEM_CALLS, || io.read(buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let Async { handle, io } = self.get_mut();
        let direct = T::READS_ARE_SYSTEM_CALLS;
        handle.receive(cx, total(bufs), direct, || io.read_vectored(bufs))
    }
}

impl<T: IoSafe + Write> AsyncWrite for Async<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Async { handle, io } = self.get_mut();
        handle.send(cx, buf.len(), T::READS_ARE_SYSTEM_CALLS, || io.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Async { handle, io } = self.get_mut();
        let direct = T::READS_ARE_SYSTEM_CALLS;
        handle.send(cx, total(bufs), direct, || io.write_vectored(bufs))
    }

    /// Flushes what the object itself has buffered. Waits for room only if the object says that it would block.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Async { handle, io } = self.get_mut();
        handle.flush(cx, || io.flush())
    }

    /// Flushes. It does not shut a socket down: use `get_ref().shutdown(..)`, or drop it.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl<T> AsyncRead for &Async<T>
where
    for<'a> &'a T: Read,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Async { handle, io: shared } = *self;
        let mut io = shared;
        handle.receive(cx, buf.len(), handle.is_plain, || io.read(buf))
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let Async { handle, io: shared } = *self;
        let mut io = shared;
        handle.receive(cx, total(bufs), handle.is_plain, || io.read_vectored(bufs))
    }
}

impl<T> AsyncWrite for &Async<T>
where
    for<'a> &'a T: Write,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Async { handle, io: shared } = *self;
        let mut io = shared;
        handle.send(cx, buf.len(), handle.is_plain, || io.write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Async { handle, io: shared } = *self;
        let mut io = shared;
        handle.send(cx, total(bufs), handle.is_plain, || io.write_vectored(bufs))
    }

    /// As for the owned form.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Async { handle, io: shared } = *self;
        let mut io = shared;
        handle.flush(cx, || io.flush())
    }

    /// As for the owned form.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
