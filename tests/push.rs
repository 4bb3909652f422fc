//! What a service that adds three lines pushes, and what a receiver that misbehaves cannot do to
//! it.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/stack.rs"]
mod stack;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use highwater::{Highwater, export::otlp, rule};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsPartialSuccess,
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{metric::Data, number_data_point},
};
use receiver::{Reaction, Received, Receiver};

/// `name{label=value,…}` to `(unit, value)`; a histogram's value is its count.
type Series = BTreeMap<String, (String, f64)>;

fn text(attributes: &[KeyValue]) -> String {
    let one = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(text)) => format!("{}={text}", attribute.key),
        other => format!("{}={other:?}", attribute.key),
    };
    attributes.iter().map(one).collect::<Vec<_>>().join(",")
}

fn series(request: &Received) -> Series {
    let mut series = Series::new();
    for resource in request.metrics().resource_metrics {
        for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            let mut push = |attributes: &[KeyValue], value| {
                let name = format!("{}{{{}}}", metric.name, text(attributes));
                assert!(
                    series.insert(name.clone(), (metric.unit.clone(), value)).is_none(),
                    "{name}"
                );
            };
            let number = |value: &Option<number_data_point::Value>| match value {
                Some(number_data_point::Value::AsDouble(value)) => *value,
                Some(number_data_point::Value::AsInt(value)) => *value as f64,
                None => panic!("a point without a value"),
            };
            match metric.data.as_ref().unwrap() {
                Data::Gauge(gauge) => {
                    gauge.data_points.iter().for_each(|p| push(&p.attributes, number(&p.value)));
                }
                Data::Sum(sum) => {
                    sum.data_points.iter().for_each(|p| push(&p.attributes, number(&p.value)));
                }
                Data::ExponentialHistogram(all) => {
                    all.data_points.iter().for_each(|p| push(&p.attributes, p.count as f64));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    series
}

fn metrics(receiver: &Receiver) -> Vec<Series> {
    receiver.received().iter().filter(|r| r.path == "/v1/metrics").map(series).collect()
}

fn builder(receiver: &Receiver) -> highwater::Builder {
    let to = otlp::to(receiver.url()).interval(Duration::from_secs(1));
    Highwater::builder("push").tick(Duration::from_millis(100)).export(to)
}

#[test]
fn three_lines_push_process_and_system_memory() {
    let receiver = Receiver::always(Reaction::ok());
    // Nothing is bound: installed, it keeps itself alive.
    builder(&receiver).install().unwrap();
    metrics::counter!("jobs.done", "queue" => "mail").increment(3);
    receiver.wait_for(1);
    let hw = highwater::global().unwrap();
    let orders = hw.query("orders").system("sqlite").build();
    orders.time(|| ());
    _ = orders.try_time(|| "x".parse::<u8>());
    hw.shutdown(Duration::from_secs(10)).unwrap();

    let first = &metrics(&receiver)[0];
    for (name, unit) in [
        ("process.memory.usage{}", "By"),
        ("process.cpu.time{cpu.mode=user}", "s"),
        ("process.thread.count{}", "{thread}"),
        ("system.memory.usage{system.memory.state=free}", "By"),
        ("highwater.memory.utilization{level=host}", "1"),
        ("highwater.tick.duration{}", "s"),
    ] {
        let (got, value) = first.get(name).unwrap_or_else(|| panic!("no {name} in {first:#?}"));
        assert_eq!(got, unit, "{name}");
        assert!(value.is_finite() && *value >= 0.0);
    }
    assert!(first["process.memory.usage{}"].1 > 1e6);
    let last = metrics(&receiver).pop().unwrap();
    assert_eq!(last["jobs.done{queue=mail}"].1, 3.0);
    let query = "db.client.operation.duration{db.query.summary=orders,db.system.name=sqlite";
    assert_eq!(last[&format!("{query}}}")], ("s".to_owned(), 1.0));
    assert_eq!(last[&format!("{query},error.type=core::num::error::ParseIntError}}")].1, 1.0);
    assert_eq!(
        last["highwater.query.in_flight{db.query.summary=orders,db.system.name=sqlite}"].1,
        0.0
    );
}

#[test]
fn label_sets_over_the_limit_go_together_and_are_counted() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = builder(&receiver).cardinality_limit(100).start().unwrap();
    for tenant in 0..1_000 {
        hw.counter("requests").label("tenant", &tenant.to_string()).build().increment(1);
    }
    hw.gauge("depth").build().set(f64::NAN);
    hw.histogram("sizes").build().record(f64::INFINITY);
    hw.counter("sizes").build().increment(1);
    hw.shutdown(Duration::from_secs(10)).unwrap();
    let last = metrics(&receiver).pop().unwrap();
    let of =
        |prefix: &str| last.iter().filter(|(name, _)| name.starts_with(prefix)).collect::<Vec<_>>();
    assert_eq!(of("requests{tenant=").len(), 100);
    assert_eq!(last["requests{otel.metric.overflow=Some(BoolValue(true))}"].1, 900.0);
    assert_eq!(last["highwater.dropped{reason=cardinality}"].1, 900.0);
    assert_eq!(last["highwater.dropped{reason=not_finite}"].1, 2.0);
    assert_eq!(last["highwater.dropped{reason=kind_conflict}"].1, 1.0);
    assert!(!last.contains_key("depth{}"), "a gauge that was never set is not there");
}

#[test]
fn an_alert_is_pushed_as_log_records_and_as_series() {
    let receiver = Receiver::always(Reaction::ok());
    let deep =
        rule::alert("Deep").when(rule::gauge("depth").above(2.0)).summary("{{ value }} deep");
    let hw = builder(&receiver).without_presets().rule(deep).start().unwrap();
    hw.gauge("depth").build().set(3.0);
    let watch = hw.alert("Deep").unwrap();
    while !watch.is_firing() {
        std::thread::yield_now();
    }
    hw.shutdown(Duration::from_secs(10)).unwrap();
    let received = receiver.received();
    let logs = received.iter().filter(|r| r.path == "/v1/logs").map(Received::logs);
    let records: Vec<_> = logs
        .flat_map(|logs| logs.resource_logs)
        .flat_map(|resource| resource.scope_logs)
        .flat_map(|scope| scope.log_records)
        .collect();
    assert!(records.iter().all(|record| record.event_name == "highwater.alert.transition"));
    let states: Vec<_> = records
        .iter()
        .map(|record| {
            let get = |key: &str| {
                let found = record.attributes.iter().filter(|a| a.key == key).cloned();
                text(&found.collect::<Vec<_>>()).split('=').nth(1).unwrap_or("").to_owned()
            };
            (get("highwater.alert.state"), get("highwater.alert.resolve_reason"))
        })
        .collect();
    assert_eq!(states.first().unwrap().0, "firing");
    assert_eq!(states.last().unwrap(), &("inactive".to_owned(), "shutdown".to_owned()));
    assert!(received[0].path == "/v1/logs", "alerts overtake metrics");
    let seen: Vec<f64> = metrics(&receiver)
        .iter()
        .flatten()
        .filter(|(name, _)| {
            name.starts_with("highwater.alert.state{") && name.contains("alertname=Deep")
        })
        .map(|(_, (_, value))| *value)
        .collect();
    assert!(!seen.is_empty(), "the alert is a series too");
}

#[test]
fn a_receiver_that_misbehaves_stops_nothing() {
    let partial = ExportMetricsPartialSuccess {
        rejected_data_points: 2,
        error_message: "two too many".into(),
    };
    let partial =
        opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse {
            partial_success: Some(partial),
        };
    let partial = prost::Message::encode_to_vec(&partial);
    let pushed = AtomicUsize::new(0);
    let receiver = Receiver::start(move |_, request| {
        if request.path != "/v1/metrics" {
            return Reaction::ok();
        }
        match pushed.fetch_add(1, Ordering::Relaxed) {
            0 => Reaction::status(400),
            1 => Reaction::with(429, &[("retry-after", "0")], b""),
            2 => Reaction::status(503),
            3 => Reaction::Garbage,
            4 => Reaction::with(200, &[("content-type", receiver::PROTOBUF)], &partial),
            _ => Reaction::ok(),
        }
    });
    let hw = builder(&receiver).start().unwrap();
    receiver.wait_for(9);
    hw.shutdown(Duration::from_secs(20)).unwrap();
    // What was late may have come last.
    let all = metrics(&receiver);
    let most = |name: &str| all.iter().map(|one| one[name].1).fold(0.0, f64::max);
    let points =
        |why: &str| most(&format!("otel.sdk.exporter.metric_data_point.exported{{{why}}}"));
    assert!(points("error.type=refused") > 50.0, "the 400");
    assert_eq!(points("error.type=rejected"), 2.0);
    assert!(points("") > 50.0);
    assert!(most("highwater.export.retries{signal=metrics}") >= 3.0);
}

#[test]
fn a_metrics_receiver_that_hangs_delays_no_alert() {
    let deaf = Receiver::always(Reaction::NeverAnswers);
    let well = Receiver::always(Reaction::ok());
    let to = otlp::to(well.url())
        .metrics_endpoint(format!("{}/v1/metrics", deaf.url()))
        .interval(Duration::from_millis(200))
        .timeout(Duration::from_secs(600));
    let hw = Highwater::builder("push")
        .without_presets()
        .tick(Duration::from_millis(100))
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)))
        .export(to)
        .start()
        .unwrap();
    deaf.wait_for(1);
    hw.gauge("depth").build().set(3.0);
    stack::eventually("the alert", || well.received().pop());
    assert_eq!(deaf.received().len(), 1, "whose attempt goes on");
    assert_eq!(hw.health().delivery.unwrap().retried, 0);
    _ = hw.shutdown(Duration::from_secs(1));
}

