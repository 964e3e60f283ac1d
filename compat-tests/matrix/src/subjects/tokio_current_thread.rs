//! tokio on one thread, without its I/O driver. Its timers run, beside ours.

use std::sync::Arc;
use std::time::Duration;

use untether_conformance::{Abilities, Root, Spawner, Subject, Task};

#[derive(Debug)]
pub(super) struct TokioCurrentThread;

impl Subject for TokioCurrentThread {
    fn name(&self) -> &str {
        "tokio-current-thread"
    }

    fn run(&self, root: Root) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("no runtime")
            .block_on(root);
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
            own_timers: true,
            ..Abilities::default()
        }
    }
}
