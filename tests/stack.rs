//! What a service records is what real servers give back: VictoriaMetrics by query, rotel by its
//! log. `tests/stack/fetch.sh` fetches both; without them this says aloud what it skips.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/stack.rs"]
mod stack;

use std::time::{Duration, SystemTime};

use highwater::{Highwater, Unit, export::otlp, rule};
use stack::{Rotel, Victoria};

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

fn builder(to: otlp::Config) -> highwater::Builder {
    let deep =
        rule::alert("Deep").when(rule::gauge("depth").above(2.0)).summary("{{ value }} deep");
    Highwater::builder("shop")
        .resource("deployment.environment.name", "test")
        .tick(Duration::from_millis(100))
        .rule(deep)
        .export(to.interval(Duration::from_secs(1)))
}

#[test]
fn victoriametrics_gives_back_what_was_recorded() {
    let Some(victoria) = Victoria::start("victoriametrics_gives_back_what_was_recorded") else {
        return;
    };
    let to = otlp::from_env().metrics_endpoint(format!("{}/v1/metrics", victoria.otlp_base()));
    let hw = builder(to).start().unwrap();
    hw.counter("jobs.done")
        .unit(Unit::parse("{job}").unwrap())
        .label("queue", "mail")
        .build()
        .increment(42);
    hw.gauge("depth").build().set(7.0);
    let sizes = hw.histogram("payload.size").unit(Unit::BYTES).build();
    let mut values: Vec<f64> = (100..=2_000).map(|n| f64::from(n) * 10.0).collect();
    // Less than five octaves: 160 buckets hold them at full resolution.
    values.iter().for_each(|value| sizes.record(*value));
    let orders = hw.query("orders").system("sqlite").build();
    (0..10).for_each(|_| orders.time(|| ()));
    _ = orders.try_time(|| "x".parse::<u8>());
    let watch = hw.alert("Deep").unwrap();
    while !watch.is_firing() {
        std::thread::yield_now();
    }
    // The alert's own series are written a tick later.
    let fired = now();
    stack::eventually("the alert as a series", || {
        let alert = r#"highwater_alert_state{alertname="Deep"} == 4"#;
        victoria.query(alert, now()).pop()
    });
    hw.shutdown(Duration::from_secs(20)).unwrap();

    for (promql, expected) in [
        (r#"jobs_done_total{queue="mail"}"#, 42.0),
        ("depth", 7.0),
        ("payload_size_bytes_count", 1_901.0),
        ("payload_size_bytes_sum", values.iter().sum()),
        (
            r#"db_client_operation_duration_seconds_count{db_query_summary="orders",error_type=""}"#,
            10.0,
        ),
        (
            r#"db_client_operation_duration_seconds_count{error_type="core::num::error::ParseIntError"}"#,
            1.0,
        ),
    ] {
        let found = victoria.query(promql, now());
        assert_eq!(found.len(), 1, "{promql}: {found:?}");
        let (labels, value) = &found[0];
        assert!((value - expected).abs() <= expected * 1e-12, "{promql}: {value}, not {expected}");
        assert_eq!(labels["service_name"], "shop");
        assert_eq!(labels["deployment_environment_name"], "test");
        assert!(labels["service_instance_id"].is_string(), "{labels}");
    }
    // What the three lines alone would push.
    for series in [
        "process_memory_usage_bytes",
        "process_cpu_time_seconds_total",
        "system_memory_usage_bytes",
        "highwater_memory_utilization_ratio",
    ] {
        let found = victoria.query(series, now());
        assert!(found.iter().all(|(_, value)| *value >= 0.0) && !found.is_empty(), "{series}");
    }
    assert!(victoria.query("process_memory_usage_bytes", now())[0].1 > 1e6);

    values.sort_by(f64::total_cmp);
    for q in [0.5, 0.9, 0.99] {
        let promql =
            format!("histogram_quantile({q}, sum(payload_size_bytes_bucket) by (vmrange))");
        let found = victoria.query(&promql, now())[0].1;
        let exact = values[(q * values.len() as f64).ceil() as usize - 1];
        let bucket = 2.0_f64.powf(1.0 / 32.0);
        let range = exact / bucket..=exact * bucket;
        assert!(range.contains(&found), "quantile {q}: {found}, exactly {exact}");
    }
    assert!(fired < now());
}

#[test]
fn rotel_gets_metrics_and_the_alerts_life() {
    let Some(rotel) = Rotel::start("rotel_gets_metrics_and_the_alerts_life") else { return };
    let hw = builder(otlp::to(rotel.http())).start().unwrap();
    hw.counter("jobs.done").label("queue", "mail").build().increment(42);
    let depth = hw.gauge("depth").build();
    depth.set(7.0);
    let watch = hw.alert("Deep").unwrap();
    while !watch.is_firing() {
        std::thread::yield_now();
    }
    depth.set(0.0);
    while watch.is_firing() {
        std::thread::yield_now();
    }
    hw.shutdown(Duration::from_secs(20)).unwrap();
    rotel.log_with(&[
        "jobs.done",
        "queue",
        "process.memory.usage",
        "highwater.alert.transition",
        "Deep",
        "7 deep",
        "firing",
        "cleared",
        "deployment.environment.name",
    ]);
}
