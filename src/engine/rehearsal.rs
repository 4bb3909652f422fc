//! An instance without threads, whose time is told: what scenarios are played on. The round is
//! the engine's own, from the samplers to the watches. No part of the promised API.

use std::time::{Duration, SystemTime};

use super::{Shared, tick};
use crate::{
    alert,
    clock::Moment,
    event::{Severity, State},
    export::prometheus::Exposition,
    name::Labels,
    registry::{DEFAULT_CARDINALITY_LIMIT, Instrument, Registry},
    rule::{self, Evaluator, Rule},
    sample::Sampler,
    sync::Arc,
};

/// See the module.
pub struct Rehearsal {
    ticker: tick::Ticker,
    shared: Arc<Shared>,
    tick: Duration,
    now: Duration,
}

/// An alert that stands at the moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The rule's.
    pub name: String,
    /// The rule's.
    pub severity: Severity,
    /// The alert's.
    pub labels: Labels,
}

impl Rehearsal {
    /// Of these samplers and rules.
    ///
    /// # Errors
    /// The mistakes of the rules.
    pub fn new(
        samplers: Vec<Box<dyn Sampler>>,
        rules: Vec<Rule>,
        tick: Duration,
    ) -> Result<Self, Vec<rule::Error>> {
        let registry = Arc::new(Registry::new(DEFAULT_CARDINALITY_LIMIT));
        let shared = Arc::new(Shared::new(registry, Exposition::default()));
        let parts = tick::Parts {
            samplers,
            disabled_samplers: Vec::new(),
            rules: Evaluator::new(rules, tick)?,
            actors: None,
            courier: None,
            health: None,
            silence_file: None,
            #[cfg(feature = "rule-files")]
            reload: None,
            tick,
            mistakes: 0,
            losses: shared.losses.clone(),
            now: moment(Duration::ZERO),
            history: crate::history::History::shared(tick, moment(Duration::ZERO)),
        };
        let ticker = tick::Ticker::new(shared.clone(), parts);
        Ok(Self { ticker, shared, tick, now: Duration::ZERO })
    }

    /// One round; the next one is a tick later.
    pub fn tick(&mut self) {
        self.ticker.tick(moment(self.now));
        self.now += self.tick;
    }

    /// The watch of a rule.
    pub fn watch(&self, rule: &str) -> alert::Watch {
        self.shared.watches.get(rule, &Labels::empty())
    }

    /// What fires.
    pub fn firing(&self) -> impl Iterator<Item = Standing> + '_ {
        let firing = self.ticker.status().filter(|status| status.state == State::Firing);
        firing.map(|status| Standing {
            name: status.rule.name.to_string(),
            severity: status.rule.severity,
            labels: status.labels.clone(),
        })
    }

    /// The value of the series that prints as `name{labels}`, if it is present.
    pub fn value(&self, series: &str) -> Option<f64> {
        let mut known = Vec::new();
        self.shared.registry.catch_up(&mut known);
        let found = known.iter().find(|of| format!("{}{}", of.metric.name, of.labels) == series)?;
        match &found.instrument {
            Instrument::Gauge(core) => core.value(),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Rehearsal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rehearsal").field("now", &self.now).finish_non_exhaustive()
    }
}

fn moment(mono: Duration) -> Moment {
    Moment { mono, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + mono }
}
