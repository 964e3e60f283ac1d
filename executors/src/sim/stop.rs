//! Why a run stopped before its end, and how that is told.
//!
//! Not here: when it stops (`sim`), and what is made of it (`check`).

use std::any::Any;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use super::schedule::Schedule;
use super::trace::{Clocked, Who};

/// Why a run stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    Main(Arc<str>),
    Task(Who, Arc<str>),
    Deadlock(Arc<str>),
    Steps,
}

/// A run that stopped before its end.
pub(super) struct Stop {
    pub(super) cause: Cause,
    pub(super) schedule: Schedule,
    pub(super) step: u64,
    pub(super) elapsed: Duration,
    /// Where the panic was, if that is known.
    pub(super) location: Option<Arc<str>>,
    pub(super) payload: Option<Box<dyn Any + Send>>,
}

impl Stop {
    /// Prints what is known, and panics.
    pub(super) fn raise(self: Box<Stop>) -> ! {
        eprintln!("{self}");
        match self.payload {
            Some(payload) => resume_unwind(payload),
            None => panic!("{}", self.cause),
        }
    }

    /// Whether it is the same mistake, as far as can be told.
    pub(super) fn is_like(&self, other: &Stop) -> bool {
        match (&self.cause, &other.cause) {
            (Cause::Main(one), Cause::Main(other_one))
            | (Cause::Task(_, one), Cause::Task(_, other_one)) => {
                match (&self.location, &other.location) {
                    (Some(here), Some(there)) => here == there,
                    _ => one == other_one,
                }
            }
            (Cause::Deadlock(_), Cause::Deadlock(_)) | (Cause::Steps, Cause::Steps) => true,
            _ => false,
        }
    }

    /// What went wrong, and where.
    pub(super) fn what(&self) -> String {
        let cause = self.cause.to_string();
        match &self.location {
            Some(location) => cause.replacen("panicked:", &format!("panicked at {location}:"), 1),
            None => cause,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "simulation: step {} of schedule {}, {} after the start: {}\n  to have it again: \
             Sim::replay(&\"{1}\".parse().unwrap()), with the same options",
            self.step,
            self.schedule,
            Clocked(self.elapsed),
            self.cause
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Main(message) => write!(f, "main panicked: {message}"),
            Cause::Task(who, message) => write!(f, "{who} panicked: {message}"),
            Cause::Deadlock(living) => write!(
                f,
                "deadlock: nothing can run, no timer is pending, and nothing is awaited from outside (if it is another \
                 thread that was to wake somebody, hold a sim::Outside meanwhile); alive are {living}"
            ),
            Cause::Steps => f.write_str(
                "it has made as many steps as it may and not ended (SimBuilder::max_steps); a loop that waits for nothing?",
            ),
        }
    }
}

/// What a panic said.
pub(super) fn message(payload: &(dyn Any + Send)) -> Arc<str> {
    let string = payload.downcast_ref::<String>().map(String::as_str);
    let text = string.or_else(|| payload.downcast_ref::<&str>().copied());
    Arc::from(text.unwrap_or("a panic without a message"))
}
