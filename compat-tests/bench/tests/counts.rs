//! What the hot paths cost, guarded with bounds: user instructions, counted by callgrind, and system calls, by strace.
//!
//! They do not depend on how busy the machine is, and those of a debug build say nothing. So these tests run with
//! `--release`, where the two are installed (`ci/counts.sh`), and say so where they do not. Who makes something cheaper
//! lowers the bound; who makes it dearer has a reason, and raises it, in the same commit.

#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};

/// What was counted when it was last written down: by a case of the bench, of a subject.
///
/// The instructions are those of the compiler in `COMPILER`.
const KNOWN: &[(&str, &str, f64)] = &[
    // Per request.
    ("instructions/C=1 64 B", "untether-local", 1689.0),
    ("instructions/C=64 64 B", "untether-local", 959.2),
    ("instructions/C=64 64 B", "untether-pool-1", 1406.5),
    (
        "instructions/C=64 64 B",
        "untether-on-futures-local",
        1107.6,
    ),
    ("syscalls/C=1 64 B", "untether-local", 3.0),
    ("syscalls/C=1 64 B", "untether-pool-1", 3.0),
    ("syscalls/C=1 64 B", "untether-on-futures-local", 5.0),
    ("syscalls/C=64 64 B", "untether-local", 2.03),
    // None of a pool with 64: it makes a turn every millisecond, and under strace that is every few requests.
    ("syscalls/C=64 64 B", "untether-on-futures-local", 2.062),
    (
        "instructions/C=64 64 B, limited to 5 s",
        "untether-local",
        1721.8,
    ),
    (
        "syscalls/C=64 64 B, limited to 5 s",
        "untether-local",
        2.031,
    ),
    // Per connection that is accepted, answered once and closed.
    ("instructions/a connection", "untether-local", 7948.0),
    ("instructions/a connection", "untether-pool-1", 9288.3),
    ("syscalls/a connection", "untether-local", 7.0),
    ("syscalls/a connection", "untether-pool-1", 7.001),
    ("syscalls/a connection", "untether-on-futures-local", 9.002),
    // Each.
    ("instructions/spawn + complete", "untether-local", 1177.5),
    ("instructions/chained spawn", "untether-local", 951.4),
    ("instructions/wake", "untether-local", 355.3),
    ("instructions/yield", "untether-local", 297.6),
    // Made, polled and dropped. Not one system call: the least that there can be of 10,000 is above this.
    ("instructions/a timer, 0 pending", "untether", 692.0),
    ("instructions/a timer, 10000 pending", "untether", 691.7),
    ("syscalls/a timer, 0 pending", "untether", 0.0),
    ("syscalls/a timer, 10000 pending", "untether", 0.0),
];

const COMPILER: &str = "rustc 1.95.";

#[test]
fn instructions_of_a_request() {
    check("instructions/C=");
}

#[test]
fn instructions_of_a_connection() {
    check("instructions/a connection");
}

#[test]
fn instructions_of_tasks() {
    for case in ["spawn + complete", "chained spawn", "wake", "yield"] {
        check(&format!("instructions/{case}"));
    }
}

#[test]
fn instructions_of_a_timer() {
    check("instructions/a timer");
}

#[test]
fn system_calls_of_a_timer() {
    check("syscalls/a timer");
}

#[test]
fn system_calls_of_a_request() {
    check("syscalls/C=");
}

#[test]
fn system_calls_of_a_connection() {
    check("syscalls/a connection");
}

/// Counts again what is known of the cases that begin so.
fn check(cases: &str) {
    let exact = cases.starts_with("syscalls");
    let tool = if exact { "strace" } else { "valgrind" };
    if cfg!(debug_assertions) || !works(tool) {
        println!("skipped: needs --release, and {tool}");
        return;
    }
    // Another compiler makes other code; what it adds is not ours.
    let slack = if exact || is_known_compiler() {
        1.05
    } else {
        1.25
    };
    let known: Vec<_> = KNOWN
        .iter()
        .filter(|(case, ..)| case.starts_with(cases))
        .collect();
    let figures = figures(cases, known.iter().map(|(_, subject, _)| *subject));
    let mut grown = Vec::new();
    for (case, subject, known) in known {
        let found = figures
            .iter()
            .find(|(place, of, _)| place == case && of == subject);
        let (.., found) = found.expect("a figure");
        println!("{case}, {subject}: {found:.3}, was {known:.3}");
        if *found > known * slack {
            grown.push(format!("{case}, {subject}: {found:.3}, was {known:.3}"));
        }
    }
    assert!(grown.is_empty(), "these have grown: {grown:#?}");
}

/// The case, the subject and the median of each figure that the bench finds.
fn figures<'a>(cases: &str, subjects: impl Iterator<Item = &'a str>) -> Vec<(String, String, f64)> {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_untether-bench"));
    command.args(["--only", cases, "--json"]).arg(&report);
    for subject in subjects {
        command.args(["--subject", subject]);
    }
    let status = command.stdout(Stdio::null()).status().expect("the command");
    assert!(status.success());
    let report = std::fs::read_to_string(report).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let figures = report["figures"].as_array().expect("figures").iter();
    let text = |figure: &serde_json::Value, key| figure[key].as_str().expect("a name").to_owned();
    figures
        .map(|figure| {
            let place = format!("{}/{}", text(figure, "measure"), text(figure, "case"));
            let median = figure["value"]["median"].as_f64().expect("a number");
            (place, text(figure, "subject"), median)
        })
        .collect()
}

fn works(tool: &str) -> bool {
    let output = Command::new(tool).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

fn is_known_compiler() -> bool {
    let output = Command::new("rustc").arg("--version").output();
    output.is_ok_and(|output| output.stdout.starts_with(COMPILER.as_bytes()))
}

#[test]
fn an_http_request_costs_no_more_than_on_tokio() {
    for (tool, cases) in [
        ("strace", "hyper syscalls/C=64"),
        ("valgrind", "hyper instructions/C=64"),
    ] {
        if cfg!(debug_assertions) || !works(tool) {
            println!("skipped: needs --release, and {tool}");
            continue;
        }
        let figures = figures(cases, ["hyper-untether"].into_iter());
        let of = |name| {
            figures
                .iter()
                .find(|(_, subject, _)| subject == name)
                .expect("a figure")
                .2
        };
        let (tokio, found) = (of("hyper-tokio"), of("hyper-untether"));
        assert!(found <= tokio * 1.05, "{cases}: {found}, on tokio {tokio}");
    }
}
