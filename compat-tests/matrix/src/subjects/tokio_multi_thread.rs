//! tokio with two workers, without its I/O driver. Its timers run, beside ours.

use std::sync::Arc;
use std::time::Duration;

use untether_conformance::{Abilities, Root, Spawner, Subject, Task};

#[derive(Debug)]
pub(super) struct TokioMultiThread;

impl Subject for TokioMultiThread {
    fn name(&self) -> &str {
        "tokio-multi-thread"
    }

    fn run(&self, root: Root) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .expect("no runtime");
        runtime.block_on(root);
        // Not to wait for a task that a case has left behind.
        runtime.shutdown_background();
    }

    fn spawn(&self, task: Task) -> Result<(), Task> {
        drop(tokio::spawn(task));
        Ok(())
    }

    fn own_sleep(&self, duration: Duration) -> Option<Task> {
        Some(Box::pin(tokio::time::sleep(duration)))
    }

    fn spawner(&self) -> Option<Spawner> {
        let handle = tokio::runtime::Handle::current();
        Some(Arc::new(move |task| drop(handle.spawn(task))))
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            spawns: true,
            many_threads: true,
            own_timers: true,
            ..Abilities::default()
        }
    }
}
