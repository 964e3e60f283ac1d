//! A deterministic executor: a seed in, a schedule out.
//!
//! [`Sim`] is for tests that look for mistakes in the order of things: two tasks that overwrite each other's update, a
//! time-out that meets the answer, a shutdown that overtakes a message. Which of the tasks that can run does so next is
//! chosen at random, by a seed; time is virtual, and an hour of sleeping takes no time; whatever is found can be had again,
//! exactly, as often as it takes to understand it. [`check`](check()) does that for many seeds, and reduces a failing schedule to the
//! few choices that matter.
//!
//! ```should_panic
//! use std::{cell::Cell, rc::Rc};
//! use untether_executors::{sim, yield_now};
//!
//! sim::check(0..1000, || async {
//!     let count = Rc::new(Cell::new(0));
//!     let tasks = ["left", "right"].map(|name| {
//!         let count = count.clone();
//!         sim::handle().spawn_named(name, async move {
//!             let seen = count.get();
//!             yield_now().await; // Here the other one may come in between.
//!             count.set(seen + 1);
//!         })
//!     });
//!     for task in tasks {
//!         task.await;
//!     }
//!     assert_eq!(count.get(), 2, "an update was lost");
//! });
//! ```
//!
//! It panics with this report:
//!
//! ```text
//! seed 0 fails at step 6: main panicked at tests/count.rs:17:5: assertion `left == right` failed: an update was lost
//!   left: 1
//!  right: 2
//!   found by the 1st of the seeds; shrunk in 2 runs from 1 change of the default order to 0
//!   to have it again: UNTETHER_SIM='0:' in the environment of this test, or Sim::replay(&"0:".parse().unwrap())
//!   what happens then, until step 6:
//!
//! step 1: main
//!   starts task 1 (left)
//!   starts task 2 (right)
//!   waits
//! step 2: task 1 (left)
//!   waits
//!   wakes itself
//! step 3: task 2 (right)
//! ...
//! ```
//!
//! It took no change of the default order, by which whoever has waited longest runs next. Else the schedule lists the
//! changes ([`Schedule`]).
//!
//! # What a seed chooses
//!
//! At each step, which task is polled, of those that were woken; the future that [`run`](Sim::run) was given is one of
//! them. The timers of one instant all fire together, and so their order is chosen as well. With
//! [`SimBuilder::spurious_polls`], also when a task is polled that nobody has woken, which futures must bear.
//! [`SimHandle::random`] gives the program under test chances of its own from the same seed.
//!
//! # How time passes
//!
//! Time moves only when nothing can run, and then to the next timer: [`Timer`](untether::Timer),
//! [`timeout`](untether::timeout()), and intervals. So a computation takes no time, and a program that is never idle stays
//! at one instant (and ends by [`SimBuilder::max_steps`]). [`SimHandle::now`] tells the time; `Instant::now` is the
//! machine's, and not ours to change. (Make timers inside of the simulation: `Timer::after` counts from the time where it is
//! called.)
//!
//! **Sockets and pipes** are real. I/O that is ready goes first. If nothing is ready, somebody waits for I/O, and a timer is
//! pending, then the world gets a moment before time jumps: 5 ms, or another [`SimBuilder::patience`], or as long as the timer
//! is away if that is less. That is real time, and passes in the simulation too. So a peer on the same machine answers
//! before a time-out of seconds strikes, and nothing takes longer than without a simulation. With
//! [`SimBuilder::real_time`], timers go by the machine's clock, and only the order is chosen.
//!
//! # What is deterministic
//!
//! A program of tasks, channels and timers is, completely: two runs of one schedule have the same [`Trace`], to the byte, in
//! any process. What comes from outside is not ours to choose: when I/O becomes ready, when another thread wakes a task or
//! starts one. It is taken as it comes, is recorded in the trace in the order in which the tasks hear of it, and marks the
//! trace ([`Trace::from_outside`]); a replay makes the same choices as far as the world comes along. Also not
//! ours: `Instant::now`, the random keys of a `HashMap`, addresses, and [`spawn_blocking`](crate::spawn_blocking()), whose
//! threads are the world's.
//!
//! # What is a failure
//!
//! | | [`Sim::run`] | [`check`](check()), [`explore`] |
//! |---|---|---|
//! | the main future panics | prints the schedule and the step, panics | fails |
//! | a task panics | prints them; whoever awaits it is told, as in every executor | fails at once |
//! | deadlock: nothing can run, no timer is pending, and no I/O or [`Outside`] is awaited | prints them, panics | fails |
//! | more than [`SimBuilder::max_steps`] | prints them, panics | fails |
//!
//! [`SimBuilder::fail_on_task_panic`] makes the second line the same in both.
//!
//! # What it costs
//!
//! A step takes about 280 ns on a virtual machine, and is recorded; each seed makes a reactor of its own, 23 us. It is for
//! tests, on one thread. Mistakes that need two threads at once, in lock-free code say, are not found by it: `loom` is for
//! these. Nor does it try every order, as a model checker would: it samples, and [`Explored`] tells how many of the orders
//! differed.

