//! Which series are followed, in which tiers, and what they take.

use std::{collections::HashMap, time::Duration};

use super::{
    FINE,
    float::{CounterWindow, Gain, Ring, STALE, is_stale},
    histogram::{Buffers, Counts, Deltas, HistogramWindow},
    timeline::{SpanId, Tick, Timeline, nanos},
};
use crate::{
    instrument::{Delta, Distribution},
    registry::{Frame, Reading, SeriesId},
};

/// Unless told otherwise, what all windows together may take.
pub(crate) const DEFAULT_BUDGET: usize = 64 << 20;

/// What a tick of a histogram takes at some forty populated buckets.
const HISTOGRAM_TICK: usize = 64;

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
    /// How many lie at or below a declared bound: in this bucket or below it, and of the next one
    /// those that the bound, by its place among those declared, leaves below.
    Cut(i32, u8),
}

/// What a sample of a coarse tier is made of: the ticks since the one before. In the fine tier all
/// are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fold {
    Last,
    Max,
    Min,
    Mean,
    Sum,
    Count,
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
/// What a histogram gained over one window: which histogram, and which of its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistogramWindowId(u32, u32);

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
    fold: Fold,
    tier: u8,
    current: f64,
    /// A histogram's sum and count are added up here.
    total: f64,
    /// What the ticks since the last sample come to, and how many had one.
    folded: (f64, u32),
    ring: Option<Ring>,
}

#[derive(Debug)]
struct FollowedHistogram {
    series: SeriesId,
    tier: u8,
    deltas: Deltas,
    windows: Vec<HistogramWindow>,
    /// It came to take more than there was, and is not kept any more.
    shed: bool,
}

/// Which ticks are sampled, and when they were.
#[derive(Debug)]
struct Tier {
    /// One tick in so many.
    stride: u64,
    line: Timeline,
    /// What the tick that is being pushed is to this tier, if anything.
    pushed: Option<Tick>,
}

/// All windows of one instance.
#[derive(Debug)]
pub(crate) struct Store {
    tick: Duration,
    budget: usize,
    /// What has been set aside, and how much of it for numbers.
    held: usize,
    held_floats: usize,
    /// How many ticks there were.
    ticks: u64,
    /// The last one's time, in nanoseconds since the origin.
    now: u64,
    /// The fine one first.
    tiers: Vec<Tier>,
    /// How many series the frame before had: those past it are newborn.
    known: usize,
    /// By series: whether what a histogram gains is looked at.
    wanted: Vec<bool>,
    floats: Vec<Followed>,
    float_ids: HashMap<(SeriesId, Part, Fold, u8), u32>,
    counters: Vec<CounterWindow>,
    counter_ids: HashMap<(u32, SpanId), u32>,
    histograms: Vec<FollowedHistogram>,
    histogram_ids: HashMap<(SeriesId, u8), u32>,
    buffers: Buffers,
    /// What is followed since the last tick and may have begun before: floats, histograms.
    unseeded: (Vec<u32>, Vec<u32>),
    /// What was kept for other rules, until all of these have found theirs.
    past: Option<Box<Store>>,
}

/// One tick in how many a window of this reach samples, and how many samples it holds then: one
/// more than fit, as a tick is pushed before the oldest is dropped, and one for jitter.
fn shape(reach: Duration, tick: Duration) -> (u64, usize) {
    let ticks = reach.as_nanos().div_ceil(tick.as_nanos().max(1));
    let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
    let stride = ticks.div_ceil(FINE).max(1).checked_next_power_of_two().unwrap_or(1 << 63);
    (stride, ticks.div_ceil(stride) as usize + 2)
}

/// About what one series takes in a window of this reach.
pub(crate) fn estimate(reach: Duration, tick: Duration, histogram: bool) -> usize {
    let (_, samples) = shape(reach, tick);
    samples * if histogram { HISTOGRAM_TICK } else { size_of::<f64>() }
}

