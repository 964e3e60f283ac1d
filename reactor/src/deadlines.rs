//! Pending timers, in firing order.
//!
//! A task inserts in its own thread's shard, under that shard's lock, and cancels in the shard where it has inserted;
//! only the driver fires. A timer never fires early, and timers due at the same instant fire in the order in which
//! they were inserted (by threads of one shard; a reset counts as an insertion).
//!
//! A shard publishes a lower bound of its deadlines, so that the driver need not take a lock to learn that nothing is
//! due:
//!
//! | what happens under the lock               | published | doubtful | and then                                     |
//! |-------------------------------------------|-----------|----------|----------------------------------------------|
//! | inserted or reset to `deadline` <= it     | deadline  | no       | if less: `earlier`, the caller tells the driver |
//! | inserted or reset to a later one          | -         | -        |                                              |
//! | cancelled or reset, and it was published  | -         | **yes**  | nothing: most often, nobody ever asks        |
//! | `next` finds the least one doubtful       | exact     | no       | looks again: another may be the least now    |
//! | `fire` finds the published one due        | exact     | no       |                                              |
//!
//! The published value only ever rises when somebody looks, so a thread that cancels and inserts all day tells the
//! driver nothing. And no deadline is missed: a driver that sleeps towards a value has read it here, so it hears of
//! each insertion that is earlier than what was published since.
//!
//! Stores are Release and loads Acquire, which orders a value with the shard behind it, and no more. That a driver about
//! to sleep and an inserter about to wake it cannot both overlook the other is the caller's duty: after `insert` or
//! `reset` said `earlier`, and before reading `next`, both do a read-modify-write of one word (the `chair`'s). So
//! nothing here is SeqCst.
//!
//! No waker is called, cloned or dropped under a lock: its drop may drop a task, whose timer then locks the shard.
//!
//! Deadlines are never freed (`reactor` keeps those of one that has ended for the next), so a timer holds a plain
//! reference, and two threads' timers write to nothing that both use. A ticket from before does nothing: the keys of a
//! later wheel are of later generations.
//!
//! Not here: what "now" is (`clock`), and waking the driver for a nearer deadline (`chair`).

mod wheel;

use std::cell::Cell;
use std::sync::PoisonError;
use std::task::Waker;

use crate::sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, StaticUsize};
use crate::sync::{Mutex, MutexGuard};

use self::wheel::{Key, Wheel};

/// A deadline that does not come.
pub(crate) const NEVER: u64 = u64::MAX;

/// The pending timers of one reactor. Time is nanoseconds since whatever instant the callers agree upon.
pub(crate) struct Deadlines {
    /// A power of two, so that finding one's own is an `and`.
    shards: Box<[Shard]>,
}

/// Names one pending timer. Once that has fired, was cancelled or evicted, the ticket does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    shard: u16,
    key: Key,
}

/// What became of a timer that was inserted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Inserted {
    pub(crate) ticket: Ticket,
    /// It is earlier than anything its shard has published since the driver last looked: the driver may have to hear.
    pub(crate) earlier: bool,
}

/// What became of a waker that was offered in place of another.
#[must_use = "a waker should be dropped where no lock is held"]
#[derive(Debug)]
pub(crate) enum Rewake {
    /// The timer's own waker wakes the same task.
    Kept,
    /// The timer has a clone of the new one; here is the old.
    Replaced(Waker),
    /// The timer is not pending.
    Gone,
}

/// What became of a timer that was given another deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reset {
    /// It is pending, with its waker; `earlier` as in `Inserted`.
    Moved { earlier: bool },
    /// It was not pending, and is not now.
    Gone,
}

impl Deadlines {
    /// Room for the timers of about as many threads, in the next power of two of shards, at most 32,768.
    pub(crate) fn new(shards: usize) -> Deadlines {
        let shards = shards.clamp(1, MOST_SHARDS).next_power_of_two();
        Deadlines {
            shards: (0..shards).map(|_| Shard::new()).collect(),
        }
    }

    /// Adds a timer. The error gives the waker back: the deadlines are closed.
    pub(crate) fn insert(&self, deadline: u64, waker: Waker) -> Result<Inserted, Waker> {
        self.insert_in(this_thread() & (self.shards.len() - 1), deadline, waker)
    }

    fn insert_in(&self, number: usize, deadline: u64, waker: Waker) -> Result<Inserted, Waker> {
        let shard = &self.shards[number];
        let mut guard = shard.lock();
        let Some(wheel) = guard.as_mut() else {
            return Err(waker);
        };
        let key = wheel.insert(deadline, waker);
        shard.count.store(wheel.len(), Ordering::Relaxed);
        let earlier = shard.notice.announce(deadline);
        // Fits, because there are at most `MOST_SHARDS`.
        Ok(Inserted {
            ticket: Ticket {
                shard: number as u16,
                key,
            },
            earlier,
        })
    }

