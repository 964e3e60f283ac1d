//! Time moves only when nothing can run.
//!
//! When no task can run, in this order:
//!
//! 1. The OS is looked at, if a source is waited for: I/O that is ready goes first.
//! 2. If the world outside is awaited (a source is waited for, or somebody said so: `Outside`), it is given a moment: as
//!    long as the next timer is away, and no longer than the patience. It is real time, and passes in the simulation too,
//!    so that a peer who keeps sending cannot hold time up.
//! 3. If nothing came, time jumps to the next timer. All that are due at that instant fire, and then it is the schedule
//!    that says who runs.
//! 4. If there is no timer, the world outside is waited for, however long it takes.
//! 5. If it is not awaited either, nothing can ever happen again: a deadlock.
//!
//! So a wait is never longer than it would be in real time, and a program without I/O never waits.
//!
//! The same is done where a task blocks its thread inside a nested `block_on`: as far as that call can see, nothing can
//! run (`Around`).
//!
//! Not here: when a timer is due (the reactor).

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use untether::{Clock, Parker, Reactor};

use super::shared::Shared;
use super::trace::{By, Event};
use crate::sync::{AtomicUsize, Ordering};

/// The time of a simulation, and the reactor in which its timers and sources wait.
#[derive(Debug)]
pub(crate) struct Time {
    reactor: Reactor,
    clock: Clock,
    /// When the simulation began, by its own clock.
    start: Instant,
    patience: Duration,
    /// How many `Outside`s there are.
    awaited: AtomicUsize,
}

/// Nothing can run, and nothing will change that.
#[derive(Debug)]
pub(crate) struct Stuck;

impl Time {
    /// # Errors
    /// Those of making a reactor.
    pub(crate) fn new(clock: Clock, patience: Duration) -> io::Result<Time> {
        let builder = Reactor::builder().name("untether-sim");
        Ok(Time {
            reactor: builder.clock(clock.clone()).build()?,
            start: clock.now(),
            clock,
            patience,
            awaited: AtomicUsize::new(0),
        })
    }

    pub(crate) fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now().saturating_duration_since(self.start)
    }
}

impl Shared {
    /// Lets something happen that may change that nothing can run; the caller looks whether it did. `sleep` sleeps until
    /// called, or until so much of the machine's time has passed, and tells which.
    pub(super) fn idle(
        &self,
        mut sleep: impl FnMut(Option<Duration>) -> bool,
    ) -> Result<(), Stuck> {
        let time = &self.time;
        let sources = time.reactor.waited_for();
        if sources > 0 && self.glance() {
            return Ok(());
        }
        // Relaxed: the guards are to be held on this thread.
        let awaited = sources > 0 || time.awaited.load(Ordering::Relaxed) > 0;
        let next = time.reactor.next_deadline();
        if !time.clock.is_manual() {
            if next.is_none() && !awaited {
                return Err(Stuck);
            }
            self.note_outside();
            self.in_reactor(|| sleep(None));
            return Ok(());
        }
        let Some(next) = next else {
            if !awaited {
                return Err(Stuck);
            }
            self.note_outside();
            let begun = Instant::now();
            self.in_reactor(|| sleep(None));
            self.advance(begun.elapsed());
            return Ok(());
        };
        let jump = next.saturating_duration_since(time.now());
        let patience = time.patience.min(jump);
        if awaited && !patience.is_zero() {
            self.note_outside();
            let begun = Instant::now();
            if self.in_reactor(|| sleep(Some(patience))) {
                self.advance(begun.elapsed().min(jump));
                return Ok(());
            }
        }
        self.advance(jump);
        self.glance();
        Ok(())
    }

    fn advance(&self, by: Duration) {
        if by.is_zero() {
            return;
        }
        self.time.clock.advance(by);
        self.note(Event::Time(self.time.elapsed()));
    }

    /// Serves I/O that is ready and timers that are due. Whether there were any.
    pub(super) fn glance(&self) -> bool {
        let turn = self.in_reactor(|| self.time.reactor.turn(Some(Duration::ZERO)));
        // Nobody to report an error to: a waiter's own system call will say what is wrong.
        let turn = turn.unwrap_or_default();
        if turn.events > 0 {
            self.note_outside();
        }
        turn.events + turn.timers > 0
    }

    /// What is woken in `f` is woken by the reactor.
    pub(super) fn in_reactor<T>(&self, f: impl FnOnce() -> T) -> T {
        let before = self.place(By::Reactor);
        let done = f();
        self.place(before);
        done
    }
}

thread_local! {
    /// The simulations whose `run` is under way on this thread, the innermost last.
    static RUNNING: RefCell<Vec<Arc<Shared>>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, a simulation is the innermost on this thread.
#[derive(Debug)]
pub(super) struct Running;

impl Running {
    pub(super) fn begin(sim: &Arc<Shared>) -> Running {
        RUNNING.with_borrow_mut(|running| running.push(sim.clone()));
        Running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Out of the borrow first: what is dropped with it may look here.
        let left = RUNNING.with_borrow_mut(Vec::pop);
        drop(left);
    }
}

/// The innermost simulation that runs on this thread.
pub(super) fn running() -> Option<Arc<Shared>> {
    let last = RUNNING.try_with(|running| running.borrow().last().cloned());
    last.ok().flatten()
}

/// The simulation around a `block_on` or a `Local` on its thread: time moves while these sleep.
#[derive(Clone)]
pub(crate) struct Around(Arc<Shared>);

/// The simulation of virtual time that runs on this thread and owns `reactor`.
pub(crate) fn around(reactor: &Reactor) -> Option<Around> {
    let sim = running().filter(|sim| sim.time.reactor == *reactor)?;
    sim.time.clock.is_manual().then_some(Around(sim))
}

impl Around {
    /// Sleeps until something has happened that may be what the sleeper waits for.
    ///
    /// # Panics
    /// If nothing ever will.
    pub(crate) fn sleep(&self, parker: &Parker) {
        let slept = self.0.idle(|at_most| match at_most {
            None => {
                parker.park();
                true
            }
            Some(at_most) => parker.park_machine_timeout(at_most),
        });
        if slept.is_err() {
            panic!(
                "deadlock inside a simulated task: it blocks its thread until something happens, and nothing will, since \
                 no other task can run meanwhile; await instead of blocking, or hold a sim::Outside if it is another \
                 thread that will"
            );
        }
    }
}

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Around")
    }
}

/// While it lives, a simulation reckons with news from outside: from another thread, a file, a device, whatever its
/// reactor does not see. See [`SimHandle::outside`](crate::SimHandle::outside).
#[must_use = "it counts only while it lives"]
pub struct Outside {
    sim: Arc<Shared>,
}

impl Outside {
    pub(super) fn new(sim: &Arc<Shared>) -> Outside {
        sim.time.awaited.fetch_add(1, Ordering::Relaxed);
        Outside { sim: sim.clone() }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.sim.time.awaited.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outside")
    }
}
