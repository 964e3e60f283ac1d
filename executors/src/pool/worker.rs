//! A worker's loop: run, steal, drive, sleep.
//!
//! A worker runs what is in its slot and ring, then takes from the injector, then, if not too many do so already,
//! steals. With nothing to be found it parks in the pool's reactor: one of the parked sits in its chair, and what that
//! one's turns wake lands in its own ring and is run there, by the thread that had the event.
//!
//! Waking another core for what this one finishes in 100 us costs more than it brings. So a worker holds back the tasks
//! that it was given by its own events and tasks, as long as queue length times average task time stays below that, or
//! until it has been running for longer. Whoever is on watch meanwhile (`sleepers`) takes over if a task does not
//! return: it takes the tasks held back, and looks for events, since the chair may be empty.
//!
//! Not here: why no task is forgotten (`sleepers`).

use std::cell::{Cell, OnceCell, RefCell};
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_task::Runnable;
use untether::Parker;

use super::Shared;
use super::sleepers::Up;
use crate::metrics::Counters;

/// The number of polls between two turns, and between two looks at the injector, if there is more to do than time.
const POLLS_PER_TURN: u32 = 61;

/// How often in a row a task may run out of turn because it was woken last.
const NEXT_MAX: u32 = 7;

/// So much work for one worker is worth waking another.
const SPREAD_NS: u64 = 100_000;

/// So long may a worker be busy before it wakes another for what is left, whatever the estimate says.
const BUSY_MAX_NS: u64 = 200_000;

/// How many tasks run between two looks at the clock, at most.
const CLOCK_STRIDE_MAX: u32 = 32;

/// How long the watcher naps. A stuck worker is noticed at the second look.
const NAP: Duration = Duration::from_millis(1);

/// How many naps the watch goes on when all others are asleep, since that rarely lasts.
const LINGER: u32 = 4;

thread_local! {
    static WORKER: OnceCell<Worker> = const { OnceCell::new() };
}

/// What a worker's thread knows about itself.
pub(super) struct Worker {
    shared: Arc<Shared>,
    index: usize,
    parker: Parker,
    /// Inside `parker`: whoever queues a task on this thread is a waker called by our own turn.
    parked: Cell<bool>,
    counters: Arc<Counters>,
    /// How many nested `block_on` this worker is inside of.
    blocked: Cell<u32>,
    searching: Cell<bool>,
    polls: Cell<u32>,
    streak: Cell<u32>,
    random: Cell<u32>,
    pace: Pace,
    /// How many tasks each worker had begun at the last look of the watch.
    seen: RefCell<Vec<u64>>,
}

/// The body of a worker's thread.
pub(super) fn main(shared: Arc<Shared>, index: usize, parker: Parker) {
    WORKER.with(|worker| {
        let worker = worker.get_or_init(|| Worker {
            index,
            parker,
            parked: Cell::new(false),
            counters: shared.workers[index].counters.clone(),
            blocked: Cell::new(0),
            searching: Cell::new(false),
            polls: Cell::new(0),
            streak: Cell::new(0),
            random: Cell::new(index as u32 + 1),
            pace: Pace::new(),
            seen: RefCell::new(Vec::new()),
            shared,
        });
        worker.shared.reactor.enter(|| {
            worker.work();
            worker.shared.leave();
        });
    });
}

/// This thread's index among the workers of `shared`.
pub(super) fn index_in(shared: &Shared) -> Option<usize> {
    with(shared, |worker| worker.index)
}

/// A poll of the worker that this thread is took that long.
pub(super) fn took(shared: &Shared, poll: Duration) {
    with(shared, |worker| worker.counters.took(poll));
}

fn with<T>(shared: &Shared, f: impl FnOnce(&Worker) -> T) -> Option<T> {
    let f = |worker: &OnceCell<Worker>| {
        let worker = worker.get()?;
        ptr::eq(&*worker.shared, shared).then(|| f(worker))
    };
    // No worker any more when the thread's locals are being destroyed.
    WORKER.try_with(f).ok().flatten()
}

/// Queues a task on the worker that this thread is. Gives it back if it is none, or blocked.
pub(super) fn schedule(
    shared: &Shared,
    runnable: Runnable,
    while_running: bool,
) -> Result<(), Runnable> {
    let mut runnable = Some(runnable);
    with(shared, |worker| {
        let taken = runnable.take_if(|_| worker.blocked.get() == 0);
        if let Some(runnable) = taken {
            worker.push(runnable, while_running);
        }
    });
    runnable.map_or(Ok(()), Err)
}