    /// Takes a timer out. Its waker is for the caller to drop, holding no lock.
    pub(crate) fn cancel(&self, ticket: Ticket) -> Option<Waker> {
        let shard = self.shard(ticket);
        let mut guard = shard.lock();
        let wheel = guard.as_mut()?;
        let (deadline, waker) = wheel.cancel(ticket.key)?;
        shard.count.store(wheel.len(), Ordering::Relaxed);
        shard.notice.withdraw(deadline);
        Some(waker)
    }

    /// Makes a timer wake `waker`'s task. The timer may fire while that is cloned: then it is gone, having woken the
    /// old one.
    pub(crate) fn rewake(&self, ticket: Ticket, waker: &Waker) -> Rewake {
        let shard = self.shard(ticket);
        match shard
            .lock()
            .as_mut()
            .and_then(|wheel| wheel.waker(ticket.key))
        {
            // A comparison of two pointers: no code of the task's runs here.
            Some(current) if current.will_wake(waker) => return Rewake::Kept,
            Some(_) => {}
            None => return Rewake::Gone,
        }
        let mut waker = waker.clone();
        let swapped = {
            let mut guard = shard.lock();
            let current = guard.as_mut().and_then(|wheel| wheel.waker(ticket.key));
            current
                .map(|current| std::mem::swap(current, &mut waker))
                .is_some()
        };
        if swapped {
            Rewake::Replaced(waker)
        } else {
            Rewake::Gone
        }
    }

    /// Gives a pending timer another deadline; its place among equals is the last.
    pub(crate) fn reset(&self, ticket: Ticket, deadline: u64) -> Reset {
        let shard = self.shard(ticket);
        let mut guard = shard.lock();
        match guard
            .as_mut()
            .and_then(|wheel| wheel.reset(ticket.key, deadline))
        {
            Some(old) => {
                shard.notice.withdraw(old);
                Reset::Moved {
                    earlier: shard.notice.announce(deadline),
                }
            }
            None => Reset::Gone,
        }
    }

    /// The earliest deadline; exact, but for what other threads do meanwhile. (What they insert, they announce. What
    /// they cancel may still be the answer.) Takes a lock only if the earliest may have been cancelled.
    pub(crate) fn next(&self) -> Option<u64> {
        loop {
            // Each value is read once: read again, it might have risen above the others.
            let published = self
                .shards
                .iter()
                .map(|shard| (shard.notice.published.load(Ordering::Acquire), shard));
            let (deadline, shard) = published.min_by_key(|&(deadline, _)| deadline)?;
            if deadline == NEVER {
                return None;
            }
            if !shard.notice.doubtful.load(Ordering::Acquire) {
                return Some(deadline);
            }
            if let Some(wheel) = shard.lock().as_mut() {
                shard.notice.publish(wheel.next());
            }
        }
    }

    /// Whether `fire` would find nothing to do, if it is no earlier than `from` and no later than `to`.
    pub(crate) fn rest(&self, from: u64, to: u64) -> bool {
        let mut notices = self.shards.iter().map(|shard| &shard.notice);
        notices.all(|notice| !notice.is_due(to) && !notice.is_stale(from))
    }

    /// Takes out every timer with `deadline <= now` and appends its waker, in order of deadline; of those with equal
    /// deadlines, the ones of one shard in order of insertion. Returns how many. (A timer that is inserted in a shard
    /// which has had its turn waits for the next call.)
    pub(crate) fn fire(&self, now: u64, wakers: &mut Vec<Waker>) -> usize {
        let before = wakers.len();
        let mut visits = self
            .shards
            .iter()
            .filter(|shard| shard.notice.is_due(now) || shard.notice.is_stale(now));
        let Some(first) = visits.next() else { return 0 };
        let Some(second) = visits.next() else {
            first.fire(now, |_, waker| wakers.push(waker));
            return wakers.len() - before;
        };
        let mut fired = Vec::new();
        for shard in [first, second].into_iter().chain(visits) {
            shard.fire(now, |deadline, waker| fired.push((deadline, waker)));
        }
        // Stable, so that it merges what is in order already, and leaves equals alone.
        fired.sort_by_key(|&(deadline, _)| deadline);
        wakers.extend(fired.into_iter().map(|(_, waker)| waker));
        wakers.len() - before
    }

