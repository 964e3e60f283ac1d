//! What a browser shows: one page that needs nothing else, with a row per case and a column per subject.
//!
//! A click on a mark tells what the promise means and what happened; so does the page's address, which then ends in
//! `#case@subject`. The table is there without the script, which only opens the details and hides rows.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use untether_conformance::Case;

use crate::escape::xml;
use crate::plan::{Finding, Standing, Totals};
use crate::subjects::Entrant;

const STYLE: &str = include_str!("html/report.css");
const SCRIPT: &str = include_str!("html/report.js");

/// What there is to say about a mark, for the script.
#[derive(Serialize)]
struct Detail<'a> {
    standing: &'a str,
    text: &'a str,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<String>,
}

/// The page.
pub(crate) fn text(
    cases: &[Case],
    entrants: &[Entrant],
    findings: &[Finding],
) -> io::Result<String> {
    let totals = Totals::of(findings);
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'\">\n<title>Who keeps which promise</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<header>\n<h1>Who keeps which promise</h1>\n<p><b class=\"passed\">{} kept</b> \
         <b class=\"{}\">{} broken</b> <b class=\"skipped\">{} skipped or known</b></p>\n\
         <form><input type=\"search\" id=\"search\" placeholder=\"Find a promise\" aria-label=\"Find a promise\"> \
         <label><input type=\"checkbox\" id=\"broken\"> only what is not kept</label></form>\n</header>\n",
        totals.passed,
        if totals.failed == 0 {
            "skipped"
        } else {
            "failed"
        },
        totals.failed,
        totals.skipped
    );
    write_table(&mut out, cases, entrants, findings)?;
    out.push_str("<section>\n<h2>Subjects</h2>\n<dl>\n");
    for entrant in entrants {
        let _ = writeln!(
            out,
            "<dt>{}</dt><dd>{}</dd>",
            xml(entrant.name()),
            xml(entrant.about)
        );
    }
    let _ = write!(
        out,
        "</dl>\n</section>\n<dialog id=\"detail\"><form method=\"dialog\"><button aria-label=\"Close\">Close</button>\
         </form><h2></h2><p class=\"verdict\"></p><p class=\"promise\"></p><p class=\"known\"></p><pre></pre></dialog>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    );
    Ok(out)
}

fn write_table(
    out: &mut String,
    cases: &[Case],
    entrants: &[Entrant],
    findings: &[Finding],
) -> io::Result<()> {
    out.push_str("<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Promise</th>");
    for entrant in entrants {
        let _ = write!(
            out,
            "<th scope=\"col\" title=\"{}\"><span>{}</span></th>",
            xml(entrant.about),
            xml(entrant.name())
        );
    }
    out.push_str("</tr></thead>\n");
    let mut group = "";
    for case in cases {
        if case.group != group {
            if !group.is_empty() {
                out.push_str("</tbody>\n");
            }
            group = case.group;
            let _ = writeln!(
                out,
                "<tbody><tr class=\"group\"><th colspan=\"{}\"><span>{}</span></th></tr>",
                entrants.len() + 1,
                xml(group)
            );
        }
        let _ = write!(
            out,
            "<tr data-promise=\"{}\"><th scope=\"row\">{}</th>",
            xml(case.promise),
            xml(&case.name.replace('_', " "))
        );
        for entrant in entrants {
            write_mark(out, case, entrant, findings)?;
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
    Ok(())
}

/// The worst of all repetitions, as a button.
fn write_mark(
    out: &mut String,
    case: &Case,
    entrant: &Entrant,
    findings: &[Finding],
) -> io::Result<()> {
    let worst = findings
        .iter()
        .filter(|finding| finding.case.name == case.name && finding.subject == entrant.name())
        .max_by_key(|finding| finding.standing());
    let Some(finding) = worst else {
        out.push_str("<td></td>");
        return Ok(());
    };
    let standing = match finding.standing() {
        Standing::Skipped => "skipped",
        Standing::Passed => "passed",
        Standing::Deviates => "known",
        Standing::Recovered => "recovered",
        Standing::Failed => "failed",
        Standing::Hung => "hung",
    };
    let detail = Detail {
        standing,
        text: finding.verdict.detail(),
        seconds: finding.elapsed.as_secs_f64(),
        known: finding
            .deviation
            .map(|known| format!("Known, checked {}: {}", known.checked, known.reason)),
    };
    let _ = write!(
        out,
        "<td><button class=\"{standing}\" id=\"{}@{}\" data-detail=\"{}\">{}",
        xml(case.name),
        xml(entrant.name()),
        xml(&serde_json::to_string(&detail)?),
        finding.standing().mark(),
    );
    if finding.standing() != Standing::Skipped {
        let _ = write!(out, "<small>{}</small>", short(detail.seconds));
    }
    out.push_str("</button></td>");
    Ok(())
}

/// A duration in five characters or so.
fn short(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => "&lt;1 ms".to_owned(),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}
