//! When each memory limit is reached: `highwater.memory.time_to_limit`, written back as a series
//! of its own, so that rules and dashboards need not know how it was found.
//!
//! Belongs to the tick thread. Reads the usage and limit of every level from a [`Frame`]; what it
//! writes is seen in the next one. Allocates when a level is first seen.

use super::trend::Trend;
use crate::{
    clock::Moment,
    instrument::Gauge,
    name::{Labels, Unit},
    registry::{Frame, Reading, Registry, Series, SeriesId},
    semconv,
    sync::Arc,
};

/// The foreseeing of all levels.
#[derive(Debug)]
pub(crate) struct Foresight {
    registry: Arc<Registry>,
    /// How many series were looked at.
    seen: usize,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    labels: Labels,
    usage: Option<SeriesId>,
    limit: Option<SeriesId>,
    trend: Trend,
    time_to_limit: Gauge,
}

impl Foresight {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        let help = "Time until the limit at this level is reached, if usage goes on as of late; \
            absent without a trend.";
        registry.describe(semconv::MEMORY_TIME_TO_LIMIT, Unit::SECONDS, help);
        Self { registry, seen: 0, levels: Vec::new() }
    }

    /// The clock jumped: what was before is not a past to judge by.
    pub(crate) fn discontinuity(&mut self) {
        for level in &mut self.levels {
            level.trend.clear();
            level.time_to_limit.clear();
        }
    }

    /// Takes a tick in; once a tick, after all has been collected.
    pub(crate) fn observe(&mut self, at: Moment, series: &[Arc<Series>], frame: &Frame) {
        for new in series.get(self.seen..).unwrap_or_default() {
            self.meet(new);
        }
        self.seen = series.len();
        let value = |id: Option<SeriesId>| match frame.readings.get(id?.index())? {
            Reading::Value(value) => Some(*value),
            _ => None,
        };
        for level in &mut self.levels {
            let Some((usage, limit)) = value(level.usage).zip(value(level.limit)) else {
                // No limit, or nobody who could tell: what comes next begins anew.
                level.trend.clear();
                level.time_to_limit.clear();
                continue;
            };
            level.trend.push(at.mono, usage);
            match level.trend.forecast(limit) {
                Some(forecast) => level.time_to_limit.set(forecast.time_to_limit.as_secs_f64()),
                None => level.time_to_limit.clear(),
            }
        }
    }

    fn meet(&mut self, series: &Series) {
        let is_usage = match &*series.metric.name {
            semconv::MEMORY_USAGE => true,
            semconv::MEMORY_LIMIT => false,
            _ => return,
        };
        let at = self.levels.iter().position(|level| level.labels == series.labels);
        let at = at.unwrap_or_else(|| {
            let name = semconv::MEMORY_TIME_TO_LIMIT;
            self.levels.push(Level {
                labels: series.labels.clone(),
                usage: None,
                limit: None,
                trend: Trend::new(),
                time_to_limit: self.registry.gauge(name, &series.labels),
            });
            self.levels.len() - 1
        });
        let level = &mut self.levels[at];
        let id = if is_usage { &mut level.usage } else { &mut level.limit };
        *id = Some(series.id);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::registry::Collector;

    fn at(second: u64) -> Moment {
        Moment { mono: Duration::from_secs(second), wall: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn every_level_has_its_own_time() {
        let registry = Arc::new(Registry::new(100));
        let level = |name: &str| {
            let labels = Labels::new([(semconv::LEVEL, name)]);
            let usage = registry.observed_up_down(semconv::MEMORY_USAGE, &labels);
            let limit = registry.observed_up_down(semconv::MEMORY_LIMIT, &labels);
            limit.set(1_000.0);
            let time = registry.gauge(semconv::MEMORY_TIME_TO_LIMIT, &labels);
            (usage, limit, move || time.0.value())
        };
        let (box_usage, box_limit, box_time) = level("cgroup");
        let (host_usage, _, host_time) = level("host");
        let mut collector = Collector::new(registry.clone(), at(0));
        let mut foresight = Foresight::new(registry.clone());
        let mut tick = |second: u64| {
            collector.collect(at(second));
            foresight.observe(at(second), collector.series(), collector.frame());
        };
        for second in 0..80 {
            box_usage.set(700.0 + 2.0 * second as f64);
            host_usage.set(500.0);
            tick(second);
        }
        // 1,000 − 858 at two a second.
        assert_eq!(box_time(), Some(71.0));
        assert_eq!(host_time(), None);
        box_limit.set(2_000_000.0);
        tick(80);
        assert_eq!(box_time(), None, "out of reach");
        box_limit.clear();
        tick(81);
        box_limit.set(1_000.0);
        tick(82);
        assert_eq!(box_time(), None, "it began anew");
    }

    #[test]
    fn a_jump_of_the_clock_forgets() {
        let registry = Arc::new(Registry::new(100));
        let usage = registry.observed_up_down(semconv::MEMORY_USAGE, &Labels::empty());
        let limit = registry.observed_up_down(semconv::MEMORY_LIMIT, &Labels::empty());
        let time = registry.gauge(semconv::MEMORY_TIME_TO_LIMIT, &Labels::empty());
        limit.set(60.0);
        let mut collector = Collector::new(registry.clone(), at(0));
        let mut foresight = Foresight::new(registry.clone());
        for second in 0..30 {
            usage.set(second as f64);
            collector.collect(at(second));
            foresight.observe(at(second), collector.series(), collector.frame());
        }
        assert!(time.0.value().is_some());
        foresight.discontinuity();
        assert_eq!(time.0.value(), None);
    }
}
