//! Many schedules, and of one that fails, the choices that matter.
//!
//! A failing run is told by its changes of the default order, so what is left out of the list goes back to that order.
//! Shrinking leaves out all of them, then halves, quarters, and so on down to single ones, and keeps what still fails in
//! the same way; each time the changes that such a run has really made are the list to go on with. It is done when none
//! can be spared, or the effort is spent.
//!
//! Before that the run is made once more, from its list: if that takes another course, the program is not deterministic,
//! and the report says where it parted.
//!
//! From then on panics are not printed, or the report would drown in them: a panic hook, which is set at the first
//! failure of the process and stays, keeps silent on a thread that shrinks, and remembers the place.
//!
//! Not here: what a schedule is (`schedule`), when a run fails (`sim`).

use std::cell::RefCell;
use std::collections::HashSet;
use std::env;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use super::SimBuilder;
use super::schedule::{Change, Schedule};
use super::stop::{Cause, Stop, message};
use super::trace::Trace;

/// How many runs shrinking may take,
const RUNS_MAX: usize = 1_000;

/// and how many steps in all.
const STEPS_MAX: u64 = 20_000_000;

/// How much of the trace a report shows.
const LINES_MAX: usize = 60;

/// A schedule to be run alone.
const VARIABLE: &str = "UNTETHER_SIM";

/// Runs a program once for each seed, each time in a [`Sim`](crate::Sim) of its own with default options, until one run
/// fails: see the [module](super) for what that means. [`SimBuilder::check`] does it with other options.
///
/// `program` is called inside of the simulation, which it reaches by [`sim::handle`](super::handle()). What it shares between
/// two calls must not make a difference.
///
/// If the environment variable `UNTETHER_SIM` is a [`Schedule`], the program is run by that one alone, and its trace is
/// printed.
///
/// # Panics
/// If a run fails, with the report of the [`Failure`]: the seed and the step, what went wrong, the fewest changes of the
/// default order that bring it about, what happens then step by step, and how to have it again.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use untether::{Timer, timeout};
/// use untether_executors::sim;
///
/// sim::check(0..100, || async {
///     let slow = sim::handle().spawn(Timer::after(Duration::from_secs(2)));
///     assert!(timeout(Duration::from_secs(1), slow).await.is_err());
/// });
/// ```
#[track_caller]
pub fn check<P, F>(seeds: impl IntoIterator<Item = u64>, program: P)
where
    P: FnMut() -> F,
    F: Future<Output = ()>,
{
    crate::Sim::builder().check(seeds, program);
}

/// The same as [`check`](check()), but returns what it has found, and does not look at the environment.
///
/// # Errors
/// The first failure, shrunk.
///
/// # Examples
///
/// ```
/// use untether_executors::sim;
///
/// let failure = sim::explore(0..10, || async { panic!("always") }).unwrap_err();
/// assert_eq!(failure.seed(), 0);
/// assert_eq!(failure.schedule().to_string(), "0:");
/// ```
pub fn explore<P, F>(seeds: impl IntoIterator<Item = u64>, program: P) -> Result<Explored, Failure>
where
    P: FnMut() -> F,
    F: Future<Output = ()>,
{
    crate::Sim::builder().explore(seeds, program)
}

/// What was explored without finding a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Explored {
    /// How many runs there were.
    pub runs: usize,
    /// How many different schedules these were. Far fewer than runs: more seeds will hardly find more.
    pub schedules: usize,
    /// How many steps they took in all.
    pub steps: u64,
}

/// A run that failed, and what is known about it. It prints as a report.
#[derive(Clone)]
pub struct Failure(Box<Report>);

#[derive(Clone)]
struct Report {
    /// The seed that found it, and how many were tried.
    seed: u64,
    tried: usize,
    step_then: u64,
    cause: String,
    /// How many changes the seed made.
    changes: usize,
    /// How many runs it took to shrink these.
    runs: usize,
    shrunk: Schedule,
    step_now: u64,
    trace: Trace,
    parted: Option<String>,
}

impl SimBuilder {
    /// As [`check`](check()), with the options of this builder. Its schedule is not used.
    ///
    /// # Panics
    /// If a run fails.
    #[track_caller]
    pub fn check<P, F>(&self, seeds: impl IntoIterator<Item = u64>, mut program: P)
    where
        P: FnMut() -> F,
        F: Future<Output = ()>,
    {
        let Some(text) = env::var_os(VARIABLE) else {
            if let Err(failure) = self.explore(seeds, program) {
                panic!("{failure}");
            }
            return;
        };
        let text = text.to_string_lossy();
        let schedule = text
            .parse::<Schedule>()
            .unwrap_or_else(|error| panic!("{VARIABLE}: {error}"));
        let course = self.course(&schedule, &mut program);
        eprint!("{VARIABLE}={schedule}:\n{}", course.trace);
        match course.stop {
            Some(stop) => panic!("step {}: {}", stop.step, stop.cause),
            None => eprintln!("it does not fail"),
        }
    }