// The parts: `ready` who can run · `schedule` choose, record, replay · `clock` time moves only when nothing can run · `member`
// a task · `shared` what they share · `trace` what happened · `stop` why a run stopped · `handle` starting tasks · `check` many
// schedules, and shrinking. Here: the loop.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::task::Task;
use concurrent_queue::ConcurrentQueue;
use untether::{Clock, Parker};

use crate::bell::Bell;
use crate::hooks::Hooks;
use crate::local::OneThread;
use crate::pool;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::task::Live;

mod check;
mod clock;
mod handle;
mod member;
mod ready;
mod schedule;
mod shared;
mod stop;
mod trace;

pub(crate) use self::clock::{Around, around};
pub(crate) use self::handle::accompany;
pub use self::{
    check::{Explored, Failure, check, explore},
    clock::Outside,
    handle::{SimHandle, SimRemote, handle},
    schedule::{ParseScheduleError, Schedule},
    trace::Trace,
};

use self::clock::{Running, Time};
use self::ready::Ready;
use self::schedule::{Chooser, Rng};
use self::shared::{MAIN, Main, MainEnd, Mine, Shared, What};
use self::stop::{Cause, Stop, message};
use self::trace::{By, Event};

/// Steps between two looks at I/O while there is always something to run.
const STEPS_PER_TURN: u64 = 61;

/// An executor that does the same again: every choice is made by a seed, and time is virtual. See the [module](self).
///
/// It runs tasks that need not be `Send` on the thread that made it, only inside [`run`](Sim::run). Dropping it drops the
/// futures of all its tasks, on this thread, before it returns.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use untether::Timer;
/// use untether_executors::Sim;
///
/// let sim = Sim::new(17);
/// let nap = sim.spawn(async { Timer::after(Duration::from_secs(3600)).await });
/// sim.run(nap);
/// assert_eq!(sim.elapsed(), Duration::from_secs(3600)); // It took no time.
/// ```
pub struct Sim {
    shared: Arc<Shared>,
    parker: Parker,
    not_send: PhantomData<Rc<()>>,
}

/// Makes a [`Sim`] that is not as usual, or explores with many such: see [`Sim::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SimBuilder {
    schedule: Schedule,
    real_time: bool,
    patience: Duration,
    max_steps: u64,
    spurious_polls: bool,
    fail_on_task_panic: Option<bool>,
    hooks: Hooks,
}

impl Sim {
    /// A simulation whose choices are made by `seed`, with virtual time.
    ///
    /// # Panics
    /// If no reactor can be made because the process is out of descriptors; [`SimBuilder::build`] returns that error.
    pub fn new(seed: u64) -> Sim {
        Sim::replay(&Schedule::from(seed))
    }

