//! Executors that are broken on purpose, each in one way: does the suite catch it, and with which case?
//!
//! A suite that cannot fail proves nothing. [`CAUGHT_BY`] is the proof: every fault, and the case that finds it.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use untether_conformance::{
    Abilities, LocalTask, Root, Spawner, Subject, Task, Verdict, all, check,
};

/// In which way an executor is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fault {
    /// It is not.
    None,
    LosesOneWakeInFifty,
    LosesWakesDuringThePoll,
    LosesWakesOfOtherThreads,
    WakesTheWrongTask,
    NeverPollsWhatItSpawns,
    PollsAfterReady,
    PollsOnTwoThreadsAtOnce,
    PollsLocalTasksElsewhere,
    LeaksTasksThatEnded,
    LeaksTasksLeftBehind,
    DropsLocalTasksElsewhere,
    DropsTasksThatArePending,
    GoesOnWithOneTask,
    LetsAPanicTakeTheRest,
    PanicsAtALateWake,
    ForgetsTasksBeyondAThousand,
    ForgetsWhatTasksSpawn,
    SleepsThroughForeignSpawns,
    PollsWithoutBeingWoken,
}

use Fault as F;

/// Which case finds which fault.
const CAUGHT_BY: &[(Fault, &str)] = &[
    (F::LosesOneWakeInFifty, "no_wake_of_a_storm_is_lost"),
    (
        F::LosesWakesDuringThePoll,
        "a_task_that_wakes_itself_is_polled_again",
    ),
    (
        F::LosesWakesOfOtherThreads,
        "a_thread_wakes_a_runtime_that_sleeps",
    ),
    (F::WakesTheWrongTask, "no_wake_of_a_storm_is_lost"),
    (
        F::NeverPollsWhatItSpawns,
        "a_spawned_task_is_polled_without_a_wake",
    ),
    (F::PollsAfterReady, "a_task_is_not_polled_after_its_end"),
    (
        F::PollsOnTwoThreadsAtOnce,
        "a_task_is_polled_by_one_thread_at_a_time",
    ),
    (
        F::PollsLocalTasksElsewhere,
        "a_local_task_stays_on_its_thread",
    ),
    (F::LeaksTasksThatEnded, "a_task_that_ended_is_dropped_once"),
    (
        F::LeaksTasksLeftBehind,
        "a_task_left_behind_is_dropped_with_the_run",
    ),
    (
        F::DropsLocalTasksElsewhere,
        "a_local_task_stays_on_its_thread",
    ),
    (
        F::DropsTasksThatArePending,
        "a_task_that_wakes_itself_is_polled_again",
    ),
    (F::GoesOnWithOneTask, "a_busy_task_starves_nobody"),
    (
        F::LetsAPanicTakeTheRest,
        "a_task_that_panics_spares_the_others",
    ),
    (F::PanicsAtALateWake, "a_waker_may_outlive_its_runtime"),
    (
        F::ForgetsTasksBeyondAThousand,
        "a_hundred_thousand_tasks_end",
    ),
    (F::ForgetsWhatTasksSpawn, "a_task_may_spawn_tasks"),
    (F::SleepsThroughForeignSpawns, "a_thread_may_spawn_tasks"),
    (
        F::PollsWithoutBeingWoken,
        "a_future_that_is_not_woken_is_not_polled",
    ),
];

/// An executor on the thread that calls `run`, good but for its fault.
struct Mill(Fault);

thread_local! {
    /// The run on this thread.
    static RUNNING: RefCell<Option<Arc<Core>>> = const { RefCell::new(None) };
}

struct Core {
    fault: Fault,
    inner: Mutex<Inner>,
    news: Condvar,
    home: thread::ThreadId,
    spawned: AtomicUsize,
    wakes: AtomicUsize,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Arc<Job>>,
    /// Every task that has not ended, so that none outlives the run.
    tasks: Vec<Weak<Job>>,
    root_is_due: bool,
}

/// A task, wherever it may be polled.
struct Any(LocalTask);

// SAFETY: not sound: a `LocalTask` must stay on its thread, and breaking that is what some of the faults are for. The
// local tasks of the cases that this file runs own nothing but atomics and locks.
unsafe impl Send for Any {}

