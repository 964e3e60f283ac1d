//! What the tasks, wakers and handles of a simulation share, and how somebody gets to run.
//!
//! Whoever is woken on the simulation's own thread joins the ready at once, in the order of the wakes. From another
//! thread it goes to a concurrent queue, which is looked at before each step, and the bell is rung.
//!
//! No wake-up is lost: news from this thread are seen because the loop looks at the ready before it sleeps, or, inside the
//! park, because `asleep` makes `wake` ring; news from others are queued first and rung for then (`bell`).
//!
//! Not here: the loop (`sim`).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Wake, Waker};

use concurrent_queue::ConcurrentQueue;
use untether::Unparker;

use super::check;
use super::clock::Time;
use super::ready::Ready;
use super::schedule::{Chooser, Rng, Schedule};
use super::stop::{Cause, Stop};
use super::trace::{By, Event, Trace, Who};
use crate::bell::Bell;
use crate::hooks::Hooks;
use crate::local::OneThread;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::task::{Live, Runnable};

/// The number of the main future.
pub(super) const MAIN: u64 = 0;

/// How many of the living a deadlock names.
const NAMED_MAX: usize = 20;

/// What tasks, wakers and handles of one simulation share.
pub(crate) struct Shared {
    pub(super) mine: OneThread<Mine>,
    /// What other threads have woken or started.
    pub(super) remote: ConcurrentQueue<(Who, What)>,
    pub(super) bell: Bell,
    pub(super) caller: Unparker,
    pub(super) live: Live,
    pub(super) last_number: AtomicU64,
    pub(super) time: Time,
    pub(super) hooks: Hooks,
    pub(super) schedule: Schedule,
    pub(super) max_steps: u64,
    pub(super) fails_on_task_panic: bool,
}

/// What only the simulation's own thread touches. No foreign code runs while any of it is borrowed.
pub(super) struct Mine {
    pub(super) ready: RefCell<Ready<What>>,
    /// The living, and main while it runs.
    pub(super) tasks: RefCell<BTreeMap<u64, Known>>,
    pub(super) chooser: RefCell<Chooser>,
    pub(super) trace: RefCell<Trace>,
    pub(super) random: RefCell<Rng>,
    pub(super) steps: Cell<u64>,
    /// Who brings about what happens now.
    pub(super) place: Cell<By>,
    pub(super) asleep: Cell<bool>,
    pub(super) running: Cell<bool>,
    /// Why the run has to stop after this step.
    pub(super) trouble: RefCell<Option<Cause>>,
}

/// What can run.
pub(super) enum What {
    Main(Arc<Main>),
    Task(Runnable),
}

pub(super) struct Known {
    pub(super) name: Option<Arc<str>>,
    /// After the first poll.
    pub(super) waker: Option<Waker>,
    /// Whether it was queued before.
    pub(super) started: bool,
}

impl Shared {
    pub(super) fn note(&self, event: Event) {
        if let Some(mine) = self.mine.get() {
            mine.trace.borrow_mut().note(event);
        }
    }

    pub(super) fn note_outside(&self) {
        if let Some(mine) = self.mine.get() {
            mine.trace.borrow_mut().note_outside();
        }
    }

    /// Who brings about what happens from now on; returns who did so far.
    pub(super) fn place(&self, by: By) -> By {
        self.mine
            .get()
            .map_or(By::Outside, |mine| mine.place.replace(by))
    }

    /// A task has got its number. One of another thread is entered when it arrives (`fetch`).
    pub(super) fn enrol(&self, who: &Who) {
        if let Some(mine) = self.mine.get() {
            mine.enter(who, mine.place.get());
        }
    }

    pub(super) fn enrol_main(&self, waker: &Waker) {
        if let Some(mine) = self.mine.get() {
            let known = Known {
                name: None,
                waker: Some(waker.clone()),
                started: false,
            };
            let before = mine.tasks.borrow_mut().insert(MAIN, known);
            drop(before);
        }
    }

    /// A task has been polled for the first time.
    pub(super) fn know(&self, task: u64, waker: &Waker) {
        if let Some(mine) = self.mine.get() {
            let waker = waker.clone();
            if let Some(known) = mine.tasks.borrow_mut().get_mut(&task) {
                known.waker = Some(waker);
            }
        }
    }

    /// The future of a task is gone.
    pub(super) fn strike(&self, task: u64) {
        if let Some(mine) = self.mine.get() {
            let known = mine.tasks.borrow_mut().remove(&task);
            mine.chooser.borrow_mut().forget(task);
            // A waker, which may be the last reference to the task's memory.
            drop(known);
        }
    }

    pub(super) fn wake_task(&self, who: &Who, runnable: Runnable, while_running: bool) {
        self.wake(who, What::Task(runnable), while_running);
    }

    pub(super) fn wake(&self, who: &Who, what: What, yields: bool) {
        match self.mine.get() {
            Some(mine) => {
                mine.queue(who, what, yields, mine.place.get());
                // Once is enough: the sleep ends with this turn.
                if mine.asleep.replace(false) {
                    self.ring();
                }
            }
            None => {
                // Never full, and never closed: see `Live` for why no task is queued after the end.
                let _ = self.remote.push((who.clone(), what));
                self.ring();
            }
        }
    }

    pub(super) fn ring(&self) {
        if self.bell.ring() {
            self.caller.unpark();
        }
    }

