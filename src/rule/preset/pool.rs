//! Pools that are waited for. Without a pool that is measured there is no data.

use std::time::Duration;

use super::{seconds, window};
use crate::{
    event::Severity,
    rule::{
        Rule, Value, alert, all, any, counter,
        expr::{Expr, Function, Selector},
        gauge, histogram,
        value::Quantity,
    },
    semconv,
};

pub(super) fn rules(tick: Duration) -> Vec<Rule> {
    vec![saturated(tick), timeouts(tick)]
}

fn saturated(tick: Duration) -> Rule {
    let window = window(60, tick);
    // The share of ticks in which somebody waited.
    let waited_for =
        Selector { name: Some(semconv::POOL_WAITED_FOR.to_owned()), ..Selector::default() };
    let share = Expr::Call(Function::AvgOverTime, vec![Expr::Range(waited_for, window)]);
    let wait = || histogram(semconv::DB_CLIENT_CONNECTION_WAIT_TIME).quantile(0.95).over(window);
    // Who is still waiting has no time yet.
    let got = histogram(semconv::DB_CLIENT_CONNECTION_WAIT_TIME).count(window);
    let of_timeout = wait() / gauge(semconv::POOL_ACQUIRE_TIMEOUT);
    alert("PoolSaturated")
        .when(all([
            // Cleared by a window, and then a minute, in which nobody waited.
            Value::of(share, Quantity::Ratio).above(0.9).clear_below(0.001),
            any([
                wait().above(Duration::from_millis(100)),
                Value { quantity: Quantity::Ratio, ..of_timeout }.above(0.1),
                got.below(0.5),
            ])
            .to_raise(),
        ]))
        .hold_for(seconds(60))
        .keep_firing_for(seconds(60))
        .severity(Severity::Warning)
        .summary(
            "callers wait for a connection of {{ labels.db.client.connection.pool.name }} in {{ value }} of the time",
        )
        .description(
            "Rising hold time means slow queries, flat means demand, never falling means a leak.",
        )
}

fn timeouts(tick: Duration) -> Rule {
    let window = window(60, tick);
    let gone = || counter(semconv::DB_CLIENT_CONNECTION_TIMEOUTS).increase(window);
    let got = histogram(semconv::DB_CLIENT_CONNECTION_WAIT_TIME).count(window);
    let share = Value { quantity: Quantity::Ratio, ..gone() / (gone() + got) };
    alert("PoolTimeouts")
        .when(all([gone().at_least(5.0).clear_below(0.5), share.at_least(0.01).to_raise()]))
        .keep_firing_for(seconds(240))
        .severity(Severity::Critical)
        .summary(
            "{{ value }} requests for a connection of {{ labels.db.client.connection.pool.name }} timed out in a minute",
        )
        .description(
            "Requests fail for want of a connection: shed before enlarging the pool.",
        )
}
