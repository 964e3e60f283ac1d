//! Classes of tasks, of which the upper get more turns.
//!
//! A queue for each class, and a [`Pool`] whose tasks are runners, as many as it has threads: each poll of a runner takes
//! one task, of the class that the rota says (`priority/rota`), and runs it. So threads, I/O and the end are the pool's,
//! and what is left to do here is to choose.
//!
//! A runner that finds no task leaves its waker on a list, and whoever queues a task takes one from it. No task is
//! forgotten: who queues pushes first and locks the list then; the runner looks at the queues once more under the lock.
//! Whoever has the lock first, the other sees what it did.
//!
//! The end is the pool's as well (see there): `drop` closes, runners leave, and meanwhile `drop` drops what is queued, so
//! that a task that blocks on another one is not blocked for ever. Tasks run inside runners only; so when the last runner
//! is dropped, by whomever, none is running, and it drops all futures that are left.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use concurrent_queue::ConcurrentQueue;

use crate::about::TaskInfo;
use crate::bed::Plain;
use crate::hooks::Hooks;
use crate::metrics::{Counters, Metrics};
use crate::pool::{Pool, PoolBuilder};
use crate::spawn::Spawn;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, lock};
use crate::task::{self, Home, Live, Runnable, Task};

mod rota;

use self::rota::{CLASSES, Rota};

/// How urgent a task is, compared with others of the same [`Priority`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Class {
    /// Somebody is waiting: 16 turns of 21, unless other weights are set.
    Urgent,
    /// Everything else: 4 turns of 21.
    #[default]
    Normal,
    /// May take its time: 1 turn of 21.
    Background,
}

/// An executor of several threads whose tasks have classes: the upper get more turns, and none starves.
///
/// For a server that must answer while it also tidies up; with tasks that are all alike, a [`Pool`] is
/// faster. There is one queue per class for all threads, in which tasks wait in the order in which they were woken; a
/// task that another wakes does not run next. A turn costs two more queue operations than in a `Pool`, about 2.5 times as
/// much on one thread (a yield: 408 ns against 165 ns on a busy virtual machine), and threads contend for the queues.
///
/// # Fairness
///
/// The weights are 16 (urgent), 4 (normal), and 1 (background), or those of
/// [`weights`](PriorityBuilder::weights). **Among as many turns as the sum of all weights, 21, each class that has tasks
/// waiting all the time gets at least as many as its weight**, spread evenly; a turn is one poll. What a class does
/// not use goes to the uppermost that has tasks waiting. So a task with *n* tasks of its class before it runs after
/// at most ⌈(*n* + 1) / weight⌉ × 21 turns, whatever the other classes do: a single background task waits for 20 others
/// at most. With several threads it is one turn per thread more, because they overtake each other between choosing a
/// class and taking a task.
///
/// It is turns that are shared out, not time: a poll is never interrupted. A background task that computes should
/// [`yield_now`](crate::yield_now()) often.
///
/// The end is that of a [`Pool`].
///
/// # Examples
///
/// ```
/// use untether_executors::{Class, Priority, Spawn, block_on};
///
/// let priority = Priority::new(2)?;
/// let tidy = priority.spawn_at(Class::Background, async { "tidy" });
/// let answer = priority.spawn_at(Class::Urgent, async { "answer" });
/// assert_eq!(block_on(async { (answer.await, tidy.await) }), ("answer", "tidy"));
///
/// // A library that takes any spawner gets the class with it.
/// fn library(spawner: &impl Spawn) {
///     spawner.spawn(async { /* .. */ }).detach();
/// }
/// library(&priority.handle(Class::Background));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Priority {
    handle: PriorityHandle,
    /// Its drop joins the threads.
    pool: Pool,
}

/// Starts tasks of one class on a [`Priority`] from anywhere. It does not keep the executor alive: tasks started too late
/// are cancelled.
#[derive(Clone)]
pub struct PriorityHandle {
    homes: [Arc<Counter>; CLASSES],
    class: Class,
}

