//! Ours: one future on this thread, which drives a reactor while it waits.

use untether_conformance::{Abilities, Root, Subject};

#[derive(Debug)]
pub(super) struct BlockOn;

impl Subject for BlockOn {
    fn name(&self) -> &str {
        "untether-block-on"
    }

    fn run(&self, root: Root) {
        untether_executors::block_on(root);
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            nests: true,
            ..Abilities::default()
        }
    }
}
