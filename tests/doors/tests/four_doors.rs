//! The same service out of four doors, changing only the builder: pushed over OTLP, through an
//! application's own OpenTelemetry SDK and exporter, scraped by Prometheus, its alerts sent to
//! Alertmanager. What arrives is the same. `tests/stack/fetch.sh` fetches the servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/prometheus.rs"]
mod prometheus;
#[path = "../../support/receiver.rs"]
mod receiver;
#[path = "../../support/alertmanager.rs"]
mod server;
#[path = "../../support/stack.rs"]
mod stack;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use highwater::{
    Builder, Highwater, Unit,
    export::{self, alertmanager, otlp, prometheus::CONTENT_TYPE},
    rule,
};
use highwater_doors::Blocking;
use opentelemetry_otlp::{LogExporter, MetricExporter, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    logs::SdkLoggerProvider,
    metrics::{PeriodicReader, SdkMeterProvider},
};
use prometheus::{Prometheus, Route};
use receiver::{Reaction, Receiver};
use serde_json::Value;
use server::Alertmanager;
use stack::{Rotel, Victoria};

/// The service: what it does knows nothing of where it goes.
fn service(builder: Builder) -> Highwater {
    let hw = builder
        .tick(Duration::from_millis(100))
        .resource("service.instance.id", "shop-1")
        .without_presets()
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)).summary("{{ value }} deep"))
        .start()
        .unwrap();
    hw.counter("jobs.done")
        .unit(Unit::parse("{job}").unwrap())
        .label("queue.name", "mail")
        .build()
        .increment(42);
    hw.up_down_counter("open").build().add(-3);
    hw.gauge("depth").build().set(7.0);
    let sizes = hw.histogram("payload.size").unit(Unit::BYTES).build();
    (1..=1_000).for_each(|n| sizes.record(f64::from(n) * 10.0));
    let orders = hw.query("orders").system("sqlite").build();
    (1..=400).for_each(|n| orders.record(Duration::from_micros(n * 300)));
    let watch = hw.alert("Deep").unwrap();
    while !watch.is_firing() {
        std::thread::yield_now();
    }
    // The alert's own series are collected a tick later.
    stack::eventually("the alert as a series", || {
        hw.render_prometheus().contains("highwater_alert_state{alertname=\"Deep\"").then_some(())
    });
    hw
}

