//! Work stealing: the public face.
//!
//! The workers share one reactor. A worker without work parks in it: one drives, the others sleep, and a task woken by
//! an event runs on the thread that had the event (`pool/worker`). Where tasks wait is in `pool/queues`; who is woken
//! for them, and the proof that none is forgotten, in `pool/sleepers`.
//!
//! The end: `drop` closes the pool and wakes all workers, and each leaves after the task that it is running. Meanwhile
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
use std::time::Duration;

use async_task::{Runnable, Task};
use untether::{Parker, Reactor, Unparker};

use crate::about::TaskInfo;
use crate::bed::Plain;
use crate::hooks::{Hooks, ThreadHook};
use crate::metrics::{Counters, Metrics};
use crate::os;
use crate::spawn::Spawn;
use crate::sync::{AtomicBool, AtomicUsize, Ordering, fence};
use crate::task::{self, Home, Live};

mod queues;
pub(crate) mod sleepers;
mod worker;

pub(crate) use self::worker::step_aside;

use self::queues::Queues;
use self::sleepers::{Call, Sleepers, WORKERS_MAX};

/// An executor of several threads that take work from each other.
///
/// Its tasks run from the moment they are spawned until the pool is dropped. The threads share a reactor: what a task
/// waits for is handled by the thread that the event reaches, which then runs the task itself. Short tasks stay
/// together on one thread, and spread when there is more than 0.1 ms of work waiting; a task that computes without
/// pausing delays others, and I/O, by 1 to 2 ms at most, as long as another worker is idle.
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
            shared.queues.drain();
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
    /// keeps caches warm, and beside other busy threads it makes a pool wait for them. Default: no.
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
        let reactor = Reactor::new()?;
        let parkers: Vec<_> = (0..threads).map(|_| Parker::new(&reactor)).collect();
        let shared = Arc::new(Shared {
            reactor,
            queues: Queues::new(threads),
            sleepers: Sleepers::new(threads),
            // One part for each worker, and one for everybody else.
            live: Live::new(threads + 1),
            hooks: self.hooks,
            closed: AtomicBool::new(false),
            present: AtomicUsize::new(0),
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
    live: Live,
    hooks: Hooks,
    closed: AtomicBool,
    /// How many workers have not left.
    present: AtomicUsize,
    /// Where `drop` waits for workers to leave and for tasks to be queued after the close.
    end: Plain,
    workers: Box<[Bedroom]>,
}

/// Where a worker sleeps: in the reactor, or, on watch, beside it.
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
        self.unpark(self.sleepers.call());
        if self.is_closed() {
            self.end.call();
        }
    }

    fn unpark(&self, call: Option<Call>) {
        if let Some(call) = call {
            let worker = &self.workers[call.worker];
            worker.unparker.unpark();
            if call.on_watch {
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
        // Acquire is not needed: it is a request to stop, and publishes nothing.
        self.closed.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.live.close();
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        for worker in &self.workers {
            worker.unparker.unpark();
            worker.nap.call();
        }
    }

    /// A worker goes; the last one drops all futures that are alive.
    fn leave(&self) {
        // Release: our last task comes before the end. Acquire: the end comes after everybody's.
        if self.present.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.live.end(|| self.queues.drain());
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

    fn schedule(&self, runnable: Runnable, while_running: bool) {
        if self.is_closed() {
            // To be dropped, but not here: who knows what locks are held by who calls a waker.
            self.queues.inject(runnable);
            self.end.call();
        } else if let Err(runnable) = worker::schedule(self, runnable, while_running) {
            self.queues.inject(runnable);
            self.call();
        }
    }
}
