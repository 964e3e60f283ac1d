//! smol's executor, polled on two threads.
//!
//! The crate smol itself brings its own reactor, async-io, which would drive instead of ours. So this is the executor
//! that smol re-exports, `async_executor::Executor`, under `futures_lite`'s `block_on`, which knows of no I/O.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread;

use async_executor::Executor;
use futures_lite::future::block_on;
use untether_conformance::{Abilities, Root, Spawner, Subject, Task};

#[derive(Debug)]
pub(super) struct Smol;

thread_local! {
    /// The executors that run on this thread, the innermost last.
    static RUNNING: RefCell<Vec<Arc<Executor<'static>>>> = const { RefCell::new(Vec::new()) };
}

/// Makes `executor` the one that `spawn` finds on this thread, until it is dropped.
struct Entered;

fn enter(executor: &Arc<Executor<'static>>) -> Entered {
    RUNNING.with_borrow_mut(|running| running.push(executor.clone()));
    Entered
}

impl Drop for Entered {
    fn drop(&mut self) {
        RUNNING.with_borrow_mut(|running| running.pop());
    }
}

impl Subject for Smol {
    fn name(&self) -> &str {
        "smol"
    }

    fn run(&self, root: Root) {
        let executor = Arc::new(Executor::new());
        // Closed when this function is left, by return or by panic: then the second thread is done.
        let (_stop, stopped) = async_channel::bounded::<()>(1);
        let second = executor.clone();
        thread::spawn(move || block_on(second.run(stopped.recv())));
        let _entered = enter(&executor);
        block_on(executor.run(root));
    }

    fn spawn(&self, task: Task) -> Result<(), Task> {
        RUNNING.with_borrow(|running| {
            let executor = running.last().expect("spawned outside a run");
            executor.spawn(task).detach();
        });
        Ok(())
    }

    fn spawner(&self) -> Option<Spawner> {
        let executor = RUNNING.with_borrow(|running| running.last().cloned())?;
        Some(Arc::new(move |task| executor.spawn(task).detach()))
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
