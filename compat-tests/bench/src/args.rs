//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures untether beside its peers, in shuffled windows.
#[derive(Clone, Debug, Parser)]
#[command(name = "untether-bench", version)]
pub(crate) struct Args {
    /// How thoroughly
    #[arg(value_enum, default_value = "quick")]
    pub(crate) extent: Extent,

    /// Only cases of this extent that contain this in their `measure/case`; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,

    /// Only these subjects, beside the one that all are compared with; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Vec<String>,

    /// List the measures and the subjects, and run nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// Write every figure to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Measure nothing, and report on the figures of these earlier runs
    #[arg(long, value_name = "JSON")]
    pub(crate) from: Vec<PathBuf>,

    /// Write a report to this file as Markdown; it shows the plots, if --svg is given as well
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,

    /// Write the most telling figures into this file, between its markers
    #[arg(long, value_name = "FILE")]
    pub(crate) headlines: Option<PathBuf>,

    /// Draw the ratios into this folder as SVG
    #[arg(long, value_name = "DIR")]
    pub(crate) svg: Option<PathBuf>,

    /// Instead of our own cases: a server of yours, a command that prints its port and echoes until its standard input
    /// ends; may be repeated, and the others are compared with the first
    #[arg(long, value_name = "NAME=COMMAND", value_parser = Guest::parse)]
    pub(crate) server: Vec<Guest>,

    /// Let servers of yours run on any core
    #[arg(long)]
    pub(crate) unpinned: bool,

    /// How many rounds [default: 9 if quick, 31 if full]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,

    /// How long a window is, in milliseconds; longer with many connections
    #[arg(long, value_name = "MS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) window: u64,
}

/// How thoroughly to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Extent {
    /// A few minutes: the cases that say most, few rounds
    Quick,
    /// All cases, enough rounds for quartiles that mean something
    Full,
}

/// A server that is no part of this program.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
}

impl Guest {
    fn parse(argument: &str) -> Result<Guest, String> {
        let (name, command) = argument.split_once('=').ok_or("NAME=COMMAND is wanted")?;
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        if command.is_empty() {
            return Err("the command is missing".to_owned());
        }
        let name = name.to_owned();
        Ok(Guest { name, command })
    }
}

impl Args {
    pub(crate) fn is_full(&self) -> bool {
        self.extent == Extent::Full
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.is_full() { 31 } else { 9 })
    }

    pub(crate) fn window(&self) -> Duration {
        Duration::from_millis(self.window)
    }

    /// Whether a case was asked for; `quick` says whether it is part of a quick run.
    pub(crate) fn wants(&self, measure: &str, case: &str, quick: bool) -> bool {
        let path = format!("{measure}/{case}");
        let named = |part: &String| path.contains(part.as_str());
        (quick || self.is_full()) && (self.only.is_empty() || self.only.iter().any(named))
    }

    pub(crate) fn wants_subject(&self, name: &str) -> bool {
        self.subject.is_empty() || self.subject.iter().any(|wanted| wanted == name)
    }
}
