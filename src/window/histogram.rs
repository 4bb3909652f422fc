//! One histogram series as the deltas of its ticks, and the running sums of its windows.
//!
//! A window's sum is what the series gained *between the window's first and last sample*, so the
//! first sample's own delta is left out, as Prometheus subtracts the first from the last. Counts
//! are integers: adding what comes and subtracting what goes is exact. The sum of the recorded
//! values is kept cumulative per tick instead, as subtracting floats would not be.

use std::collections::VecDeque;

use super::{
    codec::{self, Item},
    float::Gain,
    timeline::{Span, SpanId, Tick, Timeline},
};
use crate::instrument::{Delta, SCALE};

/// Bucket counts from `offset` on.
#[derive(Debug, Default, Clone)]
pub(crate) struct Dense {
    pub(crate) offset: i32,
    pub(crate) counts: VecDeque<u64>,
}

/// More buckets than any finite value can fall in.
const MOST_BUCKETS: i32 = 2200 << SCALE;

impl Dense {
    fn slot(&mut self, index: i32) -> Option<&mut u64> {
        if !(-MOST_BUCKETS..MOST_BUCKETS).contains(&index) {
            return None;
        }
        if self.counts.is_empty() {
            self.offset = index;
        }
        while index < self.offset {
            self.counts.push_front(0);
            self.offset -= 1;
        }
        let at = (index - self.offset) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts.get_mut(at)
    }

    fn clear(&mut self) {
        self.counts.clear();
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<u64>()
    }
}

/// What was recorded over a window, or since a series began.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    pub(crate) positive: Dense,
    pub(crate) negative: Dense,
    pub(crate) zero: u64,
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

impl Counts {
    fn apply(&mut self, item: Item, change: impl Fn(u64, u64) -> u64) {
        let count = match item {
            Item::Zero(count) => {
                self.zero = change(self.zero, count);
                count
            }
            Item::Positive(index, count) => {
                if let Some(slot) = self.positive.slot(index) {
                    *slot = change(*slot, count);
                }
                count
            }
            Item::Negative(index, count) => {
                if let Some(slot) = self.negative.slot(index) {
                    *slot = change(*slot, count);
                }
                count
            }
        };
        self.count = change(self.count, count);
    }

    fn add(&mut self, delta: &Delta) {
        self.apply(Item::Zero(delta.zero), u64::wrapping_add);
        for &(index, count) in &delta.positive {
            self.apply(Item::Positive(index, count), u64::wrapping_add);
        }
        for &(index, count) in &delta.negative {
            self.apply(Item::Negative(index, count), u64::wrapping_add);
        }
        self.sum += delta.sum;
    }

    fn clear(&mut self) {
        self.positive.clear();
        self.negative.clear();
        (self.zero, self.count, self.sum) = (0, 0, 0.0);
    }

    pub(super) fn bytes(&self) -> usize {
        self.positive.bytes() + self.negative.bytes()
    }
}

/// One histogram series.
#[derive(Debug)]
pub(super) struct Deltas {
    /// All since it is tracked.
    pub(super) total: Counts,
    log: Option<Log>,
}

#[derive(Debug)]
struct Log {
    widest: SpanId,
    /// The tick of the first record.
    first: Tick,
    /// Where each record ends, in bytes since ever.
    ends: VecDeque<u64>,
    /// The sum of all recorded values, at each tick.
    sums: VecDeque<f64>,
    /// Records, the first beginning at `base`.
    bytes: VecDeque<u8>,
    base: u64,
}

impl Deltas {
    pub(super) fn new() -> Self {
        Self { total: Counts::default(), log: None }
    }

    /// Keeps the deltas of a span from now on; whether that is new.
    pub(super) fn keep(&mut self, widest: SpanId, ticks: usize, line: &Timeline) -> bool {
        match &mut self.log {
            Some(log) => {
                if line.reach(widest) > line.reach(log.widest) {
                    log.widest = widest;
                }
                false
            }
            None => {
                self.log = Some(Log {
                    widest,
                    first: 0,
                    ends: VecDeque::with_capacity(ticks),
                    sums: VecDeque::with_capacity(ticks),
                    bytes: VecDeque::new(),
                    base: 0,
                });
                true
            }
        }
    }

