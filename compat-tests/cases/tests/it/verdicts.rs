//! What `check` says about honest and about broken runtimes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use untether_conformance::{
    Abilities, Case, DEFAULT_LIMIT, Need, Scene, Subject, Verdict, all, assert_keeps, check,
};

use crate::toys::{GivesUp, Honest, IgnoresWakes, NeverPolls, PollsAfterReady, Spins};

fn find(name: &str) -> Case {
    all()
        .into_iter()
        .find(|case| case.name == name)
        .unwrap_or_else(|| panic!("no case is called {name}"))
}

fn verdict(name: &str, subject: impl Subject + 'static, limit: Duration) -> Verdict {
    let subject: Arc<dyn Subject> = Arc::new(subject);
    check(&find(name), &subject, limit).verdict
}

fn own_case(run: impl Fn(&Scene) + Send + Sync + 'static) -> Case {
    Case {
        name: "a_case_of_our_own",
        group: "own",
        promise: "Nobody knows.",
        needs: &[],
        run: Arc::new(run),
    }
}

#[test]
fn an_honest_runtime_keeps_every_promise() {
    let subject: Arc<dyn Subject> = Arc::new(Honest);
    for case in all() {
        // One parker per thread: Honest is as simple as that.
        if case.group == "block_on" {
            continue;
        }
        let verdict = check(&case, &subject, DEFAULT_LIMIT).verdict;
        assert!(!verdict.is_broken(), "{}: {verdict:#?}", case.name);
    }
}

#[test]
fn a_runtime_that_never_polls_hangs_and_the_next_case_runs() {
    let start = Instant::now();
    let name = "a_thousand_round_trips_of_one_byte";
    let Verdict::Hung(state) = verdict(name, NeverPolls, Duration::from_millis(100)) else {
        panic!("a case on a runtime that never polls has ended");
    };
    assert!(state.contains("still running after 100ms"), "{state}");
    assert!(state.contains("reactors of this process"), "{state}");
    assert!(start.elapsed() < DEFAULT_LIMIT);
    assert_eq!(verdict(name, Honest, DEFAULT_LIMIT), Verdict::Passed);
}

#[test]
fn a_hang_says_what_the_case_waited_for() {
    let limit = Duration::from_millis(200);
    let verdict = verdict("a_timer_can_be_moved_earlier", IgnoresWakes, limit);
    let Verdict::Hung(state) = verdict else {
        panic!("{verdict:?}");
    };
    let step = "last step: waiting for the earlier deadline";
    assert!(state.contains(step), "{state}");
}

#[test]
fn a_poll_after_ready_is_caught() {
    let name = "nothing_is_polled_after_it_was_ready";
    let verdict = verdict(name, PollsAfterReady, DEFAULT_LIMIT);
    let Verdict::Failed(text) = verdict else {
        panic!("{verdict:?}");
    };
    assert!(text.contains("block_on.rs:"), "no place: {text}");
    assert!(text.contains("right: 1"), "no message: {text}");
}

#[test]
fn a_spinning_runtime_is_caught() {
    let name = "a_future_that_is_not_woken_is_not_polled";
    assert!(matches!(
        verdict(name, Spins, DEFAULT_LIMIT),
        Verdict::Failed(_)
    ));
}

#[test]
fn a_runtime_that_gives_up_is_caught() {
    let verdict = verdict("a_wake_during_the_poll_is_not_lost", GivesUp, DEFAULT_LIMIT);
    let Verdict::Failed(text) = verdict else {
        panic!("{verdict:?}");
    };
    assert!(text.contains("before its root future ended"), "{text}");
}

#[test]
fn a_panic_in_a_task_or_a_thread_of_a_case_is_told_with_its_place() {
    let subject: Arc<dyn Subject> = Arc::new(Honest);
    let in_a_task = own_case(|scene| {
        let tasks = scene.clone();
        scene.run(async move { tasks.spawn(async { panic!("in a task") }).await });
    });
    let in_a_thread = own_case(|scene| scene.thread(|_| panic!("in a thread")).join());
    for (case, what) in [(in_a_task, "in a task"), (in_a_thread, "in a thread")] {
        let Verdict::Failed(text) = check(&case, &subject, DEFAULT_LIMIT).verdict else {
            panic!("a panic {what} went unnoticed");
        };
        assert!(text.contains(what), "{text}");
        assert!(text.contains("verdicts.rs:"), "{text}");
    }
}

#[test]
fn a_case_may_skip_itself() {
    let subject: Arc<dyn Subject> = Arc::new(Honest);
    let case = own_case(|scene| scene.skip("no such thing here"));
    assert_eq!(
        check(&case, &subject, DEFAULT_LIMIT).verdict,
        Verdict::Skipped("no such thing here".to_owned())
    );
}

#[test]
fn what_a_runtime_cannot_do_is_skipped_with_the_reason() {
    let verdict = verdict("foreign_timers_fire_beside_ours", Honest, DEFAULT_LIMIT);
    let Verdict::Skipped(reason) = verdict else {
        panic!("{verdict:?}");
    };
    assert!(reason.contains("no timers of its own"), "{reason}");
    assert_eq!(
        Honest.abilities().own_timers,
        Abilities::default().own_timers
    );
}

#[test]
fn a_case_that_needs_a_process_is_skipped_where_nobody_serves_children() {
    // Else the test harness would be started over.
    for case in all() {
        if case.needs.contains(&Need::OwnProcess) {
            let verdict = verdict(case.name, Honest, DEFAULT_LIMIT);
            assert!(matches!(verdict, Verdict::Skipped(_)), "{verdict:?}");
        }
    }
}

#[test]
#[should_panic(expected = "nothing_is_polled_after_it_was_ready failed on polls-after-ready")]
fn assert_keeps_reports_what_is_broken() {
    assert_keeps(
        PollsAfterReady,
        [find("nothing_is_polled_after_it_was_ready")],
    );
}

#[test]
fn names_are_sentences_that_fit_the_table() {
    let mut names = HashSet::new();
    for case in all() {
        assert!(
            names.insert(case.name),
            "two cases are called {}",
            case.name
        );
        assert!(case.name.len() <= 50, "too long for a table: {}", case.name);
        assert!(
            case.name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
            "{}",
            case.name
        );
        assert!(case.name.split('_').count() >= 3, "{}", case.name);
        assert!(
            case.promise.ends_with('.'),
            "{}: {}",
            case.name,
            case.promise
        );
    }
    assert!(names.len() >= 45, "only {} cases", names.len());
}
