//! The same rules, judged in the process and by a Prometheus server that scrapes it: over a
//! scripted incident both find the same states, one after the other, within a second.
//! `tests/stack/fetch.sh` fetches the server.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/prometheus.rs"]
mod prometheus;
#[path = "support/stack.rs"]
mod stack;

use std::{
    fmt::Write,
    thread,
    time::{Duration, SystemTime},
};

use highwater::{Highwater, export::prometheus::CONTENT_TYPE, rule};
use prometheus::{Prometheus, Route};

/// Name, condition, how long it has to hold.
const RULES: [(&str, &str, u64); 3] = [
    ("Deep", "depth > 2", 1),
    ("Failing", "rate(jobs_failed_total[2s]) > 5", 0),
    (
        "Slow",
        r#"sum(rate(db_client_operation_duration_seconds_bucket{le="0.5"}[2s])) / sum(rate(db_client_operation_duration_seconds_count[2s])) < 0.5"#,
        1,
    ),
];

const STEP: Duration = Duration::from_millis(200);
/// A scrape, an evaluation and a tick may lie between the two.
const LAG: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Inactive,
    Pending,
    Firing,
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The values of the only series of a query, by step; `None` where there is none.
fn by_step(prometheus: &Prometheus, promql: &str, start: f64, steps: usize) -> Vec<Option<f64>> {
    let end = start + STEP.as_secs_f64() * (steps - 1) as f64;
    let (from, to) = (start.to_string(), end.to_string());
    let query = [("query", promql), ("start", &from), ("end", &to), ("step", "0.2")];
    let answer = prometheus.get("/api/v1/query_range", &query).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let found = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
    assert!(found.len() <= 1, "{promql}: {found:?}");
    let mut values = vec![None; steps];
    for pair in found.iter().flat_map(|series| series["values"].as_array().unwrap()) {
        let at = (pair[0].as_f64().unwrap() - start) / STEP.as_secs_f64();
        values[at.round() as usize] = pair[1].as_str().unwrap().parse().ok();
    }
    values
}

fn changes(states: &[State]) -> Vec<State> {
    let mut changes = states.to_vec();
    changes.dedup();
    changes
}

#[test]
fn server_and_process_find_the_same_states() {
    let mut builder = Highwater::builder("shop").tick(Duration::from_millis(100)).without_presets();
    let mut file = "groups:\n- name: shop\n  interval: 200ms\n  rules:\n".to_owned();
    for (name, condition, hold) in RULES {
        let rule = rule::alert(name).when(rule::promql(condition));
        builder = builder.rule(rule.hold_for(Duration::from_secs(hold)));
        _ = writeln!(file, "  - {{alert: {name}, expr: '{condition}', for: {hold}s}}");
    }
    let hw = builder.start().unwrap();
    let page = hw.clone();
    let route = Route::serve(CONTENT_TYPE, move || page.render_prometheus());
    let (depth, failed) = (hw.gauge("depth").build(), hw.counter("jobs.failed").build());
    let orders = hw.query("orders").build();
    depth.set(0.0);
    failed.increment(0);
    let test = "server_and_process_find_the_same_states";
    let Some(prometheus) = Prometheus::start(test, route.address, Some(&file)) else { return };
    stack::eventually("the first scrape", || prometheus.query("depth").pop());

    // Twelve seconds, in tenths.
    let start = now();
    for tenth in 0..120 {
        depth.set(if (20..50).contains(&tenth) { 7.0 } else { 0.0 });
        if (30..60).contains(&tenth) {
            failed.increment(2);
        }
        let took = if (40..70).contains(&tenth) { 900 } else { 10 };
        (0..5).for_each(|_| orders.record(Duration::from_millis(took)));
        thread::sleep(Duration::from_millis(100));
    }
    let steps = ((now() - start) / STEP.as_secs_f64()) as usize - LAG;
    for (name, ..) in RULES {
        let ours = format!("highwater_alert_state{{alertname=\"{name}\"}}");
        let ours: Vec<_> = by_step(&prometheus, &ours, start, steps)
            .into_iter()
            .map(|state| match state {
                Some(3.0) => State::Pending,
                Some(4.0) => State::Firing,
                _ => State::Inactive,
            })
            .collect();
        let theirs = |state: &str| {
            let alerts = format!("ALERTS{{alertname=\"{name}\",alertstate=\"{state}\"}}");
            by_step(&prometheus, &alerts, start, steps)
        };
        let theirs: Vec<_> = theirs("pending")
            .into_iter()
            .zip(theirs("firing"))
            .map(|(pending, firing)| match (pending, firing) {
                (_, Some(_)) => State::Firing,
                (Some(_), None) => State::Pending,
                (None, None) => State::Inactive,
            })
            .collect();
        assert!(ours.contains(&State::Firing), "{name} never fired: {ours:?}");
        assert_eq!(changes(&ours), changes(&theirs), "{name}\n{ours:?}\n{theirs:?}");
        for (at, state) in theirs.iter().enumerate() {
            let near = &ours[at.saturating_sub(LAG)..(at + LAG + 1).min(steps)];
            assert!(near.contains(state), "{name}, step {at}: {state:?}\n{ours:?}\n{theirs:?}");
        }
    }
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