    pub(super) fn push(&mut self, tick: Tick, delta: &Delta) {
        self.total.add(delta);
        let Some(log) = &mut self.log else { return };
        if log.ends.is_empty() {
            (log.first, log.base) = (tick, 0);
        }
        // Grown by an eighth at a time: doubling would waste what the coding saves.
        let most = 32 + 12 * (delta.positive.len() + delta.negative.len());
        if log.bytes.capacity() - log.bytes.len() < most {
            log.bytes.reserve_exact(most.max(log.bytes.len() / 8));
        }
        codec::encode(delta, &mut log.bytes);
        log.ends.push_back(log.base + log.bytes.len() as u64);
        log.sums.push_back(self.total.sum);
    }

    pub(super) fn trim(&mut self, line: &Timeline) {
        let Some(log) = &mut self.log else { return };
        let low = line.get(log.widest).low;
        while log.first < low
            && let Some(end) = log.ends.pop_front()
        {
            log.bytes.drain(..(end - log.base) as usize);
            log.base = end;
            log.sums.pop_front();
            log.first += 1;
        }
    }

    pub(super) fn clear(&mut self) {
        if let Some(log) = &mut self.log {
            log.ends.clear();
            log.sums.clear();
            log.bytes.clear();
            log.base = 0;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let log = self.log.as_ref().map_or(0, |log| {
            log.bytes.capacity() + (log.ends.capacity() + log.sums.capacity()) * size_of::<u64>()
        });
        log + self.total.bytes()
    }
}

impl Log {
    fn each(&self, tick: Tick, each: impl FnMut(Item)) {
        let Some(at) = tick.checked_sub(self.first).map(|at| at as usize) else { return };
        let start = if at == 0 { Some(self.base) } else { self.ends.get(at - 1).copied() };
        if let Some(start) = start
            && at < self.ends.len()
        {
            codec::decode(&self.bytes, (start - self.base) as usize, each);
        }
    }

    fn sum(&self, tick: Tick) -> f64 {
        tick.checked_sub(self.first)
            .and_then(|at| self.sums.get(at as usize))
            .copied()
            .unwrap_or(0.0)
    }
}

/// The running sum of one series over one window.
#[derive(Debug)]
pub(super) struct HistogramWindow {
    pub(super) series: u32,
    pub(super) span: SpanId,
    /// The ticks before this one have been looked at.
    seen: Tick,
    first: Tick,
    last: Tick,
    samples: u64,
    gained: Counts,
}

impl HistogramWindow {
    pub(super) fn new(series: u32, span: SpanId) -> Self {
        Self { series, span, seen: 0, first: 0, last: 0, samples: 0, gained: Counts::default() }
    }

    /// Takes in the ticks the span has gained, and lets go of those it has lost.
    pub(super) fn advance(&mut self, series: &Deltas, span: &Span) {
        let Some(log) = &series.log else { return };
        let end = log.first + log.ends.len() as u64;
        for tick in self.seen.max(log.first)..span.high.min(end) {
            if self.samples == 0 {
                self.first = tick;
            } else {
                log.each(tick, |item| self.gained.apply(item, u64::wrapping_add));
            }
            self.last = tick;
            self.samples += 1;
        }
        self.seen = span.high;
        while self.samples > 0 && self.first < span.low {
            self.samples -= 1;
            if self.samples == 0 {
                self.gained.clear();
                break;
            }
            self.first += 1;
            log.each(self.first, |item| self.gained.apply(item, u64::wrapping_sub));
        }
        self.gained.sum =
            if self.samples < 2 { 0.0 } else { log.sum(self.last) - log.sum(self.first) };
    }

    /// `None` with fewer than two samples.
    pub(super) fn gain(&self, line: &Timeline) -> Option<Gain<&Counts>> {
        if self.samples < 2 {
            return None;
        }
        Some(Gain {
            first_time: line.time(self.first),
            last_time: line.time(self.last),
            first_value: None,
            samples: self.samples,
            gain: &self.gained,
        })
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.series, self.span);
    }

    pub(super) fn bytes(&self) -> usize {
        self.gained.bytes()
    }
}
