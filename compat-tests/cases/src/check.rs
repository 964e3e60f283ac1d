//! Checks one case: on a fresh thread, with a time limit, and with everything that is known when it fails.
//!
//! A case that does not end is reported as hung, with the state of every reactor of the process, and its thread is
//! abandoned: it may go on for ever, and does not hold up the next case.

use std::any::Any;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use untether::Reactor;

use crate::blackbox::Blackbox;
use crate::case::{Case, Need, Verdict};
use crate::child;
use crate::scene::{Scene, Skip};
use crate::subject::Subject;

/// How long a case may take, if nobody says otherwise.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

/// How long the reactors may take to print themselves. One of them may be stuck under its own lock.
const DEBUG_LIMIT: Duration = Duration::from_secs(1);

/// What came of a case, and how long it took.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What came of it.
    pub verdict: Verdict,
    /// From its start to the verdict.
    pub elapsed: Duration,
}

/// Checks `case` on `subject`. Returns within `limit` and a little, whatever the case does.
///
/// Several may be checked at once, except those that are [alone](Case::is_alone). A case that needs a process of its
/// own is skipped unless the program called [`serve_children`](crate::serve_children) first.
#[must_use]
pub fn check(case: &Case, subject: &Arc<dyn Subject>, limit: Duration) -> Outcome {
    let start = Instant::now();
    let verdict = match case.unmet(subject.abilities()) {
        Some(reason) => Verdict::Skipped(reason.to_owned()),
        None if case.needs.contains(&Need::OwnProcess) => {
            child::check_in_child(case, &**subject, limit)
        }
        None => check_here(case, subject, limit),
    };
    Outcome {
        verdict,
        elapsed: start.elapsed(),
    }
}

/// Checks every case on a subject, one after the other, and panics with a report if any promise is broken. Returns
/// how many cases passed.
///
/// # Panics
/// If a case fails or hangs.
pub fn assert_keeps<S: Subject + 'static>(
    subject: S,
    cases: impl IntoIterator<Item = Case>,
) -> usize {
    let subject: Arc<dyn Subject> = Arc::new(subject);
    let mut passed = 0;
    let mut report = String::new();
    for case in cases {
        let verdict = check(&case, &subject, DEFAULT_LIMIT).verdict;
        if verdict == Verdict::Passed {
            passed += 1;
        }
        if verdict.is_broken() {
            let _ = writeln!(
                report,
                "{}::{} {} on {}\n{}\n{}\n",
                case.group,
                case.name,
                verdict.word(),
                subject.name(),
                case.promise,
                verdict.detail()
            );
        }
    }
    assert!(report.is_empty(), "{report}");
    passed
}

pub(crate) fn check_here(case: &Case, subject: &Arc<dyn Subject>, limit: Duration) -> Verdict {
    let blackbox = Blackbox::default();
    let scene = Scene::new(subject.clone(), blackbox.clone());
    let run = case.run.clone();
    let (sender, receiver) = mpsc::channel();
    let worn = blackbox.clone();
    let thread = thread::Builder::new()
        .name(format!("case {}", case.name))
        .spawn(move || {
            let result = worn.worn(|| catch_unwind(AssertUnwindSafe(|| run(&scene))));
            // The case must have let go of the subject before the verdict counts.
            drop(scene);
            let _ = sender.send(result);
        });
    if let Err(error) = thread {
        return Verdict::Failed(format!("no thread to run the case on: {error}"));
    }
    match receiver.recv_timeout(limit) {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(panic)) => match panic.downcast::<Skip>() {
            Ok(skip) => Verdict::Skipped(skip.0),
            Err(panic) => Verdict::Failed(what_happened(&blackbox, &*panic)),
        },
        Err(_) => Verdict::Hung(state(&blackbox, limit)),
    }
}

fn what_happened(blackbox: &Blackbox, panic: &(dyn Any + Send)) -> String {
    let mut text = blackbox.panics();
    // A payload that was thrown past the hook is in no record.
    if text.is_empty() {
        let payload = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        text = payload.unwrap_or("a panic without a message").to_owned();
    }
    let step = blackbox.step();
    if !step.is_empty() {
        let _ = write!(text, "\nlast step: {step}");
    }
    text
}

fn state(blackbox: &Blackbox, limit: Duration) -> String {
    let mut text = format!("still running after {limit:?}");
    let step = blackbox.step();
    if !step.is_empty() {
        let _ = write!(text, "\nlast step: {step}");
    }
    let panics = blackbox.panics();
    if !panics.is_empty() {
        let _ = write!(text, "\npanics so far:\n{panics}");
    }
    let _ = write!(text, "\nthe reactors of this process:\n{}", reactors());
    text
}

fn reactors() -> String {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new()
        .name("case-reactors".to_owned())
        .spawn(move || {
            let _ = sender.send(format!("{:#?}", Reactor::all()));
        });
    match thread.map(|_| receiver.recv_timeout(DEBUG_LIMIT)) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => "they do not answer: one of them is stuck under its own lock".to_owned(),
        Err(error) => format!("no thread to ask them on: {error}"),
    }
}
