//! What a program may watch its tasks by: their polls, and their panics.
//!
//! An executor without hooks pays one comparison per poll (`task`). The hooks are called inside the poll, as the task itself
//! is: on its thread, in its executor's reactor, holding no lock.
//!
//! Not here: counting (`metrics`), and catching panics for whoever awaits (`task`).

use std::any::Any;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::about::TaskInfo;

/// Functions that an executor calls when it polls a task, and when one panics. Any executor of this crate takes them.
///
/// They are called on the thread that runs the task, inside its poll; what they take, the task takes. They may do
/// whatever a task may. A panic in a hook is printed by the panic hook and goes no further. Clones share the functions.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// use untether_executors::{Hooks, Local};
///
/// static POLLS: AtomicU32 = AtomicU32::new(0);
///
/// let hooks = Hooks::new().before_poll(|_task| {
///     POLLS.fetch_add(1, Relaxed);
/// });
/// let local = Local::with_hooks(hooks);
/// local.run(local.spawn(async {}));
/// assert_eq!(POLLS.load(Relaxed), 1);
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Hooks {
    table: Option<Arc<Table>>,
}

type BeforePoll = Arc<dyn Fn(&TaskInfo) + Send + Sync>;
type AfterPoll = Arc<dyn Fn(&TaskInfo, Duration) + Send + Sync>;
type OnPanic = Arc<dyn Fn(&TaskInfo, &(dyn Any + Send)) + Send + Sync>;

#[derive(Clone, Default)]
struct Table {
    before_poll: Option<BeforePoll>,
    after_poll: Option<AfterPoll>,
    slow_poll: Option<Duration>,
    time_polls: bool,
    on_panic: Option<OnPanic>,
}

impl Hooks {
    /// None yet. Each can be set once; the last one counts.
    pub fn new() -> Hooks {
        Hooks::default()
    }

    /// Called before each poll of a task.
    pub fn before_poll(self, hook: impl Fn(&TaskInfo) + Send + Sync + 'static) -> Hooks {
        self.with(|table| table.before_poll = Some(Arc::new(hook)))
    }

    /// Called after each poll of a task, also one that panicked, with the time that it took. Costs two looks at the
    /// clock per poll.
    pub fn after_poll(self, hook: impl Fn(&TaskInfo, Duration) + Send + Sync + 'static) -> Hooks {
        self.with(|table| table.after_poll = Some(Arc::new(hook)))
    }

    /// Prints a warning on standard error for each poll that takes that long: meanwhile the thread ran nothing else. Costs
    /// two looks at the clock per poll.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{thread, time::Duration};
    /// use untether_executors::{Hooks, Local};
    ///
    /// let local = Local::with_hooks(Hooks::new().warn_of_slow_polls(Duration::from_millis(5)));
    /// // Prints: task 1 (sleepy) took 10.1 ms in one poll
    /// local.run(local.spawn_named("sleepy", async { thread::sleep(Duration::from_millis(10)) }));
    /// ```
    pub fn warn_of_slow_polls(self, at_least: Duration) -> Hooks {
        self.with(|table| table.slow_poll = Some(at_least))
    }

    /// Takes the time of each poll, so that [`Metrics::longest_poll`](crate::Metrics::longest_poll) says the longest. Costs
    /// two looks at the clock per poll. `after_poll` and `warn_of_slow_polls` take it anyway.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{thread, time::Duration};
    /// use untether_executors::{Hooks, Local};
    ///
    /// let local = Local::with_hooks(Hooks::new().time_polls());
    /// assert_eq!(local.metrics().longest_poll, None);
    /// local.run(local.spawn(async { thread::sleep(Duration::from_millis(1)) }));
    /// assert!(local.metrics().longest_poll >= Some(Duration::from_millis(1)));
    /// ```
    pub fn time_polls(self) -> Hooks {
        self.with(|table| table.time_polls = true)
    }

    /// Called when a task panics, with what it panicked with, whether or not anybody awaits the task; before whoever
    /// awaits it is told. This is how the panics of detached tasks can be noticed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use untether_executors::{Hooks, Pool};
    ///
    /// // Carry on with an incomplete program? Rather not.
    /// let hooks = Hooks::new().on_panic(|task, _payload| {
    ///     eprintln!("{task} has failed");
    ///     std::process::abort();
    /// });
    /// let pool = Pool::builder().hooks(hooks).build()?;
    /// pool.spawn_named("accountant", async { panic!("the books do not balance") }).detach();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_panic(
        self,
        hook: impl Fn(&TaskInfo, &(dyn Any + Send)) + Send + Sync + 'static,
    ) -> Hooks {
        self.with(|table| table.on_panic = Some(Arc::new(hook)))
    }

    fn with(mut self, set: impl FnOnce(&mut Table)) -> Hooks {
        set(Arc::make_mut(self.table.get_or_insert_default()));
        self
    }

    pub(crate) fn are_set(&self) -> bool {
        self.table.is_some()
    }

    /// Polls `task` by calling `poll`. Tells `took` how long that took, if a hook wants to know.
    pub(crate) fn poll<T>(
        &self,
        task: &TaskInfo,
        took: impl FnOnce(Duration),
        poll: impl FnOnce() -> T,
    ) -> T {
        match &self.table {
            None => poll(),
            Some(table) => table.poll(task, took, poll),
        }
    }
}

impl Table {
    fn poll<T>(&self, task: &TaskInfo, tell: impl FnOnce(Duration), poll: impl FnOnce() -> T) -> T {
        if let Some(hook) = &self.before_poll {
            contain(|| hook(task));
        }
        let timed = self.time_polls || self.after_poll.is_some() || self.slow_poll.is_some();
        let begun = timed.then(Instant::now);
        let polled = catch_unwind(AssertUnwindSafe(poll));
        if let Some(begun) = begun {
            let took = begun.elapsed();
            tell(took);
            if let Some(hook) = &self.after_poll {
                contain(|| hook(task, took));
            }
            if self.slow_poll.is_some_and(|at_least| took >= at_least) {
                // Panics if standard error cannot be written to.
                contain(|| eprintln!("{task} took {took:.1?} in one poll"));
            }
        }
        polled.unwrap_or_else(|payload| {
            if let Some(hook) = &self.on_panic {
                contain(|| hook(task, &*payload));
            }
            resume_unwind(payload)
        })
    }
}

/// Called on a thread of an executor, with its number, when it begins or ends.
#[derive(Clone, Default)]
pub(crate) struct ThreadHook(Option<Arc<dyn Fn(usize) + Send + Sync>>);

impl ThreadHook {
    pub(crate) fn new(hook: impl Fn(usize) + Send + Sync + 'static) -> ThreadHook {
        ThreadHook(Some(Arc::new(hook)))
    }

    pub(crate) fn call(&self, thread: usize) {
        if let Some(hook) = &self.0 {
            contain(|| hook(thread));
        }
    }
}

impl fmt::Debug for ThreadHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "set" } else { "not set" })
    }
}

/// Calls a hook, and stops its panic.
fn contain(hook: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(hook)) {
        // Printed already. The payload's own destructor might panic as well; it is not worth the risk.
        mem::forget(payload);
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = Table::default();
        let table = self.table.as_deref().unwrap_or(&none);
        f.debug_struct("Hooks")
            .field("before_poll", &table.before_poll.is_some())
            .field("after_poll", &table.after_poll.is_some())
            .field("slow_poll", &table.slow_poll)
            .field("time_polls", &table.time_polls)
            .field("on_panic", &table.on_panic.is_some())
            .finish()
    }
}
