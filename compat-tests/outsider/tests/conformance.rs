//! The whole suite on the executor of this package: one test per promise.

use untether_conformance::{Abilities, Root, Subject, Task, conformance};

struct Outsider;

impl Subject for Outsider {
    fn name(&self) -> &str {
        "outsider"
    }

    fn run(&self, root: Root) {
        outsider::run(root);
    }

    fn spawn(&self, task: Task) -> Result<(), Task> {
        outsider::spawn(task);
        Ok(())
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            spawns: true,
            ..Abilities::default()
        }
    }
}

conformance!(Outsider, E2026);
