//! What is found out: one number about one subject in one case, and how it compares.

use serde::Serialize;

use crate::spread::Spread;

/// One number.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) measure: &'static str,
    pub(crate) case: String,
    pub(crate) subject: String,
    pub(crate) metric: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: Spread,
    /// To the subject that all are compared with: the median of the ratios of each round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<Spread>,
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