impl Store {
    pub(crate) fn new(tick: Duration, budget: usize) -> Self {
        Self {
            tick,
            budget,
            held: 0,
            held_floats: 0,
            ticks: 0,
            now: 0,
            tiers: vec![Tier { stride: 1, line: Timeline::new(0), pushed: None }],
            known: 0,
            wanted: Vec::new(),
            floats: Vec::new(),
            float_ids: HashMap::new(),
            counters: Vec::new(),
            counter_ids: HashMap::new(),
            histograms: Vec::new(),
            histogram_ids: HashMap::new(),
            buffers: Buffers::default(),
            unseeded: Default::default(),
            past: None,
        }
    }

    /// Rules change, and all are bound anew. What they look at goes on as it is, all else is let go
    /// of by [`settle`](Self::settle). Until then nothing may be pushed or asked.
    #[cfg(feature = "rule-files")]
    pub(crate) fn renew(&mut self, budget: usize) {
        // Twice in a row: nothing has been bound in between.
        let past = self.past.take();
        let mut fresh = Self::new(self.tick, budget);
        (fresh.ticks, fresh.now, fresh.known) = (self.ticks, self.now, self.known);
        // What a histogram gains meanwhile is wanted.
        fresh.wanted.clone_from(&self.wanted);
        let bare = |tier: &Tier| Tier { stride: tier.stride, line: tier.line.bare(), pushed: None };
        fresh.tiers = self.tiers.iter().map(bare).collect();
        let own = std::mem::replace(self, fresh);
        self.past = Some(past.unwrap_or_else(|| Box::new(own)));
    }

    /// All rules have been bound since [`renew`](Self::renew).
    pub(crate) fn settle(&mut self) {
        self.past = None;
        self.wanted.fill(false);
        let parts = self.floats.iter().filter(|followed| followed.part != Part::Value);
        let series = parts.map(|followed| followed.series);
        for series in series.chain(self.histograms.iter().map(|followed| followed.series)) {
            self.wanted[series.index()] = true;
        }
    }

