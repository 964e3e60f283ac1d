//! macOS, iOS and the BSDs: kqueue watches signals and processes too.

use std::future::Future;
use std::io;
use std::num::NonZeroI32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::process::Child;
use std::task::{Context, Poll};

use polling::os::kqueue::{PollerKqueueExt, Process, ProcessOps, Signal as PollingSignal};
use polling::{Event, PollMode, Poller};

use super::unix::Descriptor;
use crate::{Async, Readable};

/// Waits for something that is not a descriptor: a signal, or the end of a process.
///
/// ```no_run
/// use untether::os::kqueue::{Filter, Signal};
///
/// # futures_lite::future::block_on(async {
/// let hangups = Filter::new(Signal(1))?;
/// hangups.ready().await?;
/// # std::io::Result::Ok(()) });
/// ```
#[derive(Debug)]
pub struct Filter<T>(Async<T>);

impl<T: Queueable> Filter<T> {
    /// Starts to watch.
    ///
    /// # Errors
    /// Those of kqueue: no such process, or already watched in this reactor.
    pub fn new(filter: T) -> io::Result<Filter<T>> {
        let raw = filter.raw_source();
        Async::register(filter, raw).map(Filter)
    }
}

impl<T> Filter<T> {
    /// The object that is waited on.
    pub fn get_ref(&self) -> &T {
        self.0.get_ref()
    }

    /// The object that is waited on.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `Async::get_mut` wants the handle not to be dropped or replaced. What is watched is a number that
        // was copied at registration; it stays watched, and is taken out by that number, whatever becomes of this.
        unsafe { self.0.get_mut() }
    }

    /// Stops watching, and gives the object back.
    ///
    /// # Errors
    /// Those of kqueue, if it did not know it any more.
    pub fn into_inner(self) -> io::Result<T> {
        self.0.into_inner()
    }

    /// Waits until it has happened.
    ///
    /// # Cancel safety
    /// Safe to drop; what has happened stays known.
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

impl<T> AsRef<T> for Filter<T> {
    fn as_ref(&self) -> &T {
        self.get_ref()
    }
}

impl<T> AsMut<T> for Filter<T> {
    fn as_mut(&mut self) -> &mut T {
        self.get_mut()
    }
}

impl<T: AsRawFd> AsRawFd for Filter<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl<T: AsFd> AsFd for Filter<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<T: AsFd + From<OwnedFd>> TryFrom<OwnedFd> for Filter<T> {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<Filter<T>> {
        Async::try_from(fd).map(Filter)
    }
}

impl<T: Into<OwnedFd>> TryFrom<Filter<T>> for OwnedFd {
    type Error = io::Error;

    fn try_from(filter: Filter<T>) -> io::Result<OwnedFd> {
        filter.0.try_into()
    }
}

/// Future of [`Filter::ready`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
#[derive(Debug)]
pub struct Ready<'a, T>(Readable<'a, T>);

impl<T> Future for Ready<'_, T> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// What a [`Filter`] can watch. Sealed.
pub trait Queueable: sealed::Sealed {}

/// A signal, by number. It must be ignored or handled elsewhere: kqueue only tells that it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(pub i32);

// The one who calls it is this crate.
#[allow(private_interfaces)]
impl sealed::Sealed for Signal {
    fn raw_source(&self) -> RawSource {
        RawSource::Signal(self.0)
    }
}
impl Queueable for Signal {}

/// The end of a process.
#[derive(Debug)]
pub struct Exit(NonZeroI32);

impl Exit {
    /// Of a child.
    ///
    /// # Panics
    /// If its process id is 0 or does not fit an `i32`, which no system has.
    pub fn new(child: Child) -> Exit {
        let pid = i32::try_from(child.id()).ok().and_then(NonZeroI32::new);
        Exit(pid.expect("a process id is a positive i32"))
    }

    /// Of any process.
    ///
    /// # Safety
    /// (1) `pid` is a child of this process that nobody has waited for yet, and (2) nobody does while it is watched.
    pub unsafe fn from_pid(pid: NonZeroI32) -> Exit {
        Exit(pid)
    }
}