    /// A simulation that makes the choices of `schedule`. Give it the same program, and it does the same.
    ///
    /// # Panics
    /// If no reactor can be made because the process is out of descriptors.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{cell::RefCell, rc::Rc};
    /// use untether_executors::Sim;
    ///
    /// let order = |schedule: &str| {
    ///     let sim = Sim::replay(&schedule.parse().unwrap());
    ///     let order = Rc::new(RefCell::new(String::new()));
    ///     let tasks = ['a', 'b'].map(|letter| {
    ///         let order = order.clone();
    ///         sim.spawn(async move { order.borrow_mut().push(letter) })
    ///     });
    ///     sim.run(async {
    ///         for task in tasks {
    ///             task.await;
    ///         }
    ///     });
    ///     order.take()
    /// };
    /// assert_eq!(order("0:"), "ab");
    /// assert_eq!(order("0:1=2"), "ba"); // The first step runs the second task.
    /// ```
    pub fn replay(schedule: &Schedule) -> Sim {
        let made = Sim::builder().schedule(schedule).build();
        made.unwrap_or_else(|error| panic!("cannot make a reactor for the simulation: {error}"))
    }

    /// Makes a simulation in steps.
    pub fn builder() -> SimBuilder {
        SimBuilder {
            schedule: Schedule::from(0),
            real_time: false,
            patience: Duration::from_millis(5),
            max_steps: 1_000_000,
            spurious_polls: false,
            fail_on_task_panic: None,
            hooks: Hooks::new(),
        }
    }

