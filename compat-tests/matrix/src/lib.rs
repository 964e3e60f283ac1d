//! Runs every conformance case on every runtime here, and prints who keeps what.
//!
//! It asserts nothing itself: what is promised is in `untether-conformance`, and what is known to be otherwise is in
//! `deviations`. In reading order: `args` says what to run, `plan` runs it, `report` prints it, `json`, `junit` and
//! `html` write it down.

pub mod args;
pub mod deviations;
mod escape;
mod html;
pub mod json;
mod junit;
pub mod plan;
pub mod report;
pub mod subjects;

use std::fs;
use std::io::{self, Write};

use untether_conformance::Case;

use crate::args::Args;
use crate::deviations::Deviation;
use crate::subjects::Entrant;

/// Every promise was kept, or is known not to be.
pub const KEPT: u8 = 0;

/// A promise was broken, or a known deviation is none any more.
pub const BROKEN: u8 = 1;

/// Nothing was checked: the command line makes no sense.
pub const MISUSED: u8 = 2;

/// Does what the command line says, and returns the exit code.
///
/// # Errors
/// Those of writing to `out` or to the files of `--json`, `--junit` and `--html`.
pub fn run(
    args: &Args,
    cases: &[Case],
    entrants: &[Entrant],
    deviations: &[Deviation],
    out: &mut impl Write,
) -> io::Result<u8> {
    let (cases, entrants) = match args.choose(cases, entrants) {
        Ok(chosen) => chosen,
        Err(complaint) => {
            writeln!(io::stderr(), "{complaint}")?;
            return Ok(MISUSED);
        }
    };
    if args.list {
        report::list(&cases, &entrants, out)?;
        return Ok(KEPT);
    }
    let findings = plan::run(args, &cases, &entrants, deviations);
    if let Some(path) = &args.json {
        fs::write(path, json::text(&findings)?)?;
    }
    if let Some(path) = &args.junit {
        fs::write(path, junit::text(&entrants, &findings))?;
    }
    if let Some(path) = &args.html {
        fs::write(path, html::text(&cases, &entrants, &findings)?)?;
    }
    report::print(&cases, &entrants, &findings, out)?;
    Ok(match plan::Totals::of(&findings).failed {
        0 => KEPT,
        _ => BROKEN,
    })
}
