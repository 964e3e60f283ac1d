//! The thread that drives a reactor nobody owns: when it starts, waits and retires.
//!
//! It starts with the first wait under [`Policy::Auto`], blocks without a time-out while somebody waits, so an idle
//! program has no wake-ups, and retires when nothing has lived in the reactor for a while.
//!
//! | from → to         | call     | by                   | ordering, and why                                         |
//! |-------------------|----------|----------------------|-----------------------------------------------------------|
//! | ABSENT → PRESENT  | `summon` | any waiter, under `starting` | Release, after the thread was started             |
//! | PRESENT → ABSENT  | `retire` | the thread, under `starting`: after PRESENT | then a SeqCst fence, then it looks for waiters once more |
//! | ABSENT → PRESENT  | `retire` | the thread, having found one | under `starting`; if another thread has started, it goes |
//!
//! No waiter is left without a driver. A waiter registers, passes a SeqCst fence, and reads the word; the thread
//! stores ABSENT, passes a SeqCst fence, and looks for waiters. One of the two fences is first: either the waiter reads
//! ABSENT and starts a thread, or the thread finds the waiter and stays.
//! Checked by `loom_tests::thread`.
//!
//! Not here: a turn (`turn`), and who drives a private reactor (`park`).

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
            self.word.store(PRESENT, Ordering::Release);
        }
        Ok(())
    }

    /// True: the thread has to go. False: somebody waits, and it has to stay.
    pub(crate) fn retire(&self, somebody_waits: impl Fn() -> bool) -> bool {
        {
            // Whoever started this thread may not have got round to PRESENT, which must not come after our ABSENT.
            let _starting = lock(&self.starting);
            self.word.store(ABSENT, Ordering::Release);
        }
        fence(Ordering::SeqCst);
        if !somebody_waits() {
            return true;
        }
        let _starting = lock(&self.starting);
        if self.word.load(Ordering::Relaxed) == PRESENT {
            return true; // Another has been started meanwhile.
        }
        self.word.store(PRESENT, Ordering::Release);
        false
    }
}

#[cfg(not(loom))]
mod driver {
    use std::fmt;
    use std::io;
    use std::time::Duration;

    use super::{PRESENT, Presence};
    use crate::os::Until;
    use crate::reactor::{Policy, Reactor};
    use crate::sync::Ordering;

    /// How long the thread stays after the last source and timer have gone: starting one costs some 50 us.
    const LINGER: Duration = Duration::from_secs(1);
    /// How long it waits before it tries again, if the OS refuses the turn.
    const RETRY: Duration = Duration::from_millis(10);

    /// Whether a thread drives, and may it.
    pub(crate) struct Driver {
        policy: Policy,
        presence: Presence,
    }

    impl Driver {
        pub(crate) fn new(policy: Policy) -> Driver {
            Driver {
                policy,
                presence: Presence::new(),
            }
        }

        pub(crate) fn is_automatic(&self) -> bool {
            self.policy == Policy::Auto
        }

        /// Somebody has registered a wait with `reactor`, which this belongs to: if nobody owns it, a thread has to drive.
        ///
        /// # Errors
        /// Those of starting a thread.
        pub(crate) fn summon(&self, reactor: &Reactor) -> io::Result<()> {
            if !self.is_automatic() {
                return Ok(());
            }
            self.presence.summon(|| {
                let reactor = reactor.clone();
                std::thread::Builder::new()
                    .name(reactor.shared().name().to_owned())
                    .spawn(move || drive(&reactor))
                    .map(drop)
            })
        }
    }

    fn drive(reactor: &Reactor) {
        let shared = reactor.shared();
        while !reactor.is_ended() {
            if reactor.is_inhabited() {
                if reactor.make_turn(Until::Forever, None).is_err() {
                    // There is nobody to report to; whoever waits gets an error of its own when it tries.
                    std::thread::sleep(RETRY);
                }
                continue;
            }
            let enough = shared.now_ns() + LINGER.as_nanos() as u64;
            while !reactor.is_inhabited() && shared.now_ns() < enough {
                if reactor.make_turn(Until::At(enough), None).is_err() {
                    std::thread::sleep(RETRY);
                }
            }
            let driver = &shared.driver;
            if !reactor.is_inhabited() && driver.presence.retire(|| reactor.is_inhabited()) {
                return;
            }
        }
        shared.driver.presence.retire(|| false);
    }

    impl fmt::Debug for Driver {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let present = self.presence.word.load(Ordering::Relaxed) == PRESENT;
            f.write_str(match (self.policy, present) {
                (Policy::Never, _) => "its owner",
                (Policy::Auto, true) => "a thread of its own",
                (Policy::Auto, false) => "a thread of its own, once somebody waits",
            })
        }
    }
}