/// Says that this thread is about to wait inside a task, if it is a worker that runs one: its tasks are given away.
pub(crate) fn step_aside() -> Option<Blocked> {
    let blocked = |worker: &OnceCell<Worker>| {
        let worker = worker.get().filter(|worker| worker.counters.is_running())?;
        worker.blocked.set(worker.blocked.get() + 1);
        if worker.blocked.get() == 1 {
            worker.shared.sleepers.block(true);
            worker.give_away();
        }
        Some(Blocked)
    };
    WORKER.try_with(blocked).ok().flatten()
}

/// While it lives, this worker waits inside a task.
#[derive(Debug)]
pub(crate) struct Blocked;

impl Drop for Blocked {
    fn drop(&mut self) {
        let _ = WORKER.try_with(|worker| {
            if let Some(worker) = worker.get() {
                worker.blocked.set(worker.blocked.get() - 1);
                if worker.blocked.get() == 0 {
                    worker.shared.sleepers.block(false);
                }
            }
        });
    }
}

impl Worker {
    fn work(&self) {
        while !self.shared.is_closed() {
            let found = self.next().or_else(|| self.search());
            match found.or_else(|| self.sleep()) {
                Some(runnable) => self.run(runnable),
                None => continue,
            }
            if self.polls.get() >= POLLS_PER_TURN {
                self.polls.set(0);
                self.glance();
            }
        }
    }

    fn next(&self) -> Option<Runnable> {
        let queues = &self.shared.queues;
        if self.polls.get() == 0 {
            if let Some(runnable) = queues.pop_injector(self.index) {
                return Some(runnable);
            }
        }
        if self.streak.get() < NEXT_MAX {
            if let Some(runnable) = queues.pop_next(self.index) {
                self.streak.set(self.streak.get() + 1);
                return Some(runnable);
            }
        }
        self.streak.set(0);
        // After a streak, the ring first, and then the slot all the same.
        let own = queues
            .pop(self.index)
            .or_else(|| queues.pop_next(self.index));
        own.or_else(|| queues.pop_injector(self.index))
    }

    fn search(&self) -> Option<Runnable> {
        if !self.searching.get() {
            if !self.shared.sleepers.search() {
                return None;
            }
            self.searching.set(true);
        }
        let workers = self.shared.workers.len();
        let start = self.random() as usize % workers;
        let mut victims = (0..workers).map(|i| (start + i) % workers);
        let stolen =
            victims.find_map(|victim| (victim != self.index).then(|| self.steal(victim)).flatten());
        stolen.or_else(|| self.shared.queues.pop_injector(self.index))
    }

    fn steal(&self, victim: usize) -> Option<Runnable> {
        let (runnable, taken) = self.shared.queues.steal(self.index, victim)?;
        self.counters.steal(taken);
        Some(runnable)
    }

    fn run(&self, runnable: Runnable) {
        if self.searching.replace(false) && self.shared.sleepers.found() {
            if self.shared.queues.is_injector_empty() {
                self.hold_back();
            } else {
                self.shared.call();
            }
        }
        self.polls.set(self.polls.get() + 1);
        self.counters.begin();
        // Does not unwind (`task`).
        runnable.run();
        self.counters.end();

        if self.pace.count() {
            self.pace.measure();
            if self.pace.busy_ns.get() > BUSY_MAX_NS
                && self.shared.queues.waiting(self.index) > 0
                && self.shared.sleepers.is_anybody_free()
            {
                self.pace.busy_ns.set(0);
                self.shared.call();
            }
        }
    }

    /// Parks until there is something to do; returns a task if it is at hand.
    fn sleep(&self) -> Option<Runnable> {
        let Shared {
            sleepers, queues, ..
        } = &*self.shared;
        let on_watch = sleepers.lie_down(self.index, self.searching.replace(false));
        if !queues.is_injector_empty() {
            self.get_up();
            return None;
        }

        let mut taken = None;
        let mut state = Some(on_watch);
        loop {
            match state {
                None => {
                    self.searching.set(true);
                    break;
                }
                Some(false) => {
                    // Closing comes before its unpark, which is kept: so this look, or the next one, sees it.
                    if !self.shared.is_closed() {
                        self.counters.park();
                        self.parked.set(true);
                        self.parker.park();
                        self.parked.set(false);
                    }
                }
                Some(true) => {
                    self.counters.park();
                    taken = self.watch();
                }
            }
            if taken.is_some() || !queues.is_ring_empty(self.index) || self.shared.is_closed() {
                self.get_up();
                break;
            }
            state = sleepers.is_idle(self.index);
        }
        self.polls.set(1);
        self.pace.restart();
        if queues.waiting(self.index) > 1 {
            self.hold_back();
        }
        taken
    }

    fn get_up(&self) {
        match self.shared.sleepers.get_up(self.index) {
            Up::Called => self.searching.set(true),
            Up::ByItself(call) => self.shared.unpark(call),
        }
    }

