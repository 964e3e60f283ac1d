//! The questions. Each file asks one, and answers with figures.

use std::io;

use crate::args::Args;
use crate::figure::Figure;
use crate::machine;

mod counts;
mod echo;

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
        names: &["echo", "pool", "foreign", "work", "timeout"],
        about: "TCP echo: requests per second, CPU per request, latency",
        ask: echo::ask,
    },
    Measure {
        names: &["syscalls", "instructions"],
        about: "system calls and user instructions per echoed request",
        ask: counts::ask,
    },
];

/// Asks what was asked for.
pub(crate) fn run(args: &Args) -> io::Result<Vec<Figure>> {
    machine::raise_descriptor_limit(DESCRIPTORS);
    machine::pin_to(machine::LOAD_CORE.min(machine::cores() - 1))?;
    let mut figures = Vec::new();
    for measure in MEASURES {
        figures.extend((measure.ask)(args)?);
    }
    Ok(figures)
}

/// What a child process does that was started with [`crate::child::Measured::worker`].
pub(crate) fn work(job: &[&str]) -> io::Result<()> {
    unreachable!("no such job: {job:?}")
}
