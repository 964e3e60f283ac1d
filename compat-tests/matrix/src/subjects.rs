//! The runtimes under test: one small file each. A new one is a file here and a line in [`all`].

use std::sync::Arc;

use untether_conformance::Subject;

use self::hostile::{Hostile, Whim};

mod futures_local_pool;
mod futures_thread_pool;
mod hostile;
mod pollster;
mod smol;
mod tokio_current_thread;
mod tokio_multi_thread;
mod untether_block_on;
mod untether_local;
mod untether_per_core;
mod untether_pool;
mod untether_priority;
mod untether_sim;

/// A subject, and how the report presents it.
#[derive(Clone, Debug)]
pub struct Entrant {
    /// A few letters to head its column.
    pub short: &'static str,
    /// What it is, and who drives the reactor there.
    pub about: &'static str,
    /// The runtime itself.
    pub subject: Arc<dyn Subject>,
}

impl Entrant {
    /// Presents `subject`.
    #[must_use]
    pub fn new(
        short: &'static str,
        about: &'static str,
        subject: impl Subject + 'static,
    ) -> Entrant {
        Entrant {
            short,
            about,
            subject: Arc::new(subject),
        }
    }

    /// The subject's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.subject.name()
    }
}

/// All of them: ours first, those that mean no good last.
#[must_use]
pub fn all() -> Vec<Entrant> {
    let mut entrants = vec![
        Entrant::new(
            "bo",
            "one future on this thread, which drives",
            untether_block_on::BlockOn,
        ),
        Entrant::new(
            "lo",
            "many tasks on this thread, which drives",
            untether_local::UntetherLocal,
        ),
        Entrant::new(
            "po",
            "work stealing, two workers; the idle one drives",
            untether_pool::UntetherPool,
        ),
        Entrant::new(
            "pc",
            "two pinned threads, each of which drives its own",
            untether_per_core::UntetherPerCore,
        ),
        Entrant::new(
            "pr",
            "classes of tasks, two threads; the idle one drives",
            untether_priority::UntetherPriority,
        ),
        Entrant::new(
            "si",
            "an order by a seed, virtual time; this thread drives",
            untether_sim::UntetherSim::VirtualTime,
        ),
        Entrant::new(
            "sr",
            "an order by a seed, the machine's time; this thread drives",
            untether_sim::UntetherSim::RealTime,
        ),
        Entrant::new(
            "fl",
            "futures' single-threaded pool; our thread drives",
            futures_local_pool::FuturesLocalPool,
        ),
        Entrant::new(
            "ft",
            "futures' thread pool, two threads; our thread drives",
            futures_thread_pool::FuturesThreadPool,
        ),
        Entrant::new(
            "ps",
            "one future on this thread; our thread drives",
            pollster::Pollster,
        ),
        Entrant::new(
            "tc",
            "tokio's single-threaded runtime; our thread drives",
            tokio_current_thread::TokioCurrentThread,
        ),
        Entrant::new(
            "tm",
            "tokio's work-stealing runtime, two workers; our thread drives",
            tokio_multi_thread::TokioMultiThread,
        ),
        Entrant::new(
            "sm",
            "smol's executor on two threads; our thread drives",
            smol::Smol,
        ),
    ];
    entrants.extend(Whim::ALL.map(|whim| {
        let (_, short, about) = whim.about();
        Entrant::new(short, about, Hostile(whim))
    }));
    entrants
}
