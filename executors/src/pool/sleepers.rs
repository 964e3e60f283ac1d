//! Who sleeps where, who is woken, and why neither a task nor an event is forgotten.
//!
//! A worker is awake (it runs tasks), searching (awake, about to look into the queues of others) or idle (asleep, or
//! about to be). An idle worker may have two duties. One of them *sits*: it sleeps in the reactor, and drives it. One is
//! *on watch* while others are awake: it sleeps a millisecond at a time, and looks after those that are stuck inside a
//! task. The rest sleep on a condition variable, and cost nothing. Blocked is a worker whose task waits in a nested
//! `block_on`: it has given its tasks away, drives as well while it waits, and counts as nobody's concern.
//!
//! The word holds the numbers of the searching and of the idle, so that whoever has queued a task decides with one load
//! whether there is anybody to call. The lock guards the list of the idle and their duties; the number of the idle
//! changes under it only.
//!
//! | from → to            | call          | by               | on the word         | then                                    |
//! |----------------------|---------------|------------------|---------------------|-----------------------------------------|
//! | awake → searching    | `search`      | the worker       | searching + 1       | looks everywhere; no if half of all do  |
//! | searching → awake    | `found`       | the worker       | searching - 1       | the last one calls another: more to do? |
//! | awake → idle         | `lie_down`    | the worker       | idle + 1            | looks at the injector *again*, sleeps   |
//! | searching → idle     | `lie_down`    | the worker       | idle + 1, srch. - 1 | the same                                |
//! | idle → searching     | `call`        | who queued       | idle - 1, srch. + 1 | wakes it                                |
//! | idle → awake         | `get_up`      | the worker       | idle - 1            | had events, or found something again    |
//! | idle → on watch      | `lie_down`    | the worker       |                     | if others are awake and nobody watches  |
//! | idle → on watch      | `ask`, `get_up`, `block` | a worker |                  | wakes it                                |
//! | on watch → idle      | `all_asleep`  | the watcher      |                     | nobody is awake, so nothing is held     |
//! | idle → sits          | `lie_down`, `sit` | the worker   |                     | nobody sits, and it is the last or wants to |
//! | idle → sits          | `block`       | a worker         |                     | nobody sits and all others are asleep: wakes it |
//!
//! **A task in the injector is not forgotten.** Who queues: (1) push, (2) SeqCst fence, (3) load the word, and call if
//! nobody searches and somebody is idle. Who sleeps: (a) change the word, (b) SeqCst fence, (c) look at the injector. Of
//! two fences one comes first. If (2) before (b), then (c) sees the push. Otherwise (3) sees the change (a): the worker
//! is idle, and is called. If (3) sees a searcher instead and calls nobody, that one has not done its (a) yet, or not its
//! `found`, which is followed by a fence and a look as well; so its own look comes after the push. Two loads and a fence,
//! so it needs SeqCst: no single word decides here, since queue and word are two.
//! Checked by `loom_tests::an_injected_task_is_not_forgotten*`.
//!
//! **A task in a worker's own ring or slot is not forgotten.** The worker runs it when the current task returns, so only
//! a task that does not return is a concern, while others are idle. Then somebody is on watch, or there is nothing to
//! watch for: whoever lies down while others are awake sees to it; a worker that gets up, or is awake again after a
//! nested `block_on`, asks if nobody sits, and otherwise when it holds a task back, unless somebody searches, who asks when
//! the search ends; a watcher that gets up hands over if others are awake; and the watch ends only under the lock, when nobody is awake. The watcher takes from whoever has
//! begun no task between two looks: the bound is two naps, and a wake-up.
//! Checked by `loom_tests::a_task_held_back_by_a_stuck_worker_is_found`.
//!
//! **An event is not forgotten.** If nobody is awake, somebody sits: the last to lie down does, unless another does
//! already, and who sits stops only by waking up. If somebody is awake and nobody sits, somebody is on watch, who makes a
//! turn when the others do not move, or sits down.
//!
//! **No wake-up goes astray.** There are two places to sleep, and each keeps what it is told. A worker learns its duties
//! under the lock and then sleeps where they say; whoever changes them under the lock wakes it where it slept according
//! to the old ones, and on waking it looks again.
//!
//! Not here: what is held back, and how a worker sleeps (`worker`).

