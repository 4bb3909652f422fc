//! Who holds a pool's connections, and why they do not come back.

use super::{Course, percent, seconds};
use crate::{
    event::{Evidence, short},
    history::{History, Line, TimingKind},
    name::Unit,
    semconv as s,
};

const CONNECTIONS: Unit = Unit::known("{connection}");

pub(super) fn gather(pool: &str, history: &History, evidence: &mut Evidence) {
    let key = s::DB_CLIENT_CONNECTION_POOL_NAME;
    let name = short(pool);
    let of = |metric: &str| history.line(metric, key, pool).and_then(Line::now);
    let state = |state: &str| {
        history
            .lines_of(s::DB_CLIENT_CONNECTION_COUNT)
            .find(|line| {
                line.label(key) == pool && line.label(s::DB_CLIENT_CONNECTION_STATE) == state
            })
            .and_then(Line::now)
    };
    let (used, max) = (state("used"), of(s::DB_CLIENT_CONNECTION_MAX));
    let pending = of(s::DB_CLIENT_CONNECTION_PENDING_REQUESTS);
    if let Some((used, max)) = used.zip(max) {
        let text = format!("{used} of {max} connections of {name} are in use");
        evidence.fact("pool.used", name, used, CONNECTIONS, text);
    }
    if let Some(waiting) = pending {
        let text = format!("{waiting} callers wait for one");
        evidence.fact("pool.pending", name, waiting, Unit::known("{request}"), text);
    }
    let timing = |kind| {
        let found = history.timings.iter().find(|t| t.kind == kind && &*t.name == pool);
        found.map(|timing| Course::of(timing, history))
    };
    if let Some(wait) = timing(TimingKind::PoolWait).and_then(|wait| wait.now.quantile(0.95)) {
        let text = format!("95% of the waits ended within {}", seconds(wait));
        evidence.fact("pool.wait", name, wait, Unit::SECONDS, text);
    }
    let full = used.zip(max).is_some_and(|(used, max)| max > 0.0 && used >= max);
    match timing(TimingKind::PoolUse) {
        Some(held) if held.now.calls > 0 => {
            let p95 = held.now.quantile(0.95).unwrap_or_default();
            let text = format!("a connection is held up to {} (p95)", seconds(p95));
            evidence.fact("pool.use", name, p95, Unit::SECONDS, text);
            match held.times(0.95) {
                Some(times) if times > 1.3 => {
                    let text = format!(
                        "connections of {name} are held {times:.1} times as long as in the hour before ({}): slow queries, or work done while holding one",
                        seconds(p95)
                    );
                    evidence.cause(0.4 + 0.6 * (1.0 - 1.0 / times), text);
                }
                Some(_) => {
                    let text = format!(
                        "connections of {name} are held no longer than before ({}): there is more demand than {} can serve",
                        seconds(p95),
                        max.unwrap_or_default()
                    );
                    evidence.cause(0.6, text);
                }
                None => {}
            }
        }
        // Nothing came back in a minute.
        Some(_) | None if full => {
            let text = format!(
                "all connections of {name} are in use and none came back in the last minute: a leak, or callers stuck in a call"
            );
            evidence.cause(0.7, text);
        }
        _ => {}
    }
    holders(history, used, evidence);
}

/// Queries under way are who holds connections.
fn holders(history: &History, used: Option<f64>, evidence: &mut Evidence) {
    let mut flying: Vec<_> = history
        .lines_of(s::QUERY_IN_FLIGHT)
        .filter_map(|line| Some((line.label(s::DB_QUERY_SUMMARY), line.now()?)))
        .filter(|(_, count)| *count > 0.0)
        .collect();
    flying.sort_by(|a, b| b.1.total_cmp(&a.1));
    let all: f64 = flying.iter().map(|(_, count)| count).sum();
    for (at, (query, count)) in flying.iter().take(5).enumerate() {
        let name = short(query);
        let text = format!("{count} calls of {name} are under way");
        evidence.fact("query.in_flight", name, *count, Unit::known("{call}"), text);
        if at == 0 && *count >= 2.0 {
            let share = count / all.max(used.unwrap_or(0.0)).max(1.0);
            let text = format!(
                "{name} has {count} of the {all} calls under way ({}): it holds most connections",
                percent(count / all)
            );
            evidence.cause(0.3 + 0.5 * share.min(1.0), text);
        }
    }
}