/// Makes a [`Priority`] that is not as usual. See [`Priority::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct PriorityBuilder {
    pool: PoolBuilder,
    hooks: Hooks,
    weights: [u8; CLASSES],
}

impl Priority {
    /// Makes an executor of so many threads; 0 means one.
    ///
    /// # Errors
    /// If a reactor or a thread cannot be made: the process is out of descriptors or threads.
    pub fn new(threads: usize) -> io::Result<Priority> {
        Priority::builder().threads(threads).build()
    }

    /// Makes an executor in steps.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::Priority;
    ///
    /// let even = Priority::builder().threads(1).name("clerk").weights(2, 1, 1).build()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn builder() -> PriorityBuilder {
        PriorityBuilder {
            pool: Pool::builder().name("untether-priority"),
            hooks: Hooks::new(),
            weights: [16, 4, 1],
        }
    }

    /// Starts a task of [`Class::Normal`]. See [`Spawn`] for what is promised to tasks.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_at(Class::Normal, future)
    }

    /// Starts a task of a class, which stays the same all its life.
    pub fn spawn_at<F>(&self, class: Class, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.start(class, TaskInfo::unnamed(), future)
    }

    /// A handle that starts tasks of a class from anywhere, for instance from inside tasks.
    pub fn handle(&self, class: Class) -> PriorityHandle {
        self.handle.at(class)
    }

    /// What it has done and is doing, all threads and classes together.
    pub fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }

    /// How many tasks of a class are ready and wait for their turn, at the moment.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::{Class, Priority};
    ///
    /// let priority = Priority::new(1)?;
    /// if priority.queued(Class::Background) > 1_000 {
    ///     eprintln!("there is too much to tidy up");
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn queued(&self, class: Class) -> usize {
        self.handle.queued(class)
    }

    /// Runs a future, which may borrow anything, on the calling thread, while the others run the tasks: as
    /// [`Pool::block_on`](crate::Pool::block_on).
    ///
    /// # Panics
    /// If the future does.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.pool.block_on(future)
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        let shared = self.handle.shared();
        shared.close();
        let ours = usize::from(runner_of(shared).is_some());
        // Until all other runners have left. Relaxed: the pool joins the threads that they were on.
        while shared.present.load(Ordering::Relaxed) > ours {
            shared.live.wake_all();
            shared.drain();
            shared.end.sleep();
        }
    }
}

impl fmt::Debug for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queued = |class: Class| self.queued(class);
        f.debug_struct("Priority")
            .field("urgent", &queued(Class::Urgent))
            .field("normal", &queued(Class::Normal))
            .field("background", &queued(Class::Background))
            .field("pool", &self.pool)
            .finish()
    }
}