use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering::*, fence, lock};

const SEARCHING: usize = 1;
const IDLE: usize = 1 << 16;
const MASK: usize = IDLE - 1;

/// The most workers that the word can count.
pub(crate) const WORKERS_MAX: usize = MASK / 2;

#[derive(Debug)]
pub(crate) struct Sleepers {
    workers: usize,
    word: AtomicUsize,
    /// Whether somebody is on watch: a copy, written under the lock. Whoever reads it is awake, hence has seen the end
    /// of any watch that ended because nobody was.
    watched: AtomicBool,
    rest: Mutex<Rest>,
}

#[derive(Debug)]
struct Rest {
    /// Who lay down last is called first: its cache is the warmest.
    idle: Vec<usize>,
    sitter: Option<usize>,
    watcher: Option<usize>,
    blocked: usize,
}

/// What an idle worker is to do beside sleeping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Duty {
    /// It sleeps in the reactor, not beside it.
    pub(crate) sits: bool,
    pub(crate) watches: bool,
}

/// Whom to wake, and where it sleeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct Call {
    pub(crate) worker: usize,
    /// In the reactor, not beside it.
    pub(crate) sits: bool,
}

/// How an idle worker came to be awake.
#[derive(PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct Up {
    /// It was called, and is searching now; otherwise it is simply awake.
    pub(crate) called: bool,
    /// Who is on watch from now on, and must be woken for that.
    pub(crate) to_watch: Option<Call>,
}

impl Sleepers {
    /// All are awake.
    pub(crate) fn new(workers: usize) -> Sleepers {
        Sleepers {
            workers,
            word: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            rest: Mutex::new(Rest {
                idle: Vec::with_capacity(workers),
                sitter: None,
                watcher: None,
                blocked: 0,
            }),
        }
    }

    /// Whether a task held back now could be run by somebody else, and nobody is looking for one.
    pub(crate) fn is_anybody_free(&self) -> bool {
        let word = self.word.load(Relaxed);
        word & MASK == 0 && word >= IDLE
    }

    /// Begins a search, unless half of the workers search already: more would only be in each other's way.
    #[must_use]
    pub(crate) fn search(&self) -> bool {
        // Relaxed: it promises to look, and publishes nothing. Two at once may exceed the half.
        if 2 * (self.word.load(Relaxed) & MASK) >= self.workers {
            return false;
        }
        self.word.fetch_add(SEARCHING, Relaxed);
        true
    }

    /// Ends a search that found something. If true, nobody else searches: look whether another is to be called.
    #[must_use]
    pub(crate) fn found(&self) -> bool {
        let last = self.word.fetch_sub(SEARCHING, Relaxed) & MASK == 1;
        fence(SeqCst);
        last
    }

    /// Call *after* queueing in the injector. Wake whom this returns.
    pub(crate) fn call(&self) -> Option<Call> {
        fence(SeqCst);
        if !self.is_anybody_free() {
            return None;
        }
        let mut rest = lock(&self.rest);
        // Another caller may have been faster.
        if self.word.load(Relaxed) & MASK != 0 {
            return None;
        }
        // Those without a duty first, and the watcher last.
        let free = |worker: &usize| {
            let duty = rest.duty(*worker);
            !duty.sits && !duty.watches
        };
        let place = (rest.idle.iter().rposition(free))
            .or_else(|| (rest.idle.iter()).rposition(|worker| !rest.duty(*worker).watches))
            .or_else(|| rest.idle.len().checked_sub(1))?;
        let call = rest.to_call(rest.idle[place]);
        self.remove(&mut rest, place);
        self.word.fetch_sub(IDLE - SEARCHING, Relaxed);
        Some(call)
    }

