//! What an echoed request costs, guarded with bounds: user instructions, counted by callgrind.
//!
//! They are the same on every machine, as far as the compiler is, and those of a debug build say nothing. So these
//! tests run with `--release`, where valgrind is installed, and say so where they do not.

#![cfg(target_os = "linux")]

use std::process::Command;

/// What the command finds out about an echo, of the bare loop and of another subject.
fn medians(measure: &str, subject: &str) -> Option<(f64, f64)> {
    compared(&format!("{measure}/C=64 64 B"), "raw", subject)
}

/// What the command finds out about a `measure/case` of two subjects.
fn compared(case: &str, base: &str, subject: &str) -> Option<(f64, f64)> {
    let tool = if case.contains("syscalls/") {
        "strace"
    } else {
        "valgrind"
    };
    let installed = Command::new(tool).arg("--version").output();
    if cfg!(debug_assertions) || !installed.is_ok_and(|output| output.status.success()) {
        println!("skipped: needs --release, and {tool}");
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    let status = Command::new(env!("CARGO_BIN_EXE_untether-bench"))
        .args(["--only", case, "--subject", subject, "--json"])
        .arg(&report)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("the command");
    assert!(status.success());
    let report = std::fs::read_to_string(report).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let median = |name: &str| {
        let figures = report["figures"].as_array().expect("figures");
        let figure = figures.iter().find(|figure| figure["subject"] == name);
        figure.expect("a figure")["value"]["median"]
            .as_f64()
            .expect("a number")
    };
    Some((median(base), median(subject)))
}

/// At most 5 % more than on the day when it was written down.
fn assert_no_more(found: f64, known: f64, what: &str) {
    assert!(found <= known * 1.05, "{what}: {found}, was {known}");
    if found < known * 0.95 {
        println!("{what}: {found}, was {known}: lower the bound");
    }
}

#[test]
fn instructions_of_an_echo_on_local() {
    if let Some((_, found)) = medians("instructions", "untether-local") {
        assert_no_more(found, LOCAL, "untether-local");
    }
}

#[test]
fn instructions_of_an_echo_on_a_pool() {
    if let Some((_, found)) = medians("instructions", "untether-pool-1") {
        assert_no_more(found, POOL, "untether-pool-1");
    }
}

#[test]
fn system_calls_of_an_echo_are_those_of_the_bare_loop() {
    if let Some((raw, found)) = medians("syscalls", "untether-local") {
        assert!(
            (found - raw).abs() < 0.01,
            "{found}, of the bare loop {raw}"
        );
        assert!(found < 2.05, "{found}");
    }
}

#[test]
fn an_http_request_costs_no_more_than_on_tokio() {
    for counted in ["hyper syscalls", "hyper instructions"] {
        let case = format!("{counted}/C=64 hello");
        if let Some((tokio, found)) = compared(&case, "hyper-tokio", "hyper-untether") {
            assert_no_more(found, tokio, counted);
        }
    }
}

/// Per request, with 64 connections and 64 bytes; rustc 1.95.
const LOCAL: f64 = 1_000.0;
const POOL: f64 = 1_400.0;
