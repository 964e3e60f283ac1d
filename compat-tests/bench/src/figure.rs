//! What is found out: one number about one subject in one case, and how it compares.

use serde::{Deserialize, Serialize};

use crate::spread::Spread;

/// One number.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Figure {
    pub(crate) measure: String,
    pub(crate) case: String,
    pub(crate) subject: String,
    pub(crate) metric: String,
    pub(crate) unit: String,
    pub(crate) value: Spread,
    /// To the subject that all are compared with: the median of the ratios of each round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<Spread>,
    /// The value in each round.
    pub(crate) rounds: Vec<f64>,
}

impl Figure {
    /// Something that is always the same, or was measured once, of `(measure, case)`, in `(metric, unit)`.
    pub(crate) fn of_one(
        (measure, case): (&str, &str),
        subject: &str,
        (metric, unit): (&str, &str),
        value: f64,
        base: Option<&Figure>,
    ) -> Figure {
        let mut figure = Figure {
            measure: measure.to_owned(),
            case: case.to_owned(),
            subject: subject.to_owned(),
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            value: Spread::of(vec![value]),
            ratio: None,
            rounds: vec![value],
        };
        figure.ratio = figure.ratio_to(base.unwrap_or(&figure));
        figure
    }

    /// To the same of another subject: the median of the ratios of each round.
    pub(crate) fn ratio_to(&self, other: &Figure) -> Option<Spread> {
        let rounds = self.rounds.iter().zip(&other.rounds);
        let ratios: Vec<f64> = rounds
            .map(|(own, others)| own / others)
            .filter(|ratio| ratio.is_finite())
            .collect();
        (!ratios.is_empty()).then(|| Spread::of(ratios))
    }
}

/// What is measured, and in what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// Whether a ratio says something.
    pub(crate) compared: bool,
}

impl Metric {
    pub(crate) const fn compared(name: &'static str, unit: &'static str) -> Metric {
        Metric {
            name,
            unit,
            compared: true,
        }
    }

    pub(crate) const fn plain(name: &'static str, unit: &'static str) -> Metric {
        Metric {
            name,
            unit,
            compared: false,
        }
    }
}