    /// Look at the injector *after* this returns; if there is anything, `get_up`, else sleep. `eager`: it would rather
    /// sit than leave the seat to those who are awake.
    pub(crate) fn lie_down(&self, worker: usize, searching: bool, eager: bool) -> Duty {
        let mut rest = lock(&self.rest);
        rest.idle.push(worker);
        let others_awake = rest.awake(self.workers) > 0;
        if rest.sitter.is_none() && (eager || !others_awake) {
            rest.sitter = Some(worker);
        }
        if rest.watcher.is_none() && others_awake {
            self.set_watcher(&mut rest, Some(worker));
        }
        let duty = rest.duty(worker);
        self.word
            .fetch_add(if searching { IDLE - SEARCHING } else { IDLE }, Relaxed);
        drop(rest);
        fence(SeqCst);
        duty
    }

    /// The duties of `worker`, if it is still idle.
    pub(crate) fn duty(&self, worker: usize) -> Option<Duty> {
        let rest = lock(&self.rest);
        rest.idle.contains(&worker).then(|| rest.duty(worker))
    }

    /// Takes an idle worker off the list, unless somebody called it. Wake whom this returns: if it sat or watched, it may
    /// be another's turn.
    pub(crate) fn get_up(&self, worker: usize) -> Up {
        let mut rest = lock(&self.rest);
        let Some(place) = rest.idle.iter().position(|idle| *idle == worker) else {
            return Up {
                called: true,
                to_watch: self.cover(&mut rest),
            };
        };
        let watched = rest.watcher == Some(worker);
        self.remove(&mut rest, place);
        self.word.fetch_sub(IDLE, Relaxed);
        let hand_over = watched && rest.awake(self.workers) > 1;
        let to_watch = if hand_over {
            self.appoint(&mut rest)
        } else {
            self.cover(&mut rest)
        };
        Up {
            called: false,
            to_watch,
        }
    }

    /// Sees to it that somebody is on watch, because the caller holds back tasks. Wake whom this returns.
    pub(crate) fn ask(&self) -> Option<Call> {
        if self.watched.load(Relaxed) {
            return None;
        }
        self.appoint(&mut lock(&self.rest))
    }

    pub(crate) fn is_anybody_awake(&self) -> bool {
        lock(&self.rest).awake(self.workers) > 0
    }

    /// Ends the watch if nobody is awake.
    pub(crate) fn all_asleep(&self) -> bool {
        let mut rest = lock(&self.rest);
        let all = rest.awake(self.workers) == 0;
        if all {
            self.set_watcher(&mut rest, None);
        }
        all
    }

    /// The watcher sits down, if nobody does and either it is `eager`, or those who are awake have all higher numbers:
    /// so that in the end it is the same one who sits, and whose caches are warm.
    pub(crate) fn sit(&self, worker: usize, eager: bool) -> bool {
        let mut rest = lock(&self.rest);
        let first = || (0..worker).all(|other| rest.idle.contains(&other));
        if rest.sitter.is_some() || !(eager || first()) || !rest.idle.contains(&worker) {
            return false;
        }
        rest.sitter = Some(worker);
        true
    }

    /// A worker begins (true) or ends a nested `block_on`. Wake whom this returns.
    pub(crate) fn block(&self, begin: bool) -> Option<Call> {
        let mut rest = lock(&self.rest);
        if !begin {
            rest.blocked -= 1;
            return self.cover(&mut rest);
        }
        rest.blocked += 1;
        if rest.sitter.is_some() || rest.awake(self.workers) > 0 {
            return None;
        }
        // It drives while it waits, but not while it polls.
        let call = rest.to_call(*rest.idle.last()?);
        rest.sitter = Some(call.worker);
        Some(call)
    }

    /// For a worker that is awake: if nobody sits, somebody must be on watch.
    fn cover(&self, rest: &mut Rest) -> Option<Call> {
        if rest.sitter.is_some() {
            return None;
        }
        self.appoint(rest)
    }

    /// Makes somebody the watcher, if there is none.
    fn appoint(&self, rest: &mut Rest) -> Option<Call> {
        if rest.watcher.is_some() {
            return None;
        }
        // Who lay down first is called last.
        let call = rest.to_call(*rest.idle.first()?);
        self.set_watcher(rest, Some(call.worker));
        Some(call)
    }