impl Spawn for Priority {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_at(Class::Normal, future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        self.spawn_at(Class::Normal, future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle
            .start(Class::Normal, TaskInfo::named(name), future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        self.spawn_named(name, future)
    }
}

impl PriorityHandle {
    /// A handle for another class.
    pub fn at(&self, class: Class) -> PriorityHandle {
        PriorityHandle {
            homes: self.homes.clone(),
            class,
        }
    }

    /// The class of the tasks that it starts.
    pub fn class(&self) -> Class {
        self.class
    }

    /// What the executor has done and is doing, all threads and classes together.
    pub fn metrics(&self) -> Metrics {
        let shared = self.shared();
        let queued = shared.queues.iter().map(ConcurrentQueue::len).sum();
        let parks = shared.threads.iter().map(|thread| thread.metrics().parks);
        let elsewhere = Metrics {
            queued,
            parks: parks.sum(),
            ..shared.live.metrics(shared.runners.len())
        };
        let of = |(index, counters): (usize, &Counters)| {
            counters.metrics().plus(shared.live.metrics(index))
        };
        let runners = shared.runners.iter().enumerate().map(of);
        runners.fold(elsewhere, Metrics::plus)
    }

    /// How many tasks of a class are ready and wait for their turn, at the moment.
    pub fn queued(&self, class: Class) -> usize {
        self.shared().queues[class as usize].len()
    }

    /// Whether tasks started now would be cancelled at once.
    #[cfg(feature = "futures-task")]
    pub(crate) fn is_ended(&self) -> bool {
        self.shared().live.is_closed()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.homes[0].shared
    }

    fn start<F>(&self, class: Class, info: TaskInfo, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let shared = self.shared();
        let hint = runner_of(shared).unwrap_or(shared.runners.len());
        task::spawn(&self.homes[class as usize], hint, info, future)
    }
}

impl Spawn for PriorityHandle {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.start(self.class, TaskInfo::unnamed(), future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        self.spawn(future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.start(self.class, TaskInfo::named(name), future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        self.spawn_named(name, future)
    }
}

impl fmt::Debug for PriorityHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PriorityHandle").field(&self.class).finish()
    }
}

impl PriorityBuilder {
    /// How many threads; 0 means one. Default: as many as the process may run at once.
    pub fn threads(mut self, threads: usize) -> PriorityBuilder {
        self.pool = self.pool.threads(threads);
        self
    }

    /// What the threads are called; a number is added. Default: `untether-priority`.
    pub fn name(mut self, name: impl Into<String>) -> PriorityBuilder {
        self.pool = self.pool.name(name);
        self
    }

    /// The bytes of stack of each thread. Default: that of [`std::thread`].
    pub fn stack_size(mut self, bytes: usize) -> PriorityBuilder {
        self.pool = self.pool.stack_size(bytes);
        self
    }

    /// What its tasks are watched by. Default: nothing.
    pub fn hooks(mut self, hooks: Hooks) -> PriorityBuilder {
        self.hooks = hooks;
        self
    }

    /// Whether each thread is bound to a processor, as [`PoolBuilder::pin`]. Default: no.
    pub fn pin(mut self, pin: bool) -> PriorityBuilder {
        self.pool = self.pool.pin(pin);
        self
    }

    /// Called on each thread with its number, the first being 0, before it runs tasks. A panic in it is printed by the
    /// panic hook, and goes no further.
    pub fn on_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> PriorityBuilder {
        self.pool = self.pool.on_start(hook);
        self
    }

    /// Called on each thread with its number after its last task. All have returned when the executor has been dropped,
    /// except that of the thread that drops it. A panic in it is printed by the panic hook, and goes no further.
    pub fn on_stop(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> PriorityBuilder {
        self.pool = self.pool.on_stop(hook);
        self
    }

    /// How many turns each class gets while all have tasks waiting; 0 means one. Default: 16, 4, and 1.
    pub fn weights(mut self, urgent: u8, normal: u8, background: u8) -> PriorityBuilder {
        self.weights = [urgent, normal, background];
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// If a reactor or a thread cannot be made: the process is out of descriptors or threads. Also if the name contains
    /// a zero byte.
    pub fn build(self) -> io::Result<Priority> {
        let pool = self.pool.build()?;
        let runners = pool.threads();
        let shared = Arc::new(Shared {
            queues: [(); CLASSES].map(|()| ConcurrentQueue::unbounded()),
            rota: Rota::new(self.weights),
            idle: Mutex::new(Vec::with_capacity(runners)),
            // One part for each runner, and one for everybody else.
            live: Live::new(runners + 1),
            hooks: self.hooks,
            closed: AtomicBool::new(false),
            runners: (0..runners).map(|_| Counters::default()).collect(),
            threads: pool.counters(),
            present: AtomicUsize::new(runners),
            end: Plain::default(),
        });
        for index in 0..runners {
            let shared = shared.clone();
            pool.spawn(Runner { shared, index }).detach();
        }
        let home = |class| {
            Arc::new(Counter {
                shared: shared.clone(),
                class,
            })
        };
        let homes = [Class::Urgent, Class::Normal, Class::Background].map(home);
        let class = Class::Normal;
        Ok(Priority {
            handle: PriorityHandle { homes, class },
            pool,
        })
    }
}

/// What runners, tasks and handles share.
struct Shared {
    queues: [ConcurrentQueue<Runnable>; CLASSES],
    rota: Rota,
    /// The runners that have found nothing to do.
    idle: Mutex<Vec<Waker>>,
    live: Live,
    hooks: Hooks,
    closed: AtomicBool,
    /// What each runner counts: written by the thread that polls it.
    runners: Box<[Counters]>,
    /// What the pool's threads count. Of interest here: how often they sleep.
    threads: Box<[Arc<Counters>]>,
    /// How many runners have not left.
    present: AtomicUsize,
    /// Where `drop` waits for runners to leave and for tasks to be queued after the close.
    end: Plain,
}

/// Where the tasks of one class are handed in.
struct Counter {
    shared: Arc<Shared>,
    class: Class,
}

impl Shared {
    fn pop(&self) -> Option<Runnable> {
        let mut classes = self.rota.turn();
        classes.find_map(|class| self.queues[class].pop().ok())
    }

    /// Leaves a waker to be called when there is a task; false if there is one, or the end has come.
    fn idle(&self, waker: Waker) -> bool {
        let mut idle = lock(&self.idle);
        if self.is_closed() || self.queues.iter().any(|queue| !queue.is_empty()) {
            // The waker, a parameter, is dropped after the guard.
            return false;
        }
        idle.push(waker);
        true
    }

    fn is_closed(&self) -> bool {
        // Relaxed: a request to stop, which publishes nothing. Whoever needs to be sure asks under the lock of `idle`.
        self.closed.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.live.close();
        self.closed.store(true, Ordering::Relaxed);
        let idle = std::mem::take(&mut *lock(&self.idle));
        idle.into_iter().for_each(Waker::wake);
    }

    /// Drops every task that is queued.
    fn drain(&self) {
        // One at a time: the destructor of a future may queue.
        while let Some(runnable) = self.queues.iter().find_map(|queue| queue.pop().ok()) {
            drop(runnable);
        }
    }
}

impl Home for Counter {
    fn live(&self) -> &Live {
        &self.shared.live
    }

    fn hooks(&self) -> &Hooks {
        &self.shared.hooks
    }

    fn took(&self, poll: Duration) {
        if let Some(runner) = runner_of(&self.shared) {
            self.shared.runners[runner].took(poll);
        }
    }

    fn schedule(&self, runnable: Runnable, _while_running: bool) {
        let shared = &*self.shared;
        // Never full, and never closed: see `Live` for why nothing is queued after the end.
        let _ = shared.queues[self.class as usize].push(runnable);
        // Locked before the close, the drain that follows it sees the push; locked after it, we see that it is closed.
        let (runner, closed) = {
            let mut idle = lock(&shared.idle);
            (idle.pop(), shared.is_closed())
        };
        if let Some(runner) = runner {
            runner.wake();
        }
        if closed {
            // To be dropped, but not here: who knows what locks are held by who calls a waker.
            shared.end.call();
        }
    }
}

/// A task of the pool that runs the tasks, one per poll.
struct Runner {
    shared: Arc<Shared>,
    index: usize,
}

thread_local! {
    /// The runner that this thread is polling: whose it is, and its index.
    static POLLING: Cell<Option<(*const Shared, usize)>> = const { Cell::new(None) };
}

/// The index of the runner of `shared` that this thread is polling, if it is.
fn runner_of(shared: &Shared) -> Option<usize> {
    let (owner, index) = POLLING.get()?;
    ptr::eq(owner, shared).then_some(index)
}

impl Future for Runner {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &*self.shared;
        if shared.is_closed() {
            return Poll::Ready(());
        }
        match shared.pop() {
            Some(runnable) => {
                let counters = &shared.runners[self.index];
                let outer = POLLING.replace(Some((shared, self.index)));
                counters.begin();
                // Does not unwind (`task`).
                runnable.run();
                counters.end();
                POLLING.set(outer);
                cx.waker().wake_by_ref();
            }
            None => {
                if !shared.idle(cx.waker().clone()) {
                    cx.waker().wake_by_ref();
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let shared = &*self.shared;
        // Release: our last task comes before the end. Acquire: the end comes after everybody's.
        if shared.present.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.live.end(|| shared.drain());
        }
        shared.end.call();
    }
}
