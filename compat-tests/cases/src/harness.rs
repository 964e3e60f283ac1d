//! One `#[test]` per case, for whoever tests a runtime of his own with `cargo test`.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::case::{Case, Verdict};
use crate::check::{DEFAULT_LIMIT, check};
use crate::editions::Edition;
use crate::subject::Subject;

/// Makes one `#[test]` per case of an edition, in a module per promise, for a runtime of yours.
///
/// The second argument is the [`Edition`]: a later version of this crate adds no test to yours until you name a later
/// edition. What is new is checked all the same, by one test, `what_later_editions_ask`, which prints what it finds and
/// does not fail; `cargo test what_later_editions_ask -- --nocapture` shows it.
///
/// A case that makes no sense for a runtime passes, and prints why (`--nocapture`). Cases that need a process of their
/// own need a `main` of their own, with [`serve_children`](crate::serve_children): here they are among these.
///
/// ```
/// # use untether_conformance::{Root, Subject};
/// # struct MyRuntime;
/// # impl Subject for MyRuntime {
/// #     fn name(&self) -> &str { "mine" }
/// #     fn run(&self, root: Root) { futures_lite::future::block_on(root) }
/// # }
/// #[cfg(test)]
/// mod conformance {
///     use super::MyRuntime;
///     untether_conformance::conformance!(MyRuntime, E2026);
/// }
/// ```
#[macro_export]
macro_rules! conformance {
    ($subject:expr, E2026) => {
        $crate::__e2026!(__tests($subject, E2026));
    };
}

/// The tests themselves.
#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    (($subject:expr, $edition:ident) $($group:ident { $($case:ident)* })*) => {
        $(
            mod $group {
                #[allow(unused_imports)]
                use super::*;

                $(
                    #[test]
                    fn $case() {
                        $crate::assert_keeps_case($subject, stringify!($group), stringify!($case));
                    }
                )*
            }
        )*

        #[test]
        fn what_later_editions_ask() {
            $crate::advise($subject, $crate::Edition::$edition);
        }
    };
}

/// Held for reading by a case that does not mind others, for writing by one that does.
static COMPANY: RwLock<()> = RwLock::new(());

/// Checks one case on a subject, beside others on other threads, and panics with a report if the promise is broken.
/// What [`conformance!`](crate::conformance) calls.
///
/// # Panics
/// If the case fails or hangs.
pub fn assert_keeps_case<S: Subject + 'static>(subject: S, group: &str, name: &str) {
    let case = crate::all()
        .into_iter()
        .find(|case| case.group == group && case.name == name);
    let Some(case) = case else {
        // An edition lists the cases of all platforms.
        println!("skipped: not on this platform");
        return;
    };
    let subject: Arc<dyn Subject> = Arc::new(subject);
    let verdict = in_company(&case, &subject, DEFAULT_LIMIT);
    if let Verdict::Skipped(reason) = &verdict {
        println!("skipped: {reason}");
    }
    assert!(
        !verdict.is_broken(),
        "{group}::{name} {} on {}\n{}\n{}",
        verdict.word(),
        subject.name(),
        case.promise,
        verdict.detail()
    );
}

/// Checks the cases that came after `edition`, prints which promises are not kept, and returns their names.
pub fn advise<S: Subject + 'static>(subject: S, edition: Edition) -> Vec<&'static str> {
    let subject: Arc<dyn Subject> = Arc::new(subject);
    let mut broken = Vec::new();
    for case in crate::all() {
        if Edition::of(&case) <= edition {
            continue;
        }
        let verdict = in_company(&case, &subject, DEFAULT_LIMIT);
        if verdict.is_broken() {
            println!(
                "not kept yet: {}::{}\n{}\n{}",
                case.group,
                case.name,
                case.promise,
                verdict.detail()
            );
            broken.push(case.name);
        }
    }
    broken
}

fn in_company(case: &Case, subject: &Arc<dyn Subject>, limit: Duration) -> Verdict {
    if case.is_alone() {
        let _alone = COMPANY.write().unwrap_or_else(PoisonError::into_inner);
        check(case, subject, limit).verdict
    } else {
        let _beside = COMPANY.read().unwrap_or_else(PoisonError::into_inner);
        check(case, subject, limit).verdict
    }
}
