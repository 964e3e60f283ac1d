//! Unix: descriptors, and what poll(2) says of them.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use polling::{Event, PollMode, Poller};
use rustix::event::PollFlags;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, SocketAddrUnix, SocketType, addr::SocketAddrArg, sockopt::socket_type,
};

use super::ask::ask;

/// The descriptor of the global reactor, or `None` where its poller has none (the poll(2) back end).
///
/// It becomes readable when [`Reactor::turn`](crate::Reactor::turn) would find something to do. To drive the reactor
/// from a loop of your own use [`Reactor::as_fd`](crate::Reactor::as_fd) and
/// [`Reactor::next_deadline`](crate::Reactor::next_deadline); this one is for those who know it from elsewhere.
pub fn reactor_fd() -> Option<BorrowedFd<'static>> {
    crate::reactor::global_fd()
}

/// The descriptor of polling's poller, where it has one.
pub(crate) fn poller_fd(poller: &Poller) -> Option<BorrowedFd<'_>> {
    #[cfg(all(
        any(
            target_os = "linux",
            target_os = "android",
            target_os = "illumos",
            target_os = "solaris",
            target_vendor = "apple",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "dragonfly",
        ),
        not(polling_test_poll_backend)
    ))]
    return Some(poller.as_fd());
    #[cfg(not(all(
        any(
            target_os = "linux",
            target_os = "android",
            target_os = "illumos",
            target_os = "solaris",
            target_vendor = "apple",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "dragonfly",
        ),
        not(polling_test_poll_backend)
    )))]
    {
        let _ = poller;
        None
    }
}

/// A descriptor that is watched. It does not own it: `Async` does, and takes it out of the poller first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor(RawFd);

/// What a source is on a system that watches nothing but descriptors.
#[cfg(not(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
)))]
pub(crate) type RawSource = Descriptor;

impl Default for Descriptor {
    /// Nobody's.
    fn default() -> Descriptor {
        Descriptor(-1)
    }
}

impl Descriptor {
    pub(crate) fn of(io: &impl AsFd) -> Descriptor {
        Descriptor(io.as_fd().as_raw_fd())
    }

    /// # Errors
    /// Nobody's descriptor.
    pub(crate) fn borrow(&self) -> io::Result<BorrowedFd<'_>> {
        if self.0 < 0 {
            return Err(Errno::BADF.into());
        }
        // SAFETY: the number is not -1. That it is open cannot be promised (safe code can close it through an `AsFd`
        // that lies, or behind our back with `from_raw_fd` elsewhere); the system calls made with it here are those
        // of a poller, which answer EBADF or concern an unrelated descriptor's registration, and touch no memory.
        Ok(unsafe { BorrowedFd::borrow_raw(self.0) })
    }

    pub(crate) fn add(self, poller: &Poller, event: Event, mode: PollMode) -> io::Result<()> {
        self.refuse_files()?;
        // SAFETY: `Poller::add_with_mode` wants the descriptor removed from the poller before it is closed: `Async`
        // owns it and calls `Source::retire` in its `Drop` and `into_inner`, the only ways out.
        unsafe { poller.add_with_mode(self.0, event, mode) }
    }

    pub(crate) fn modify(self, poller: &Poller, event: Event, mode: PollMode) -> io::Result<()> {
        poller.modify_with_mode(self.borrow()?, event, mode)
    }

    pub(crate) fn remove(self, poller: &Poller) -> io::Result<()> {
        poller.delete(self.borrow()?)
    }

    /// epoll refuses what is always ready; the other pollers would take it and spin, so we refuse it for them.
    fn refuse_files(self) -> io::Result<()> {
        let stat = rustix::fs::fstat(self.borrow()?)?;
        match FileType::from_raw_mode(stat.st_mode as _) {
            FileType::RegularFile | FileType::Directory => Err(Errno::PERM.into()),
            _ => Ok(()),
        }
    }

    /// Whether `confirm` can tell.
    pub(crate) fn confirms(self) -> bool {
        true
    }

    /// Whether an event that nobody has been told of is to be believed: only where it was armed for.
    pub(crate) fn counts_events(self) -> bool {
        false
    }

    /// Asks the kernel which of `wants` hold this very moment, whatever was `seen`. `None`: only waiting can tell.
    pub(crate) fn confirm(self, wants: u64, _seen: u64) -> io::Result<Option<u64>> {
        ask(self.borrow()?, wants, half_close(), PollFlags::PRI).map(Some)
    }

    pub(crate) fn set_nonblocking(self, nonblocking: bool) -> io::Result<()> {
        let fd = self.borrow()?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        rustix::io::ioctl_fionbio(fd, nonblocking)?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let before = rustix::fs::fcntl_getfl(fd)?;
            let mut after = before;
            after.set(rustix::fs::OFlags::NONBLOCK, nonblocking);
            if after != before {
                rustix::fs::fcntl_setfl(fd, after)?;
            }
        }
        Ok(())
    }

    /// Whether this is a byte stream for sure: a short transfer then means that the kernel's buffer is drained. A
    /// descriptor of another kind can hide in a `UnixStream` (SOCK_SEQPACKET), so the type alone is no proof.
    pub(crate) fn is_stream(self) -> bool {
        self.borrow()
            .is_ok_and(|fd| socket_type(fd) == Ok(SocketType::STREAM))
    }

    /// Whether it is a socket of the Unix domain. A read stops behind a message that carried descriptors or credentials,
    /// so one that is short does not mean that the kernel's buffer is drained.
    pub(crate) fn is_local(self) -> bool {
        let address = self.borrow().and_then(|fd| Ok(net::getsockname(fd)?));
        address.is_ok_and(|address| address.address_family() == AddressFamily::UNIX)
    }

    /// What a registration's failure means, and what to do instead.
    pub(crate) fn explain(self, error: io::Error) -> io::Error {
        let fd = self.0;
        let says = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "it is a regular file or a directory, which is always ready; read and write it in a thread, with the \
                 crate `blocking` for instance"
            }
            io::ErrorKind::AlreadyExists => {
                "already registered; share it as Arc<Async<T>>, or duplicate the descriptor"
            }
            _ if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => {
                "it is not an open descriptor"
            }
            _ => return error,
        };
        io::Error::new(error.kind(), format!("cannot watch fd {fd}: {says}"))
    }
}