struct Job {
    core: Weak<Core>,
    task: Mutex<Option<Any>>,
    queued: AtomicBool,
    is_local: bool,
    dies_of_late_wakes: bool,
    /// What is woken in its place, if wakes go astray.
    neighbour: Option<Weak<Job>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    fn spawn(self: &Arc<Core>, task: LocalTask, is_local: bool) {
        let spawned = self.spawned.fetch_add(1, Ordering::SeqCst);
        let from_elsewhere = thread::current().id() != self.home;
        let inside_a_task = POLLING.get();
        let mut inner = lock(&self.inner);
        let job = Arc::new(Job {
            core: Arc::downgrade(self),
            task: Mutex::new(Some(Any(task))),
            queued: AtomicBool::new(true),
            is_local,
            dies_of_late_wakes: self.fault == F::PanicsAtALateWake,
            neighbour: inner.tasks.last().cloned(),
        });
        inner.tasks.push(Arc::downgrade(&job));
        let forgotten = match self.fault {
            F::NeverPollsWhatItSpawns => spawned % 5 == 4,
            F::ForgetsTasksBeyondAThousand => inner.queue.len() >= 1_000,
            F::ForgetsWhatTasksSpawn => inside_a_task,
            _ => false,
        };
        if forgotten {
            return;
        }
        inner.queue.push_back(job);
        if self.fault != F::SleepsThroughForeignSpawns || !from_elsewhere {
            self.news.notify_one();
        }
    }

    /// Polls one task.
    fn step(&self, job: &Arc<Job>) {
        let late = self.fault == F::LosesWakesDuringThePoll;
        if !late {
            job.queued.store(false, Ordering::SeqCst);
        }
        let Some(mut task) = lock(&job.task).take() else {
            return;
        };
        let waker = Waker::from(job.clone());
        let mut cx = Context::from_waker(&waker);
        let poll = match self.fault {
            F::PollsOnTwoThreadsAtOnce => poll_twice_at_once(&mut task, &waker),
            F::PollsLocalTasksElsewhere if job.is_local => {
                let polled = thread::scope(|scope| {
                    let task = &mut task;
                    let waker = &waker;
                    scope
                        .spawn(move || {
                            let task: &mut Any = task;
                            task.0.as_mut().poll(&mut Context::from_waker(waker))
                        })
                        .join()
                });
                polled.unwrap_or_else(|panic| resume_unwind(panic))
            }
            F::LetsAPanicTakeTheRest => task.0.as_mut().poll(&mut cx),
            _ => {
                POLLING.set(true);
                let poll = catch_unwind(AssertUnwindSafe(|| task.0.as_mut().poll(&mut cx)));
                POLLING.set(false);
                poll.unwrap_or(Poll::Ready(()))
            }
        };
        if poll.is_pending() {
            if self.fault == F::DropsTasksThatArePending {
                return;
            }
            *lock(&job.task) = Some(task);
            if late {
                job.queued.store(false, Ordering::SeqCst);
            }
            return;
        }
        match self.fault {
            F::PollsAfterReady => {
                let again = AssertUnwindSafe(|| task.0.as_mut().poll(&mut cx));
                let _ = catch_unwind(again);
            }
            F::LeaksTasksThatEnded => std::mem::forget(task),
            F::DropsLocalTasksElsewhere if job.is_local => drop_elsewhere(task),
            _ => {}
        }
    }
}

