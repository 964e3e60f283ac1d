//! pollster: the smallest `block_on` there is. It knows of no I/O, so our thread drives.

use untether_conformance::{Abilities, Root, Subject};

#[derive(Debug)]
pub(super) struct Pollster;

impl Subject for Pollster {
    fn name(&self) -> &str {
        "pollster"
    }

    fn run(&self, root: Root) {
        pollster::block_on(root);
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            nests: true,
            ..Abilities::default()
        }
    }
}