    /// Takes in what other threads have woken and started so far.
    pub(super) fn fetch(&self, main: &Arc<Main>) {
        let Some(mine) = self.mine.get() else { return };
        // Not "until empty": another thread could keep us here.
        for (who, what) in self.remote.try_iter().take(self.remote.len()) {
            mine.trace.borrow_mut().note_outside();
            if matches!(&what, What::Main(woken) if !Arc::ptr_eq(woken, main)) {
                // Of an earlier run.
                continue;
            }
            if !mine.tasks.borrow().contains_key(&who.task) {
                mine.enter(&who, By::Outside);
            }
            mine.queue(&who, what, false, By::Outside);
        }
    }

    /// Wakes somebody for no reason, if the schedule says so.
    pub(super) fn disturb(&self) {
        let Some(mine) = self.mine.get() else { return };
        let step = mine.steps.get() + 1;
        // Else it is asked again at the same step.
        let may = mine.ready.borrow().len() > 0;
        if !may || !mine.chooser.borrow_mut().wants_to_disturb(step) {
            return;
        }
        let waker = {
            let tasks = mine.tasks.borrow();
            let woken_before = tasks.iter().filter(|(_, known)| known.waker.is_some());
            let candidates: Vec<u64> = woken_before.map(|(task, _)| *task).collect();
            if candidates.is_empty() {
                return;
            }
            let ready = mine.ready.borrow();
            let chosen = mine.chooser.borrow_mut().disturb(step, &ready, &candidates);
            chosen.and_then(|task| tasks[&task].waker.clone())
        };
        if let Some(waker) = waker {
            mine.place.set(By::Nothing);
            waker.wake();
            mine.place.set(By::Around);
        }
    }

    /// Chooses who runs.
    pub(super) fn begin_step(&self) -> Option<What> {
        let mine = self.mine.get()?;
        let step = mine.steps.get() + 1;
        let (task, what, before) = {
            let mut ready = mine.ready.borrow_mut();
            let (place, before) = mine.chooser.borrow_mut().choose(step, &ready)?;
            let (task, what) = ready.remove(place);
            (task, what, before)
        };
        mine.steps.set(step);
        let event = Event::Step {
            step,
            who: mine.who(task),
            before: before.map(|task| mine.who(task)),
        };
        mine.trace.borrow_mut().note(event);
        mine.place.set(By::Step(task));
        Some(what)
    }

    /// A task has panicked.
    pub(super) fn trouble(&self, cause: Cause) {
        let Some(mine) = self.mine.get() else { return };
        if self.fails_on_task_panic {
            mine.trouble.borrow_mut().get_or_insert(cause);
        } else {
            eprintln!("{}", self.stop(cause, None));
        }
    }

    pub(super) fn stop(&self, cause: Cause, payload: Option<Box<dyn Any + Send>>) -> Box<Stop> {
        Box::new(Stop {
            cause,
            schedule: self.schedule.clone(),
            step: self.mine.get().map_or(0, |mine| mine.steps.get()),
            elapsed: self.time.elapsed(),
            location: check::last_panic(),
            payload,
        })
    }

    /// The names of the living.
    pub(super) fn living(&self) -> Arc<str> {
        let Some(mine) = self.mine.get() else {
            return Arc::from("");
        };
        let tasks: Vec<u64> = mine.tasks.borrow().keys().copied().collect();
        let named = tasks.iter().take(NAMED_MAX);
        let mut names: Vec<_> = named.map(|task| mine.who(*task).to_string()).collect();
        if tasks.len() > NAMED_MAX {
            names.push(format!("and {} more", tasks.len() - NAMED_MAX));
        }
        Arc::from(names.join(", "))
    }
}

impl Mine {
    fn who(&self, task: u64) -> Who {
        let tasks = self.tasks.borrow();
        let name = tasks.get(&task).and_then(|known| known.name.clone());
        Who { task, name }
    }

    fn enter(&self, who: &Who, by: By) {
        let known = Known {
            name: who.name.clone(),
            waker: None,
            started: false,
        };
        self.tasks.borrow_mut().insert(who.task, known);
        self.trace.borrow_mut().note(Event::Starts(who.clone(), by));
    }

    fn queue(&self, who: &Who, what: What, yields: bool, by: By) {
        let is_first = match self.tasks.borrow_mut().get_mut(&who.task) {
            Some(known) => !std::mem::replace(&mut known.started, true),
            None => false,
        };
        if !is_first {
            self.trace.borrow_mut().note(Event::Wakes(who.clone(), by));
        }
        let rank = self.chooser.borrow_mut().rank(who.task, yields);
        self.ready.borrow_mut().push(who.task, rank, what);
    }
}

/// The future that `run` was called with, as its wakers see it. One per call.
pub(super) struct Main {
    /// Whether it is among the ready, or on its way there.
    pub(super) queued: AtomicBool,
    pub(super) shared: Arc<Shared>,
}

impl Wake for Main {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: the poll sees what was done before the wake, whoever it was that queued it.
        if self.queued.swap(true, Ordering::Release) {
            return;
        }
        let who = Who {
            task: MAIN,
            name: None,
        };
        let yields = self
            .shared
            .mine
            .get()
            .is_some_and(|mine| mine.place.get() == By::Step(MAIN));
        self.shared.wake(&who, What::Main(self.clone()), yields);
    }
}

/// At the end of a run its wakers wake nobody any more.
pub(super) struct MainEnd(pub(super) Arc<Main>);

impl Drop for MainEnd {
    fn drop(&mut self) {
        self.0.queued.store(true, Ordering::Relaxed);
        let shared = &self.0.shared;
        let Some(mine) = shared.mine.get() else {
            return;
        };
        let queued = mine.ready.borrow().find(MAIN);
        let queued = queued.map(|place| mine.ready.borrow_mut().remove(place));
        drop(queued);
        shared.strike(MAIN);
    }
}
