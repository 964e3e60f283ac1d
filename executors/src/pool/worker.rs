//! A worker's loop: run, steal, drive, sleep.
//!
//! A worker runs what is in its slot and ring, then takes from the injector, then, if not too many do so already,
//! steals. With nothing to be found it sleeps; one of those who sleep does so in the pool's reactor, and what its turns
//! wake lands in its own ring and is run there, by the thread that had the event.
//!
//! Waking another core for what this one finishes soon costs more than it brings. So a worker holds back the tasks that
//! it was given by its own events and tasks, as long as queue length times average task time stays below a limit, or
//! until it has been busy for longer. The limit is 0.4 ms for short tasks: most of their cost is the kernel's, and grows
//! when two cores share it. It is 25 us for tasks of over 10 us, which compute, and can be anywhere. When tasks are
//! long, a worker without work also sits down rather than leave the seat to those who will come back late: so it has the
//! next event at once, without being called.
//!
//! Whoever is on watch meanwhile (`sleepers`) takes over if a task does not return: it takes the tasks held back, and
//! looks for events, since the chair may be empty.
//!
//! Not here: why no task is forgotten (`sleepers`).

use std::cell::{Cell, OnceCell, RefCell};
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use untether::Parker;

use super::Shared;
use crate::metrics::Counters;
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::task::Runnable;

/// The number of polls between two turns, and between two looks at the injector, if there is more to do than time.
const POLLS_PER_TURN: u32 = 61;

/// How often in a row a task may run out of turn because it was woken last.
const NEXT_MAX: u32 = 7;

/// Tasks that take so long compute: moving one to another core costs little beside it.
const LONG_NS: u64 = 10_000;

/// So much work for one worker is worth waking another, if it consists of long tasks,
const SPREAD_LONG_NS: u64 = 25_000;

/// and if it consists of short ones.
const SPREAD_SHORT_NS: u64 = 400_000;

/// After so long without a turn, a worker makes one, whatever the number of polls.
const TURN_MAX_NS: u64 = 1_000_000;

/// The clock is read when about so much time has passed.
const LOOK_NS: u64 = 25_000;

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

fn with<T>(shared: *const Shared, f: impl FnOnce(&Worker) -> T) -> Option<T> {
    let f = |worker: &OnceCell<Worker>| {
        let worker = worker.get()?;
        ptr::eq(&*worker.shared, shared).then(|| f(worker))
    };
    // No worker any more when the thread's locals are being destroyed.
    WORKER.try_with(f).ok().flatten()
}

