//! Durations of one timed thing: over the columns as a heatmap, and over the last hour in outline.
//!
//! Kept in a quarter of an octave, so a quantile from here is at most 9.1% off; what is exported
//! is eight times as fine.

use std::time::Duration;

use super::columns::{COLUMNS, Change};
use crate::{
    instrument::SCALE,
    registry::{Frame, Reading, Series, SeriesId},
    semconv as s,
    sync::Arc,
};

/// Columns of a history that one of a heatmap takes in.
pub(crate) const SPAN: usize = 4;
/// Columns of a heatmap.
const WIDE: usize = COLUMNS / SPAN;
/// Quarters of octaves from a microsecond to two minutes.
pub(crate) const BUCKETS: usize = 108;
const FIRST: i32 = -80;
/// Slots of the hour, the running one included.
const SLOTS: usize = 13;
const SLOT: Duration = Duration::from_secs(300);

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Query,
    Timer,
    PoolWait,
    PoolUse,
}

/// Which thing a histogram belongs to, if it is followed.
pub(super) fn is_followed(series: &Series) -> Option<(Kind, Arc<str>)> {
    let (kind, label) = match &*series.metric.name {
        s::DB_CLIENT_OPERATION_DURATION => (Kind::Query, s::DB_QUERY_SUMMARY),
        s::TIMER_DURATION => (Kind::Timer, s::TIMER_NAME),
        s::DB_CLIENT_CONNECTION_WAIT_TIME => (Kind::PoolWait, s::DB_CLIENT_CONNECTION_POOL_NAME),
        s::DB_CLIENT_CONNECTION_USE_TIME => (Kind::PoolUse, s::DB_CLIENT_CONNECTION_POOL_NAME),
        _ => return None,
    };
    Some((kind, Arc::from(series.labels.get(label).unwrap_or_default())))
}

/// The value a bucket's durations do not exceed, in seconds.
pub(crate) fn upper_bound(bucket: usize) -> f64 {
    2.0_f64.powf((FIRST as f64 + bucket as f64 + 1.0) / 4.0)
}

/// Durations by bucket.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) buckets: [u64; BUCKETS],
    pub(crate) calls: u64,
    pub(crate) errors: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], calls: 0, errors: 0 }
    }
}

impl Counts {
    fn add(&mut self, buckets: &[u32], errors: u32) {
        for (sum, count) in self.buckets.iter_mut().zip(buckets) {
            *sum += u64::from(*count);
            self.calls += u64::from(*count);
        }
        self.errors += u64::from(errors);
    }

    /// All calls' durations together, as if each were in the middle of its bucket.
    pub(crate) fn seconds(&self) -> f64 {
        let middle = 2.0_f64.powf(-0.125);
        let filled = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bucket, count)| upper_bound(bucket) * middle * *count as f64).sum()
    }

    /// `None` without calls.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.calls > 0).then(|| self.seconds() / self.calls as f64)
    }

    /// Interpolated within its bucket; `None` without calls.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let rank = q * self.calls as f64;
        let mut below = 0_u64;
        for (bucket, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            let within = (rank - below as f64) / *count as f64;
            below += count;
            if below as f64 >= rank {
                let low = upper_bound(bucket) * 2.0_f64.powf(-0.25);
                return Some(low * 2.0_f64.powf(0.25 * within.clamp(0.0, 1.0)));
            }
        }
        None
    }
}

#[derive(Debug, Clone)]
struct Source {
    id: SeriesId,
    failed: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Timing {
    pub(crate) kind: Kind,
    pub(crate) name: Arc<str>,
    sources: Vec<Source>,
    /// By column, then bucket.
    heat: Vec<u32>,
    errors: Vec<u32>,
    /// The hour: by slot, then bucket.
    hour: Vec<u32>,
    hour_errors: [u32; SLOTS],
    slot: usize,
    slot_since: Option<Duration>,
}

impl Timing {
    pub(super) fn new(kind: Kind, name: Arc<str>) -> Self {
        Self {
            kind,
            name,
            sources: Vec::new(),
            heat: vec![0; WIDE * BUCKETS],
            errors: vec![0; WIDE],
            hour: vec![0; SLOTS * BUCKETS],
            hour_errors: [0; SLOTS],
            slot: 0,
            slot_since: None,
        }
    }

