//! The exporter against real receivers, with timestamps of our choosing.

use std::time::{Duration, SystemTime};

use super::{
    drain, exporter,
    stack::{Rotel, Victoria},
    step, transition,
};
use crate::{
    clock::Moment,
    event::State,
    export::otlp::{self, Config, Exporter, Step},
    instrument::Measure,
    name::{Labels, Unit},
    registry::{Collector, Registry, Snapshot},
    sync::Arc,
    transport::Lane::{Alerts, Metrics},
};

/// A registry whose snapshots are dated as told, seconds before now.
struct Past {
    now: SystemTime,
    registry: Arc<Registry>,
    collector: Collector,
}

impl Past {
    fn new() -> Self {
        // Whole milliseconds, which is what the receivers keep.
        let millis = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(millis as u64);
        let registry = Arc::new(Registry::new(2_000));
        let start = Moment { mono: Duration::ZERO, wall: now - Duration::from_secs(3_600) };
        let collector = Collector::new(registry.clone(), start);
        Self { now, registry, collector }
    }

    fn snapshot(&mut self, seconds_ago: u64) -> Snapshot {
        let wall = self.now - Duration::from_secs(seconds_ago);
        let at = Moment { mono: Duration::from_secs(3_600 - seconds_ago), wall };
        let mut snapshot = Snapshot::new(at);
        self.collector.collect(at);
        self.collector.snapshot(&mut snapshot);
        snapshot
    }

    fn unix(&self, seconds_ago: u64) -> f64 {
        let at = self.now - Duration::from_secs(seconds_ago);
        at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
    }
}

fn victoria_exporter(victoria: &Victoria) -> Exporter {
    let base = victoria.otlp_base();
    exporter(Config::default().metrics_endpoint(format!("{base}/v1/metrics")))
}

