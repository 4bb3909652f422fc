//! Reading all cores once a tick. The collector belongs to the tick thread, which is the only
//! reader a core has; it keeps what is cumulative and hands on what is new as a [`Frame`].

use super::{Instrument, Registry, Series, SeriesId, Snapshot};
use crate::{
    clock::Moment,
    instrument::{Delta, Distribution},
    sync::Arc,
};

/// A quarter of what a histogram's counters can tell apart between two folds.
const MOST_WAITING: u32 = 1 << 30;

/// What one series was at this tick. Indexed by [`SeriesId`](super::SeriesId) within a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reading {
    /// A gauge nobody has set, or one whose source failed.
    Absent,
    /// A gauge's value, or a sum's total since its start.
    Value(f64),
    /// A histogram: where its delta is among [`Frame::delta`]s.
    Histogram(u32),
    /// A histogram whose delta nobody wanted.
    Unread,
}

/// All series at one tick. Its buffers are reused from tick to tick.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) at: Moment,
    pub(crate) readings: Vec<Reading>,
    deltas: Vec<Delta>,
    used: usize,
}

impl Frame {
    pub(crate) fn new(at: Moment) -> Self {
        Self { at, readings: Vec::new(), deltas: Vec::new(), used: 0 }
    }

    /// Empties it for the next tick, keeping its buffers.
    pub(crate) fn clear(&mut self, at: Moment) {
        self.at = at;
        self.readings.clear();
        // What many new series took once is not kept.
        self.deltas.truncate(self.used);
        self.used = 0;
    }

    /// What a histogram gained since the last frame.
    pub(crate) fn delta(&self, at: u32) -> &Delta {
        &self.deltas[at as usize]
    }

    /// Appends a histogram's reading and gives its delta to be filled.
    pub(crate) fn push_histogram(&mut self) -> &mut Delta {
        if self.used == self.deltas.len() {
            self.deltas.push(Delta::default());
        }
        self.readings.push(Reading::Histogram(self.used as u32));
        self.used += 1;
        &mut self.deltas[self.used - 1]
    }
}

/// The tick thread's view of a registry.
#[derive(Debug)]
pub(crate) struct Collector {
    registry: Arc<Registry>,
    start: Moment,
    series: Vec<Arc<Series>>,
    /// When each series was first seen: a sum counts from the reading before it.
    since: Vec<Moment>,
    /// By series, of histograms.
    cumulative: Vec<Option<Box<Distribution>>>,
    /// What was folded between two ticks, by series.
    ahead: Vec<(usize, Delta)>,
    /// A delta nobody wanted.
    unread: Delta,
    frame: Frame,
}

impl Collector {
    pub(crate) fn new(registry: Arc<Registry>, start: Moment) -> Self {
        Self {
            registry,
            start,
            series: Vec::new(),
            since: Vec::new(),
            cumulative: Vec::new(),
            ahead: Vec::new(),
            unread: Delta::default(),
            frame: Frame::new(start),
        }
    }

    /// The series known at the last [`collect`](Self::collect), in the order of their ids.
    pub(crate) fn series(&self) -> &[Arc<Series>] {
        &self.series
    }

    pub(crate) fn frame(&self) -> &Frame {
        &self.frame
    }

    /// All a histogram has recorded since its series began; the frame's delta is in it.
    pub(crate) fn cumulative(&self, series: SeriesId) -> Option<&Distribution> {
        self.cumulative.get(series.index())?.as_deref()
    }

    /// Reads every core.
    pub(crate) fn collect(&mut self, at: Moment) {
        self.collect_for(at, |_| true);
    }