    pub(super) fn meet(&mut self, series: &Series) {
        let error = series.labels.get(s::ERROR_TYPE);
        self.sources.push(Source {
            id: series.id,
            failed: error.is_some_and(|error| error != s::ERROR_CANCELLED),
        });
    }

    pub(super) fn clear(&mut self) {
        self.heat.fill(0);
        self.errors.fill(0);
        self.hour.fill(0);
        self.hour_errors = [0; SLOTS];
        self.slot_since = None;
    }

    pub(super) fn shift(&mut self, change: Change) {
        match change {
            Change::None => {}
            Change::Halve => {
                for at in 0..WIDE / 2 {
                    for bucket in 0..BUCKETS {
                        let cell = |column: usize| self.heat[column * BUCKETS + bucket];
                        let sum = cell(2 * at).saturating_add(cell(2 * at + 1));
                        self.heat[at * BUCKETS + bucket] = sum;
                    }
                    self.errors[at] = self.errors[2 * at].saturating_add(self.errors[2 * at + 1]);
                }
                self.heat[WIDE / 2 * BUCKETS..].fill(0);
                self.errors[WIDE / 2..].fill(0);
            }
            Change::Drop => {
                self.heat.copy_within(BUCKETS.., 0);
                self.heat[(WIDE - 1) * BUCKETS..].fill(0);
                self.errors.copy_within(1.., 0);
                self.errors[WIDE - 1] = 0;
            }
        }
    }

    /// Goes on to the hour's next slot when it is time.
    pub(super) fn turn(&mut self, at: Duration) {
        let since = *self.slot_since.get_or_insert(at);
        if at.saturating_sub(since) < SLOT {
            return;
        }
        self.slot = (self.slot + 1) % SLOTS;
        self.slot_since = Some(at);
        self.hour[self.slot * BUCKETS..(self.slot + 1) * BUCKETS].fill(0);
        self.hour_errors[self.slot] = 0;
    }

    pub(super) fn push(&mut self, column: usize, frame: &Frame) {
        for source in &self.sources {
            let Some(Reading::Histogram(at)) = frame.readings.get(source.id.index()) else {
                continue;
            };
            let delta = frame.delta(*at);
            let cells = delta.positive.iter().map(|(index, count)| (bucket(*index), *count));
            let zero = u32::try_from(delta.zero).unwrap_or(u32::MAX);
            let mut failed = 0_u32;
            for (bucket, count) in cells.chain([(0, zero)]) {
                for (counts, at) in [(&mut self.heat, column), (&mut self.hour, self.slot)] {
                    if let Some(cell) = counts.get_mut(at * BUCKETS + bucket) {
                        *cell = cell.saturating_add(count);
                    }
                }
                failed = failed.saturating_add(count);
            }
            if source.failed {
                if let Some(errors) = self.errors.get_mut(column) {
                    *errors = errors.saturating_add(failed);
                }
                let errors = &mut self.hour_errors[self.slot];
                *errors = errors.saturating_add(failed);
            }
        }
    }

    /// What one column of the heatmap holds: [`SPAN`] columns of the history.
    pub(crate) fn column(&self, column: usize) -> Counts {
        self.sum(column..column + 1)
    }

    /// The sum of columns of the heatmap.
    pub(crate) fn sum(&self, columns: std::ops::Range<usize>) -> Counts {
        let mut counts = Counts::default();
        for column in columns {
            let range = column * BUCKETS..(column + 1) * BUCKETS;
            let Some(buckets) = self.heat.get(range) else { continue };
            counts.add(buckets, self.errors.get(column).copied().unwrap_or(0));
        }
        counts
    }

    /// What was before the running five minutes, up to an hour of it.
    pub(crate) fn before(&self) -> Counts {
        let mut counts = Counts::default();
        for slot in (0..SLOTS).filter(|slot| *slot != self.slot) {
            let buckets = &self.hour[slot * BUCKETS..(slot + 1) * BUCKETS];
            counts.add(buckets, self.hour_errors[slot]);
        }
        counts
    }
}

/// The bucket here of a bucket there.
fn bucket(index: i32) -> usize {
    ((index >> (SCALE - 2)) - FIRST).clamp(0, BUCKETS as i32 - 1) as usize
}
