//! For a program, and for a report on several runs: every figure, with how it was measured.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::figure::Figure;
use crate::machine;

#[derive(Deserialize, Serialize)]
struct Report {
    cores: usize,
    rounds: u32,
    window_ms: u64,
    figures: Vec<Figure>,
}

pub(super) fn text(args: &Args, figures: &[Figure]) -> io::Result<String> {
    let report = Report {
        cores: machine::cores(),
        rounds: args.rounds(),
        window_ms: args.window,
        figures: figures.to_vec(),
    };
    let mut text = serde_json::to_string(&report)?;
    text.push('\n');
    Ok(text)
}

/// The figures of an earlier run.
pub(super) fn read(path: &Path) -> io::Result<Vec<Figure>> {
    let report: Report = serde_json::from_str(&fs::read_to_string(path)?)?;
    Ok(report.figures)
}
