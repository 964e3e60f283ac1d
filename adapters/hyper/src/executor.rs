//! Executors, from `Spawn` and `LocalSpawn` to hyper's trait.
//!
//! Two types, because hyper's trait is one, and a future that need not be `Send` fits only one of ours.

use std::future::Future;

use hyper::rt;
use untether_executors::{LocalSpawn, Spawn};

/// An executor for hyper: anything that implements [`Spawn`], a `PoolHandle` for instance. Tasks are detached.
///
/// hyper needs one for HTTP/2, where each request is a task, and clones it, so wrap a handle, or an `Arc` of the executor.
///
/// # Examples
///
/// ```
/// use hyper::rt::Executor as _;
/// use untether_executors::Pool;
/// use untether_hyper::Executor;
///
/// let pool = Pool::new(1)?;
/// let (sender, receiver) = std::sync::mpsc::channel();
/// Executor(pool.handle()).execute(async move { sender.send("here").unwrap() });
/// assert_eq!(receiver.recv(), Ok("here"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Executor<S>(pub S);

impl<S, F> rt::Executor<F> for Executor<S>
where
    S: Spawn,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future).detach();
    }
}

/// As [`Executor`], for anything that implements [`LocalSpawn`]: services and their futures need not be `Send` then.
///
/// # Examples
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use hyper::rt::Executor as _;
/// use untether_executors::{Local, yield_now};
/// use untether_hyper::LocalExecutor;
///
/// let local = Local::new();
/// let visits = Rc::new(Cell::new(0));
/// let counted = visits.clone();
/// LocalExecutor(local.handle()).execute(async move { counted.set(1) });
/// local.run(yield_now());
/// assert_eq!(visits.get(), 1);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalExecutor<S>(pub S);

impl<S, F> rt::Executor<F> for LocalExecutor<S>
where
    S: LocalSpawn,
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_local(future).detach();
    }
}
