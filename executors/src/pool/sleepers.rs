//! Who sleeps, who is woken, and why no task is forgotten.
//!
//! A worker is awake (it runs tasks), searching (awake, about to look into the queues of others) or idle (asleep, or
//! about to be). One of the idle is on watch while others are awake: it sleeps a millisecond at a time, and looks after
//! those that are stuck inside a task. Blocked is a worker whose task waits in a nested `block_on`: it has given its
//! tasks away, and counts as nobody's concern.
//!
//! The word holds the numbers of the searching and of the idle, so that whoever has queued a task decides with one load
//! whether there is anybody to call. The lock guards the list of the idle and who is on watch; the number of the idle
//! changes under it only.
//!
//! | from → to            | call          | by               | on the word         | then                                    |
//! |----------------------|---------------|------------------|---------------------|-----------------------------------------|
//! | awake → searching    | `search`      | the worker       | searching + 1       | looks everywhere; no if half of all do  |
//! | searching → awake    | `found`       | the worker       | searching - 1       | the last one calls another: more to do? |
//! | awake → idle         | `lie_down`    | the worker       | idle + 1            | looks at the injector *again*, sleeps   |
//! | searching → idle     | `lie_down`    | the worker       | idle + 1, srch. - 1 | the same                                |
//! | idle → searching     | `call`        | who queued       | idle - 1, srch. + 1 | unparks it                              |
//! | idle → awake         | `get_up`      | the worker       | idle - 1            | had events, or found something again    |
//! | idle → on watch      | `lie_down`    | the worker       |                     | if others are awake and nobody watches  |
//! | idle → on watch      | `ask`, `get_up` | a worker       |                     | unparks it                              |
//! | on watch → idle      | `all_asleep`  | the watcher      |                     | nobody is awake, so nothing is held     |
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
//! a task that does not return is a concern, while others are idle. If some worker is idle and another awake, somebody
//! is on watch: whoever lies down sees to it; if all were idle, the one that got up asks when it holds a task back; a
//! watcher that gets up hands over if a third is awake; and the watch ends only under the lock, when nobody is awake.
//! The watcher takes from whoever has begun no task between two looks: the bound is two naps, and a wake-up.
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
    /// Who lay down last is called first: its cache is the warmest. The watcher is called last.
    idle: Vec<usize>,
    watcher: Option<usize>,
    blocked: usize,
}

/// Whom to unpark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct Call {
    pub(crate) worker: usize,
    /// It may be napping on watch rather than parked in the reactor.
    pub(crate) on_watch: bool,
}

/// How an idle worker came to be awake.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Up {
    /// It was called, and is searching now.
    Called,
    /// By itself, and is simply awake. If it was on watch, it has asked somebody else, who must be unparked.
    ByItself(Option<Call>),
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

    /// Call *after* queueing in the injector. Unpark whom this returns.
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
        let last = rest.idle.len().checked_sub(1)?;
        let place = if last > 0 && rest.watcher == Some(rest.idle[last]) {
            last - 1
        } else {
            last
        };
        let worker = rest.idle.remove(place);
        let on_watch = rest.watcher == Some(worker);
        if on_watch {
            // The only one idle: nobody is left to watch.
            self.set_watcher(&mut rest, None);
        }
        self.word.fetch_sub(IDLE - SEARCHING, Relaxed);
        Some(Call { worker, on_watch })
    }

    /// Look at the injector *after* this returns; if there is anything, `get_up`, else sleep. Whether on watch.
    pub(crate) fn lie_down(&self, worker: usize, searching: bool) -> bool {
        let mut rest = lock(&self.rest);
        rest.idle.push(worker);
        let on_watch = rest.watcher.is_none() && rest.awake(self.workers) > 0;
        if on_watch {
            self.set_watcher(&mut rest, Some(worker));
        }
        self.word
            .fetch_add(if searching { IDLE - SEARCHING } else { IDLE }, Relaxed);
        drop(rest);
        fence(SeqCst);
        on_watch
    }

    /// Whether `worker` is still idle, and if so, whether it is on watch.
    pub(crate) fn is_idle(&self, worker: usize) -> Option<bool> {
        let rest = lock(&self.rest);
        rest.idle
            .contains(&worker)
            .then(|| rest.watcher == Some(worker))
    }

    /// Takes an idle worker off the list, unless somebody called it.
    pub(crate) fn get_up(&self, worker: usize) -> Up {
        let mut rest = lock(&self.rest);
        let Some(place) = rest.idle.iter().position(|idle| *idle == worker) else {
            return Up::Called;
        };
        rest.idle.remove(place);
        self.word.fetch_sub(IDLE, Relaxed);
        if rest.watcher != Some(worker) {
            return Up::ByItself(None);
        }
        // We are awake ourselves. If that is all, we ask when we hold something back.
        let others_awake = rest.awake(self.workers) > 1;
        let next = rest.idle.first().copied().filter(|_| others_awake);
        self.set_watcher(&mut rest, next);
        Up::ByItself(next.map(Call::to_watch))
    }

    /// Sees to it that somebody is on watch, because the caller holds back tasks. Unpark whom this returns.
    pub(crate) fn ask(&self) -> Option<Call> {
        if self.watched.load(Relaxed) {
            return None;
        }
        let mut rest = lock(&self.rest);
        if rest.watcher.is_some() {
            return None;
        }
        let next = rest.idle.first().copied();
        self.set_watcher(&mut rest, next);
        next.map(Call::to_watch)
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

    fn set_watcher(&self, rest: &mut Rest, watcher: Option<usize>) {
        rest.watcher = watcher;
        self.watched.store(watcher.is_some(), Relaxed);
    }

    /// A worker begins (true) or ends a nested `block_on`.
    pub(crate) fn block(&self, begin: bool) {
        let mut rest = lock(&self.rest);
        if begin {
            rest.blocked += 1;
        } else {
            rest.blocked -= 1;
        }
    }
}