    /// Takes out every timer, and appends its waker, in no particular order.
    pub(crate) fn evict(&self, wakers: &mut Vec<Waker>) {
        for shard in &self.shards {
            if let Some(wheel) = shard.lock().as_mut() {
                wheel.drain(wakers);
                shard.notice.publish(None);
                shard.count.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Evicts every timer, and refuses those that come later, until it is opened again.
    pub(crate) fn close(&self, wakers: &mut Vec<Waker>) {
        for shard in &self.shards {
            let wheel = {
                let mut guard = shard.lock();
                shard.notice.publish(None);
                shard.count.store(0, Ordering::Relaxed);
                guard.take()
            };
            if let Some(mut wheel) = wheel {
                wheel.drain(wakers);
                shard
                    .first_generation
                    .store(wheel.next_generation(), Ordering::Relaxed);
            }
        }
    }

    /// Serves another reactor, after `close`. Tickets from before do nothing.
    pub(crate) fn reopen(&self) {
        for shard in &self.shards {
            let first_generation = shard.first_generation.load(Ordering::Relaxed);
            *shard.lock() = Some(Wheel::new(first_generation));
        }
    }

    /// How many timers are pending, if no other thread is just changing that.
    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.count.load(Ordering::Relaxed))
            .sum()
    }

    fn shard(&self, ticket: Ticket) -> &Shard {
        &self.shards[usize::from(ticket.shard)]
    }
}

/// Some threads' timers. Aligned to two cache lines, because the processor fetches them in pairs: unaligned, two threads
/// were 4 to 30 times slower.
#[repr(align(128))]
struct Shard {
    /// `None` if closed.
    wheel: Mutex<Option<Wheel>>,
    /// Written under the lock, like all of `notice`.
    count: AtomicUsize,
    /// Of the keys, when a wheel is opened here that is not the first.
    first_generation: AtomicU32,
    notice: Notice,
}

/// What the driver reads in every turn. Apart from the lock, so that looking does not slow down who inserts.
#[repr(align(128))]
struct Notice {
    /// No deadline is earlier.
    published: AtomicU64,
    /// The timer whose deadline was published may have gone.
    doubtful: AtomicBool,
    /// When the wheel was last turned.
    visited: AtomicU64,
}

impl Shard {
    fn new() -> Shard {
        Shard {
            wheel: Mutex::new(Some(Wheel::new(0))),
            count: AtomicUsize::new(0),
            first_generation: AtomicU32::new(0),
            notice: Notice {
                published: AtomicU64::new(NEVER),
                doubtful: AtomicBool::new(false),
                visited: AtomicU64::new(0),
            },
        }
    }

    /// Nothing panics under the lock, and a wheel that has lost its panicking user is as good as before.
    fn lock(&self) -> MutexGuard<'_, Option<Wheel>> {
        self.wheel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fire(&self, now: u64, fired: impl FnMut(u64, Waker)) {
        if let Some(wheel) = self.lock().as_mut() {
            wheel.fire(now, fired);
            self.count.store(wheel.len(), Ordering::Relaxed);
            self.notice.publish(wheel.next());
            self.notice.visited.store(now, Ordering::Relaxed);
        }
    }
}

impl Notice {
    fn is_due(&self, now: u64) -> bool {
        self.published.load(Ordering::Acquire) <= now
    }

    /// Whether the wheel has not been turned for long. (A cursor far behind would crowd all timers into a few coarse
    /// slots.)
    fn is_stale(&self, now: u64) -> bool {
        now.saturating_sub(self.visited.load(Ordering::Relaxed)) >= VISIT_EVERY_NS
    }

    /// A timer has come. Whether the driver may have to hear of it. Only under the lock, like the rest.
    fn announce(&self, deadline: u64) -> bool {
        let published = self.published.load(Ordering::Relaxed);
        if deadline <= published {
            self.publish(Some(deadline));
        }
        deadline < published
    }

    /// A timer has gone.
    fn withdraw(&self, deadline: u64) {
        let published = deadline == self.published.load(Ordering::Relaxed);
        if published && !self.doubtful.load(Ordering::Relaxed) {
            self.doubtful.store(true, Ordering::Release);
        }
    }

    /// This is the earliest, for certain.
    fn publish(&self, next: Option<u64>) {
        self.doubtful.store(false, Ordering::Relaxed);
        self.published
            .store(next.unwrap_or(NEVER), Ordering::Release);
    }
}

/// A number that threads are given in turn, so that they spread over the shards.
fn this_thread() -> usize {
    // No model depends on it, and loom's cannot be a static.
    static ARRIVED: StaticUsize = StaticUsize::new(0);
    const NONE: usize = usize::MAX;
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    }
    NUMBER
        .try_with(|number| {
            if number.get() == NONE {
                number.set(ARRIVED.fetch_add(1, Ordering::Relaxed));
            }
            number.get()
        })
        // A thread that is going away may still arm a timer: in any shard.
        .unwrap_or(0)
}

const MOST_SHARDS: usize = 1 << 15;
/// 8 ms, one slot of the second level.
const VISIT_EVERY_NS: u64 = 1 << 23;

#[cfg(all(test, not(loom)))]
mod tests;
