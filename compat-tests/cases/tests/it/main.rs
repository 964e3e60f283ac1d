//! The suite itself: does it catch a broken runtime, say what happened, and go on?

mod broken;
mod editions;
mod toys;
mod verdicts;
