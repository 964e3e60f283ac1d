//! Ours: many tasks on this thread, which drives a reactor while it waits.

use std::cell::RefCell;
use std::sync::Arc;

use untether_conformance::{Abilities, LocalTask, Root, Spawner, Subject, Task};
use untether_executors::{Local, LocalHandle, Remote, Spawn};

#[derive(Debug)]
pub(super) struct UntetherLocal;

thread_local! {
    /// The executors that run on this thread, the innermost last.
    static RUNNING: RefCell<Vec<(LocalHandle, Remote)>> = const { RefCell::new(Vec::new()) };
}

struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        // Out of the borrow first: what is dropped with an executor may look here.
        let left = RUNNING.with_borrow_mut(Vec::pop);
        drop(left);
    }
}

fn give(task: LocalTask) {
    RUNNING.with_borrow(|running| {
        let (local, _) = running.last().expect("spawned outside a run");
        local.spawn(task).detach();
    });
}

impl Subject for UntetherLocal {
    fn name(&self) -> &str {
        "untether-local"
    }

    fn run(&self, root: Root) {
        let local = Local::new();
        RUNNING.with_borrow_mut(|running| running.push((local.handle(), local.remote())));
        let _leave = Leave;
        local.run(root);
    }

    fn spawn(&self, task: Task) -> Result<(), Task> {
        give(task);
        Ok(())
    }

    fn spawn_local(&self, task: LocalTask) -> Result<(), LocalTask> {
        give(task);
        Ok(())
    }

    fn spawner(&self) -> Option<Spawner> {
        let remote = RUNNING.with_borrow(|running| running.last().map(|(_, it)| it.clone()))?;
        Some(Arc::new(move |task| remote.spawn(task).detach()))
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            spawns: true,
            spawns_local: true,
            nests: true,
            ..Abilities::default()
        }
    }
}
