//! highwater about itself.

use std::time::Duration;

use super::delivery::Delivery;
use crate::{
    alert::Silences,
    clock::Moment,
    event::Hush,
    export::otlp::Health,
    instrument::{Counter, DropReason, Gauge, Histogram, Measure},
    name::{Labels, Unit},
    registry::Registry,
    rule::Evaluator,
    semconv,
    sync::{Arc, AtomicU64, Ordering},
};

/// What an engine's thread could not hand on.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// The act thread's mailbox was full.
    pub(super) sink_queue_full: AtomicU64,
    /// A sink refused: its channel was full or abandoned.
    pub(super) sink_refused: AtomicU64,
    /// A sink panicked.
    pub(super) sink_panicked: AtomicU64,
    /// A sink was still busy with an earlier call.
    pub(super) sink_hung: AtomicU64,
    /// The io thread's mailbox was full of transitions.
    pub(super) alert_queue_full: AtomicU64,
    /// The io thread was still busy with earlier snapshots: an interval is missing.
    pub(super) export_interval: AtomicU64,
    /// Left out of a page because another metric has its name there.
    pub(super) name_clash: AtomicU64,
    /// A tick panicked half-way.
    pub(super) tick_panicked: AtomicU64,
    /// What is pushed panicked on its way, and was lost or waits.
    pub(super) export_panicked: AtomicU64,
}

impl Losses {
    fn each(&self) -> [(&'static str, &AtomicU64); 9] {
        [
            ("sink_queue_full", &self.sink_queue_full),
            ("sink_refused", &self.sink_refused),
            ("sink_panicked", &self.sink_panicked),
            ("sink_hung", &self.sink_hung),
            ("alert_queue_full", &self.alert_queue_full),
            ("export_interval", &self.export_interval),
            ("name_clash", &self.name_clash),
            ("tick_panicked", &self.tick_panicked),
            ("export_panicked", &self.export_panicked),
        ]
    }
}

/// One more.
pub(super) fn count(what: &AtomicU64) {
    what.fetch_add(1, Ordering::Relaxed);
}

/// The self-metrics' handles.
#[derive(Debug)]
pub(super) struct Telemetry {
    registry: Arc<Registry>,
    losses: Arc<Losses>,
    pub(super) tick_duration: Histogram,
    pub(super) tick_missed: Counter,
    dropped: Vec<Gauge>,
    lost: Vec<Gauge>,
    series: Gauge,
    silences: Gauge,
    /// By [`Hush`].
    hushed: Vec<Gauge>,
    delivery: Option<Delivery>,
    windows: Gauge,
    evaluations: Gauge,
    failures: Gauge,
    /// Failed evaluations told of, and when.
    told: (u64, Option<Duration>),
}

/// Between two log lines about rules that cannot be evaluated.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

impl Telemetry {
    pub(super) fn new(
        registry: &Arc<Registry>,
        losses: Arc<Losses>,
        health: Option<Arc<Health>>,
        mistakes: u64,
        now: Moment,
    ) -> Self {
        use semconv as name;
        let none = Labels::empty();
        let known = Unit::known;
        let describe = |name, unit, help| registry.describe(name, unit, help);
        describe(name::TICK_DURATION, Unit::SECONDS, "How long a round of highwater took.");
        describe(name::TICK_MISSED, known("{tick}"), "Rounds that were due and did not happen.");
        describe(name::DROPPED, known("{item}"), "What was not recorded or delivered, by reason.");
        describe(name::SERIES_COUNT, known("{series}"), "Series in the registry.");
        describe(name::SILENCE_ACTIVE, known("{silence}"), "Silences in force.");
        describe(name::ALERT_HUSHED, known("{transition}"), "Transitions no sink was told of.");
        describe(name::CONFIG_MISTAKES, known("{mistake}"), "Mistakes in the environment.");
        describe(name::OWN_MEMORY, Unit::BYTES, "Bytes held by a part of highwater.");
        describe(name::RULE_EVALUATIONS, known("{evaluation}"), "Evaluations of single rules.");
        describe(name::RULE_FAILURES, known("{evaluation}"), "Evaluations that failed.");
        registry.gauge(name::CONFIG_MISTAKES, &none).set(mistakes as f64);
        let by_reason = |reason| {
            registry.observed_counter(name::DROPPED, &Labels::new([(name::REASON, reason)]))
        };
        Self {
            tick_duration: registry.histogram(name::TICK_DURATION, Measure::Time, &none),
            tick_missed: registry.counter(name::TICK_MISSED, &none),
            dropped: DropReason::ALL.iter().map(|reason| by_reason(reason.as_str())).collect(),
            lost: losses.each().iter().map(|(reason, _)| by_reason(reason)).collect(),
            series: registry.gauge(name::SERIES_COUNT, &none),
            silences: registry.gauge(name::SILENCE_ACTIVE, &none),
            hushed: Hush::ALL
                .map(|why| {
                    let labels = Labels::new([(name::REASON, why.as_str())]);
                    registry.observed_counter(name::ALERT_HUSHED, &labels)
                })
                .into(),
            windows: registry.gauge(name::OWN_MEMORY, &Labels::new([(name::COMPONENT, "windows")])),
            evaluations: registry.observed_counter(name::RULE_EVALUATIONS, &none),
            failures: registry.observed_counter(name::RULE_FAILURES, &none),
            told: (0, None),
            delivery: health.map(|health| Delivery::new(registry, health, now)),
            registry: registry.clone(),
            losses,
        }
    }

    /// Writes how the rules fare; a rule that cannot be evaluated is in the log.
    pub(super) fn judge(&mut self, rules: &Evaluator, now: Moment) {
        let stats = rules.stats();
        self.windows.set(stats.window_bytes as f64);
        self.evaluations.set(stats.evaluations as f64);
        self.failures.set(stats.failures as f64);
        let due = self.told.1.is_none_or(|at| now.mono.saturating_sub(at) >= LOG_INTERVAL);
        if stats.failures > self.told.0 && due {
            self.told = (stats.failures, Some(now.mono));
            for (rule, why) in rules.errors() {
                log::warn!("highwater: rule {:?} cannot be evaluated: {why}", rule.name);
            }
        }
    }

    /// Writes what is read rather than counted.
    pub(super) fn publish(&self, silences: &Silences, hushed: [u64; Hush::ALL.len()], now: Moment) {
        let drops = self.registry.drops();
        for (gauge, reason) in self.dropped.iter().zip(DropReason::ALL) {
            gauge.set(drops.total(reason) as f64);
        }
        for (gauge, (_, lost)) in self.lost.iter().zip(self.losses.each()) {
            gauge.set(lost.load(Ordering::Relaxed) as f64);
        }
        for (gauge, hushed) in self.hushed.iter().zip(hushed) {
            gauge.set(hushed as f64);
        }
        self.series.set(self.registry.len() as f64);
        self.silences.set(silences.expire(now.wall) as f64);
        if let Some(delivery) = &self.delivery {
            delivery.publish(now);
        }
    }
}