    /// Reads every core; of histograms the frame has only the deltas that are wanted: those of ten
    /// thousand would take megabytes.
    pub(crate) fn collect_for(&mut self, at: Moment, wants: impl Fn(SeriesId) -> bool) {
        let before = self.frame.at;
        self.frame.clear(at);
        self.registry.catch_up(&mut self.series);
        for _ in self.since.len()..self.series.len() {
            // A series born between two ticks starts at the earlier one: nothing it counted is
            // older than that.
            self.since.push(if self.since.is_empty() { self.start } else { before });
            self.cumulative.push(None);
        }
        for (at, (series, cumulative)) in self.series.iter().zip(&mut self.cumulative).enumerate() {
            let reading = match &series.instrument {
                Instrument::Counter(core) => Reading::Value(core.total() as f64),
                Instrument::UpDown(core) => Reading::Value(core.total() as f64),
                Instrument::Gauge(core) => core.value().map_or(Reading::Absent, Reading::Value),
                Instrument::Conflict => Reading::Absent,
                Instrument::Histogram(core) => {
                    let delta = if wants(SeriesId::new(at)) {
                        self.frame.push_histogram()
                    } else {
                        self.frame.readings.push(Reading::Unread);
                        &mut self.unread
                    };
                    core.fold(cumulative.get_or_insert_default(), delta);
                    for (_, earlier) in self.ahead.iter().filter(|(series, _)| *series == at) {
                        delta.append(earlier);
                    }
                    continue;
                }
            };
            self.frame.readings.push(reading);
        }
        self.ahead.clear();
    }

    /// Between two ticks far apart: folds the histograms whose 32-bit counters might wrap before
    /// the next. There are none but where one series is recorded 200 million times a second.
    pub(crate) fn fold_ahead(&mut self) {
        for (at, (series, cumulative)) in self.series.iter().zip(&mut self.cumulative).enumerate() {
            if let Instrument::Histogram(core) = &series.instrument
                && core.waiting() >= MOST_WAITING
            {
                let mut delta = Delta::default();
                core.fold(cumulative.get_or_insert_default(), &mut delta);
                self.ahead.push((at, delta));
            }
        }
    }

    /// Copies all that is present, cumulative since each series' start, for whoever exports it.
    pub(crate) fn snapshot(&self, into: &mut Snapshot) {
        into.clear(self.frame.at);
        for ((series, reading), (since, cumulative)) in self
            .series
            .iter()
            .zip(&self.frame.readings)
            .zip(self.since.iter().zip(&self.cumulative))
        {
            match (reading, &series.instrument, cumulative) {
                (Reading::Absent, ..) => {}
                (_, Instrument::Counter(core), _) => {
                    into.push_integer(series, *since, core.total())
                }
                (Reading::Value(value), ..) => into.push_value(series, *since, *value),
                (
                    Reading::Histogram(_) | Reading::Unread,
                    Instrument::Histogram(core),
                    Some(all),
                ) => into.push_histogram(series, *since, all, |into| core.exemplars(into)),
                (Reading::Histogram(_) | Reading::Unread, ..) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{clock::Clock, instrument::Measure, name::Labels};

    #[test]
    fn a_series_that_might_wrap_is_folded_between_two_ticks() {
        let registry = Arc::new(Registry::new(100));
        let (clock, hand) = Clock::manual();
        let mut collector = Collector::new(registry.clone(), clock.now());
        let busy = registry.histogram("busy", Measure::Time, &Labels::default());
        busy.record(1e-6);
        collector.collect(clock.now());
        let mut total = 1;
        for often in
            [MOST_WAITING - 1, MOST_WAITING, MOST_WAITING, MOST_WAITING, u32::MAX - (1 << 22), 0]
        {
            busy.0.record_many(often);
            collector.fold_ahead();
            total += u64::from(often);
        }
        hand.advance(Duration::from_secs(60));
        collector.collect(clock.now());
        assert_eq!(collector.frame().delta(0).count, total - 1);
        assert_eq!(collector.cumulative[0].as_ref().map(|all| all.count), Some(total));
        collector.collect(clock.now());
        assert_eq!(collector.frame().delta(0).count, 0);
    }
}
