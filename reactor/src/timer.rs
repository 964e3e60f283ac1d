//! Timers as futures and streams, and time-outs.
//!
//! A timer registers with the current reactor at its first pending poll, and moves when it is polled under another.
//!
//! Not here: the order in which timers fire (`deadlines`), where "now" comes from (`clock`).

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_core::Stream;

use crate::budget;
use crate::clock;
use crate::deadlines::{Deadlines, Reset, Rewake, Ticket};
use crate::fork;
use crate::house::{House, HouseId};
use crate::reactor::{Reactor, with_current};

/// A future that is ready at a point in time, once; or a stream that is ready periodically.
///
/// It yields the instant at which it was due, never early. How late depends on the system: on Linux it is a timerfd of
/// nanosecond grain (some 50 to 150 us late on an idle machine), elsewhere as precise as the poller's time-out, which
/// is about a millisecond on the BSDs and macOS and up to 16 ms on Windows.
///
/// Nothing is registered until a poll has to wait. Dropping it cancels it.
///
/// ```
/// use std::time::{Duration, Instant};
/// use untether::Timer;
///
/// # futures_lite::future::block_on(async {
/// let start = Instant::now();
/// Timer::after(Duration::from_millis(10)).await;
/// assert!(start.elapsed() >= Duration::from_millis(10));
/// # });
/// ```
pub struct Timer {
    when: Option<Instant>,
    /// `Duration::MAX`: only once.
    period: Duration,
    missed: MissedTicks,
    pending: Option<Pending>,
}

/// What an interval does about ticks that nobody was there to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissedTicks {
    /// Yields them all at once, until it has caught up: the number of ticks is right.
    #[default]
    Burst,
    /// Starts anew from now: two ticks are never closer than the period.
    Delay,
    /// Leaves them out: the ticks stay on the grid of the start. Good after a suspended machine wakes up.
    Skip,
}

/// A timer that waits in a reactor.
struct Pending {
    deadlines: &'static Deadlines,
    house: HouseId,
    ticket: Ticket,
    born: fork::Generation,
}

impl Timer {
    /// A timer that never fires, until it is set.
    pub fn never() -> Timer {
        Timer::due(None, Duration::MAX)
    }

    /// Fires once, after `duration`. One that ends after the end of time never fires.
    pub fn after(duration: Duration) -> Timer {
        Timer::due(from_now(duration), Duration::MAX)
    }

    /// Fires once, at `instant`; at once if it has passed.
    pub fn at(instant: Instant) -> Timer {
        Timer::interval_at(instant, Duration::MAX)
    }

    /// Fires after each `period`, the first time after one. See [`Timer::set_missed_ticks`].
    pub fn interval(period: Duration) -> Timer {
        Timer::due(from_now(period), period)
    }

    /// Fires at `start` and after each `period` from then.
    pub fn interval_at(start: Instant, period: Duration) -> Timer {
        Timer::due(Some(start), period)
    }

    fn due(when: Option<Instant>, period: Duration) -> Timer {
        Timer {
            when,
            period,
            missed: MissedTicks::Burst,
            pending: None,
        }
    }

    /// Whether it will fire, if it is polled.
    #[inline]
    pub fn will_fire(&self) -> bool {
        self.when.is_some()
    }

    /// Makes it fire `duration` from now. A task that waits for it waits for the new time, without being woken for
    /// the change.
    pub fn set_after(&mut self, duration: Duration) {
        match from_now(duration) {
            Some(instant) => self.set_at(instant),
            None => self.clear(),
        }
    }

    /// Makes it fire at `instant`; one in the past fires at the next poll, and wakes whoever waits.
    pub fn set_at(&mut self, instant: Instant) {
        self.when = Some(instant);
        self.forget_parent();
        let Some(pending) = &self.pending else { return };
        let deadline = clock::deadline(instant);
        match pending.deadlines.reset(pending.ticket, deadline) {
            Reset::Moved { earlier: true } => {
                if let Some(reactor) = pending.reactor() {
                    reactor.announce(deadline);
                }
            }
            Reset::Moved { earlier: false } => {}
            // It has fired: the task was woken, and will find the new time when it polls.
            Reset::Gone => self.pending = None,
        }
    }

    /// Makes it fire after each `period` from now on, the first time after one.
    pub fn set_interval(&mut self, period: Duration) {
        match from_now(period) {
            Some(instant) => self.set_interval_at(instant, period),
            None => self.clear(),
        }
    }

    /// Makes it fire at `start` and after each `period` from then.
    pub fn set_interval_at(&mut self, start: Instant, period: Duration) {
        self.period = period;
        self.set_at(start);
    }

    /// Keeps it from firing, until it is set again. A task that waits for it goes on waiting, and is not woken.
    pub fn clear(&mut self) {
        self.cancel();
        self.when = None;
    }

    /// What to do about ticks that nobody was there to take; [`MissedTicks::Burst`] at first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use futures_lite::StreamExt;
    /// use untether::{MissedTicks, Timer};
    ///
    /// # futures_lite::future::block_on(async {
    /// let mut ticks = Timer::interval(Duration::from_millis(10));
    /// ticks.set_missed_ticks(MissedTicks::Skip);
    /// let first = ticks.next().await.unwrap();
    /// std::thread::sleep(Duration::from_millis(25)); // two ticks go by
    /// let second = ticks.next().await.unwrap();
    /// let third = ticks.next().await.unwrap();
    /// assert_eq!(second - first, Duration::from_millis(10));
    /// assert!(third - second >= Duration::from_millis(20));
    /// # });
    /// ```
    pub fn set_missed_ticks(&mut self, missed: MissedTicks) {
        self.missed = missed;
    }

