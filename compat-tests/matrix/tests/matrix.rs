//! The matrix as its users see it: a command, and a library that takes any subjects.

use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;

use clap::Parser;
use untether_conformance::{Case, Root, Scene, Subject, all};
use untether_matrix::args::Args;
use untether_matrix::deviations::{DEVIATIONS, Deviation};
use untether_matrix::subjects::{self, Entrant};
use untether_matrix::{BROKEN, KEPT, MISUSED};

fn matrix(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_untether-matrix"))
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Runs the matrix as a library. Returns the exit code, and what it printed.
fn run(arguments: &[&str], entrants: &[Entrant], deviations: &[Deviation]) -> (u8, String) {
    run_cases(arguments, &all(), entrants, deviations)
}

fn run_cases(
    arguments: &[&str],
    cases: &[Case],
    entrants: &[Entrant],
    deviations: &[Deviation],
) -> (u8, String) {
    let args = Args::parse_from([&["untether-matrix"], arguments].concat());
    let mut out = Vec::new();
    let code = untether_matrix::run(&args, cases, entrants, deviations, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

/// Polls nothing, and waits for ever.
struct NeverPolls;

impl Subject for NeverPolls {
    fn name(&self) -> &str {
        "never-polls"
    }

    fn run(&self, root: Root) {
        loop {
            thread::park();
            std::hint::black_box(&root);
        }
    }
}

/// Polls once more after the end.
struct PollsAfterReady;

impl Subject for PollsAfterReady {
    fn name(&self) -> &str {
        "polls-after-ready"
    }

    fn run(&self, mut root: Root) {
        pollster::block_on(std::future::poll_fn(|cx| root.as_mut().poll(cx)));
        pollster::block_on(std::future::poll_fn(|cx| {
            let _ = root.as_mut().poll(cx);
            std::task::Poll::Ready(())
        }));
    }
}

const AFTER_READY: &str = "nothing_is_polled_after_it_was_ready";

fn toy() -> Entrant {
    Entrant::new("ar", "polls after ready", PollsAfterReady)
}

const KNOWN: Deviation = Deviation {
    subject: "polls-after-ready",
    case: AFTER_READY,
    reason: "made so",
    checked: "2026-11-24",
};

#[test]
fn list_names_cases_and_subjects_and_runs_nothing() {
    let output = matrix(&["--list"]);
    assert!(output.status.success());
    let text = stdout(&output);
    for case in all() {
        assert!(text.contains(case.name), "{} is not listed", case.name);
        assert!(text.contains(&format!("{}:", case.group)));
    }
    for entrant in subjects::all() {
        assert!(text.contains(entrant.name()), "{}", entrant.name());
    }
    assert!(!text.contains(" passed"), "{text}");
}

#[test]
fn the_totals_are_alone_on_the_last_line() {
    let output = matrix(&["--filter", "transfer::vectored", "--subject", "pollster"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(last_line(&text), "1 passed, 0 failed, 0 skipped");
}

#[test]
fn the_json_report_has_every_finding() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let output = matrix(&[
        "--filter",
        "transfer",
        "--filter",
        "foreign_timers",
        "--subject",
        "pollster",
        "--subject",
        "tokio-current-thread",
        "--repeat",
        "2",
        "--json",
        path.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", stdout(&output));
    let text = std::fs::read_to_string(path).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let findings = report["findings"].as_array().unwrap();
    // Six cases on two subjects, twice; pollster has no timers.
    assert_eq!(findings.len(), 24);
    assert_eq!(report["passed"], 22);
    assert_eq!(report["failed"], 0);
    assert_eq!(report["skipped"], 2);
    for finding in findings {
        for key in ["group", "case", "subject", "verdict", "promise", "detail"] {
            assert!(finding[key].is_string(), "{key}: {finding}");
        }
        assert!(finding["seconds"].is_f64(), "{finding}");
        assert_eq!(finding["unexpected"], false);
        assert!(matches!(finding["repetition"].as_u64(), Some(1 | 2)));
    }
}

#[test]
fn a_case_with_a_process_of_its_own_runs_there() {
    let output = matrix(&[
        "--filter",
        "descriptors_are_given_back",
        "--subject",
        "smol",
    ]);
    let text = stdout(&output);
    assert_eq!(last_line(&text), "1 passed, 0 failed, 0 skipped", "{text}");
}

#[test]
fn what_makes_no_sense_is_a_complaint() {
    for arguments in [
        &["--subject", "no-such-runtime"][..],
        &["--filter", "no_such_case"],
        &["--timeout", "0"],
        &["--timeout", "soon"],
        &["--repeat", "0"],
    ] {
        let output = matrix(arguments);
        assert_eq!(
            output.status.code(),
            Some(i32::from(MISUSED)),
            "{arguments:?}"
        );
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_broken_promise_is_told_in_full_and_fails_the_run() {
    let (code, text) = run(&["--filter", AFTER_READY], &[toy()], &[]);
    assert_eq!(code, BROKEN);
    assert!(text.contains("FAIL"), "{text}");
    let heading = format!("== block_on::{AFTER_READY} on polls-after-ready: failed");
    assert!(text.contains(&heading), "{text}");
    assert!(text.contains("for a user: "), "{text}");
    assert!(text.contains("block_on.rs:"), "{text}");
    assert_eq!(last_line(&text), "0 passed, 1 failed, 0 skipped");
}

#[test]
fn a_hang_is_told_and_the_run_goes_on() {
    let entrants = [Entrant::new("np", "never polls", NeverPolls), toy()];
    let arguments = ["--filter", "transfer", "--timeout", "0.2", "--jobs", "2"];
    let (code, text) = run(&arguments, &entrants, &[]);
    assert_eq!(code, BROKEN);
    assert!(text.contains("HUNG"), "{text}");
    assert!(text.contains("reactors of this process"), "{text}");
    // All five hang on the one, and none is kept from running on the other, which fails at being polled again.
    assert_eq!(last_line(&text), "0 passed, 10 failed, 0 skipped");
}

#[test]
fn a_known_deviation_is_shown_and_fails_nothing() {
    let (code, text) = run(&["--filter", AFTER_READY], &[toy()], &[KNOWN]);
    assert_eq!(code, KEPT, "{text}");
    assert!(text.contains("dev"), "{text}");
    assert!(text.contains("checked 2026-11-24: made so"), "{text}");
    assert_eq!(last_line(&text), "0 passed, 0 failed, 1 skipped");
}

#[test]
fn a_deviation_that_does_not_show_fails_the_run() {
    let passes = Case {
        name: AFTER_READY,
        group: "block_on",
        promise: "Nothing.",
        needs: &[],
        run: Arc::new(|_: &Scene| {}),
    };
    let (code, text) = run_cases(&[], &[passes], &[toy()], &[KNOWN]);
    assert_eq!(code, BROKEN, "{text}");
    assert!(text.contains("take it out of deviations.rs"), "{text}");
    assert_eq!(last_line(&text), "0 passed, 1 failed, 0 skipped");
}

#[test]
fn deviations_are_about_cases_and_subjects_that_exist() {
    let (cases, entrants) = (all(), subjects::all());
    for known in DEVIATIONS {
        assert!(
            cases.iter().any(|case| case.name == known.case),
            "{}",
            known.case
        );
        assert!(
            entrants
                .iter()
                .any(|entrant| entrant.name() == known.subject),
            "{}",
            known.subject
        );
        assert_eq!(known.checked.len(), "2026-11-24".len(), "{}", known.checked);
    }
}

#[test]
fn the_table_fits_a_hundred_columns() {
    // Marks at their widest; the cases themselves do not matter.
    let cases: Vec<_> = all()
        .into_iter()
        .map(|case| Case {
            needs: &[],
            run: Arc::new(|_: &Scene| panic!("on purpose")),
            ..case
        })
        .collect();
    let (code, text) = run_cases(&[], &cases, &subjects::all(), &[]);
    assert_eq!(code, BROKEN);
    let table = text.split("\n\n").next().unwrap();
    for line in table.lines() {
        assert!(line.chars().count() <= 100, "{} wide: {line}", line.len());
    }
    assert_eq!(
        last_line(&text),
        format!(
            "0 passed, {} failed, 0 skipped",
            cases.len() * subjects::all().len()
        )
    );
}