    /// Gives what is followed since the last tick the count it had before: `all` is a histogram's
    /// since its series began, with what `frame` has of it.
    pub(crate) fn seed<'a>(
        &mut self,
        frame: &Frame,
        all: impl Fn(SeriesId) -> Option<&'a Distribution>,
    ) {
        let delta = |series: SeriesId| match frame.readings.get(series.index()) {
            Some(Reading::Histogram(at)) => Some(frame.delta(*at)),
            _ => None,
        };
        let (floats, histograms) = &mut self.unseeded;
        for at in floats.drain(..) {
            let followed = &mut self.floats[at as usize];
            if let Some(all) = all(followed.series) {
                followed.begin_with(all, delta(followed.series));
            }
        }
        for at in histograms.drain(..) {
            let followed = &mut self.histograms[at as usize];
            if let Some(all) = all(followed.series) {
                followed.deltas.begin_with(all, delta(followed.series));
            }
        }
    }

    /// The span of this range and offset; spans are shared by all series.
    pub(crate) fn span(&mut self, range: Duration, offset: Duration) -> SpanId {
        let (stride, _) = shape(range.saturating_add(offset), self.tick);
        let tier = self.tiers.iter().position(|tier| tier.stride == stride).unwrap_or_else(|| {
            // There are no more than 64 powers of two.
            let line = Timeline::new(self.tiers.len() as u8);
            self.tiers.push(Tier { stride, line, pushed: None });
            self.tiers.len() - 1
        });
        self.tiers[tier].line.span(range, offset)
    }

    /// The ticks a span's tier samples.
    fn line(&self, span: SpanId) -> &Timeline {
        &self.tiers[span.tier as usize].line
    }

    fn samples_in(&self, span: SpanId) -> usize {
        shape(Duration::from_secs_f64(self.line(span).reach(span)), self.tick).1
    }

    #[cfg(feature = "rule-files")]
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    fn set_aside(&mut self, more: usize) -> Result<(), OverBudget> {
        let needed = self.held.saturating_add(more);
        if needed > self.budget {
            return Err(OverBudget { needed, budget: self.budget });
        }
        self.held = needed;
        Ok(())
    }

    /// Follows the present value of a series.
    pub(crate) fn follow(&mut self, series: SeriesId, part: Part) -> FloatId {
        self.follow_in(series, part, Fold::Last, 0)
    }

    fn follow_in(&mut self, series: SeriesId, part: Part, fold: Fold, tier: u8) -> FloatId {
        // Where every tick is a sample there is nothing to fold.
        let fold = if tier == 0 { Fold::Last } else { fold };
        if part != Part::Value {
            self.want(series);
        }
        let key = (series, part, fold, tier);
        let at = *self.float_ids.entry(key).or_insert_with(|| {
            let at = self.floats.len() as u32;
            let past = self.past.as_ref().and_then(|past| {
                let known = past.float_ids.get(&key)?;
                past.floats.get(*known as usize)
            });
            let (current, total, folded) = match past {
                Some(past) => (past.current, past.total, past.folded),
                None => {
                    if part != Part::Value {
                        self.unseeded.0.push(at);
                    }
                    (STALE, 0.0, (0.0, 0))
                }
            };
            let ring = None;
            self.floats.push(Followed { series, part, fold, tier, current, total, folded, ring });
            at
        });
        FloatId(at)
    }

    /// The samples that were kept of the same number for the rules before.
    fn past_ring(&mut self, float: FloatId) -> Option<Ring> {
        let Followed { series, part, fold, tier, .. } = self.floats[float.0 as usize];
        let past = self.past.as_mut()?;
        let known = *past.float_ids.get(&(series, part, fold, tier))?;
        past.floats.get_mut(known as usize)?.ring.take()
    }

    /// What the rules before kept over the same span, by its number among theirs.
    fn past_span(&self, span: SpanId) -> Option<SpanId> {
        let past = self.past.as_ref()?;
        let tier = span.tier as usize;
        past.tiers.get(tier)?.line.find(&self.tiers[tier].line, span)
    }

    /// Keeps the samples of a series over a span.
    pub(crate) fn keep(
        &mut self,
        series: SeriesId,
        part: Part,
        fold: Fold,
        span: SpanId,
    ) -> Result<FloatId, OverBudget> {
        let float = self.follow_in(series, part, fold, span.tier);
        let (samples, line) = (self.samples_in(span), self.line(span));
        let held = self.floats[float.0 as usize].ring.as_ref().map(|ring| ring.widest);
        if held.is_some_and(|widest| line.reach(span) <= line.reach(widest)) {
            return Ok(float);
        }
        let held = held.map_or(0, |widest| self.samples_in(widest));
        let next = line.next();
        let more = samples.saturating_sub(held) * size_of::<f64>();
        self.set_aside(more)?;
        self.held_floats += more;
        let newborn = series.index() >= self.known;
        if self.floats[float.0 as usize].ring.is_none() {
            self.floats[float.0 as usize].ring = self.past_ring(float);
        }
        let followed = &mut self.floats[float.0 as usize];
        match &mut followed.ring {
            Some(ring) => ring.widen(span, samples),
            none => {
                let mut ring = Ring::new(next, span, samples);
                // A histogram counts from zero since the tick before it was born.
                if newborn && part != Part::Value && next > 0 {
                    ring.push(next - 1, 0.0);
                }
                *none = Some(ring);
            }
        }
        Ok(float)
    }

    /// Keeps what a counter gains over a span.
    pub(crate) fn counter(
        &mut self,
        series: SeriesId,
        part: Part,
        span: SpanId,
    ) -> Result<CounterId, OverBudget> {
        let float = self.keep(series, part, Fold::Last, span)?;
        if let Some(known) = self.counter_ids.get(&(float.0, span)) {
            return Ok(CounterId(*known));
        }
        let past = self.past_counter(float, span);
        let window = past.unwrap_or_else(|| CounterWindow::new(float.0, span));
        self.counters.push(window.renumbered(float.0, span));
        let at = self.counters.len() as u32 - 1;
        self.counter_ids.insert((float.0, span), at);
        Ok(CounterId(at))
    }

    fn past_counter(&mut self, float: FloatId, span: SpanId) -> Option<CounterWindow> {
        let span = self.past_span(span)?;
        let Followed { series, part, fold, tier, .. } = self.floats[float.0 as usize];
        let past = self.past.as_mut()?;
        let ring = *past.float_ids.get(&(series, part, fold, tier))?;
        let known = *past.counter_ids.get(&(ring, span))?;
        let window = past.counters.get_mut(known as usize)?;
        Some(std::mem::replace(window, CounterWindow::new(ring, span)))
    }

    fn past_window(&mut self, at: HistogramId, span: SpanId) -> Option<HistogramWindow> {
        let span = self.past_span(span)?;
        let FollowedHistogram { series, tier, .. } = self.histograms[at.0 as usize];
        let past = self.past.as_mut()?;
        let histogram = *past.histogram_ids.get(&(series, tier))?;
        let windows = &mut past.histograms.get_mut(histogram as usize)?.windows;
        let window = windows.iter_mut().find(|window| window.span == span)?;
        Some(std::mem::replace(window, HistogramWindow::new(span)))
    }

    /// Follows all a histogram has recorded.
    pub(crate) fn histogram(&mut self, series: SeriesId) -> HistogramId {
        let histogram = self.histogram_in(series, 0);
        if self.histograms[histogram.0 as usize].deltas.count_all() {
            self.unseeded.1.push(histogram.0);
        }
        histogram
    }

    fn histogram_in(&mut self, series: SeriesId, tier: u8) -> HistogramId {
        self.want(series);
        let at = *self.histogram_ids.entry((series, tier)).or_insert_with(|| {
            let at = self.histograms.len() as u32;
            let past = self.past.as_mut().and_then(|past| {
                let known = *past.histogram_ids.get(&(series, tier))?;
                past.histograms.get_mut(known as usize)
            });
            let deltas = match past {
                Some(past) => past.deltas.heir(),
                None => {
                    self.unseeded.1.push(at);
                    Deltas::new(tier > 0)
                }
            };
            let windows = Vec::new();
            self.histograms.push(FollowedHistogram { series, tier, deltas, windows, shed: false });
            at
        });
        HistogramId(at)
    }

    /// Keeps what a histogram gains over a span.
    pub(crate) fn histogram_window(
        &mut self,
        series: SeriesId,
        span: SpanId,
    ) -> Result<HistogramWindowId, OverBudget> {
        let histogram = self.histogram_in(series, span.tier);
        if self.histograms[histogram.0 as usize].shed {
            return Err(OverBudget { needed: self.histogram_bytes(), budget: self.budget });
        }
        let samples = self.samples_in(span);
        let held = self.histograms[histogram.0 as usize].deltas.widest();
        let held = held.map_or(0, |widest| self.samples_in(widest));
        self.set_aside(samples.saturating_sub(held) * HISTOGRAM_TICK)?;
        let line = &self.tiers[span.tier as usize].line;
        let newborn = series.index() >= self.known && line.next() > 0;
        let deltas = &mut self.histograms[histogram.0 as usize].deltas;
        if deltas.widest().is_none()
            && let Some(past) = &mut self.past
            && let Some(known) = past.histogram_ids.get(&(series, span.tier))
            && let Some(past) = past.histograms.get_mut(*known as usize)
        {
            deltas.adopt(&mut past.deltas, span);
        }
        if deltas.keep(span, samples, line) && newborn {
            deltas.push(Some(line.next() - 1), &Delta::default(), &mut self.buffers);
        }
        let known = &self.histograms[histogram.0 as usize].windows;
        let at = known.iter().position(|window| window.span == span).unwrap_or_else(|| {
            let past = self.past_window(histogram, span);
            let window = past.unwrap_or_else(|| HistogramWindow::new(span));
            let windows = &mut self.histograms[histogram.0 as usize].windows;
            // Most have no other.
            windows.reserve_exact(1);
            windows.push(window.renumbered(span));
            windows.len() - 1
        });
        Ok(HistogramWindowId(histogram.0, at as u32))
    }

    fn want(&mut self, series: SeriesId) {
        if self.wanted.len() <= series.index() {
            self.wanted.resize(series.index() + 1, false);
        }
        self.wanted[series.index()] = true;
    }

    /// Whether [`push`](Self::push) needs what this histogram has gained. A new series' first
    /// delta always: who follows it is not known yet.
    pub(crate) fn wants(&self, series: SeriesId) -> bool {
        series.index() >= self.known
            || self.wanted.get(series.index()).is_some_and(|wanted| *wanted)
    }

    /// Takes in one tick.
    pub(crate) fn push(&mut self, frame: &Frame) {
        let at = nanos(frame.at.mono);
        self.now = at;
        for tier in &mut self.tiers {
            let sampled = self.ticks.is_multiple_of(tier.stride);
            tier.pushed = sampled.then(|| tier.line.push(at));
        }
        self.ticks += 1;
        for followed in &mut self.floats {
            followed.read(frame, self.tiers[followed.tier as usize].pushed);
        }
        for window in &mut self.counters {
            let tier = &self.tiers[window.span.tier as usize];
            if tier.pushed.is_some()
                && let Some(ring) = &self.floats[window.ring as usize].ring
            {
                window.advance(ring, tier.line.get(window.span));
            }
        }
        // All of one before the next: together they are more than the cache holds.
        let mut held = 0;
        for followed in &mut self.histograms {
            let tier = &self.tiers[followed.tier as usize];
            let delta = match frame.readings.get(followed.series.index()) {
                Some(Reading::Histogram(at)) => Some(frame.delta(*at)),
                _ => None,
            };
            let FollowedHistogram { deltas, windows, .. } = followed;
            if let Some(delta) = delta {
                deltas.push(tier.pushed, delta, &mut self.buffers);
            }
            if tier.pushed.is_some() {
                for window in windows {
                    let span = tier.line.get(window.span);
                    window.advance(deltas, span, delta, &mut self.buffers);
                }
                deltas.let_go(&tier.line);
            }
            held += followed.bytes();
        }
        self.trim();
        self.known = frame.readings.len();
        if held > self.budget.saturating_sub(self.held_floats) {
            self.shed();
        }
    }

    /// What histograms take: more than was set aside where they are wider than most.
    fn histogram_bytes(&self) -> usize {
        self.histograms.iter().map(FollowedHistogram::bytes).sum()
    }

    /// Lets go of the widest histograms until the others fit.
    #[cold]
    fn shed(&mut self) {
        while self.histogram_bytes() > self.budget.saturating_sub(self.held_floats) {
            let kept = self.histograms.iter_mut().filter(|one| !one.shed);
            let Some(widest) = kept.max_by_key(|one| one.deltas.bytes()) else { return };
            log::warn!(
                "highwater: the windows of histogram number {} take more than the budget of {} bytes leaves: rules about them cannot be evaluated",
                widest.series.index(),
                self.budget
            );
            widest.shed = true;
            widest.deltas.shed();
            widest.windows.iter_mut().for_each(HistogramWindow::clear);
        }
    }

    /// Whether a window is not kept because it came to take too much.
    #[inline]
    pub(crate) fn is_shed(&self, window: HistogramWindowId) -> bool {
        self.histograms[window.0 as usize].shed
    }

    /// Lets go of the numbers and ticks no window reaches any more.
    fn trim(&mut self) {
        for followed in &mut self.floats {
            if let Some(ring) = &mut followed.ring {
                ring.trim(&self.tiers[followed.tier as usize].line);
            }
        }
        self.tiers.iter_mut().for_each(|tier| tier.line.trim());
    }

    /// Forgets all samples: what lies before a clock's jump cannot be compared with what comes.
    pub(crate) fn clear(&mut self) {
        self.ticks = 0;
        self.tiers.iter_mut().for_each(|tier| tier.line.clear());
        for followed in &mut self.floats {
            (followed.current, followed.folded) = (STALE, (0.0, 0));
            if let Some(ring) = &mut followed.ring {
                ring.clear();
            }
        }
        self.counters.iter_mut().for_each(CounterWindow::clear);
        for followed in &mut self.histograms {
            followed.deltas.clear();
            followed.windows.iter_mut().for_each(HistogramWindow::clear);
        }
    }

    /// The last tick's value.
    #[inline]
    pub(crate) fn current(&self, float: FloatId) -> Option<f64> {
        let current = self.floats[float.0 as usize].current;
        (!is_stale(current)).then_some(current)
    }

    /// The last sample of a span, which must be of its last tick: a gap makes a series stale.
    pub(crate) fn last(&self, float: FloatId, span: SpanId) -> Option<f64> {
        let bounds = self.line(span).get(span);
        let tick = bounds.high.checked_sub(1).filter(|tick| *tick >= bounds.low)?;
        self.floats[float.0 as usize].ring.as_ref()?.get(tick)
    }

    /// How many seconds ago that sample was taken.
    pub(crate) fn age(&self, float: FloatId, span: SpanId) -> Option<f64> {
        self.last(float, span)?;
        let line = self.line(span);
        let tick = line.get(span).high.checked_sub(1)?;
        Some(self.now.saturating_sub(line.time(tick)) as f64 / 1e9)
    }

    /// The samples of a span, oldest first: nanoseconds since the origin, value.
    pub(crate) fn samples(
        &self,
        float: FloatId,
        span: SpanId,
    ) -> impl DoubleEndedIterator<Item = (u64, f64)> + '_ {
        let (line, ring) = (self.line(span), self.floats[float.0 as usize].ring.as_ref());
        ring.into_iter()
            .flat_map(move |ring| ring.samples(line.get(span)))
            .map(|(tick, value)| (line.time(tick), value))
    }

    pub(crate) fn gain(&self, counter: CounterId) -> Option<Gain<f64>> {
        let window = &self.counters[counter.0 as usize];
        window.gain(self.floats[window.ring as usize].ring.as_ref()?, self.line(window.span))
    }

    pub(crate) fn histogram_gain(&self, window: HistogramWindowId) -> Option<Gain<&Counts>> {
        let window = &self.histograms[window.0 as usize].windows[window.1 as usize];
        window.gain(self.line(window.span))
    }

    /// All a histogram has recorded since its series began.
    pub(crate) fn total(&self, histogram: HistogramId) -> Option<&Counts> {
        self.histograms[histogram.0 as usize].deltas.total()
    }

    /// Begin and end of a span in nanoseconds since the origin; it began before that if negative.
    pub(crate) fn bounds(&self, span: SpanId) -> (i128, i128) {
        self.line(span).bounds(span)
    }

    /// A span's length.
    pub(crate) fn range_seconds(&self, span: SpanId) -> f64 {
        self.line(span).range_seconds(span)
    }

    /// How far back a span lies.
    pub(crate) fn offset_nanos(&self, span: SpanId) -> u64 {
        self.line(span).offset(span)
    }

    /// Whether a span's samples stand for several ticks each.
    pub(crate) fn is_coarse(&self, span: SpanId) -> bool {
        self.tiers[span.tier as usize].stride > 1
    }

    /// What all of it takes.
    pub(crate) fn bytes(&self) -> usize {
        let rings: usize =
            self.floats.iter().filter_map(|f| f.ring.as_ref()).map(Ring::bytes).sum();
        let lines: usize = self.tiers.iter().map(|tier| tier.line.bytes()).sum();
        rings
            + lines
            + self.histogram_bytes()
            + self.floats.capacity() * size_of::<Followed>()
            + self.counters.capacity() * size_of::<CounterWindow>()
    }
}

