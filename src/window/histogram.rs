//! One histogram series as the deltas of its ticks, and the running sums of its windows.
//!
//! A window's sum is what the series gained *between the window's first and last sample*, so the
//! first sample's own delta is left out, as Prometheus subtracts the first from the last. Counts
//! are integers: adding what comes and subtracting what goes is exact. The sum of the recorded
//! values is kept cumulative per tick instead, as subtracting floats would not be.

use std::collections::VecDeque;

use super::{
    codec::{self, Side, Visit},
    float::Gain,
    timeline::{Span, SpanId, Tick, Timeline},
};
use crate::instrument::{Delta, Distribution, SCALE};

/// Bucket counts from `offset` on.
#[derive(Debug, Default, Clone)]
pub(crate) struct Dense {
    pub(crate) offset: i32,
    pub(crate) counts: Vec<u64>,
}

/// More buckets than any finite value can fall in.
const MOST_BUCKETS: i32 = 2200 << SCALE;

impl Dense {
    /// Room for the buckets from `first` to `last`; false if no value can fall in them.
    fn reach(&mut self, first: i32, last: i32) -> bool {
        if first < -MOST_BUCKETS || last >= MOST_BUCKETS {
            return false;
        }
        if self.counts.is_empty() {
            self.offset = first;
        }
        if first < self.offset {
            let more = (self.offset - first) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.offset = first;
        }
        let length = (last - self.offset) as usize + 1;
        if length > self.counts.len() {
            self.counts.resize(length, 0);
        }
        true
    }

    #[inline]
    fn apply(&mut self, first: i32, counts: &[u64], change: impl Fn(u64, u64) -> u64) {
        if !counts.is_empty() && self.reach(first, first.saturating_add(counts.len() as i32 - 1)) {
            let slots = &mut self.counts[(first - self.offset) as usize..];
            for (slot, count) in slots.iter_mut().zip(counts) {
                *slot = change(*slot, *count);
            }
        }
    }

    #[inline]
    fn add(&mut self, buckets: codec::Buckets<'_, u32>) {
        let (Some((first, _)), Some((last, _))) = (buckets.first(), buckets.last()) else { return };
        if self.reach(*first, *last) {
            for (index, count) in buckets {
                let slot = &mut self.counts[(index - self.offset) as usize];
                *slot = slot.wrapping_add(u64::from(*count));
            }
        }
    }

    fn add_all(&mut self, other: &Self) {
        self.apply(other.offset, &other.counts, u64::wrapping_add);
    }

    fn populated(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        (self.offset..).zip(self.counts.iter().copied()).filter(|(_, count)| *count > 0)
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
    fn add(&mut self, delta: &Delta) {
        self.positive.add(&delta.positive);
        self.negative.add(&delta.negative);
        self.zero = self.zero.wrapping_add(delta.zero);
        self.count = self.count.wrapping_add(delta.count);
        self.sum += delta.sum;
    }

    fn add_all(&mut self, other: &Self) {
        self.positive.add_all(&other.positive);
        self.negative.add_all(&other.negative);
        self.zero = self.zero.wrapping_add(other.zero);
        self.count = self.count.wrapping_add(other.count);
        self.sum += other.sum;
    }

    /// All there is, but for what is still to be added.
    fn begin_with(&mut self, all: &Distribution, without: Option<&Delta>) {
        self.clear();
        let sides = [(&mut self.positive, &all.positive), (&mut self.negative, &all.negative)];
        for (side, all) in sides {
            side.apply(all.offset, &all.counts, |_, count| count);
        }
        (self.zero, self.count, self.sum) = (all.zero, all.count, all.sum);
        if let Some(delta) = without {
            for (side, delta) in
                [(&mut self.positive, &delta.positive), (&mut self.negative, &delta.negative)]
            {
                for (index, count) in delta {
                    side.apply(*index, &[u64::from(*count)], u64::wrapping_sub);
                }
            }
            self.zero = self.zero.wrapping_sub(delta.zero);
            self.count = self.count.wrapping_sub(delta.count);
            self.sum -= delta.sum;
        }
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

/// Adds a record to counts, or takes it off again.
struct Change<'a, F> {
    counts: &'a mut Counts,
    by: F,
}

impl<F: Fn(u64, u64) -> u64> Visit for Change<'_, F> {
    fn zero(&mut self, count: u64) {
        self.counts.zero = (self.by)(self.counts.zero, count);
        self.counts.count = (self.by)(self.counts.count, count);
    }

    #[inline]
    fn run(&mut self, side: Side, first: i32, counts: &[u64]) {
        let dense = match side {
            Side::Positive => &mut self.counts.positive,
            Side::Negative => &mut self.counts.negative,
        };
        dense.apply(first, counts, &self.by);
        self.counts.count = counts.iter().fold(self.counts.count, |all, one| (self.by)(all, *one));
    }
}

/// What pushing needs and nobody keeps.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    record: Vec<u8>,
    sides: [Vec<(i32, u64)>; 2],
}

