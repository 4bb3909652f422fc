//! The rules that are on unless switched off: what a careful operator would have set up.
//!
//! Their names and labels are part of this crate's promise: dashboards and runbooks hang on them.
//! Each can be adjusted or switched off by its name. `TooManyConcurrentQueries` is off until it is
//! switched on (`HIGHWATER_RULES=TooManyConcurrentQueries=on`) or given a cap
//! ([`concurrency_cap`]). They see no data for the first minute, so that
//! a fresh start pages nobody; but for those that tell of an end within it.

use std::time::Duration;

use super::{Rule, Value, gauge, value::Quantity};

mod delivery;
mod memory;
mod monitor;
mod pool;
mod process;
mod query;
mod runtime;

pub use query::concurrency_cap;

const WARM_UP: Duration = seconds(60);
const GROUP: &str = "highwater";

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// All presets, for an instance that ticks this often.
///
/// ```
/// use std::time::Duration;
/// use highwater::rule::preset;
/// let names: Vec<_> = preset::all(Duration::from_secs(1)).iter().map(|r| r.name().to_owned()).collect();
/// assert!(names.iter().any(|name| name == "MemoryNearLimit"));
/// ```
pub fn all(tick: Duration) -> Vec<Rule> {
    let mut rules = Vec::new();
    rules.extend(memory::rules(tick));
    rules.extend(process::rules());
    rules.extend(query::rules(tick));
    rules.extend(pool::rules(tick));
    rules.extend(delivery::rules());
    rules.extend(runtime::rules(tick));
    rules.extend(monitor::rules(tick));
    let mut rules: Vec<_> = rules.into_iter().map(finish).collect();
    rules.extend(memory::imminent(tick).into_iter().map(|rule| rule.group(GROUP)));
    rules
}

fn finish(rule: Rule) -> Rule {
    // Out of memory explains these.
    let hushed = HUSHED.contains(&rule.name());
    let inhibitors = if hushed { &INHIBITORS[..] } else { &[] };
    let rule = inhibitors.iter().fold(rule, |rule, name| rule.inhibited_by(name));
    rule.group(GROUP).warm_up_at_least(WARM_UP)
}

const INHIBITORS: [&str; 2] = ["MemoryCritical", "MemoryExhaustionImminent"];
const HUSHED: [&str; 5] =
    ["MemoryThrashing", "OomKillSeen", "SwapStorm", "QuerySlowerThanBaseline", "QueryErrorShare"];

/// Whether it is one of these.
pub(super) fn is_one(rule: &Rule) -> bool {
    rule.group == GROUP
}

/// What its alerts say must not depend on what they are about.
pub(crate) const DELIVERY_FAILING: &str = delivery::NAME;

/// Whether it is a preset that has nothing to judge where nothing is pushed anywhere.
pub(crate) fn needs_endpoint(rule: &Rule) -> bool {
    rule.group == GROUP && rule.name() == delivery::NAME
}

/// A window that holds enough ticks however slow they are.
fn window(least: u64, tick: Duration) -> Duration {
    seconds(least).max(tick * 5)
}

/// A gauge that is a share of something.
fn ratio(name: &str) -> Value {
    Value { quantity: Quantity::Ratio, ..gauge(name) }
}