/// What is compared, and what it is everywhere.
const VALUES: [(&str, f64); 6] = [
    (r#"jobs_done_total{queue_name="mail"}"#, 42.0),
    ("open", -3.0),
    ("depth", 7.0),
    ("payload_size_bytes_count", 1_000.0),
    ("payload_size_bytes_sum", 5_005_000.0),
    (r#"highwater_alert_state{alertname="Deep"}"#, 4.0),
];

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Of what is in `VALUES`, by query.
type Seen = BTreeMap<&'static str, f64>;

fn in_victoria(victoria: &Victoria, job: &str) -> Seen {
    let value = |promql: &'static str| {
        let of_job = match promql.split_once('{') {
            Some((name, rest)) => format!("{name}{{service_name=\"{job}\",{rest}"),
            None => format!("{promql}{{service_name=\"{job}\"}}"),
        };
        let value = stack::eventually(&of_job, || victoria.query(&of_job, now()).pop());
        (promql, value.1)
    };
    VALUES.iter().map(|(promql, _)| value(promql)).collect()
}

/// What is compared of histograms, with the values recorded.
fn histograms() -> [(&'static str, Vec<f64>); 2] {
    [
        ("payload_size_bytes_bucket", (1..=1_000).map(|n| f64::from(n) * 10.0).collect()),
        (
            "db_client_operation_duration_seconds_bucket",
            (1..=400).map(|n| f64::from(n) * 3e-4).collect(),
        ),
    ]
}

/// Bounds and cumulated counts of a histogram's buckets.
fn buckets(found: Vec<(Value, f64)>) -> Vec<(f64, f64)> {
    let bound = |of: &Value| of["le"].as_str().unwrap().parse::<f64>().unwrap();
    let mut buckets: Vec<_> = found.iter().map(|(of, count)| (bound(of), *count)).collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    buckets
}

/// Name, severity, body and attributes of a log record.
type Step = (String, i32, String, BTreeMap<String, String>);

/// An alert's steps as log records say them, but for what is of the moment.
fn steps(logs: &Receiver) -> Vec<Step> {
    let of_the_moment = ["log.record.uid", "started_at", "duration", "evidence", "causes"];
    let requests: Vec<_> = logs.received().iter().map(receiver::Received::logs).collect();
    let resources = requests.into_iter().flat_map(|request| request.resource_logs);
    let scopes = resources.flat_map(|resource| resource.scope_logs);
    let records =
        scopes.filter(|scope| scope.scope.as_ref().is_some_and(|s| s.name == "highwater"));
    records
        .flat_map(|scope| scope.log_records)
        .map(|record| {
            let lasting = record
                .attributes
                .iter()
                .filter(|pair| !of_the_moment.iter().any(|end| pair.key.ends_with(end)))
                .map(|pair| (pair.key.clone(), format!("{:?}", pair.value)))
                .collect();
            let body = format!("{:?}", record.body);
            (record.event_name, record.severity_number, body, lasting)
        })
        .collect()
}

#[test]
fn one_service_four_doors_the_same_values() {
    let test = "one_service_four_doors_the_same_values";
    let Some(victoria) = Victoria::start(test) else { return };
    let metrics = format!("{}/v1/metrics", victoria.otlp_base());

    // Our own way.
    let logs = Receiver::always(Reaction::ok());
    let to = otlp::from_env()
        .metrics_endpoint(&metrics)
        .logs_endpoint(format!("{}/v1/logs", logs.url()))
        .explicit_histograms()
        .interval(Duration::from_secs(1));
    let hw = service(Highwater::builder("pushed").export(to));
    stack::eventually("our own push of all", || {
        let alert = r#"highwater_alert_state{service_name="pushed",alertname="Deep"} == 4"#;
        victoria.query(alert, now()).pop()
    });
    // Before the shutdown, which ends the alert.
    let pushed = in_victoria(&victoria, "pushed");
    let of_job = |job: &str| {
        histograms().map(|(name, _)| {
            let selector = format!("{name}{{service_name=\"{job}\"}}");
            buckets(stack::eventually(&selector, || {
                Some(victoria.query(&selector, now())).filter(|found| found.len() > 5)
            }))
        })
    };
    let pushed_buckets = of_job("pushed");
    hw.shutdown(Duration::from_secs(20)).unwrap();
    let pushed_steps = steps(&logs);

    // The application's own SDK and exporter.
    let exporter = MetricExporter::builder()
        .with_http()
        .with_http_client(Blocking)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&metrics)
        .build()
        .unwrap();
    let meters = SdkMeterProvider::builder()
        .with_resource(Resource::builder_empty().with_service_name("bridged").build())
        .with_reader(PeriodicReader::builder(exporter).build())
        .build();
    let logs = Receiver::always(Reaction::ok());
    let Some(rotel) = Rotel::start(test) else { return };
    let exporter = |url: String| {
        LogExporter::builder()
            .with_http()
            .with_http_client(Blocking)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{url}/v1/logs"))
            .build()
            .unwrap()
    };
    let loggers = SdkLoggerProvider::builder()
        .with_batch_exporter(exporter(logs.url()))
        .with_batch_exporter(exporter(rotel.http()))
        .build();
    let hw = service(Highwater::builder("bridged").export(export::sdk(&meters, &loggers)));
    stack::eventually("the SDK to know all", || {
        meters.force_flush().unwrap();
        let alert = r#"highwater_alert_state{service_name="bridged",alertname="Deep"} == 4"#;
        victoria.query(alert, now()).pop()
    });
    let bridged = in_victoria(&victoria, "bridged");
    let bridged_buckets = of_job("bridged");
    hw.shutdown(Duration::from_secs(20)).unwrap();
    meters.shutdown().unwrap();
    loggers.shutdown().unwrap();
    let bridged_steps = steps(&logs);
    rotel.log_with(&["highwater.alert.transition", "7 deep", "resolve_reason"]);

    // Scraped, and its alerts sent to Alertmanager.
    let Some(alertmanager) = Alertmanager::start(test, None) else { return };
    let hw = service(Highwater::builder("scraped").sink(alertmanager::to([alertmanager.url()])));
    let page = hw.clone();
    let route = Route::serve(CONTENT_TYPE, move || page.render_prometheus());
    let Some(prometheus) = Prometheus::start(test, route.address) else { return };
    let scraped: Seen =
        VALUES.iter().map(|(promql, _)| (*promql, prometheus.one(promql))).collect();
    let scraped_buckets = histograms().map(|(name, _)| buckets(prometheus.query(name)));
    let alerts = stack::eventually("the alert", || {
        Some(alertmanager.alerts()).filter(|alerts| !alerts.is_empty())
    });
    hw.shutdown(Duration::from_secs(20)).unwrap();

    assert_eq!(pushed, VALUES.into_iter().collect::<Seen>());
    // Added up value by value, so to the last digits.
    for (promql, value) in &bridged {
        let error = (value - pushed[promql]).abs() / pushed[promql].abs();
        assert!(error <= 1e-14, "{promql}: {value}, not {}", pushed[promql]);
    }
    assert_eq!(pushed, scraped);

    // Buckets: from our own hand the same; told one by one, within one of ours of a bound.
    assert_eq!(pushed_buckets, scraped_buckets);
    let ours = 2.0_f64.powf(1.0 / 32.0);
    for (at, (name, values)) in histograms().iter().enumerate() {
        assert_eq!(bridged_buckets[at].len(), pushed_buckets[at].len(), "{name}");
        for (bridged, pushed) in bridged_buckets[at].iter().zip(&pushed_buckets[at]) {
            let near = |value: &&f64| pushed.0 / ours < **value && **value < pushed.0 * ours;
            let may_differ = values.iter().filter(near).count() as f64;
            assert_eq!(bridged.0, pushed.0, "{name}");
            assert!((bridged.1 - pushed.1).abs() <= may_differ, "{name}: {bridged:?}, {pushed:?}");
        }
    }

    // The alert's steps, in the logs of both.
    assert_eq!(pushed_steps, bridged_steps);
    assert_eq!(pushed_steps.len(), 2, "{pushed_steps:?}");
    assert!(pushed_steps[0].2.contains("7 deep"), "{pushed_steps:?}");

    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let labels = &alerts[0]["labels"];
    assert_eq!((&labels["alertname"], &labels["severity"]), (&"Deep".into(), &"warning".into()));
    assert_eq!((&labels["job"], &labels["instance"]), (&"scraped".into(), &"shop-1".into()));
    assert_eq!(alerts[0]["annotations"]["summary"], "7 deep");
}
