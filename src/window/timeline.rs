//! When the ticks were, and which of them each window covers.
//!
//! Ticks are numbered from zero, for ever. All series share the one list of tick times, so a
//! series keeps bare values; and all windows of one length share one [`Span`], so their bounds
//! are moved once a tick, not once a series.

use std::{collections::VecDeque, time::Duration};

/// The number of a tick.
pub(crate) type Tick = u64;

/// Which distinct (range, offset) a window has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SpanId {
    /// Which of a store's timelines it is of.
    pub(super) tier: u8,
    at: u32,
}

/// The ticks `t` with `now - offset - range < t <= now - offset`: open on the left, as Prometheus 3
/// has it.
#[derive(Debug)]
pub(crate) struct Span {
    range: u64,
    offset: u64,
    /// The first tick in it.
    pub(super) low: Tick,
    /// The first tick past it.
    pub(super) high: Tick,
}

#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// Nanoseconds since the instance's origin.
    times: VecDeque<u64>,
    /// The number of `times[0]`.
    first: Tick,
    spans: Vec<Span>,
    tier: u8,
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Timeline {
    pub(super) fn new(tier: u8) -> Self {
        Self { tier, ..Self::default() }
    }

    /// The span of this range and offset, made if it is new.
    pub(super) fn span(&mut self, range: Duration, offset: Duration) -> SpanId {
        let (range, offset) = (nanos(range), nanos(offset));
        let at = self.spans.iter().position(|s| s.range == range && s.offset == offset);
        let at = at.unwrap_or_else(|| {
            let mut span = Span { range, offset, low: self.first, high: self.first };
            if let Some(&now) = self.times.back() {
                span.advance(&self.times, self.first, now);
            }
            self.spans.push(span);
            self.spans.len() - 1
        });
        SpanId { tier: self.tier, at: at as u32 }
    }

    /// The same ticks, without any span.
    #[cfg(feature = "rule-files")]
    pub(super) fn bare(&self) -> Self {
        Self { times: self.times.clone(), first: self.first, spans: Vec::new(), tier: self.tier }
    }

    /// The span of the same range and offset as another timeline's.
    pub(super) fn find(&self, other: &Self, span: SpanId) -> Option<SpanId> {
        let wanted = other.get(span);
        let same = |s: &Span| s.range == wanted.range && s.offset == wanted.offset;
        let at = self.spans.iter().position(same)?;
        Some(SpanId { tier: self.tier, at: at as u32 })
    }

    pub(super) fn get(&self, span: SpanId) -> &Span {
        &self.spans[span.at as usize]
    }

    /// Its length and how far it lies back, in seconds.
    pub(super) fn reach(&self, span: SpanId) -> f64 {
        let span = self.get(span);
        (span.range.saturating_add(span.offset)) as f64 / 1e9
    }

    /// Where a span begins and ends, in nanoseconds before which nothing and after which nothing
    /// belongs to it. Negative while the instance is younger than the span.
    pub(super) fn bounds(&self, span: SpanId) -> (i128, i128) {
        let now = i128::from(self.now());
        let span = self.get(span);
        let end = now - i128::from(span.offset);
        (end - i128::from(span.range), end)
    }

    pub(super) fn offset(&self, span: SpanId) -> u64 {
        self.get(span).offset
    }

    pub(super) fn range_seconds(&self, span: SpanId) -> f64 {
        self.get(span).range as f64 / 1e9
    }

    /// The last tick's time.
    pub(super) fn now(&self) -> u64 {
        self.times.back().copied().unwrap_or(0)
    }

    /// The number the next tick gets.
    pub(super) fn next(&self) -> Tick {
        self.first + self.times.len() as u64
    }

    pub(super) fn time(&self, tick: Tick) -> u64 {
        tick.checked_sub(self.first)
            .and_then(|at| self.times.get(at as usize).copied())
            .unwrap_or(0)
    }

    /// Adds a tick and moves every span. Times that do not rise are taken as the last one plus a
    /// nanosecond: the order of ticks is what matters.
    pub(super) fn push(&mut self, time: u64) -> Tick {
        let time = self.times.back().map_or(time, |&last| time.max(last + 1));
        let tick = self.next();
        self.times.push_back(time);
        for span in &mut self.spans {
            span.advance(&self.times, self.first, time);
        }
        tick
    }

    /// Forgets the ticks no span reaches; one is kept, to be the predecessor of a newborn's first.
    pub(super) fn trim(&mut self) {
        let last = self.next().saturating_sub(2);
        let needed = self.spans.iter().map(|span| span.low).fold(last, u64::min);
        while self.first < needed {
            self.times.pop_front();
            self.first += 1;
        }
    }

    /// Forgets every tick; numbers go on.
    pub(super) fn clear(&mut self) {
        self.first = self.next();
        self.times.clear();
        for span in &mut self.spans {
            (span.low, span.high) = (self.first, self.first);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.times.capacity() * size_of::<u64>() + self.spans.capacity() * size_of::<Span>()
    }
}

impl Span {
    fn advance(&mut self, times: &VecDeque<u64>, first: Tick, now: u64) {
        let time = |tick: Tick| times.get((tick - first) as usize).copied();
        while time(self.high).is_some_and(|t| t.saturating_add(self.offset) <= now) {
            self.high += 1;
        }
        let reach = self.range.saturating_add(self.offset);
        while self.low < self.high && time(self.low).is_some_and(|t| t.saturating_add(reach) <= now)
        {
            self.low += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_open_on_the_left() {
        let mut line = Timeline::default();
        let span = line.span(Duration::from_secs(5), Duration::ZERO);
        let past = line.span(Duration::from_secs(2), Duration::from_secs(3));
        for second in 0..=10 {
            line.push(second * 1_000_000_000);
            line.trim();
        }
        let times = |span: SpanId| {
            let span = line.get(span);
            (span.low..span.high).map(|t| line.time(t) / 1_000_000_000).collect::<Vec<_>>()
        };
        assert_eq!(times(span), [6, 7, 8, 9, 10]);
        assert_eq!(times(past), [6, 7]);
    }

    #[test]
    fn an_outage_empties_a_span_and_numbers_go_on_after_a_clear() {
        let mut line = Timeline::default();
        let span = line.span(Duration::from_secs(5), Duration::ZERO);
        line.push(0);
        line.push(20_000_000_000);
        assert_eq!((line.get(span).low, line.get(span).high), (1, 2));
        line.clear();
        assert_eq!(line.push(21_000_000_000), 2);
        assert_eq!((line.get(span).low, line.get(span).high), (2, 3));
    }
}
