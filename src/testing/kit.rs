use std::{
    fmt,
    time::{Duration, SystemTime},
};

use crate::{
    clock::Moment,
    event::{State, Transition},
    front::{InstrumentBuilder, QueryBuilder, native},
    instrument::{Counter, Gauge, Histogram, UpDownCounter},
    registry::{Collector, DEFAULT_CARDINALITY_LIMIT, Registry},
    rule::{Evaluator, Rule},
    sync::Arc,
};

/// Rules, the series they judge, and a clock that is moved by hand; see the [module](super).
///
/// It has the instruments an instance has. Nothing runs by itself: [`run`](Self::run) lets time
/// pass.
pub struct Kit {
    pub(super) registry: Arc<Registry>,
    collector: Collector,
    rules: Evaluator,
    tick: Duration,
    now: Duration,
    /// Whether the present moment has been evaluated.
    evaluated: bool,
    history: Vec<(Duration, Arc<Transition>)>,
}

impl Kit {
    /// These rules, at a tick of one second.
    ///
    /// # Panics
    /// With every mistake in the rules: this is for tests.
    #[track_caller]
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self::with_tick(rules, Duration::from_secs(1))
    }

    /// These rules, at a tick of your own.
    ///
    /// # Panics
    /// With every mistake in the rules, and at a tick of zero.
    #[track_caller]
    #[allow(clippy::panic)]
    pub fn with_tick(rules: impl IntoIterator<Item = Rule>, tick: Duration) -> Self {
        assert!(!tick.is_zero(), "a tick of zero");
        let rules: Vec<Rule> = rules.into_iter().collect();
        let registry = Arc::new(Registry::new(DEFAULT_CARDINALITY_LIMIT));
        for (metric, bounds) in rules.iter().flat_map(|rule| rule.bounds.iter()) {
            registry.bound(metric, bounds);
        }
        let rules = match Evaluator::new(rules, tick) {
            Ok(rules) => rules,
            Err(wrong) => {
                let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
                panic!("{}", wrong.join("\n"));
            }
        };
        Self {
            collector: Collector::new(registry.clone(), moment(Duration::ZERO)),
            registry,
            rules,
            tick,
            now: Duration::ZERO,
            evaluated: false,
            history: Vec::new(),
        }
    }

    /// Names a value that is set.
    pub fn gauge(&self, name: &str) -> InstrumentBuilder<Gauge> {
        native::gauge(&self.registry, name)
    }

    /// Names a sum that only grows.
    pub fn counter(&self, name: &str) -> InstrumentBuilder<Counter> {
        native::counter(&self.registry, name)
    }

    /// Names a sum that goes both ways.
    pub fn up_down_counter(&self, name: &str) -> InstrumentBuilder<UpDownCounter> {
        native::up_down_counter(&self.registry, name)
    }

    /// Names a distribution of values.
    pub fn histogram(&self, name: &str) -> InstrumentBuilder<Histogram> {
        native::histogram(&self.registry, name)
    }

    /// Names a query; [`record`](crate::Query::record) feeds it durations without waiting for them.
    pub fn query(&self, name: &str) -> QueryBuilder {
        native::query(&self.registry, name)
    }

    /// So much time passes. Rules are evaluated now, if they have not been yet, and at every tick
    /// until then: what is set before stands for the whole stretch.
    pub fn run(&mut self, time: Duration) {
        let end = self.now.saturating_add(time);
        if !self.evaluated {
            self.evaluate();
        }
        while self.now + self.tick <= end {
            self.now += self.tick;
            self.evaluate();
        }
    }

    fn evaluate(&mut self) {
        let at = moment(self.now);
        let mut steps = Vec::new();
        self.collector.collect(at);
        self.rules.observe(&self.collector);
        self.rules.evaluate(at, &mut steps);
        self.evaluated = true;
        self.history.extend(steps.into_iter().map(|step| (self.now, step)));
    }

    /// How much time has passed.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The worst state of a rule's alerts.
    ///
    /// # Panics
    /// There is no rule of this name.
    #[track_caller]
    #[allow(clippy::panic)]
    pub fn state(&self, rule: &str) -> State {
        let named = self.rules.status().filter(|status| &*status.rule.name == rule);
        match named.map(|status| status.state).max_by_key(|state| *state as u8) {
            Some(state) => state,
            None => panic!("no rule is named {rule:?}"),
        }
    }

    /// Every transition since the last time they were taken.
    pub fn take_transitions(&mut self) -> Vec<Arc<Transition>> {
        self.history.drain(..).map(|(_, step)| step).collect()
    }

    /// The same as lines, such as `30s QueueDeep pending → firing`.
    pub fn take_story(&mut self) -> Vec<String> {
        self.history.drain(..).map(|(at, step)| line(at, &step)).collect()
    }

    /// Why a rule could not be evaluated at the last tick.
    pub fn error(&self, rule: &str) -> Option<String> {
        let mut errors = self.rules.errors();
        errors.find(|(info, _)| &*info.name == rule).map(|(_, why)| why.to_owned())
    }

    pub(super) fn into_history(self) -> Vec<(Duration, Arc<Transition>)> {
        self.history
    }
}

pub(super) fn line(at: Duration, step: &Transition) -> String {
    let labels = step.labels.iter().filter(|(key, _)| !matches!(*key, "alertname" | "severity"));
    let labels: Vec<_> = labels.map(|(key, value)| format!("{key}={value:?}")).collect();
    let labels =
        if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(", ")) };
    let reason = step.resolved.map_or(String::new(), |reason| format!(" ({})", reason.as_str()));
    format!("{}s {}{labels} {} → {}{reason}", at.as_secs_f64(), step.rule.name, step.from, step.to)
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit").field("now", &self.now).finish_non_exhaustive()
    }
}

fn moment(mono: Duration) -> Moment {
    Moment { mono, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + mono }
}