    /// Starts a task. It runs when [`run`](Sim::run) does. See [`Spawn`](crate::Spawn) for what is promised to tasks.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        member::spawn_local(&self.shared, None, future)
    }

    /// Starts a task with a name, which the [`Trace`] and [`Hooks`] show.
    pub fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        member::spawn_local(&self.shared, Some(name.into()), future)
    }

    /// Runs a future, which may borrow anything, and all tasks, until the future is done. The other tasks stay where they
    /// are until the next `run`.
    ///
    /// Calls nest in other executors and simulations, and hold them up meanwhile; a nested simulation has a time of its own.
    ///
    /// # Panics
    /// If the future does; also at a deadlock, after too many steps, and, if so configured, when a task panics. What has
    /// happened, at which step, and the schedule are printed on standard error. And inside a run of the same simulation.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.attempt(future).unwrap_or_else(|stop| stop.raise())
    }

    /// A handle that starts tasks from inside tasks, on this thread.
    pub fn handle(&self) -> SimHandle {
        SimHandle::new(&self.shared)
    }

    /// A handle that may be sent; the tasks that it starts must be `Send`, and run on this thread.
    pub fn remote(&self) -> SimRemote {
        SimRemote::new(&self.shared)
    }

    /// The time in the simulation.
    pub fn now(&self) -> Instant {
        self.shared.time.now()
    }

    /// How much time has passed in the simulation since it was made.
    pub fn elapsed(&self) -> Duration {
        self.shared.time.elapsed()
    }

    /// How many steps have been made: polls, and drops of cancelled tasks.
    pub fn steps(&self) -> u64 {
        self.mine().steps.get()
    }

    /// What has happened so far.
    pub fn trace(&self) -> Trace {
        self.mine().trace.borrow().clone()
    }

    /// The choices made so far, as a list of those that differ from the default: [`Sim::replay`] makes them again. What
    /// was given to `replay`, or fewer, if some could not be made.
    pub fn schedule(&self) -> Schedule {
        Schedule::listed(
            self.shared.schedule.seed(),
            self.mine().chooser.borrow().made(),
        )
    }

    fn mine(&self) -> &Mine {
        self.shared.mine.get().expect("a Sim is not Send")
    }

    fn attempt<F: Future>(&self, future: F) -> Result<F::Output, Box<Stop>> {
        let mine = self.mine();
        if mine.running.replace(true) {
            panic!(
                "run inside a run of the same simulation would wait for itself; await the future instead"
            );
        }
        let _end = EndOfRun(self);
        // Workers of a pool around us shall not wait for what this one cannot run meanwhile.
        let _blocked = pool::step_aside();
        let _running = Running::begin(&self.shared);
        self.shared.time.reactor().enter(|| self.drive(future))
    }

    fn drive<F: Future>(&self, future: F) -> Result<F::Output, Box<Stop>> {
        let shared = &self.shared;
        let mine = self.mine();
        let reactor = shared.time.reactor();
        let main = MainEnd(Arc::new(Main {
            queued: AtomicBool::new(false),
            shared: shared.clone(),
        }));
        let waker = Waker::from(main.0.clone());
        shared.enrol_main(&waker);
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);
        waker.wake_by_ref();
        let mut steps_to_turn = STEPS_PER_TURN;
        loop {
            shared.fetch(&main.0);
            if steps_to_turn == 0 {
                steps_to_turn = STEPS_PER_TURN;
                shared.glance();
            }
            shared.disturb();
            let Some(what) = shared.begin_step() else {
                if shared.bell.hear() {
                    continue;
                }
                self.idle()?;
                steps_to_turn = STEPS_PER_TURN;
                continue;
            };
            steps_to_turn -= 1;
            // Entered anew each time: no poll depends on what was done in those before.
            let ended = reactor.enter(|| match what {
                What::Task(runnable) => {
                    // Does not unwind (`task`).
                    runnable.run();
                    None
                }
                What::Main(main) => {
                    // Acquire: what was done before a wake that found it queued already.
                    main.queued.swap(false, Ordering::Acquire);
                    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx)));
                    shared.note(match &polled {
                        Ok(Poll::Pending) => Event::Pends,
                        Ok(Poll::Ready(_)) => Event::Ends,
                        Err(payload) => Event::Panics(message(&**payload)),
                    });
                    match polled {
                        Ok(Poll::Pending) => None,
                        Ok(Poll::Ready(output)) => Some(Ok(output)),
                        Err(payload) => {
                            let cause = Cause::Main(message(&*payload));
                            Some(Err((cause, Some(payload))))
                        }
                    }
                }
            });
            shared.place(By::Around);
            match ended {
                Some(Ok(output)) => return Ok(output),
                Some(Err((cause, payload))) => return Err(shared.stop(cause, payload)),
                None => {}
            }
            if let Some(cause) = mine.trouble.take() {
                return Err(shared.stop(cause, None));
            }
            if mine.steps.get() >= shared.max_steps {
                return Err(shared.stop(Cause::Steps, None));
            }
        }
    }

    fn idle(&self) -> Result<(), Box<Stop>> {
        let shared = &self.shared;
        let mine = self.mine();
        let slept = shared.idle(|at_most| {
            let mut called = true;
            // The park makes turns, turns call wakers, and these find the flag.
            mine.asleep.set(true);
            shared.bell.listen(|| match at_most {
                None => self.parker.park(),
                Some(at_most) => {
                    called = self.parker.park_machine_timeout(at_most);
                    // Enough is enough: nobody else may ring.
                    let _ = shared.bell.ring();
                }
            });
            mine.asleep.set(false);
            called
        });
        slept.map_err(|_| shared.stop(Cause::Deadlock(shared.living()), None))
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let mine = self.mine();
        let shared = &self.shared;
        shared.live.end(|| {
            // One at a time: the destructor of a future may queue and spawn.
            loop {
                let mut queued = mine.ready.borrow_mut().pop();
                if queued.is_none() {
                    queued = shared.remote.pop().ok().map(|(_, what)| what);
                }
                match queued {
                    Some(what) => drop(what),
                    None => break,
                }
            }
        });
        // Whoever else waits there, a task of another executor, is woken and moves on.
        shared.time.reactor().shutdown();
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mine = self.mine();
        f.debug_struct("Sim")
            .field("schedule", &self.shared.schedule)
            .field("steps", &mine.steps.get())
            .field("elapsed", &self.elapsed())
            .field("ready", &mine.ready.borrow().len())
            .field("reactor", self.shared.time.reactor())
            .finish()
    }
}