    /// Naps while others are awake, and takes a task from one that is stuck. Returns as well when called, when there are
    /// events, and when there is nobody to watch.
    fn watch(&self) -> Option<Runnable> {
        let Shared {
            sleepers, queues, ..
        } = &*self.shared;
        let mut seen = self.seen.borrow_mut();
        seen.clear();
        seen.extend((self.shared.workers.iter()).map(|worker| worker.counters.begun()));
        let mut quiet = 0;
        while !self.shared.workers[self.index].nap.nap(NAP) && !self.shared.is_closed() {
            let mut moved = false;
            for (worker, seen) in seen.iter_mut().enumerate() {
                let begun = self.shared.workers[worker].counters.begun();
                if *seen != begun {
                    *seen = begun;
                    moved = true;
                } else if worker != self.index && queues.waiting(worker) > 0 {
                    let stolen = self.steal(worker).or_else(|| {
                        let next = queues.pop_next(worker)?;
                        self.counters.steal(1);
                        Some(next)
                    });
                    if stolen.is_some() {
                        return stolen;
                    }
                }
            }
            if moved {
                quiet = 0;
            } else if sleepers.is_anybody_awake() {
                quiet = 0;
                self.glance();
                if !queues.is_ring_empty(self.index) {
                    return None;
                }
            } else {
                quiet += 1;
                if quiet >= LINGER && sleepers.all_asleep() {
                    return None;
                }
            }
        }
        None
    }

    /// Serves I/O and timers that are ready, without waiting.
    fn glance(&self) {
        // Nobody to report to: a waiter's own system call will say what is wrong.
        let _ = self.shared.reactor.turn(Some(Duration::ZERO));
    }

    fn push(&self, runnable: Runnable, while_running: bool) {
        let queues = &self.shared.queues;
        if self.parked.get() {
            // The park shall end with this turn; once is enough.
            let first = queues.is_ring_empty(self.index);
            queues.push(self.index, runnable);
            if first {
                self.shared.workers[self.index].unparker.unpark();
            }
            return;
        }
        if self.counters.is_running() && !while_running {
            queues.push_next(self.index, runnable);
        } else {
            queues.push(self.index, runnable);
        }
        self.hold_back();
    }

    /// Decides what is to happen to the tasks that wait for this worker while others sleep.
    fn hold_back(&self) {
        let Shared {
            sleepers, queues, ..
        } = &*self.shared;
        if !sleepers.is_anybody_free() {
            return;
        }
        let waiting = queues.waiting(self.index) as u64;
        if waiting * self.pace.average_ns.get() > SPREAD_NS {
            self.shared.call();
        } else {
            self.shared.unpark(sleepers.ask());
        }
    }

    fn give_away(&self) {
        let queues = &self.shared.queues;
        while let Some(runnable) = queues
            .pop_next(self.index)
            .or_else(|| queues.pop(self.index))
        {
            queues.inject(runnable);
        }
        if !queues.is_injector_empty() {
            self.shared.call();
        }
    }

    fn random(&self) -> u32 {
        // Xorshift: a start for a search, nothing more.
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        x
    }
}

/// How long this worker's tasks take, and how long it has been busy. The clock is read once per several tasks: the
/// shorter they are, the more.
struct Pace {
    average_ns: Cell<u64>,
    busy_ns: Cell<u64>,
    looked: Cell<Instant>,
    tasks: Cell<u32>,
    stride: Cell<u32>,
}

impl Pace {
    fn new() -> Pace {
        Pace {
            average_ns: Cell::new(1_000),
            busy_ns: Cell::new(0),
            looked: Cell::new(Instant::now()),
            tasks: Cell::new(0),
            stride: Cell::new(1),
        }
    }

    /// After sleep.
    fn restart(&self) {
        self.busy_ns.set(0);
        self.tasks.set(0);
        self.looked.set(Instant::now());
    }

    /// Counts a task. Whether to look at the clock.
    fn count(&self) -> bool {
        self.tasks.set(self.tasks.get() + 1);
        self.tasks.get() >= self.stride.get()
    }

    fn measure(&self) {
        let now = Instant::now();
        let elapsed_ns = now.duration_since(self.looked.get()).as_nanos() as u64;
        self.looked.set(now);
        self.busy_ns.set(self.busy_ns.get() + elapsed_ns);
        let tasks = self.tasks.replace(0);
        let average_ns = (3 * self.average_ns.get() + elapsed_ns / u64::from(tasks.max(1))) / 4;
        self.average_ns.set(average_ns);
        let stride = SPREAD_NS / 4 / average_ns.max(1);
        self.stride.set((stride as u32).clamp(1, CLOCK_STRIDE_MAX));
    }
}
