//! Work stealing: the public face.
//!
//! The workers share one reactor. Of those without work one sleeps in it, and drives; the others sleep beside it, and a
//! task woken by an event runs on the thread that had the event (`pool/worker`). Where tasks wait is in `pool/queues` and
//! `pool/slot`; who is woken for them, and the proof that none is forgotten, in `pool/sleepers`. Tasks that borrow are
//! another matter (`scope`).
//!
//! The end: `shutdown` waits for the tasks (`pool/ending`). Then, `drop` closes the pool and wakes all workers, and each leaves after the task that it is running. Meanwhile
//! `drop` drops the futures of all other tasks, again and again, so that a worker whose task blocks on another one is
//! not blocked for ever. The last worker drops what is left and shuts the reactor down (`Shared::leave`); it is joined.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::io;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use untether::{Parker, Reactor, Unparker};

use crate::about::TaskInfo;
use crate::bed::Plain;
use crate::hooks::{Hooks, ThreadHook};
use crate::metrics::{Counters, Metrics};
use crate::os;
use crate::scope::{self, Scope};
use crate::spawn::Spawn;
use crate::sync::{AtomicUsize, Ordering};
use crate::task::{self, Home, Live, Runnable, Task};

mod ending;
mod queues;
pub(crate) mod sleepers;
mod slot;
mod worker;

pub(crate) use self::worker::step_aside;

use self::ending::Ending;
use self::queues::Queues;
use self::sleepers::{Call, Sleepers, WORKERS_MAX};
use self::worker::Average;

/// An executor of several threads that take work from each other.
///
/// Its tasks run from the moment they are spawned until the pool is dropped. The threads share a reactor: what a task
/// waits for is handled by the thread that the event reaches, which then runs the task itself. Short tasks stay
/// together on one thread, the first if it is free, and spread when there is about 0.4 ms of work waiting; tasks that
/// compute for 10 us or more spread at once. A task that computes without pausing delays others, and I/O, by 1 to 2 ms at
/// most, as long as another worker is idle.
///
/// A task that is always ready starves nobody. Those that its thread has queued run before it does again, except that up
/// to 7 polls in a row may go to tasks that were just woken by the one before; what other threads wake or start, and
/// I/O, waits for 61 polls or 1 ms, whichever is first, and for the poll that is running then.
///
/// For tasks that compute, or more of them than one core can serve, if load is to even itself out. The price is that
/// tasks must be `Send`, and that each passes through queues that other threads may take from: about one and a half
/// times the instructions of a [`Local`](crate::Local) for a yield. Where connections have little to do with each other,
/// [`PerCore`](crate::PerCore) saves both, and evens nothing out.
///
/// Dropping the pool drops the futures of all tasks, on this thread or its own, waits for the polls that are running, and
/// joins the threads. When it is dropped on one of its own threads, that one ends after the task that it is running.
///
/// # Examples
///
/// ```
/// use untether_executors::{Pool, block_on};
///
/// let pool = Pool::new(2)?;
/// let tasks: Vec<_> = (0..10).map(|n| pool.spawn(async move { 2 * n })).collect();
/// let sum = block_on(async {
///     let mut sum = 0;
///     for task in tasks {
///         sum += task.await;
///     }
///     sum
/// });
/// assert_eq!(sum, 90);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts tasks on a [`Pool`] from anywhere. It does not keep the pool alive: tasks started too late are cancelled.
#[derive(Clone)]
pub struct PoolHandle {
    shared: Arc<Shared>,
}

/// Makes a [`Pool`] that is not as usual. See [`Pool::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct PoolBuilder {
    threads: Option<usize>,
    name: String,
    stack_size: Option<usize>,
    hooks: Hooks,
    pin: bool,
    on_start: ThreadHook,
    on_stop: ThreadHook,
    reactor: Option<Reactor>,
}

impl Pool {
    /// Makes a pool of so many threads; 0 means one.
    ///
    /// # Errors
    /// If a reactor or a thread cannot be made: the process is out of descriptors or threads.
    pub fn new(threads: usize) -> io::Result<Pool> {
        Pool::builder().threads(threads).build()
    }

