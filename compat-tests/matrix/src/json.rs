//! What a program reads: every verdict, with the same totals.

use std::io;

use serde::Serialize;

use crate::plan::{Finding, Totals};

#[derive(Serialize)]
struct Report<'a> {
    passed: usize,
    failed: usize,
    skipped: usize,
    findings: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    group: &'a str,
    case: &'a str,
    subject: &'a str,
    repetition: usize,
    verdict: &'a str,
    /// Whether it fails the run.
    unexpected: bool,
    promise: &'a str,
    detail: &'a str,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    deviation: Option<Known<'a>>,
}

#[derive(Serialize)]
struct Known<'a> {
    reason: &'a str,
    checked: &'a str,
}

/// The report as JSON, with a line break at its end.
pub(crate) fn text(findings: &[Finding]) -> io::Result<String> {
    let totals = Totals::of(findings);
    let report = Report {
        passed: totals.passed,
        failed: totals.failed,
        skipped: totals.skipped,
        findings: findings.iter().map(Entry::from).collect(),
    };
    let mut text = serde_json::to_string_pretty(&report)?;
    text.push('\n');
    Ok(text)
}

impl<'a> From<&'a Finding> for Entry<'a> {
    fn from(finding: &'a Finding) -> Entry<'a> {
        Entry {
            group: finding.case.group,
            case: finding.case.name,
            subject: &finding.subject,
            repetition: finding.repetition,
            verdict: finding.verdict.word(),
            unexpected: finding.standing().is_unexpected(),
            promise: finding.case.promise,
            detail: finding.verdict.detail(),
            seconds: finding.elapsed.as_secs_f64(),
            deviation: finding.deviation.map(|known| Known {
                reason: known.reason,
                checked: known.checked,
            }),
        }
    }
}