    fn remove(&self, rest: &mut Rest, place: usize) {
        let worker = rest.idle.remove(place);
        if rest.sitter == Some(worker) {
            rest.sitter = None;
        }
        if rest.watcher == Some(worker) {
            self.set_watcher(rest, None);
        }
    }

    fn set_watcher(&self, rest: &mut Rest, watcher: Option<usize>) {
        rest.watcher = watcher;
        self.watched.store(watcher.is_some(), Relaxed);
    }
}

impl Rest {
    fn awake(&self, workers: usize) -> usize {
        workers - self.idle.len() - self.blocked
    }

    fn duty(&self, worker: usize) -> Duty {
        Duty {
            sits: self.sitter == Some(worker),
            watches: self.watcher == Some(worker),
        }
    }

    fn to_call(&self, worker: usize) -> Call {
        Call {
            worker,
            sits: self.sitter == Some(worker),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Call, Duty, Sleepers, Up};

    /// Four workers, of which the first ones lie down, in this order.
    fn asleep(count: usize) -> Sleepers {
        let sleepers = Sleepers::new(4);
        (0..count).for_each(|worker| {
            let _ = sleepers.lie_down(worker, false, false);
        });
        sleepers
    }

    fn who(sleepers: &Sleepers, has: impl Fn(Duty) -> bool) -> Option<usize> {
        (0..4).find(|worker| sleepers.duty(*worker).is_some_and(&has))
    }

    fn watcher(sleepers: &Sleepers) -> Option<usize> {
        who(sleepers, |duty| duty.watches)
    }

    fn sitter(sleepers: &Sleepers) -> Option<usize> {
        who(sleepers, |duty| duty.sits)
    }

    fn beside(worker: usize) -> Call {
        let sits = false;
        Call { worker, sits }
    }

    fn by_itself(to_watch: Option<Call>) -> Up {
        let called = false;
        Up { called, to_watch }
    }

    #[test]
    fn the_first_to_lie_down_while_others_are_awake_is_on_watch() {
        assert_eq!(watcher(&asleep(3)), Some(0));
    }

    #[test]
    fn the_last_to_lie_down_sits() {
        assert_eq!(sitter(&asleep(3)), None);
        assert_eq!(sitter(&asleep(4)), Some(3));
    }

    #[test]
    fn an_eager_one_sits_at_once_unless_somebody_does() {
        let sleepers = asleep(1);
        assert!(sleepers.lie_down(1, false, true).sits);
        assert!(!sleepers.lie_down(2, false, true).sits);
        assert_eq!(sitter(&sleepers), Some(1));
    }

    #[test]
    fn the_watcher_sits_down_if_it_is_eager_or_the_first() {
        let sleepers = Sleepers::new(4);
        let _ = sleepers.lie_down(1, false, false);
        let _ = sleepers.lie_down(2, false, false);
        assert!(!sleepers.sit(1, false), "worker 0 is awake");
        assert!(sleepers.sit(1, true));
        assert!(!sleepers.sit(1, true), "once");

        let sleepers = asleep(2);
        assert!(sleepers.sit(0, false));
    }

    #[test]
    fn who_has_no_duty_is_called_first_and_the_watcher_last() {
        let sleepers = asleep(4);
        let mut called = Vec::new();
        while let Some(Call { worker, sits }) = sleepers.call() {
            called.push((worker, sits));
            let _ = sleepers.found();
        }
        assert_eq!(called, [(2, false), (1, false), (3, true), (0, false)]);
    }

    #[test]
    fn nobody_is_called_while_somebody_searches() {
        let sleepers = asleep(3);
        assert!(sleepers.search());
        assert_eq!(sleepers.call(), None);
        assert!(sleepers.found());
        assert!(sleepers.call().is_some());
    }

    #[test]
    fn at_most_half_of_the_workers_search() {
        let sleepers = asleep(0);
        assert_eq!(
            [0; 4].map(|_| sleepers.search()),
            [true, true, false, false]
        );
    }

    #[test]
    fn a_watcher_that_gets_up_hands_over_while_another_is_awake() {
        let sleepers = asleep(3);
        assert_eq!(sleepers.get_up(0), by_itself(Some(beside(1))));
        assert_eq!(watcher(&sleepers), Some(1));
    }

    #[test]
    fn a_sitter_that_gets_up_leaves_a_watcher() {
        let sleepers = asleep(4);
        assert!(sleepers.all_asleep());
        assert_eq!(watcher(&sleepers), None);
        assert_eq!(sleepers.get_up(3), by_itself(Some(beside(0))));
        assert_eq!(watcher(&sleepers), Some(0));
    }

    #[test]
    fn one_who_is_called_beside_a_sitter_asks_only_when_it_holds_a_task_back() {
        let sleepers = asleep(4);
        assert!(sleepers.all_asleep());
        assert_eq!(sleepers.call(), Some(beside(2)));
        let called = Up {
            called: true,
            to_watch: None,
        };
        assert_eq!(sleepers.get_up(2), called);
        assert_eq!(sleepers.ask(), Some(beside(0)));
        assert_eq!(sleepers.ask(), None, "one is enough");
    }

    #[test]
    fn the_watch_ends_when_nobody_is_awake() {
        let sleepers = asleep(3);
        assert!(!sleepers.all_asleep());
        let _ = sleepers.lie_down(3, false, false);
        assert_eq!(watcher(&sleepers), Some(0));
        assert!(sleepers.all_asleep());
        assert_eq!(watcher(&sleepers), None);
    }

    #[test]
    fn a_blocked_worker_needs_no_watch_and_leaves_a_sitter() {
        let sleepers = asleep(3);
        assert_eq!(sleepers.block(true), Some(beside(2)));
        assert_eq!(sitter(&sleepers), Some(2));
        assert!(sleepers.all_asleep());
        assert_eq!(sleepers.block(false), None);
        assert!(!sleepers.all_asleep());
    }

    #[test]
    fn one_who_is_awake_again_after_blocking_finds_a_watcher_where_nobody_sits() {
        let sleepers = asleep(3);
        let _ = sleepers.block(true);
        assert!(sleepers.all_asleep());
        // The sitter had an event, and a nested block_on of its own.
        let _ = sleepers.get_up(2);
        let _ = sleepers.all_asleep();
        assert_eq!(sleepers.block(false), None, "the other asked already");
        assert_eq!(watcher(&sleepers), Some(0));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::{Call, Sleepers};
    use crate::sync::{AtomicUsize, Ordering::*};
    use loom::sync::{Arc, Notify};
    use loom::thread;

    /// The part of a pool that the proof is about. The injector is a relaxed counter on purpose: only fences order it.
    struct Model {
        sleepers: Sleepers,
        injector: AtomicUsize,
        begun: AtomicUsize,
        run: AtomicUsize,
        parkers: Vec<Notify>,
        /// The first task to begin does not return before the second has run: so it takes another worker.
        second: Option<Notify>,
    }

    impl Model {
        fn inject(&self) {
            self.injector.fetch_add(1, Relaxed);
            if let Some(Call { worker, .. }) = self.sleepers.call() {
                self.parkers[worker].notify();
            }
        }

        fn pop(&self) -> bool {
            let pop = |tasks: usize| tasks.checked_sub(1);
            self.injector.fetch_update(Relaxed, Relaxed, pop).is_ok()
        }

        /// A worker that ends when `tasks` have been run; if one is forgotten, it sleeps for ever: loom says deadlock.
        fn work(&self, worker: usize, tasks: usize) {
            let mut searching = false;
            loop {
                if !searching {
                    searching = self.sleepers.search();
                }
                if self.pop() {
                    if std::mem::take(&mut searching) {
                        if self.sleepers.found() && self.injector.load(Relaxed) > 0 {
                            if let Some(Call { worker, .. }) = self.sleepers.call() {
                                self.parkers[worker].notify();
                            }
                        }
                    }
                    if let Some(second) = &self.second {
                        match self.begun.fetch_add(1, Relaxed) {
                            0 => second.wait(),
                            _ => second.notify(),
                        }
                    }
                    if self.run.fetch_add(1, AcqRel) + 1 == tasks {
                        self.parkers.iter().for_each(Notify::notify);
                        return;
                    }
                    continue;
                }
                let _ = self.sleepers.lie_down(worker, searching, false);
                if self.injector.load(Relaxed) > 0 {
                    searching = self.sleepers.get_up(worker).called;
                    continue;
                }
                loop {
                    self.parkers[worker].wait();
                    if self.run.load(Acquire) == tasks {
                        return;
                    }
                    if self.sleepers.duty(worker).is_none() {
                        searching = true;
                        break;
                    }
                }
            }
        }
    }

    fn check(workers: usize, tasks: usize, preemptions: usize) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(move || {
            let model = Arc::new(Model {
                sleepers: Sleepers::new(workers),
                injector: AtomicUsize::new(0),
                begun: AtomicUsize::new(0),
                run: AtomicUsize::new(0),
                parkers: (0..workers).map(|_| Notify::new()).collect(),
                second: (workers > 1).then(Notify::new),
            });
            let threads: Vec<_> = (0..workers)
                .map(|worker| {
                    let model = model.clone();
                    thread::spawn(move || model.work(worker, tasks))
                })
                .collect();
            (0..tasks).for_each(|_| model.inject());
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn an_injected_task_is_not_forgotten() {
        check(1, 2, 4);
    }

    #[test]
    fn an_injected_task_is_not_forgotten_by_a_worker_that_found_another() {
        check(2, 2, 2);
    }

    /// The part of a pool that the watch is about: two workers, one event, and a task that is stuck until another has run,
    /// which it holds back.
    struct Watch {
        sleepers: Sleepers,
        /// In the reactor and beside it.
        reactors: [Notify; 2],
        naps: [Notify; 2],
        event: AtomicUsize,
        held_back: [AtomicUsize; 2],
        stuck: Notify,
        done: AtomicUsize,
    }

    impl Watch {
        fn wake(&self, call: Option<Call>) {
            match call {
                Some(Call { worker, sits: true }) => self.reactors[worker].notify(),
                Some(Call { worker, .. }) => self.naps[worker].notify(),
                None => {}
            }
        }

        fn take(tasks: &AtomicUsize) -> bool {
            let take = |tasks: usize| tasks.checked_sub(1);
            tasks.fetch_update(AcqRel, Relaxed, take).is_ok()
        }

        fn work(&self, worker: usize) {
            let mut duty = self.sleepers.lie_down(worker, false, false);
            loop {
                if duty.watches {
                    if Watch::take(&self.held_back[1 - worker]) {
                        self.done.store(1, Release);
                        self.stuck.notify();
                        return;
                    }
                    if !self.sleepers.all_asleep() {
                        thread::yield_now();
                    }
                } else if duty.sits {
                    self.reactors[worker].wait();
                    if Watch::take(&self.event) {
                        break;
                    }
                } else {
                    self.naps[worker].wait();
                }
                duty = self.sleepers.duty(worker).expect("nobody is called");
            }
            self.wake(self.sleepers.get_up(worker).to_watch);
            self.held_back[worker].fetch_add(1, AcqRel);
            self.wake(self.sleepers.ask());
            // If the task is not found: a deadlock.
            while self.done.load(Acquire) == 0 {
                self.stuck.wait();
            }
        }
    }

    #[test]
    fn a_task_held_back_by_a_stuck_worker_is_found() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let watch = Arc::new(Watch {
                sleepers: Sleepers::new(2),
                reactors: [Notify::new(), Notify::new()],
                naps: [Notify::new(), Notify::new()],
                event: AtomicUsize::new(0),
                held_back: [AtomicUsize::new(0), AtomicUsize::new(0)],
                stuck: Notify::new(),
                done: AtomicUsize::new(0),
            });
            let workers = [0, 1].map(|worker| {
                let watch = watch.clone();
                thread::spawn(move || watch.work(worker))
            });
            // The reactor keeps it for whoever sits.
            watch.event.store(1, Release);
            watch.reactors.iter().for_each(Notify::notify);
            for worker in workers {
                worker.join().unwrap();
            }
        });
    }
}
