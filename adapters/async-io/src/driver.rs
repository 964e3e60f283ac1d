//! `block_on`, as async-io's users know it: all threads that block share one reactor, and drive it in turn.
//!
//! untether's own `block_on` has a reactor to itself. Here tasks wander: the threads of smol's executor are calls of
//! `block_on` that share their tasks, and a source that followed its task from one private reactor to the next would be
//! registered anew at every other wait. So they are all guests of the global reactor, whose thread steps in when all of
//! them are busy.
//!
//! Not here: who of several guests drives (`untether::Parker`).

use std::future::Future;

use untether::Reactor;

/// Runs a future on this thread until it is done, and drives I/O and timers while it waits.
///
/// All threads that are in here drive one reactor, one of them at a time: the one whose tasks had the last events. If it
/// computes, or sleeps in somebody else's `block_on`, another takes over within some eight milliseconds; if all do, a
/// thread named "untether". Calls nest. Inside an executor of untether's, the call drives that executor's reactor.
///
/// # Panics
/// If the future does. The thread can be used as before.
///
/// ```
/// use std::time::Duration;
/// use async_io::{Timer, block_on};
///
/// block_on(Timer::after(Duration::from_millis(1)));
/// ```
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    match Reactor::entered() {
        Some(_) => untether_executors::block_on(future),
        None => Reactor::global().enter(|| untether_executors::block_on(future)),
    }
}
