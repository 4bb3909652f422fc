//! The exported rules on a Prometheus server that scrapes, and the same rules in the process: over
//! a scripted incident both find the same states, tick by tick, within what a scrape and an
//! evaluation take. `tests/stack/fetch.sh` fetches the server.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/prometheus.rs"]
mod prometheus;
#[path = "support/stack.rs"]
mod stack;

use std::{
    thread,
    time::{Duration, SystemTime},
};

use highwater::{
    Highwater,
    export::prometheus::CONTENT_TYPE,
    rule::{self, ExportStyle, Histograms, Inequality, Rule},
};
use prometheus::{Prometheus, Route, Setup};

/// Through every face of a rule: builder and PromQL, gauges, counters and histograms, with a hold,
/// a clear threshold and a time it is kept firing for.
fn rules() -> Vec<Rule> {
    let seconds = Duration::from_secs;
    let slow = r#"sum(rate(db_client_operation_duration_seconds_bucket{le="0.5"}[2s])) / sum(rate(db_client_operation_duration_seconds_count[2s])) < 0.5"#;
    vec![
        rule::alert("Deep")
            .when(rule::gauge("depth").above(2.0).clear_below(1.0))
            .hold_for(seconds(1)),
        rule::alert("DeepOfLate").when(rule::gauge("depth").above(5.0)).keep_firing_for(seconds(2)),
        rule::alert("Failing").when(rule::promql("rate(jobs_failed_total[2s]) > 5")),
        rule::alert("Slow").when(rule::promql(slow)).hold_for(seconds(1)),
        rule::alert("SlowMostly").when(
            rule::query("orders").quantile(0.5).over(seconds(2)).above(Duration::from_millis(400)),
        ),
    ]
}

const STEP: Duration = Duration::from_millis(100);
/// A machine that is too busy to scrape as often as it is told marks series as gone in between:
/// then the incident is played again.
const TRIES: usize = 6;

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
    let query = [("query", promql), ("start", &from), ("end", &to), ("step", "0.1")];
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

/// When the samples of a series were taken, in the time before now.
fn times(prometheus: &Prometheus, selector: &str, back: f64) -> Vec<f64> {
    let promql = format!("{selector}[{}ms]", (back * 1_000.0) as u64);
    let answer = prometheus.get("/api/v1/query", &[("query", &promql)]).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let found = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let pairs = found.iter().flat_map(|series| series["values"].as_array().unwrap());
    pairs.map(|pair| pair[0].as_f64().unwrap()).collect()
}

fn longest_gap(times: &[f64]) -> f64 {
    times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
}

#[test]
fn server_and_process_find_the_same_states() {
    let undisturbed = (0..TRIES).any(|_| played());
    assert!(undisturbed, "the machine was too busy, {TRIES} times");
}

/// Whether every scrape came in time; without the server, nothing is played.
fn played() -> bool {
    let builder = Highwater::builder("shop").tick(Duration::from_millis(100)).without_presets();
    let hw = rules().into_iter().fold(builder, |all, rule| all.rule(rule)).start().unwrap();
    let page = hw.clone();
    let route = Route::serve(CONTENT_TYPE, move || page.render_prometheus());
    let (depth, failed) = (hw.gauge("depth").build(), hw.counter("jobs.failed").build());
    let orders = hw.query("orders").build();
    depth.set(0.0);
    failed.increment(0);
    orders.record(Duration::from_millis(10));
    let exported = hw.export_rules(&ExportStyle::new().histograms(Histograms::Classic));
    let approximated =
        |rule: &str, of| exported.approximations.iter().any(|one| one.rule == rule && one.of == of);
    assert!(approximated("Deep", Inequality::ClearThreshold), "{:?}", exported.approximations);
    // So that it is known when the server evaluates.
    let file = format!(
        "{}  - name: pulse\n    rules: [{{record: evaluated, expr: vector(1)}}]\n",
        exported.yaml
    );
    let setup = Setup { rules: &file, scrape: "300ms", evaluation: "100ms", ..Setup::default() };
    let test = "server_and_process_find_the_same_states";
    let Some(prometheus) = Prometheus::start_as(test, route.address, setup) else { return true };
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
    let lasted = now() - start;
    let steps = (lasted / STEP.as_secs_f64()) as usize;
    let (up, scrapes) =
        (prometheus.one("min_over_time(up[12s])"), times(&prometheus, "up", lasted));
    let evaluations = times(&prometheus, "evaluated", lasted);
    let (scrape, evaluation) = (longest_gap(&scrapes), longest_gap(&evaluations));
    eprintln!(
        "{scrape:.3} s from scrape to scrape, {evaluation:.3} s from evaluation to evaluation"
    );
    // Two scrapes or four evaluations in a row that did not come, or a script that stood still.
    if up != 1.0 || scrape > 0.7 || evaluation > 0.5 || lasted > 13.0 {
        return false;
    }
    // The server knows of a value a scrape and an evaluation after it was set, counts a hold from
    // there on and in whole evaluations; ours of a tick before is on the page of the next scrape.
    let lag = scrape + 2.0 * evaluation + 0.1;
    let lag = (lag / STEP.as_secs_f64()).ceil() as usize;
    for rule in rules() {
        let name = rule.name();
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
            let near = &ours[at.saturating_sub(lag)..(at + lag + 1).min(steps)];
            assert!(
                near.contains(state),
                "{name}, step {at}, {lag} off: {state:?}\n{ours:?}\n{theirs:?}"
            );
        }
    }
    hw.shutdown(Duration::from_secs(5)).unwrap();
    true
}
