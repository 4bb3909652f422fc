//! One series of plain numbers, and what a counter gained over a window of it.
//!
//! A series is one `f64` a tick. The tick thread alone touches any of this.

use std::collections::VecDeque;

use super::timeline::{Span, SpanId, Tick, Timeline};

/// The bits that mark "no sample": Prometheus' staleness marker, a NaN no arithmetic yields.
const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;
pub(super) const STALE: f64 = f64::from_bits(STALE_BITS);

pub(crate) fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// What is kept of one series: as far back as the longest of its windows reaches.
#[derive(Debug)]
pub(super) struct Ring {
    /// The tick of `values[0]`.
    first: Tick,
    values: VecDeque<f64>,
    pub(super) widest: SpanId,
}

impl Ring {
    pub(super) fn new(next: Tick, widest: SpanId, capacity: usize) -> Self {
        Self { first: next, values: VecDeque::with_capacity(capacity), widest }
    }

    pub(super) fn widen(&mut self, widest: SpanId, capacity: usize) {
        self.widest = widest;
        self.values.reserve_exact(capacity.saturating_sub(self.values.len()));
    }

    pub(super) fn push(&mut self, tick: Tick, value: f64) {
        if self.values.is_empty() {
            self.first = tick;
        }
        self.values.push_back(value);
    }

    /// The value at a tick, `None` when there was no sample.
    pub(super) fn get(&self, tick: Tick) -> Option<f64> {
        let at = tick.checked_sub(self.first)?;
        self.values.get(at as usize).copied().filter(|value| !is_stale(*value))
    }

    pub(super) fn trim(&mut self, line: &Timeline) {
        let low = line.get(self.widest).low;
        while self.first < low && self.values.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// The samples of a span: `(tick, value)`.
    pub(super) fn samples(&self, span: &Span) -> impl DoubleEndedIterator<Item = (Tick, f64)> + '_ {
        let end = self.first + self.values.len() as u64;
        let low = span.low.clamp(self.first, end);
        let high = span.high.clamp(low, end);
        self.values
            .range((low - self.first) as usize..(high - self.first) as usize)
            .enumerate()
            .map(move |(at, value)| (low + at as u64, *value))
            .filter(|(_, value)| !is_stale(*value))
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<f64>()
    }
}

/// The running state of one counter over one window: what it gained is `last - first + resets`.
#[derive(Debug)]
pub(super) struct CounterWindow {
    pub(super) ring: u32,
    pub(super) span: SpanId,
    /// The ticks before this one have been looked at.
    seen: Tick,
    first: Tick,
    last: Tick,
    count: u64,
    resets: u32,
    /// The sum of the values before each reset.
    correction: f64,
}

/// What `rate` and `increase` are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gain<V> {
    pub(crate) first_time: u64,
    pub(crate) last_time: u64,
    /// The first sample, where nothing can have been below zero: bounds the extrapolation.
    pub(crate) first_value: Option<f64>,
    pub(crate) samples: u64,
    pub(crate) gain: V,
}

impl<V> Gain<V> {
    /// From the first sample to the last.
    pub(crate) fn seconds(&self) -> f64 {
        self.last_time.saturating_sub(self.first_time) as f64 / 1e9
    }
}

impl CounterWindow {
    pub(super) fn new(ring: u32, span: SpanId) -> Self {
        Self { ring, span, seen: 0, first: 0, last: 0, count: 0, resets: 0, correction: 0.0 }
    }

    /// Under other numbers.
    pub(super) fn renumbered(self, ring: u32, span: SpanId) -> Self {
        Self { ring, span, ..self }
    }

    /// Takes in the ticks the span has gained, and lets go of those it has lost.
    pub(super) fn advance(&mut self, ring: &Ring, span: &Span) {
        for tick in self.seen.max(ring.first)..span.high {
            let Some(value) = ring.get(tick) else { continue };
            if self.count == 0 {
                self.first = tick;
            } else if let Some(last) = ring.get(self.last).filter(|last| value < *last) {
                self.correction += last;
                self.resets += 1;
            }
            self.last = tick;
            self.count += 1;
        }
        self.seen = span.high;
        while self.count > 0 && self.first < span.low {
            self.drop_first(ring);
        }
    }

    fn drop_first(&mut self, ring: &Ring) {
        self.count -= 1;
        if self.count == 0 {
            (self.resets, self.correction) = (0, 0.0);
            return;
        }
        let dropped = ring.get(self.first);
        let next = (self.first + 1..=self.last).find(|tick| ring.get(*tick).is_some());
        self.first = next.unwrap_or(self.last);
        if let (Some(dropped), Some(first)) = (dropped, ring.get(self.first))
            && first < dropped
        {
            self.resets -= 1;
            // Added up afresh: subtracting floats would leave a rest behind for ever.
            self.correction = if self.resets == 0 { 0.0 } else { self.corrections(ring) };
        }
    }

    fn corrections(&self, ring: &Ring) -> f64 {
        let mut before = f64::NEG_INFINITY;
        let mut sum = 0.0;
        for value in (self.first..=self.last).filter_map(|tick| ring.get(tick)) {
            if value < before {
                sum += before;
            }
            before = value;
        }
        sum
    }

    /// `None` with fewer than two samples.
    pub(super) fn gain(&self, ring: &Ring, line: &Timeline) -> Option<Gain<f64>> {
        if self.count < 2 {
            return None;
        }
        let (first, last) = (ring.get(self.first)?, ring.get(self.last)?);
        Some(Gain {
            first_time: line.time(self.first),
            last_time: line.time(self.last),
            first_value: Some(first),
            samples: self.count,
            gain: last - first + self.correction,
        })
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.ring, self.span);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn resets_enter_and_leave_the_window() {
        let mut line = Timeline::default();
        let span = line.span(Duration::from_secs(4), Duration::ZERO);
        let mut ring = Ring::new(0, span, 8);
        let mut window = CounterWindow::new(0, span);
        // A gap, two resets.
        let values = [1.0, 5.0, 2.0, STALE, 3.0, 1.0, 1.0, 2.0, 4.0, 4.0];
        let mut gains = Vec::new();
        for (second, value) in values.into_iter().enumerate() {
            let tick = line.push(second as u64 * 1_000_000_000);
            ring.push(tick, value);
            window.advance(&ring, line.get(span));
            gains.push(window.gain(&ring, &line).map(|g| (g.samples, g.gain)));
            ring.trim(&line);
            line.trim();
        }
        assert_eq!(
            gains,
            [
                None,
                Some((2, 4.0)),
                Some((3, 6.0)),
                Some((3, 6.0)),
                Some((3, 3.0)), // 5 2 _ 3
                Some((3, 2.0)), // 2 _ 3 1
                Some((3, 1.0)), // _ 3 1 1
                Some((4, 2.0)), // 3 1 1 2
                Some((4, 3.0)),
                Some((4, 3.0)),
            ]
        );
    }
}