impl FollowedHistogram {
    fn bytes(&self) -> usize {
        self.deltas.bytes() + self.windows.iter().map(HistogramWindow::bytes).sum::<usize>()
    }
}

impl Followed {
    /// What a histogram had counted before it was followed.
    fn begin_with(&mut self, all: &Distribution, without: Option<&Delta>) {
        let of = |count: u64, delta: fn(&Delta) -> u64| {
            count.saturating_sub(without.map_or(0, delta)) as f64
        };
        self.total = match self.part {
            Part::Value => return,
            Part::Count => of(all.count, |delta| delta.count),
            Part::Sum => all.sum - without.map_or(0.0, |delta| delta.sum),
            Part::UpTo(bucket) | Part::Cut(bucket, _) => {
                let cut = if let Part::Cut(_, at) = self.part { Some(at) } else { None };
                let all_up_to: u64 =
                    all.positive.iter().filter(|(at, _)| *at <= bucket).map(|(_, n)| n).sum();
                let positive = if bucket == i32::MIN { 0 } else { all_up_to };
                let below: u64 = all.negative.iter().map(|(_, n)| n).sum();
                let of_cut = cut.and_then(|at| all.cuts.get(usize::from(at)));
                let all = positive + below + all.zero + of_cut.map_or(0, |cut| cut.below);
                let gained = without
                    .map_or(0, |delta| up_to(delta, bucket) + cut.map_or(0, |at| delta.cut(at)));
                all.saturating_sub(gained) as f64
            }
        };
    }

