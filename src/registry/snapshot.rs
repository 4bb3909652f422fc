//! A copy of everything at one tick, to be handed to another thread. Buffers are kept from use to
//! use, so a steady state allocates nothing.

use super::Series;
use crate::{
    clock::Moment,
    instrument::{Distribution, Exemplar},
    sync::Arc,
};

/// One series' cumulative state.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) series: Arc<Series>,
    /// Since when it counts.
    pub(crate) since: Moment,
    pub(crate) data: Data,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Data {
    /// A counter's exact total.
    Integer(u64),
    Value(f64),
    /// Where it is among [`Snapshot::distribution`]s.
    Histogram(u32),
}

/// All present series at one moment, in the order of their ids.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) at: Moment,
    pub(crate) points: Vec<Point>,
    distributions: Vec<Distribution>,
    /// Of the distribution at the same place.
    exemplars: Vec<Vec<Exemplar>>,
    used: usize,
}

impl Snapshot {
    pub(crate) fn new(at: Moment) -> Self {
        Self { at, points: Vec::new(), distributions: Vec::new(), exemplars: Vec::new(), used: 0 }
    }

    pub(crate) fn distribution(&self, at: u32) -> &Distribution {
        &self.distributions[at as usize]
    }

    /// Some of the values of a distribution, of whatever age; mostly none.
    pub(crate) fn exemplars(&self, at: u32) -> &[Exemplar] {
        &self.exemplars[at as usize]
    }

    pub(super) fn clear(&mut self, at: Moment) {
        self.at = at;
        self.points.clear();
        self.used = 0;
    }

    pub(super) fn push_integer(&mut self, series: &Arc<Series>, since: Moment, total: u64) {
        self.points.push(Point { series: series.clone(), since, data: Data::Integer(total) });
    }

    pub(super) fn push_value(&mut self, series: &Arc<Series>, since: Moment, value: f64) {
        self.points.push(Point { series: series.clone(), since, data: Data::Value(value) });
    }

    pub(super) fn push_histogram(
        &mut self,
        series: &Arc<Series>,
        since: Moment,
        all: &Distribution,
        exemplars: impl FnOnce(&mut Vec<Exemplar>),
    ) {
        match self.distributions.get_mut(self.used) {
            Some(reused) => reused.clone_from(all),
            None => {
                self.distributions.push(all.clone());
                self.exemplars.push(Vec::new());
            }
        }
        self.exemplars[self.used].clear();
        exemplars(&mut self.exemplars[self.used]);
        let data = Data::Histogram(self.used as u32);
        self.points.push(Point { series: series.clone(), since, data });
        self.used += 1;
    }
}
