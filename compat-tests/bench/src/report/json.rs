//! For a program: every figure, with how it was measured.

use std::io;

use serde::Serialize;

use crate::args::Args;
use crate::figure::Figure;
use crate::machine;

#[derive(Serialize)]
struct Report<'a> {
    cores: usize,
    rounds: u32,
    window_ms: u64,
    figures: &'a [Figure],
}

pub(super) fn text(args: &Args, figures: &[Figure]) -> io::Result<String> {
    let report = Report {
        cores: machine::cores(),
        rounds: args.rounds(),
        window_ms: args.window,
        figures,
    };
    let mut text = serde_json::to_string_pretty(&report)?;
    text.push('\n');
    Ok(text)
}
