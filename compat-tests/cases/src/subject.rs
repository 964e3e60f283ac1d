//! What a runtime must offer to be tested: it runs a root future, and spawns tasks if it can.
//!
//! A subject is a recipe for a runtime, not a running one: `run` starts afresh each time, on the thread that calls
//! it, and several threads may be inside `run` at once. That is what lets cases share a subject, nest runs, and move
//! a source from one executor to another.
//!
//! Not here: how a runtime drives untether's reactor. A subject need not know that there is one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The future that a run is about. It stays on the thread that called [`Subject::run`].
pub type Root = Pin<Box<dyn Future<Output = ()>>>;

/// A task that may be polled on any thread.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task that must stay on the thread that spawned it.
pub type LocalTask = Pin<Box<dyn Future<Output = ()>>>;

/// Gives tasks to a run, from wherever it is called.
pub type Spawner = Arc<dyn Fn(Task) + Send + Sync>;

/// A runtime under test.
///
/// Only [`name`](Subject::name) and [`run`](Subject::run) are required. A runtime that cannot spawn is tested all
/// the same: the cases then join their tasks inside the root future, each with a waker of its own.
pub trait Subject: Send + Sync {
    /// What the report calls it: one word, unique among the subjects of a run.
    fn name(&self) -> &str;

    /// Starts the runtime on this thread, polls `root` to its end, and stops the runtime.
    ///
    /// A panic of `root` comes out of this call. Cases call it from several threads at once, any number of times,
    /// and from inside itself if [`Abilities::nests`] says so.
    fn run(&self, root: Root);

    /// Gives a task to the runtime whose `run` is under way on this thread: the root future calls this. Returns the
    /// task if the runtime cannot spawn.
    ///
    /// # Errors
    /// The task itself, untouched: this runtime takes none.
    fn spawn(&self, task: Task) -> Result<(), Task> {
        Err(task)
    }

    /// The same for a task that must stay on this thread.
    ///
    /// # Errors
    /// The task itself, untouched: this runtime takes none.
    fn spawn_local(&self, task: LocalTask) -> Result<(), LocalTask> {
        Err(task)
    }

    /// A way to give tasks to the run that is under way on this thread, from its tasks and from other threads. The root
    /// future calls this, and lets go of the spawner before it ends.
    fn spawner(&self) -> Option<Spawner> {
        None
    }

    /// A future that ends after `duration` by the runtime's own clock, if it has one beside untether's.
    fn own_sleep(&self, duration: Duration) -> Option<Task> {
        let _ = duration;
        None
    }

    /// What the runtime can do beyond the minimum.
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }
}

impl fmt::Debug for dyn Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("name", &self.name())
            .field("abilities", &self.abilities())
            .finish()
    }
}

/// What a runtime can do beyond the minimum. A case that needs more is skipped, with the reason in the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// `spawn` takes tasks.
    pub spawns: bool,
    /// `spawn_local` takes tasks.
    pub spawns_local: bool,
    /// Spawned tasks may be polled on several threads at once.
    pub many_threads: bool,
    /// `run` may be called from inside a future that it polls.
    pub nests: bool,
    /// `own_sleep` returns something.
    pub own_timers: bool,
    /// It takes a millisecond or so from a wake to the poll, by design.
    pub polls_late: bool,
    /// Its timers go by a time of its own, which jumps to the next one when there is nothing to do: time that threads, the
    /// system, or another run take does not count there.
    pub virtual_time: bool,
    /// It polls futures that were not woken, by design: futures must bear that, and it is no mistake.
    pub polls_unasked: bool,
}
