//! Many `!Send` tasks on this thread.
//!
//! A task that is woken on this thread goes to a plain queue; from another thread, to a concurrent one, and the bell is
//! rung. What is woken by the running task runs next (the `next` slot), because its data is still in the cache; but not
//! eight times in a row, and a task that wakes itself goes to the back. Between two turns of the reactor runs one
//! generation: as many polls as tasks were queued at the last turn, at least 61.
//!
//! The reactor is the one that the thread is in when `run` is called; in the outermost call, the executor's own.
//! Calls of `run` may nest, on the same executor too: whoever is innermost sleeps, and `caller` says how to wake it.
//!
//! A `tick` is a `run` of one task, except that it leaves the tasks in the executor's own reactor when it ends, where the
//! next tick finds them: were all woken each time, a loop of ticks would never be idle. Who then drives another reactor
//! turns them out first (`in_own`).
//!
//! No wake-up is lost: news from this thread are seen because it looks before it sleeps, or, inside the park, because
//! `asleep` makes `schedule` ring; news from others are queued first and rung for then, which is enough (`bell`).
//!
//! Tasks are `'static`. They could borrow what outlives the executor, as in async-executor; but handles, wakers and
//! tasks outlive it, and then soundness would rest on the end of the executor alone. As it is, a leaked executor leaks.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use concurrent_queue::ConcurrentQueue;
use untether::Reactor;

use crate::about::TaskInfo;
use crate::bed::{self, Bed, Caller};
use crate::bell::Bell;
use crate::hooks::Hooks;
use crate::metrics::{Counters, Metrics};
use crate::pool;
use crate::spawn::{LocalSpawn, Spawn};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, lock};
use crate::task::{self, Home, Live, Runnable, Task};

/// The least number of polls between two turns.
const GENERATION_MIN: usize = 61;

/// How often in a row a task may run out of turn because it was woken last.
const NEXT_MAX: u32 = 7;

/// An executor for tasks that need not be `Send`, all on the thread that made it.
///
/// Tasks run only inside [`run`](Local::run), [`tick`](Local::tick) and [`try_tick`](Local::try_tick). Meanwhile the
/// thread drives the executor's own reactor, or, if it is in one already, that one. Dropping the executor drops the
/// futures of all its tasks, on this thread, before it returns.
///
/// For tasks that share data, as `Rc` and `RefCell`, and for whatever one core can serve. It costs the least of all
/// executors here: a task woken on this thread goes to a plain queue, without an atomic operation but those of the task
/// itself; only one that is woken by another thread takes a concurrent queue and, if this thread sleeps, a system call.
/// The price is that a task that computes holds up all others, and I/O: give such work to a [`Pool`](crate::Pool) or to
/// [`spawn_blocking`](crate::spawn_blocking()). [`PerCore`](crate::PerCore) is one of these per core.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use untether_executors::Local;
///
/// let local = Local::new();
/// let visits = Rc::new(Cell::new(0));
/// for _ in 0..3 {
///     let visits = visits.clone();
///     local.spawn(async move { visits.set(visits.get() + 1) }).detach();
/// }
/// let last = local.spawn(async { "last" });
/// assert_eq!(local.run(last), "last");
/// assert_eq!(visits.get(), 3);
/// ```
pub struct Local {
    shared: Arc<Shared>,
    /// In our own reactor, for the outermost `run`.
    bed: Bed,
    /// Whether tasks may wait in our own reactor, because of a tick, though nobody drives it.
    in_own: Cell<bool>,
    not_send: PhantomData<Rc<()>>,
}

impl Local {
    /// Makes an executor for this thread. If no reactor can be made for it because the process is out of descriptors,
    /// its tasks wait on the global one.
    pub fn new() -> Local {
        Local::with_hooks(Hooks::new())
    }

    /// As [`new`](Local::new), and its tasks are watched by `hooks`.
    pub fn with_hooks(hooks: Hooks) -> Local {
        Local {
            shared: Arc::new(Shared {
                mine: OneThread::new(Mine::default()),
                counters: Counters::default(),
                remote: ConcurrentQueue::unbounded(),
                bell: Bell::new(),
                caller: Mutex::new(None),
                live: Live::new(1),
                hooks,
            }),
            bed: Bed::new(Reactor::new().ok().as_ref()),
            in_own: Cell::new(false),
            not_send: PhantomData,
        }
    }

