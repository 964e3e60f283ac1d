//! Runs cases on subjects: side by side where they do not disturb each other, one by one where they would.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use untether_conformance::{Case, Need, Outcome, Verdict, check};

use crate::args::Args;
use crate::deviations::Deviation;
use crate::subjects::Entrant;

/// What came of one case on one subject, once.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The case.
    pub case: Case,
    /// The subject's name.
    pub subject: String,
    /// Which repetition: 1 is the first.
    pub repetition: usize,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took.
    pub elapsed: Duration,
    /// What is known about this case on this subject.
    pub deviation: Option<Deviation>,
}

/// What a finding counts as, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It makes no sense there.
    Skipped,
    /// The promise was kept.
    Passed,
    /// It was not, as is known.
    Deviates,
    /// It was, though it is said not to be.
    Recovered,
    /// It was not.
    Failed,
    /// The case did not end.
    Hung,
}

impl Standing {
    /// Whether it fails the run.
    #[must_use]
    pub fn is_unexpected(self) -> bool {
        self >= Standing::Recovered
    }

    /// A few letters for the table.
    #[must_use]
    pub fn mark(self) -> &'static str {
        match self {
            Standing::Skipped => "-",
            Standing::Passed => "ok",
            Standing::Deviates => "dev",
            Standing::Recovered => "NEW",
            Standing::Failed => "FAIL",
            Standing::Hung => "HUNG",
        }
    }
}

impl Finding {
    /// What it counts as.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (&self.verdict, self.deviation) {
            (Verdict::Skipped(_), _) => Standing::Skipped,
            (Verdict::Passed, None) => Standing::Passed,
            (Verdict::Passed, Some(_)) => Standing::Recovered,
            (Verdict::Failed(_) | Verdict::Hung(_), Some(_)) => Standing::Deviates,
            (Verdict::Failed(_), None) => Standing::Failed,
            (Verdict::Hung(_), None) => Standing::Hung,
        }
    }
}

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Promises kept.
    pub passed: usize,
    /// Promises broken, and deviations that are none any more.
    pub failed: usize,
    /// Cases that make no sense somewhere, and known deviations.
    pub skipped: usize,
}

impl Totals {
    /// Counts.
    #[must_use]
    pub fn of(findings: &[Finding]) -> Totals {
        let mut totals = Totals::default();
        for finding in findings {
            match finding.standing() {
                Standing::Passed => totals.passed += 1,
                Standing::Skipped | Standing::Deviates => totals.skipped += 1,
                Standing::Recovered | Standing::Failed | Standing::Hung => totals.failed += 1,
            }
        }
        totals
    }
}

/// One case to be run on one subject.
#[derive(Clone, Copy)]
struct Job<'a> {
    case: &'a Case,
    entrant: &'a Entrant,
    repetition: usize,
}

/// Runs every case on every entrant. The findings come case by case, in the order of the cases and the entrants.
#[must_use]
pub fn run(
    args: &Args,
    cases: &[Case],
    entrants: &[Entrant],
    deviations: &[Deviation],
) -> Vec<Finding> {
    let (mut shared, mut alone) = (VecDeque::new(), VecDeque::new());
    let mut place = 0;
    for case in cases {
        for entrant in entrants {
            for repetition in 1..=args.repeat.get() {
                let job = Job {
                    case,
                    entrant,
                    repetition,
                };
                match case.needs.contains(&Need::Alone) {
                    true => alone.push_back((place, job)),
                    false => shared.push_back((place, job)),
                }
                place += 1;
            }
        }
    }
    let progress = progress(place);
    let shared = Mutex::new(shared);
    let findings = Mutex::new(Vec::with_capacity(place));
    let carry_out = |(place, job): (usize, Job<'_>)| {
        progress.set_message(format!("{} on {}", job.case.name, job.entrant.name()));
        let Outcome { verdict, elapsed } = check(job.case, &job.entrant.subject, args.timeout);
        let finding = Finding {
            case: job.case.clone(),
            subject: job.entrant.name().to_owned(),
            repetition: job.repetition,
            verdict,
            elapsed,
            deviation: deviations
                .iter()
                .find(|known| known.case == job.case.name && known.subject == job.entrant.name())
                .copied(),
        };
        lock(&findings).push((place, finding));
        progress.inc(1);
    };
    thread::scope(|scope| {
        for _ in 0..args.jobs() {
            scope.spawn(|| {
                loop {
                    // Not in the condition: the lock would be held while the job runs.
                    let job = lock(&shared).pop_front();
                    match job {
                        Some(job) => carry_out(job),
                        None => break,
                    }
                }
            });
        }
    });
    for job in alone {
        carry_out(job);
    }
    progress.finish_and_clear();
    let mut findings = findings
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    findings.sort_by_key(|(place, _)| *place);
    findings.into_iter().map(|(_, finding)| finding).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn progress(jobs: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}");
    ProgressBar::new(jobs as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
