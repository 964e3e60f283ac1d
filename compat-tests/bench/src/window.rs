//! Shuffled windows: how subjects are compared on a machine whose speed changes from second to second.
//!
//! All subjects are ready at once. After a warm-up, each round gives every subject one window, in a freshly shuffled
//! order (a fixed one favours its ends by several per cent), and each subject is compared with the base *of the same
//! round*. What is reported is the median of these ratios, with their quartiles.

use std::io;

use indicatif::{ProgressBar, ProgressStyle};

use crate::figure::{Figure, Metric};
use crate::spread::Spread;

/// What is compared in one case, and how.
#[derive(Debug)]
pub(crate) struct Contest<'a> {
    pub(crate) measure: &'static str,
    pub(crate) case: &'a str,
    pub(crate) metrics: &'a [Metric],
    pub(crate) rounds: u32,
}

impl Contest<'_> {
    /// Runs it: `window` gives a number for each metric. The first entrant is the base.
    pub(crate) fn run<E>(
        &self,
        entrants: &mut [E],
        name: impl Fn(&E) -> String,
        mut window: impl FnMut(&mut E) -> io::Result<Vec<f64>>,
    ) -> io::Result<Vec<Figure>> {
        let windows = u64::from(self.rounds) * entrants.len() as u64;
        let bar = progress(self.measure, self.case, windows);
        for entrant in entrants.iter_mut() {
            bar.set_message(format!("warm-up of {}", name(entrant)));
            window(entrant)?;
        }
        // By entrant and round.
        let mut samples = vec![Vec::new(); entrants.len()];
        let mut order: Vec<usize> = (0..entrants.len()).collect();
        for _ in 0..self.rounds {
            fastrand::shuffle(&mut order);
            for &index in &order {
                bar.set_message(name(&entrants[index]));
                let sample = window(&mut entrants[index])?;
                assert_eq!(sample.len(), self.metrics.len());
                samples[index].push(sample);
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(self.figures(entrants, name, &samples))
    }

    fn figures<E>(
        &self,
        entrants: &[E],
        name: impl Fn(&E) -> String,
        samples: &[Vec<Vec<f64>>],
    ) -> Vec<Figure> {
        let mut figures: Vec<Figure> = Vec::new();
        for (entrant, own) in entrants.iter().zip(samples) {
            for (index, metric) in self.metrics.iter().enumerate() {
                let rounds: Vec<f64> = own.iter().map(|sample| sample[index]).collect();
                let mut figure = Figure {
                    measure: self.measure.to_owned(),
                    case: self.case.to_owned(),
                    subject: name(entrant),
                    metric: metric.name.to_owned(),
                    unit: metric.unit.to_owned(),
                    value: Spread::of(rounds.clone()),
                    ratio: None,
                    rounds,
                };
                if metric.compared {
                    figure.ratio = figure.ratio_to(figures.get(index).unwrap_or(&figure));
                }
                figures.push(figure);
            }
        }
        figures
    }
}

/// How far one case has come.
pub(crate) fn progress(measure: &str, case: &str, steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg}");
    bar.set_style(style.expect("a valid template"));
    bar.set_prefix(format!("{measure}/{case}"));
    bar
}

#[cfg(test)]
mod tests {
    use super::Contest;
    use crate::figure::Metric;

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine becomes ten times slower in each round; the second is always twice the first.
        let contest = Contest {
            measure: "test",
            case: "drift",
            metrics: &[Metric::compared("time", "ns")],
            rounds: 5,
        };
        let mut entrants = [(1.0, 1.0), (2.0, 1.0)];
        let figures = contest
            .run(
                &mut entrants,
                |entrant| entrant.0.to_string(),
                |entrant| {
                    entrant.1 *= 10.0;
                    Ok(vec![entrant.0 * entrant.1])
                },
            )
            .unwrap();
        assert_eq!(figures[0].ratio.unwrap().median, 1.0);
        let ratio = figures[1].ratio.unwrap();
        assert_eq!((ratio.lower_quartile, ratio.upper_quartile), (2.0, 2.0));
    }
}
