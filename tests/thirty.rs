//! Rule files that others wrote, and one of thirty alerts: every alert of them fires.
#![cfg(all(feature = "rule-files", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, path::Path, time::Duration};

use highwater::{
    Gauge, Unit,
    alert::State,
    rule::{self, Rule},
    testing::Kit,
};

const TICK: Duration = Duration::from_secs(10);

fn rules(name: &str) -> Vec<Rule> {
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules").join(name);
    rule::file(at).rules().unwrap()
}

fn names(rules: &[Rule]) -> BTreeSet<String> {
    rules.iter().map(|rule| rule.name().to_owned()).collect()
}

/// The alerts that have fired; their texts had data.
fn fired(kit: &mut Kit) -> BTreeSet<String> {
    let steps = kit.take_transitions();
    let fired = steps.iter().filter(|step| step.to == State::Firing);
    fired
        .inspect(|step| {
            let words = format!("{} {} {}", step.summary, step.description, step.annotations);
            assert!(!words.contains("no data") && !words.contains("%!"), "{words}");
        })
        .map(|step| step.rule.name.to_string())
        .collect()
}

/// A service to which everything happens at once: an hour and a half of it.
#[test]
fn every_alert_of_the_thirty_fires() {
    let rules = rules("thirty.yml");
    let all = names(&rules);
    assert_eq!(all.len(), 30);
    let mut kit = Kit::with_tick(rules.clone(), TICK);
    let gauge = |kit: &Kit, name: &str, labels: &[(&str, &str)]| -> Gauge {
        let named = labels.iter().fold(kit.gauge(name), |b, (key, value)| b.label(key, value));
        named.build()
    };
    let set = |kit: &Kit, name: &str, labels: &[(&str, &str)], value: f64| {
        gauge(kit, name, labels).set(value);
    };
    let memory = kit.gauge("process.memory.usage").unit(Unit::BYTES).build();
    let cpu = kit.counter("process.cpu.time").unit(Unit::SECONDS).build();
    set(&kit, "process.unix.file_descriptor.count", &[], 1_000.0);
    set(&kit, "process_thread_count", &[], 600.0);
    set(&kit, "service_is_batch", &[], 0.0);
    set(&kit, "process_uptime_seconds", &[], 100.0);
    let starts = gauge(&kit, "service_starts_total", &[]);
    let wall = kit.gauge("highwater.memory.utilization").unit(Unit::ONE);
    wall.label("highwater.level", "cgroup").build().set(0.95);
    kit.gauge("highwater.memory.time_to_limit").unit(Unit::SECONDS).build().set(600.0);
    set(&kit, "memory_stall_share", &[], 0.6);
    let calls = kit.histogram("db.client.operation.duration").unit(Unit::SECONDS);
    let calls = calls.label("db.query.summary", "orders");
    let (fine, failed) = (calls.clone().build(), calls.label("error.type", "timeout").build());
    set(&kit, "db_pool_connections", &[("pool", "p"), ("state", "used")], 99.0);
    set(&kit, "db_pool_limit", &[("pool", "p"), ("owner", "o")], 100.0);
    let waits = kit.counter("db_pool_wait_seconds_total").build();
    let gets = kit.counter("db_pool_gets_total").label("kind", "x").build();
    let requests = kit.counter("http_requests_total").label("code", "500").label("route", "/a");
    let requests = requests.build();
    set(&kit, "service_start_time_seconds", &[], 1.6e9);
    set(&kit, "http_last_duration_seconds", &[("route", "/a"), ("host", "1")], 5.0);
    set(&kit, "http_last_duration_seconds", &[("route", "/a"), ("host", "2")], 1.0);
    set(&kit, "http_requests_in_flight", &[], 150.0);
    set(&kit, "jobs_waiting", &[("queue", "mail"), ("shard", "1")], 2_000.0);
    let failures = kit.counter("jobs_failed_total").build();
    set(&kit, "job_last_success_timestamp_seconds", &[], 1.6e9);
    let job = gauge(&kit, "job_state", &[]);
    let ticks = 540;
    for tick in 0..ticks {
        let even = tick / 6 % 2 == 0;
        memory.set(1e9 + 2e7 * f64::from(tick));
        cpu.increment(30);
        starts.set(if even { 5.0 } else { 1.0 });
        job.set(f64::from(u8::from(even)));
        // A storm of the last two minutes.
        let often = if tick > ticks - 12 { 11_000 } else { 50 };
        for _ in 0..often {
            failed.record(0.5);
        }
        fine.record(0.5);
        waits.increment(1);
        gets.increment(10);
        failures.increment(1);
        if tick % 12 == 0 {
            requests.increment(1);
        }
        kit.run(TICK);
    }
    let mut seen = fired(&mut kit);
    for rule in &all {
        assert_eq!(kit.error(rule), None, "{rule}");
    }
    // And one that is all gone.
    let mut gone = Kit::with_tick(rules, TICK);
    gone.run(Duration::from_secs(300));
    seen.extend(fired(&mut gone));
    let silent: Vec<_> = all.difference(&seen).collect();
    assert!(silent.is_empty(), "never fired: {silent:?}");
}

#[test]
fn every_alert_of_prometheus_examples_fires() {
    let rules = rules("documented.yml");
    let all = names(&rules);
    let mut kit = Kit::with_tick(rules, TICK);
    kit.gauge("up").label("instance", "a:1").label("job", "myjob").build().set(0.0);
    let median = kit.gauge("api_http_request_latencies_second").label("quantile", "0.5");
    median.build().set(2.0);
    let latency = kit.histogram("request_latency").unit(Unit::SECONDS);
    let latency = latency.label("job", "myjob").build();
    for _ in 0..80 {
        latency.record(1.0);
        kit.run(TICK);
    }
    assert_eq!(fired(&mut kit), all);
}