impl Rest {
    fn awake(&self, workers: usize) -> usize {
        workers - self.idle.len() - self.blocked
    }
}

impl Call {
    /// It becomes the watcher and is still parked in the reactor.
    fn to_watch(worker: usize) -> Call {
        Call {
            worker,
            on_watch: false,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Call, Sleepers, Up};

    /// Four workers, of which the first ones lie down, in this order.
    fn asleep(count: usize) -> Sleepers {
        let sleepers = Sleepers::new(4);
        (0..count).for_each(|worker| {
            let _ = sleepers.lie_down(worker, false);
        });
        sleepers
    }

    fn watcher(sleepers: &Sleepers) -> Option<usize> {
        (0..4).find(|worker| sleepers.is_idle(*worker) == Some(true))
    }

    #[test]
    fn the_first_to_lie_down_while_others_are_awake_is_on_watch() {
        assert_eq!(watcher(&asleep(3)), Some(0));
    }

    #[test]
    fn the_watcher_is_called_last() {
        let sleepers = asleep(3);
        let mut called = Vec::new();
        while let Some(Call { worker, on_watch }) = sleepers.call() {
            called.push((worker, on_watch));
            let _ = sleepers.found();
        }
        assert_eq!(called, [(2, false), (1, false), (0, true)]);
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
        let next = Call::to_watch(1);
        assert_eq!(sleepers.get_up(0), Up::ByItself(Some(next)));
        assert_eq!(watcher(&sleepers), Some(1));
    }

    #[test]
    fn the_watch_ends_when_nobody_is_awake_and_begins_when_asked() {
        let sleepers = asleep(3);
        assert!(!sleepers.all_asleep());
        let _ = sleepers.lie_down(3, false);
        assert_eq!(watcher(&sleepers), Some(0));
        assert!(sleepers.all_asleep());
        assert_eq!(watcher(&sleepers), None);

        assert_eq!(sleepers.get_up(3), Up::ByItself(None));
        assert_eq!(sleepers.ask(), Some(Call::to_watch(0)));
        assert_eq!(sleepers.ask(), None, "one is enough");
    }

    #[test]
    fn a_blocked_worker_needs_no_watch() {
        let sleepers = asleep(3);
        sleepers.block(true);
        assert!(sleepers.all_asleep());
        sleepers.block(false);
        assert!(!sleepers.all_asleep());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::{Call, Sleepers, Up};
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
                let _ = self.sleepers.lie_down(worker, searching);
                if self.injector.load(Relaxed) > 0 {
                    searching = self.sleepers.get_up(worker) == Up::Called;
                    continue;
                }
                loop {
                    self.parkers[worker].wait();
                    if self.run.load(Acquire) == tasks {
                        return;
                    }
                    if self.sleepers.is_idle(worker).is_none() {
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
}
