//! The reactor that `park` and `turn` are compiled with here: a chair, deadlines and a poller, and no sources.
//!
//! Time flies: whoever looks at the clock finds that any deadline set before has passed, so a timed sleep ends at once.
//! As loom may stop a thread anywhere for as long as it likes, that covers all timed sleeps. With [`Reactor::frozen`]
//! time stands still until a model lets it pass, and then passes only up to what the poller's timer is set to.

use std::io;
use std::sync::atomic::AtomicU64;
use std::task::Waker;
use std::time::Duration;

use super::{Condvar, Mutex};
use crate::chair::Chair;
use crate::clock::NEVER;
use crate::deadlines::Deadlines;
use crate::os::{Until, alarm::Alarm};
use crate::park::Watch;
use crate::spin::Spin;
use crate::sync::{Arc, AtomicBool, AtomicU32, Ordering, lock};

#[derive(Clone)]
#[allow(missing_debug_implementations)]
pub struct Reactor {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) chair: Chair,
    pub(crate) watch: Watch,
    pub(crate) driver: Driver,
    pub(crate) deadlines: Deadlines,
    pub(crate) poller: Poller,
    pub(crate) clock: Clock,
    ended: AtomicBool,
    pub(crate) spin: Spin,
    turns: AtomicU32,
}

/// Nobody: whoever parks drives, as the owner or as a guest.
pub(crate) struct Driver {
    has_guests: bool,
}

/// Not one of loom's atomics, for nothing depends on the order in which two threads look at the clock.
#[derive(Clone)]
pub(crate) struct Clock {
    now: Arc<AtomicU64>,
    step: u64,
}

impl Reactor {
    /// Time flies.
    pub(crate) fn new() -> Reactor {
        Reactor::with(1_000_000_000, Duration::ZERO, false)
    }

    /// Time flies, and whoever parks looks once before it blocks.
    pub(crate) fn spinning() -> Reactor {
        Reactor::with(1_000_000_000, Duration::from_micros(20), false)
    }

    /// Time flies, and those who park are guests.
    pub(crate) fn of_guests() -> Reactor {
        Reactor::with(1_000_000_000, Duration::ZERO, true)
    }

    /// Time stands still.
    pub(crate) fn frozen() -> Reactor {
        Reactor::with(0, Duration::ZERO, false)
    }