/// One histogram series.
#[derive(Debug)]
pub(super) struct Deltas {
    /// All since its series began, where that is asked for.
    total: Option<Box<Counts>>,
    /// The sum of all recorded values.
    sum: f64,
    /// What has come since the last tick of a coarse tier.
    pending: Option<Box<Counts>>,
    log: Option<Log>,
}

#[derive(Debug)]
struct Log {
    widest: SpanId,
    /// The tick of the first record.
    first: Tick,
    /// Where each record ends, in bytes since ever: what they hold is far below the wrap.
    ends: VecDeque<u32>,
    /// The sum of all recorded values, at each tick.
    sums: VecDeque<f64>,
    /// Records, the first beginning at `base`.
    bytes: VecDeque<u8>,
    base: u32,
}

impl Deltas {
    /// Of the fine tier, or of a coarse one.
    pub(super) fn new(coarse: bool) -> Self {
        let pending = coarse.then(Box::default);
        Self { total: None, sum: 0.0, pending, log: None }
    }

    /// Counts all from now on; whether that is new.
    pub(super) fn count_all(&mut self) -> bool {
        let is_new = self.total.is_none();
        self.total.get_or_insert_default();
        is_new
    }

    /// What was recorded before, but for what is still to be pushed.
    pub(super) fn begin_with(&mut self, all: &Distribution, without: Option<&Delta>) {
        if let Some(total) = &mut self.total {
            total.begin_with(all, without);
        }
        // The sums that are kept are differences to the one it began with.
        if self.log.as_ref().is_none_or(|log| log.sums.is_empty()) {
            self.sum = all.sum - without.map_or(0.0, |delta| delta.sum);
        }
    }

    /// All since its series began; `None` if nobody [counts](Self::count_all) it.
    pub(super) fn total(&self) -> Option<&Counts> {
        self.total.as_deref()
    }

    /// The longest span that is kept.
    pub(super) fn widest(&self) -> Option<SpanId> {
        self.log.as_ref().map(|log| log.widest)
    }

    /// Keeps none from now on.
    pub(super) fn shed(&mut self) {
        self.log = None;
        // Empty, so that its heir goes on with all ticks.
        if let Some(pending) = &mut self.pending {
            **pending = Counts::default();
        }
    }

    /// The deltas another store has kept, for a span of this one.
    pub(super) fn adopt(&mut self, past: &mut Self, widest: SpanId) {
        self.log = past.log.take().map(|log| Log { widest, ..log });
    }

