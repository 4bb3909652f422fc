//! What benches and allocation tests drive: rules and the series they judge, without an engine or
//! a clock. No part of the promised API.

use std::time::{Duration, SystemTime};

use super::{Error, Evaluator, Rule};
use crate::{
    clock::Moment,
    event::{State, Transition},
    instrument::{Counter, Gauge, Histogram, Measure},
    name::Labels,
    registry::{Collector, Registry},
    sync::Arc,
};

/// More label sets than any bench has.
const LIMIT: usize = 1 << 20;

/// Rules that are ticked by hand.
#[derive(Debug)]
pub struct Ruling {
    registry: Arc<Registry>,
    collector: Collector,
    rules: Evaluator,
    tick: Duration,
    now: Duration,
    transitions: Vec<Arc<Transition>>,
}

impl Ruling {
    /// These, at second zero.
    ///
    /// # Errors
    /// All mistakes of all rules.
    pub fn new(rules: Vec<Rule>, tick: Duration) -> Result<Self, Vec<Error>> {
        let registry = Arc::new(Registry::new(LIMIT));
        Ok(Self {
            collector: Collector::new(registry.clone(), moment(Duration::ZERO)),
            registry,
            rules: Evaluator::new(rules, tick)?,
            tick,
            now: Duration::ZERO,
            transitions: Vec::new(),
        })
    }

    /// A series of this name and label.
    pub fn gauge(&self, name: &str, label: (&str, &str)) -> Gauge {
        self.registry.gauge(name, &Labels::new([label]))
    }

    /// A series of this name and label.
    pub fn counter(&self, name: &str, label: (&str, &str)) -> Counter {
        self.registry.counter(name, &Labels::new([label]))
    }

    /// A series of this name and label, of seconds.
    pub fn histogram(&self, name: &str, label: (&str, &str)) -> Histogram {
        self.registry.histogram(name, Measure::Time, &Labels::new([label]))
    }

    /// Reads all series, a tick after the last time.
    pub fn collect(&mut self) {
        self.now += self.tick;
        self.collector.collect(moment(self.now));
    }

    /// What a tick does with what was read: windows and rules.
    pub fn evaluate(&mut self) {
        self.transitions.clear();
        self.rules.observe(&self.collector);
        self.rules.evaluate(moment(self.now), &mut self.transitions);
    }

    /// How many alerts fire.
    pub fn firing(&self) -> usize {
        self.rules.status().filter(|status| status.state == State::Firing).count()
    }

    /// What each alert judges, absent without data.
    pub fn values(&self) -> Vec<Option<f64>> {
        self.rules.status().map(|status| status.value).collect()
    }

    /// What the windows hold.
    pub fn bytes(&self) -> usize {
        self.rules.stats().window_bytes
    }
}

fn moment(mono: Duration) -> Moment {
    Moment { mono, wall: SystemTime::UNIX_EPOCH + mono }
}
