//! Transitions for tests.

use std::time::SystemTime;

use super::{Evidence, Owner, RuleInfo, Severity, State, Transition};
use crate::{
    name::{Labels, Unit},
    sync::Arc,
};

/// One that carries a cause and two facts.
pub(crate) fn explained(name: &str) -> Transition {
    let mut told = Transition::clone(&transition(name));
    let mut evidence = Evidence::default();
    evidence.cause(0.9, "the store \"grew\"".into());
    for (of, text) in [("store", "store holds 9MiB"), ("cache", "cache holds 1MiB")] {
        evidence.fact("memory.component", of, 1.0, Unit::BYTES, text.into());
    }
    told.evidence = Some(Arc::new(evidence));
    told
}

pub(crate) fn transition(name: &str) -> Arc<Transition> {
    Arc::new(Transition {
        rule: Arc::new(RuleInfo {
            group: "".into(),
            name: name.into(),
            severity: Severity::Warning,
            labels: Labels::new([("severity", "warning")]),
            expression: String::new(),
            unit: Unit::NONE,
            runbook: Some("https://runbook".into()),
            inhibited_by: Vec::new(),
            damped: true,
            owner: Owner::Process,
        }),
        labels: Labels::new([("alertname", name), ("severity", "warning"), ("pool", "main")]),
        from: State::Pending,
        to: State::Firing,
        resolved: None,
        value: Some(0.9),
        threshold: Some(0.8),
        at: SystemTime::UNIX_EPOCH,
        active_since: None,
        summary: "90% in use".into(),
        description: String::new(),
        hushed: None,
        evidence: None,
        annotations: Labels::empty(),
    })
}
