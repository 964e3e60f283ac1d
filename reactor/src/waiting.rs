//! Trying, and waiting in between: what every operation of an [`Async`] comes down to.
//!
//! `attempt` is the one loop: look at the word, try the operation if it may succeed, forget the readiness that turned
//! out to be stale, and wait if nothing is left. The futures here are what `readable` and `writable` return; dropping
//! one takes its entry off the source's list, and nothing else.
//!
//! On the global reactor another thread delivers the events, and may be about to. So a task that is polled once more for
//! the same operation, nobody having woken it, tries it once more: what is there is there. Where the thread that polls is
//! the one that drives, that would cost a system call for each task that waits for several things, and nothing is late.
//!
//! Not here: why no event is missed (`source`), who wakes (`turn`).

use std::borrow::Borrow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::ops::BitOr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;

use crate::budget;
use crate::fork;
use crate::reactor::with_current;
use crate::source::{self, Direction, Place, Snapshot, Waited, bits};
use crate::timer::Timer;
use crate::wrapper::{Async, Handle};

impl Handle {
    /// Runs `op` until it does something else than to report `WouldBlock`, waiting at `place`; `first` runs it once
    /// even if the word says that it will fail, and is taken back when it has run. `was_short` says of a result that the transfer was shorter than asked
    /// for, by an operation that is one system call: on a byte stream that proves the kernel's buffer drained.
    pub(crate) fn attempt<R>(
        &self,
        direction: Direction,
        cx: &Context<'_>,
        mut place: Place<'_>,
        first: &mut bool,
        mut op: impl FnMut() -> io::Result<R>,
        was_short: impl Fn(&R) -> bool,
    ) -> Poll<io::Result<R>> {
        let source = self.slot.source;
        let mut again = place.is_slot();
        loop {
            let seen = self.look()?;
            if seen.has(direction.bits()) != 0 || *first {
                if !budget::charge(cx) {
                    return Poll::Pending;
                }
                *first = false;
                match op() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        // If an event came in meanwhile, the next look finds it.
                        source.forget(direction, seen);
                    }
                    Ok(result) => {
                        if self.is_stream && seen.short_means_drained() && was_short(&result) {
                            source.drained(direction, seen);
                        }
                        return Poll::Ready(Ok(result));
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            } else {
                ready!(self.wait(cx, &mut place, &mut again, first))?;
            }
        }
    }

    /// Waits until something that `place` wants is there. Ready: look again; and if `again` was true, and there is a
    /// reason to, `first` is true now and `again` is not.
    fn wait(
        &self,
        cx: &Context<'_>,
        place: &mut Place<'_>,
        again: &mut bool,
        first: &mut bool,
    ) -> Poll<io::Result<()>> {
        let place = place.again();
        let (source, index) = (self.slot.source, self.slot.index);
        let (waited, is_hosted) = with_current(|here| {
            let waited = source.wait(index, place, cx.waker(), here);
            (waited, here.shared().driver.is_automatic())
        });
        match waited? {
            Waited::Ready => Poll::Ready(Ok(())),
            Waited::Still if *again && is_hosted => {
                *again = false;
                *first = true;
                Poll::Ready(Ok(()))
            }
            Waited::Pending | Waited::Still => {
                budget::refill();
                Poll::Pending
            }
        }
    }

    #[inline]
    fn look(&self) -> io::Result<Snapshot> {
        let seen = self.slot.source.observe();
        if self.slot.born.is_stale() || seen.is_retired() {
            return Err(self.refusal());
        }
        Ok(seen)
    }

    #[cold]
    fn refusal(&self) -> io::Error {
        if self.slot.born.is_stale() {
            fork::stale()
        } else {
            source::ended()
        }
    }

    /// `attempt` as a future with a place of its own in the list.
    pub(crate) async fn listed<R>(
        &self,
        direction: Direction,
        mut op: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        let mut entry = Listed {
            handle: self,
            entry: None,
        };
        let mut first = true;
        poll_fn(|cx| {
            let place = Place::listed(&mut entry.entry, direction.bits());
            self.attempt(direction, cx, place, &mut first, &mut op, |_| false)
        })
        .await
    }

