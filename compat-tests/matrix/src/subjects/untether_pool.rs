//! Ours: work stealing over two workers. An idle one drives the pool's reactor; the root future stays on this thread.

use std::cell::RefCell;
use std::sync::Arc;

use untether_conformance::{Abilities, Root, Spawner, Subject, Task};
use untether_executors::{Pool, PoolHandle};

#[derive(Debug)]
pub(super) struct UntetherPool;

thread_local! {
    /// The pools of the runs on this thread, the innermost last.
    static RUNNING: RefCell<Vec<PoolHandle>> = const { RefCell::new(Vec::new()) };
}

struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        let left = RUNNING.with_borrow_mut(Vec::pop);
        drop(left);
    }
}

impl Subject for UntetherPool {
    fn name(&self) -> &str {
        "untether-pool"
    }

    fn run(&self, root: Root) {
        let pool = Pool::new(2).expect("no pool");
        RUNNING.with_borrow_mut(|running| running.push(pool.handle()));
        let _leave = Leave;
        pool.block_on(root);
    }

    fn spawn(&self, task: Task) -> Result<(), Task> {
        RUNNING.with_borrow(|running| {
            let pool = running.last().expect("spawned outside a run");
            pool.spawn(task).detach();
        });
        Ok(())
    }

    fn spawner(&self) -> Option<Spawner> {
        let pool = RUNNING.with_borrow(|running| running.last().cloned())?;
        Some(Arc::new(move |task| pool.spawn(task).detach()))
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            spawns: true,
            many_threads: true,
            nests: true,
            ..Abilities::default()
        }
    }
}
