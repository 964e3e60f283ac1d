//! The questions. Each file asks one, and answers with figures.

use std::io;

use crate::args::Args;
use crate::child::Measured;
use crate::figure::{Figure, Metric};
use crate::machine;
use crate::window::Contest;

mod connections;
mod counts;
mod echo;
mod executors;
mod hyper;
mod idle;
mod timers;

/// Enough for thousands of connections to every server at once.
pub(crate) const DESCRIPTORS: u64 = 100_000;

/// A question.
#[derive(Debug)]
pub(crate) struct Measure {
    /// What its cases are listed under.
    pub(crate) names: &'static [&'static str],
    pub(crate) about: &'static str,
    ask: fn(&Args) -> io::Result<Vec<Figure>>,
}

pub(crate) static MEASURES: &[Measure] = &[
    Measure {
        names: &[
            "echo", "pool", "foreign", "work", "timeout", "spin", "beside",
        ],
        about: "TCP echo: requests per second, CPU per request, latency",
        ask: echo::ask,
    },
    Measure {
        names: &["syscalls", "instructions"],
        about: "system calls and user instructions per echoed request, and per connection",
        ask: counts::ask,
    },
    Measure {
        names: &["timers", "lateness", "timer bytes"],
        about: "timers: create + poll + drop, how late, heap",
        ask: timers::ask,
    },
    Measure {
        names: &["executors", "task bytes"],
        about: "executors: spawn, wake, yield, heap",
        ask: executors::ask,
    },
    Measure {
        names: &["connections", "connection bytes", "registration"],
        about: "connections: accept + echo once + close, heap, registration",
        ask: connections::ask,
    },
    Measure {
        names: &["hyper", "hyper wrk", "hyper syscalls", "hyper instructions"],
        about: "hyper's hello-world: requests per second, CPU, system calls, instructions",
        ask: hyper::ask,
    },
    Measure {
        names: &["idle"],
        about: "wake-ups of a runtime that has nothing to do",
        ask: idle::ask,
    },
];

/// Asks what was asked for.
pub(crate) fn run(args: &Args) -> io::Result<Vec<Figure>> {
    machine::raise_descriptor_limit(DESCRIPTORS);
    machine::pin_to(machine::LOAD_CORE.min(machine::cores() - 1))?;
    if !args.server.is_empty() {
        return echo::ask_guests(args);
    }
    let mut figures = Vec::new();
    for measure in MEASURES {
        figures.extend((measure.ask)(args)?);
    }
    Ok(figures)
}

/// What a child process does that was started with [`Measured::worker`].
pub(crate) fn work(job: &[&str]) -> io::Result<()> {
    match job {
        ["timers", job @ ..] => timers::work(job),
        ["executors", job @ ..] => executors::work(job),
        ["connections", job @ ..] => connections::work(job),
        ["idle", job @ ..] => idle::work(job),
        _ => unreachable!("no such job: {job:?}"),
    }
}

/// A case in which each subject is a worker that is told its name after its job.
fn workers(
    args: &Args,
    measure: &'static str,
    case: &str,
    metrics: &[Metric],
    subjects: &[&'static str],
    job: &[&str],
    quick: bool,
) -> io::Result<Vec<Figure>> {
    if !args.wants(measure, case, quick) {
        return Ok(Vec::new());
    }
    let mut entrants = Vec::new();
    for (place, &subject) in subjects.iter().enumerate() {
        if place == 0 || args.wants_subject(subject) {
            entrants.push((subject, Measured::worker(&[job, &[subject]].concat())?));
        }
    }
    let contest = Contest {
        measure,
        case,
        metrics,
        rounds: args.rounds(),
    };
    contest.run(
        &mut entrants,
        |(subject, _)| (*subject).to_owned(),
        |(_, worker)| worker.work(),
    )
}
