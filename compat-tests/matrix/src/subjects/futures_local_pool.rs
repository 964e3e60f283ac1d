//! `futures::executor::LocalPool`: many tasks on this thread. It refuses to run inside itself.

use std::cell::RefCell;

use futures_executor::{LocalPool, LocalSpawner};
use futures_task::{LocalFutureObj, LocalSpawn};
use untether_conformance::{Abilities, LocalTask, Root, Subject, Task};

#[derive(Debug)]
pub(super) struct FuturesLocalPool;

thread_local! {
    /// The pool that runs on this thread.
    static SPAWNER: RefCell<Option<LocalSpawner>> = const { RefCell::new(None) };
}

fn give(task: LocalTask) {
    SPAWNER.with_borrow(|spawner| {
        let spawner = spawner.as_ref().expect("spawned outside a run");
        spawner
            .spawn_local_obj(LocalFutureObj::new(task))
            .expect("spawned after the run");
    });
}

impl Subject for FuturesLocalPool {
    fn name(&self) -> &str {
        "futures-local-pool"
    }

    fn run(&self, root: Root) {
        let mut pool = LocalPool::new();
        SPAWNER.set(Some(pool.spawner()));
        pool.run_until(root);
    }

    fn spawn(&self, task: Task) -> Result<(), Task> {
        give(task);
        Ok(())
    }

    fn spawn_local(&self, task: LocalTask) -> Result<(), LocalTask> {
        give(task);
        Ok(())
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            spawns: true,
            spawns_local: true,
            ..Abilities::default()
        }
    }
}
