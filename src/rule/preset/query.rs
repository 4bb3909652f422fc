//! Queries that fail, are slow, or wait.

use std::time::Duration;

use super::{finish, seconds, window};
use crate::{
    event::Severity,
    rule::{Adjust, Condition, Rule, Value, alert, all, queries},
    semconv,
};

pub(super) fn rules(tick: Duration) -> Vec<Rule> {
    let mut rules: Vec<Rule> = errors(tick).into();
    rules.push(slower_than_baseline(tick));
    let off = Adjust { enabled: Some(false), ..Adjust::default() };
    rules.push(too_many(knee(tick)).adjust(&off));
    rules
}

/// What is judged of each query by itself.
const EACH: [&str; 1] = [semconv::DB_QUERY_SUMMARY];
const HOUR: Duration = seconds(3_600);

fn slower_than_baseline(tick: Duration) -> Rule {
    let lately = window(300, tick);
    let p95 = || queries().quantile(0.95).over(lately);
    alert("QuerySlowerThanBaseline")
        .when(all([
            p95().growth_over(HOUR).above(2.0).clear_below(1.3),
            // Twice next to nothing is nothing.
            (p95() - p95().baseline(HOUR)).above(Duration::from_millis(50)).to_raise(),
            queries().count(lately).at_least(200.0).to_raise(),
        ]))
        .warm_up(seconds(1_800))
        .hold_for(seconds(300))
        .keep_firing_for(seconds(300))
        .severity(Severity::Info)
        .summary("{{ labels.db.query.summary }} takes {{ value }} times what it took the hour before")
        .description(
            "Slower than its own past: look at deploys, plan changes and pool wait before the database.",
        )
}

/// Many more calls at once than usual, no more of them done, and each slower.
fn knee(tick: Duration) -> Condition {
    let lately = window(60, tick);
    // Up to a while ago: the jam that begins is no part of it.
    let usual = queries().in_flight().quantile_over(0.99, HOUR).ago(lately);
    let usual = usual.sum_by(EACH).frozen();
    let p95 = queries().quantile(0.95).over(lately);
    all([
        (in_flight() / usual).above(3.0).clear_below(1.5),
        queries().rate(lately).growth_over(HOUR).at_most(1.1).to_raise(),
        p95.growth_over(HOUR).at_least(2.0).to_raise(),
    ])
}

fn in_flight() -> Value {
    queries().in_flight().sum_by(EACH)
}

fn too_many(condition: Condition) -> Rule {
    alert("TooManyConcurrentQueries")
        .when(condition)
        .hold_for(seconds(30))
        .keep_firing_for(seconds(60))
        .severity(Severity::Warning)
        .summary("{{ labels.db.query.summary }} has {{ value }} calls under way")
        .description(
            "More concurrency yields no throughput: lower admission until latency returns.",
        )
}

/// `TooManyConcurrentQueries` for who knows how many calls of one query may be under way at once:
/// give it to [`Builder::rule`](crate::Builder::rule), where it takes the preset's place.
///
/// ```
/// use highwater::{Highwater, rule::preset};
/// let hw = Highwater::builder("doc").rule(preset::concurrency_cap(64)).start()?;
/// assert!(!hw.alert("TooManyConcurrentQueries")?.is_firing());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn concurrency_cap(cap: u64) -> Rule {
    finish(too_many(in_flight().above(cap as f64)))
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