thread_local! {
    static POLLING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Two polls of one task at the same time. Only for tasks that notice at once and touch nothing then.
fn poll_twice_at_once(task: &mut Any, waker: &Waker) -> Poll<()> {
    struct Both(*mut Any);
    // SAFETY: not sound, on purpose: see `poll_twice_at_once`.
    unsafe impl Sync for Both {}
    let both = Both(task);
    let poll = || {
        let both = &both;
        // SAFETY: (1) The pointer is that of a task that is borrowed here. (2) It is *not* the only one; the tasks of
        // the one case that this is for look at an atomic first, and go no further if somebody else is inside.
        let task = unsafe { &mut *both.0 };
        task.0.as_mut().poll(&mut Context::from_waker(waker))
    };
    thread::scope(|scope| {
        let other = scope.spawn(poll);
        let here = poll();
        let there = other.join().unwrap_or(Poll::Pending);
        if here.is_ready() { here } else { there }
    })
}

fn drop_elsewhere(task: Any) {
    let elsewhere = thread::spawn(move || {
        let task: Any = task;
        drop(task);
    });
    let _ = elsewhere.join();
}

impl Job {
    fn wake_this(self: &Arc<Job>) {
        let Some(core) = self.core.upgrade() else {
            return;
        };
        if self.queued.swap(true, Ordering::SeqCst) {
            return;
        }
        lock(&core.inner).queue.push_back(self.clone());
        if core.fault != F::LosesWakesOfOtherThreads || thread::current().id() == core.home {
            core.news.notify_one();
        }
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        let Some(core) = self.core.upgrade() else {
            if self.dies_of_late_wakes {
                panic!("woken after the end");
            }
            return;
        };
        let wakes = core.wakes.fetch_add(1, Ordering::SeqCst);
        match core.fault {
            F::LosesOneWakeInFifty if wakes % 50 == 49 => {}
            F::WakesTheWrongTask => {
                let neighbour = self.neighbour.as_ref().and_then(Weak::upgrade);
                neighbour.unwrap_or(self).wake_this();
            }
            F::GoesOnWithOneTask if !self.queued.swap(true, Ordering::SeqCst) => {
                lock(&core.inner).queue.push_front(self);
                core.news.notify_one();
            }
            _ => self.wake_this(),
        }
    }
}

/// The waker of the root.
struct Main(Arc<Core>);

impl Wake for Main {
    fn wake(self: Arc<Self>) {
        lock(&self.0.inner).root_is_due = true;
        self.0.news.notify_one();
    }
}

/// Ends a run, also by panic: no task outlives it, unless that is the fault.
struct EndOfRun(Arc<Core>);

impl Drop for EndOfRun {
    fn drop(&mut self) {
        RUNNING.set(None);
        let left = std::mem::take(&mut *lock(&self.0.inner));
        for job in left.tasks.iter().filter_map(Weak::upgrade) {
            let task = lock(&job.task).take();
            match (self.0.fault, task) {
                (F::LeaksTasksLeftBehind, Some(task)) => std::mem::forget(task),
                (F::DropsLocalTasksElsewhere, Some(task)) if job.is_local => drop_elsewhere(task),
                _ => {}
            }
        }
    }
}

impl Subject for Mill {
    fn name(&self) -> &str {
        "mill"
    }

    fn run(&self, mut root: Root) {
        let core = Arc::new(Core {
            fault: self.0,
            inner: Mutex::new(Inner {
                root_is_due: true,
                ..Inner::default()
            }),
            news: Condvar::new(),
            home: thread::current().id(),
            spawned: AtomicUsize::new(0),
            wakes: AtomicUsize::new(0),
        });
        RUNNING.set(Some(core.clone()));
        let _end = EndOfRun(core.clone());
        let waker = Waker::from(Arc::new(Main(core.clone())));
        let mut root_was_last = false;
        loop {
            let mut inner = lock(&core.inner);
            let idle = |inner: &Inner| !inner.root_is_due && inner.queue.is_empty();
            while idle(&inner) && core.fault != F::PollsWithoutBeingWoken {
                inner = core
                    .news
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            // By turns, so that neither starves the other.
            let due = inner.root_is_due && (!root_was_last || inner.queue.is_empty());
            if due || idle(&inner) {
                inner.root_is_due = false;
                drop(inner);
                root_was_last = true;
                if root
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_ready()
                {
                    return;
                }
                continue;
            }
            root_was_last = false;
            let job = inner.queue.pop_front();
            drop(inner);
            if let Some(job) = job {
                core.step(&job);
            }
        }
    }

    fn spawn(&self, task: Task) -> Result<(), Task> {
        running().spawn(task, false);
        Ok(())
    }

    fn spawn_local(&self, task: LocalTask) -> Result<(), LocalTask> {
        running().spawn(task, true);
        Ok(())
    }

    fn spawner(&self) -> Option<Spawner> {
        let core = running();
        Some(Arc::new(move |task| core.spawn(task, false)))
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            spawns: true,
            spawns_local: true,
            ..Abilities::default()
        }
    }
}

fn running() -> Arc<Core> {
    RUNNING
        .with_borrow(Option::clone)
        .expect("spawned outside a run")
}

fn verdict(fault: Fault, case: &str) -> Verdict {
    let case = all()
        .into_iter()
        .find(|known| known.name == case)
        .unwrap_or_else(|| panic!("no case is called {case}"));
    let subject: Arc<dyn Subject> = Arc::new(Mill(fault));
    check(&case, &subject, Duration::from_secs(8)).verdict
}

#[test]
fn without_a_fault_every_case_that_catches_one_passes() {
    let cases: HashSet<&str> = CAUGHT_BY.iter().map(|(_, case)| *case).collect();
    for case in cases {
        assert_eq!(verdict(F::None, case), Verdict::Passed, "{case}");
    }
}

#[test]
fn without_a_fault_every_case_about_executors_passes() {
    let subject: Arc<dyn Subject> = Arc::new(Mill(F::None));
    for case in all().iter().filter(|case| case.group == "executor") {
        let verdict = check(case, &subject, Duration::from_secs(20)).verdict;
        assert_eq!(verdict, Verdict::Passed, "{}", case.name);
    }
}

#[test]
fn every_fault_is_caught() {
    let runs: Vec<_> = CAUGHT_BY
        .iter()
        .map(|&(fault, case)| thread::spawn(move || (fault, case, verdict(fault, case))))
        .collect();
    let mut uncaught = Vec::new();
    for run in runs {
        let (fault, case, verdict) = run.join().unwrap();
        println!("{fault:?} by {case}: {verdict:?}");
        if !verdict.is_broken() {
            uncaught.push((fault, case, verdict));
        }
    }
    assert!(uncaught.is_empty(), "{uncaught:#?}");
}