    /// Makes a pool in steps.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use untether_executors::{Pool, block_on};
    ///
    /// let pool = Pool::builder().threads(1).name("kitchen").stack_size(256 * 1024).build()?;
    /// let name = block_on(pool.spawn(async { thread::current().name().map(String::from) }));
    /// assert_eq!(name.as_deref(), Some("kitchen-0"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn builder() -> PoolBuilder {
        PoolBuilder {
            threads: None,
            name: String::from("untether-pool"),
            stack_size: None,
            hooks: Hooks::new(),
            pin: false,
            on_start: ThreadHook::default(),
            on_stop: ThreadHook::default(),
            reactor: None,
        }
    }

    /// Starts a task. See [`Spawn`] for what is promised to tasks.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.spawn(TaskInfo::unnamed(), future)
    }

    /// Starts a task with a name, which [`Hooks`] see.
    pub fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.spawn(TaskInfo::named(name), future)
    }

    /// Runs a future, which may borrow anything, on the calling thread, while the workers run the tasks.
    ///
    /// This is [`block_on`](crate::block_on()): what the future itself waits for lives in a reactor of the calling thread,
    /// and the pool's reactor is left to the workers, so that no event of a task takes a detour through this thread.
    ///
    /// Inside a task of this pool it works as well, and the tasks queued on that worker are given to others; but a pool
    /// all of whose workers wait for its own tasks is stuck.
    ///
    /// # Panics
    /// If the future does.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let name = String::from("borrowed");
    /// assert_eq!(pool.block_on(async { pool.spawn(async { 3 }).await + name.len() }), 11);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        crate::block_on(future)
    }

    /// Calls `body`, in which tasks may be started that borrow from here, and waits until all of them are gone.
    ///
    /// This is [`std::thread::scope`] with tasks instead of threads. The calling thread drives what the tasks around it
    /// wait for while it waits, as in [`block_on`](Pool::block_on): what is said there about a pool all of whose workers
    /// wait holds here too. Tasks of the scope may start others in it, and are waited for after a panic of `body` as well.
    ///
    /// There is no form of this that one can await: who forgets a future would leave tasks behind with borrows of what is
    /// gone. It costs two allocations a task more than [`spawn`](Pool::spawn).
    ///
    /// # Panics
    /// If `body` does; or else, in the end, if a task did and nobody has awaited it.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let mut numbers = vec![3, 1, 2];
    /// let (low, high) = numbers.split_at_mut(1);
    /// let sum: i32 = pool.scope(|scope| {
    ///     scope.spawn(async { low[0] *= 10 });
    ///     let high = scope.spawn(async { high.iter().sum::<i32>() });
    ///     pool.block_on(high)
    /// });
    /// assert_eq!((sum, numbers), (3, vec![30, 1, 2]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// What a task borrows must outlive the scope, and what it returns cannot leave it if it borrows from within:
    ///
    /// ```compile_fail,E0373
    /// # let pool = untether_executors::Pool::new(1).unwrap();
    /// pool.scope(|scope| {
    ///     let local = String::from("ends with the closure");
    ///     scope.spawn(async { println!("{local}") });
    /// });
    /// ```
    ///
    /// ```compile_fail,E0521
    /// # let pool = untether_executors::Pool::new(1).unwrap();
    /// let mut leaked = None;
    /// pool.scope(|scope| leaked = Some(scope.spawn(async move { scope })));
    /// ```
    ///
    /// ```compile_fail,E0505
    /// # let pool = untether_executors::Pool::new(1).unwrap();
    /// let text = String::from("borrowed");
    /// pool.scope(|scope| {
    ///     scope.spawn(async { println!("{text}") });
    ///     drop(text);
    /// });
    /// ```
    pub fn scope<'env, F, T>(&self, body: F) -> T
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        scope::run(self.handle(), body)
    }

    /// Waits until no task is left, but not for longer than `timeout`; then ends the pool as dropping it does, which
    /// cancels the rest. Returns how many tasks that were: 0 if all came to their end.
    ///
    /// While it waits everything goes on as before: tasks run, and may start others, as may handles; these are waited for
    /// as well, as often their parents cannot finish without them. So tell your tasks first to take on no more work. As
    /// soon as no task is left, none can be started any more, so none is lost in between. A task that never ends, such
    /// as one that accepts connections, makes it wait for the whole time, unless you cancel it before.
    ///
    /// A zero `timeout` cancels all tasks that are not done. As with dropping the pool, polls that are running are waited
    /// for, after the `timeout` as well. It blocks the calling thread; inside a task of another executor, use
    /// [`spawn_blocking`](crate::spawn_blocking()).
    ///
    /// # Panics
    /// On a thread of this pool, which would wait for itself. The pool is dropped then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::future::pending;
    /// use std::time::Duration;
    /// use untether::Timer;
    /// use untether_executors::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// let late = pool.spawn(async {
    ///     Timer::after(Duration::from_millis(5)).await;
    ///     "done"
    /// });
    /// assert_eq!(pool.shutdown(Duration::from_secs(60)), 0);
    /// assert!(late.is_finished());
    ///
    /// let pool = Pool::new(2)?;
    /// pool.spawn(pending::<()>()).detach();
    /// assert_eq!(pool.shutdown(Duration::from_millis(5)), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(self, timeout: Duration) -> usize {
        let shared = self.shared.clone();
        assert!(
            worker::index_in(&shared).is_none(),
            "shutdown on a thread of the pool would wait for itself: call it elsewhere, or drop the pool",
        );
        let _blocked = step_aside();
        shared.drain(timeout);
        drop(self);
        shared.cancelled.load(Ordering::Relaxed)
    }

    /// A handle that starts tasks from anywhere, for instance from inside tasks.
    pub fn handle(&self) -> PoolHandle {
        PoolHandle {
            shared: self.shared.clone(),
        }
    }

    /// The reactor that the workers share, for sources that are to stay there.
    pub fn reactor(&self) -> &Reactor {
        &self.shared.reactor
    }

    /// What it has done and is doing, all threads together. `queued` includes the tasks that wait for any thread.
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// What each thread has done and is doing. What waits for any thread, or was started on none of them, is only in
    /// [`metrics`](Pool::metrics).
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::Pool;
    ///
    /// let pool = Pool::new(2)?;
    /// for (thread, metrics) in pool.thread_metrics().iter().enumerate() {
    ///     println!("{thread}: {} waiting, {} polls", metrics.queued, metrics.polls);
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn thread_metrics(&self) -> Vec<Metrics> {
        self.shared.worker_metrics()
    }
}