    fn with(step: u64, spin: Duration, has_guests: bool) -> Reactor {
        let clock = Clock {
            now: Arc::default(),
            step,
        };
        Reactor {
            shared: Arc::new(Shared {
                chair: Chair::new(),
                watch: Watch::default(),
                driver: Driver { has_guests },
                deadlines: Deadlines::new(1),
                poller: Poller::new(clock.clone()),
                clock,
                ended: AtomicBool::new(false),
                spin: Spin::new(spin),
                turns: AtomicU32::new(0),
            }),
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn clock(&self) -> Clock {
        self.shared.clock.clone()
    }

    pub(crate) fn wake_driver(&self) {
        self.shared.poller.wake();
    }

    /// As the real one's `shutdown`, with nobody to wake but the driver.
    pub(crate) fn shutdown(&self) {
        self.shared.ended.store(true, Ordering::Release);
        self.wake_driver();
    }

    /// The OS has an event for the task of `waker`.
    pub(crate) fn happens(&self, waker: Waker) {
        lock(&self.shared.poller.kernel).events.push(waker);
        self.shared.poller.changed.notify_all();
    }

    pub(crate) fn deliver(&self, _: usize, _: u64, wakers: &mut Vec<Waker>) {
        wakers.append(&mut lock(&self.shared.poller.kernel).events);
    }

    /// As the real one does.
    pub(crate) fn announce(&self, deadline: u64) {
        if self.shared.chair.occupied() {
            self.shared.poller.alarm(deadline);
        }
    }
}

impl Shared {
    pub(crate) fn poller(&self) -> io::Result<&Poller> {
        Ok(&self.poller)
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    pub(crate) fn turns(&self) -> u32 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(crate) fn turned(&self) {
        self.turns
            .store(self.turns().wrapping_add(1), Ordering::Relaxed);
    }

    pub(crate) fn take_due(&self, wakers: &mut Vec<Waker>) -> usize {
        if self.deadlines.len() == 0 {
            return 0;
        }
        self.deadlines.fire(self.now_ns(), wakers)
    }

    pub(crate) fn at_most_next(&self, until: Until) -> Until {
        match (until, self.deadlines.next()) {
            (Until::Forever, Some(next)) => Until::At(next),
            (until, _) => until,
        }
    }
}

impl Driver {
    pub(crate) fn is_automatic(&self) -> bool {
        self.has_guests
    }
}

impl Clock {
    pub(crate) fn now_ns(&self) -> u64 {
        self.now.fetch_add(self.step, Ordering::Relaxed)
    }

    pub(crate) fn is_manual(&self) -> bool {
        false
    }
}

/// Moving a manual clock has no model of its own.
pub(crate) fn clock_moved(_: &crate::clock::Clock) {}

/// As os/epoll.rs: what it is told stays until a wait takes it, and its alarm is the real one.
pub(crate) struct Poller {
    kernel: Mutex<Kernel>,
    changed: Condvar,
    alarm: Alarm,
    clock: Clock,
}

struct Kernel {
    woken: bool,
    events: Vec<Waker>,
    /// What the timer is set to, in nanoseconds.
    timer: u64,
    /// The timer has expired, and no wait has reported it.
    rings: bool,
    /// Time passes while somebody waits.
    thawed: bool,
}

impl Poller {
    fn new(clock: Clock) -> Poller {
        Poller {
            kernel: Mutex::new(Kernel {
                woken: false,
                events: Vec::new(),
                timer: NEVER,
                rings: false,
                thawed: false,
            }),
            changed: Condvar::new(),
            alarm: Alarm::new(),
            clock,
        }
    }

    pub(crate) fn wait(&self, until: Until, event: &mut dyn FnMut(usize, u64)) -> io::Result<()> {
        if let Until::At(deadline) = until {
            self.alarm(deadline);
        }
        let mut kernel = lock(&self.kernel);
        while !kernel.has_news() && until != Until::Now {
            let due = kernel.timer <= self.clock.now.load(Ordering::Relaxed);
            if kernel.timer != NEVER && (due || kernel.thawed) {
                kernel.pass_time(&self.clock);
            } else {
                kernel = self.changed.wait(kernel).expect("nobody panics");
            }
        }
        kernel.woken = false;
        let rings = std::mem::take(&mut kernel.rings);
        let events = !kernel.events.is_empty();
        drop(kernel);
        if events {
            event(0, 0);
        }
        if rings {
            self.alarm.rang();
        }
        Ok(())
    }

    pub(crate) fn alarm(&self, deadline: u64) {
        self.alarm.set(deadline, || {
            let mut kernel = lock(&self.kernel);
            kernel.timer = deadline;
            kernel.rings = false;
            if kernel.thawed || deadline <= self.clock.now.load(Ordering::Relaxed) {
                self.changed.notify_all();
            }
        });
    }

    pub(crate) fn wake(&self) {
        lock(&self.kernel).woken = true;
        self.changed.notify_all();
    }

    /// Whether the next wait ends at once because of `wake`.
    pub(crate) fn is_woken(&self) -> bool {
        lock(&self.kernel).woken
    }

    /// The time comes that the timer is set to, if it is set.
    pub(crate) fn pass_time(&self) {
        lock(&self.kernel).pass_time(&self.clock);
        self.changed.notify_all();
    }

    /// From now on, time passes whenever there is nothing to do but to wait for the timer.
    pub(crate) fn thaw(&self) {
        lock(&self.kernel).thawed = true;
        self.changed.notify_all();
    }
}

impl Kernel {
    fn has_news(&self) -> bool {
        self.woken || self.rings || !self.events.is_empty()
    }

    fn pass_time(&mut self, clock: &Clock) {
        if self.timer != NEVER {
            clock.now.fetch_max(self.timer, Ordering::Relaxed);
            self.timer = NEVER;
            self.rings = true;
        }
    }
}
