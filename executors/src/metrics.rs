//! What an executor says about itself in numbers.
//!
//! Each thread counts for itself, on cache lines that no other thread writes: a load, an addition and a store, all
//! relaxed, which cost what they would cost a plain number. Whoever asks adds up what the threads have written so far,
//! and stops nobody. So a sum is of a moment that never was: each of its parts is true, and a little older or younger
//! than the next.
//!
//! Not here: who counts what (the executors), how long a poll takes (`hooks`).

use std::time::Duration;

use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What an executor, or one thread of it, has done so far, and what it is doing.
///
/// Executors and their handles give it on any thread, without holding anybody up. Numbers that only grow are exact for
/// what happened before the call, as far as the caller can know of it; the others are those of a moment, and may be out
/// of date when they are read. It is made to be compared with an earlier one of the same executor.
///
/// # Examples
///
/// ```
/// use untether_executors::{Pool, block_on, yield_now};
///
/// let pool = Pool::new(2)?;
/// let before = pool.metrics();
/// block_on(pool.spawn(async {
///     yield_now().await;
/// }));
/// let after = pool.metrics();
/// assert_eq!(after.spawned - before.spawned, 1);
/// assert_eq!(after.polls - before.polls, 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// How many tasks are ready and wait for their turn. Of a moment. A number that stays high says that there is more
    /// to do than the threads can do.
    ///
    /// Of a [`Local`](crate::Local), and of a core of a [`PerCore`](crate::PerCore), asked on another thread: those that
    /// have been woken on its own thread are counted whenever it looks at I/O, as often as that is.
    pub queued: usize,
    /// How many tasks are being polled. Of a moment: one at most for each thread.
    pub running: usize,
    /// How many tasks there are whose future has not been dropped, whatever they do. Of a moment. One that has been
    /// cancelled counts until its executor has dropped its future.
    ///
    /// Of a thread of a [`Pool`](crate::Pool), here and in `spawned`: those that were started on it, wherever they run.
    pub alive: usize,
    /// How many tasks have been started. Exact.
    ///
    /// A task that is sent to a core of a `PerCore` counts there twice, here and in `polls`: what carries its output
    /// back is a task as well.
    pub spawned: u64,
    /// How often a task was taken to be run. Exact. Nearly always that is a poll; the future of a task that was
    /// cancelled is dropped instead.
    pub polls: u64,
    /// How many tasks threads have taken that waited for another thread. Exact. Zero where nothing is stolen: in all but
    /// a `Pool`.
    pub stolen: u64,
    /// How often a thread went to sleep because it had nothing to do. Exact. Threads that sleep and wake all the time are
    /// too many, or have tasks that are too short.
    pub parks: u64,
    /// The longest that a poll has taken, in the precision of the clock; meanwhile the thread ran nothing else. Exact.
    ///
    /// `None` unless [`Hooks::time_polls`](crate::Hooks::time_polls) asks for it, or another of the hooks needs the time,
    /// and as long as nothing was polled: two looks at the clock cost more than many a poll.
    pub longest_poll: Option<Duration>,
}

impl Metrics {
    /// Both together.
    pub(crate) fn plus(self, other: Metrics) -> Metrics {
        Metrics {
            queued: self.queued + other.queued,
            running: self.running + other.running,
            alive: self.alive + other.alive,
            spawned: self.spawned + other.spawned,
            polls: self.polls + other.polls,
            stolen: self.stolen + other.stolen,
            parks: self.parks + other.parks,
            // Nothing is less than something.
            longest_poll: self.longest_poll.max(other.longest_poll),
        }
    }
}

/// What one thread counts. Two cache lines: the neighbour is fetched along.
///
/// Only one thread at a time may call what takes an action's name (`begin`, `end`, `park`, ..): two would lose counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    polls: Count,
    stolen: Count,
    parks: Count,
    running: AtomicBool,
    queued: AtomicUsize,
    /// In nanoseconds, and one more: zero is none.
    longest_poll: AtomicU64,
}

/// Only grows. Written by one thread at a time, read by any.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, n: u64) {
        // No read-modify-write: nobody else writes. Relaxed: a number, which orders nothing.
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    /// A task is about to be run.
    pub(crate) fn begin(&self) {
        self.polls.add(1);
        self.running.store(true, Relaxed);
    }

    /// It was run.
    pub(crate) fn end(&self) {
        self.running.store(false, Relaxed);
    }

    /// Whether a task is being run.
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Relaxed)
    }

    /// Says that a task is being run, or not, although none has begun or ended. Returns what was said before.
    pub(crate) fn set_running(&self, running: bool) -> bool {
        let before = self.is_running();
        self.running.store(running, Relaxed);
        before
    }

    /// How many tasks have begun.
    pub(crate) fn begun(&self) -> u64 {
        self.polls.get()
    }

    /// Tasks were taken that waited for another thread.
    pub(crate) fn steal(&self, tasks: u64) {
        self.stolen.add(tasks);
    }

    /// The thread is about to sleep.
    pub(crate) fn park(&self) {
        self.parks.add(1);
    }

    /// So many tasks wait, where others cannot count them.
    pub(crate) fn leave_queued(&self, tasks: usize) {
        self.queued.store(tasks, Relaxed);
    }

    /// A poll took that long.
    pub(crate) fn took(&self, poll: Duration) {
        // At most: five hundred years.
        let ns = u64::try_from(poll.as_nanos()).map_or(u64::MAX, |ns| ns.saturating_add(1));
        if ns > self.longest_poll.load(Relaxed) {
            self.longest_poll.store(ns, Relaxed);
        }
    }

    /// What has been counted. What was not counted here, is zero.
    pub(crate) fn metrics(&self) -> Metrics {
        let longest_poll = self.longest_poll.load(Relaxed).checked_sub(1);
        Metrics {
            queued: self.queued.load(Relaxed),
            running: self.is_running().into(),
            polls: self.polls.get(),
            stolen: self.stolen.get(),
            parks: self.parks.get(),
            longest_poll: longest_poll.map(Duration::from_nanos),
            ..Metrics::default()
        }
    }
}
