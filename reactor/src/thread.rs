//! The thread that drives a reactor nobody owns: when it starts, waits and retires.
//!
//! It starts with the first wait under `Policy::Auto`, blocks without a time-out while somebody waits, so an idle
//! program has no wake-ups, and retires when nothing has lived in the reactor for a while.
//!
//! | from → to         | call     | by                   | ordering, and why                                         |
//! |-------------------|----------|----------------------|-----------------------------------------------------------|
//! | ABSENT → PRESENT  | `summon` | any waiter, under `starting` | after the thread was started                      |
//! | PRESENT → ABSENT  | `retire` | the thread, under `starting` | then a SeqCst fence, then it looks for waiters once more |
//! | ABSENT → PRESENT  | `retire` | the thread, under `starting` | having found one                                  |
//!
//! No waiter is left without a driver. A waiter registers, passes a SeqCst fence, and reads the word; the thread
//! stores ABSENT, passes a SeqCst fence, and looks for waiters. One of the two fences is first: either the waiter reads
//! ABSENT, and takes the mutex to look again and start a thread, or the thread finds the waiter and stays. The mutex
//! keeps a thread that retires from overtaking whoever has started it and not yet said so.
//! Checked by `loom_tests::thread`.
//!
//! Not here: a turn (`turn`), how it lets executors catch up (`gate`), and who drives a private reactor (`park`).

use std::io;

use crate::sync::{AtomicU32, Mutex, Ordering, fence, lock};

#[cfg(not(loom))]
pub(crate) use driver::Driver;

/// The word.
pub(crate) struct Presence {
    word: AtomicU32,
    starting: Mutex<()>,
}

const ABSENT: u32 = 0;
const PRESENT: u32 = 1;

impl Presence {
    pub(crate) fn new() -> Presence {
        Presence {
            word: AtomicU32::new(ABSENT),
            starting: Mutex::new(()),
        }
    }

    pub(crate) fn summon(&self, start: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        fence(Ordering::SeqCst);
        if self.word.load(Ordering::Relaxed) == PRESENT {
            return Ok(());
        }
        let _starting = lock(&self.starting);
        if self.word.load(Ordering::Relaxed) == ABSENT {
            start()?;
            self.word.store(PRESENT, Ordering::Relaxed);
        }
        Ok(())
    }

    #[cfg(not(loom))]
    fn is_present(&self) -> bool {
        self.word.load(Ordering::Relaxed) == PRESENT
    }

    /// True: the thread has to go. False: somebody waits, and it has to stay.
    pub(crate) fn retire(&self, somebody_waits: impl Fn() -> bool) -> bool {
        let _starting = lock(&self.starting);
        self.word.store(ABSENT, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let stays = somebody_waits();
        if stays {
            self.word.store(PRESENT, Ordering::Relaxed);
        }
        !stays
    }
}

#[cfg(not(loom))]
mod driver {
    use std::fmt;
    use std::io;
    use std::thread::Thread;
    use std::time::Duration;

    use super::Presence;
    use crate::gate::{CatchUp, Gate};
    use crate::os::Until;
    use crate::park::Parker;
    use crate::reactor::{Policy, Reactor, Shared};
    use crate::sync::{Mutex, lock};

    /// How long the thread stays after the last source and timer have gone: starting one costs some 50 us.
    const LINGER: Duration = Duration::from_secs(1);
    /// How long it waits before it tries again, if the OS refuses the turn.
    const RETRY: Duration = Duration::from_millis(10);

    /// Whether a thread drives, and may it.
    pub(crate) struct Driver {
        policy: Policy,
        presence: Presence,
        gate: Gate,
        /// Whom to unpark at the gate: the thread that drives, or the last one that did.
        thread: Mutex<Option<Thread>>,
    }

    impl Driver {
        pub(crate) fn new(policy: Policy) -> Driver {
            Driver {
                policy,
                presence: Presence::new(),
                gate: Gate::new(),
                thread: Mutex::new(None),
            }
        }

