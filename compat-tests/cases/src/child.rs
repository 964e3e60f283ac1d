//! A process of its own, for cases that break what a whole process shares: descriptors and limits.
//!
//! The program runs itself again with two environment variables that name the case and the subject. It must agree to
//! that by calling [`serve_children`] first thing in `main`; a program that has not (a test harness, say) would start
//! everything over instead, so there these cases are skipped.

use std::env;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::case::{Case, Verdict};
use crate::check::{DEFAULT_LIMIT, check_here};
use crate::subject::Subject;

const CASE: &str = "UNTETHER_CONFORMANCE_CASE";
const SUBJECT: &str = "UNTETHER_CONFORMANCE_SUBJECT";
const LIMIT_MS: &str = "UNTETHER_CONFORMANCE_LIMIT_MS";

/// Precedes the verdict in the child's output. The case itself may have printed before.
const MARK: &str = "untether-conformance verdict: ";

/// What a child gets on top of the case's own limit, to start and to report.
const GRACE: Duration = Duration::from_secs(5);

static SERVED: AtomicBool = AtomicBool::new(false);

/// Lets cases have a process of their own. Call it first thing in `main`, with every case and subject that you may
/// check. If this process was started for one case, it checks that one, reports to its parent, and does not return.
pub fn serve_children(cases: &[Case], subjects: &[Arc<dyn Subject>]) {
    SERVED.store(true, Ordering::SeqCst);
    let (Ok(case_name), Ok(subject_name)) = (env::var(CASE), env::var(SUBJECT)) else {
        return;
    };
    let limit = env::var(LIMIT_MS)
        .ok()
        .and_then(|text| text.parse().ok())
        .map_or(DEFAULT_LIMIT, Duration::from_millis);
    let case = cases.iter().find(|case| case.name == case_name);
    let subject = subjects
        .iter()
        .find(|subject| subject.name() == subject_name);
    let verdict = match (case, subject) {
        (Some(case), Some(subject)) => check_here(case, subject, limit),
        _ => Verdict::Failed(format!(
            "serve_children was not given the case {case_name} or the subject {subject_name}"
        )),
    };
    println!("{MARK}{}\n{}", verdict.word(), verdict.detail());
    // Not a return from main: abandoned threads may still run, and nobody waits for them.
    std::process::exit(0);
}

pub(crate) fn check_in_child(case: &Case, subject: &dyn Subject, limit: Duration) -> Verdict {
    if !SERVED.load(Ordering::SeqCst) {
        return Verdict::Skipped(
            "needs a process of its own: call serve_children first thing in main".to_owned(),
        );
    }
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return Verdict::Skipped(format!("cannot run this program again: {error}")),
    };
    let child = Command::new(program)
        .env(CASE, case.name)
        .env(SUBJECT, subject.name())
        .env(LIMIT_MS, limit.as_millis().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Verdict::Failed(format!("cannot run this program again: {error}")),
    };
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stdout.read_to_end(&mut text);
        let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
    });
    let Ok(text) = receiver.recv_timeout(limit + GRACE) else {
        let _ = child.kill();
        let _ = child.wait();
        return Verdict::Hung("its process did not even report, and was killed".to_owned());
    };
    let status = child.wait();
    verdict_in(&text).unwrap_or_else(|| {
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        Verdict::Failed(format!(
            "its process ended without a verdict: {status}\n{text}"
        ))
    })
}

fn verdict_in(text: &str) -> Option<Verdict> {
    let (_, verdict) = text.rsplit_once(MARK)?;
    let (word, detail) = verdict.split_once('\n')?;
    Verdict::from_parts(word, detail.trim_end())
}
