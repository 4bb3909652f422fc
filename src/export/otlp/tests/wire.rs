//! What is on the wire: names, units, kinds, start times, buckets, attributes.

use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    logs::v1::{LogRecord, SeverityNumber},
    metrics::v1::{AggregationTemporality, Metric, exemplar, metric::Data, number_data_point},
};

use super::{
    DAY_ZERO, exporter,
    receiver::{Reaction, Received, Receiver},
    registry, snapshot, step, transition,
};
use crate::{
    clock::Moment,
    event::State,
    export::otlp::{self, Temporality},
    instrument::{Measure, TraceContext, TraceSource},
    name::{Labels, Unit},
    registry::{Collector, Registry, Snapshot},
    semconv,
    sync::Arc,
};

fn sent(snapshot: &Snapshot) -> (Vec<KeyValue>, Vec<Metric>) {
    let receiver = Receiver::always(Reaction::ok());
    let mut exporter = exporter(otlp::to(receiver.url()));
    exporter.intake().metrics(snapshot);
    step(&mut exporter);
    decoded(&receiver.received()[0])
}

fn decoded(received: &Received) -> (Vec<KeyValue>, Vec<Metric>) {
    let mut request = received.metrics();
    assert_eq!(request.resource_metrics.len(), 1);
    let mut resource = request.resource_metrics.remove(0);
    assert_eq!(resource.scope_metrics.len(), 1);
    let scope = resource.scope_metrics.remove(0);
    assert_eq!(scope.scope.unwrap().name, "highwater");
    (resource.resource.unwrap().attributes, scope.metrics)
}

fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    match find(attributes, key) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{key}: {other:?}"),
    }
}

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
const START: u64 = 1_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

#[test]
fn kinds_units_values_and_times_are_as_recorded() {
    let (registry, mut collector) = registry();
    let main = Labels::new([("pool", "main")]);
    registry.describe("jobs", Unit::parse("{job}").unwrap(), "Jobs done.");
    registry.counter("jobs", &main).increment(41);
    registry.gauge("ratio", &Labels::empty()).set(0.25);
    registry.gauge("never.set", &Labels::empty());
    collector.collect(super::moment(10));
    // Interleaved with others, and born later.
    registry.counter("jobs", &Labels::empty()).increment(7);
    registry.counter("jobs", &main).increment(1);
    registry.up_down_counter("in.flight", &Labels::empty()).add(-3);
    registry.observed_counter("cpu.time", &Labels::empty()).set(1.5);
    registry.observed_up_down("bytes", &Labels::empty()).set(4096.0);
    let (resource, metrics) = sent(&snapshot(&mut collector, 20));

    assert_eq!(text(&resource, semconv::SERVICE_NAME), "shop");
    assert_eq!(text(&resource, semconv::SERVICE_INSTANCE_ID).len(), 36);
    let pid = i64::from(std::process::id());
    assert_eq!(find(&resource, semconv::PROCESS_PID), Some(&Value::IntValue(pid)));

    let names: Vec<_> = metrics.iter().map(|metric| &*metric.name).collect();
    assert_eq!(names, ["jobs", "ratio", "in.flight", "cpu.time", "bytes"]);
    assert_eq!((&*metrics[0].unit, &*metrics[0].description), ("{job}", "Jobs done."));
    let sum = |metric: &Metric| match metric.data.clone() {
        Some(Data::Sum(sum)) => sum,
        other => panic!("{other:?}"),
    };
    let jobs = sum(&metrics[0]);
    assert!(jobs.is_monotonic && jobs.aggregation_temporality == CUMULATIVE);
    let points: Vec<_> = jobs
        .data_points
        .iter()
        .map(|point| (point.value.unwrap(), point.start_time_unix_nano - START))
        .collect();
    use number_data_point::Value::{AsDouble, AsInt};
    // A series counts from the tick before it was first seen.
    assert_eq!(points, [(AsInt(42), 0), (AsInt(7), 10 * SECOND)]);
    assert_eq!(text(&jobs.data_points[0].attributes, "pool"), "main");
    assert!(jobs.data_points.iter().all(|point| point.time_unix_nano == START + 20 * SECOND));
    let Some(Data::Gauge(ratio)) = &metrics[1].data else { panic!("{:?}", metrics[1]) };
    assert_eq!(ratio.data_points[0].value, Some(AsDouble(0.25)));
    assert_eq!(ratio.data_points[0].start_time_unix_nano, 0);
    for (metric, monotonic, value) in
        [(&metrics[2], false, -3.0), (&metrics[3], true, 1.5), (&metrics[4], false, 4096.0)]
    {
        let sum = sum(metric);
        assert_eq!((sum.is_monotonic, sum.aggregation_temporality), (monotonic, CUMULATIVE));
        assert_eq!(sum.data_points[0].value, Some(AsDouble(value)));
    }
}

