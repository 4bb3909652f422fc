//! Queries that fail, are slow, or wait.

use std::time::Duration;

use super::{seconds, window};
use crate::{
    event::Severity,
    rule::{Rule, alert, all, queries},
};

pub(super) fn rules(tick: Duration) -> Vec<Rule> {
    errors(tick).into()
}

fn errors(tick: Duration) -> [Rule; 2] {
    let (long, short) = (window(300, tick), window(60, tick));
    let share = |window| {
        let calls = queries().count(window);
        queries().error_share(window).provided(calls, 1.0)
    };
    let rule = |threshold: f64, hold, severity| {
        alert("QueryErrorShare")
            .when(all([
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
