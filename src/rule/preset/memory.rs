//! How close the wall is, when it is hit, and what happens at it.

use std::time::Duration;

use super::{ratio, seconds};
use crate::{
    event::Severity,
    rule::{
        Condition, Rule, Value, alert, all, any, counter,
        expr::{Expr, Function, Selector},
        gauge,
        memory::{SHARE_OF_HOST, memory},
        value::Quantity,
    },
    semconv,
};

const MINUTE: Duration = seconds(60);

pub(super) fn rules(tick: Duration) -> Vec<Rule> {
    let mut rules = vec![near_the_limit(), forecast(), swap_storm(tick)];
    rules.extend(thrashing(tick));
    rules.extend(oom_kills());
    rules
}

/// Those that cannot wait for a warm-up: what they tell of happens within it, too.
pub(super) fn imminent(tick: Duration) -> [Rule; 2] {
    [critical(tick), exhausted_soon()]
}

fn near_the_limit() -> Rule {
    alert("MemoryNearLimit")
        // Above the 88% to which caches are filled by design.
        .when(unless_others_host(used().above(0.90).clear_below(0.83)))
        .hold_for(MINUTE)
        .keep_firing_for(MINUTE)
        .severity(Severity::Warning)
        .summary("{{ value }} of the memory limit is in use")
        .description("Nothing has failed yet: read in the evidence which component grew.")
}

fn critical(tick: Duration) -> Rule {
    let now = used().above(0.95).clear_below(0.88);
    let growing = gauge(semconv::MEMORY_RUNWAY).below(seconds(10)).on([]).to_raise();
    // Rather than a hold, so that there is one only where there is time for it.
    let lasting =
        lowest(semconv::MEMORY_UTILIZATION, seconds(5) + tick).above(0.95).clear_below(0.88);
    alert("MemoryCritical")
        .when(unless_others_host(any([all([now, growing]), lasting])))
        .keep_firing_for(seconds(30))
        .severity(Severity::Critical)
        .summary("{{ value }} of the memory limit is in use")
        .description(
            "You have seconds to minutes: shed load or add an instance now, diagnose later.",
        )
}

fn forecast() -> Rule {
    alert("MemoryExhaustionForecast")
        .when(memory().over(0.60).exhausted_within(MINUTE * 10).clear_above(MINUTE * 30))
        .hold_for(MINUTE)
        .keep_firing_for(MINUTE * 2)
        .severity(Severity::Warning)
        .summary("the memory limit is reached in {{ value }} at this rate")
        .description("Find the component whose line has the same slope.")
}

fn exhausted_soon() -> Rule {
    alert("MemoryExhaustionImminent")
        .when(memory().over(0.70).exhausted_within(MINUTE * 2).clear_above(MINUTE * 5))
        .hold_for(seconds(10))
        .keep_firing_for(MINUTE)
        .severity(Severity::Critical)
        .summary("the memory limit is reached in {{ value }} at this rate")
        .description(
            "Drain or restart this instance in a controlled way before the kernel does it.",
        )
}

/// In the way of oomd: all that could run wait for memory, and it does not get better. The whole
/// host's pressure may be a neighbour's doing, so it warns and no more.
fn thrashing(tick: Duration) -> [Rule; 2] {
    let full = |name| ratio(name).label(semconv::RESOURCE, "memory").label(semconv::STALL, "full");
    let (ten, sixty) = (|| full(semconv::PRESSURE_AVG10), || full(semconv::PRESSURE_AVG60));
    let waiting = all([
        ten().above(0.10).clear_below(0.03),
        sixty().above(0.05).to_raise(),
        // An even pressure has the shorter average now above the longer one, now below.
        (ten() - sixty() * 0.8).at_least(0.0).to_raise(),
    ]);
    let told = gauge(semconv::PRESSURE_AVG10).label(semconv::RESOURCE, "memory").at_least(0.0);
    let faulting = all([
        counter(semconv::PROCESS_PAGING_FAULTS)
            .label(semconv::SYSTEM_PAGING_FAULT_TYPE, "major")
            .rate(super::window(60, tick))
            .above(500.0),
        ratio(semconv::MEMORY_BINDING_UTILIZATION).above(0.9).on([]),
    ])
    .unless(told.on([]));
    let rule = |condition, hold, severity| {
        alert("MemoryThrashing")
            .when(condition)
            .hold_for(hold)
            .keep_firing_for(MINUTE)
            .severity(severity)
            .description(
                "Work is stalled waiting for memory: reduce concurrency; more CPU makes it worse.",
            )
    };
    [
        rule(any([waiting, faulting]), seconds(15), Severity::Warning)
            .summary("work waits for memory: {{ value }}"),
        rule(
            ten().label(semconv::LEVEL, "cgroup").above(0.25).clear_below(0.03),
            seconds(10),
            Severity::Critical,
        )
        .summary("all work waits for memory {{ value }} of the time"),
    ]
}

/// Within our limits only: what is killed elsewhere on the host is not ours to explain.
fn oom_kills() -> [Rule; 2] {
    let kills = |window| {
        let kills = counter(semconv::MEMORY_EVENTS)
            .label(semconv::EVENT, "oom_kill")
            .increase(window)
            .without_label(semconv::LEVEL, "host");
        // What is extrapolated from samples is no whole number.
        Value::of(Expr::Call(Function::Round, vec![kills.expr]), Quantity::Number)
    };
    let rule = |condition, severity| {
        alert("OomKillSeen")
            .when(condition)
            .severity(severity)
            .summary("{{ value }} killed by the kernel within our memory limit")
            .description(
                "The kernel killed something within your limit: see which, and what was recorded last.",
            )
    };
    [
        rule(kills(MINUTE * 15).above(0.0), Severity::Warning),
        rule(
            all([kills(MINUTE * 60).at_least(3.0), kills(MINUTE * 15).above(0.0)]),
            Severity::Critical,
        ),
    ]
}

/// Traffic, never swap in use: what lies there unasked for harms nobody.
fn swap_storm(tick: Duration) -> Rule {
    let pages = |direction| {
        counter(semconv::SYSTEM_PAGING_OPERATIONS)
            .label(semconv::SYSTEM_PAGING_DIRECTION, direction)
            .rate(super::window(10, tick))
            .above(1_000.0)
            .clear_below(100.0)
    };
    let waiting = ratio(semconv::PRESSURE_AVG10)
        .label(semconv::RESOURCE, "memory")
        .label(semconv::STALL, "some")
        .above(0.05);
    alert("SwapStorm")
        .when(all([pages("in"), pages("out").on([]), waiting.on([]).to_raise()]))
        .hold_for(seconds(30))
        .keep_firing_for(MINUTE * 2)
        .severity(Severity::Warning)
        .summary("{{ value }} pages a second come back from swap")
        .description("Memory is cycled through disk; find what outgrew RAM, not what lies in swap.")
}

fn used() -> Value {
    ratio(semconv::MEMORY_UTILIZATION)
}

/// The least of a window's samples.
fn lowest(name: &str, window: Duration) -> Value {
    let selector = Selector { name: Some(name.to_owned()), ..Selector::default() };
    let range = Expr::Range(selector, window);
    Value::of(Expr::Call(Function::MinOverTime, vec![range]), Quantity::Ratio)
}

/// But for a host that others fill: there our own share must count.
fn unless_others_host(condition: Condition) -> Condition {
    let small_on_a_host = all([
        used().label(semconv::LEVEL, "host").at_least(0.0),
        ratio(semconv::PROCESS_MEMORY_UTILIZATION).below(SHARE_OF_HOST).on([]),
    ]);
    condition.unless(small_on_a_host)
}