    /// Takes in a tick; `tick` is what it is to its tier, if it samples it.
    #[inline]
    fn read(&mut self, frame: &Frame, tick: Option<Tick>) {
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
            (Some(Reading::Histogram(at)), Part::Cut(bucket, cut)) => {
                let delta = frame.delta(*at);
                self.total += (up_to(delta, bucket) + delta.cut(cut)) as f64;
                self.total
            }
            (Some(Reading::Histogram(at)), Part::UpTo(bucket)) => {
                self.total += up_to(frame.delta(*at), bucket) as f64;
                self.total
            }
            _ => STALE,
        };
        if self.fold != Fold::Last {
            self.fold();
        }
        if let (Some(ring), Some(tick)) = (&mut self.ring, tick) {
            let sample = match (self.fold, std::mem::take(&mut self.folded)) {
                (Fold::Last, _) => self.current,
                (_, (_, 0)) => STALE,
                (Fold::Mean, (sum, count)) => sum / f64::from(count),
                (Fold::Count, (_, count)) => f64::from(count),
                (_, (folded, _)) => folded,
            };
            ring.push(tick, sample);
        }
    }

    fn fold(&mut self) {
        let (folded, count) = &mut self.folded;
        if is_stale(self.current) {
            return;
        }
        *folded = match self.fold {
            _ if *count == 0 => self.current,
            // NaN only if all are.
            Fold::Max => folded.max(self.current),
            Fold::Min => folded.min(self.current),
            _ => *folded + self.current,
        };
        *count += 1;
    }
}

/// How many values lie in this bucket or below it; in `i32::MIN`, those not above zero.
fn up_to(delta: &Delta, bucket: i32) -> u64 {
    let all = |side: &[(i32, u32)]| side.iter().map(|(_, count)| u64::from(*count)).sum::<u64>();
    let below = delta.positive.partition_point(|(index, _)| *index <= bucket);
    let below = if bucket == i32::MIN { 0 } else { below };
    delta.zero + all(&delta.negative) + all(&delta.positive[..below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_holds_more_than_its_share() {
        let second = Duration::from_secs(1);
        for (seconds, stride, samples) in [
            (1, 1, 3),
            (300, 1, 302),
            (900, 1, 902),
            (901, 2, 453),
            (3_600, 4, 902),
            (86_400, 128, 677),
        ] {
            assert_eq!(shape(Duration::from_secs(seconds), second), (stride, samples), "{seconds}");
        }
        let (stride, _) = shape(Duration::from_secs(7 * 86_400), Duration::from_millis(100));
        assert_eq!(stride, 8_192);
        assert_eq!(estimate(Duration::from_secs(86_400), second, true), 677 * 64);
    }
}