impl Pool {
    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// What each thread counts.
    pub(crate) fn counters(&self) -> Box<[Arc<Counters>]> {
        let workers = self.shared.workers.iter();
        workers.map(|worker| worker.counters.clone()).collect()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.close();
        let this_worker = worker::index_in(shared);
        // Until all others have left. Relaxed: what they did is acquired by joining them.
        while shared.present.load(Ordering::Relaxed) > usize::from(this_worker.is_some()) {
            shared.live.wake_all();
            shared.drop_queued();
            shared.end.sleep();
        }
        for (index, thread) in self.threads.drain(..).enumerate() {
            // A worker cannot wait for itself: let it go.
            if this_worker != Some(index) {
                // A worker does not panic, and if one did, there is nothing left to be done about it.
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads.len())
            .field("queued", &self.shared.queues.len())
            .field("sleepers", &self.shared.sleepers)
            .field("reactor", &self.shared.reactor)
            .finish()
    }
}

impl Spawn for Pool {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.spawn(TaskInfo::unnamed(), future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        self.shared.spawn(TaskInfo::unnamed(), future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.spawn(TaskInfo::named(name), future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        self.spawn_named(name, future)
    }
}

impl PoolHandle {
    /// What the pool has done and is doing, all threads together. See [`Pool::metrics`].
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// What each thread has done and is doing. See [`Pool::thread_metrics`].
    pub fn thread_metrics(&self) -> Vec<Metrics> {
        self.shared.worker_metrics()
    }

    /// Whether tasks started now would be cancelled at once.
    #[cfg(feature = "futures-task")]
    pub(crate) fn is_ended(&self) -> bool {
        self.shared.live.is_closed()
    }

    /// Starts a task. See [`Spawn`] for what is promised to tasks.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.spawn(TaskInfo::unnamed(), future)
    }

    /// Starts a task with a name, which [`Hooks`] see.
    pub fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.spawn(TaskInfo::named(name), future)
    }
}

impl Spawn for PoolHandle {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.spawn(TaskInfo::unnamed(), future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        self.shared.spawn(TaskInfo::unnamed(), future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.spawn(TaskInfo::named(name), future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        self.spawn_named(name, future)
    }
}

impl fmt::Debug for PoolHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolHandle")
    }
}

impl PoolBuilder {
    /// How many threads; 0 means one. Default: as many as the process may run at once.
    pub fn threads(mut self, threads: usize) -> PoolBuilder {
        self.threads = Some(threads);
        self
    }