    /// What it has counted and waits for, but no log yet.
    pub(super) fn heir(&mut self) -> Self {
        let (total, pending) = (self.total.take(), self.pending.take());
        Self { total, sum: self.sum, pending, log: None }
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

    /// Takes in what a tick brought; its tier's tick, if this is one. Then its windows are
    /// [advanced](HistogramWindow::advance), and this [let go](Self::let_go) of.
    pub(super) fn push(&mut self, tick: Option<Tick>, delta: &Delta, buffers: &mut Buffers) {
        self.sum += delta.sum;
        if let Some(total) = &mut self.total {
            total.add(delta);
        }
        let Some(log) = &mut self.log else { return };
        if let Some(pending) = &mut self.pending {
            pending.add(delta);
        }
        let Some(tick) = tick else { return };
        if log.ends.is_empty() {
            (log.first, log.base) = (tick, 0);
        }
        let Buffers { record, sides: [positive, negative] } = buffers;
        record.clear();
        if let Some(pending) = &mut self.pending {
            for (side, all) in [(&mut *positive, &pending.positive), (negative, &pending.negative)]
            {
                side.clear();
                side.extend(all.populated());
            }
            codec::encode(pending.zero, positive, negative, record);
        } else {
            codec::encode(delta.zero, &delta.positive, &delta.negative, record);
        }
        // Grown by an eighth at a time: doubling would waste what the coding saves.
        if log.bytes.capacity() - log.bytes.len() < record.len() {
            log.bytes.reserve_exact(record.len().max(log.bytes.len() / 8));
        }
        log.bytes.extend(&*record);
        log.ends.push_back(log.base.wrapping_add(log.bytes.len() as u32));
        log.sums.push_back(self.sum);
    }

    /// Forgets what no window reaches any more, and what the sampled tick stood for.
    pub(super) fn let_go(&mut self, line: &Timeline) {
        if let Some(pending) = &mut self.pending {
            pending.clear();
        }
        let Some(log) = &mut self.log else { return };
        let low = line.get(log.widest).low;
        while log.first < low
            && let Some(end) = log.ends.pop_front()
        {
            log.bytes.drain(..end.wrapping_sub(log.base) as usize);
            log.base = end;
            log.sums.pop_front();
            log.first += 1;
        }
    }

    pub(super) fn clear(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.clear();
        }
        if let Some(log) = &mut self.log {
            log.ends.clear();
            log.sums.clear();
            log.bytes.clear();
            log.base = 0;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let log = self.log.as_ref().map_or(0, |log| {
            log.bytes.capacity()
                + log.ends.capacity() * size_of::<u32>()
                + log.sums.capacity() * size_of::<f64>()
        });
        let pending = self.pending.as_ref().map_or(0, |pending| pending.bytes());
        let total = self.total.as_ref().map_or(0, |total| total.bytes() + size_of::<Counts>());
        log + pending + total + size_of::<Self>()
    }
}

impl Log {
    /// Changes counts by what was recorded at a tick.
    fn change(
        &self,
        tick: Tick,
        counts: &mut Counts,
        by: impl Fn(u64, u64) -> u64,
        buffers: &mut Buffers,
    ) {
        let Some(at) = tick.checked_sub(self.first).map(|at| at as usize) else { return };
        let start = if at == 0 { Some(self.base) } else { self.ends.get(at - 1).copied() };
        let (Some(start), Some(end)) = (start, self.ends.get(at)) else { return };
        let (start, end) =
            (start.wrapping_sub(self.base) as usize, end.wrapping_sub(self.base) as usize);
        let mut change = Change { counts, by };
        let (front, back) = self.bytes.as_slices();
        if end <= front.len() {
            codec::decode(&front[start..], &mut change);
        } else if start >= front.len() {
            codec::decode(&back[start - front.len()..], &mut change);
        } else {
            // Once a turn of the ring.
            buffers.record.clear();
            buffers.record.extend(self.bytes.range(start..end));
            codec::decode(&buffers.record, &mut change);
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
    pub(super) span: SpanId,
    /// The ticks before this one have been looked at.
    seen: Tick,
    first: Tick,
    last: Tick,
    samples: u64,
    gained: Counts,
}

impl HistogramWindow {
    pub(super) fn new(span: SpanId) -> Self {
        Self { span, seen: 0, first: 0, last: 0, samples: 0, gained: Counts::default() }
    }

    /// Under another number.
    pub(super) fn renumbered(self, span: SpanId) -> Self {
        Self { span, ..self }
    }

    /// Takes in the ticks the span has gained, and lets go of those it has lost. `latest` is what
    /// the newest tick brought, which need not be decoded again.
    pub(super) fn advance(
        &mut self,
        series: &Deltas,
        span: &Span,
        latest: Option<&Delta>,
        buffers: &mut Buffers,
    ) {
        let Some(log) = &series.log else { return };
        let end = log.first + log.ends.len() as u64;
        for tick in self.seen.max(log.first)..span.high.min(end) {
            if self.samples == 0 {
                self.first = tick;
            } else {
                match (&series.pending, latest) {
                    (Some(pending), Some(_)) if tick + 1 == end => self.gained.add_all(pending),
                    (None, Some(delta)) if tick + 1 == end => self.gained.add(delta),
                    _ => log.change(tick, &mut self.gained, u64::wrapping_add, buffers),
                }
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
            log.change(self.first, &mut self.gained, u64::wrapping_sub, buffers);
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
        *self = Self::new(self.span);
    }

    pub(super) fn bytes(&self) -> usize {
        self.gained.bytes() + size_of::<Self>()
    }
}
