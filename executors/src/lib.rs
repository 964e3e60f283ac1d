//! Interchangeable executors that drive [untether] while they wait.
//!
//! | job                                                                  | executor     | tasks may be | threads     |
//! |----------------------------------------------------------------------|--------------|--------------|-------------|
//! | wait for one future: `main`, a test, a plain thread                  | [`block_on()`] | one, `!Send` | this one    |
//! | many tasks that share data without locks; lowest cost per event      | [`Local`]    | `!Send`      | this one    |
//! | the same, a step at a time, inside a game loop or a test              | [`Local::try_tick`] | `!Send` | this one    |
//! | tasks that compute, or more of them than one core can serve          | [`Pool`]     | `Send`       | its own     |
//! | connections that have little to do with each other, on many cores     | [`PerCore`]  | `!Send`      | its own, one per core |
//! | tasks of which some are more urgent than others                      | [`Priority`] | `Send`       | its own     |
//! | looking for mistakes in the order of things: every choice by a seed, virtual time | [`Sim`] | `!Send` | this one |
//! | one call that blocks or computes for long                             | [`spawn_blocking()`] | a function, `Send` | those of `blocking` |
//! | a library that starts tasks on whatever its user has                 | [`Spawn`], [`LocalSpawn`] | |            |
//!
//! All of them own a reactor and park in it, so an event is handled by the thread that runs the task, and no thread
//! exists for I/O alone. None is needed for untether's sources and timers to work: any other executor will do, and a
//! future may move from one to another. They nest in each other, too: `block_on` inside a task drives the reactor of
//! the executor around it.
//!
//! In all of them, a panic in a task reaches whoever awaits it and nobody else; dropping a [`Task`] cancels it; dropping
//! the executor drops the futures of all its tasks, once each. A panic in the destructor of a task's future is printed
//! by the panic hook, and goes no further. Two panics are not survived, because async-task aborts the process then: one
//! in the waker of whoever awaits a task (called, cloned or dropped), and one in the destructor of what a detached task
//! returns or panics with.
//!
//! Every task has a number ([`TaskId`]) and, if it was started with one, a name; [`Hooks`] see both at each poll and each
//! panic. [`Metrics`] say what an executor has done and is doing. [`yield_now()`] lets others run; [`spawn_blocking()`]
//! takes work that blocks its thread elsewhere.
//!
//! With the feature `futures-task` they are `futures_task::{Spawn, LocalSpawn}` as well, for libraries that ask for these.
//!
//! Programs to read and run are in `examples/`: a chat server (`Local`), a connection pool (`Pool`), a TCP proxy
//! (`PerCore`), and a job queue (`Priority`).
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//! use untether::Timer;
//! use untether_executors::{Local, Pool, block_on};
//!
//! async fn nap() -> &'static str {
//!     Timer::after(Duration::from_millis(1)).await;
//!     "rested"
//! }
//!
//! assert_eq!(block_on(nap()), "rested");
//!
//! let local = Local::new();
//! assert_eq!(local.run(local.spawn(nap())), "rested");
//!
//! let pool = Pool::new(2)?;
//! assert_eq!(block_on(pool.spawn(nap())), "rested");
//! # Ok::<(), std::io::Error>(())
//! ```

// Under loom only the proved parts are built, without the reactor.
#[cfg(not(loom))]
mod about;
#[cfg(all(not(loom), feature = "futures-task"))]
mod futures_task;
#[cfg(not(loom))]
mod hooks;
#[cfg(not(loom))]
mod metrics;
#[cfg(not(loom))]
mod spawn;
#[cfg(not(loom))]
mod spawn_blocking;
#[cfg(not(loom))]
mod task;
#[cfg(not(loom))]
mod yield_now;

#[cfg(not(loom))]
mod block_on;
#[cfg(not(loom))]
mod local;
#[cfg(not(loom))]
mod per_core;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod priority;
#[cfg(not(loom))]
mod scope;
#[cfg(not(loom))]
pub mod sim;

#[cfg(not(loom))]
mod bed;
mod bell;
#[cfg(loom)]
#[path = "pool/ending.rs"]
mod ending;
#[cfg(not(loom))]
mod os;
#[cfg(loom)]
#[path = "pool/sleepers.rs"]
#[allow(dead_code, reason = "the model is of a part")]
mod sleepers;
#[cfg(loom)]
#[path = "pool/slot.rs"]
#[allow(dead_code, reason = "the model is of a part")]
mod slot;
mod sync;

#[cfg(not(loom))]
pub use self::{
    about::{TaskId, TaskInfo},
    block_on::block_on,
    hooks::Hooks,
    local::{Local, LocalHandle, Remote},
    metrics::Metrics,
    per_core::{Here, PerCore, PerCoreBuilder, PerCoreHandle, shared_listeners},
    pool::{Pool, PoolBuilder, PoolHandle},
    priority::{Class, Priority, PriorityBuilder, PriorityHandle},
    scope::{Scope, ScopedTask},
    sim::{Sim, SimBuilder, SimHandle, SimRemote},
    spawn::{LocalSpawn, Spawn},
    spawn_blocking::spawn_blocking,
    task::{FallibleTask, Task, TaskData},
    yield_now::{YieldNow, yield_now},
};
