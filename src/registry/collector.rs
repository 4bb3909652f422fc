//! Reading all cores once a tick. The collector belongs to the tick thread, which is the only
//! reader a core has; it keeps what is cumulative and hands on what is new as a [`Frame`].

use super::{Instrument, Registry, Series, Snapshot};
use crate::{
    clock::Moment,
    instrument::{Delta, Distribution},
    sync::Arc,
};

/// What one series was at this tick. Indexed by [`SeriesId`](super::SeriesId) within a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reading {
    /// A gauge nobody has set, or one whose source failed.
    Absent,
    /// A gauge's value, or a sum's total since its start.
    Value(f64),
    /// A histogram: where its delta is among [`Frame::delta`]s.
    Histogram(u32),
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
    /// By series; empty for what is no histogram.
    cumulative: Vec<Option<Box<Distribution>>>,
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

    /// Reads every core.
    pub(crate) fn collect(&mut self, at: Moment) {
        let before = self.frame.at;
        self.frame.clear(at);
        self.registry.catch_up(&mut self.series);
        for new in &self.series[self.since.len()..] {
            // A series born between two ticks starts at the earlier one: nothing it counted is
            // older than that.
            self.since.push(if self.since.is_empty() { self.start } else { before });
            self.cumulative
                .push(matches!(new.instrument, Instrument::Histogram(_)).then(Box::default));
        }
        for (series, cumulative) in self.series.iter().zip(&mut self.cumulative) {
            let reading = match &series.instrument {
                Instrument::Counter(core) => Reading::Value(core.total() as f64),
                Instrument::UpDown(core) => Reading::Value(core.total() as f64),
                Instrument::Gauge(core) => core.value().map_or(Reading::Absent, Reading::Value),
                Instrument::Conflict => Reading::Absent,
                Instrument::Histogram(core) => {
                    let delta = self.frame.push_histogram();
                    core.fold(delta);
                    if let Some(cumulative) = cumulative {
                        cumulative.add(delta);
                    }
                    continue;
                }
            };
            self.frame.readings.push(reading);
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
                (Reading::Histogram(_), _, Some(all)) => into.push_histogram(series, *since, all),
                (Reading::Histogram(_), _, None) => {}
            }
        }
    }
}
