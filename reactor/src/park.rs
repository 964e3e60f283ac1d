//! The seam for executors and host loops: a thread with nothing to do parks here, and drives while it waits.
//!
//! A parked thread sits in its reactor's chair and makes turns until it is unparked; if the chair is taken, it sleeps.
//! One of the sleepers of a reactor keeps watch: while others come and go it looks every millisecond, and sits down if
//! the seat is empty (its last owner computes); while one thread sits there and nothing happens it sleeps without a
//! limit, and whoever leaves calls it. So a reactor with a parked thread is never left undriven for longer than that.
//!
//! A reactor that has a thread of ours (`Policy::Auto`) may have guests: threads that park there, to drive what they
//! wait for. Guests serve each other's tasks, so there the seat goes to whoever has the work. Who wakes another guest
//! leaves the seat to them, for they will be back once their tasks have run; and the watcher, which may be our thread, sits
//! down only when nobody has made a turn for the length of a look.
//!
//! The word of a parker:
//!
//! | from → to                     | call      | by        | ordering, and why                                        |
//! |-------------------------------|-----------|-----------|----------------------------------------------------------|
//! | RUNNING → SEATED              | `begin`   | the thread, once it sits | AcqRel; fails if NOTIFIED                  |
//! | RUNNING → ASLEEP              | `begin`   | the thread| AcqRel; fails if NOTIFIED                                 |
//! | SEATED → RUNNING              | `end`     | the thread, while it sits | AcqRel; NOTIFIED stays. Before it wakes others, so that waking itself writes nothing |
//! | ASLEEP, CALLED → RUNNING      | `end`     | the thread| AcqRel; NOTIFIED stays                                    |
//! | any → NOTIFIED                | `notify`  | anyone    | AcqRel: publishes the task; **the old value says whom to wake**: SEATED the poller, ASLEEP and CALLED the thread |
//! | ASLEEP → CALLED               | `call`    | who leaves the chair | AcqRel: look for the seat, there is no news for you |
//! | NOTIFIED → RUNNING            | `consume` | the thread| Acquire: sees the task                                    |
//!
//! No unpark is lost: `begin` and `notify` are read-modify-writes of one word. Notify first: `begin` fails. Begin
//! first: `notify` sees where the thread is about to block, and both places keep what they are told: the poller's
//! notification is sticky, and the condition variable's mutex is taken between the word and the wait. The poller keeps
//! it for whoever waits there next, so SEATED is said in the chair only, where nobody else can take it away.
//!
//! Not here: who sits (`chair`), what a turn does (`turn`), how long to look before blocking (`spin`).
//! Checked by `loom_tests::park`.

use crate::sync::{AtomicU32, Ordering};

/// What a parker's thread is doing.
pub(crate) struct ParkWord {
    word: AtomicU32,
}

pub(crate) const RUNNING: u32 = 0;
pub(crate) const NOTIFIED: u32 = 1;
/// Making a turn.
pub(crate) const SEATED: u32 = 2;
/// On the condition variable.
pub(crate) const ASLEEP: u32 = 3;
/// On the condition variable, and told to look for the seat.
pub(crate) const CALLED: u32 = 4;

impl ParkWord {
    pub(crate) fn new() -> ParkWord {
        ParkWord {
            word: AtomicU32::new(RUNNING),
        }
    }

