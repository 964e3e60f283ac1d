//! `futures::executor::ThreadPool`: tasks on two threads, beside `futures::executor::block_on` for the root.

use std::cell::RefCell;
use std::sync::Arc;

use futures_executor::{ThreadPool, ThreadPoolBuilder, block_on};
use untether_conformance::{Abilities, Root, Spawner, Subject, Task};

#[derive(Debug)]
pub(super) struct FuturesThreadPool;

thread_local! {
    /// The pool of the run on this thread.
    static POOL: RefCell<Option<ThreadPool>> = const { RefCell::new(None) };
}

impl Subject for FuturesThreadPool {
    fn name(&self) -> &str {
        "futures-thread-pool"
    }

    fn run(&self, root: Root) {
        let pool = ThreadPoolBuilder::new()
            .pool_size(2)
            .create()
            .expect("no threads for the pool");
        POOL.set(Some(pool));
        block_on(root);
        POOL.take();
    }

    fn spawn(&self, task: Task) -> Result<(), Task> {
        POOL.with_borrow(|pool| {
            let pool = pool.as_ref().expect("spawned outside the root future");
            pool.spawn_ok(task);
        });
        Ok(())
    }

    fn spawner(&self) -> Option<Spawner> {
        let pool = POOL.with_borrow(Option::clone)?;
        Some(Arc::new(move |task| pool.spawn_ok(task)))
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            spawns: true,
            many_threads: true,
            ..Abilities::default()
        }
    }
}
