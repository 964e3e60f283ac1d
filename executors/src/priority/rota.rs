//! Whose turn it is.
//!
//! A table as long as the sum of the weights names each class as often as its weight, spread evenly (smooth weighted
//! round robin), and a counter goes round it. A turn whose class has nothing to do falls to the uppermost that has. So
//! among any `len` turns in a row each class is asked first exactly as often as its weight says.
//!
//! The counter is a number only, and orders nothing: whoever takes a turn takes one of its own.

use crate::sync::{AtomicUsize, Ordering};

pub(crate) const CLASSES: usize = 3;

#[derive(Debug)]
pub(crate) struct Rota {
    table: Box<[u8]>,
    turns: AtomicUsize,
}

impl Rota {
    pub(crate) fn new(weights: [u8; CLASSES]) -> Rota {
        let weights = weights.map(|weight| i32::from(weight.max(1)));
        let sum: i32 = weights.iter().sum();
        let mut credits = [0; CLASSES];
        let mut next = || {
            for (credit, weight) in credits.iter_mut().zip(weights) {
                *credit += weight;
            }
            // The upper of equals.
            let richest = (0..CLASSES).rev().max_by_key(|class| credits[*class]);
            let class = richest.unwrap_or_default();
            credits[class] -= sum;
            class as u8
        };
        Rota {
            table: (0..sum).map(|_| next()).collect(),
            turns: AtomicUsize::new(0),
        }
    }

    /// Takes a turn. Returns whom to ask, in order; the first once more at its rank, which does no harm.
    pub(crate) fn turn(&self) -> impl Iterator<Item = usize> + use<> {
        // It wraps once in centuries on 64 bits; on 32, one turn in four thousand millions is out of line.
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let first = usize::from(self.table[turn % self.table.len()]);
        std::iter::once(first).chain(0..CLASSES)
    }
}

#[cfg(test)]
mod tests {
    use super::Rota;

    fn firsts(rota: &Rota, turns: usize) -> Vec<usize> {
        (0..turns).filter_map(|_| rota.turn().next()).collect()
    }

    #[test]
    fn every_window_as_long_as_the_sum_has_each_class_as_often_as_its_weight() {
        for weights in [[16, 4, 1], [1, 1, 1], [0, 0, 0], [255, 2, 7], [1, 5, 200]] {
            let rota = Rota::new(weights);
            let len = rota.table.len();
            let turns = firsts(&rota, 3 * len);
            for window in turns.windows(len) {
                for (class, weight) in weights.into_iter().enumerate() {
                    let count = window.iter().filter(|first| **first == class).count();
                    assert_eq!(count, usize::from(weight.max(1)));
                }
            }
        }
    }

    #[test]
    fn the_turns_of_a_class_are_spread_evenly() {
        let weights = [16, 4, 1];
        let rota = Rota::new(weights);
        let turns = firsts(&rota, 21 * 3);
        for (class, weight) in weights.into_iter().enumerate() {
            let places: Vec<_> = (0..turns.len())
                .filter(|place| turns[*place] == class)
                .collect();
            let gaps = places.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(gaps.max().unwrap() <= 21usize.div_ceil(usize::from(weight)) + 1);
        }
    }

    #[test]
    fn everybody_is_asked_the_upper_first() {
        let rota = Rota::new([1, 1, 1]);
        let asked: Vec<Vec<_>> = (0..3).map(|_| rota.turn().collect()).collect();
        assert_eq!(asked, [[0, 0, 1, 2], [1, 0, 1, 2], [2, 0, 1, 2]]);
    }
}
