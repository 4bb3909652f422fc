//! Snapshots over time: of the series some rule selects, and only of those, as far back as its
//! rules look.
//!
//! The tick thread pushes one [`Frame`] a tick and then asks; nobody else touches a [`Store`].
//! Every distinct series and window is kept once, however many rules use it. In a steady state a
//! push allocates nothing for plain numbers; a histogram allocates when it grows busier than
//! before.

mod codec;
mod float;
mod foresight;
mod histogram;
mod timeline;
mod trend;

pub(crate) use float::Gain;
pub(crate) use foresight::Foresight;
pub(crate) use histogram::{Counts, Dense};
pub(crate) use timeline::SpanId;

use std::{collections::HashMap, time::Duration};

use crate::{
    instrument::Delta,
    registry::{Frame, Reading, SeriesId},
    window::{
        float::{CounterWindow, Ring, STALE, is_stale},
        histogram::{Deltas, HistogramWindow},
        timeline::{Tick, Timeline, nanos},
    },
};

/// How far back the last sample of an instant selector with an offset may lie.
pub(crate) const LOOKBACK: Duration = Duration::from_secs(300);

/// Unless told otherwise, what all windows together may take.
pub(crate) const DEFAULT_BUDGET: usize = 64 << 20;

/// Which number of a series is followed: a histogram has two plain ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// A gauge's value, a sum's total.
    Value,
    /// How many values a histogram has recorded.
    Count,
    /// Their sum.
    Sum,
    /// How many of them lie in this bucket or below it.
    UpTo(i32),
}

/// A followed number of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FloatId(u32);
/// What a counter gained over one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CounterId(u32);
/// A followed histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistogramId(u32);
/// What a histogram gained over one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistogramWindowId(u32);

/// The windows would take more than they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the windows of all rules would take {needed} bytes, allowed are {budget}")]
pub(crate) struct OverBudget {
    needed: usize,
    budget: usize,
}

#[derive(Debug)]
struct Followed {
    series: SeriesId,
    part: Part,
    current: f64,
    /// A histogram's sum and count are added up here.
    total: f64,
    ring: Option<Ring>,
}

/// All windows of one instance.
#[derive(Debug)]
pub(crate) struct Store {
    tick: Duration,
    budget: usize,
    held: usize,
    line: Timeline,
    /// How many series the frame before had: those past it are newborn.
    known: usize,
    floats: Vec<Followed>,
    float_ids: HashMap<(SeriesId, Part), u32>,
    counters: Vec<CounterWindow>,
    counter_ids: HashMap<(u32, SpanId), u32>,
    histograms: Vec<(SeriesId, Deltas)>,
    histogram_ids: HashMap<SeriesId, u32>,
    windows: Vec<HistogramWindow>,
    window_ids: HashMap<(u32, SpanId), u32>,
    /// One encoded delta, again and again.
    buffer: Vec<u8>,
}

impl Store {
    pub(crate) fn new(tick: Duration, budget: usize) -> Self {
        Self {
            tick,
            budget,
            held: 0,
            line: Timeline::default(),
            known: 0,
            floats: Vec::new(),
            float_ids: HashMap::new(),
            counters: Vec::new(),
            counter_ids: HashMap::new(),
            histograms: Vec::new(),
            histogram_ids: HashMap::new(),
            windows: Vec::new(),
            window_ids: HashMap::new(),
            buffer: Vec::new(),
        }
    }

    /// The span of this range and offset; spans are shared by all series.
    pub(crate) fn span(&mut self, range: Duration, offset: Duration) -> SpanId {
        self.line.span(range, offset)
    }

    /// How many ticks a reach of this many seconds holds.
    fn ticks(&self, span: SpanId) -> usize {
        let ticks = self.line.reach(span) / self.tick.as_secs_f64().max(1e-3);
        // One more than fits, as a tick is pushed before the oldest is dropped, and one for jitter.
        (ticks.ceil() as usize).saturating_add(2)
    }

    /// The bytes one series of plain numbers takes in a window of this reach.
    pub(crate) fn bytes_for(&self, reach: Duration) -> usize {
        let ticks = reach.as_nanos() / self.tick.as_nanos().max(1);
        usize::try_from(ticks)
            .unwrap_or(usize::MAX)
            .saturating_add(2)
            .saturating_mul(size_of::<f64>())
    }

    fn afford(&self, more: usize) -> Result<(), OverBudget> {
        let needed = self.held.saturating_add(more);
        if needed > self.budget { Err(OverBudget { needed, budget: self.budget }) } else { Ok(()) }
    }