    /// Starts a task. It runs when [`run`](Local::run) does. See [`Spawn`] for what is promised to tasks.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.shared.spawn_local(TaskInfo::unnamed(), future)
    }

    /// Starts a task with a name, which [`Hooks`] see.
    pub fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.shared.spawn_local(TaskInfo::named(name), future)
    }

    /// Runs a future, which may borrow anything, and all tasks, until the future is done. The other tasks stay where
    /// they are until the next `run`.
    ///
    /// The future is polled only when its waker was called, and takes turns with the tasks. Calls nest, on the same executor too;
    /// the task that makes the inner call is not run by it. When the outermost call ends, all who wait in its reactor
    /// are woken, since nobody drives it: so call `run` once for many things rather than many times for one each.
    ///
    /// # Panics
    /// If the future does, but not if a task does. The executor can be used as before.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::Local;
    ///
    /// let local = Local::new();
    /// let name = String::from("borrowed");
    /// assert_eq!(local.run(async { name.len() }), 8);
    /// ```
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        match Reactor::entered() {
            Some(outer) => {
                // Workers of a pool around us shall not wait for what this one cannot run meanwhile.
                let _blocked = pool::step_aside();
                self.move_out(&outer);
                self.run_in(&Bed::new(Some(&outer)), future)
            }
            None => {
                let _evicted = EvictAtEnd(self);
                self.run_in(&self.bed, future)
            }
        }
    }

    /// The same as [`run`](Local::run), for those who know it by this name from `tokio`'s `LocalSet` and `futures`'
    /// `LocalPool`.
    ///
    /// # Panics
    /// If the future does, but not if a task does.
    pub fn run_until<F: Future>(&self, future: F) -> F::Output {
        self.run(future)
    }

    fn run_in<F: Future>(&self, bed: &Bed, future: F) -> F::Output {
        let _innermost = Innermost::begin(&self.shared, self.mine(), Some(bed.caller()));
        bed.enter(|| self.drive(bed, future))
    }

    /// Wakes the tasks that wait in our own reactor because of a tick, so that they move to `driven`.
    fn move_out(&self, driven: &Reactor) {
        if let Some(own) = self.bed.reactor().filter(|own| *own != driven) {
            if self.in_own.replace(false) {
                own.evict();
            }
        }
    }

    /// Runs one task, once. Waits for one to become ready if none is, and drives I/O and timers meanwhile: for ever, if
    /// nothing ever wakes a task and no other thread starts one.
    ///
    /// What tasks wait for stays with this executor between two ticks, and nobody looks after it then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use untether::Timer;
    /// use untether_executors::Local;
    ///
    /// let local = Local::new();
    /// let nap = local.spawn(Timer::after(Duration::from_millis(1)));
    /// local.tick(); // It starts to wait,
    /// local.tick(); // and has waited.
    /// assert!(nap.is_finished());
    /// ```
    pub fn tick(&self) {
        match Reactor::entered() {
            Some(outer) => {
                let _blocked = pool::step_aside();
                self.move_out(&outer);
                self.tick_in(&Bed::new(Some(&outer)));
            }
            None => {
                self.in_own.set(true);
                self.tick_in(&self.bed);
            }
        }
    }

    fn tick_in(&self, bed: &Bed) {
        let _innermost = Innermost::begin(&self.shared, self.mine(), Some(bed.caller()));
        bed.enter(|| {
            while !self.step(bed.reactor()) {
                self.sleep(bed);
            }
        });
    }

    /// Runs one task, once, if one is ready, and never waits. Whether it did.
    ///
    /// I/O and timers are looked after as often as in [`run`](Local::run): when no task is ready, and after 61 ticks or
    /// as many as tasks were queued then. So `false` means that nothing could be done at that moment. What tasks wait for
    /// stays with this executor between two ticks, and nobody looks after it then.
    ///
    /// A task that wakes itself is ready at once: bound a loop by time or number.
    ///
    /// # Examples
    ///
    /// A game draws a frame every 16 ms, and its tasks get what time is left.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use untether::Timer;
    /// use untether_executors::Local;
    ///
    /// let local = Local::new();
    /// let doors = local.spawn(async {
    ///     for _ in 0..3 {
    ///         Timer::after(Duration::from_millis(1)).await;
    ///     }
    /// });
    /// while !doors.is_finished() {
    ///     let frame_ends = Instant::now() + Duration::from_millis(16);
    ///     // Draw. Then:
    ///     while Instant::now() < frame_ends && local.try_tick() {}
    /// #   std::thread::sleep(Duration::from_millis(1));
    /// }
    /// ```
    pub fn try_tick(&self) -> bool {
        let step = |reactor| {
            let _innermost = Innermost::begin(&self.shared, self.mine(), None);
            self.step(reactor)
        };
        match (Reactor::entered(), self.bed.reactor()) {
            (Some(outer), _) => {
                self.move_out(&outer);
                step(Some(&outer))
            }
            (None, Some(own)) => {
                self.in_own.set(true);
                own.enter(|| step(Some(own)))
            }
            (None, None) => step(None),
        }
    }

    /// Runs one task, if one is ready after a look at I/O. Whether it did.
    fn step(&self, reactor: Option<&Reactor>) -> bool {
        let mine = self.mine();
        let due = mine.ticks_left.get() == 0;
        let ready = if due { None } else { mine.pop() };
        let runnable = ready.or_else(|| {
            if let Some(reactor) = reactor {
                bed::glance(reactor);
            }
            self.shared.fetch();
            mine.ticks_left.set(mine.generation());
            mine.pop()
        });
        let Some(runnable) = runnable else {
            return false;
        };
        mine.ticks_left.set(mine.ticks_left.get() - 1);
        self.shared.run(runnable);
        true
    }

    fn drive<F: Future>(&self, bed: &Bed, future: F) -> F::Output {
        let mine = self.mine();
        let main = Arc::new(Main {
            woken: AtomicBool::new(true),
            shared: self.shared.clone(),
        });
        let waker = Waker::from(main.clone());
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);

        self.shared.fetch();
        let mut left = mine.generation();
        loop {
            // A future and a task by turns, lest either starve the other by waking itself.
            let main_woken = main.take();
            if main_woken {
                if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                    return output;
                }
            }
            if let Some(runnable) = mine.pop() {
                self.shared.run(runnable);
            } else if !main_woken && !self.shared.fetch() {
                self.sleep(bed);
                left = mine.generation();
                continue;
            }

            left -= 1;
            if left == 0 {
                bed.glance();
                self.shared.fetch();
                left = mine.generation();
            }
        }
    }

    /// Sleeps unless the bell was rung since all queues were found empty.
    fn sleep(&self, bed: &Bed) {
        if self.shared.bell.hear() {
            return;
        }
        let mine = self.mine();
        // The park makes turns, turns call wakers, and these find the flag.
        mine.asleep.set(true);
        self.shared.bell.listen(|| {
            self.shared.counters.park();
            bed.sleep();
        });
        mine.asleep.set(false);
    }

    /// What it has done and is doing.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::Local;
    ///
    /// let local = Local::new();
    /// let task = local.spawn(async {});
    /// assert_eq!((local.metrics().queued, local.metrics().polls), (1, 0));
    /// local.run(task);
    /// assert_eq!((local.metrics().queued, local.metrics().polls), (0, 1));
    /// ```
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    fn mine(&self) -> &Mine {
        self.shared.mine.get().expect("a Local is not Send")
    }

    /// A handle that starts tasks from inside tasks, on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::Local;
    ///
    /// let local = Local::new();
    /// let handle = local.handle();
    /// let outer = local.spawn(async move { handle.spawn(async { "inner" }).await });
    /// assert_eq!(local.run(outer), "inner");
    /// ```
    pub fn handle(&self) -> LocalHandle {
        LocalHandle {
            shared: self.shared.clone(),
            not_send: PhantomData,
        }
    }

    /// A handle that other threads can use to start tasks on this one; these must be `Send`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use untether_executors::{Local, Spawn};
    ///
    /// let local = Local::new();
    /// let here = thread::current().id();
    /// let remote = local.remote();
    /// let sent = thread::spawn(move || remote.spawn(async { thread::current().id() }));
    /// assert_eq!(local.run(sent.join().unwrap()), here);
    /// ```
    pub fn remote(&self) -> Remote {
        Remote {
            shared: self.shared.clone(),
        }
    }
}