        pub(crate) fn is_automatic(&self) -> bool {
            self.policy == Policy::Auto
        }

        /// The last source has left `reactor`, which this belongs to: the thread, which may sleep without a time-out, is to
        /// look whether it is needed once it has lingered. At most one alarm a second, however often that happens.
        ///
        /// To miss this would cost no more than a thread that stays.
        pub(crate) fn vacated(&self, reactor: &Shared) {
            if self.presence.is_present() && !reactor.clock.is_manual() {
                reactor.alarm(reactor.now_ns() + LINGER.as_nanos() as u64);
            }
        }

        /// Somebody has registered a wait with `reactor`, which this belongs to: if nobody owns it, a thread has to drive.
        ///
        /// # Errors
        /// Those of starting a thread.
        #[inline]
        pub(crate) fn summon(&self, reactor: &Reactor) -> io::Result<()> {
            if self.is_automatic() {
                self.summon_thread(reactor)
            } else {
                Ok(())
            }
        }

        fn summon_thread(&self, reactor: &Reactor) -> io::Result<()> {
            self.presence.summon(|| {
                let reactor = reactor.clone();
                std::thread::Builder::new()
                    .name(reactor.shared().name().to_owned())
                    .spawn(move || drive(&reactor))
                    .map(drop)
            })?;
            if self.gate.comes_back() {
                self.unpark();
            }
            Ok(())
        }

        /// News that cannot wait until the executors have caught up.
        pub(crate) fn interrupt(&self) {
            if self.is_automatic() && self.gate.open() {
                self.unpark();
            }
        }

        fn unpark(&self) {
            if let Some(thread) = &*lock(&self.thread) {
                thread.unpark();
            }
        }
    }

    fn drive(reactor: &Reactor) {
        let shared = reactor.shared();
        let driver = &shared.driver;
        *lock(&driver.thread) = Some(std::thread::current());
        let mut catch_up = CatchUp::new();
        let beside = Parker::new(reactor);
        while !reactor.is_ended() {
            if reactor.is_inhabited() {
                turn(&beside, &mut catch_up, Until::Forever);
                continue;
            }
            let enough = shared.now_ns() + LINGER.as_nanos() as u64;
            while !reactor.is_inhabited() && shared.now_ns() < enough {
                turn(&beside, &mut catch_up, Until::At(enough));
            }
            if !reactor.is_inhabited() && driver.presence.retire(|| reactor.is_inhabited()) {
                return;
            }
        }
        driver.presence.retire(|| false);
    }

    /// One turn; then the tasks it has woken may catch up. If one of them is a guest's, it is the guests' to drive, as long
    /// as they do.
    fn turn(beside: &Parker, catch_up: &mut CatchUp, until: Until) {
        let reactor = beside.reactor();
        let shared = reactor.shared();
        let stand_by = || beside.stand_by(until, || !reactor.is_ended());
        let roused = shared.watch.roused();
        let gate = &shared.driver.gate;
        let harvest = reactor.harvest(until, None);
        let tasks = harvest.tasks();
        let closes = catch_up.wants(tasks);
        if closes {
            gate.close(u32::try_from(tasks).unwrap_or(u32::MAX));
        }
        match harvest.wake() {
            // A guest drives: somebody who parks there, or calls `turn`.
            Ok(turn) if !turn.seated => stand_by(),
            Ok(_) if shared.has_gone_to_another(roused) => stand_by(),
            Ok(_) => {}
            // There is nobody to report to; whoever waits gets an error of its own when it tries.
            Err(_) => std::thread::sleep(RETRY),
        }
        if closes {
            catch_up.wait(gate, tasks, shared.deadlines.next(), &reactor.clock());
        }
    }

    impl fmt::Debug for Driver {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let present = self.presence.is_present();
            f.write_str(match (self.policy, present) {
                (Policy::Never, _) => "its owner",
                (Policy::Auto, true) => "a thread of its own",
                (Policy::Auto, false) => "a thread of its own, once somebody waits",
            })
        }
    }
}
