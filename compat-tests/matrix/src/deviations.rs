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

/// All of them.
pub const DEVIATIONS: &[Deviation] = &[];
