//! What exists on some systems only: waiting for signals and processes (kqueue), for handles (Windows), and the global
//! reactor's descriptor (Unix).

// What the operating system does for a reactor, and what differs between systems.
//
// No other file says `cfg(target_os)`. A back end implements `Poller`; a platform file provides `RawSource`, the handle of
// a source as the OS knows it, with
//
// - `of(&impl AsSource)`: the handle of an object;
// - `add`, `modify`, `remove`: its registration with a `polling::Poller`;
// - `confirm(wants, seen)`: which of `wants` hold this very moment, `None` where only waiting can tell (`confirms`), and
//   whether an event that nobody asked for is then to be believed (`counts_events`);
// - `set_nonblocking`, `is_stream`, `is_local`, `explain`;
//
// and `accept`, `connect`, `at_fork`. And `coarse_ns`, if there is a clock that costs less than an exact one.

use std::fmt;
use std::io;

#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(polling_test_poll_backend)
))]
mod alarm;
mod ask;
mod coarse;
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(polling_test_poll_backend)
))]
mod epoll;
mod portable;

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
))]
pub mod kqueue;
#[cfg(unix)]
pub mod unix;
#[cfg(windows)]
pub mod windows;

#[cfg(any(
    target_vendor = "apple",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
))]
pub(crate) use kqueue::RawSource;
#[cfg(all(
    unix,
    not(any(
        target_vendor = "apple",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly",
    ))
))]
pub(crate) use unix::RawSource;
#[cfg(windows)]
pub(crate) use windows::RawSource;

pub(crate) use coarse::coarse_ns;
#[cfg(unix)]
pub(crate) use unix::{accept, at_fork, connect};
#[cfg(windows)]
pub(crate) use windows::{accept, at_fork, connect};

/// Whether polling stands on epoll here, if it has edges.
const EPOLL: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// How long a wait may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Only look.
    Now,
    /// Until something happens.
    Forever,
    /// Until this deadline, in nanoseconds since `clock`'s epoch.
    At(u64),
    /// The same, and by the machine's clock though the reactor may have another. A back end knows no other.
    Machine(u64),
}

/// A poller. One thread at a time calls `wait` (the chair sees to it); everything else may be called by any thread at
/// any time, during a wait too.
pub(crate) trait Poller: fmt::Debug + Send + Sync {
    /// Whether a registration is for life and reports edges. If not, it reports one event and must be armed again.
    fn is_edge(&self) -> bool;

    /// Whether the end of the peer's data is reported beside the data, so that a short read proves that none is left.
    fn reports_half_close(&self) -> bool;

    /// Whether it can be asked for urgent data, and for nothing else.
    fn tells_priority(&self) -> bool;

    /// Starts to watch `raw`: for life, or for `wants` once.
    fn add(&self, raw: RawSource, key: usize, wants: u64) -> io::Result<()>;

    /// Watches for `wants` once (one-shot back ends only).
    fn arm(&self, raw: RawSource, key: usize, wants: u64) -> io::Result<()>;

    /// Stops watching `raw`.
    fn remove(&self, raw: RawSource) -> io::Result<()>;

    /// Waits, and hands over each event: the key, and readiness as `source::bits`. An interrupted wait has no events.
    fn wait(&self, until: Until, event: &mut dyn FnMut(usize, u64)) -> io::Result<()>;

    /// A wait that is under way must end at `deadline` too. If somebody sits in the chair it must not be missed; else it
    /// may end a later wait.
    fn alarm(&self, deadline: u64);

    /// Ends the wait that is under way, or the next one.
    fn wake(&self);

    /// The one descriptor that becomes readable when `wait` would return at once.
    #[cfg(unix)]
    fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>>;
}

/// Which back end a reactor runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// The fastest one of this system; `UNTETHER_BACKEND=portable` in the environment chooses [`Backend::Portable`].
    #[default]
    Auto,
    /// The crate `polling` alone, as on systems for which there is no back end of their own.
    Portable,
}

/// Opens a poller.
///
/// # Errors
/// Those of the OS, when the process has no descriptors left for instance.
pub(crate) fn open(choice: Backend) -> io::Result<Box<dyn Poller>> {
    let portable = match choice {
        Backend::Auto => {
            std::env::var_os("UNTETHER_BACKEND").is_some_and(|name| name == "portable")
        }
        Backend::Portable => true,
    };
    #[cfg(all(
        any(target_os = "linux", target_os = "android"),
        not(polling_test_poll_backend)
    ))]
    if !portable {
        return Ok(Box::new(epoll::Epoll::new()?));
    }
    let _ = portable;
    Ok(Box::new(portable::Portable::new()?))
}