/// Queues a task on the worker that this thread is. Gives it back if it is none of that pool, or blocked, or at its end.
pub(super) fn schedule(
    pool: *const Shared,
    runnable: Runnable,
    while_running: bool,
) -> Result<(), Runnable> {
    let mut runnable = Some(runnable);
    with(pool, |worker| {
        if worker.blocked.get() == 0 && !worker.shared.is_closed() {
            if let Some(runnable) = runnable.take() {
                worker.push(runnable, while_running);
            }
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
            worker.shared.wake(worker.shared.sleepers.block(true));
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
                    worker.shared.wake(worker.shared.sleepers.block(false));
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
                Some(runnable) => {
                    self.run(runnable);
                    self.shared.has_run();
                }
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
            if let Some(runnable) = self.pop_injector() {
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
        own.or_else(|| self.pop_injector())
    }

    fn pop_injector(&self) -> Option<Runnable> {
        let runnable = self.shared.queues.pop_injector(self.index)?;
        // Its share of the others is in its ring now.
        self.hold_back();
        Some(runnable)
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
            self.pace.measure(&self.shared.average);
            if self.pace.since_turn_ns.get() > TURN_MAX_NS {
                self.polls.set(POLLS_PER_TURN);
            }
            let busy = self.pace.busy_ns.get() > SPREAD_SHORT_NS;
            if busy && self.shared.sleepers.is_anybody_free() && self.queued_ns() > SPREAD_LONG_NS {
                self.pace.busy_ns.set(0);
                self.shared.call();
            }
        }
    }

    /// Sleeps until there is something to do; returns a task if it is at hand.
    fn sleep(&self) -> Option<Runnable> {
        let Shared {
            sleepers, queues, ..
        } = &*self.shared;
        let searching = self.searching.replace(false);
        let mut duty = sleepers.lie_down(self.index, searching, self.is_eager());
        let mut taken = None;
        let mut asleep = queues.is_injector_empty();
        // Closing comes before its wake-up, which is kept: so this look, or the next one, sees it.
        while asleep && !self.shared.is_closed() {
            self.counters.park();
            if duty.watches {
                taken = self.watch(duty.sits);
            } else {
                self.lie(duty.sits);
            }
            asleep = taken.is_none() && queues.is_ring_empty(self.index);
            if asleep {
                match sleepers.duty(self.index) {
                    Some(next) => duty = next,
                    None => asleep = false,
                }
            }
        }
        let up = sleepers.get_up(self.index);
        self.searching.set(up.called);
        self.shared.wake(up.to_watch);
        self.polls.set(1);
        self.pace.restart();
        if queues.waiting(self.index) > 1 {
            self.hold_back();
        }
        taken
    }

    /// Sleeps in the reactor, or beside it, until something happens.
    fn lie(&self, sits: bool) {
        if sits {
            self.parked.set(true);
            self.parker.park();
            self.parked.set(false);
        } else {
            self.shared.workers[self.index].nap.sleep();
        }
    }

    /// The same for a short time. False: it is over, and nothing has happened.
    fn nap(&self, sits: bool) -> bool {
        if !sits {
            return self.shared.workers[self.index].nap.nap(NAP);
        }
        self.parked.set(true);
        let woken = self.parker.park_timeout(NAP);
        self.parked.set(false);
        woken
    }

    /// Naps while others are awake, and takes a task from one that is stuck. Returns as well when woken, when there are
    /// events, and when there is nobody to watch.
    fn watch(&self, mut sits: bool) -> Option<Runnable> {
        let Shared {
            sleepers, queues, ..
        } = &*self.shared;
        let mut seen = self.seen.borrow_mut();
        seen.clear();
        seen.extend((self.shared.workers.iter()).map(|worker| worker.counters.begun()));
        let mut quiet = 0;
        while !self.nap(sits) && !self.shared.is_closed() {
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
                if !sits {
                    self.glance();
                    if !queues.is_ring_empty(self.index) {
                        return None;
                    }
                }
            } else {
                quiet += 1;
                if quiet >= LINGER && sleepers.all_asleep() {
                    return None;
                }
            }
            sits = sits || sleepers.sit(self.index, self.is_eager());
        }
        None
    }

    /// Whether to sit rather than leave the seat to those who are awake: they compute, and come back late.
    fn is_eager(&self) -> bool {
        self.shared.average.ns() >= LONG_NS
    }

    /// Serves I/O and timers that are ready, without waiting.
    fn glance(&self) {
        // Nobody to report to: a waiter's own system call will say what is wrong.
        let _ = self.shared.reactor.turn(Some(Duration::ZERO));
        self.pace.since_turn_ns.set(0);
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

    /// Decides what is to happen to the tasks that wait for this worker while others sleep. While somebody searches:
    /// nothing, for that one takes them, or lies down and watches, or calls this in the end.
    fn hold_back(&self) {
        let sleepers = &self.shared.sleepers;
        if !sleepers.is_anybody_free() {
            return;
        }
        let worth_it_ns = if self.is_eager() {
            SPREAD_LONG_NS
        } else {
            SPREAD_SHORT_NS
        };
        if self.queued_ns() > worth_it_ns {
            self.shared.call();
        } else {
            self.shared.wake(sleepers.ask());
        }
    }

    /// How long it will take to run what waits for this worker.
    fn queued_ns(&self) -> u64 {
        self.shared.queues.waiting(self.index) as u64 * self.shared.average.ns()
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

/// How long the pool's tasks take, on average of late. Written by all workers, none of which minds if what it adds is
/// lost. Two cache lines: the neighbour is fetched along.
#[repr(align(128))]
pub(super) struct Average(AtomicU64);

impl Average {
    pub(super) fn new() -> Average {
        Average(AtomicU64::new(1_000))
    }

    fn ns(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn add(&self, ns: u64) -> u64 {
        let old = self.ns();
        let new = (3 * old + ns) / 4;
        // Not for a change of less than an eighth: others would have to fetch the line for nothing.
        if new.abs_diff(old) > old / 8 {
            self.0.store(new, Relaxed);
        }
        new
    }
}

/// How long this worker has been busy. The clock is read once per several tasks: the shorter they are, the more.
struct Pace {
    /// Since it woke up, or called somebody.
    busy_ns: Cell<u64>,
    since_turn_ns: Cell<u64>,
    looked: Cell<Instant>,
    tasks: Cell<u32>,
    stride: Cell<u32>,
}

impl Pace {
    fn new() -> Pace {
        Pace {
            busy_ns: Cell::new(0),
            since_turn_ns: Cell::new(0),
            looked: Cell::new(Instant::now()),
            tasks: Cell::new(0),
            stride: Cell::new(1),
        }
    }

    /// After sleep.
    fn restart(&self) {
        self.busy_ns.set(0);
        self.since_turn_ns.set(0);
        self.tasks.set(0);
        self.looked.set(Instant::now());
    }

    /// Counts a task. Whether to look at the clock.
    fn count(&self) -> bool {
        self.tasks.set(self.tasks.get() + 1);
        self.tasks.get() >= self.stride.get()
    }

    fn measure(&self, average: &Average) {
        let now = Instant::now();
        let elapsed_ns = now.duration_since(self.looked.get()).as_nanos() as u64;
        self.looked.set(now);
        self.busy_ns.set(self.busy_ns.get() + elapsed_ns);
        self.since_turn_ns
            .set(self.since_turn_ns.get() + elapsed_ns);
        let tasks = self.tasks.replace(0);
        let average_ns = average.add(elapsed_ns / u64::from(tasks.max(1)));
        let stride = LOOK_NS / average_ns.max(1);
        self.stride.set((stride as u32).clamp(1, CLOCK_STRIDE_MAX));
    }
}