impl SimBuilder {
    /// The seed that makes the choices. Default: 0.
    pub fn seed(self, seed: u64) -> SimBuilder {
        self.schedule(&Schedule::from(seed))
    }

    /// The choices to make, instead of a seed.
    pub fn schedule(mut self, schedule: &Schedule) -> SimBuilder {
        self.schedule = schedule.clone();
        self
    }

    /// Lets timers go by the machine's clock: only the order of things is chosen. For programs that talk to others about
    /// time.
    pub fn real_time(mut self) -> SimBuilder {
        self.real_time = true;
        self
    }

    /// How much real time the world outside gets, while it is awaited, before virtual time jumps to the next timer; or as
    /// long as that timer is away, if that is less. Default: 5 ms. Zero: time jumps at once, unless something is ready.
    /// `Duration::MAX`: while I/O is waited for, a second takes a second.
    pub fn patience(mut self, patience: Duration) -> SimBuilder {
        self.patience = patience;
        self
    }

    /// After so many steps a run that has not ended has failed. Default: 1,000,000. `u64::MAX`: never.
    pub fn max_steps(mut self, steps: u64) -> SimBuilder {
        self.max_steps = steps;
        self
    }

    /// Whether the seed may also choose, before one step of 16, to poll a task that nobody has woken: executors may do
    /// so, and futures must bear it. Default: no. (A listed schedule says by itself what is to be polled.)
    pub fn spurious_polls(mut self, yes: bool) -> SimBuilder {
        self.spurious_polls = yes;
        self
    }

    /// Whether a panic in a task fails the run, even if somebody would await the task. Default: yes in [`check`](check()) and
    /// [`explore`], no in [`Sim::run`].
    pub fn fail_on_task_panic(mut self, yes: bool) -> SimBuilder {
        self.fail_on_task_panic = Some(yes);
        self
    }

    /// What its tasks are watched by. Default: nothing.
    pub fn hooks(mut self, hooks: Hooks) -> SimBuilder {
        self.hooks = hooks;
        self
    }

    /// Makes the simulation.
    ///
    /// # Errors
    /// If no reactor can be made: the process is out of descriptors.
    pub fn build(self) -> io::Result<Sim> {
        let clock = match self.real_time {
            true => Clock::system(),
            false => Clock::manual(),
        };
        let time = Time::new(clock, self.patience)?;
        let parker = Parker::new(time.reactor());
        let shared = Shared {
            mine: OneThread::new(Mine {
                ready: RefCell::new(Ready::new()),
                tasks: RefCell::new(BTreeMap::new()),
                chooser: RefCell::new(Chooser::new(&self.schedule, self.spurious_polls)),
                trace: RefCell::new(Trace::default()),
                // Not the draws of the schedule: what the program draws must not depend on these.
                random: RefCell::new(Rng::new(!self.schedule.seed())),
                steps: Cell::new(0),
                place: Cell::new(By::Around),
                asleep: Cell::new(false),
                running: Cell::new(false),
                trouble: RefCell::new(None),
            }),
            remote: ConcurrentQueue::unbounded(),
            bell: Bell::new(),
            caller: parker.unparker(),
            live: Live::new(1),
            last_number: AtomicU64::new(MAIN),
            time,
            hooks: self.hooks,
            schedule: self.schedule,
            max_steps: self.max_steps,
            fails_on_task_panic: self.fail_on_task_panic.unwrap_or(false),
        };
        Ok(Sim {
            shared: Arc::new(shared),
            parker,
            not_send: PhantomData,
        })
    }
}

/// Nobody drives the reactor for a while: whoever waits there moves to where it is waited for next.
struct EndOfRun<'a>(&'a Sim);

impl Drop for EndOfRun<'_> {
    fn drop(&mut self) {
        let mine = self.0.mine();
        mine.running.set(false);
        self.0
            .shared
            .in_reactor(|| self.0.shared.time.reactor().evict());
    }
}
