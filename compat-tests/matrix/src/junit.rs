//! What a build server reads: JUnit's XML, a test suite per subject and a test case per case.
//!
//! A broken promise is a `failure`, a hang an `error`, and what makes no sense or is known to be otherwise is `skipped`.
//! A known deviation that is none any more is a `failure`, as it is for the exit code.

use std::fmt::Write as _;

use crate::escape::xml;
use crate::plan::{Finding, Standing};
use crate::subjects::Entrant;

/// The report as XML.
pub(crate) fn text(entrants: &[Entrant], findings: &[Finding]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for entrant in entrants {
        let of_this: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.subject == entrant.name())
            .collect();
        let count = |wanted: &[Standing]| {
            let all = of_this.iter();
            all.filter(|finding| wanted.contains(&finding.standing()))
                .count()
        };
        let seconds: f64 = of_this
            .iter()
            .map(|finding| finding.elapsed.as_secs_f64())
            .sum();
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{seconds:.6}\">",
            xml(entrant.name()),
            of_this.len(),
            count(&[Standing::Failed, Standing::Recovered]),
            count(&[Standing::Hung]),
            count(&[Standing::Skipped, Standing::Deviates]),
        );
        for finding in of_this {
            write_case(&mut out, finding);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn write_case(out: &mut String, finding: &Finding) {
    let _ = write!(
        out,
        "    <testcase classname=\"{}.{}\" name=\"{}\" time=\"{:.6}\"",
        xml(&finding.subject),
        xml(finding.case.group),
        xml(finding.case.name),
        finding.elapsed.as_secs_f64(),
    );
    let detail = xml(finding.verdict.detail());
    let promise = xml(finding.case.promise);
    let _ = match (finding.standing(), finding.deviation) {
        (Standing::Passed, _) => writeln!(out, "/>"),
        (Standing::Deviates, Some(known)) => writeln!(
            out,
            "><skipped message=\"known, checked {}: {}\"/></testcase>",
            xml(known.checked),
            xml(known.reason)
        ),
        (Standing::Skipped | Standing::Deviates, _) => {
            writeln!(out, "><skipped message=\"{detail}\"/></testcase>")
        }
        (Standing::Recovered, _) => writeln!(
            out,
            "><failure message=\"a known deviation is none any more\"/></testcase>"
        ),
        (Standing::Failed, _) => writeln!(
            out,
            "><failure message=\"{promise}\">{detail}</failure></testcase>"
        ),
        (Standing::Hung, _) => writeln!(
            out,
            "><error message=\"{promise}\">{detail}</error></testcase>"
        ),
    };
}
