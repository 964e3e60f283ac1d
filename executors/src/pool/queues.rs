//! Where a pool's tasks wait: a ring and a slot per worker, and one queue for everybody else.
//!
//! A worker pushes to its own ring and slot, and anybody takes. The slot holds the task that the running task woke
//! last: it runs next on the same worker, and others take it only from a worker that is stuck (`sleepers`). What does
//! not fit into a ring of 512 goes to the injector, as do tasks from outside.
//!
//! Not here: when to look where (`worker`).

use std::ptr::{self, NonNull};

use async_task::Runnable;
use concurrent_queue::ConcurrentQueue;

use crate::sync::{AtomicPtr, Ordering};

const RING_LEN: usize = 512;

/// How many tasks a worker takes from the injector at most, beside the one that it runs.
const BATCH_MAX: usize = 64;

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
        if let Some(displaced) = self.workers[worker].slot.replace(Some(runnable)) {
            self.push(worker, displaced);
        }
    }

    pub(crate) fn pop(&self, worker: usize) -> Option<Runnable> {
        self.workers[worker].ring.pop().ok()
    }

    pub(crate) fn pop_next(&self, worker: usize) -> Option<Runnable> {
        self.workers[worker].slot.take()
    }

    /// Takes a task to run, and this worker's share of the others.
    pub(crate) fn pop_injector(&self, worker: usize) -> Option<Runnable> {
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

    /// Drops every task that waits anywhere.
    pub(crate) fn drain(&self) {
        // One at a time: the destructor of a future may queue.
        while let Some(runnable) = self.pop_any() {
            drop(runnable);
        }
    }

    fn pop_any(&self) -> Option<Runnable> {
        let injected = self.injector.pop().ok();
        injected.or_else(|| {
            let mut workers = self.workers.iter();
            workers.find_map(|own| own.slot.take().or_else(|| own.ring.pop().ok()))
        })
    }
}

/// Room for one task, for any number of threads.
struct Slot(AtomicPtr<()>);

impl Slot {
    fn new() -> Slot {
        Slot(AtomicPtr::new(ptr::null_mut()))
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }

    fn take(&self) -> Option<Runnable> {
        // Mostly empty: a load is cheaper than a read-modify-write.
        if self.is_empty() {
            None
        } else {
            self.replace(None)
        }
    }

    fn replace(&self, runnable: Option<Runnable>) -> Option<Runnable> {
        let new = runnable.map_or(ptr::null_mut(), |runnable| runnable.into_raw().as_ptr());
        // Release: whoever takes the task sees it whole. Acquire: so do we.
        let old = self.0.swap(new, Ordering::AcqRel);
        // SAFETY: (1) the pointer came from `Runnable::into_raw`: nothing else but null is ever stored. (2) It becomes
        // a runnable once only: the swap took it out, and nobody else has it.
        NonNull::new(old).map(|old| unsafe { Runnable::from_raw(old) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.take());
    }
}
