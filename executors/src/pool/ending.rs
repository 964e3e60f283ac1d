//! How far the end of a pool has come: open, draining (it waits for its tasks), closed (it drops them).
//!
//! | from → to              | call    | by          | ordering, and why                                                    |
//! |------------------------|---------|-------------|----------------------------------------------------------------------|
//! | open → draining        | `drain` | `shutdown`  | Relaxed: the locks of the list of the living order it, see below     |
//! | open, draining → closed| `close` | `Pool::drop`| Relaxed, then a SeqCst fence: against who queues, see below          |
//!
//! **Who waits for the last task is told.** Who waits: (1) say draining, (2) lock all parts of the list and look, (3)
//! sleep if somebody lives. A worker: (a) a future has been dropped, and was taken off its part of the list under that
//! part's lock, (b) load the phase, (c) if draining, lock all parts and look; if nobody lives, tell. If (a) comes before
//! (2) for every task, (2) sees that nobody lives. Otherwise (2) comes before some (a), by a lock, so its (b) sees (1); the
//! last such worker finds nobody alive in (c). All parts are locked together, since a task on one part may start one on
//! another and end between two looks.
//! Checked by `loom_tests::who_waits_for_the_last_task_is_told`.
//!
//! **What is queued while the pool closes is dropped.** Who closes: (1) say closed, (2) SeqCst fence, (3) drop what is
//! queued, (4) sleep. Who queues: (a) push, (b) SeqCst fence, (c) load the phase; if closed, call who closes. Of two fences
//! one comes first: either (3) sees the push, or (c) sees the close.
//! Checked by `loom_tests::what_is_queued_while_the_pool_closes_is_dropped`.
//!
//! Not here: the list of the living (`task`), and where who waits sleeps (`bed`).

use crate::sync::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst, fence};

const OPEN: usize = 0;
const DRAINING: usize = 1;
const CLOSED: usize = 2;

#[derive(Debug)]
pub(crate) struct Ending {
    phase: AtomicUsize,
}

impl Ending {
    pub(crate) fn new() -> Ending {
        Ending {
            phase: AtomicUsize::new(OPEN),
        }
    }

    /// By the owner, who cannot have closed it yet. Look whether anybody lives *after* this returns.
    pub(crate) fn drain(&self) {
        self.phase.store(DRAINING, Relaxed);
    }

    /// Ask *after* a future was dropped.
    pub(crate) fn is_draining(&self) -> bool {
        self.phase.load(Relaxed) == DRAINING
    }

    /// Drop what is queued *after* this returns.
    pub(crate) fn close(&self) {
        self.phase.store(CLOSED, Relaxed);
        fence(SeqCst);
    }

    /// A request to stop, which publishes nothing. After queueing, ask with a SeqCst fence in between.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase.load(Relaxed) == CLOSED
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::Ending;
    use crate::sync::{AtomicUsize, Mutex, Ordering::*, fence, lock};
    use loom::sync::{Arc, Notify};
    use loom::thread;

    /// A list of the living in two parts, and where `shutdown` sleeps.
    struct Model {
        ending: Ending,
        living: [Mutex<usize>; 2],
        end: Notify,
    }

    impl Model {
        fn nobody_lives(&self) -> bool {
            let parts = self.living.each_ref().map(lock);
            parts.iter().all(|part| **part == 0)
        }

        fn ended(&self, part: usize) {
            *lock(&self.living[part]) -= 1;
            if self.ending.is_draining() && self.nobody_lives() {
                self.end.notify();
            }
        }
    }

    #[test]
    fn who_waits_for_the_last_task_is_told() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let model = Arc::new(Model {
                ending: Ending::new(),
                living: [Mutex::new(0), Mutex::new(2)],
                end: Notify::new(),
            });
            let workers = [true, false].map(|parent| {
                let model = model.clone();
                thread::spawn(move || {
                    if parent {
                        // It starts another one, on the other part, and ends before that does.
                        *lock(&model.living[0]) += 1;
                    }
                    model.ended(1);
                    if parent {
                        model.ended(0);
                    }
                })
            });
            // If nobody tells: a deadlock.
            model.ending.drain();
            while !model.nobody_lives() {
                model.end.wait();
            }
            assert!(model.nobody_lives(), "and none of them starts another");
            for worker in workers {
                worker.join().unwrap();
            }
        });
    }

    #[test]
    fn what_is_queued_while_the_pool_closes_is_dropped() {
        loom::model(|| {
            let ending = Arc::new(Ending::new());
            // Relaxed on purpose: only fences order it.
            let queue = Arc::new(AtomicUsize::new(0));
            let end = Arc::new(Notify::new());
            let queueing = thread::spawn({
                let (ending, queue, end) = (ending.clone(), queue.clone(), end.clone());
                move || {
                    queue.fetch_add(1, Relaxed);
                    fence(SeqCst);
                    if ending.is_closed() {
                        end.notify();
                    }
                }
            });
            ending.close();
            while queue
                .fetch_update(Relaxed, Relaxed, |tasks| tasks.checked_sub(1))
                .is_err()
            {
                end.wait();
            }
            queueing.join().unwrap();
        });
    }
}
