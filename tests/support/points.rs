//! What a receiver was pushed last, as the tests ask for it.

// Part of several test crates, each of which uses some of it.
#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::{
    thread,
    time::{Duration, Instant},
};

use highwater::{Builder, Highwater, export::otlp};
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{metric::Data, number_data_point},
};

use super::receiver::Receiver;

/// How long data may take to show up before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// An instance that ticks and pushes often, with nothing but what the test adds.
pub fn pushing(receiver: &Receiver) -> Builder {
    let to = otlp::to(receiver.url()).interval(Duration::from_millis(100));
    Highwater::builder("test")
        .tick(Duration::from_millis(100))
        .without_presets()
        .without("process")
        .without("system")
        .without("memory")
        .export(to)
}

#[derive(Debug, Clone)]
pub struct Point {
    pub metric: String,
    pub unit: String,
    pub labels: Vec<(String, String)>,
    /// A sum's or gauge's value, a histogram's sum.
    pub value: f64,
    /// Of a histogram.
    pub count: Option<u64>,
}

/// The points of the last request.
#[derive(Debug, Default)]
pub struct Points(pub Vec<Point>);

impl Points {
    /// Of the last metrics it got.
    pub fn last(receiver: &Receiver) -> Self {
        let received = receiver.received();
        let last = received.iter().rev().find(|request| request.path == "/v1/metrics");
        let mut points = Vec::new();
        let Some(request) = last.map(|request| request.metrics()) else { return Self(points) };
        let scopes = request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let mut push = |labels: Vec<KeyValue>, value, count| {
                points.push(Point {
                    metric: metric.name.clone(),
                    unit: metric.unit.clone(),
                    labels: labels.into_iter().map(label).collect(),
                    value,
                    count,
                });
            };
            let number = |value| match value {
                Some(number_data_point::Value::AsDouble(value)) => value,
                Some(number_data_point::Value::AsInt(value)) => value as f64,
                None => f64::NAN,
            };
            match metric.data {
                Some(Data::Sum(sum)) => sum
                    .data_points
                    .into_iter()
                    .for_each(|p| push(p.attributes, number(p.value), None)),
                Some(Data::Gauge(gauge)) => gauge
                    .data_points
                    .into_iter()
                    .for_each(|p| push(p.attributes, number(p.value), None)),
                Some(Data::ExponentialHistogram(histogram)) => {
                    histogram.data_points.into_iter().for_each(|p| {
                        push(p.attributes, p.sum.unwrap_or_default(), Some(p.count));
                    });
                }
                _ => {}
            }
        }
        Self(points)
    }

    /// The first that are as they should be.
    pub fn until(receiver: &Receiver, good: impl Fn(&Self) -> bool) -> Self {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let points = Self::last(receiver);
            if good(&points) {
                return points;
            }
            assert!(Instant::now() < give_up, "never came; last: {points:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn all(&self, metric: &str) -> impl Iterator<Item = &Point> {
        self.0.iter().filter(move |point| point.metric == metric)
    }

    /// Of the metric's only series.
    pub fn value(&self, metric: &str) -> Option<f64> {
        self.all(metric).next().map(|point| point.value)
    }

    /// Of the metric's series with this label.
    pub fn labelled(&self, metric: &str, key: &str, value: &str) -> Option<f64> {
        self.all(metric).find(|point| point.get(key) == Some(value)).map(|point| point.value)
    }

    /// How many values a histogram's series with all these labels, and no `error.type` unless
    /// asked for, has.
    pub fn count_of(&self, metric: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let failed = labels.iter().any(|(key, _)| *key == "error.type");
        self.all(metric)
            .find(|point| {
                labels.iter().all(|(key, value)| point.get(key) == Some(value))
                    && (failed || point.get("error.type").is_none())
            })
            .and_then(|point| point.count)
    }

    pub fn count(&self, metric: &str) -> Option<u64> {
        self.count_of(metric, &[])
    }

    /// Of the metric's first series.
    pub fn labels(&self, metric: &str) -> Vec<(String, String)> {
        let mut labels = self.all(metric).next().map_or_else(Vec::new, |p| p.labels.clone());
        labels.sort();
        labels
    }
}

impl Point {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
}

fn label(pair: KeyValue) -> (String, String) {
    let value = match pair.value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    };
    (pair.key, value)
}