impl Default for Local {
    fn default() -> Local {
        Local::new()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let mine = self.mine();
        self.shared.live.end(|| {
            // One at a time: the destructor of a future may queue and spawn.
            while let Some(runnable) = mine.pop().or_else(|| self.shared.remote.pop().ok()) {
                drop(runnable);
            }
        });
        if let Some(reactor) = self.bed.reactor() {
            // Whoever else waits there, a task of another executor, is woken and moves on.
            reactor.shutdown();
        }
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mine = self.mine();
        f.debug_struct("Local")
            .field("queued", &mine.queue.borrow().len())
            .field("queued_by_other_threads", &self.shared.remote.len())
            .field("reactor", &self.bed.reactor())
            .finish()
    }
}

impl LocalSpawn for Local {
    fn spawn_local<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.spawn(future)
    }

    fn spawn_local_boxed(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Task<()> {
        self.spawn(future)
    }

    fn spawn_local_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.spawn_named(name, future)
    }

    fn spawn_local_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Task<()> {
        self.spawn_named(name, future)
    }
}

impl Spawn for Local {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Local::spawn(self, future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        Local::spawn(self, future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Local::spawn_named(self, name, future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        Local::spawn_named(self, name, future)
    }
}

/// Starts tasks on a [`Local`] from inside its tasks. It does not keep the executor alive: tasks started too late are
/// cancelled.
#[derive(Clone)]
pub struct LocalHandle {
    shared: Arc<Shared>,
    not_send: PhantomData<Rc<()>>,
}

impl LocalHandle {
    /// Starts a task. See [`Local::spawn`].
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.shared.spawn_local(TaskInfo::unnamed(), future)
    }

    /// Starts a task with a name, which [`Hooks`] see.
    pub fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.shared.spawn_local(TaskInfo::named(name), future)
    }
}

