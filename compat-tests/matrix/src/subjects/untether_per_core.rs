//! Ours: two pinned threads, each with its own tasks and reactor; the root future stays on this thread.

use std::cell::RefCell;

use untether_conformance::{Abilities, Root, Subject, Task};
use untether_executors::{PerCore, PerCoreHandle};

#[derive(Debug)]
pub(super) struct UntetherPerCore;

thread_local! {
    /// The executors of the runs on this thread, the innermost last.
    static RUNNING: RefCell<Vec<PerCoreHandle>> = const { RefCell::new(Vec::new()) };
}

struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        let left = RUNNING.with_borrow_mut(Vec::pop);
        drop(left);
    }
}

impl Subject for UntetherPerCore {
    fn name(&self) -> &str {
        "untether-per-core"
    }

    fn run(&self, root: Root) {
        let cores = PerCore::new(2).expect("no executor");
        RUNNING.with_borrow_mut(|running| running.push(cores.handle()));
        let _leave = Leave;
        cores.block_on(root);
    }

    fn spawn(&self, task: Task) -> Result<(), Task> {
        RUNNING.with_borrow(|running| {
            let cores = running.last().expect("spawned outside a run");
            cores.spawn_balanced(|| task).detach();
        });
        Ok(())
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