/// The end of the peer's data, where poll(2) tells it apart.
fn half_close() -> PollFlags {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return PollFlags::RDHUP;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    PollFlags::empty()
}

/// Begins to connect a new non-blocking stream socket.
pub(crate) fn connect(family: AddressFamily, address: &impl SocketAddrArg) -> io::Result<OwnedFd> {
    let socket = stream_socket(family)?;
    match net::connect(&socket, address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// The address of a path; on Linux one that starts with NUL is a name in the abstract namespace.
pub(crate) fn unix_address(path: &Path) -> io::Result<SocketAddrUnix> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::unix::ffi::OsStrExt;
        if let [0, name @ ..] = path.as_os_str().as_bytes() {
            return Ok(SocketAddrUnix::new_abstract_name(name)?);
        }
    }
    Ok(SocketAddrUnix::new(path)?)
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "illumos",
    target_os = "fuchsia",
))]
fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = net::SocketFlags::CLOEXEC | net::SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    quiet(&socket)?;
    Ok(socket)
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
    target_os = "illumos",
    target_os = "fuchsia",
)))]
fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let socket = net::socket(family, SocketType::STREAM, None)?;
    let flags = rustix::io::fcntl_getfd(&socket)? | rustix::io::FdFlags::CLOEXEC;
    rustix::io::fcntl_setfd(&socket, flags)?;
    Descriptor::of(&socket).set_nonblocking(true)?;
    quiet(&socket)?;
    Ok(socket)
}

/// Where a write to a closed socket would raise SIGPIPE, it shall not.
fn quiet(socket: &OwnedFd) -> io::Result<()> {
    #[cfg(any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "dragonfly",
    ))]
    net::sockopt::set_socket_nosigpipe(socket, true)?;
    let _ = socket;
    Ok(())
}

/// Accepts a connection, non-blocking at once where the OS can do both in one call.
pub(crate) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
        target_os = "illumos",
    ))]
    {
        let flags = net::SocketFlags::CLOEXEC | net::SocketFlags::NONBLOCK;
        let (fd, address) = net::acceptfrom_with(listener, flags)?;
        let stream = TcpStream::from(fd);
        // An address of another family (an IPv6 listener has none) is asked for once more, in std's way.
        let address = match address.map(SocketAddr::try_from) {
            Some(Ok(address)) => address,
            _ => stream.peer_addr()?,
        };
        Ok((stream, address))
    }
    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
        target_os = "illumos",
    )))]
    {
        let (stream, address) = listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok((stream, address))
    }
}

/// As `unix_address`, in std's type.
pub(crate) fn std_unix_address(path: &Path) -> io::Result<std::os::unix::net::SocketAddr> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::unix::ffi::OsStrExt;
        if let [0, name @ ..] = path.as_os_str().as_bytes() {
            #[cfg(target_os = "android")]
            use std::os::android::net::SocketAddrExt;
            #[cfg(target_os = "linux")]
            use std::os::linux::net::SocketAddrExt;
            return std::os::unix::net::SocketAddr::from_abstract_name(name);
        }
    }
    std::os::unix::net::SocketAddr::from_pathname(path)
}

/// Has the functions called around every later `fork`: before it, and after it in the parent and in the child, each on
/// the thread that forks.
pub(crate) fn at_fork(
    before: extern "C" fn(),
    in_parent: extern "C" fn(),
    in_child: extern "C" fn(),
) {
    unsafe extern "C" {
        fn pthread_atfork(
            before: Option<extern "C" fn()>,
            in_parent: Option<extern "C" fn()>,
            in_child: Option<extern "C" fn()>,
        ) -> std::ffi::c_int;
    }
    // SAFETY: POSIX wants functions that may be called at any fork from now on: they live as long as the program, do not
    // unwind, and take no lock in the child that was not taken before the fork.
    let status = unsafe { pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    // It fails only without memory for the list. A fork then goes unnoticed, as in a program that calls clone itself.
    let _ = status;
}
