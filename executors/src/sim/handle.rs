//! Handles: starting tasks from inside tasks and from other threads, and what a program may ask its simulation.
//!
//! Not here: what starting means (`member`).

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::{self, Outside};
use super::shared::Shared;
use super::{Sim, member};
use crate::spawn::{LocalSpawn, Spawn};
use crate::task::Task;

/// The handle of the [`Sim`] that runs on this thread, the innermost if they nest: how a program that is checked reaches
/// its executor.
///
/// # Panics
/// Outside of [`Sim::run`], and of what it polls.
///
/// # Examples
///
/// ```
/// use untether_executors::{Sim, sim};
///
/// let sim = Sim::new(17);
/// assert_eq!(sim.run(async { sim::handle().spawn(async { 42 }).await }), 42);
/// ```
pub fn handle() -> SimHandle {
    let sim = clock::running();
    SimHandle::new(&sim.expect("no simulation runs on this thread; call this inside of Sim::run"))
}

/// Starts tasks on a [`Sim`] from inside its tasks, and tells its time. It does not keep the executor alive: tasks started
/// too late are cancelled.
#[derive(Clone)]
pub struct SimHandle {
    shared: Arc<Shared>,
    not_send: PhantomData<Rc<()>>,
}

impl SimHandle {
    pub(super) fn new(shared: &Arc<Shared>) -> SimHandle {
        SimHandle {
            shared: shared.clone(),
            not_send: PhantomData,
        }
    }

    /// Starts a task. See [`Sim::spawn`].
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        member::spawn_local(&self.shared, None, future)
    }

    /// Starts a task with a name. See [`Sim::spawn_named`].
    pub fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        member::spawn_local(&self.shared, Some(name.into()), future)
    }

    /// A handle that may be sent.
    pub fn remote(&self) -> SimRemote {
        SimRemote::new(&self.shared)
    }

    /// The time in the simulation. Use it where a program would ask `Instant::now`, which is the machine's.
    pub fn now(&self) -> Instant {
        self.shared.time.now()
    }

    /// How much time has passed in the simulation since it was made.
    pub fn elapsed(&self) -> Duration {
        self.shared.time.elapsed()
    }

    /// A random number, the next of a sequence that the seed begins: the same in each run of one schedule. For what the
    /// program itself leaves to chance, or to seed a generator of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::{Sim, sim};
    ///
    /// let draw = || Sim::new(17).run(async { [sim::handle().random(), sim::handle().random()] });
    /// assert_eq!(draw(), draw());
    /// ```
    pub fn random(&self) -> u64 {
        let mine = self.shared.mine.get().expect("a SimHandle is not Send");
        mine.random.borrow_mut().next()
    }

    /// Says that something is awaited from outside, where the simulation cannot see it: from another thread, say. While the
    /// guard lives, there is no deadlock, and before time jumps, the world is given a moment
    /// ([`patience`](super::SimBuilder::patience)), as if I/O were waited for.
    ///
    /// Let the task hold it that waits, until it has been woken: dropped elsewhere and sooner, it might be missed.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::thread;
    /// use untether_executors::{Sim, sim};
    ///
    /// let (sender, receiver) = futures::channel::oneshot::channel();
    /// Sim::new(17).run(async {
    ///     let _outside = sim::handle().outside();
    ///     let other = thread::spawn(move || sender.send(42).unwrap());
    ///     assert_eq!(receiver.await, Ok(42));
    ///     other.join().unwrap();
    /// });
    /// ```
    pub fn outside(&self) -> Outside {
        Outside::new(&self.shared)
    }

    /// Whether tasks started now would be cancelled at once.
    #[cfg(feature = "futures-task")]
    pub(crate) fn is_ended(&self) -> bool {
        self.shared.live.is_closed()
    }
}

/// Starts `Send` tasks on a [`Sim`] from any thread, or from tasks that must be `Send` themselves. It does not keep the
/// executor alive: tasks started too late are cancelled.
///
/// On the simulation's own thread that is as deterministic as anything; a task from another thread comes from outside.
#[derive(Clone)]
pub struct SimRemote {
    shared: Arc<Shared>,
}

impl SimRemote {
    pub(super) fn new(shared: &Arc<Shared>) -> SimRemote {
        SimRemote {
            shared: shared.clone(),
        }
    }

    /// Whether tasks started now would be cancelled at once.
    #[cfg(feature = "futures-task")]
    pub(crate) fn is_ended(&self) -> bool {
        self.shared.live.is_closed()
    }
}

/// A task whose work is done outside, on some other thread: inside of a simulation it is awaited by a task of that, so
/// that the simulation waits for it.
pub(crate) fn accompany<T: Send + 'static>(task: Task<T, ()>) -> Task<T, ()> {
    let Some(sim) = clock::running() else {
        return task;
    };
    let outside = Outside::new(&sim);
    let member = member::spawn(&sim, Some("spawn_blocking".into()), async move {
        let output = task.await;
        drop(outside);
        output
    });
    // What `blocking` gives has no metadata, so what we give has none. It only looks whether the other is done: it can be
    // polled by whoever wakes it.
    let poll = |runnable: async_task::Runnable| {
        runnable.run();
    };
    let (runnable, task) = async_task::Builder::new()
        .propagate_panic(true)
        .spawn(|()| member, poll);
    runnable.schedule();
    task
}

impl LocalSpawn for Sim {
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

impl Spawn for Sim {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Sim::spawn(self, future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        Sim::spawn(self, future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Sim::spawn_named(self, name, future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        Sim::spawn_named(self, name, future)
    }
}

impl LocalSpawn for SimHandle {
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

impl Spawn for SimHandle {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        SimHandle::spawn(self, future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        SimHandle::spawn(self, future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        SimHandle::spawn_named(self, name, future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        SimHandle::spawn_named(self, name, future)
    }
}

impl Spawn for SimRemote {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        member::spawn(&self.shared, None, future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        self.spawn(future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        member::spawn(&self.shared, Some(name.into()), future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        self.spawn_named(name, future)
    }
}

impl fmt::Debug for SimHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimHandle")
    }
}

impl fmt::Debug for SimRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimRemote")
    }
}
