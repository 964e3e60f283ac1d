//! Work that blocks its thread, on threads that are there for it: those of the crate `blocking`, which smol's world
//! shares, so that a program has one such pool and not two.

use crate::Task;

use crate::sim;

/// Runs a function that computes for long, or blocks, on a thread of its own kind, so that no executor waits for it.
///
/// Unlike the tasks of an executor, it needs none: the task can be awaited anywhere. The threads are those of the crate
/// [`blocking`](https://docs.rs/blocking): they start when needed, up to 500 (the environment variable
/// `BLOCKING_MAX_THREADS` sets another limit), and end when idle. Awaiting the task gives the output, or the panic.
///
/// Called inside of a [`Sim`](crate::Sim), it starts a task there that waits for the answer, so that the simulation knows.
///
/// # Cancel safety
/// A task that is dropped, or cancelled, before a thread has begun it never runs. A function that has begun cannot be
/// stopped: it runs to its end, and its output is dropped. [`Task::detach`] lets it run without anybody waiting. The
/// end of the process does not wait for it.
///
/// # Examples
///
/// ```
/// use std::fs;
/// use untether_executors::{block_on, spawn_blocking};
///
/// block_on(async {
///     let is_there = spawn_blocking(|| fs::exists("Cargo.toml")).await?;
///     assert!(is_there);
///     std::io::Result::Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn spawn_blocking<T, F>(f: F) -> Task<T, ()>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    sim::accompany(blocking::unblock(f))
}