    /// Leaves alone what the parent process waits for, if this is a child of `fork`: its lock may never be released.
    fn forget_parent(&mut self) {
        if self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.born.is_stale())
        {
            self.pending = None;
        }
    }

    fn cancel(&mut self) {
        self.forget_parent();
        if let Some(pending) = self.pending.take() {
            // The waker is dropped here, outside of every lock.
            drop(pending.deadlines.cancel(pending.ticket));
        }
    }

    /// The tick after the one that was due at `when`.
    fn tick_after(&self, when: Instant, now: Instant) -> Option<Instant> {
        match self.missed {
            _ if self.period == Duration::MAX => None,
            MissedTicks::Burst => when.checked_add(self.period),
            MissedTicks::Delay => now.checked_add(self.period),
            MissedTicks::Skip if self.period.is_zero() => Some(now),
            MissedTicks::Skip => {
                let late = now.saturating_duration_since(when).as_nanos();
                let over = Duration::from_nanos((late % self.period.as_nanos()) as u64);
                // Of the grid point that has passed last, the next.
                now.checked_sub(over)?.checked_add(self.period)
            }
        }
    }

    /// Leaves `cx`'s waker with the deadlines of `here`.
    fn wait(&mut self, deadline: u64, here: &Reactor, cx: &Context<'_>) {
        self.forget_parent();
        if let Some(pending) = &self.pending {
            if ptr::eq(pending.deadlines, here.shared().deadlines) {
                match pending.deadlines.rewake(pending.ticket, cx.waker()) {
                    Rewake::Kept => return,
                    Rewake::Replaced(old) => return drop(old),
                    Rewake::Gone => self.pending = None,
                }
            } else {
                self.cancel();
            }
        }
        self.pending = Pending::new(deadline, here, cx);
    }
}

impl Pending {
    fn new(deadline: u64, here: &Reactor, cx: &Context<'_>) -> Option<Pending> {
        let deadlines = here.shared().deadlines;
        let inserted = match deadlines.insert(deadline, cx.waker().clone()) {
            Ok(inserted) => inserted,
            // This thread has entered a reactor that has ended. The global one does not end.
            Err(_) => return Pending::new(deadline, &Reactor::global(), cx),
        };
        if inserted.earlier {
            here.announce(deadline);
        }
        if here.summon().is_err() {
            // The OS has no thread to spare that could drive. A timer has no error to return: the task tries again
            // until there is one.
            std::thread::yield_now();
            cx.waker().wake_by_ref();
        }
        Some(Pending {
            deadlines,
            house: here.id(),
            ticket: inserted.ticket,
            born: fork::Generation::now(),
        })
    }

    /// Where it waits, unless that has ended.
    fn reactor(&self) -> Option<Reactor> {
        let reactor = with_current(|here| match here.id() == self.house {
            true => Some(here.clone()),
            false => here.neighbour(self.house),
        })?;
        ptr::eq(reactor.shared().deadlines, self.deadlines).then_some(reactor)
    }
}

fn from_now(duration: Duration) -> Option<Instant> {
    with_current(|here| here.shared().clock.now().checked_add(duration))
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Future for Timer {
    type Output = Instant;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        match ready!(self.poll_next(cx)) {
            Some(when) => Poll::Ready(when),
            None => unreachable!("the stream of a timer has no end"),
        }
    }
}

impl Stream for Timer {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        let this = &mut *self;
        let Some(when) = this.when else {
            return Poll::Pending;
        };
        with_current(|here| {
            let (deadline, clock) = (clock::deadline(when), &here.shared().clock);
            // Most timers that are polled are far from due, which a cheap look can tell.
            let now = match clock.roughly() {
                Some((_, latest)) if latest < deadline => latest,
                _ => clock.now_ns(),
            };
            if now < deadline {
                this.wait(deadline, here, cx);
                return Poll::Pending;
            }
            // An interval that is always behind must not starve the others on its thread.
            if !budget::charge(cx) {
                return Poll::Pending;
            }
            this.cancel();
            this.when = this.tick_after(when, clock::instant(now));
            Poll::Ready(Some(when))
        })
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer")
            .field("when", &self.when)
            .field(
                "period",
                &(self.period != Duration::MAX).then_some(self.period),
            )
            .field("waits", &self.pending.is_some())
            .finish()
    }
}

/// Gives `future` at most `duration`, and drops nothing: if the time is over first, the future is still in the
/// [`Timeout`], and is dropped with it.
///
/// The future is polled before the clock is looked at, so one that is ready in time is never lost.
///
/// ```
/// use std::time::Duration;
/// use untether::timeout;
///
/// # futures_lite::future::block_on(async {
/// assert_eq!(timeout(Duration::from_secs(1), async { 7 }).await, Ok(7));
/// let never = std::future::pending::<()>();
/// assert!(timeout(Duration::from_millis(1), never).await.is_err());
/// # });
/// ```
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout {
        future,
        timer: Timer::after(duration),
    }
}

/// Future of [`timeout`].
#[must_use = "futures do nothing unless you `.await` or poll them"]
#[derive(Debug)]
pub struct Timeout<F> {
    future: F,
    timer: Timer,
}

/// The time was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is pinned whenever the `Timeout` is: it is never moved out, and there is no `Drop` here.
        // `timer` is Unpin and never pinned.
        let (future, timer) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.future), &mut this.timer)
        };
        if let Poll::Ready(output) = future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(timer).poll(cx).map(|_| Err(Elapsed(())))
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was over first")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}
