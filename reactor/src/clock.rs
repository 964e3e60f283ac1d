//! Where "now" comes from: the machine, or whoever holds a manual clock.
//!
//! No other module reads the time. Inside the crate an instant is a `u64` of nanoseconds since an epoch that the
//! process fixes at its first look; instants before it count as the epoch, and those that do not fit (584 years) as one
//! that no clock gets to.

use std::fmt;
use std::ptr;
use std::time::{Duration, Instant};

use crate::os;
use crate::sync::{Arc, AtomicU64, Ordering, StaticPtr};

/// No deadline.
pub(crate) const NEVER: u64 = u64::MAX;
/// How far the coarse clock may be behind: by a tick of the kernel, which is at most 10 ms long; or by more, if the
/// processor that counts the ticks is a virtual one, which did not run for a while.
const MOST_BEHIND_NS: u64 = 250_000_000;
/// The last deadline there is. No clock gets there.
const LAST: u64 = NEVER - 1;

/// A source of time for a reactor: the machine's, or one that stands still until it is told to move.
///
/// Clones are the same clock.
///
/// ```
/// use std::time::Duration;
/// use untether::Clock;
///
/// let clock = Clock::manual();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(clock.now() - before, Duration::from_secs(3600));
/// ```
#[derive(Clone, Default)]
pub struct Clock {
    /// None: the machine's. Else nanoseconds since the epoch.
    manual: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// The machine's monotonic clock.
    pub fn system() -> Clock {
        Clock { manual: None }
    }

    /// A clock that starts at the machine's time and moves only by [`Clock::advance`].
    ///
    /// A reactor built with it ([`Builder::clock`](crate::Builder::clock)) sleeps until something happens or the
    /// clock is moved; its time-outs too are measured by this clock.
    pub fn manual() -> Clock {
        Clock {
            manual: Some(Arc::new(AtomicU64::new(machine_now()))),
        }
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        match &self.manual {
            // Not by way of nanoseconds: two conversions cost as much as the look itself.
            None => Instant::now(),
            Some(now) => instant(now.load(Ordering::Acquire)),
        }
    }

    /// Moves a manual clock forward and wakes the reactors that run on it, so that they fire what is due. Moving past
    /// the end of time stops there.
    ///
    /// # Panics
    /// If this is the system's clock, which nobody can move.
    pub fn advance(&self, by: Duration) {
        let Some(now) = &self.manual else {
            panic!("the system's clock cannot be advanced; build the reactor with Clock::manual()");
        };
        let by = u64::try_from(by.as_nanos()).unwrap_or(NEVER);
        let _ = now.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
            Some(now.saturating_add(by).min(LAST - 1))
        });
        crate::reactor::clock_moved(self);
    }

    /// Whether time passes only when somebody says so.
    pub fn is_manual(&self) -> bool {
        self.manual.is_some()
    }

    pub(crate) fn now_ns(&self) -> u64 {
        match &self.manual {
            None => machine_now(),
            Some(now) => now.load(Ordering::Acquire),
        }
    }

    /// Between which times it is now, if there is a look that costs less than an exact one.
    ///
    /// It may be wrong where a virtual machine is late in counting its ticks. So it is good for seeing that a timer need
    /// not be fired yet, where one that is overlooked is fired by the next exact look.
    #[inline]
    pub(crate) fn roughly(&self) -> Option<(u64, u64)> {
        match &self.manual {
            None => rough_now().map(|now| (now, now + MOST_BEHIND_NS)),
            Some(now) => {
                let now = now.load(Ordering::Acquire);
                Some((now, now))
            }
        }
    }

    pub(crate) fn same(&self, other: &Clock) -> bool {
        match (&self.manual, &other.manual) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_manual() {
            "Clock::manual"
        } else {
            "Clock::system"
        })
    }
}

/// When time begins. By itself in its pair of cache lines: everybody reads it all the time, and whatever lay beside it
/// in the heap would be written by somebody.
#[repr(align(128))]
struct Epoch {
    instant: Instant,
    /// What the coarse clock showed then.
    coarse: u64,
}

/// The first look fixes it. Not a `OnceLock`: a child that is forked during the first look would wait for it for ever.
#[inline]
fn epoch() -> &'static Epoch {
    static EPOCH: StaticPtr<Epoch> = StaticPtr::new(ptr::null_mut());
    let epoch = EPOCH.load(Ordering::Acquire);
    if epoch.is_null() {
        return first_look(&EPOCH);
    }
    // SAFETY: what is stored there is a box that is never freed.
    unsafe { &*epoch }
}

#[cold]
fn first_look(place: &StaticPtr<Epoch>) -> &'static Epoch {
    let ours = Box::into_raw(Box::new(Epoch {
        instant: Instant::now(),
        coarse: os::coarse_ns().unwrap_or(0),
    }));
    let epoch =
        match place.compare_exchange(ptr::null_mut(), ours, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => ours,
            Err(theirs) => {
                // SAFETY: it is a box that nobody else has seen.
                drop(unsafe { Box::from_raw(ours) });
                theirs
            }
        };
    // SAFETY: what is stored there is a box that is never freed.
    unsafe { &*epoch }
}

/// The machine's time, give or take a tick of the kernel's.
fn rough_now() -> Option<u64> {
    Some(os::coarse_ns()?.saturating_sub(epoch().coarse))
}

/// The machine's time.
pub(crate) fn machine_now() -> u64 {
    Instant::now()
        .saturating_duration_since(epoch().instant)
        .as_nanos() as u64
}

/// An instant as a deadline.
#[inline]
pub(crate) fn deadline(at: Instant) -> u64 {
    let after = at.saturating_duration_since(epoch().instant);
    // Not `as_nanos`: it is 128 bits wide.
    let ns = after.as_secs().checked_mul(1_000_000_000);
    let ns = ns.and_then(|ns| ns.checked_add(u64::from(after.subsec_nanos())));
    ns.map_or(LAST, |ns| ns.min(LAST))
}

/// A deadline as an instant; one that the system's instants cannot express is as late as they go.
pub(crate) fn instant(ns: u64) -> Instant {
    let epoch = epoch().instant;
    let mut after = Duration::from_nanos(ns);
    loop {
        match epoch.checked_add(after) {
            Some(instant) => return instant,
            None => after /= 2,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn deadlines_and_instants_agree_to_the_nanosecond() {
        for ns in [0, 1, 999_999_999, 1_000_000_000, u64::MAX / 4] {
            assert_eq!(deadline(instant(ns)), ns);
        }
    }

    #[test]
    fn an_instant_before_the_epoch_is_due() {
        if let Some(before) = epoch().instant.checked_sub(Duration::from_nanos(1)) {
            assert_eq!(deadline(before), 0);
        }
    }

    #[test]
    fn a_manual_clock_stops_at_the_end_of_time() {
        let clock = Clock::manual();
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert!(clock.now() > Instant::now());
    }
}