    /// Runs `op` if it may succeed now.
    pub(crate) fn try_now<R>(
        &self,
        direction: Direction,
        op: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        let seen = self.look()?;
        if seen.has(direction.bits()) == 0 {
            // No driver may have been there to tell; the OS itself knows, on most systems.
            let holds = self.raw.confirm(direction.bits(), 0)?;
            if holds.is_some_and(|holds| holds & direction.bits() == 0) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        op().inspect_err(|error| {
            if error.kind() == io::ErrorKind::WouldBlock {
                self.slot.source.forget(direction, seen);
            }
        })
    }

    /// Waits in the slot of `direction` until it is ready in truth.
    pub(crate) fn poll_ready(
        &self,
        direction: Direction,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut asked = true;
        self.poll_truth(cx, Place::slot(direction), &mut asked)
            .map_ok(drop)
    }

    /// Waits until any of what `place` wants holds in truth, and returns what does.
    ///
    /// A bit that is remembered may be stale: the user may have done a system call of their own. It is confirmed with
    /// the OS, and cleared if the OS disagrees. Where only waiting can tell, `asked` says whether this wait has been
    /// armed: an event that came since is believed, and used up.
    fn poll_truth(
        &self,
        cx: &Context<'_>,
        mut place: Place<'_>,
        asked: &mut bool,
    ) -> Poll<io::Result<u64>> {
        let source = self.slot.source;
        let wants = place.wants();
        loop {
            let seen = self.look()?;
            let set = seen.has(wants);
            if set == 0 {
                *asked = true;
                ready!(self.wait(cx, &mut place, &mut false, &mut false))?;
                continue;
            }
            match self.raw.confirm(wants, set)? {
                Some(holds) if holds & wants != 0 => return Poll::Ready(Ok(holds)),
                Some(_) => {
                    source.clear(set, seen);
                }
                None => {
                    let believed = *asked || self.raw.counts_events();
                    if source.clear(set, seen) && believed {
                        return Poll::Ready(Ok(set));
                    }
                }
            }
        }
    }
}

impl Handle {
    /// Waits until any of `wants` holds, where the poller cannot be asked for urgent data: looks now and then. `others` is
    /// a wait for the rest.
    pub(crate) async fn look_for<T>(
        &self,
        wants: u64,
        mut others: Wait<&Async<T>, T>,
    ) -> io::Result<u64> {
        let mut looks = Timer::interval(LOOK);
        poll_fn(|cx| {
            loop {
                self.look()?;
                match self.raw.confirm(wants, 0)? {
                    Some(holds) if holds & wants != 0 => return Poll::Ready(Ok(holds)),
                    _ => {}
                }
                if others.wants != 0 {
                    if let Poll::Ready(holds) = Pin::new(&mut others).poll(cx) {
                        return Poll::Ready(holds);
                    }
                }
                ready!(Pin::new(&mut looks).poll_next(cx));
            }
        })
        .await
    }
}

/// How often the OS is asked for urgent data where the poller cannot be.
const LOOK: Duration = Duration::from_millis(5);

/// An entry in a source's list, taken off when dropped.
struct Listed<'a> {
    handle: &'a Handle,
    entry: Option<u32>,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.handle.unlist(self.entry);
    }
}

/// Waits for any of some bits. `H` is a reference or a share of an `Async<T>`.
pub(crate) struct Wait<H: Borrow<Async<T>>, T> {
    object: H,
    wants: u64,
    entry: Option<u32>,
    asked: bool,
    _object: PhantomData<fn() -> T>,
}

impl<H: Borrow<Async<T>>, T> Wait<H, T> {
    pub(crate) fn new(object: H, wants: u64) -> Wait<H, T> {
        Wait {
            object,
            wants,
            entry: None,
            asked: false,
            _object: PhantomData,
        }
    }
}

impl<H: Borrow<Async<T>>, T> Unpin for Wait<H, T> {}

impl<H: Borrow<Async<T>>, T> Future for Wait<H, T> {
    type Output = io::Result<u64>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let this = &mut *self;
        let place = Place::listed(&mut this.entry, this.wants);
        let handle = &this.object.borrow().handle;
        handle.poll_truth(cx, place, &mut this.asked)
    }
}

impl<H: Borrow<Async<T>>, T> Drop for Wait<H, T> {
    fn drop(&mut self) {
        self.object.borrow().handle.unlist(self.entry);
    }
}

/// Future of [`Async::readable`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Readable<'a, T>(Wait<&'a Async<T>, T>);