    /// About to block, `how` being SEATED or ASLEEP. False: notified already.
    #[must_use]
    pub(crate) fn begin(&self, how: u32) -> bool {
        self.word
            .compare_exchange(RUNNING, how, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Not blocked any more, whatever the reason.
    pub(crate) fn end(&self) {
        let _ = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word != NOTIFIED).then_some(RUNNING)
            });
    }

    /// Returns what the thread was doing.
    #[must_use]
    pub(crate) fn notify(&self) -> u32 {
        self.word.swap(NOTIFIED, Ordering::AcqRel)
    }

    /// True: it was asleep, and the caller must signal the condition variable.
    #[must_use]
    pub(crate) fn call(&self) -> bool {
        self.word
            .compare_exchange(ASLEEP, CALLED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Takes the notification, if there is one.
    #[must_use]
    pub(crate) fn consume(&self) -> bool {
        self.word
            .compare_exchange(NOTIFIED, RUNNING, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether there is a reason to stay on the condition variable.
    pub(crate) fn is_asleep(&self) -> bool {
        self.word.load(Ordering::Acquire) == ASLEEP
    }
}

#[cfg(any(not(loom), test))]
pub(crate) use seam::Watch;
#[cfg(any(not(loom), test))]
pub use seam::{Parker, Unparker};

#[cfg(any(not(loom), test))]
mod seam {
    use std::cell::Cell;
    use std::fmt;
    use std::marker::PhantomData;
    use std::task::{Wake, Waker};
    use std::time::{Duration, Instant};

    use super::{ASLEEP, CALLED, ParkWord, SEATED};
    use crate::clock;
    use crate::os::Until;
    use crate::reactor::{Reactor, Shared};
    use crate::sync::{Arc, AtomicU32, Condvar, Mutex, Ordering, lock};

    /// How often the watcher looks whether the seat is empty, while others come and go.
    const LOOK: Duration = Duration::from_millis(1);
    /// The same where there may be guests: it sits down only after a whole look without a turn, and each look costs those
    /// who work a trip through the scheduler.
    const LOOK_OF_GUESTS: Duration = Duration::from_millis(4);
    /// How long a parked thread sleeps before it tries again, if the OS refuses the turn.
    const RETRY: Duration = Duration::from_millis(10);

    /// Lets a thread wait for its tasks, and drive a reactor while it waits.
    ///
    /// Made for executors: poll what can be polled with the reactor entered ([`Reactor::enter`]), then park; wakers
    /// unpark. Any number of threads may have a parker on one reactor. One at a time drives it; if the one that drove
    /// is busy, a parked one takes over within a millisecond or two.
    ///
    /// ```
    /// use std::{pin::pin, future::Future, task::{Context, Poll, Waker}};
    /// use untether::{Parker, Reactor};
    ///
    /// fn block_on<F: Future>(future: F) -> std::io::Result<F::Output> {
    ///     let reactor = Reactor::new()?;
    ///     let parker = Parker::new(&reactor);
    ///     let waker = Waker::from(parker.unparker());
    ///     let mut future = pin!(future);
    ///     Ok(reactor.enter(|| loop {
    ///         match future.as_mut().poll(&mut Context::from_waker(&waker)) {
    ///             Poll::Ready(output) => break output,
    ///             Poll::Pending => parker.park(),
    ///         }
    ///     }))
    /// }
    ///
    /// let started = std::time::Instant::now();
    /// block_on(untether::Timer::after(std::time::Duration::from_millis(20)))?;
    /// assert!(started.elapsed() >= std::time::Duration::from_millis(20));
    /// # std::io::Result::Ok(())
    /// ```
    pub struct Parker {
        inner: Arc<Inner>,
        /// Send, not Sync: one thread parks.
        _one_thread: PhantomData<Cell<()>>,
    }

    /// Ends the wait of its [`Parker`]'s thread, from any thread. Clones are the same, and a
    /// [`Waker`] can be made of it.
    #[derive(Clone)]
    pub struct Unparker {
        inner: Arc<Inner>,
    }

    struct Inner {
        word: ParkWord,
        mutex: Mutex<()>,
        condition: Condvar,
        reactor: Reactor,
    }

    impl Parker {
        /// A parker for the calling thread, or whichever it is sent to, that drives `reactor`.
        pub fn new(reactor: &Reactor) -> Parker {
            Parker {
                inner: Arc::new(Inner {
                    word: ParkWord::new(),
                    mutex: Mutex::new(()),
                    condition: Condvar::new(),
                    reactor: reactor.clone(),
                }),
                _one_thread: PhantomData,
            }
        }

        /// Waits until unparked, driving the reactor meanwhile if nobody else does. An unpark that came before ends
        /// it at once; several count as one.
        ///
        /// Wakers of other tasks are called on this thread, holding no lock. It may be called inside a poll, and
        /// inside a wake.
        pub fn park(&self) {
            self.park_until(None);
        }

        /// As [`Parker::park`], for at most `timeout`, by the reactor's clock. False: the time is over.
        pub fn park_timeout(&self, timeout: Duration) -> bool {
            let ns = u64::try_from(timeout.as_nanos()).unwrap_or(clock::NEVER);
            let now = self.inner.reactor.shared().now_ns();
            self.park_until(Some(now.saturating_add(ns)))
        }

        /// As [`Parker::park`], until `deadline` at the latest. False: it has passed.
        pub fn park_deadline(&self, deadline: Instant) -> bool {
            self.park_until(Some(clock::deadline(deadline)))
        }

        /// As [`Parker::park`], for at most `timeout` of the machine's time, whatever clock the reactor has. False: the
        /// time is over.
        ///
        /// With a manual clock this is how to give the world outside a moment before the clock is moved.
        pub fn park_machine_timeout(&self, timeout: Duration) -> bool {
            let inner = &self.inner;
            let ns = u64::try_from(timeout.as_nanos()).unwrap_or(clock::NEVER);
            let end = clock::machine_now().saturating_add(ns);
            loop {
                if inner.word.consume() {
                    return true;
                }
                if end <= clock::machine_now() {
                    return false;
                }
                let harvest = inner
                    .reactor
                    .harvest(Until::Machine(end), Some(&inner.word));
                match harvest.wake() {
                    Ok(turn) if turn.seated => {}
                    // Somebody else drives, or the OS refuses: here as in `park_until`, but simpler, for it is seldom.
                    Ok(_) | Err(_) => inner.nap(),
                }
            }
        }

        /// What ends this parker's wait.
        pub fn unparker(&self) -> Unparker {
            Unparker {
                inner: self.inner.clone(),
            }
        }

        /// The reactor that it drives.
        pub fn reactor(&self) -> &Reactor {
            &self.inner.reactor
        }

        /// Sleeps beside whoever drives, until nobody does, or the time is over, or there is no reason to `go_on`: the
        /// part of parking that is not driving.
        pub(crate) fn stand_by(&self, until: Until, go_on: impl Fn() -> bool) {
            let deadline = match until {
                Until::Now => return,
                Until::Forever => None,
                Until::At(deadline) | Until::Machine(deadline) => Some(deadline),
            };
            let shared = self.inner.reactor.shared();
            let mut post = shared.watch.join(&self.inner);
            while !post.wait(deadline) && go_on() {
                if deadline.is_some_and(|deadline| deadline <= shared.now_ns()) {
                    return;
                }
            }
        }

        fn park_until(&self, deadline: Option<u64>) -> bool {
            let inner = &self.inner;
            let shared = inner.reactor.shared();
            let mut post = None;
            let mut waiting = shared.spin.waiting();
            let mut may_sit = true;
            loop {
                if inner.word.consume() {
                    waiting.is_over(|| shared.now_ns());
                    return true;
                }
                if deadline.is_some_and(|deadline| deadline <= shared.now_ns()) {
                    waiting.is_over(|| shared.now_ns());
                    return false;
                }
                if may_sit {
                    let until = if waiting.looks(|| shared.now_ns()) {
                        Until::Now
                    } else {
                        deadline.map_or(Until::Forever, Until::At)
                    };
                    let roused = shared.watch.roused();
                    match inner.reactor.harvest(until, Some(&inner.word)).wake() {
                        Ok(turn) => {
                            if turn.events + turn.timers > 0 {
                                waiting.is_over(|| shared.now_ns());
                            }
                            if turn.seated && !shared.has_gone_to_another(roused) {
                                continue;
                            }
                        }
                        // No descriptors left, say. There is nobody to report to: whoever wants to wait for I/O is told.
                        Err(_) => {
                            let retry = shared.now_ns() + RETRY.as_nanos() as u64;
                            inner.sleep(Some(deadline.map_or(retry, |at| at.min(retry))));
                            continue;
                        }
                    }
                }
                let post = post.get_or_insert_with(|| shared.watch.join(inner));
                may_sit = post.wait(deadline);
            }
        }
    }

    impl Shared {
        /// Whether the work is with another guest since `roused` was read: it shall have the seat.
        pub(crate) fn has_gone_to_another(&self, roused: u32) -> bool {
            self.driver.is_automatic() && self.watch.roused() != roused
        }
    }

    impl Unparker {
        /// Ends the wait of the parker's thread, or its next one. True: it was waiting.
        pub fn unpark(&self) -> bool {
            self.inner.unpark()
        }

        /// Whether this ends `parker`'s wait.
        pub fn will_unpark(&self, parker: &Parker) -> bool {
            Arc::ptr_eq(&self.inner, &parker.inner)
        }

        /// Whether both end the wait of the same parker.
        pub fn same_parker(&self, other: &Unparker) -> bool {
            Arc::ptr_eq(&self.inner, &other.inner)
        }
    }

    impl From<Unparker> for Waker {
        fn from(unparker: Unparker) -> Waker {
            Waker::from(unparker.inner)
        }
    }

    impl fmt::Debug for Parker {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Parker").finish_non_exhaustive()
        }
    }

    impl fmt::Debug for Unparker {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Unparker").finish_non_exhaustive()
        }
    }

    impl Wake for Inner {
        fn wake(self: Arc<Self>) {
            self.unpark();
        }

        fn wake_by_ref(self: &Arc<Self>) {
            self.unpark();
        }
    }

    impl Inner {
        fn unpark(&self) -> bool {
            match self.word.notify() {
                SEATED => self.reactor.wake_driver(),
                ASLEEP | CALLED => {
                    self.reactor.shared().watch.rouse();
                    self.signal();
                }
                _ => return false,
            }
            true
        }

        fn signal(&self) {
            // Between its look at the word and its wait, the thread holds the mutex.
            drop(lock(&self.mutex));
            self.condition.notify_one();
        }

        /// Sleeps until notified, called, or `deadline` by the reactor's clock.
        fn sleep(&self, deadline: Option<u64>) {
            if self.word.begin(ASLEEP) {
                self.doze(deadline);
                self.word.end();
            }
        }

        /// Sleeps until notified, for `LOOK` at most.
        fn nap(&self) {
            if self.word.begin(ASLEEP) {
                let guard = lock(&self.mutex);
                if self.word.is_asleep() {
                    drop(self.condition.wait_timeout(guard, LOOK));
                }
                self.word.end();
            }
        }

        /// The blocking part of a sleep, the word being ASLEEP.
        fn doze(&self, deadline: Option<u64>) {
            let clock = self.reactor.clock();
            let mut guard = lock(&self.mutex);
            while self.word.is_asleep() {
                let Some(deadline) = deadline else {
                    guard = self
                        .condition
                        .wait(guard)
                        .unwrap_or_else(|e| e.into_inner());
                    continue;
                };
                let now = clock.now_ns();
                if deadline <= now {
                    break;
                }
                // A manual clock does not call sleepers on its own.
                let left = Duration::from_nanos(deadline - now);
                let left = if clock.is_manual() {
                    left.min(LOOK)
                } else {
                    left
                };
                let slept = self.condition.wait_timeout(guard, left);
                guard = slept.unwrap_or_else(|e| e.into_inner()).0;
            }
        }
    }

    /// The sleepers beside a reactor.
    #[derive(Default)]
    pub(crate) struct Watch {
        sleepers: Mutex<Sleepers>,
        /// How often a sleeper was unparked. Guides whoever may drive; nothing hangs on it.
        roused: AtomicU32,
    }

    #[derive(Default)]
    struct Sleepers {
        watcher: Option<Arc<Inner>>,
        others: Vec<Arc<Inner>>,
    }

    /// A sleeper's place among them, given up when dropped.
    struct Post<'a> {
        watch: &'a Watch,
        inner: &'a Arc<Inner>,
    }

    impl Watch {
        pub(crate) fn roused(&self) -> u32 {
            self.roused.load(Ordering::Relaxed)
        }

        fn rouse(&self) {
            self.roused.fetch_add(1, Ordering::Relaxed);
        }

        /// By who leaves the chair and was told that the watcher relies on it.
        pub(crate) fn call(&self) {
            let watcher = lock(&self.sleepers).watcher.clone();
            if let Some(watcher) = watcher {
                watcher.call();
            }
        }

        fn join<'a>(&'a self, inner: &'a Arc<Inner>) -> Post<'a> {
            let mut sleepers = lock(&self.sleepers);
            if sleepers.watcher.is_none() {
                sleepers.watcher = Some(inner.clone());
            } else {
                sleepers.others.push(inner.clone());
            }
            Post { watch: self, inner }
        }
    }

    impl Inner {
        fn call(&self) {
            if self.word.call() {
                self.signal();
            }
        }
    }

    impl Post<'_> {
        fn keeps_watch(&self) -> bool {
            let sleepers = lock(&self.watch.sleepers);
            sleepers
                .watcher
                .as_ref()
                .is_some_and(|watcher| Arc::ptr_eq(watcher, self.inner))
        }

        /// Sleeps until notified, called, the deadline, or it is time to look whether the seat is empty. True: do.
        ///
        /// ASLEEP comes first, so that whoever hands the watch on, or leaves the chair after `relax`, can call.
        fn wait(&mut self, deadline: Option<u64>) -> bool {
            let inner = self.inner;
            if !inner.word.begin(ASLEEP) {
                return false;
            }
            let shared = inner.reactor.shared();
            let is_empty;
            if self.keeps_watch() {
                let before = shared.turns();
                let length = if shared.driver.is_automatic() {
                    LOOK_OF_GUESTS
                } else {
                    LOOK
                };
                let look = shared.now_ns() + length.as_nanos() as u64;
                inner.doze(Some(deadline.map_or(look, |at| at.min(look))));
                let nothing_happens = inner.word.is_asleep() && shared.turns() == before;
                is_empty = nothing_happens && !shared.chair.relax();
                if nothing_happens && !is_empty {
                    inner.doze(deadline);
                }
            } else {
                inner.doze(deadline);
                is_empty = false;
            }
            inner.word.end();
            // Where there are no guests, whoever looks sits down.
            is_empty || !shared.driver.is_automatic()
        }
    }

    impl Drop for Post<'_> {
        fn drop(&mut self) {
            let mut sleepers = lock(&self.watch.sleepers);
            let watched = sleepers
                .watcher
                .as_ref()
                .is_some_and(|watcher| Arc::ptr_eq(watcher, self.inner));
            if !watched {
                sleepers
                    .others
                    .retain(|other| !Arc::ptr_eq(other, self.inner));
                return;
            }
            sleepers.watcher = sleepers.others.pop();
            let next = sleepers.watcher.clone();
            drop(sleepers);
            if let Some(next) = next {
                next.call();
            }
        }
    }
}