    /// What the threads are called; a number is added. Default: `untether-pool`.
    pub fn name(mut self, name: impl Into<String>) -> PoolBuilder {
        self.name = name.into();
        self
    }

    /// The bytes of stack of each thread. Default: that of [`std::thread`].
    pub fn stack_size(mut self, bytes: usize) -> PoolBuilder {
        self.stack_size = Some(bytes);
        self
    }

    /// What its tasks are watched by. Default: nothing.
    pub fn hooks(mut self, hooks: Hooks) -> PoolBuilder {
        self.hooks = hooks;
        self
    }

    /// Whether each thread is bound to a processor, in turn out of those that the process may use, where the system can
    /// (Linux, Android) and lets us; elsewhere it means nothing. Worth measuring: with fewer threads than processors it
    /// keeps caches warm, and beside other busy threads it makes a pool wait for them. What one thread can do in time is
    /// left to the first one that is free, hence to the first processors. Default: no.
    pub fn pin(mut self, pin: bool) -> PoolBuilder {
        self.pin = pin;
        self
    }

    /// Called on each thread with its number, the first being 0, before it runs tasks. A panic in it is printed by the
    /// panic hook, and goes no further.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::Pool;
    ///
    /// let pool = Pool::builder()
    ///     .threads(2)
    ///     .on_start(|thread| println!("thread {thread} begins"))
    ///     .on_stop(|thread| println!("thread {thread} ends"))
    ///     .build()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> PoolBuilder {
        self.on_start = ThreadHook::new(hook);
        self
    }