#[test]
fn victoriametrics_reads_back_what_was_recorded() {
    let Some(victoria) = Victoria::start("victoriametrics_reads_back_what_was_recorded") else {
        return;
    };
    let mut past = Past::new();
    let main = Labels::new([("pool", "main")]);
    past.registry.describe("jobs", Unit::parse("{job}").unwrap(), "Jobs.");
    past.registry.counter("jobs", &main).increment(41);
    past.registry.describe("process.memory.usage", Unit::BYTES, "");
    past.registry.observed_up_down("process.memory.usage", &Labels::empty()).set(12345678.0);
    past.registry.describe("highwater.memory.utilization", Unit::ONE, "");
    past.registry.gauge("highwater.memory.utilization", &Labels::empty()).set(0.375);
    let query = Labels::new([("db.query.summary", "orders")]);
    let latency = past.registry.histogram("db.client.operation.duration", Measure::Time, &query);
    let mut values: Vec<f64> = (1..=1_000).map(|n| f64::from(n) * 0.0007).collect();
    values.iter().for_each(|value| latency.record(*value));

    let mut exporter = victoria_exporter(&victoria);
    exporter.intake().metrics(&past.snapshot(5));
    assert_eq!(step(&mut exporter), Step::Tried);
    let report = exporter.health().report();
    assert_eq!((report.lane(Metrics).sent_items, exporter.health().last_error()), (4, None));

    let at = past.unix(5);
    for (promql, expected) in [
        (r#"jobs_total{pool="main", service_name="shop"}"#, 41.0),
        ("process_memory_usage_bytes", 12345678.0),
        ("highwater_memory_utilization_ratio", 0.375),
        (r#"db_client_operation_duration_seconds_count{db_query_summary="orders"}"#, 1_000.0),
        ("db_client_operation_duration_seconds_sum", values.iter().sum()),
    ] {
        let found = victoria.query(promql, at);
        assert_eq!(found.len(), 1, "{promql}: {found:?}");
        let error = (found[0].1 - expected).abs() / expected;
        // Durations are kept in ticks, a fraction of a nanosecond.
        assert!(error < 1e-9, "{promql}: {} instead of {expected}", found[0].1);
    }
    let labels = &victoria.query("jobs_total", at)[0].0;
    for label in ["service.instance.id", "telemetry.sdk.name", "process.pid"] {
        let label = label.replace('.', "_");
        assert!(labels[&label].is_string(), "no {label} in {labels}");
    }

    values.sort_by(f64::total_cmp);
    for q in [0.5, 0.9, 0.99] {
        let promql = format!(
            "histogram_quantile({q}, sum(db_client_operation_duration_seconds_bucket) by (vmrange))"
        );
        let found = victoria.query(&promql, at)[0].1;
        let exact = values[(q * values.len() as f64).ceil() as usize - 1];
        // Ten octaves in 160 buckets: sent at half of our resolution.
        let bucket = 2.0_f64.powf(1.0 / 16.0);
        assert!(
            (exact / bucket..=exact * bucket).contains(&found),
            "quantile {q}: {found}, exactly {exact}"
        );
    }
}

#[test]
fn after_an_outage_the_backlog_is_at_its_own_timestamps_in_victoriametrics() {
    let name = "after_an_outage_the_backlog_is_at_its_own_timestamps_in_victoriametrics";
    let Some(victoria) = Victoria::start(name) else { return };
    let mut past = Past::new();
    let jobs = past.registry.counter("jobs", &Labels::empty());
    let mut exporter = victoria_exporter(&victoria);
    // Ten intervals nobody was there for.
    let ages: Vec<u64> = (1..=10).rev().map(|n| n * 60).collect();
    for age in &ages {
        jobs.increment(1);
        exporter.intake().metrics(&past.snapshot(*age));
    }
    drain(&mut exporter);
    assert_eq!(exporter.health().report().lane(Metrics).sent, 10);
    let expected: Vec<(i64, f64)> = ages
        .iter()
        .zip(1..)
        .map(|(age, total)| ((past.unix(*age) * 1_000.0).round() as i64, f64::from(total)))
        .collect();
    assert_eq!(victoria.samples("jobs_total"), expected);
}

#[cfg(feature = "zstd")]
#[test]
fn victoriametrics_takes_zstd() {
    let Some(victoria) = Victoria::start("victoriametrics_takes_zstd") else { return };
    let mut past = Past::new();
    past.registry.counter("jobs", &Labels::empty()).increment(41);
    let url = format!("{}/v1/metrics", victoria.otlp_base());
    let config = Config::default().metrics_endpoint(url).compression(otlp::Compression::Zstd);
    let mut exporter = exporter(config);
    exporter.intake().metrics(&past.snapshot(5));
    drain(&mut exporter);
    assert_eq!(victoria.query("jobs_total", past.unix(5))[0].1, 41.0);
}

#[test]
fn victoriametrics_takes_explicit_buckets() {
    let name = "victoriametrics_takes_explicit_buckets";
    let Some(victoria) = Victoria::start(name) else { return };
    let mut past = Past::new();
    let latency = past.registry.histogram("latency", Measure::Time, &Labels::empty());
    [0.003, 0.2, 0.3].iter().for_each(|value| latency.record(*value));
    let url = format!("{}/v1/metrics", victoria.otlp_base());
    let config = Config::default().metrics_endpoint(url).explicit_histograms();
    let mut exporter = exporter(config);
    exporter.intake().metrics(&past.snapshot(5));
    drain(&mut exporter);
    for (bound, count) in [("0.005", 1.0), ("0.1", 1.0), ("0.25", 2.0), ("0.5", 3.0), ("+Inf", 3.0)]
    {
        let promql = format!("latency_seconds_bucket{{le={bound:?}}}");
        assert_eq!(victoria.query(&promql, past.unix(5))[0].1, count, "{bound}");
    }
}

#[test]
fn rotel_gets_metrics_and_alerts() {
    let Some(rotel) = Rotel::start("rotel_gets_metrics_and_alerts") else { return };
    let http = otlp::to(rotel.http());
    rotel_gets(&rotel, [http.clone(), http.compression(otlp::Compression::None)]);
}

#[cfg(feature = "zstd")]
#[test]
fn rotel_refuses_zstd_and_victoriametrics_log_records_as_the_documentation_says() {
    let name = "rotel_refuses_zstd_and_victoriametrics_log_records_as_the_documentation_says";
    if let Some(rotel) = Rotel::start(name) {
        let zstd = otlp::to(rotel.http()).compression(otlp::Compression::Zstd);
        let mut exporter = exporter(zstd);
        exporter.intake().metrics(&Past::new().snapshot(1));
        exporter.intake().alerts(&[transition(State::Pending, State::Firing)], SystemTime::now());
        drain(&mut exporter);
        let report = exporter.health().report();
        assert_eq!((report.lane(Alerts).refused, report.lane(Alerts).sent), (1, 0));
        assert!(exporter.health().last_error().unwrap().contains("status 400"));
    }
    if let Some(victoria) = Victoria::start(name) {
        let mut exporter = exporter(otlp::to(victoria.otlp_base()));
        exporter.intake().alerts(&[transition(State::Pending, State::Firing)], SystemTime::now());
        drain(&mut exporter);
        assert_eq!(exporter.health().report().lane(Alerts).refused, 1);
    }
}

#[cfg(feature = "grpc")]
#[test]
fn rotel_gets_metrics_and_alerts_over_grpc() {
    let Some(rotel) = Rotel::start("rotel_gets_metrics_and_alerts_over_grpc") else { return };
    let grpc = otlp::to(rotel.grpc()).protocol(otlp::Protocol::Grpc);
    rotel_gets(&rotel, [grpc.clone(), grpc.compression(otlp::Compression::None)]);
}

fn rotel_gets(rotel: &Rotel, configs: [Config; 2]) {
    let mut past = Past::new();
    past.registry.counter("shop.jobs", &Labels::new([("pool", "main")])).increment(41);
    let latency = past.registry.histogram("shop.latency", Measure::Time, &Labels::empty());
    latency.record(0.25);
    for config in configs {
        let mut exporter = exporter(config);
        exporter.intake().alerts(&[transition(State::Pending, State::Firing)], past.now);
        exporter.intake().metrics(&past.snapshot(1));
        assert_eq!([step(&mut exporter), step(&mut exporter)], [Step::Tried; 2]);
        let report = exporter.health().report();
        assert_eq!((report.lane(Metrics).sent, report.lane(Alerts).sent), (1, 1));
        assert_eq!(exporter.health().last_error(), None);
    }
    let log = rotel.log_with(&["shop.jobs", "shop.latency", "highwater.alert.transition"]);
    for word in ["pool", "main", "87.5% of the memory limit is in use", "MemoryNearLimit", "shop"] {
        assert!(log.contains(word), "{word}:\n{log}");
    }
}