#[test]
fn deltas_add_up_to_all_that_was_recorded_the_last_moment_included() {
    // One in three is not taken at first.
    let receiver = Receiver::start(|number, _| match number % 3 {
        1 => Reaction::with(429, &[("retry-after", "0")], b""),
        _ => Reaction::ok(),
    });
    let to = otlp::to(receiver.url())
        .temporality(otlp::Temporality::Delta)
        .interval(Duration::from_millis(100));
    let hw = Highwater::builder("push")
        .without_presets()
        .tick(Duration::from_millis(100))
        .export(to)
        .start()
        .unwrap();
    let jobs = hw.counter("jobs.done").build();
    let orders = hw.query("orders").system("sqlite").build();
    let mut done = 0;
    let mut work = |until: usize| {
        while receiver.received().len() < until {
            jobs.increment(1);
            orders.time(|| ());
            done += 1;
            std::thread::yield_now();
        }
    };
    work(6);
    // What no tick has seen when the end comes.
    work(7);
    hw.shutdown(Duration::from_secs(60)).unwrap();
    let mut sums = [0.0, 0.0];
    for (number, request) in receiver.received().iter().enumerate() {
        if number % 3 == 1 || request.path != "/v1/metrics" {
            continue;
        }
        for (name, (_, value)) in series(request) {
            sums[0] += if name.starts_with("jobs.done{") { value } else { 0.0 };
            let is_orders = name.starts_with("db.client.operation.duration{");
            sums[1] += if is_orders { value } else { 0.0 };
        }
    }
    assert_eq!(sums, [f64::from(done); 2]);
}
