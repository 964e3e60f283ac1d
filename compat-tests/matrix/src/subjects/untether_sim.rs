//! Ours: many tasks on this thread, in an order that a seed chooses, another in each run.
//!
//! `untether-sim` has virtual time, `untether-sim-real` goes by the machine's clock. The cases use threads, so both reckon
//! with news from outside, and the first has a second's patience: a time-out of a case is for a hang, not for a slow
//! machine.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use untether_conformance::{Abilities, LocalTask, Root, Spawner, Subject, Task};
use untether_executors::{Sim, SimHandle, SimRemote, Spawn};

#[derive(Debug)]
pub(super) enum UntetherSim {
    VirtualTime,
    RealTime,
}

thread_local! {
    /// The simulations that run on this thread, the innermost last.
    static RUNNING: RefCell<Vec<(SimHandle, SimRemote)>> = const { RefCell::new(Vec::new()) };
}

struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        // Out of the borrow first: what is dropped with a simulation may look here.
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

impl Subject for UntetherSim {
    fn name(&self) -> &str {
        match self {
            UntetherSim::VirtualTime => "untether-sim",
            UntetherSim::RealTime => "untether-sim-real",
        }
    }

    fn run(&self, root: Root) {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        // Some cases take many steps.
        let builder = Sim::builder()
            .seed(RUNS.fetch_add(1, Ordering::Relaxed))
            .max_steps(u64::MAX)
            .patience(Duration::from_secs(1));
        let builder = match self {
            UntetherSim::VirtualTime => builder,
            UntetherSim::RealTime => builder.real_time(),
        };
        let sim = builder.build().expect("a reactor for the simulation");
        let _outside = sim.handle().outside();
        RUNNING.with_borrow_mut(|running| running.push((sim.handle(), sim.remote())));
        let _leave = Leave;
        // If it panics, the simulation prints the seed.
        sim.run(root);
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
            virtual_time: matches!(self, UntetherSim::VirtualTime),
            ..Abilities::default()
        }
    }
}
