//! Runtimes that stand still. Without a watched one there is no data.

use std::time::Duration;

use super::{seconds, window};
use crate::{
    event::Severity,
    rule::{Condition, Rule, Value, alert, all, counter, gauge, value::Quantity},
    semconv,
};

pub(super) fn rules(tick: Duration) -> Vec<Rule> {
    stalled(tick).into()
}

/// Kept from the processor by a quota: then it is nobody's blocking call.
fn throttled(tick: Duration) -> Condition {
    let rate = |name| counter(name).rate(window(60, tick));
    let share = rate(semconv::CPU_THROTTLED_PERIODS) / rate(semconv::CPU_PERIODS);
    Value { quantity: Quantity::Ratio, ..share }.above(0.25).on([])
}

fn stalled(tick: Duration) -> [Rule; 4] {
    let held_up =
        |name, by: u64| gauge(name).above(seconds(by)).clear_below(Duration::from_millis(100));
    let overdue = |by| held_up(semconv::TOKIO_STALL, by);
    // Of several workers one: a worker reports only every so many polls, so less may be many long
    // polls.
    let worker = held_up(semconv::TOKIO_WORKER_STALL, 10);
    let rule = |cause: &str, condition, severity| {
        alert("RuntimeStalled")
            .when(condition)
            .label("cause", cause)
            .keep_firing_for(seconds(5))
            .severity(severity)
            .summary("the runtime {{ labels.runtime }} has stood still for {{ value }}")
    };
    let blocked = "A worker is blocked: take stacks now, while it still is.";
    let starved = "The process is kept from the processor by its quota: nothing in it blocks.";
    [
        rule("blocked", overdue(1).unless(throttled(tick)), Severity::Warning).description(blocked),
        rule("blocked", overdue(10).unless(throttled(tick)), Severity::Critical)
            .description(blocked),
        rule("worker_blocked", worker.unless(throttled(tick)), Severity::Warning)
            .summary(
                "a worker of the runtime {{ labels.runtime }} has been held up for {{ value }}",
            )
            .description(blocked),
        rule("cpu_starved", all([overdue(1), throttled(tick)]), Severity::Warning)
            .description(starved),
    ]
}