    /// As [`explore`], with the options of this builder. Its schedule is not used.
    ///
    /// # Errors
    /// The first failure, shrunk.
    pub fn explore<P, F>(
        &self,
        seeds: impl IntoIterator<Item = u64>,
        mut program: P,
    ) -> Result<Explored, Failure>
    where
        P: FnMut() -> F,
        F: Future<Output = ()>,
    {
        let mut explored = Explored {
            runs: 0,
            schedules: 0,
            steps: 0,
        };
        let mut schedules = HashSet::new();
        for seed in seeds {
            let course = self.course(&Schedule::from(seed), &mut program);
            explored.runs += 1;
            explored.steps += course.steps;
            if course.stop.is_some() {
                let report = self.report(seed, explored.runs, course, &mut program);
                return Err(Failure(Box::new(report)));
            }
            let mut hasher = DefaultHasher::new();
            course.changes.hash(&mut hasher);
            schedules.insert(hasher.finish());
            explored.schedules = schedules.len();
        }
        Ok(explored)
    }

    /// One run.
    fn course<P, F>(&self, schedule: &Schedule, program: &mut P) -> Course
    where
        P: FnMut() -> F,
        F: Future<Output = ()>,
    {
        let strict = self.fail_on_task_panic.unwrap_or(true);
        let builder = self.clone().schedule(schedule).fail_on_task_panic(strict);
        let made = builder.build();
        let sim = made
            .unwrap_or_else(|error| panic!("cannot make a reactor for the simulation: {error}"));
        // The future's destructor may panic as well.
        let attempt = AssertUnwindSafe(|| sim.attempt(async { program().await }));
        let stop = catch_unwind(attempt)
            .unwrap_or_else(|payload| Err(sim.shared.stop(Cause::Main(message(&*payload)), None)))
            .err();
        let mine = sim.mine();
        Course {
            stop,
            changes: mine.chooser.borrow().made(),
            trace: mem::take(&mut mine.trace.borrow_mut()),
            steps: mine.steps.get(),
        }
    }

    fn report<P, F>(&self, seed: u64, tried: usize, first: Course, program: &mut P) -> Report
    where
        P: FnMut() -> F,
        F: Future<Output = ()>,
    {
        let stop = first.stop.as_ref().expect("a course that failed");
        let mut report = Report {
            seed,
            tried,
            step_then: stop.step,
            cause: stop.what(),
            changes: first.changes.len(),
            runs: 1,
            shrunk: Schedule::listed(seed, first.changes.clone()),
            step_now: stop.step,
            trace: Trace::default(),
            parted: None,
        };
        let _quiet = Quiet::begin();
        let again = self.course(&report.shrunk, program);
        report.parted = first.trace.differs_from(&again.trace).map(|(then, now)| {
            let line = |line: Option<String>| line.unwrap_or_else(|| "the end".into());
            format!("    first: {}\n    then:  {}\n", line(then), line(now))
        });
        let fails = again.stop.as_ref();
        let Some(again_stop) = fails.filter(|again| again.is_like(stop)) else {
            report.trace = first.trace;
            return report;
        };
        report.cause = again_stop.what();
        let mut effort = Effort {
            runs: 1,
            steps: again.steps,
        };
        let mut fails = |changes: Vec<Change>| {
            let course = self.course(&Schedule::listed(seed, changes), program);
            effort.runs += 1;
            effort.steps += course.steps;
            let spent = effort.runs >= RUNS_MAX || effort.steps >= STEPS_MAX;
            let stop = course.stop.as_ref();
            let alike = stop.is_some_and(|stop| stop.is_like(again_stop));
            (alike.then_some(course), spent)
        };
        let shrunk = shrink(again.changes.clone(), &mut fails);
        let best = shrunk.unwrap_or(again);
        report.runs = effort.runs;
        report.shrunk = Schedule::listed(seed, best.changes);
        if let Some(stop) = best.stop {
            report.step_now = stop.step;
        }
        report.trace = best.trace;
        report
    }
}

/// What a run has come to.
struct Course {
    stop: Option<Box<Stop>>,
    changes: Vec<Change>,
    trace: Trace,
    steps: u64,
}

struct Effort {
    runs: usize,
    steps: u64,
}

/// The course with the fewest changes that was found to fail; `None` if that is the one to begin with. `fails` makes a run,
/// returns it if it fails, and tells whether that was enough.
fn shrink(
    mut best: Vec<Change>,
    fails: &mut dyn FnMut(Vec<Change>) -> (Option<Course>, bool),
) -> Option<Course> {
    let mut course: Option<Course> = None;
    let mut size = best.len();
    while size > 0 {
        let mut spared = false;
        // From the end: what is left out changes what comes after it.
        let mut end = best.len();
        while end > 0 {
            let begin = end.saturating_sub(size);
            let mut fewer = best.clone();
            fewer.drain(begin..end);
            let (failed, spent) = fails(fewer);
            if let Some(failed) = failed.filter(|failed| failed.changes.len() < best.len()) {
                best = failed.changes.clone();
                course = Some(failed);
                spared = true;
            }
            if spent {
                return course;
            }
            end = begin.min(best.len());
        }
        size = match size {
            1 if spared => 1,
            _ => size.min(best.len()) / 2,
        };
    }
    course
}

