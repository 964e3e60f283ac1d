//! A promise that a program can check, and what came of checking it.
//!
//! Not here: how a case is run (`run`), and what it may use while it runs (`scene`).

use std::any;
use std::fmt;
use std::sync::Arc;

use crate::scene::Scene;
use crate::subject::Abilities;

/// One promise, and a function that panics when it is broken.
#[derive(Clone)]
pub struct Case {
    /// A sentence in snake_case that is true when the case passes.
    pub name: &'static str,
    /// The promise that the case belongs to, which is the file that it lives in.
    pub group: &'static str,
    /// What a failure means for a user.
    pub promise: &'static str,
    /// What must be there for the case to make sense.
    pub needs: &'static [Need],
    /// The check itself.
    pub run: Arc<dyn Fn(&Scene) + Send + Sync>,
}

impl Case {
    /// A case named after the function that checks it, in a group named after that function's module.
    pub(crate) fn of<F>(run: F, promise: &'static str) -> Case
    where
        F: Fn(&Scene) + Send + Sync + 'static,
    {
        let mut path = any::type_name::<F>().rsplit("::");
        Case {
            name: path.next().unwrap_or("unnamed"),
            group: path.next().unwrap_or("ungrouped"),
            promise,
            needs: &[],
            run: Arc::new(run),
        }
    }

    /// States what must be there for the case to make sense.
    #[must_use]
    pub fn needs(mut self, needs: &'static [Need]) -> Case {
        self.needs = needs;
        self
    }

    /// Whether nothing else may run beside it.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.needs.contains(&Need::Alone)
    }

    /// Why a runtime of these abilities cannot be asked, if it cannot.
    pub(crate) fn unmet(&self, abilities: Abilities) -> Option<&'static str> {
        self.needs
            .iter()
            .find_map(|need| need.missing_from(abilities))
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("group", &self.group)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

/// What a case needs of the machine, of the host program, or of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A Unix: Unix sockets, pipes, descriptors.
    Unix,
    /// Linux: abstract addresses, error queues, out-of-band data as the kernel there tells it.
    Linux,
    /// A runtime that spawns tasks.
    Spawn,
    /// A runtime whose `run` may be called from inside itself.
    Nesting,
    /// A runtime with timers of its own.
    OwnTimers,
    /// A runtime whose timers go by the machine's time: the case compares the two, lets a thread take time that a timer is
    /// to notice, or carries a timer from one run to another.
    RealTime,
    /// A runtime that polls only what was woken.
    PollsOnlyWhenWoken,
    /// A runtime that polls as soon as it can.
    PollsAtOnce,
    /// No other case at the same time: it measures time, or takes much of the machine.
    Alone,
    /// A process of its own: it breaks descriptors or limits that everything in a process shares.
    OwnProcess,
}

impl Need {
    fn missing_from(self, abilities: Abilities) -> Option<&'static str> {
        let (met, otherwise) = match self {
            Need::Unix => (cfg!(unix), "needs a Unix"),
            Need::Linux => (cfg!(target_os = "linux"), "needs Linux"),
            Need::Spawn => (abilities.spawns, "this runtime does not spawn"),
            Need::Nesting => (
                abilities.nests,
                "this runtime does not run inside its own run",
            ),
            Need::OwnTimers => (
                abilities.own_timers,
                "this runtime has no timers of its own",
            ),
            Need::RealTime => (
                !abilities.virtual_time,
                "this runtime's time is not the machine's, by design",
            ),
            Need::PollsOnlyWhenWoken => (
                !abilities.polls_unasked,
                "this runtime polls what was not woken, by design",
            ),
            Need::PollsAtOnce => (!abilities.polls_late, "this runtime polls late, by design"),
            // Those who run the case see to these two.
            Need::Alone | Need::OwnProcess => (true, ""),
        };
        (!met).then_some(otherwise)
    }
}

/// What came of a case on a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The promise was kept.
    Passed,
    /// The promise was broken: the panic messages, each with its place.
    Failed(String),
    /// The case did not end in time: what it waited for, and the state of every reactor of the process.
    Hung(String),
    /// The case makes no sense here, for this reason.
    Skipped(String),
}

impl Verdict {
    /// Whether this counts against the runtime.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self, Verdict::Failed(_) | Verdict::Hung(_))
    }

    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed(_) => "failed",
            Verdict::Hung(_) => "hung",
            Verdict::Skipped(_) => "skipped",
        }
    }

    /// What there is to say beyond that word; empty for a pass.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Verdict::Passed => "",
            Verdict::Failed(text) | Verdict::Hung(text) | Verdict::Skipped(text) => text,
        }
    }

    /// The verdict of this `word` and `detail`; the way back from [`word`](Verdict::word).
    #[must_use]
    pub(crate) fn from_parts(word: &str, detail: &str) -> Option<Verdict> {
        let detail = detail.to_owned();
        match word {
            "passed" => Some(Verdict::Passed),
            "failed" => Some(Verdict::Failed(detail)),
            "hung" => Some(Verdict::Hung(detail)),
            "skipped" => Some(Verdict::Skipped(detail)),
            _ => None,
        }
    }
}
