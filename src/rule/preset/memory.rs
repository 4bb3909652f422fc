//! How close the wall is, when it is hit, and what happens at it.

use std::time::Duration;

use super::{ratio, seconds};
use crate::{
    event::Severity,
    rule::{
        Rule, Value, alert, all, any, counter,
        expr::{AggregateOp, BinaryOp, Expr, Function, Matching, Selector},
        gauge,
        memory::{Memory, memory, others_host},
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
    [critical(tick), exhausted_soon(tick)]
}

fn near_the_limit() -> Rule {
    alert("MemoryNearLimit")
        // Above the 88% to which caches are filled by design.
        .when(used().above(0.90).clear_below(0.83))
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
    let lasting = used_since(seconds(5) + tick).above(0.95).clear_below(0.88);
    alert("MemoryCritical")
        .when(any([all([now, growing]), lasting]))
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

fn exhausted_soon(tick: Duration) -> Rule {
    let within = |memory: Memory, time| memory.exhausted_within(time).clear_above(MINUTE * 5);
    // What has just started climbs, and a collector's first tooth looks as a leak does until it
    // falls: meanwhile only what is high, or almost there, is told.
    let soon = within(memory().over(0.70).seen_for(MINUTE * 5), MINUTE * 2);
    let high = within(memory().over(0.80), MINUTE * 2);
    // A leak of a minute or two is at 70% when it is too late to hold for long. What has grown
    // evenly for a quarter of a minute is told before.
    let evenly = memory().over(0.60).ahead(seconds(10), seconds(6), tick);
    let almost = within(evenly, seconds(50));
    alert("MemoryExhaustionImminent")
        .when(any([soon, high, almost]))
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
fn thrashing(tick: Duration) -> [Rule; 3] {
    let full = |name| ratio(name).label(semconv::RESOURCE, "memory").label(semconv::STALL, "full");
    let (ten, sixty) = (|| full(semconv::PRESSURE_AVG10), || full(semconv::PRESSURE_AVG60));
    // Of host and group the one that waits more: what both tell is one event.
    let waiting = all([
        ten().max_by([]).above(0.10).clear_below(0.03),
        sixty().max_by([]).above(0.05).to_raise(),
        // An even pressure has the shorter average now above the longer one, now below.
        (ten() - sixty() * 0.8).max_by([]).at_least(0.0).to_raise(),
    ]);
    // Where the kernel does not tell who waits.
    let told = gauge(semconv::PRESSURE_AVG10).label(semconv::RESOURCE, "memory").at_least(0.0);
    let faulting = all([
        counter(semconv::PROCESS_PAGING_FAULTS)
            .label(semconv::SYSTEM_PAGING_FAULT_TYPE, "major")
            .rate(super::window(60, tick))
            .above(500.0)
            .clear_below(100.0),
        ratio(semconv::MEMORY_BINDING_UTILIZATION).above(0.9).on([]).to_raise(),
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
        rule(waiting, seconds(15), Severity::Warning)
            .summary("all work waits for memory {{ value }} of the time"),
        rule(faulting, MINUTE, Severity::Warning)
            .label("signal", "faults")
            .summary("{{ value }} pages a second come back from disk, and memory is short"),
        rule(
            ten().label(semconv::LEVEL, "cgroup").above(0.25).clear_below(0.03),
            seconds(10),
            Severity::Critical,
        )
        .summary("all work waits for memory {{ value }} of the time"),
    ]
}

/// Within our limits only: what is killed elsewhere on the host is not ours to explain. One event
/// is one alert, however many groups count it.
fn oom_kills() -> [Rule; 2] {
    let kills = |window| {
        // What is extrapolated from samples is no whole number.
        let round =
            |of: Value| Value::of(Expr::Call(Function::Round, vec![of.expr]), Quantity::Number);
        // Our group and all below it. Of those around it only what happened at their own limits:
        // else a slice of many services told each of them of the others.
        let ours = counter(semconv::MEMORY_EVENTS)
            .label(semconv::EVENT, "oom_kill")
            .label(semconv::LEVEL, "cgroup")
            .increase(window);
        let around = counter(semconv::MEMORY_EVENTS_LOCAL)
            .increase(window)
            .label_matches(semconv::EVENT, "oom|oom_kill")
            .without_label(semconv::LEVEL, "cgroup");
        let before = gauge(semconv::MEMORY_OOM_KILLS_BEFORE_START);
        let before = Value { quantity: Quantity::Number, ..before };
        round(ours).or(round(around)).or(before).max_by([])
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

/// PRESETS' *u*: the greatest share over the levels that bind us. One event is one alert, however
/// many limits are the same; the evidence names the level.
fn used() -> Value {
    greatest(Expr::Select(utilization()))
}

/// The same of the least of each level's samples in a window.
fn used_since(window: Duration) -> Value {
    greatest(Expr::Call(Function::MinOverTime, vec![Expr::Range(utilization(), window)]))
}

fn utilization() -> Selector {
    Selector { name: Some(semconv::MEMORY_UTILIZATION.to_owned()), ..Selector::default() }
}

/// But for a host that others fill: there our own share must count. It is judged, and well.
fn greatest(used: Expr) -> Value {
    let nothing = Expr::binary(BinaryOp::Multiply, used.clone(), Expr::Number(0.0));
    let ours = Expr::matched(BinaryOp::Unless, used, others_host(), Matching::default());
    let ours = Expr::binary(BinaryOp::Or, ours, nothing);
    Value::of(Expr::aggregate(AggregateOp::Max, ours, Vec::new()), Quantity::Ratio)
}