impl LocalHandle {
    /// What the executor has done and is doing. See [`Local::metrics`].
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// Whether tasks started now would be cancelled at once.
    #[cfg(feature = "futures-task")]
    pub(crate) fn is_ended(&self) -> bool {
        self.shared.live.is_closed()
    }

    pub(crate) fn start<F>(&self, info: TaskInfo, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.shared.spawn_local(info, future)
    }
}

impl LocalSpawn for LocalHandle {
    fn spawn_local<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.spawn(future)
    }

    fn spawn_local_boxed(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Task<()> {
        self.spawn(future)
    }

    fn spawn_local_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.spawn_named(name, future)
    }

    fn spawn_local_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Task<()> {
        self.spawn_named(name, future)
    }
}

impl Spawn for LocalHandle {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        LocalHandle::spawn(self, future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        LocalHandle::spawn(self, future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        LocalHandle::spawn_named(self, name, future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        LocalHandle::spawn_named(self, name, future)
    }
}

impl fmt::Debug for LocalHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalHandle")
    }
}

/// Starts `Send` tasks on a [`Local`] from any thread. It does not keep the executor alive: tasks started too late are
/// cancelled.
#[derive(Clone)]
pub struct Remote {
    shared: Arc<Shared>,
}

impl Remote {
    /// What the executor has done and is doing. See [`Local::metrics`].
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// Whether tasks started now would be cancelled at once.
    #[cfg(feature = "futures-task")]
    pub(crate) fn is_ended(&self) -> bool {
        self.shared.live.is_closed()
    }

    /// Starts a task that only carries the output of another one: it has no number, and hooks do not see it.
    pub(crate) fn carry<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        task::spawn(&self.shared, 0, None, future)
    }
}

