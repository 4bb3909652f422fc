//! Metrics and alerts through an application's own OpenTelemetry SDK, as its exporter has them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use highwater::{Builder, Highwater, Unit, export, rule};
use opentelemetry::logs::AnyValue;
use opentelemetry_sdk::{
    logs::{InMemoryLogExporter, SdkLoggerProvider},
    metrics::{
        Aggregation, InMemoryMetricExporter, Instrument, PeriodicReader, SdkMeterProvider, Stream,
        data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics},
    },
};

struct Pipeline {
    meters: SdkMeterProvider,
    loggers: SdkLoggerProvider,
    metrics: InMemoryMetricExporter,
    logs: InMemoryLogExporter,
}

impl Pipeline {
    fn new() -> Self {
        let (metrics, logs) = (InMemoryMetricExporter::default(), InMemoryLogExporter::default());
        let reader = PeriodicReader::builder(metrics.clone())
            .with_interval(Duration::from_secs(3_600))
            .build();
        let view = |instrument: &Instrument| {
            let aggregation = match instrument.name() {
                "base2" => Aggregation::Base2ExponentialHistogram {
                    max_size: 160,
                    max_scale: 3,
                    record_min_max: true,
                },
                "explicit" => Aggregation::ExplicitBucketHistogram {
                    boundaries: vec![0.1, 1.0, 10.0],
                    record_min_max: true,
                },
                _ => return None,
            };
            Stream::builder().with_aggregation(aggregation).build().ok()
        };
        Self {
            meters: SdkMeterProvider::builder().with_reader(reader).with_view(view).build(),
            loggers: SdkLoggerProvider::builder().with_simple_exporter(logs.clone()).build(),
            metrics,
            logs,
        }
    }

    fn builder(&self) -> Builder {
        Highwater::builder("shop")
            .tick(Duration::from_millis(100))
            .without_presets()
            .export(export::sdk(&self.meters, &self.loggers))
            .rule(
                rule::alert("Deep")
                    .when(rule::gauge("depth").above(2.0))
                    .summary("{{ value }} deep"),
            )
    }

    /// All metrics of one collection.
    fn collect(&self) -> Vec<ResourceMetrics> {
        self.metrics.reset();
        self.meters.force_flush().unwrap();
        self.metrics.get_finished_metrics().unwrap()
    }
}

fn find<'a>(collected: &'a [ResourceMetrics], name: &str) -> Option<&'a Metric> {
    let scopes = collected.iter().flat_map(ResourceMetrics::scope_metrics);
    scopes.flat_map(|scope| scope.metrics()).find(|metric| metric.name() == name)
}