#[test]
fn histograms_travel_bucket_by_bucket() {
    let (registry, mut collector) = registry();
    let latency = registry.histogram("latency", Measure::Time, &Labels::empty());
    let other = registry.histogram("other", Measure::Value, &Labels::empty());
    for value in [1.0, 1.0, 1.01, 2.0] {
        latency.record(value);
    }
    for value in [-4.0, 0.0, 4.0] {
        other.record(value);
    }
    let (_, metrics) = sent(&snapshot(&mut collector, 5));
    let point = |metric: &Metric| match metric.data.clone() {
        Some(Data::ExponentialHistogram(mut all)) => {
            assert_eq!(all.aggregation_temporality, CUMULATIVE);
            all.data_points.remove(0)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(metrics[0].unit, "s");
    let latency = point(&metrics[0]);
    assert_eq!((latency.scale, latency.count, latency.zero_count), (5, 4, 0));
    // Durations are kept in ticks, a fraction of a nanosecond.
    for (kept, given) in [(latency.sum, 5.01), (latency.min, 1.0), (latency.max, 2.0)] {
        assert!((kept.unwrap() - given).abs() < 2e-9, "{kept:?} instead of {given}");
    }
    assert_eq!((latency.start_time_unix_nano, latency.time_unix_nano), (START, START + 5 * SECOND));
    // Upper-inclusive: 1.0 = base^0 ends bucket -1, 2.0 = base^32 ends bucket 31.
    let positive = latency.positive.unwrap();
    assert_eq!((positive.offset, positive.bucket_counts.len()), (-1, 33));
    assert_eq!((positive.bucket_counts[0], positive.bucket_counts[1]), (2, 1));
    assert_eq!(positive.bucket_counts[32], 1);
    assert_eq!(positive.bucket_counts.iter().sum::<u64>(), 4);
    assert!(latency.negative.unwrap().bucket_counts.is_empty());
    let other = point(&metrics[1]);
    assert_eq!((other.count, other.zero_count), (3, 1));
    for side in [other.positive.unwrap(), other.negative.unwrap()] {
        assert_eq!((side.offset, side.bucket_counts), (63, vec![1]));
    }
}

#[test]
fn an_empty_histogram_has_neither_minimum_nor_maximum() {
    let (registry, mut collector) = registry();
    registry.histogram("latency", Measure::Time, &Labels::empty());
    let (_, metrics) = sent(&snapshot(&mut collector, 5));
    let Some(Data::ExponentialHistogram(all)) = &metrics[0].data else { panic!() };
    let point = &all.data_points[0];
    assert_eq!((point.count, point.sum, point.min, point.max), (0, Some(0.0), None, None));
}

#[test]
fn the_overflow_series_is_marked_as_the_specification_says() {
    let registry = Arc::new(Registry::new(1));
    let mut collector = crate::registry::Collector::new(registry.clone(), super::moment(0));
    registry.counter("jobs", &Labels::new([("user", "1")])).increment(1);
    registry.counter("jobs", &Labels::new([("user", "2")])).increment(5);
    let (_, metrics) = sent(&snapshot(&mut collector, 1));
    let Some(Data::Sum(jobs)) = &metrics[0].data else { panic!() };
    let overflow = find(&jobs.data_points[1].attributes, semconv::OTEL_METRIC_OVERFLOW);
    assert_eq!(overflow, Some(&Value::BoolValue(true)));
}

#[test]
fn a_total_beyond_a_signed_integer_is_not_negative() {
    let (registry, mut collector) = registry();
    registry.counter("jobs", &Labels::empty()).increment(u64::MAX);
    let (_, metrics) = sent(&snapshot(&mut collector, 1));
    let Some(Data::Sum(jobs)) = &metrics[0].data else { panic!() };
    let value = jobs.data_points[0].value;
    assert_eq!(value, Some(number_data_point::Value::AsDouble(u64::MAX as f64)));
}

/// Start, end and value of every point of every sum, and of every histogram its count.
fn spans(metrics: &[Metric]) -> Vec<(&str, u64, u64, f64)> {
    let mut spans = Vec::new();
    for metric in metrics {
        let mut push = |start: u64, at: u64, value| {
            spans.push((&*metric.name, (start - START) / SECOND, (at - START) / SECOND, value));
        };
        match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => sum.data_points.iter().for_each(|point| {
                let value = match point.value.unwrap() {
                    number_data_point::Value::AsInt(value) => value as f64,
                    number_data_point::Value::AsDouble(value) => value,
                };
                push(point.start_time_unix_nano, point.time_unix_nano, value);
            }),
            Data::ExponentialHistogram(all) => all.data_points.iter().for_each(|point| {
                push(point.start_time_unix_nano, point.time_unix_nano, point.count as f64);
            }),
            other => panic!("{other:?}"),
        }
    }
    spans
}

#[test]
fn deltas_add_up_and_follow_each_other() {
    let (registry, mut collector) = registry();
    let receiver = Receiver::always(Reaction::ok());
    let mut exporter = exporter(otlp::to(receiver.url()).temporality(Temporality::Delta));
    let none = Labels::empty();
    let jobs = registry.counter("jobs", &none);
    let latency = registry.histogram("latency", Measure::Time, &none);
    let cpu = registry.observed_counter("cpu", &none);
    let depth = registry.up_down_counter("depth", &none);
    let mut all = Vec::new();
    for (at, gained, total) in [(10, 2, 5.0), (20, 0, 5.0), (30, 3, 1.0)] {
        jobs.increment(gained);
        (0..gained).for_each(|_| latency.record(0.1));
        cpu.set(total);
        depth.add(1);
        exporter.intake().metrics(&snapshot(&mut collector, at));
        step(&mut exporter);
        all.push(decoded(receiver.received().last().unwrap()).1);
    }
    assert_eq!(
        spans(&all[0]),
        [("jobs", 0, 10, 2.0), ("latency", 0, 10, 2.0), ("cpu", 0, 10, 5.0), ("depth", 0, 10, 1.0)]
    );
    assert_eq!(spans(&all[1]), [("depth", 0, 20, 2.0)], "what gained nothing is not sent");
    // CPU time was begun anew after 20 s.
    assert_eq!(
        spans(&all[2]),
        [
            ("jobs", 20, 30, 3.0),
            ("latency", 20, 30, 3.0),
            ("cpu", 20, 30, 1.0),
            ("depth", 0, 30, 3.0)
        ]
    );
    let Some(Data::Sum(jobs)) = &all[2][0].data else { panic!() };
    assert_eq!(jobs.aggregation_temporality, AggregationTemporality::Delta as i32);
    let Some(Data::Sum(depth)) = &all[2][3].data else { panic!() };
    assert_eq!(depth.aggregation_temporality, CUMULATIVE);
}

#[test]
fn a_cumulative_sum_begun_anew_gets_a_new_start() {
    let (registry, mut collector) = registry();
    let receiver = Receiver::always(Reaction::ok());
    let mut exporter = exporter(otlp::to(receiver.url()));
    let cpu = registry.observed_counter("cpu", &Labels::empty());
    for (at, total) in [(10, 5.0), (20, 1.0), (30, 2.0)] {
        cpu.set(total);
        exporter.intake().metrics(&snapshot(&mut collector, at));
        step(&mut exporter);
    }
    let all: Vec<_> = receiver.received().iter().map(|got| decoded(got).1).collect();
    let all: Vec<_> = all.iter().flat_map(|metrics| spans(metrics)).collect();
    assert_eq!(all, [("cpu", 0, 10, 5.0), ("cpu", 10, 20, 1.0), ("cpu", 10, 30, 2.0)]);
}

#[test]
fn explicit_histograms_have_advised_or_declared_bounds() {
    let (registry, mut collector) = registry();
    let names = ["db.client.operation.duration", "other", "sizes", "declared"];
    for name in names {
        let measure = if name == "sizes" { Measure::Value } else { Measure::Time };
        let all = registry.histogram(name, measure, &Labels::empty());
        [0.003, 0.004, 0.02].iter().for_each(|value| all.record(*value));
    }
    let receiver = Receiver::always(Reaction::ok());
    let to = otlp::to(receiver.url()).explicit_bounds("declared", [0.01]);
    let snapshot = snapshot(&mut collector, 5);
    for config in [to.clone(), to.explicit_histograms()] {
        let mut exporter = exporter(config);
        exporter.intake().metrics(&snapshot);
        step(&mut exporter);
    }
    let received = receiver.received();
    let (_, some) = decoded(&received[0]);
    let exponential = |metric: &Metric| matches!(metric.data, Some(Data::ExponentialHistogram(_)));
    assert_eq!([0, 1, 2, 3].map(|at| exponential(&some[at])), [true, true, true, false]);
    let (_, all) = decoded(&received[1]);
    let points: Vec<_> = all
        .iter()
        .map(|metric| match &metric.data {
            Some(Data::Histogram(all)) => all.data_points[0].clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(points[0].explicit_bounds[..3], [0.001, 0.005, 0.01]);
    assert_eq!(points[0].bucket_counts[..5], [0, 2, 0, 1, 0]);
    assert_eq!((points[1].explicit_bounds[0], points[1].explicit_bounds.len()), (0.005, 14));
    assert_eq!((points[2].explicit_bounds[0], points[2].explicit_bounds.len()), (0.0, 15));
    assert_eq!(
        (&points[3].explicit_bounds[..], &points[3].bucket_counts[..]),
        (&[0.01][..], &[2, 1][..])
    );
    for point in points {
        assert_eq!(point.count, 3);
        // Durations are kept in ticks, a fraction of a nanosecond.
        assert!((point.min.unwrap() - 0.003).abs() < 2e-9);
        assert!((point.max.unwrap() - 0.02).abs() < 2e-9);
        assert_eq!(point.start_time_unix_nano, START);
    }
}

#[test]
fn an_exemplar_travels_once_with_its_trace() {
    let now = || Moment { mono: Duration::ZERO, wall: SystemTime::now() };
    let source = TraceSource::new(|| Some(TraceContext::new([0xab; 16], [0xcd; 8])));
    let registry = Arc::new(Registry::new(100).with_exemplars(Some(source)));
    let mut collector = Collector::new(registry.clone(), now());
    let all = ["exponential", "explicit"]
        .map(|name| registry.histogram(name, Measure::Value, &Labels::empty()));
    let receiver = Receiver::always(Reaction::ok());
    let mut exporter = exporter(otlp::to(receiver.url()).explicit_bounds("explicit", [1.0]));
    let mut snapshot = Snapshot::new(now());
    let mut exemplars = |recorded: &[f64]| {
        for histogram in &all {
            recorded.iter().for_each(|value| histogram.record(*value));
        }
        collector.collect(now());
        collector.snapshot(&mut snapshot);
        exporter.intake().metrics(&snapshot);
        step(&mut exporter);
        let (_, metrics) = decoded(receiver.received().last().unwrap());
        let of = |metric: &Metric| match &metric.data {
            Some(Data::ExponentialHistogram(all)) => all.data_points[0].exemplars.clone(),
            Some(Data::Histogram(all)) => all.data_points[0].exemplars.clone(),
            other => panic!("{other:?}"),
        };
        metrics.iter().map(of).collect::<Vec<_>>()
    };
    // The slow one is not crowded out by the usual.
    for of in exemplars(&[0.26, 0.27, 0.28, 40.0]) {
        let values: Vec<_> = of.iter().filter_map(|exemplar| exemplar.value).collect();
        assert_eq!(values, [0.28, 40.0].map(exemplar::Value::AsDouble));
        for exemplar in of {
            assert_eq!((exemplar.trace_id, exemplar.span_id), (vec![0xab; 16], vec![0xcd; 8]));
            assert!(exemplar.time_unix_nano > 1_700_000_000 * SECOND);
        }
    }
    assert_eq!(exemplars(&[]), [vec![], vec![]], "told before");
    assert!(exemplars(&[7.0]).iter().all(|of| of.len() == 1));
}

#[test]
fn nothing_present_is_nothing_sent() {
    let (registry, mut collector) = registry();
    registry.gauge("never.set", &Labels::empty());
    let exporter = exporter(otlp::to("http://127.0.0.1:9"));
    exporter.intake().metrics(&snapshot(&mut collector, 1));
    exporter.intake().alerts(&[], DAY_ZERO);
    assert_eq!(exporter.health().report().load.requests, 0);
}

fn records(steps: &[(State, State)]) -> Vec<LogRecord> {
    let receiver = Receiver::always(Reaction::ok());
    let mut exporter = exporter(otlp::to(receiver.url()));
    let transitions: Vec<_> = steps.iter().map(|(from, to)| transition(*from, *to)).collect();
    exporter.intake().alerts(&transitions, DAY_ZERO + Duration::from_secs(91));
    step(&mut exporter);
    let mut request = receiver.received()[0].logs();
    let mut resource = request.resource_logs.remove(0);
    let about = resource.resource.unwrap().attributes;
    assert_eq!(text(&about, semconv::SERVICE_NAME), "shop");
    resource.scope_logs.remove(0).log_records
}

#[test]
fn a_transition_is_an_event_with_flat_attributes() {
    let record = records(&[(State::Pending, State::Firing)]).remove(0);
    assert_eq!(record.event_name, "highwater.alert.transition");
    assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (90 * SECOND, 91 * SECOND));
    assert_eq!(record.severity_number, i32::from(SeverityNumber::Error));
    let body = record.body.unwrap().value.unwrap();
    assert_eq!(body, Value::StringValue("87.5% of the memory limit is in use".into()));
    let attributes = &record.attributes;
    for (key, expected) in [
        ("highwater.alert.name", "MemoryNearLimit"),
        ("highwater.alert.severity", "critical"),
        ("highwater.alert.state", "firing"),
        ("highwater.alert.previous_state", "pending"),
        ("highwater.alert.expression", "highwater_memory_utilization > 0.85"),
        ("highwater.alert.unit", "1"),
        ("highwater.alert.runbook", "https://runbook"),
        ("highwater.alert.summary", "87.5% of the memory limit is in use"),
        ("highwater.alert.annotation.dashboard", "https://dashboard"),
        ("highwater.alert.started_at", "1970-01-01T00:00:30.000Z"),
        ("highwater.alert.label.alertname", "MemoryNearLimit"),
        ("highwater.alert.label.level", "/"),
    ] {
        assert_eq!(text(attributes, key), expected);
    }
    for (key, expected) in [
        ("highwater.alert.value", 0.875),
        ("highwater.alert.threshold", 0.85),
        ("highwater.alert.duration", 60.0),
    ] {
        assert_eq!(find(attributes, key), Some(&Value::DoubleValue(expected)));
    }
    assert_eq!(find(attributes, "highwater.alert.silenced"), Some(&Value::BoolValue(false)));
    for absent in
        ["highwater.alert.group", "highwater.alert.description", "highwater.alert.resolve_reason"]
    {
        assert_eq!(find(attributes, absent), None);
    }
}

#[test]
fn the_end_of_an_alert_is_no_error_and_says_why() {
    let records = records(&[(State::Pending, State::Firing), (State::Firing, State::Inactive)]);
    let end = &records[1];
    assert_eq!(end.severity_number, i32::from(SeverityNumber::Info));
    assert_eq!(text(&end.attributes, "highwater.alert.resolve_reason"), "cleared");
    assert_eq!(text(&end.attributes, "highwater.alert.severity"), "critical");
    let uid = |record: &LogRecord| text(&record.attributes, semconv::LOG_RECORD_UID);
    assert_ne!(uid(&records[0]), uid(end));
}