impl Failure {
    /// The seed that found it.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The step at which the shrunk run failed.
    pub fn step(&self) -> u64 {
        self.0.step_now
    }

    /// What went wrong, in words.
    pub fn cause(&self) -> &str {
        &self.0.cause
    }

    /// The schedule with the fewest changes of the default order that was found to fail.
    pub fn schedule(&self) -> &Schedule {
        &self.0.shrunk
    }

    /// What happens by that schedule.
    pub fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// Whether the same choices, made once more, led to the same course. If not, something that the simulation does not
    /// choose makes a difference; the report says where that showed.
    pub fn is_deterministic(&self) -> bool {
        self.0.parted.is_none()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &*self.0;
        let Report {
            seed,
            step_then,
            cause,
            ..
        } = report;
        writeln!(f, "seed {seed} fails at step {step_then}: {cause}")?;
        if let Some(parted) = &report.parted {
            write!(
                f,
                "  the same choices, made once more, took another course, so something else makes a difference: the \
                 machine's time, a HashMap, I/O, or another thread? They parted at\n{parted}"
            )?;
        }
        let count = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        let shrunk = &report.shrunk;
        writeln!(
            f,
            "  found by the {} of the seeds; shrunk in {} from {} of the default order to {}",
            Nth(report.tried),
            count(report.runs, "run"),
            count(report.changes, "change"),
            shrunk.changes().unwrap_or(0)
        )?;
        writeln!(
            f,
            "  to have it again: {VARIABLE}='{shrunk}' in the environment of this test, or \
             Sim::replay(&\"{shrunk}\".parse().unwrap())"
        )?;
        writeln!(f, "  what happens then, until step {}:\n", report.step_now)?;
        report.trace.tail(LINES_MAX).fmt(f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Failure {}

/// 1st, 2nd, 3rd, 4th.
struct Nth(usize);

impl fmt::Display for Nth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match (self.0 % 10, self.0 % 100) {
            (_, 11..=13) => "th",
            (1, _) => "st",
            (2, _) => "nd",
            (3, _) => "rd",
            _ => "th",
        };
        write!(f, "{}{ending}", self.0)
    }
}

thread_local! {
    /// While this thread is quiet: where it panicked last.
    static HEARD: RefCell<Option<Option<Arc<str>>>> = const { RefCell::new(None) };
}

/// While it lives, panics of this thread are not printed.
struct Quiet;

impl Quiet {
    fn begin() -> Quiet {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let aloud = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                let place = info
                    .location()
                    .map(|location| Arc::from(location.to_string()));
                let heard = HEARD.try_with(|heard| {
                    let mut heard = heard.borrow_mut();
                    heard.as_mut().map(|heard| *heard = place).is_some()
                });
                if heard != Ok(true) {
                    aloud(info);
                }
            }));
        });
        HEARD.set(Some(None));
        Quiet
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        HEARD.set(None);
    }
}

/// Where this thread panicked last, if that is known.
pub(super) fn last_panic() -> Option<Arc<str>> {
    HEARD.with_borrow(|heard| heard.clone().flatten())
}

#[cfg(test)]
mod tests {
    use super::super::schedule::What;
    use super::*;

    fn changes(steps: impl IntoIterator<Item = u64>) -> Vec<Change> {
        let change = |step| Change {
            step,
            task: 1,
            what: What::Runs,
        };
        steps.into_iter().map(change).collect()
    }

    /// Shrinks a hundred changes of which it takes `needed` to fail. Returns what is left, and the number of runs.
    fn shrunk(needed: &[u64], runs_max: usize) -> (Vec<u64>, usize) {
        let mut runs = 0;
        let course = shrink(changes(0..100), &mut |changes| {
            runs += 1;
            let has = |step: &u64| changes.iter().any(|change| change.step == *step);
            let failed = needed.iter().all(has);
            let course = Course {
                stop: None,
                changes,
                trace: Trace::default(),
                steps: 0,
            };
            (failed.then_some(course), runs == runs_max)
        });
        let left = course.map_or_else(|| changes(0..100), |course| course.changes);
        (left.iter().map(|change| change.step).collect(), runs)
    }

    #[test]
    fn what_does_not_matter_is_left_out() {
        for needed in [
            &[][..],
            &[0],
            &[99],
            &[50],
            &[3, 4],
            &[0, 50, 99],
            &[1, 2, 3, 4, 5],
        ] {
            assert_eq!(shrunk(needed, usize::MAX).0, needed);
        }
        // All at once.
        assert_eq!(shrunk(&[], usize::MAX).1, 1);
    }

    #[test]
    fn the_effort_is_bounded() {
        let (left, runs) = shrunk(&[0, 50, 99], 7);
        assert_eq!(runs, 7);
        assert!(left.len() < 100);
    }

    #[test]
    fn ordinals() {
        let named = [1, 2, 3, 4, 11, 12, 13, 21, 112, 122].map(|n| Nth(n).to_string());
        let names = [
            "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th", "122nd",
        ];
        assert_eq!(named, names);
    }
}
