//! The distribution of values or durations, written by many threads, read by one.

use std::time::Duration;

use super::{
    bucket,
    distribution::Delta,
    drops::{DropReason, Drops},
};
use crate::{
    clock,
    sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering},
};

/// The distribution of values. A clone is the same series.
#[derive(Clone, Debug)]
pub struct Histogram(pub(crate) Arc<HistogramCore>);

impl Histogram {
    /// Records one value in the metric's unit. NaN and infinities are dropped and counted.
    #[inline]
    pub fn record(&self, value: f64) {
        self.0.record_value(value);
    }

    /// Records a duration, in seconds.
    #[inline]
    pub fn record_duration(&self, elapsed: Duration) {
        self.0.record_value(elapsed.as_secs_f64());
    }
}

/// What a core measures: decides how its sum is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Ticks of [`clock::ticks`], reported in seconds.
    Time,
    /// Any finite number.
    Value,
}

#[derive(Debug)]
pub(crate) struct HistogramCore {
    live: AtomicBool,
    measure: Measure,
    // Placeholder storage: replaced by shards.
    state: Mutex<Delta>,
    readings: AtomicU64,
    drops: Arc<Drops>,
}

impl HistogramCore {
    pub(crate) fn new(measure: Measure, drops: Arc<Drops>) -> Self {
        let mut delta = Delta::default();
        delta.clear();
        Self {
            live: AtomicBool::new(true),
            measure,
            state: Mutex::new(delta),
            readings: AtomicU64::new(0),
            drops,
        }
    }

    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    /// Records a duration in ticks; only on a core of [`Measure::Time`].
    #[inline]
    pub(crate) fn record_ticks(&self, ticks: u64) {
        debug_assert_eq!(self.measure, Measure::Time);
        self.record_value(ticks as f64 * clock::seconds_per_tick());
    }

    #[inline]
    pub(crate) fn record_value(&self, value: f64) {
        if !self.is_live() {
            return;
        }
        if !value.is_finite() {
            self.drops.count(DropReason::NotFinite);
            return;
        }
        let mut state = self.state.lock();
        state.count += 1;
        state.sum += value;
        state.min = state.min.min(value);
        state.max = state.max.max(value);
        let side = match value {
            0.0 => {
                state.zero += 1;
                return;
            }
            v if v > 0.0 => &mut state.positive,
            _ => &mut state.negative,
        };
        let index = bucket::index(value.abs());
        match side.binary_search_by_key(&index, |(i, _)| *i) {
            Ok(at) => side[at].1 += 1,
            Err(at) => side.insert(at, (index, 1)),
        }
    }

    /// Writes what was recorded since the last call to `into`. One caller: the tick thread.
    pub(crate) fn fold(&self, into: &mut Delta) {
        self.readings.fetch_add(1, Ordering::Relaxed);
        into.clear();
        let mut state = self.state.lock();
        into.positive.extend_from_slice(&state.positive);
        into.negative.extend_from_slice(&state.negative);
        into.zero = state.zero;
        into.count = state.count;
        into.sum = state.sum;
        into.min = state.min;
        into.max = state.max;
        state.clear();
    }

    pub(crate) fn retire(&self) {
        self.live.store(false, Ordering::Relaxed);
    }
}
