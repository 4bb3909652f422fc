//! The monitor about itself.

use std::time::Duration;

use super::{seconds, window};
use crate::{
    event::Severity,
    rule::{Rule, Value, alert, all, counter, histogram, value::Quantity},
    semconv,
};

pub(super) fn rules(tick: Duration) -> Vec<Rule> {
    overloaded(tick).into()
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
    let missed = |over| share(counter(semconv::TICK_MISSED).rate(window(over)), tick);
    // Over both windows and for a while: one long pause of the whole process is no overload.
    let missed = all([missed(300).above(0.05), missed(60).above(0.05)]);
    // Who is not let run is short of nothing of its own.
    let throttled =
        || counter(semconv::CPU_THROTTLED_PERIODS).increase(window(60)).above(0.0).on([]);
    let dropped = counter(semconv::DROPPED).increase(window(60)).sum_by(["reason"]);
    [
        rule("slow_tick", slow.above(0.20).clear_below(0.05).unless(throttled()))
            .summary("a round of the monitor takes {{ value }} of its interval"),
        rule("missed_ticks", missed.unless(throttled()))
            .hold_for(seconds(60))
            .summary("{{ value }} of the monitor's rounds were missed"),
        rule("drops", dropped.above(0.0))
            .summary("{{ value }} values dropped: {{ labels.reason }}"),
    ]
}
