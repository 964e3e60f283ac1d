//! Known differences: who does not keep which promise, why that is so, and when it was last looked at.
//!
//! A deviation that shows is printed as `dev` and counts as skipped. One that does not show fails the run, so that
//! this list never says more than is true: take the entry out then.

/// One promise that one subject does not keep.
#[derive(Clone, Copy, Debug)]
pub struct Deviation {
    /// The subject's name.
    pub subject: &'static str,
    /// The case's name.
    pub case: &'static str,
    /// Why it fails, and why that is left so.
    pub reason: &'static str,
    /// The date on which that was last checked: year-month-day.
    pub checked: &'static str,
}

const ONE_PARKER: &str =
    "one parker per thread: a late wake of an earlier run costs a poll, which a future must bear";

const ONE_WAKER: &str =
    "one waker per thread: a wake of a nested run costs the other a poll, which a future must bear";

const LOOPS_IN_PLACE: &str = "the thread polls a task that was woken meanwhile again at once, and takes no other: as many busy tasks as \
     threads starve the rest";

const OWNS_ITSELF: &str = "a pending task owns its waker, which owns the task: one that is never woken again is never dropped";

const DIES_OF_PANICS: &str = "nothing stops a task's panic: it ends the thread of the pool, or comes out of the run that polled the task";

/// All of them.
pub const DEVIATIONS: &[Deviation] = &[
    Deviation {
        subject: "futures-local-pool",
        case: "a_stale_wake_does_not_reach_the_next_run",
        reason: ONE_PARKER,
        checked: "2026-11-24",
    },
    Deviation {
        subject: "futures-thread-pool",
        case: "a_stale_wake_does_not_reach_the_next_run",
        reason: ONE_PARKER,
        checked: "2026-11-24",
    },
    Deviation {
        subject: "pollster",
        case: "a_stale_wake_does_not_reach_the_next_run",
        reason: ONE_PARKER,
        checked: "2026-11-24",
    },
    Deviation {
        subject: "tokio-multi-thread",
        case: "a_stale_wake_does_not_reach_the_next_run",
        reason: ONE_PARKER,
        checked: "2026-11-24",
    },
    Deviation {
        subject: "smol",
        case: "a_stale_wake_does_not_reach_the_next_run",
        reason: ONE_PARKER,
        checked: "2026-11-24",
    },
    Deviation {
        subject: "pollster",
        case: "nested_runs_have_wakers_of_their_own",
        reason: ONE_WAKER,
        checked: "2026-11-24",
    },
    Deviation {
        subject: "pollster",
        case: "an_inner_wake_does_not_poll_the_outer",
        reason: ONE_WAKER,
        checked: "2026-11-24",
    },
    Deviation {
        subject: "pollster",
        case: "an_outer_wake_does_not_poll_the_inner",
        reason: ONE_WAKER,
        checked: "2026-11-24",
    },
    Deviation {
        subject: "futures-thread-pool",
        case: "a_busy_task_starves_nobody",
        reason: LOOPS_IN_PLACE,
        checked: "2026-11-24",
    },
    Deviation {
        subject: "futures-thread-pool",
        case: "a_task_left_behind_is_dropped_with_the_run",
        reason: OWNS_ITSELF,
        checked: "2026-11-24",
    },
    Deviation {
        subject: "futures-thread-pool",
        case: "a_task_that_panics_spares_the_others",
        reason: DIES_OF_PANICS,
        checked: "2026-11-24",
    },
    Deviation {
        subject: "futures-local-pool",
        case: "a_task_that_panics_spares_the_others",
        reason: DIES_OF_PANICS,
        checked: "2026-11-24",
    },
];
