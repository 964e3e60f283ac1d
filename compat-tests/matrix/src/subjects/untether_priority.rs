//! Ours: classes of tasks, over two threads. The tasks of a run take turns in all three classes.

use std::cell::{Cell, RefCell};

use untether_conformance::{Abilities, Root, Subject, Task};
use untether_executors::{Class, Priority, PriorityHandle, Spawn};

#[derive(Debug)]
pub(super) struct UntetherPriority;

thread_local! {
    /// The executors of the runs on this thread, the innermost last.
    static RUNNING: RefCell<Vec<PriorityHandle>> = const { RefCell::new(Vec::new()) };
    /// How many tasks this thread has spawned.
    static SPAWNED: Cell<usize> = const { Cell::new(0) };
}

struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        let left = RUNNING.with_borrow_mut(Vec::pop);
        drop(left);
    }
}

impl Subject for UntetherPriority {
    fn name(&self) -> &str {
        "untether-priority"
    }

    fn run(&self, root: Root) {
        let priority = Priority::new(2).expect("no executor");
        RUNNING.with_borrow_mut(|running| running.push(priority.handle(Class::Normal)));
        let _leave = Leave;
        priority.block_on(root);
    }

    fn spawn(&self, task: Task) -> Result<(), Task> {
        let classes = [Class::Urgent, Class::Normal, Class::Background];
        let class = classes[SPAWNED.replace(SPAWNED.get() + 1) % classes.len()];
        RUNNING.with_borrow(|running| {
            let priority = running.last().expect("spawned outside a run");
            priority.at(class).spawn(task).detach();
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
