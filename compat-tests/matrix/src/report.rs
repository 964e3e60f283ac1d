//! What a person reads: a table of who keeps what, then every failure in full, then one line of totals.
//!
//! A table stays within 100 columns: subjects are headed by a few letters, which a legend explains, and those that do
//! not fit beside the others follow in a table of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use comfy_table::{Cell, ContentArrangement, Row, Table, presets};
use untether_conformance::Case;

use crate::plan::{Finding, Standing, Totals};
use crate::subjects::Entrant;

/// How many subjects fit beside the longest name of a case. The others get a table of their own.
const TABLE_COLUMNS: usize = 9;

/// Prints the whole report. The totals are alone on the last line.
pub(crate) fn print(
    cases: &[Case],
    entrants: &[Entrant],
    findings: &[Finding],
    out: &mut impl Write,
) -> io::Result<()> {
    for entrants in entrants.chunks(TABLE_COLUMNS) {
        writeln!(out, "{}", table(cases, entrants, findings))?;
        writeln!(out)?;
    }
    for entrant in entrants {
        writeln!(
            out,
            "{:>4}  {:<22} {}",
            entrant.short,
            entrant.name(),
            entrant.about
        )?;
    }
    writeln!(
        out,
        "  ok  kept   -  makes no sense there   FAIL, HUNG  broken   dev  known, as below   NEW  kept after all"
    )?;
    print_deviations(findings, out)?;
    for finding in findings {
        print_failure(finding, out)?;
    }
    let totals = Totals::of(findings);
    writeln!(out)?;
    writeln!(
        out,
        "{} passed, {} failed, {} skipped",
        totals.passed, totals.failed, totals.skipped
    )
}

/// One row per case, under a heading per promise; one column per subject.
fn table(cases: &[Case], entrants: &[Entrant], findings: &[Finding]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    let mut header = Row::from(vec![Cell::new("")]);
    for entrant in entrants {
        header.add_cell(Cell::new(entrant.short));
    }
    table.set_header(header);
    let mut group = "";
    for case in cases {
        if case.group != group {
            group = case.group;
            table.add_row(vec![group]);
        }
        let mut row = Row::from(vec![Cell::new(format!("  {}", case.name))]);
        for entrant in entrants {
            // The worst of all repetitions.
            let standing = findings
                .iter()
                .filter(|finding| {
                    finding.case.name == case.name && finding.subject == entrant.name()
                })
                .map(Finding::standing)
                .max();
            row.add_cell(Cell::new(standing.map_or("", Standing::mark)));
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    table.trim_fmt()
}

/// One paragraph per reason: several subjects may share one.
fn print_deviations(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    let mut known: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for finding in findings {
        if let (Standing::Deviates, Some(deviation)) = (finding.standing(), finding.deviation) {
            let who = format!("{} on {}", finding.case.name, finding.subject);
            known
                .entry((deviation.reason, deviation.checked))
                .or_default()
                .insert(who);
        }
    }
    for ((reason, checked), who) in known {
        writeln!(out, "\n-- known, checked {checked}: {reason}")?;
        for who in who {
            writeln!(out, "   {who}")?;
        }
    }
    Ok(())
}

/// All that is known about a finding that nobody expected.
fn print_failure(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    if !finding.standing().is_unexpected() {
        return Ok(());
    }
    let Finding {
        case,
        subject,
        verdict,
        ..
    } = finding;
    writeln!(
        out,
        "\n== {}::{} on {subject}: {} (run {}, after {:.1?})",
        case.group,
        case.name,
        verdict.word(),
        finding.repetition,
        finding.elapsed
    )?;
    if let Some(known) = finding.deviation {
        return writeln!(
            out,
            "   is said to deviate: {} (checked {})\n   it does not: take it out of deviations.rs",
            known.reason, known.checked
        );
    }
    writeln!(out, "   for a user: {}", case.promise)?;
    for line in verdict.detail().lines() {
        writeln!(out, "   {line}")?;
    }
    Ok(())
}

/// What there is to choose from.
pub(crate) fn list(cases: &[Case], entrants: &[Entrant], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "subjects:")?;
    for entrant in entrants {
        writeln!(out, "  {:<22} {}", entrant.name(), entrant.about)?;
    }
    let mut group = "";
    for case in cases {
        if case.group != group {
            group = case.group;
            writeln!(out, "{group}:")?;
        }
        let needs: Vec<_> = case.needs.iter().map(|need| format!("{need:?}")).collect();
        writeln!(out, "  {:<52} {}", case.name, needs.join(" "))?;
    }
    writeln!(out, "{} cases, {} subjects", cases.len(), entrants.len())
}
