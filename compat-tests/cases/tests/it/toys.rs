//! Runtimes that are broken on purpose, and one that is not.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use untether_conformance::{Abilities, Root, Subject};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn poll(root: &mut Root) -> Poll<()> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    root.as_mut().poll(&mut Context::from_waker(&waker))
}

/// Keeps its promises.
pub(crate) struct Honest;

impl Subject for Honest {
    fn name(&self) -> &str {
        "honest"
    }

    fn run(&self, mut root: Root) {
        while poll(&mut root).is_pending() {
            thread::park();
        }
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            nests: true,
            ..Abilities::default()
        }
    }
}

/// Polls nothing, and waits for ever.
pub(crate) struct NeverPolls;

impl Subject for NeverPolls {
    fn name(&self) -> &str {
        "never-polls"
    }

    fn run(&self, root: Root) {
        loop {
            thread::park();
            // Not dropped before, whatever the optimiser thinks.
            std::hint::black_box(&root);
        }
    }
}

/// Polls once more after the end.
pub(crate) struct PollsAfterReady;

impl Subject for PollsAfterReady {
    fn name(&self) -> &str {
        "polls-after-ready"
    }

    fn run(&self, mut root: Root) {
        while poll(&mut root).is_pending() {
            thread::park();
        }
        let _ = poll(&mut root);
    }
}

/// Loses every wake.
pub(crate) struct IgnoresWakes;

impl Subject for IgnoresWakes {
    fn name(&self) -> &str {
        "ignores-wakes"
    }

    fn run(&self, mut root: Root) {
        while root
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            thread::park();
        }
    }
}

/// Polls without being woken.
pub(crate) struct Spins;

impl Subject for Spins {
    fn name(&self) -> &str {
        "spins"
    }

    fn run(&self, mut root: Root) {
        while poll(&mut root).is_pending() {
            thread::yield_now();
        }
    }
}

/// Returns before the root future has ended.
pub(crate) struct GivesUp;

impl Subject for GivesUp {
    fn name(&self) -> &str {
        "gives-up"
    }

    fn run(&self, mut root: Root) {
        let _ = poll(&mut root);
    }
}