/// Future of [`Async::readable_owned`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct ReadableOwned<T>(Wait<Arc<Async<T>>, T>);

/// Future of [`Async::writable`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Writable<'a, T>(Wait<&'a Async<T>, T>);

/// Future of [`Async::writable_owned`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct WritableOwned<T>(Wait<Arc<Async<T>>, T>);

impl<'a, T> Readable<'a, T> {
    pub(crate) fn new(object: &'a Async<T>) -> Self {
        Readable(Wait::new(object, bits::READ))
    }
}

impl<T> ReadableOwned<T> {
    pub(crate) fn new(object: Arc<Async<T>>) -> Self {
        ReadableOwned(Wait::new(object, bits::READ))
    }
}

impl<'a, T> Writable<'a, T> {
    pub(crate) fn new(object: &'a Async<T>) -> Self {
        Writable(Wait::new(object, bits::WRITE))
    }
}

impl<T> WritableOwned<T> {
    pub(crate) fn new(object: Arc<Async<T>>) -> Self {
        WritableOwned(Wait::new(object, bits::WRITE))
    }
}

impl<T> Future for Readable<'_, T> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll(cx).map_ok(drop)
    }
}

impl<T> Future for ReadableOwned<T> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll(cx).map_ok(drop)
    }
}

impl<T> Future for Writable<'_, T> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll(cx).map_ok(drop)
    }
}

impl<T> Future for WritableOwned<T> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll(cx).map_ok(drop)
    }
}

impl<T> fmt::Debug for Readable<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readable")
            .field(&self.0.object.handle)
            .finish()
    }
}

impl<T> fmt::Debug for ReadableOwned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadableOwned")
            .field(&self.0.object.handle)
            .finish()
    }
}

impl<T> fmt::Debug for Writable<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Writable")
            .field(&self.0.object.handle)
            .finish()
    }
}

impl<T> fmt::Debug for WritableOwned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WritableOwned")
            .field(&self.0.object.handle)
            .finish()
    }
}

/// What to wait for with [`Async::ready`]. Combine with `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interest(u8);

impl Interest {
    /// Data, the end, a connection to accept.
    pub const READABLE: Interest = Interest(1);
    /// Room to write, or nobody left to write to.
    pub const WRITABLE: Interest = Interest(2);
    /// Urgent data, where the OS tells of it (POLLPRI).
    pub const PRIORITY: Interest = Interest(4);
    /// An error that waits to be collected, such as one of the error queue of a UDP socket (POLLERR).
    pub const ERROR: Interest = Interest(8);

    pub(crate) fn wants(self) -> u64 {
        let pairs = [
            (Interest::READABLE, bits::READ),
            (Interest::WRITABLE, bits::WRITE),
            (Interest::PRIORITY, bits::PRIORITY),
            (Interest::ERROR, bits::ERROR),
        ];
        let wanted = pairs
            .iter()
            .filter(|(interest, _)| self.0 & interest.0 != 0);
        wanted.fold(0, |all, (_, bits)| all | bits)
    }
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

/// What was found to hold by [`Async::ready`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Readiness(u64);

impl Readiness {
    pub(crate) fn of(holds: u64) -> Readiness {
        Readiness(holds)
    }

    /// It can be read from: data, the end, an error.
    pub fn is_readable(self) -> bool {
        self.0 & bits::READ != 0
    }

    /// It can be written to, if only to collect an error.
    pub fn is_writable(self) -> bool {
        self.0 & bits::WRITE != 0
    }

    /// The peer sends no more, where the OS tells.
    pub fn is_read_closed(self) -> bool {
        self.0 & bits::READ_CLOSED != 0
    }

    /// The peer takes no more, where the OS tells.
    pub fn is_write_closed(self) -> bool {
        self.0 & bits::WRITE_CLOSED != 0
    }

    /// There is urgent data.
    pub fn is_priority(self) -> bool {
        self.0 & bits::PRIORITY != 0
    }

    /// There is an error to collect.
    pub fn is_error(self) -> bool {
        self.0 & bits::ERROR != 0
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("readable", &self.is_readable())
            .field("writable", &self.is_writable())
            .field("read_closed", &self.is_read_closed())
            .field("write_closed", &self.is_write_closed())
            .field("priority", &self.is_priority())
            .field("error", &self.is_error())
            .finish()
    }
}
