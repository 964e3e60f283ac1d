//! For a README: a table per case.

use std::fmt::Write;

use super::{cell, pages};
use crate::args::Args;
use crate::figure::Figure;

pub(super) fn text(args: &Args, figures: &[Figure]) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{words}");
    };
    line(format!(
        "{} rounds, windows of {} ms. Each cell: the median, then the median ratio to the first row, with its quartiles.",
        args.rounds(),
        args.window
    ));
    for page in pages(figures) {
        line(format!("\n### {}, {}\n", page.measure, page.case));
        let titles: Vec<String> = page
            .metrics
            .iter()
            .map(|(name, unit)| format!("{name}, {unit}"))
            .collect();
        line(format!("| | {} |", titles.join(" | ")));
        line(format!("|---|{}", "---:|".repeat(titles.len())));
        for (subject, cells) in &page.rows {
            let cells: Vec<String> = cells.iter().map(|figure| cell(*figure)).collect();
            line(format!("| {subject} | {} |", cells.join(" | ")));
        }
    }
    text
}
