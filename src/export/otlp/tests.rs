//! The exporter against a receiver that misbehaves; what it gets is decoded and compared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(unix)]
mod crash;
mod delivery;
mod environment;
#[cfg(feature = "grpc")]
mod grpc;
mod stack_servers;
#[cfg(feature = "tls")]
mod tls;
mod wire;

#[path = "../../../tests/support/receiver.rs"]
mod receiver;
#[path = "../../../tests/support/stack.rs"]
mod stack;

use std::time::{Duration, Instant, SystemTime};

use super::{Config, Exporter, Resource, Step};
use crate::{
    clock::Moment,
    event::{ResolveReason, RuleInfo, Severity, State, Transition},
    name::{Labels, Unit},
    registry::{Collector, Registry, Snapshot},
    sync::Arc,
};

const DAY_ZERO: SystemTime = SystemTime::UNIX_EPOCH;

fn nothing(_: &str) -> Option<String> {
    None
}

fn moment(seconds: u64) -> Moment {
    let mono = Duration::from_secs(seconds);
    Moment { mono, wall: DAY_ZERO + Duration::from_secs(1_000) + mono }
}

/// A registry and what reads it, both born at second 0.
fn registry() -> (Arc<Registry>, Collector) {
    let registry = Arc::new(Registry::new(2_000));
    let collector = Collector::new(registry.clone(), moment(0));
    (registry, collector)
}

fn snapshot(collector: &mut Collector, seconds: u64) -> Snapshot {
    let mut snapshot = Snapshot::new(moment(0));
    collector.collect(moment(seconds));
    collector.snapshot(&mut snapshot);
    snapshot
}

/// One gauge at a value.
fn one_gauge(value: f64) -> Snapshot {
    let (registry, mut collector) = registry();
    registry.gauge("a.gauge", &Labels::empty()).set(value);
    snapshot(&mut collector, 1)
}

fn exporter(config: Config) -> Exporter {
    assert_eq!(config.check(), []);
    let (settings, warnings) = config.resolve(&nothing);
    assert_eq!(warnings, []);
    let (resource, _) = Resource::new("shop", [], &nothing);
    Exporter::new(settings.unwrap(), &resource).unwrap()
}

/// One attempt with plenty of time.
fn step(exporter: &mut Exporter) -> Step {
    let now = Instant::now();
    exporter.send_next(now, now + Duration::from_secs(60))
}

/// Sends all there is, without waiting, to a receiver that takes it.
fn drain(exporter: &mut Exporter) {
    let mut now = Instant::now();
    loop {
        match exporter.send_next(now, now + Duration::from_secs(60)) {
            Step::Tried => {}
            Step::Wait(wait) => now += wait,
            Step::Idle => return,
            Step::OutOfTime => panic!("there was time"),
        }
    }
}

fn transition(from: State, to: State) -> Arc<Transition> {
    let rule = RuleInfo {
        group: Arc::from(""),
        name: Arc::from("MemoryNearLimit"),
        severity: Severity::Critical,
        labels: Labels::new([("severity", "critical")]),
        expression: "highwater_memory_utilization > 0.85".into(),
        unit: Unit::ONE,
        runbook: Some("https://runbook".into()),
        inhibited_by: Vec::new(),
        damped: true,
        owner: crate::event::Owner::Process,
    };
    Arc::new(Transition {
        rule: Arc::new(rule),
        labels: Labels::new([("alertname", "MemoryNearLimit"), ("level", "/")]),
        from,
        to,
        resolved: (from == State::Firing).then_some(ResolveReason::Cleared),
        value: Some(0.875),
        threshold: Some(0.85),
        at: DAY_ZERO + Duration::from_secs(90),
        active_since: Some(DAY_ZERO + Duration::from_secs(30)),
        summary: "87.5% of the memory limit is in use".into(),
        description: String::new(),
        annotations: Labels::new([("dashboard", "https://dashboard")]),
        hushed: None,
        evidence: None,
    })
}
