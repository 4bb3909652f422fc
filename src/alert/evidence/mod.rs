//! What explains an alert, gathered the moment it is needed from the [`History`] the tick thread
//! keeps anyway. Nothing is read or allocated while no alert moves.
//!
//! Which evidence an alert gets follows from what it is about: its labels name a query or a pool,
//! its expression is about memory. Causes are hypotheses, weighted by how much of what is seen they
//! would explain.

mod memory;
mod pool;
mod query;
mod starved;
#[cfg(test)]
mod tests;

use crate::{
    event::{Evidence, State, Transition},
    history::{Counts, History, SPAN, Timing},
    name::Unit,
    rule::readable,
    semconv as s,
};

/// How far back "now" reaches, in seconds.
const NOW: f64 = 60.0;

/// The evidence of a transition that begins something; nothing for one that ends it.
pub(crate) fn gather(transition: &Transition, history: &History) -> Option<Evidence> {
    if !matches!(transition.to, State::Pending | State::Firing) {
        return None;
    }
    let mut evidence = Evidence::default();
    let label = |key: &str| {
        let underscored = key.replace('.', "_");
        transition.labels.get(key).or_else(|| transition.labels.get(&underscored))
    };
    let about = &transition.rule.expression;
    if let Some(query) = label(s::DB_QUERY_SUMMARY) {
        query::gather(query, history, &mut evidence);
    } else if let Some(pool) = label(s::DB_CLIENT_CONNECTION_POOL_NAME) {
        pool::gather(pool, history, &mut evidence);
    } else if ["memory", "pressure", "paging", "oom"].iter().any(|word| about.contains(word)) {
        memory::gather(label(s::LEVEL), history, &mut evidence);
    } else {
        starved::gather(history, &mut evidence);
        query::slowest(history, &mut evidence);
        memory::overview(history, &mut evidence);
    }
    others(transition, history, &mut evidence);
    (!evidence.facts.is_empty() || !evidence.causes.is_empty()).then_some(evidence)
}

/// Which alerts fire already: what came first is often the cause.
fn others(transition: &Transition, history: &History, evidence: &mut Evidence) {
    let first = history.firing.iter().filter(|other| other.rule.name != transition.rule.name);
    let mut names: Vec<_> = first.map(|other| &*other.rule.name).collect();
    names.dedup();
    if !names.is_empty() {
        let count = names.len() as f64;
        names.truncate(5);
        let text = format!("already firing: {}", names.join(", "));
        evidence.fact("alerts.firing", "", count, Unit::known("{alert}"), text);
    }
}

fn bytes(value: f64) -> String {
    readable(Some(value), &Unit::BYTES)
}

fn seconds(value: f64) -> String {
    readable(Some(value), &Unit::SECONDS)
}

/// To the percent: evidence is read in a hurry.
fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// Fewer calls are no past to compare with.
const LEAST_BEFORE: u64 = 100;

/// How a timing fares: the last minute, and the hour before it.
struct Course {
    now: Counts,
    /// How many seconds `now` stands for.
    time: f64,
    before: Counts,
}

impl Course {
    fn of(timing: &Timing, history: &History) -> Self {
        let columns = &history.columns;
        let end = history.at.mono.as_secs_f64();
        let from = (0..columns.len()).find(|at| end - columns.time(*at) <= NOW).unwrap_or(0) / SPAN;
        let last = columns.len().saturating_sub(1) / SPAN;
        let time = (end - columns.time(from * SPAN)).max(columns.width());
        Self { now: timing.sum(from..last + 1), time, before: timing.before() }
    }

    /// How many times as long as before.
    fn times(&self, q: f64) -> Option<f64> {
        let (now, before) = (self.now.quantile(q)?, self.before.quantile(q)?);
        (self.before.calls >= LEAST_BEFORE && before > 0.0).then(|| now / before)
    }

    /// The same of the mean, which a slow minority moves too.
    fn mean_times(&self) -> Option<f64> {
        let (now, before) = (self.now.mean()?, self.before.mean()?);
        (self.before.calls >= LEAST_BEFORE && before > 0.0).then(|| now / before)
    }
}
