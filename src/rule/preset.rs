//! The rules that are on unless switched off: what a careful operator would have set up.
//!
//! Their names and labels are part of this crate's promise: dashboards and runbooks hang on them.
//! Each can be adjusted or switched off by its name. None of them pages on a fresh start: they see
//! no data for the first minute.

use std::time::Duration;

use super::{Condition, Rule, Value, alert, counter, gauge, histogram, queries, value::Quantity};
use crate::{event::Severity, semconv};

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
    rules.extend(memory());
    rules.extend(file_descriptors());
    rules.extend(query_errors(tick));
    rules.extend(overloaded(tick));
    rules.into_iter().map(|rule| rule.group(GROUP).warm_up(WARM_UP)).collect()
}

/// A window that holds enough ticks however slow they are.
fn window(least: u64, tick: Duration) -> Duration {
    seconds(least).max(tick * 5)
}

/// A gauge that is a share of something.
fn ratio(name: &str) -> Value {
    Value { quantity: Quantity::Ratio, ..gauge(name) }
}

/// The binding memory ratio, but for a host that others fill: there our own share must count.
fn memory_above(threshold: f64, clear: f64) -> Condition {
    let ratio = || ratio(semconv::MEMORY_UTILIZATION);
    let small_on_a_host = super::all([
        ratio().label(semconv::LEVEL, "host").at_least(0.0),
        self::ratio(semconv::PROCESS_MEMORY_UTILIZATION).below(0.25).on([]),
    ]);
    ratio().above(threshold).clear_below(clear).unless(small_on_a_host)
}

fn memory() -> [Rule; 2] {
    [
        alert("MemoryNearLimit")
            .when(memory_above(0.85, 0.78))
            .hold_for(seconds(60))
            .keep_firing_for(seconds(60))
            .severity(Severity::Warning)
            .summary("{{ value }} of the memory limit is in use")
            .description("Nothing has failed yet: read in the evidence which component grew."),
        alert("MemoryCritical")
            .when(memory_above(0.95, 0.88))
            .hold_for(seconds(5))
            .keep_firing_for(seconds(30))
            .severity(Severity::Critical)
            .summary("{{ value }} of the memory limit is in use")
            .description(
                "You have seconds to minutes: shed load or add an instance now, diagnose later.",
            ),
    ]
}

fn file_descriptors() -> [Rule; 2] {
    let rule = |threshold: f64, clear: f64, hold, severity| {
        alert("FileDescriptorExhaustion")
            .when(
                ratio(semconv::PROCESS_UNIX_FILE_DESCRIPTOR_UTILIZATION)
                    .above(threshold)
                    .clear_below(clear),
            )
            .hold_for(hold)
            .severity(severity)
            .summary("{{ value }} of the file descriptors are in use")
            .description(
                "List descriptors by type; sockets in CLOSE_WAIT mean a leak, not traffic.",
            )
    };
    [
        rule(0.80, 0.70, seconds(60), Severity::Warning),
        rule(0.95, 0.88, seconds(10), Severity::Critical),
    ]
}

fn query_errors(tick: Duration) -> [Rule; 2] {
    let (long, short) = (window(300, tick), window(60, tick));
    let share = |window| {
        let calls = queries().count(window);
        queries().error_share(window).provided(calls, 1.0)
    };
    let rule = |threshold: f64, hold, severity| {
        alert("QueryErrorShare")
            .when(super::all([
                share(long).above(threshold).clear_below(0.02),
                share(short).above(threshold).clear_below(0.02),
                // Few calls prove nothing; once it fires, fewer calls are no all-clear.
                queries().count(long).at_least(100.0).to_raise(),
                queries().errors(long).at_least(10.0).to_raise(),
            ]))
            .hold_for(hold)
            .keep_firing_for(seconds(180))
            .severity(severity)
            .summary("{{ value }} of the calls of {{ labels.db.query.summary }} fail")
            .description(
                "Read the top `error.type`: connection, time-out and server errors have different owners.",
            )
    };
    [rule(0.05, seconds(60), Severity::Warning), rule(0.50, seconds(120), Severity::Critical)]
}

/// Three causes, told apart by a label: each has its own threshold.
fn overloaded(tick: Duration) -> [Rule; 3] {
    let window = |least| window(least, tick);
    let tick = tick.as_secs_f64();
    let rule = |cause: &str, condition| {
        alert("HighwaterOverloaded")
            .when(condition)
            .label("cause", cause)
            .keep_firing_for(seconds(300))
            .severity(Severity::Info)
            .description("The monitor is short of resources: trust its silence less.")
    };
    let share = |value: Value, factor: f64| Value { quantity: Quantity::Ratio, ..value * factor };
    let slow = histogram(semconv::TICK_DURATION).quantile(0.99).over(window(60));
    let slow = share(slow, 1.0 / tick);
    let missed = share(counter(semconv::TICK_MISSED).rate(window(300)), tick);
    let dropped = counter(semconv::DROPPED).increase(window(60)).sum_by(["reason"]);
    [
        rule("slow_tick", slow.above(0.20).clear_below(0.05))
            .summary("a round of the monitor takes {{ value }} of its interval"),
        rule("missed_ticks", missed.above(0.05))
            .summary("{{ value }} of the monitor's rounds were missed"),
        rule("drops", dropped.above(0.0))
            .summary("{{ value }} values dropped: {{ labels.reason }}"),
    ]
}
