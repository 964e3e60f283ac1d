//! Looking for a while before blocking: when it pays, and for how long.
//!
//! Whoever blocks has to be woken, and that takes longer than a short wait, above all on a virtual machine, whose halted
//! core is slow to come back. So a thread that parks in a reactor with a spin first looks, again and again, but only
//! while the waits of late were short, and never longer than the limit: traffic with gaps pays nothing.
//!
//! "Short" is three limits, on a moving average. It must be more than one: a wait that ends with being woken is longer by
//! that than the same wait would be with looking, and there has to be a way from the one to the other.
//!
//! A look is a whole turn that does not wait: the thread sits down, looks and stands up. So neither the word of the chair
//! nor that of the parker has a state more. An unpark between two looks finds RUNNING, and the thread takes it before it
//! looks again; one during a look finds SEATED and tells the poller, as ever, at the price of an empty turn. Whatever
//! other news there are, whoever sits down reads them.
//!
//! The average decides nothing but this, and two threads that park in one reactor may overwrite each other's share.
//!
//! Not here: parking (`park`).
//! Checked by `loom_tests::park`.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering::Relaxed};

/// Waits that are longer on the average, in limits, are not looked for.
const SHORT: u64 = 3;
/// A longer wait counts as this. Then one is enough to end the looking, and a score of short ones brings it back.
const LONGEST: u64 = 8 * SHORT;

/// Whether those who park in a reactor look before they block.
#[derive(Debug)]
pub(crate) struct Spin {
    /// 0: never.
    limit_ns: u64,
    /// Of the waits of late, each counting an eighth.
    average_ns: AtomicU64,
}

/// A wait of one thread, from when it begins to look until something happens.
pub(crate) struct Waiting<'a> {
    spin: &'a Spin,
    begun: Option<u64>,
    looks: bool,
}

impl Spin {
    pub(crate) fn new(limit: Duration) -> Spin {
        Spin {
            limit_ns: u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX),
            average_ns: AtomicU64::new(0),
        }
    }

    fn expects_a_short_one(&self) -> bool {
        self.average_ns.load(Relaxed) < self.limit_ns.saturating_mul(SHORT)
    }

    pub(crate) fn waiting(&self) -> Waiting<'_> {
        Waiting {
            spin: self,
            begun: None,
            looks: false,
        }
    }
}

impl Waiting<'_> {
    /// Whether to look rather than to block. Looks at the clock only if there is a spin.
    pub(crate) fn looks(&mut self, now_ns: impl FnOnce() -> u64) -> bool {
        if self.spin.limit_ns == 0 {
            return false;
        }
        match self.begun {
            None => {
                self.begun = Some(now_ns());
                self.looks = self.spin.expects_a_short_one();
            }
            Some(begun) if self.looks => {
                self.looks = now_ns().saturating_sub(begun) < self.spin.limit_ns;
            }
            Some(_) => {}
        }
        self.looks
    }

    /// Something has happened. The next call of `looks` begins another wait.
    pub(crate) fn is_over(&mut self, now_ns: impl FnOnce() -> u64) {
        if let Some(begun) = self.begun.take() {
            let longest = self.spin.limit_ns.saturating_mul(LONGEST);
            let took = now_ns().saturating_sub(begun).min(longest);
            let average = self.spin.average_ns.load(Relaxed);
            let average = average - average / 8 + took / 8;
            self.spin.average_ns.store(average, Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::Spin;

    /// How many looks, a microsecond apart, a wait of so many nanoseconds begins with.
    fn looks(spin: &Spin, wait_ns: u64) -> u64 {
        let mut waiting = spin.waiting();
        let looks = (0..wait_ns / 1_000)
            .take_while(|look| waiting.looks(|| look * 1_000))
            .count();
        waiting.is_over(|| wait_ns);
        looks as u64
    }

    #[test]
    fn no_limit_no_look_and_no_clock() {
        let spin = Spin::new(Duration::ZERO);
        let mut waiting = spin.waiting();
        assert!(!waiting.looks(|| unreachable!()));
        waiting.is_over(|| unreachable!());
    }

    #[test]
    fn the_limit_ends_the_looking() {
        let spin = Spin::new(Duration::from_micros(20));
        assert_eq!(looks(&spin, 50_000), 20);
        assert_eq!(looks(&spin, 5_000), 5);
    }

    #[test]
    fn long_waits_are_not_looked_for() {
        let spin = Spin::new(Duration::from_micros(20));
        // The first could not be known to be long.
        assert_eq!(looks(&spin, 2_000_000), 20);
        assert!((0..100).all(|_| looks(&spin, 200_000) == 0));
    }

    #[test]
    fn short_waits_bring_the_looking_back_however_long_the_pause() {
        let spin = Spin::new(Duration::from_micros(20));
        for _ in 0..1_000 {
            looks(&spin, 60 * 1_000_000_000);
        }
        let blind = (0..1_000).take_while(|_| looks(&spin, 10_000) == 0).count();
        assert!((1..=20).contains(&blind), "{blind}");
    }
}
