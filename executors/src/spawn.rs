//! What "interchangeable" means: code that starts tasks asks for one of these two traits, and runs on every executor
//! that has it.
//!
//! Each trait has two methods, because one cannot be both generic and callable through `dyn`. `spawn` takes any future
//! and returns its output; `spawn_boxed` is the object-safe core, for a library that stores an executor without
//! becoming generic over it. Behind `dyn` a task has no output: it could only be had by a second allocation, and who
//! needs it can send it over a channel.
//!
//! Each of the two comes with a twin that takes a name. An executor that knows no names leaves them out.
//!
//! Not here: how an executor keeps its promises to a task (`task`).

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::task::Task;

/// An executor, or a handle to one, that runs futures which may move between threads.
///
/// A task runs as soon as its executor gets to it, whether or not anybody awaits it. Dropping the [`Task`] cancels it:
/// its future is dropped by the executor, at the latest when that next runs. [`Task::detach`] lets it run on. Awaiting
/// it gives the output, or the panic: a task that panics harms nobody but whoever awaits it. A panic that nobody awaits
/// (the task was detached) has been printed by the panic hook and goes no further.
///
/// When the executor ends, so do its tasks; awaiting one panics then. [`Task::fallible`] gives `None` instead. So it
/// does for a task spawned too late, on a handle whose executor is gone.
///
/// # Examples
///
/// ```
/// use untether_executors::{Pool, Spawn, block_on};
///
/// async fn sum_of_squares(spawner: &impl Spawn) -> u64 {
///     let tasks: Vec<_> = (1..=3).map(|n: u64| spawner.spawn(async move { n * n })).collect();
///     let mut sum = 0;
///     for task in tasks {
///         sum += task.await;
///     }
///     sum
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let pool = Pool::new(2)?;
/// assert_eq!(block_on(sum_of_squares(&pool)), 14);
/// # Ok(())
/// # }
/// ```
pub trait Spawn {
    /// Starts a task.
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        Self: Sized,
        F: Future + Send + 'static,
        F::Output: Send + 'static;

    /// Starts a task, also through `&dyn Spawn`.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::{Pool, Spawn};
    ///
    /// let pool = Pool::new(1)?;
    /// let spawner: &dyn Spawn = &pool;
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// spawner.spawn_boxed(Box::pin(async move { sender.send("here").unwrap() })).detach();
    /// assert_eq!(receiver.recv(), Ok("here"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()>;

    /// Starts a task with a name, which [`Hooks`](crate::Hooks) see. Executors that have no use for names ignore it, and
    /// so does the method as provided.
    ///
    /// # Examples
    ///
    /// ```
    /// use untether_executors::{Pool, Spawn, Task};
    ///
    /// fn start(spawner: &impl Spawn, number: u32) -> Task<()> {
    ///     spawner.spawn_named(format!("connection {number}"), async { /* .. */ })
    /// }
    /// # start(&Pool::new(1)?, 3).detach();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        Self: Sized,
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        drop(name.into());
        self.spawn(future)
    }

    /// Starts a task with a name, also through `&dyn Spawn`. See [`Spawn::spawn_named`].
    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        drop(name);
        self.spawn_boxed(future)
    }
}

/// An executor, or a handle to one, that runs futures on the thread where it lives, so that they need not be `Send`.
///
/// What is said about tasks at [`Spawn`] holds here as well.
pub trait LocalSpawn {
    /// Starts a task on this thread.
    fn spawn_local<F>(&self, future: F) -> Task<F::Output>
    where
        Self: Sized,
        F: Future + 'static,
        F::Output: 'static;

    /// Starts a task on this thread, also through `&dyn LocalSpawn`.
    fn spawn_local_boxed(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Task<()>;

    /// Starts a task with a name on this thread. See [`Spawn::spawn_named`].
    fn spawn_local_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        Self: Sized,
        F: Future + 'static,
        F::Output: 'static,
    {
        drop(name.into());
        self.spawn_local(future)
    }

    /// Starts a task with a name on this thread, also through `&dyn LocalSpawn`. See [`Spawn::spawn_named`].
    fn spawn_local_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Task<()> {
        drop(name);
        self.spawn_local_boxed(future)
    }
}

// Plain impls and no macro: three owners of an executor, each its own.

impl<S: Spawn> Spawn for &S {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        S::spawn(self, future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        S::spawn_boxed(self, future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        S::spawn_named(self, name, future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        S::spawn_boxed_named(self, name, future)
    }
}

impl<S: Spawn> Spawn for Arc<S> {
    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        S::spawn(self, future)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Task<()> {
        S::spawn_boxed(self, future)
    }

    fn spawn_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        S::spawn_named(self, name, future)
    }

    fn spawn_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Task<()> {
        S::spawn_boxed_named(self, name, future)
    }
}

impl<S: LocalSpawn> LocalSpawn for &S {
    fn spawn_local<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        S::spawn_local(self, future)
    }

    fn spawn_local_boxed(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Task<()> {
        S::spawn_local_boxed(self, future)
    }

    fn spawn_local_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        S::spawn_local_named(self, name, future)
    }

    fn spawn_local_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Task<()> {
        S::spawn_local_boxed_named(self, name, future)
    }
}

impl<S: LocalSpawn> LocalSpawn for Rc<S> {
    fn spawn_local<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        S::spawn_local(self, future)
    }

    fn spawn_local_boxed(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Task<()> {
        S::spawn_local_boxed(self, future)
    }

    fn spawn_local_named<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        S::spawn_local_named(self, name, future)
    }

    fn spawn_local_boxed_named(
        &self,
        name: Cow<'static, str>,
        future: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Task<()> {
        S::spawn_local_boxed_named(self, name, future)
    }
}
