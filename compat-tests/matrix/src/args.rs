//! The command line, and which cases and subjects it chooses.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Parser;
use untether_conformance::Case;

use crate::subjects::Entrant;

/// Runs every conformance case on every runtime here, and prints who keeps what.
#[derive(Clone, Debug, Parser)]
#[command(name = "untether-matrix", version)]
pub struct Args {
    /// Write every verdict to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write every verdict to this file as JUnit's XML, for a build server
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// Write a page to this file that a browser shows without anything else
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Only cases whose group::name contains this; may be repeated
    #[arg(long, value_name = "SUBSTRING")]
    pub filter: Vec<String>,

    /// Only this subject; may be repeated
    #[arg(long, value_name = "NAME")]
    pub subject: Vec<String>,

    /// List the chosen cases and subjects, and run nothing
    #[arg(long)]
    pub list: bool,

    /// Run everything this many times
    #[arg(long, value_name = "N", default_value = "1")]
    pub repeat: NonZeroUsize,

    /// How many cases run at once [default: two for each core]
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,

    /// How long a case may take before it counts as hung
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("not a number of seconds: {text}"))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be more than no time, and less than for ever".to_owned()),
    }
}

impl Args {
    /// How many cases run at once. More than there are cores, because most of them wait most of the time.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.jobs.map_or_else(
            || thread::available_parallelism().map_or(2, NonZeroUsize::get) * 2,
            NonZeroUsize::get,
        )
    }

    /// The cases and subjects that were asked for, or what is wrong with the question.
    pub(crate) fn choose(
        &self,
        cases: &[Case],
        entrants: &[Entrant],
    ) -> Result<(Vec<Case>, Vec<Entrant>), String> {
        for wanted in &self.subject {
            if !entrants.iter().any(|entrant| entrant.name() == wanted) {
                let names: Vec<_> = entrants.iter().map(Entrant::name).collect();
                return Err(format!(
                    "no subject is called {wanted}; there are: {}",
                    names.join(", ")
                ));
            }
        }
        let entrants = entrants
            .iter()
            .filter(|entrant| {
                self.subject.is_empty() || self.subject.iter().any(|name| name == entrant.name())
            })
            .cloned()
            .collect();
        let cases: Vec<_> = cases
            .iter()
            .filter(|case| {
                let path = format!("{}::{}", case.group, case.name);
                self.filter.is_empty() || self.filter.iter().any(|part| path.contains(part))
            })
            .cloned()
            .collect();
        if cases.is_empty() {
            return Err("no case matches; --list shows their names".to_owned());
        }
        Ok((cases, entrants))
    }
}
