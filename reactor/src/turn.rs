//! One pass over the OS poller, and the only place that calls a waker.
//!
//! In this order, on which users may rely:
//!
//! 1. take the deadlines that are due;
//! 2. wait for the OS, at most until the next deadline, and not at all if something was due;
//! 3. deliver the events to their sources, collecting the wakers of those who wait;
//! 4. take the deadlines that have come due meanwhile;
//! 5. release every lock, and leave the chair;
//! 6. wake, each waker on its own, so that one that panics harms nobody else.
//!
//! A waker is never called, cloned or dropped under a lock of ours, for it may own a task, which may own a source.
//!
//! Not here: who may make a turn (`chair`), what the OS reports (`os`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

#[cfg(not(loom))]
pub use pass::Turn;

/// Wakes, and lets a panic of the waker end here: the driver, and everybody else who is to be woken, did nothing wrong.
/// The panic hook has told the user.
pub(crate) fn wake(waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        // Dropping the payload is foreign code as well, and may panic once more.
        std::mem::forget(payload);
    }
}

/// Wakes all, as [`wake`] does each: a panic costs nobody else their wake-up.
#[cfg(any(not(loom), test))]
pub(crate) fn wake_all(wakers: &mut Vec<Waker>) {
    let mut wakers = wakers.drain(..);
    // One guard for many; the one that panics is used up.
    while let Err(payload) =
        catch_unwind(AssertUnwindSafe(|| wakers.by_ref().for_each(Waker::wake)))
    {
        std::mem::forget(payload);
    }
}

#[cfg(any(not(loom), test))]
mod pass {
    use std::cell::Cell;
    use std::io;
    use std::task::Waker;

    use super::wake_all;
    use crate::os::Until;
    use crate::park::{ParkWord, SEATED};
    use crate::reactor::Reactor;

    /// What a turn did.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Turn {
        /// False: another thread was driving this reactor, and nothing was done.
        pub seated: bool,
        /// Events that the OS reported.
        pub events: usize,
        /// Timers that fired.
        pub timers: usize,
    }

    thread_local! {
        /// The wakers of a turn, kept for their capacity.
        static WAKERS: Cell<Vec<Waker>> = const { Cell::new(Vec::new()) };
    }

    /// What a turn has found, up to and including step 5. Waking is what is left.
    #[must_use = "somebody may have to be woken"]
    pub(crate) struct Harvest {
        turn: io::Result<Turn>,
        wakers: Vec<Waker>,
    }

    impl Reactor {
        /// A whole turn.
        pub(crate) fn make_turn(&self, until: Until) -> io::Result<Turn> {
            self.harvest(until, None).wake()
        }

        /// Steps 1 to 5, if nobody else is making a turn; for `parker`, if it has one of its own.
        ///
        /// The parker's thread counts as SEATED only once it sits: else an unpark could end the wait of another thread
        /// that sat there before. And only until the wait is over: whoever is woken may unpark it, or park it again.
        pub(crate) fn harvest(&self, until: Until, parker: Option<&ParkWord>) -> Harvest {
            let shared = self.shared();
            let poller = match shared.poller() {
                Ok(poller) => poller,
                Err(error) => return Harvest::nothing(Err(error)),
            };
            let Some(seat) = shared.chair.sit() else {
                return Harvest::nothing(Ok(Turn::default()));
            };
            // A turn inside a wake, or on a thread that is ending, starts with an empty one.
            let mut wakers = WAKERS.try_with(Cell::take).unwrap_or_default();
            let mut turn = Turn {
                seated: true,
                ..Turn::default()
            };

            let notified = parker.is_some_and(|parker| !parker.begin(SEATED));
            turn.timers += shared.take_due(&mut wakers);
            // Looked at by who sits: the call that ended the wait of whoever sat here before was perhaps meant for all.
            // Parkers wait for their unpark, whatever becomes of the reactor.
            let ended = parker.is_none() && shared.is_ended();
            let until = if wakers.is_empty() && !notified && !ended {
                shared.at_most_next(until)
            } else {
                Until::Now
            };
            let waited = poller.wait(until, &mut |key, news| {
                turn.events += 1;
                self.deliver(key, news, &mut wakers);
            });
            if let Some(parker) = parker {
                parker.end();
            }
            turn.timers += shared.take_due(&mut wakers);
            shared.turned();
            if seat.leave() {
                shared.watch.call();
            }
            Harvest {
                turn: waited.map(|()| turn),
                wakers,
            }
        }
    }

    impl Harvest {
        fn nothing(turn: io::Result<Turn>) -> Harvest {
            Harvest {
                turn,
                wakers: Vec::new(),
            }
        }

        /// How many will be woken.
        pub(crate) fn tasks(&self) -> usize {
            self.wakers.len()
        }

        /// Step 6.
        pub(crate) fn wake(mut self) -> io::Result<Turn> {
            wake_all(&mut self.wakers);
            if self.wakers.capacity() != 0 {
                let _ = WAKERS.try_with(|kept| kept.set(self.wakers));
            }
            self.turn
        }
    }
}
