//! What happened in a run, step by step, in words that are the same whenever the run is.
//!
//! Names, numbers, and virtual times only: no address, no global number of a task, no time of the machine.
//!
//! Not here: when something is noted (`sim`, `member`).

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How many events a trace keeps; the oldest go first.
const EVENTS_MAX: usize = 1 << 20;

/// What a [`Sim`](crate::Sim) has done, in order: its steps, whom each wakes and starts, and how time moved.
///
/// It prints as text, a line for each event, which is the same for two runs of one schedule if the program is
/// deterministic. Tasks are called by the number that they have in the simulation, in order of their start, and by their
/// name. It keeps the last 1,048,576 events.
///
/// # Examples
///
/// ```
/// use untether_executors::Sim;
///
/// let sim = Sim::replay(&"17:".parse()?);
/// let answer = sim.spawn_named("answer", async { 42 });
/// assert_eq!(sim.run(answer), 42);
/// let text = "\
/// starts task 1 (answer)
/// step 1: task 1 (answer)
///   is done
/// step 2: main
///   is done
/// ";
/// assert_eq!(sim.trace().to_string(), text);
/// # Ok::<(), untether_executors::sim::ParseScheduleError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trace {
    events: VecDeque<Event>,
    /// How many were not kept.
    lost: u64,
    from_outside: bool,
}

/// A task, or the main future, which is number 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Who {
    pub(crate) task: u64,
    pub(crate) name: Option<Arc<str>>,
}

/// Who or what brings something about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// The program around the simulation, on its thread.
    Around,
    /// The step under way, which is this task's.
    Step(u64),
    /// A timer, or I/O.
    Reactor,
    /// Nothing: the schedule says so.
    Nothing,
    /// Another thread.
    Outside,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// `before` would have run by default.
    Step {
        step: u64,
        who: Who,
        before: Option<Who>,
    },
    Starts(Who, By),
    Wakes(Who, By),
    Pends,
    Ends,
    Panics(Arc<str>),
    Drops(Who),
    /// The time is so long after the start now.
    Time(Duration),
}

impl Trace {
    pub(crate) fn note(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
            self.lost += 1;
        }
        self.events.push_back(event);
    }

    pub(crate) fn note_outside(&mut self) {
        self.from_outside = true;
    }

    /// Whether anything came from outside, where no seed chooses: a wake or a task from another thread, or I/O. Then a
    /// replay follows the choices as far as the world comes along.
    pub fn from_outside(&self) -> bool {
        self.from_outside
    }

    /// The first line in which the other differs, and the two lines; a trace that ends there has none.
    pub(crate) fn differs_from(&self, other: &Trace) -> Option<(Option<String>, Option<String>)> {
        if self == other {
            return None;
        }
        let (mut ours, mut theirs) = (self.events.iter(), other.events.iter());
        loop {
            match (ours.next(), theirs.next()) {
                (Some(one), Some(other)) if one == other => {}
                (None, None) => return None,
                (one, other) => {
                    return Some((one.map(Event::to_string), other.map(Event::to_string)));
                }
            }
        }
    }

    /// The last lines.
    pub(crate) fn tail(&self, lines: usize) -> Tail<'_> {
        Tail { trace: self, lines }
    }
}

/// The end of a trace, as text.
pub(crate) struct Tail<'a> {
    trace: &'a Trace,
    lines: usize,
}

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trace { events, lost, .. } = self.trace;
        let skipped = events.len().saturating_sub(self.lines);
        match lost + skipped as u64 {
            0 => {}
            1 => writeln!(f, "(one event left out)")?,
            many => writeln!(f, "({many} events left out)")?,
        }
        for event in events.iter().skip(skipped) {
            writeln!(f, "{event}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tail(usize::MAX).fmt(f)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.task, &self.name) {
            (0, _) => f.write_str("main"),
            (task, Some(name)) => write!(f, "task {task} ({name})"),
            (task, None) => write!(f, "task {task}"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let does = |f: &mut fmt::Formatter<'_>, verb: &str, who: &Who, by: By| match by {
            By::Around => write!(f, "{verb} {who}"),
            By::Step(task) if task == who.task => write!(f, "  {verb} itself"),
            By::Step(_) => write!(f, "  {verb} {who}"),
            By::Reactor => write!(f, "the reactor {verb} {who}"),
            By::Nothing => write!(f, "nothing {verb} {who}"),
            By::Outside => write!(f, "another thread {verb} {who}"),
        };
        match self {
            Event::Step { step, who, before } => {
                write!(f, "step {step}: {who}")?;
                match before {
                    Some(before) => write!(f, " before {before}"),
                    None => Ok(()),
                }
            }
            Event::Starts(who, by) => does(f, "starts", who, *by),
            Event::Wakes(who, by) => does(f, "wakes", who, *by),
            Event::Pends => f.write_str("  waits"),
            Event::Ends => f.write_str("  is done"),
            Event::Panics(message) => write!(f, "  panics: {}", message.replace('\n', "\n  ")),
            Event::Drops(who) => write!(f, "  drops {who}"),
            Event::Time(at) => write!(f, "time {}", Clocked(*at)),
        }
    }
}

/// A time since the start, in seconds.
pub(crate) struct Clocked(pub(crate) Duration);

impl fmt::Display for Clocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09} s", self.0.as_secs(), self.0.subsec_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(task: u64, name: Option<&str>) -> Who {
        Who {
            task,
            name: name.map(Arc::from),
        }
    }

    #[test]
    fn each_event_is_a_line() {
        let mut trace = Trace::default();
        let (main, left, right) = (who(0, None), who(1, Some("left")), who(2, None));
        for event in [
            Event::Starts(left.clone(), By::Around),
            Event::Step {
                step: 1,
                who: main.clone(),
                before: Some(left.clone()),
            },
            Event::Starts(right.clone(), By::Step(0)),
            Event::Wakes(main.clone(), By::Step(0)),
            Event::Pends,
            Event::Time(Duration::from_millis(1500)),
            Event::Wakes(left, By::Reactor),
            Event::Wakes(right.clone(), By::Nothing),
            Event::Wakes(main, By::Outside),
            Event::Drops(right),
            Event::Panics("no".into()),
            Event::Ends,
        ] {
            trace.note(event);
        }
        let lines = [
            "starts task 1 (left)",
            "step 1: main before task 1 (left)",
            "  starts task 2",
            "  wakes itself",
            "  waits",
            "time 1.500000000 s",
            "the reactor wakes task 1 (left)",
            "nothing wakes task 2",
            "another thread wakes main",
            "  drops task 2",
            "  panics: no",
            "  is done",
        ];
        assert_eq!(
            trace.to_string(),
            lines.map(|line| format!("{line}\n")).concat()
        );
        assert_eq!(
            trace.tail(2).to_string(),
            "(10 events left out)\n  panics: no\n  is done\n"
        );
    }

    #[test]
    fn the_first_difference_is_found() {
        let mut one = Trace::default();
        one.note(Event::Pends);
        let mut other = one.clone();
        assert_eq!(one.differs_from(&other), None);
        other.note(Event::Ends);
        let difference = one.differs_from(&other);
        assert_eq!(difference, Some((None, Some("  is done".into()))));
    }
}
