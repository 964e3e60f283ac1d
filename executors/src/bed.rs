//! Where a thread of ours sleeps: in its reactor, which it drives meanwhile; or, where none could be made, on a plain
//! condition variable.
//!
//! The second is for a process that has run out of descriptors. Such a thread enters no reactor, so what it waits for
//! lives in the global one, which a thread of its own drives: slower, and correct. It does not park on the global
//! reactor, whose chair belongs to that thread.
//!
//! Inside of a simulation, sleeping is what lets its time move.
//!
//! Not here: whether there is anything to sleep for (`bell`).

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use untether::{Parker, Reactor, Unparker};

use crate::sim;

#[derive(Debug)]
pub(crate) enum Bed {
    Reactor(Parker),
    Simulated(Parker, sim::Around),
    Plain(Arc<Plain>),
}

/// Wakes whoever sleeps in a bed. A call that finds nobody there is kept for the next one who lies down.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    Reactor(Unparker),
    Plain(Arc<Plain>),
}

#[derive(Debug, Default)]
pub(crate) struct Plain {
    called: Mutex<bool>,
    changed: Condvar,
}

impl Bed {
    pub(crate) fn new(reactor: Option<&Reactor>) -> Bed {
        match reactor {
            Some(reactor) => match sim::around(reactor) {
                Some(sim) => Bed::Simulated(Parker::new(reactor), sim),
                None => Bed::Reactor(Parker::new(reactor)),
            },
            None => Bed::Plain(Arc::default()),
        }
    }

    pub(crate) fn reactor(&self) -> Option<&Reactor> {
        match self {
            Bed::Reactor(parker) | Bed::Simulated(parker, _) => Some(parker.reactor()),
            Bed::Plain(_) => None,
        }
    }

    pub(crate) fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        match self.reactor() {
            Some(reactor) => reactor.enter(f),
            None => f(),
        }
    }

    pub(crate) fn caller(&self) -> Caller {
        match self {
            Bed::Reactor(parker) | Bed::Simulated(parker, _) => Caller::Reactor(parker.unparker()),
            Bed::Plain(plain) => Caller::Plain(plain.clone()),
        }
    }

    /// Sleeps until called, or, in a simulation, until something has happened.
    pub(crate) fn sleep(&self) {
        match self {
            Bed::Reactor(parker) => parker.park(),
            Bed::Simulated(parker, sim) => sim.sleep(parker),
            Bed::Plain(plain) => plain.sleep(),
        }
    }

    /// Serves I/O and timers that are ready, without waiting.
    pub(crate) fn glance(&self) {
        if let Some(reactor) = self.reactor() {
            glance(reactor);
        }
    }
}

/// Serves I/O and timers of a reactor that are ready, without waiting.
pub(crate) fn glance(reactor: &Reactor) {
    // Nobody to report to: a waiter's own system call will say what is wrong, and if the poller itself has failed, the
    // next `park` meets the same error.
    let _ = reactor.turn(Some(Duration::ZERO));
}

impl Caller {
    pub(crate) fn call(&self) {
        match self {
            Caller::Reactor(unparker) => {
                unparker.unpark();
            }
            Caller::Plain(plain) => plain.call(),
        }
    }
}

impl Plain {
    pub(crate) fn sleep(&self) {
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let called = self.changed.wait_while(called, |called| !*called);
        *called.unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// Sleeps until called, but not longer than that. Whether called.
    pub(crate) fn nap(&self, at_most: Duration) -> bool {
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(called, at_most, |called| !*called);
        let (mut called, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *called)
    }

    pub(crate) fn call(&self) {
        *self.called.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::Bed;

    #[test]
    fn a_plain_bed_keeps_an_early_call() {
        let bed = Bed::new(None);
        bed.caller().call();
        bed.sleep();

        let caller = bed.caller();
        let other = std::thread::spawn(move || caller.call());
        bed.sleep();
        other.join().unwrap();
    }
}