    /// Called on each thread with its number after its last task. All have returned when the pool has been dropped, except
    /// that of the thread that drops it. A panic in it is printed by the panic hook, and goes no further.
    pub fn on_stop(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> PoolBuilder {
        self.on_stop = ThreadHook::new(hook);
        self
    }

    /// The reactor that the threads share, for one that is not as usual. It is the pool's from then on, and is shut down when
    /// the pool ends. Default: a new one.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use untether::Reactor;
    /// use untether_executors::Pool;
    ///
    /// let reactor = Reactor::builder().spin(Duration::from_micros(50)).build()?;
    /// let pool = Pool::builder().threads(2).reactor(reactor).build()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reactor(mut self, reactor: Reactor) -> PoolBuilder {
        self.reactor = Some(reactor);
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// If a reactor or a thread cannot be made: the process is out of descriptors or threads. Also if the name contains
    /// a zero byte.
    pub fn build(self) -> io::Result<Pool> {
        if self.name.contains('\0') {
            let message = "cannot name threads: the name contains a zero byte";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let default = || thread::available_parallelism().map_or(1, NonZero::get);
        let threads = self.threads.unwrap_or_else(default).clamp(1, WORKERS_MAX);
        let reactor = self.reactor.map_or_else(Reactor::new, Ok)?;
        let parkers: Vec<_> = (0..threads).map(|_| Parker::new(&reactor)).collect();
        let shared = Arc::new(Shared {
            reactor,
            queues: Queues::new(threads),
            sleepers: Sleepers::new(threads),
            average: Average::new(),
            // One part for each worker, and one for everybody else.
            live: Live::new(threads + 1),
            hooks: self.hooks,
            ending: Ending::new(),
            present: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            end: Plain::default(),
            workers: parkers.iter().map(Bedroom::new).collect(),
        });

        let cpus = if self.pin { os::cpus() } else { Vec::new() };
        let mut pool = Pool {
            shared,
            threads: Vec::with_capacity(threads),
        };
        for (index, parker) in parkers.into_iter().enumerate() {
            let mut builder = thread::Builder::new().name(format!("{}-{index}", self.name));
            if let Some(bytes) = self.stack_size {
                builder = builder.stack_size(bytes);
            }
            let shared = pool.shared.clone();
            let cpu = (!cpus.is_empty()).then(|| cpus[index % cpus.len()]);
            let (on_start, on_stop) = (self.on_start.clone(), self.on_stop.clone());
            let work = move || {
                if let Some(cpu) = cpu {
                    // Not allowed, in some sandboxes: then it runs where it may.
                    let _ = os::pin(cpu);
                }
                on_start.call(index);
                worker::main(shared, index, parker);
                on_stop.call(index);
            };
            // On an error, dropping the pool ends the threads that there are already. They have no tasks yet.
            pool.shared.present.fetch_add(1, Ordering::Relaxed);
            match builder.spawn(work) {
                Ok(thread) => pool.threads.push(thread),
                Err(error) => {
                    pool.shared.present.fetch_sub(1, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(pool)
    }
}

/// What workers, tasks and handles of one pool share.
struct Shared {
    reactor: Reactor,
    queues: Queues,
    sleepers: Sleepers,
    average: Average,
    live: Live,
    hooks: Hooks,
    ending: Ending,
    /// How many workers have not left.
    present: AtomicUsize,
    /// How many futures were dropped unfinished because the pool ended.
    cancelled: AtomicUsize,
    /// Where `drop` waits for workers to leave and for tasks to be queued after the close.
    end: Plain,
    workers: Box<[Bedroom]>,
}

/// Where a worker sleeps: in the reactor, or beside it.
struct Bedroom {
    unparker: Unparker,
    nap: Plain,
    /// What the worker counts. Its own allocation: nobody else writes near it.
    counters: Arc<Counters>,
}

impl Bedroom {
    fn new(parker: &Parker) -> Bedroom {
        Bedroom {
            unparker: parker.unparker(),
            nap: Plain::default(),
            counters: Arc::default(),
        }
    }
}

impl Shared {
    fn spawn<F>(self: &Arc<Self>, info: TaskInfo, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let hint = worker::index_in(self).unwrap_or(self.workers.len());
        task::spawn(self, hint, info, future)
    }

    /// Calls a worker for what was just queued where any of them can get it.
    fn call(&self) {
        // With a fence first, as has `close`: either what was queued is seen by the drain that follows it, or we see that
        // the pool is closed.
        self.wake(self.sleepers.call());
        if self.is_closed() {
            self.end.call();
        }
    }

    fn wake(&self, call: Option<Call>) {
        if let Some(call) = call {
            let worker = &self.workers[call.worker];
            if call.sits {
                worker.unparker.unpark();
            } else {
                worker.nap.call();
            }
        }
    }

    fn metrics(&self) -> Metrics {
        let elsewhere = Metrics {
            queued: self.queues.injected(),
            ..self.live.metrics(self.workers.len())
        };
        let workers = self.worker_metrics();
        workers.into_iter().fold(elsewhere, Metrics::plus)
    }

    fn worker_metrics(&self) -> Vec<Metrics> {
        let of = |(worker, bedroom): (usize, &Bedroom)| Metrics {
            queued: self.queues.waiting(worker),
            ..bedroom.counters.metrics().plus(self.live.metrics(worker))
        };
        self.workers.iter().enumerate().map(of).collect()
    }

    fn is_closed(&self) -> bool {
        self.ending.is_closed()
    }

    /// Waits until no task is left, or for so long.
    fn drain(&self, at_most: Duration) {
        let deadline = Instant::now().checked_add(at_most);
        self.ending.drain();
        while !self.live.close_if_empty() {
            let left = deadline.map_or(Duration::MAX, |at| {
                at.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return;
            }
            self.end.nap(left);
        }
    }

    /// By a worker, after a task: whoever waits for the last one is told.
    fn has_run(&self) {
        if self.ending.is_draining() && self.live.close_if_empty() {
            self.end.call();
        }
    }

    fn drop_queued(&self) {
        // Relaxed: whoever reads the sum joins us first.
        self.cancelled
            .fetch_add(self.queues.drain(), Ordering::Relaxed);
    }

    fn close(&self) {
        self.live.close();
        self.ending.close();
        for worker in &self.workers {
            worker.unparker.unpark();
            worker.nap.call();
        }
    }

    /// A worker goes; the last one drops all futures that are alive.
    fn leave(&self) {
        // Release: our last task comes before the end. Acquire: the end comes after everybody's.
        if self.present.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.live.end(|| self.drop_queued());
            self.reactor.shutdown();
        }
        self.end.call();
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
        worker::took(self, poll);
    }

    fn schedule(&self, runnable: Runnable, _while_running: bool) {
        let closed = self.is_closed();
        self.queues.inject(runnable);
        if closed {
            // To be dropped, but not here: who knows what locks are held by who calls a waker.
            self.end.call();
        } else {
            self.call();
        }
    }

    #[inline]
    unsafe fn schedule_here(
        home: *const Shared,
        runnable: Runnable,
        while_running: bool,
    ) -> Result<(), Runnable> {
        // A worker has a share of its own.
        worker::schedule(home, runnable, while_running)
    }
}
