//! A median with its quartiles, and a histogram of times.

use serde::{Deserialize, Serialize};

/// What many windows have said about one thing.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lower_quartile: f64,
    pub(crate) upper_quartile: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            values[below] + (values[above] - values[below]) * place.fract()
        };
        Spread {
            median: at(0.5),
            lower_quartile: at(0.25),
            upper_quartile: at(0.75),
        }
    }
}

impl Spread {
    /// For people: `1.034 [1.021, 1.040]`, or `1.034` if it is known exactly.
    pub(crate) fn as_ratio(&self) -> String {
        let (low, high) = (self.lower_quartile, self.upper_quartile);
        if low == high {
            format!("{:.3}", self.median)
        } else {
            format!("{:.3} [{low:.3}, {high:.3}]", self.median)
        }
    }
}

/// Times in nanoseconds, to 3 %: 32 parts of each power of two.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u32>,
    total: u64,
    most: u64,
}

const PARTS_LOG2: u32 = 5;

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram {
            counts: vec![0; 64 << PARTS_LOG2],
            total: 0,
            most: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.most = 0;
    }

    pub(crate) fn add(&mut self, ns: u64) {
        self.counts[Self::place(ns)] += 1;
        self.total += 1;
        self.most = self.most.max(ns);
    }

    fn place(ns: u64) -> usize {
        let shift = (63 - ns.max(1).leading_zeros()).saturating_sub(PARTS_LOG2);
        ((shift as usize) << PARTS_LOG2) + (ns >> shift) as usize
    }

    /// The middle of the part that the value at this share of all lies in, in nanoseconds.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let rank = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (place, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                let shift = (place >> PARTS_LOG2).saturating_sub(1);
                let low = ((place - (shift << PARTS_LOG2)) as u64) << shift;
                return (low + (1 << shift) / 2).min(self.most) as f64;
            }
        }
        f64::NAN
    }

    pub(crate) fn most(&self) -> f64 {
        self.most as f64
    }
}

#[cfg(test)]
mod tests {
    use super::{Histogram, Spread};

    #[test]
    fn quartiles_lie_between_the_values() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0, 5.0]);
        assert_eq!(
            (spread.lower_quartile, spread.median, spread.upper_quartile),
            (2.0, 3.0, 4.0)
        );
        let of_two = Spread::of(vec![1.0, 2.0]);
        assert_eq!(of_two.median, 1.5);
    }

    #[test]
    fn a_histogram_finds_ranks_to_a_few_per_cent() {
        for scale in [1, 37, 5_000, 1_000_003] {
            let mut histogram = Histogram::new();
            (1..=1_000).for_each(|n| histogram.add(n * scale));
            for share in [0.5, 0.99, 0.999, 1.0] {
                let expected = share * 1_000.0 * scale as f64;
                let found = histogram.at(share);
                assert!(
                    (found / expected - 1.0).abs() < 0.035,
                    "{share} of {scale}: {found}, not {expected}"
                );
            }
        }
    }
}
