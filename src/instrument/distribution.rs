//! Histograms at rest: what was read from the cores, to be merged, exported and asked for
//! quantiles. No atomics here; only the tick thread and those it hands copies to.

use super::bucket::{lower_bound, upper_bound};

/// What one core gained between two readings. Reused from reading to reading.
#[derive(Debug, Default, Clone)]
pub(crate) struct Delta {
    /// `(index, count)`, ascending by index, counts above zero.
    pub(crate) positive: Vec<(i32, u64)>,
    /// The same for the absolute values of negative ones.
    pub(crate) negative: Vec<(i32, u64)>,
    pub(crate) zero: u64,
    /// All of the above together.
    pub(crate) count: u64,
    pub(crate) sum: f64,
    /// Least and greatest since the last reading; meaningless when `count` is zero.
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Delta {
    pub(crate) fn clear(&mut self) {
        self.positive.clear();
        self.negative.clear();
        self.zero = 0;
        self.count = 0;
        self.sum = 0.0;
        self.min = f64::INFINITY;
        self.max = f64::NEG_INFINITY;
    }
}

/// A dense run of bucket counts.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Buckets {
    /// The index of `counts[0]`.
    pub(crate) offset: i32,
    pub(crate) counts: Vec<u64>,
}

impl Buckets {
    pub(crate) fn add(&mut self, index: i32, count: u64) {
        if self.counts.is_empty() {
            self.offset = index;
        }
        if index < self.offset {
            let grow = (self.offset - index) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, grow));
            self.offset = index;
        }
        let at = (index - self.offset) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += count;
    }

    /// `(index, count)` of the buckets that hold something, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(at, count)| (self.offset + at as i32, *count))
    }
}

/// A whole histogram at scale [`SCALE`](super::SCALE).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distribution {
    pub(crate) positive: Buckets,
    pub(crate) negative: Buckets,
    pub(crate) zero: u64,
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            positive: Buckets::default(),
            negative: Buckets::default(),
            zero: 0,
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl Distribution {
    /// Merging is addition.
    pub(crate) fn add(&mut self, delta: &Delta) {
        for &(index, count) in &delta.positive {
            self.positive.add(index, count);
        }
        for &(index, count) in &delta.negative {
            self.negative.add(index, count);
        }
        self.zero += delta.zero;
        self.count += delta.count;
        self.sum += delta.sum;
        self.min = self.min.min(delta.min);
        self.max = self.max.max(delta.max);
    }

    /// The *reported* quantile: the midpoint of the bucket that holds the order statistic of rank
    /// ⌈q·count⌉, never beyond the exact minimum and maximum. `None` when empty.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        if self.count == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = ((q * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let mid = |index| (lower_bound(index) + upper_bound(index)) / 2.0;
        let negative = self.negative.iter().rev().map(|(i, n)| (-mid(i), n));
        let positive = self.positive.iter().map(|(i, n)| (mid(i), n));
        for (value, count) in negative.chain([(0.0, self.zero)]).chain(positive) {
            seen += count;
            if seen >= rank {
                return Some(value.clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }
}
