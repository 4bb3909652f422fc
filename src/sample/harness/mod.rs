//! What benches, scenarios and allocation tests drive: samplers and their registry without an
//! engine, and a machine that is told what to say. No part of the promised API.

#[cfg(target_os = "linux")]
mod machine;

#[cfg(target_os = "linux")]
pub use machine::{Machine, Told};

use std::time::{Duration, SystemTime};

use super::{Sampler, Samplers, Status};
use crate::{
    clock::Moment,
    instrument::Component,
    registry::{DEFAULT_CARDINALITY_LIMIT, Instrument, Registry},
    sync::Arc,
};

/// The built-in samplers, which read within this time what they otherwise read within five
/// seconds, beginning now.
#[cfg(target_os = "linux")]
pub fn samplers(slow: Duration) -> Vec<Box<dyn Sampler>> {
    machine::over(&super::procfs::Procfs::paced(slow))
}

/// Samplers that are called by hand.
#[derive(Debug)]
pub struct Sampling {
    samplers: Samplers,
    registry: Arc<Registry>,
    now: Duration,
}

impl Sampling {
    /// These, not yet started.
    pub fn new(samplers: Vec<Box<dyn Sampler>>) -> Self {
        let registry = Arc::new(Registry::new(DEFAULT_CARDINALITY_LIMIT));
        Self { samplers: Samplers::new(samplers, &registry), registry, now: Duration::ZERO }
    }

    /// A tick's sampling, a second after the last. In how long a glance is wanted.
    pub fn tick(&mut self) -> Option<Duration> {
        self.now += Duration::from_secs(1);
        self.samplers.run(Moment { mono: self.now, wall: SystemTime::UNIX_EPOCH })
    }

    /// The fast lane's; whether it wants a tick at once.
    pub fn glance(&mut self) -> bool {
        self.samplers.glance(Moment { mono: self.now, wall: SystemTime::UNIX_EPOCH }).urgent
    }

    /// The value of the series that prints as `name{labels}`, if it is present.
    pub fn value(&self, series: &str) -> Option<f64> {
        let mut known = Vec::new();
        self.registry.catch_up(&mut known);
        let found = known.iter().find(|of| format!("{}{}", of.metric.name, of.labels) == series)?;
        match &found.instrument {
            Instrument::Gauge(core) => core.value(),
            _ => None,
        }
    }

    /// The component of this name.
    pub fn component(&self, name: &str) -> Component {
        self.registry.component(name)
    }

    /// Whether all work.
    pub fn all_active(&self) -> bool {
        self.samplers.statuses().all(|(_, status)| status == Some(Status::Active))
    }
}
