//! How the thread of a reactor nobody owns lets the executors catch up.
//!
//! Such a thread wakes tasks that run on other threads. If it went back into the poller at once, every packet that the
//! first of them provokes would call it out again: two threads in lockstep, a wake-up between cores for each packet.
//! So after waking several tasks it waits until as many waits have come back (a task that waits again has done its
//! work), or until a bound has passed, or until there is news that cannot wait: a nearer deadline, a moved clock.
//!
//! A task that computes, or was dropped, makes the bound pass. The gate then stays open for 4 batches, and for twice
//! as many each time it happens again, up to 1,024; so such tasks cost others little, and nobody is ever delayed by
//! more than 3 ms.
//!
//! `owed` is how many waits are still to come back:
//!
//! | from → to | call     | by          | ordering, and why                                                         |
//! |-----------|----------|-------------|---------------------------------------------------------------------------|
//! | 0 → k     | `close`  | the driver  | Release, *before* it wakes the k tasks, so that none comes back too early |
//! | n → n − 1 | `return` | any waiter  | AcqRel; **from 1 to 0: it unparks the driver**                             |
//! | n → 0     | `open`   | anyone with news | AcqRel; **if n > 0, it unparks the driver**                          |
//! | n → 0     | `pass`   | the driver  | it goes on, whatever is still owed                                         |
//!
//! No wake-up is lost: the driver blocks in `park_timeout`, which keeps an unpark that comes before it, and looks at
//! the word each time. A missed decrement would cost the bound, not a hang; a foreign one opens the gate early.
//!
//! Not here: the thread itself (`thread`).
//! Checked by `loom_tests::thread`.

use crate::sync::{AtomicU32, Ordering};

/// The word.
pub(crate) struct Gate {
    owed: AtomicU32,
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate {
            owed: AtomicU32::new(0),
        }
    }

    /// `tasks` are about to be woken.
    pub(crate) fn close(&self, tasks: u32) {
        self.owed.store(tasks, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.owed.load(Ordering::Acquire) != 0
    }

    /// A task waits again. True: it was the last one owed, and the caller unparks the driver.
    #[must_use]
    pub(crate) fn comes_back(&self) -> bool {
        if self.owed.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let before = self
            .owed
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |owed| {
                owed.checked_sub(1)
            });
        before == Ok(1)
    }

    /// There is news. True: the driver waits here, and the caller unparks it.
    #[must_use]
    pub(crate) fn open(&self) -> bool {
        self.owed.swap(0, Ordering::AcqRel) != 0
    }
}

#[cfg(not(loom))]
pub(crate) use waiting::CatchUp;

#[cfg(not(loom))]
mod waiting {
    use std::time::Duration;

    use super::Gate;
    use crate::clock::Clock;

    /// No batch waits longer, and none less than LEAST: a batch of 64 echoes takes 320 us to serve.
    const MOST: Duration = Duration::from_millis(3);
    const LEAST: Duration = Duration::from_millis(1);
    const PER_TASK: Duration = Duration::from_micros(20);
    /// How many batches go by with the gate open after the bound was hit: at first, and at most.
    const OPEN: (u32, u32) = (4, 1024);

    /// The driver's side: how it waits, and when it does not.
    #[derive(Debug)]
    pub(crate) struct CatchUp {
        /// So many batches go by before the gate is used again.
        open_for: u32,
        /// How many it will be the next time that the bound is hit.
        penalty: u32,
    }

    impl CatchUp {
        pub(crate) fn new() -> CatchUp {
            CatchUp {
                open_for: 0,
                penalty: OPEN.0,
            }
        }

        /// Whether to close the gate for a batch of `tasks`.
        pub(crate) fn wants(&mut self, tasks: usize) -> bool {
            if tasks < 2 {
                return false;
            }
            if self.open_for > 0 {
                self.open_for -= 1;
                return false;
            }
            true
        }

        /// The tasks have been woken: waits until they have come back, or the bound or `deadline` has passed.
        pub(crate) fn wait(
            &mut self,
            gate: &Gate,
            tasks: usize,
            deadline: Option<u64>,
            clock: &Clock,
        ) {
            let tasks = u32::try_from(tasks).unwrap_or(u32::MAX);
            let bound = (PER_TASK.saturating_mul(tasks)).clamp(LEAST, MOST);
            let end = clock.now_ns().saturating_add(bound.as_nanos() as u64);
            let until = deadline.map_or(end, |deadline| deadline.min(end));
            while gate.is_closed() {
                let now = clock.now_ns();
                if now >= until {
                    let _ = gate.open();
                    if now >= end {
                        self.open_for = self.penalty;
                        self.penalty = (self.penalty * 2).min(OPEN.1);
                    }
                    return;
                }
                std::thread::park_timeout(Duration::from_nanos(until - now));
            }
            self.penalty = OPEN.0;
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_batch_of_one_never_waits() {
            assert!(!CatchUp::new().wants(1));
        }

        #[test]
        fn tasks_that_do_not_come_back_are_waited_for_ever_less_often() {
            let mut catch_up = CatchUp::new();
            let (gate, clock) = (Gate::new(), Clock::system());
            let mut closed = 0;
            for _ in 0..2_000 {
                if catch_up.wants(2) {
                    closed += 1;
                    gate.close(2);
                    catch_up.wait(&gate, 2, None, &clock);
                }
            }
            // With 4, 8, .. 1,024 batches in between.
            assert_eq!(closed, 9);
            assert!(!gate.is_closed());
        }

        #[test]
        fn the_last_one_to_come_back_opens() {
            let gate = Gate::new();
            gate.close(2);
            assert!(!gate.comes_back());
            assert!(gate.comes_back(), "the caller unparks the driver");
            assert!(!gate.comes_back(), "nobody is waited for");
            assert!(!gate.is_closed());
        }
    }
}
