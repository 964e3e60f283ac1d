//! Editions: a case belongs to one, and an edition names only cases that exist.

use std::sync::Arc;

use untether_conformance::{Abilities, Case, Edition, Root, Scene, Subject, advise, all};

const NAMES: &[(&str, &[&str])] = untether_conformance::__e2026!(__names());

/// Runs everything, on futures-lite's `block_on`.
struct Lite;

impl Subject for Lite {
    fn name(&self) -> &str {
        "lite"
    }

    fn run(&self, root: Root) {
        futures_lite::future::block_on(root);
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            nests: true,
            // One parker per thread: a late wake of an earlier run costs a poll.
            polls_unasked: true,
            ..Abilities::default()
        }
    }
}

/// As an outsider would write it. Only what it expands to is of interest; the cases run on other subjects, too.
mod as_tests {
    use super::Lite;
    untether_conformance::conformance!(Lite, E2026);
}

#[test]
fn every_name_of_an_edition_is_a_case() {
    let cases = all();
    for (group, names) in NAMES {
        for name in *names {
            let known = cases
                .iter()
                .any(|case| case.group == *group && case.name == *name);
            // Some are about Unix alone.
            assert!(known || !cfg!(target_os = "linux"), "{group}::{name}");
        }
    }
}

#[test]
fn a_case_of_an_edition_keeps_its_edition() {
    let names: usize = NAMES.iter().map(|(_, names)| names.len()).sum();
    let first = all()
        .iter()
        .filter(|case| Edition::of(case) == Edition::E2026)
        .count();
    assert!(names >= first && first >= 120, "{first} of {names}");
    assert!(Edition::E2026 < Edition::Next);
}

#[test]
fn a_case_that_is_new_is_advice() {
    let new = Case {
        name: "a_case_of_our_own",
        group: "own",
        promise: "Nobody knows.",
        needs: &[],
        run: Arc::new(|_: &Scene| {}),
    };
    assert_eq!(Edition::of(&new), Edition::Next);
    assert!(advise(Lite, Edition::Next).is_empty());
}