// The one who calls it is this crate.
#[allow(private_interfaces)]
impl sealed::Sealed for Exit {
    fn raw_source(&self) -> RawSource {
        RawSource::Process(self.0)
    }
}
impl Queueable for Exit {}

mod sealed {
    #[doc(hidden)]
    #[allow(unreachable_pub, private_interfaces)]
    pub trait Sealed {
        fn raw_source(&self) -> super::RawSource;
    }
}

/// What a source is where kqueue watches more than descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RawSource {
    Descriptor(Descriptor),
    Signal(i32),
    Process(NonZeroI32),
}

impl Default for RawSource {
    fn default() -> RawSource {
        RawSource::Descriptor(Descriptor::default())
    }
}

impl RawSource {
    pub(crate) fn of(io: &impl AsFd) -> RawSource {
        RawSource::Descriptor(Descriptor::of(io))
    }

    pub(crate) fn add(self, poller: &Poller, event: Event, mode: PollMode) -> io::Result<()> {
        match self {
            RawSource::Descriptor(fd) => fd.add(poller, event, mode),
            RawSource::Signal(signal) => poller.add_filter(PollingSignal(signal), event.key, mode),
            RawSource::Process(pid) => poller.add_filter(exit_of(pid), event.key, mode),
        }
    }

    pub(crate) fn modify(self, poller: &Poller, event: Event, mode: PollMode) -> io::Result<()> {
        match self {
            RawSource::Descriptor(fd) => fd.modify(poller, event, mode),
            RawSource::Signal(signal) => {
                poller.modify_filter(PollingSignal(signal), event.key, mode)
            }
            RawSource::Process(pid) => poller.modify_filter(exit_of(pid), event.key, mode),
        }
    }

    pub(crate) fn remove(self, poller: &Poller) -> io::Result<()> {
        match self {
            RawSource::Descriptor(fd) => fd.remove(poller),
            RawSource::Signal(signal) => poller.delete_filter(PollingSignal(signal)),
            RawSource::Process(pid) => poller.delete_filter(exit_of(pid)),
        }
    }

    /// Whether `confirm` can tell.
    pub(crate) fn confirms(self) -> bool {
        matches!(self, RawSource::Descriptor(fd) if fd.confirms())
    }

    /// Whether an event that nobody has been told of is to be believed: a signal that came is one that came.
    pub(crate) fn counts_events(self) -> bool {
        match self {
            RawSource::Descriptor(fd) => fd.counts_events(),
            RawSource::Signal(_) | RawSource::Process(_) => true,
        }
    }

    pub(crate) fn confirm(self, wants: u64, seen: u64) -> io::Result<Option<u64>> {
        match self {
            RawSource::Descriptor(fd) => fd.confirm(wants, seen),
            RawSource::Signal(_) | RawSource::Process(_) => Ok(None),
        }
    }

    pub(crate) fn set_nonblocking(self, nonblocking: bool) -> io::Result<()> {
        match self {
            RawSource::Descriptor(fd) => fd.set_nonblocking(nonblocking),
            RawSource::Signal(_) | RawSource::Process(_) => Ok(()),
        }
    }

    pub(crate) fn is_stream(self) -> bool {
        matches!(self, RawSource::Descriptor(fd) if fd.is_stream())
    }

    pub(crate) fn is_local(self) -> bool {
        matches!(self, RawSource::Descriptor(fd) if fd.is_local())
    }

    pub(crate) fn explain(self, error: io::Error) -> io::Error {
        match self {
            RawSource::Descriptor(fd) => fd.explain(error),
            RawSource::Signal(_) | RawSource::Process(_) => error,
        }
    }
}

fn exit_of(pid: NonZeroI32) -> Process<'static> {
    // SAFETY: `Process::from_pid` wants a process that can be waited for: `Exit::new` took a child that nobody else
    // has, and whoever called `Exit::from_pid` promised it.
    unsafe { Process::from_pid(pid, ProcessOps::Exit) }
}
