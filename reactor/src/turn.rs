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

#[cfg(any(not(loom), test))]
mod pass {
    use std::cell::Cell;
    use std::io;
    use std::task::Waker;

    use super::wake;
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

    impl Reactor {
        /// Makes a turn, if nobody else is making one; for `parker`, if it has one of its own.
        ///
        /// The parker's thread counts as SEATED only once it sits: else an unpark could end the wait of another thread
        /// that sat there before. And only until the wait is over: whoever is woken may unpark it, or park it again.
        pub(crate) fn make_turn(
            &self,
            until: Until,
            parker: Option<&ParkWord>,
        ) -> io::Result<Turn> {
            let shared = self.shared();
            let poller = shared.poller()?;
            let Some(seat) = shared.chair.sit() else {
                return Ok(Turn::default());
            };
            // A turn inside a wake, or on a thread that is ending, starts with an empty one.
            let mut wakers = WAKERS.try_with(Cell::take).unwrap_or_default();
            let mut turn = Turn {
                seated: true,
                ..Turn::default()
            };

            let notified = parker.is_some_and(|parker| !parker.begin(SEATED));
            turn.timers += shared.take_due(&mut wakers);
            let until = if wakers.is_empty() && !notified {
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
            wakers.drain(..).for_each(wake);
            let _ = WAKERS.try_with(|kept| kept.set(wakers));
            waited.map(|()| turn)
        }
    }
}