impl Spawn for Remote {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        task::spawn(&self.shared, 0, TaskInfo::unnamed(), future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        self.spawn(future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        task::spawn(&self.shared, 0, TaskInfo::named(name), future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        self.spawn_named(name, future)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

/// What tasks, wakers and handles of one executor share.
struct Shared {
    mine: OneThread<Mine>,
    /// Written by that thread, read by any.
    counters: Counters,
    /// Tasks woken or spawned by other threads.
    remote: ConcurrentQueue<Runnable>,
    bell: Bell,
    /// Wakes the innermost `run`.
    caller: Mutex<Option<Caller>>,
    live: Live,
    hooks: Hooks,
}

impl Shared {
    /// Starts a task on this thread, which is the executor's own: whoever calls this is `!Send` and was made there.
    fn spawn_local<F>(self: &Arc<Shared>, info: TaskInfo, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        debug_assert!(self.mine.get().is_some());
        // SAFETY: (1) Tasks are run by the `Local` and dropped by it or its end, which takes place on the thread that
        // made it, since it is not `Send`; and by nobody who has only a share of this.
        unsafe { task::spawn_local(self, info, future) }
    }

    /// Moves what other threads have queued so far to our own queue. Whether there was anything.
    fn fetch(&self) -> bool {
        let Some(mine) = self.mine.get() else {
            return false;
        };
        // Not "until empty": another thread could keep us here.
        let found = self.remote.len();
        let mut queue = mine.queue.borrow_mut();
        queue.extend(self.remote.try_iter().take(found));
        self.counters.leave_queued(queue.len());
        found > 0
    }

    #[inline]
    fn run(&self, runnable: Runnable) {
        self.counters.begin();
        // Does not unwind (`task`).
        runnable.run();
        self.counters.end();
    }

    fn metrics(&self) -> Metrics {
        let mut metrics = self.counters.metrics().plus(self.live.metrics(0));
        if let Some(mine) = self.mine.get() {
            metrics.queued = mine.len();
        }
        metrics.queued += self.remote.len();
        metrics
    }

    fn ring(&self) {
        if self.bell.ring() {
            let caller = lock(&self.caller).clone();
            if let Some(caller) = caller {
                caller.call();
            }
        }
    }
}

impl Home for Shared {
    fn live(&self) -> &Live {
        &self.live
    }

    fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    fn took(&self, poll: Duration) {
        self.counters.took(poll);
    }

    fn schedule(&self, runnable: Runnable, _while_running: bool) {
        // Never full, and never closed: see `Live` for why nothing is queued after the end.
        let _ = self.remote.push(runnable);
        self.ring();
    }

    #[inline]
    unsafe fn schedule_here(
        home: *const Shared,
        runnable: Runnable,
        while_running: bool,
    ) -> Result<(), Runnable> {
        // SAFETY: (1) It lives: the task has it, until it is queued. (2) It still does afterwards, on the thread that is
        // its own: the task has a future, so the `Local` has not ended, and nobody ends it meanwhile on this thread, where
        // neither `push` nor `ring` runs foreign code. On others it is not used once the task is given back.
        let shared = unsafe { &*home };
        let Some(mine) = shared.mine.get() else {
            return Err(runnable);
        };
        mine.push(runnable, shared.counters.is_running() && !while_running);
        // Once is enough: the sleep ends with this turn.
        if mine.asleep.get() {
            mine.asleep.set(false);
            shared.ring();
        }
        Ok(())
    }
}

/// The future that `run` was called with, as its wakers see it. One per call: a stale waker finds a stale flag.
struct Main {
    woken: AtomicBool,
    shared: Arc<Shared>,
}

impl Main {
    #[inline]
    fn take(&self) -> bool {
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::Acquire)
    }
}

impl Wake for Main {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release: whoever takes the flag sees what was done before the wake.
        self.woken.store(true, Ordering::Release);
        match self.shared.mine.get() {
            // This thread looks at the flag before it sleeps.
            Some(mine) if !mine.asleep.get() => {}
            _ => self.shared.ring(),
        }
    }
}

/// What only the executor's own thread touches.
#[derive(Default)]
struct Mine {
    queue: RefCell<VecDeque<Runnable>>,
    /// Woken by the running task: runs next.
    next: Cell<Option<Runnable>>,
    /// How many tasks in a row came from `next`.
    streak: Cell<u32>,
    asleep: Cell<bool>,
    /// How many ticks there may be before the next look at I/O.
    ticks_left: Cell<usize>,
}

impl Mine {
    /// `next`: woken by the running task, and not that one itself.
    #[inline]
    fn push(&self, runnable: Runnable, next: bool) {
        if !next {
            self.queue.borrow_mut().push_back(runnable);
        } else if let Some(displaced) = self.next.replace(Some(runnable)) {
            self.queue.borrow_mut().push_back(displaced);
        }
    }

    #[inline]
    fn pop(&self) -> Option<Runnable> {
        match self.next.take() {
            None => {
                self.streak.set(0);
                self.queue.borrow_mut().pop_front()
            }
            Some(next) => Some(self.next_or_oldest(next)),
        }
    }

    /// `next`, unless its kind have had their turn often enough.
    fn next_or_oldest(&self, next: Runnable) -> Runnable {
        let mut queue = self.queue.borrow_mut();
        if self.streak.get() >= NEXT_MAX {
            if let Some(oldest) = queue.pop_front() {
                self.streak.set(0);
                queue.push_back(next);
                return oldest;
            }
        }
        self.streak.set(self.streak.get() + 1);
        next
    }

    fn len(&self) -> usize {
        let next = self.next.take();
        let len = self.queue.borrow().len() + usize::from(next.is_some());
        self.next.set(next);
        len
    }

    fn generation(&self) -> usize {
        self.queue.borrow().len().max(GENERATION_MIN)
    }
}

/// While it lives, a call of `run` or a tick is the innermost one.
struct Innermost<'a> {
    shared: &'a Shared,
    mine: &'a Mine,
    /// The caller of the outer call, if this one has put another in its place.
    outer: Option<Option<Caller>>,
    running: bool,
    asleep: bool,
}

impl<'a> Innermost<'a> {
    /// `caller` wakes this call; one that never sleeps needs none.
    fn begin(shared: &'a Shared, mine: &'a Mine, caller: Option<Caller>) -> Innermost<'a> {
        Innermost {
            shared,
            mine,
            outer: caller.map(|caller| lock(&shared.caller).replace(caller)),
            // A nested call is inside a task, perhaps, and yet what it wakes itself is not woken by a task.
            running: shared.counters.set_running(false),
            // Inside a waker, perhaps, that the park of the outer call is calling.
            asleep: mine.asleep.replace(false),
        }
    }
}

