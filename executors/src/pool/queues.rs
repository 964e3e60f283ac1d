//! Where a pool's tasks wait: a ring and a slot per worker, and one queue for everybody else.
//!
//! A worker pushes to its own ring and slot, and anybody takes. The slot holds the task that the running task woke
//! last: it runs next on the same worker, and others take it only from a worker that is stuck (`sleepers`). What does
//! not fit into a ring of 512 goes to the injector, as do tasks from outside.
//!
//! Not here: when to look where (`worker`), and how the slot works (`slot`).

use std::ptr::NonNull;

use concurrent_queue::ConcurrentQueue;

use super::slot::Slot;
use crate::task::Runnable;

const RING_LEN: usize = 512;

/// How many tasks a worker takes from the injector at most, beside the one that it runs.
const BATCH_MAX: usize = 64;

/// A queue that is mostly empty is asked whether it is, before it is asked for a task: that takes two loads, and `pop` a
/// fence to find out the same.
pub(crate) struct Queues {
    injector: ConcurrentQueue<Runnable>,
    workers: Box<[Own]>,
}

/// Two cache lines: the neighbour is fetched along.
#[repr(align(128))]
struct Own {
    ring: ConcurrentQueue<Runnable>,
    slot: Slot,
}

impl Queues {
    pub(crate) fn new(workers: usize) -> Queues {
        let own = || Own {
            ring: ConcurrentQueue::bounded(RING_LEN),
            slot: Slot::new(),
        };
        Queues {
            injector: ConcurrentQueue::unbounded(),
            workers: (0..workers).map(|_| own()).collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.injected()
            + (0..self.workers.len())
                .map(|worker| self.waiting(worker))
                .sum::<usize>()
    }

    /// How many tasks wait for no worker in particular.
    pub(crate) fn injected(&self) -> usize {
        self.injector.len()
    }

    pub(crate) fn inject(&self, runnable: Runnable) {
        // Never full, and never closed: see `Live` for why nothing is queued after the end.
        let _ = self.injector.push(runnable);
    }

    pub(crate) fn is_injector_empty(&self) -> bool {
        self.injector.is_empty()
    }

    /// Only `worker` itself pushes, here and to its slot.
    pub(crate) fn push(&self, worker: usize, runnable: Runnable) {
        if let Err(full) = self.workers[worker].ring.push(runnable) {
            self.inject(full.into_inner());
        }
    }

    /// The task that was in the slot moves to the ring.
    pub(crate) fn push_next(&self, worker: usize, runnable: Runnable) {
        if let Some(displaced) = self.workers[worker].slot.put(runnable.into_raw()) {
            // SAFETY: as in `Own::take_next`.
            self.push(worker, unsafe { Runnable::from_raw(displaced) });
        }
    }

    pub(crate) fn pop(&self, worker: usize) -> Option<Runnable> {
        let ring = &self.workers[worker].ring;
        if ring.is_empty() {
            return None;
        }
        ring.pop().ok()
    }

    pub(crate) fn pop_next(&self, worker: usize) -> Option<Runnable> {
        self.workers[worker].take_next()
    }

    /// Takes a task to run, and this worker's share of the others.
    pub(crate) fn pop_injector(&self, worker: usize) -> Option<Runnable> {
        if self.injector.is_empty() {
            return None;
        }
        let first = self.injector.pop().ok()?;
        let share = self.injector.len() / self.workers.len();
        for runnable in self.injector.try_iter().take(share.min(BATCH_MAX)) {
            self.push(worker, runnable);
        }
        Some(first)
    }

    /// Takes a task to run, and half of the others in `victim`'s ring. Also returns how many that is.
    pub(crate) fn steal(&self, thief: usize, victim: usize) -> Option<(Runnable, u64)> {
        let ring = &self.workers[victim].ring;
        if ring.is_empty() {
            return None;
        }
        let first = ring.pop().ok()?;
        let mut taken = 1;
        for runnable in ring.try_iter().take(ring.len() / 2) {
            self.push(thief, runnable);
            taken += 1;
        }
        Some((first, taken))
    }

    /// How many tasks wait for this worker.
    pub(crate) fn waiting(&self, worker: usize) -> usize {
        let own = &self.workers[worker];
        own.ring.len() + usize::from(!own.slot.is_empty())
    }

    pub(crate) fn is_ring_empty(&self, worker: usize) -> bool {
        self.workers[worker].ring.is_empty()
    }

    /// Drops every task that waits anywhere. Returns how many.
    pub(crate) fn drain(&self) -> usize {
        let mut count = 0;
        // One at a time: the destructor of a future may queue.
        while let Some(runnable) = self.pop_any() {
            drop(runnable);
            count += 1;
        }
        count
    }

    fn pop_any(&self) -> Option<Runnable> {
        let injected = self.injector.pop().ok();
        injected.or_else(|| {
            let mut workers = self.workers.iter();
            workers.find_map(|own| own.take_next().or_else(|| own.ring.pop().ok()))
        })
    }
}

impl Own {
    fn take_next(&self) -> Option<Runnable> {
        // SAFETY: (1) the pointer came from `Runnable::into_raw`: nothing else is ever put into a slot. (2) It becomes a
        // runnable once only: a slot gives out what it was given once (`slot`).
        let next = |raw: NonNull<()>| unsafe { Runnable::from_raw(raw) };
        self.slot.take().map(next)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.take_next());
    }
}
