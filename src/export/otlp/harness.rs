//! What benches drive: instruments, the exporter's steps, and time that is counted, without an
//! engine. No part of the promised API.

use std::time::{Duration, Instant, SystemTime};

use super::{Config, Error, Exporter, Resource, Step};
use crate::{
    clock::Moment,
    instrument::{Gauge, Histogram, Measure},
    name::{Labels, Unit},
    registry::{Collector, Registry, Snapshot},
    sync::Arc,
};

/// More label sets than any bench has.
const LIMIT: usize = 1 << 20;

/// An exporter that is driven by hand.
#[derive(Debug)]
pub struct Pushing {
    registry: Arc<Registry>,
    collector: Collector,
    snapshot: Snapshot,
    exporter: Exporter,
    now: Duration,
}

impl Pushing {
    /// To where the configuration says; the environment is not read.
    ///
    /// # Errors
    /// Its mistakes; none, too, if it goes nowhere.
    pub fn new(config: &Config) -> Result<Self, Vec<Error>> {
        let mistakes = config.check();
        let nothing = |_: &str| None;
        let (Some(settings), true) = (config.resolve(&nothing).0, mistakes.is_empty()) else {
            return Err(mistakes);
        };
        let (resource, _) = Resource::new("bench", [], &nothing);
        let exporter =
            Exporter::new(settings, &resource).map_err(|why| vec![Error::new("otlp", why, "")])?;
        let registry = Arc::new(Registry::new(LIMIT));
        let origin = moment(Duration::ZERO);
        Ok(Self {
            collector: Collector::new(registry.clone(), origin),
            snapshot: Snapshot::new(origin),
            registry,
            exporter,
            now: Duration::ZERO,
        })
    }

    /// A gauge with these labels.
    pub fn gauge<const N: usize>(&self, name: &str, labels: [(&str, &str); N]) -> Gauge {
        self.registry.gauge(name, &Labels::new(labels))
    }

    /// A histogram with these labels, in seconds.
    pub fn histogram<const N: usize>(&self, name: &str, labels: [(&str, &str); N]) -> Histogram {
        self.registry.describe(name, Unit::SECONDS, "");
        self.registry.histogram(name, Measure::Value, &Labels::new(labels))
    }

    /// What the tick thread does every tick: reads the instruments, a second later.
    pub fn collect(&mut self) {
        self.now += Duration::from_secs(1);
        self.collector.collect(moment(self.now));
    }

    /// What the tick thread does every interval: a copy for the exporter.
    pub fn snapshot(&mut self) {
        self.collector.snapshot(&mut self.snapshot);
    }

    /// Builds and encodes that copy, uncompressed, and throws it away; its bytes.
    pub fn build(&self) -> usize {
        self.exporter.intake().build(&self.snapshot).map_or(0, |(plain, _)| plain.len())
    }

    /// What the exporter's thread does every interval: builds, encodes, compresses and keeps it.
    /// The bytes that wait.
    pub fn keep(&self) -> u64 {
        self.exporter.intake().metrics(&self.snapshot);
        self.exporter.health().report().load.bytes
    }

    /// Sends one request; whether it was taken.
    pub fn send(&mut self) -> bool {
        let now = Instant::now();
        let before = self.exporter.health().report().load.requests;
        let step = self.exporter.send_next(now, now + Duration::from_secs(10));
        step == Step::Tried && self.exporter.health().report().load.requests < before
    }
}

fn moment(mono: Duration) -> Moment {
    // Near enough to the present that nothing is too old to be kept.
    Moment { mono, wall: SystemTime::now() + mono }
}