impl Drop for Innermost<'_> {
    fn drop(&mut self) {
        self.shared.counters.set_running(self.running);
        self.mine.asleep.set(self.asleep);
        if let Some(outer) = self.outer.take() {
            let ours = std::mem::replace(&mut *lock(&self.shared.caller), outer);
            drop(ours);
        }
        // An outer call that is awake looks before it sleeps. One that is asleep shares its bell with us, who may have
        // heard what was meant for it, or woken a task without ringing.
        if self.asleep {
            let _ = self.shared.bell.ring();
            let outer = lock(&self.shared.caller).clone();
            if let Some(outer) = outer {
                outer.call();
            }
        }
    }
}

struct EvictAtEnd<'a>(&'a Local);

impl Drop for EvictAtEnd<'_> {
    fn drop(&mut self) {
        self.0.in_own.set(false);
        if let Some(reactor) = self.0.bed.reactor() {
            reactor.evict();
        }
    }
}

/// A value that one thread uses and any may drop.
pub(crate) struct OneThread<T> {
    owner: u64,
    value: T,
}

// SAFETY: `Sync` would let two threads share a `T`. (1) The only access to `value` through a shared reference is `get`,
// which returns it to the owner only: numbers of threads are never used twice. (2) References that `get` returns do not
// leave the thread, `T` being `!Sync` and therefore `&T` being `!Send`; if `T` is `Sync`, they may. (3) Dropping or
// moving it on another thread is what `T: Send` allows.
unsafe impl<T: Send> Sync for OneThread<T> {}

impl<T> OneThread<T> {
    pub(crate) fn new(value: T) -> OneThread<T> {
        OneThread {
            owner: thread_number(),
            value,
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        (self.owner == thread_number()).then_some(&self.value)
    }
}

/// This thread's number: not zero, and never another thread's, not even after its end. Works in thread-local
/// destructors, and is cheaper than `ThreadId`.
fn thread_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    match NUMBER.get() {
        0 => {
            // Relaxed: read-modify-writes of one word never give the same number twice.
            let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            NUMBER.set(number);
            number
        }
        number => number,
    }
}