    /// Follows the present value of a series.
    pub(crate) fn follow(&mut self, series: SeriesId, part: Part) -> FloatId {
        let at = *self.float_ids.entry((series, part)).or_insert_with(|| {
            self.floats.push(Followed { series, part, current: STALE, total: 0.0, ring: None });
            self.floats.len() as u32 - 1
        });
        FloatId(at)
    }

    /// Keeps the samples of a span too.
    pub(crate) fn keep(&mut self, float: FloatId, span: SpanId) -> Result<(), OverBudget> {
        let ticks = self.ticks(span);
        let bytes = ticks.saturating_mul(size_of::<f64>());
        let next = self.line.next();
        let newborn = self.floats[float.0 as usize].series.index() >= self.known;
        let (held, reach) = match &self.floats[float.0 as usize].ring {
            None => (0, f64::NEG_INFINITY),
            Some(ring) => (
                self.ticks(ring.widest).saturating_mul(size_of::<f64>()),
                self.line.reach(ring.widest),
            ),
        };
        if self.line.reach(span) <= reach {
            return Ok(());
        }
        self.afford(bytes.saturating_sub(held))?;
        self.held += bytes.saturating_sub(held);
        let followed = &mut self.floats[float.0 as usize];
        match &mut followed.ring {
            Some(ring) => ring.widen(span, ticks),
            none => {
                let mut ring = Ring::new(next, span, ticks);
                // A histogram counts from zero since the tick before it was born.
                if newborn && followed.part != Part::Value && next > 0 {
                    ring.push(next - 1, 0.0);
                }
                *none = Some(ring);
            }
        }
        Ok(())
    }

    /// Keeps what a counter gains over a span.
    pub(crate) fn counter(
        &mut self,
        float: FloatId,
        span: SpanId,
    ) -> Result<CounterId, OverBudget> {
        self.keep(float, span)?;
        let at = *self.counter_ids.entry((float.0, span)).or_insert_with(|| {
            self.counters.push(CounterWindow::new(float.0, span));
            self.counters.len() as u32 - 1
        });
        Ok(CounterId(at))
    }

    /// Follows a histogram from now on.
    pub(crate) fn histogram(&mut self, series: SeriesId) -> HistogramId {
        let at = *self.histogram_ids.entry(series).or_insert_with(|| {
            self.histograms.push((series, Deltas::new()));
            self.histograms.len() as u32 - 1
        });
        HistogramId(at)
    }

    /// Keeps what a histogram gains over a span.
    pub(crate) fn histogram_window(
        &mut self,
        histogram: HistogramId,
        span: SpanId,
    ) -> Result<HistogramWindowId, OverBudget> {
        let ticks = self.ticks(span);
        // Twice a word a tick is sure; the buckets are counted as they come.
        self.afford(
            self.bytes().saturating_sub(self.held).saturating_add(ticks.saturating_mul(16)),
        )?;
        let (series, deltas) = &mut self.histograms[histogram.0 as usize];
        let newborn = series.index() >= self.known && self.line.next() > 0;
        if deltas.keep(span, ticks, &self.line) && newborn {
            deltas.push(self.line.next() - 1, &Delta::default(), &mut self.buffer);
        }
        let at = *self.window_ids.entry((histogram.0, span)).or_insert_with(|| {
            self.windows.push(HistogramWindow::new(histogram.0, span));
            self.windows.len() as u32 - 1
        });
        Ok(HistogramWindowId(at))
    }

    /// Takes in one tick.
    pub(crate) fn push(&mut self, frame: &Frame) {
        let tick = self.line.push(nanos(frame.at.mono));
        for followed in &mut self.floats {
            followed.read(frame, tick);
        }
        for (series, deltas) in &mut self.histograms {
            if let Some(Reading::Histogram(at)) = frame.readings.get(series.index()) {
                deltas.push(tick, frame.delta(*at), &mut self.buffer);
            }
        }
        for window in &mut self.counters {
            if let Some(ring) = &self.floats[window.ring as usize].ring {
                window.advance(ring, self.line.get(window.span));
            }
        }
        for window in &mut self.windows {
            let (series, deltas) = &self.histograms[window.series as usize];
            let latest = match frame.readings.get(series.index()) {
                Some(Reading::Histogram(at)) => Some(frame.delta(*at)),
                _ => None,
            };
            window.advance(deltas, self.line.get(window.span), latest, &mut self.buffer);
        }
        for followed in &mut self.floats {
            if let Some(ring) = &mut followed.ring {
                ring.trim(&self.line);
            }
        }
        for (_, deltas) in &mut self.histograms {
            deltas.trim(&self.line);
        }
        self.line.trim();
        self.known = frame.readings.len();
    }

