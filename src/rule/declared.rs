//! Bounds that are declared for histograms beforehand: how many values lie at or below them is
//! counted exactly, so a rule may ask.

use super::naming;
use crate::instrument::MOST_BOUNDS;

/// By metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Declared(Vec<(String, Vec<f64>)>);

impl Declared {
    pub(crate) fn add(&mut self, metric: &str, bounds: &[f64]) {
        self.0.push((metric.to_owned(), bounds.to_vec()));
    }

    #[cfg(feature = "rule-files")]
    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[f64])> {
        self.0.iter().map(|(metric, bounds)| (metric.as_str(), bounds.as_slice()))
    }

    /// Those that cannot be.
    pub(crate) fn wrong(&self) -> impl Iterator<Item = (&str, &[f64])> {
        self.iter().filter(|(metric, bounds)| {
            let fit = bounds.iter().all(|bound| bound.is_finite() && *bound > 0.0);
            metric.is_empty() || bounds.is_empty() || bounds.len() > MOST_BOUNDS || !fit
        })
    }

    /// Whether this bound is one of a metric's, called by its own name or a server's. The unit may
    /// not be known yet, so any suffix is taken for one.
    pub(super) fn has(&self, metric: &str, bound: f64) -> bool {
        self.iter().any(|(own, bounds)| {
            let server = naming::escape(own);
            let suffix = metric.strip_prefix(&*server);
            let named = own == metric || suffix.is_some_and(|s| s.is_empty() || s.starts_with('_'));
            named && bounds.contains(&bound)
        })
    }
}
