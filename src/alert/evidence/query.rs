//! How a query fares, beside its own last hour.

use super::{Course, memory, percent, pool, seconds, starved};
use crate::{
    event::{Evidence, short},
    history::{History, Line, Timing, TimingKind},
    name::Unit,
    semconv as s,
};

/// Fewer calls are no distribution.
const ENOUGH: u64 = 20;

pub(super) fn gather(query: &str, history: &History, evidence: &mut Evidence) {
    let name = short(query);
    let timing = history
        .timings
        .iter()
        .find(|timing| timing.kind == TimingKind::Query && &*timing.name == query);
    // A line for each pool.
    let flying = history.lines_of(s::QUERY_IN_FLIGHT);
    let in_flight = flying
        .filter(|line| line.label(s::DB_QUERY_SUMMARY) == query)
        .filter_map(Line::now)
        .reduce(|sum, count| sum + count);
    let Some(timing) = timing else {
        if let Some(count) = in_flight {
            let text = format!("{count} calls of {name} in flight");
            evidence.fact("query.in_flight", name, count, Unit::known("{call}"), text);
        }
        return;
    };
    let course = Course::of(timing, history);
    let (now, before) = (&course.now, &course.before);
    let calls = now.calls as f64;
    let text = format!(
        "{} calls in {} ({:.1}/s)",
        now.calls,
        seconds(course.time.round()),
        calls / course.time
    );
    evidence.fact("query.calls", name, calls, Unit::known("{call}"), text);
    let errors = now.errors as f64;
    if now.calls > 0 {
        let text = format!("{} of them failed ({})", now.errors, percent(errors / calls));
        evidence.fact("query.errors", name, errors, Unit::known("{call}"), text);
    }
    for (key, q, word) in [("query.p50", 0.5, "half"), ("query.p99", 0.99, "99%")] {
        let Some(value) = now.quantile(q) else { continue };
        let mut text = format!("{word} took up to {}", seconds(value));
        if let Some(times) = course.times(q) {
            let then = seconds(before.quantile(q).unwrap_or_default());
            text += &format!(", {times:.1} times the {then} of the hour before");
        }
        evidence.fact(key, name, value, Unit::SECONDS, text);
    }
    if let Some(count) = in_flight {
        let text = format!("{count} in flight");
        evidence.fact("query.in_flight", name, count, Unit::known("{call}"), text);
    }
    hypotheses(name, (timing, &course), in_flight, history, evidence);
}

fn hypotheses(
    name: &str,
    (timing, course): (&Timing, &Course),
    in_flight: Option<f64>,
    history: &History,
    evidence: &mut Evidence,
) {
    let (now, before) = (&course.now, &course.before);
    let rest = 1.0 - starved::gather(history, evidence);
    for name in pool::pools_of(timing, history) {
        // A wait for a connection is part of what the caller sees, not of what the database does.
        let figures = pool::Figures::of(name, history);
        figures.facts(evidence);
        if now.calls >= ENOUGH {
            figures.causes(course.mean_times(), rest, evidence);
        }
    }
    if now.calls < ENOUGH {
        return;
    }
    let share = now.errors as f64 / now.calls as f64;
    if share > 0.01 {
        let then = before.errors as f64 / before.calls.max(1) as f64;
        let text = format!(
            "{} of the calls of {name} fail ({} in the hour before): read the top error.type",
            percent(share),
            percent(then)
        );
        evidence.cause(0.3 + share, text);
    }
    let rate = now.calls as f64 / course.time;
    if let (Some(half), Some(tail)) = (course.times(0.5), course.times(0.99)) {
        let (median, p99) = (now.quantile(0.5).unwrap_or(0.0), now.quantile(0.99).unwrap_or(0.0));
        if half > 1.5 {
            let text = format!(
                "the database is slow: every call is slower, not only the worst (half took {half:.1} times as long, {}): another plan, a cold cache, or a database that is busy with something else",
                seconds(median)
            );
            evidence.cause((0.3 + 0.6 * (1.0 - 1.0 / half)) * rest, text);
        } else if tail > 1.5 {
            let text = format!(
                "only the tail is slower (p99 {tail:.1} times as long, {}; half as before): locks, or a few large parameters",
                seconds(p99)
            );
            evidence.cause((0.2 + 0.5 * (1.0 - 1.0 / tail)) * rest, text);
        }
        let usual = before.calls as f64 / 3_600.0_f64.min(history.at.mono.as_secs_f64().max(1.0));
        if usual > 0.0 && rate > 2.0 * usual && in_flight.is_some_and(|count| count >= 2.0) {
            let text = format!(
                "{:.1} times as many calls a second as in the hour before ({rate:.1}/s)",
                rate / usual
            );
            evidence.cause(0.4 * (1.0 - usual / rate), text);
        }
    }
    if let Some(stall) = memory::waits_for_memory(history).filter(|share| *share > 0.05) {
        let text = format!(
            "tasks waited for memory {} of the last 10 s: nothing is fast then",
            percent(stall)
        );
        evidence.cause(0.4 + stall, text);
    }
}

/// The slowest query in a line, for an alert that is about something else.
pub(super) fn slowest(history: &History, evidence: &mut Evidence) {
    let queries = history.timings.iter().filter(|timing| timing.kind == TimingKind::Query);
    let slowest = queries
        .filter_map(|timing| Some((Course::of(timing, history).now.quantile(0.99)?, timing)))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    if let Some((p99, timing)) = slowest {
        let name = short(&timing.name);
        let text = format!("the slowest query is {name}: p99 {}", seconds(p99));
        evidence.fact("query.p99", name, p99, Unit::SECONDS, text);
    }
}