    /// Forgets all samples: what lies before a clock's jump cannot be compared with what comes.
    pub(crate) fn clear(&mut self) {
        self.line.clear();
        for followed in &mut self.floats {
            followed.current = STALE;
            if let Some(ring) = &mut followed.ring {
                ring.clear();
            }
        }
        self.counters.iter_mut().for_each(CounterWindow::clear);
        for (_, deltas) in &mut self.histograms {
            deltas.clear();
        }
        self.windows.iter_mut().for_each(HistogramWindow::clear);
    }

    /// The last tick's value.
    #[inline]
    pub(crate) fn current(&self, float: FloatId) -> Option<f64> {
        let current = self.floats[float.0 as usize].current;
        (!is_stale(current)).then_some(current)
    }

    /// The last sample of a span, which must be of its last tick: a gap makes a series stale.
    pub(crate) fn last(&self, float: FloatId, span: SpanId) -> Option<f64> {
        let bounds = self.line.get(span);
        let tick = bounds.high.checked_sub(1).filter(|tick| *tick >= bounds.low)?;
        self.floats[float.0 as usize].ring.as_ref()?.get(tick)
    }

    /// The samples of a span, oldest first: nanoseconds since the origin, value.
    pub(crate) fn samples(
        &self,
        float: FloatId,
        span: SpanId,
    ) -> impl DoubleEndedIterator<Item = (u64, f64)> + '_ {
        let ring = self.floats[float.0 as usize].ring.as_ref();
        ring.into_iter()
            .flat_map(move |ring| ring.samples(self.line.get(span)))
            .map(|(tick, value)| (self.line.time(tick), value))
    }

    pub(crate) fn gain(&self, counter: CounterId) -> Option<Gain<f64>> {
        let window = &self.counters[counter.0 as usize];
        window.gain(self.floats[window.ring as usize].ring.as_ref()?, &self.line)
    }

    pub(crate) fn histogram_gain(&self, window: HistogramWindowId) -> Option<Gain<&Counts>> {
        self.windows[window.0 as usize].gain(&self.line)
    }

    /// All a histogram has recorded since it is followed.
    pub(crate) fn total(&self, histogram: HistogramId) -> &Counts {
        &self.histograms[histogram.0 as usize].1.total
    }

    /// Begin and end of a span in nanoseconds since the origin; it began before that if negative.
    pub(crate) fn bounds(&self, span: SpanId) -> (i128, i128) {
        self.line.bounds(span)
    }

    /// A span's length.
    pub(crate) fn range_seconds(&self, span: SpanId) -> f64 {
        self.line.range_seconds(span)
    }

    /// How far back a span lies.
    pub(crate) fn offset_nanos(&self, span: SpanId) -> u64 {
        self.line.offset(span)
    }

    /// What all of it takes.
    pub(crate) fn bytes(&self) -> usize {
        let logs: usize = self.histograms.iter().map(|(_, deltas)| deltas.bytes()).sum();
        let sums: usize = self.windows.iter().map(HistogramWindow::bytes).sum();
        self.held
            + logs
            + sums
            + self.line.bytes()
            + self.floats.capacity() * size_of::<Followed>()
            + self.counters.capacity() * size_of::<CounterWindow>()
            + self.windows.capacity() * size_of::<HistogramWindow>()
    }
}

impl Followed {
    #[inline]
    fn read(&mut self, frame: &Frame, tick: Tick) {
        self.current = match (frame.readings.get(self.series.index()), self.part) {
            (Some(Reading::Value(value)), Part::Value) => *value,
            (Some(Reading::Histogram(at)), Part::Count) => {
                self.total += frame.delta(*at).count as f64;
                self.total
            }
            (Some(Reading::Histogram(at)), Part::Sum) => {
                self.total += frame.delta(*at).sum;
                self.total
            }
            (Some(Reading::Histogram(at)), Part::UpTo(bucket)) => {
                self.total += up_to(frame.delta(*at), bucket) as f64;
                self.total
            }
            _ => STALE,
        };
        if let Some(ring) = &mut self.ring {
            ring.push(tick, self.current);
        }
    }
}

/// How many values lie in this bucket or below it; in `i32::MIN`, those not above zero.
fn up_to(delta: &Delta, bucket: i32) -> u64 {
    let all = |side: &[(i32, u64)]| side.iter().map(|(_, count)| count).sum::<u64>();
    let below = delta.positive.partition_point(|(index, _)| *index <= bucket);
    let below = if bucket == i32::MIN { 0 } else { below };
    delta.zero + all(&delta.negative) + all(&delta.positive[..below])
}