fn named<'a>(collected: &'a [ResourceMetrics], name: &str) -> &'a Metric {
    find(collected, name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn sums_gauges_histograms_and_alerts_arrive() {
    let pipeline = Pipeline::new();
    let hw = pipeline.builder().bounds("declared", [0.3]).start().unwrap();
    hw.histogram("declared").unit(Unit::SECONDS).build().record(0.2);
    hw.counter("jobs")
        .unit(Unit::parse("{job}").unwrap())
        .help("Done.")
        .label("queue", "mail")
        .build()
        .increment(42);
    hw.up_down_counter("open").build().add(-3);
    let depth = hw.gauge("depth").build();
    depth.set(7.0);
    let mut values: Vec<f64> = (1..=2_000).map(|n| f64::from(n) * 0.0071).collect();
    values.extend([0.1, 1.0, 10.0, 0.0]);
    let (base2, explicit) = (hw.histogram("base2").build(), hw.histogram("explicit").build());
    hw.query("orders").system("sqlite").build().record(Duration::from_millis(7));
    // In several ticks, so that what was said before counts.
    for part in values.chunks(300) {
        part.iter().for_each(|value| {
            base2.record(*value);
            explicit.record(*value);
        });
        std::thread::sleep(Duration::from_millis(150));
    }
    let watch = hw.alert("Deep").unwrap();
    while !watch.is_firing() {
        std::thread::yield_now();
    }
    hw.shutdown(Duration::from_secs(10)).unwrap();

    let metrics = pipeline.collect();
    let jobs = named(&metrics, "jobs");
    assert_eq!((jobs.unit(), jobs.description()), ("{job}", "Done."));
    let AggregatedMetrics::U64(MetricData::Sum(sum)) = jobs.data() else { panic!("{jobs:?}") };
    let point = sum.data_points().next().unwrap();
    assert!(sum.is_monotonic() && point.value() == 42);
    assert_eq!(point.attributes().next().unwrap().value.as_str(), "mail");
    let AggregatedMetrics::F64(MetricData::Sum(sum)) = named(&metrics, "open").data() else {
        panic!()
    };
    assert!(!sum.is_monotonic());
    assert_eq!(sum.data_points().next().unwrap().value(), -3.0);
    let AggregatedMetrics::F64(MetricData::Gauge(gauge)) = named(&metrics, "depth").data() else {
        panic!()
    };
    assert_eq!(gauge.data_points().next().unwrap().value(), 7.0);
    named(&metrics, "process.memory.usage");
    named(&metrics, "highwater.alert.state");

    let sum: f64 = values.iter().sum();
    let close = |found: f64| (found - sum).abs() <= sum * 1e-12;
    let AggregatedMetrics::F64(MetricData::ExponentialHistogram(all)) =
        named(&metrics, "base2").data()
    else {
        panic!()
    };
    let point = all.data_points().next().unwrap();
    assert_eq!(
        (point.count(), point.min(), point.max()),
        (2_004, Some(0.0), values.iter().copied().reduce(f64::max))
    );
    assert!(close(point.sum()), "{} {sum}", point.sum());
    assert_eq!(point.zero_count(), 1);
    let (scale, buckets) = (point.scale(), point.positive_bucket());
    assert!(scale <= 3);
    // Each bucket as it would be had the SDK been told of every value.
    let per_octave = 2.0_f64.powi(i32::from(scale));
    for (at, count) in buckets.counts().enumerate() {
        let index = f64::from(buckets.offset() + at as i32);
        let (low, high) = ((index / per_octave).exp2(), ((index + 1.0) / per_octave).exp2());
        let within = values.iter().filter(|value| low < **value && **value <= high).count() as u64;
        assert_eq!(count, within, "{low}..{high} at scale {scale}");
    }

    let AggregatedMetrics::F64(MetricData::Histogram(all)) = named(&metrics, "explicit").data()
    else {
        panic!()
    };
    let point = all.data_points().next().unwrap();
    assert!(point.count() == 2_004 && close(point.sum()));
    let mut counted = 0;
    for (bound, count) in point.bounds().zip(point.bucket_counts()) {
        counted += count;
        let up_to = |bound: f64| values.iter().filter(|value| **value <= bound).count() as u64;
        let bucket = 2.0_f64.powf(1.0 / 32.0);
        let range = up_to(bound / bucket)..=up_to(bound * bucket);
        assert!(range.contains(&counted), "up to {bound}: {counted}, not within {range:?}");
    }

    // Without a view, the bounds that suit seconds of a database.
    let AggregatedMetrics::F64(MetricData::Histogram(all)) =
        named(&metrics, "db.client.operation.duration").data()
    else {
        panic!()
    };
    let point = all.data_points().next().unwrap();
    let bounds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
    assert!(point.bounds().eq(bounds), "{:?}", point.bounds().collect::<Vec<_>>());
    assert_eq!(point.bucket_counts().nth(2), Some(1));
    // And those that were declared.
    let AggregatedMetrics::F64(MetricData::Histogram(all)) = named(&metrics, "declared").data()
    else {
        panic!()
    };
    let declared: Vec<_> = all.data_points().next().unwrap().bounds().collect();
    assert!(declared.contains(&0.3) && declared.contains(&0.25), "{declared:?}");

    let logs = pipeline.logs.get_emitted_logs().unwrap();
    let records: Vec<_> = logs.iter().map(|log| &log.record).collect();
    assert_eq!(records.len(), 2, "firing, and the end by the shutdown");
    assert_eq!(records[0].event_name(), Some("highwater.alert.transition"));
    assert_eq!(records[0].body(), Some(&AnyValue::from("7 deep")));
    let has = |record: usize, key: &str, value: &str| {
        records[record]
            .attributes_iter()
            .any(|(k, v)| k.as_str() == key && *v == AnyValue::from(value.to_owned()))
    };
    assert!(
        has(0, "highwater.alert.name", "Deep") && has(0, "highwater.alert.state", "firing"),
        "{records:?}"
    );
    assert!(has(1, "highwater.alert.previous_state", "firing"));
}

/// As over OTLP: whatever the sinks are told, and when.
#[test]
fn each_step_is_a_record_once_silenced_ones_too() {
    let pipeline = Pipeline::new();
    let (sink, mut alerts) = highwater::alert::channel(16);
    let hw = pipeline
        .builder()
        .rule(
            rule::alert("Held")
                .when(rule::gauge("depth").above(2.0))
                .hold_for(Duration::from_millis(300)),
        )
        .sink(sink)
        .start()
        .unwrap();
    let lasting = Duration::from_secs(2);
    hw.silence([("alertname", "Held")], lasting, "on purpose");
    hw.silence([("alertname", "Deep")], lasting * 1_000, "on purpose");
    hw.gauge("depth").build().set(7.0);
    // Told when the silence is over, though it fires since long before.
    let told = std::iter::from_fn(|| alerts.recv());
    let told = told.map(|told| format!("{} {}", told.rule.name, told.to)).next();
    assert_eq!(told.as_deref(), Some("Held firing"));
    hw.shutdown(Duration::from_secs(10)).unwrap();
    let logs = pipeline.logs.get_emitted_logs().unwrap();
    let text = |log: &opentelemetry_sdk::logs::in_memory_exporter::LogDataWithResource,
                key: &str| {
        let key = format!("highwater.alert.{key}");
        log.record.attributes_iter().find(|(of, _)| of.as_str() == key).map(
            |(_, value)| match value {
                AnyValue::String(text) => text.to_string(),
                other => format!("{other:?}"),
            },
        )
    };
    let steps = |name: &str| -> Vec<_> {
        let of = logs.iter().filter(|log| text(log, "name").as_deref() == Some(name));
        of.map(|log| text(log, "state").unwrap()).collect()
    };
    assert_eq!(steps("Held"), ["pending", "firing", "inactive"]);
    assert_eq!(steps("Deep"), ["firing", "inactive"]);
}

#[test]
fn a_life_shorter_than_a_tick_is_told_whole() {
    let pipeline = Pipeline::new();
    let hw = pipeline.builder().tick(Duration::from_secs(60)).start().unwrap();
    let sizes = hw.histogram("explicit").build();
    (0..1_000).for_each(|_| sizes.record(0.5));
    hw.shutdown(Duration::from_secs(10)).unwrap();
    let metrics = pipeline.collect();
    let AggregatedMetrics::F64(MetricData::Histogram(all)) = named(&metrics, "explicit").data()
    else {
        panic!()
    };
    assert_eq!(all.data_points().next().unwrap().count(), 1_000);
}

#[test]
fn what_is_gone_is_not_said_any_more() {
    let pipeline = Pipeline::new();
    let hw = pipeline.builder().start().unwrap();
    let depth = hw.gauge("depth").build();
    depth.set(1.0);
    let points = || {
        let metrics = pipeline.collect();
        find(&metrics, "depth").map_or(0, |depth| match depth.data() {
            AggregatedMetrics::F64(MetricData::Gauge(gauge)) => gauge.data_points().count(),
            _ => panic!("{depth:?}"),
        })
    };
    while points() == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    depth.clear();
    while points() == 1 {
        std::thread::sleep(Duration::from_millis(20));
    }
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
