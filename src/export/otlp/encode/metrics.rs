//! A snapshot as metrics: one message a metric, one point a series.

use std::{collections::HashMap, time::SystemTime};

use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value as Any},
    metrics::v1::{
        AggregationTemporality, Exemplar as ExemplarMessage, ExponentialHistogram, Gauge,
        Histogram, Metric, NumberDataPoint, Sum, exemplar,
        exponential_histogram_data_point::Buckets, metric, number_data_point,
    },
    resource::v1::Resource as ResourceMessage,
};

use prost::{
    Message,
    encoding::{self, WireType},
};

use super::{
    attribute,
    histogram::{advised_bounds, explicit, exponential},
    history::{Counted, History, is_delta},
    scope, text,
};
use crate::{
    clock::unix_nanos,
    export::otlp::Temporality,
    instrument::{Distribution, Exemplar},
    name::Labels,
    registry::{Data, Kind, Metric as Known, Point, Snapshot},
    semconv,
};

/// In what form metrics are sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub(crate) temporality: Temporality,
    /// All histograms as explicit ones.
    pub(crate) explicit: bool,
    /// The histograms of these metrics as explicit ones, with these bounds.
    pub(crate) bounds: HashMap<String, Vec<f64>>,
    /// Of an exponential histogram, a side.
    pub(crate) max_buckets: usize,
}

/// Encodes snapshots, one after the other.
#[derive(Debug)]
pub(crate) struct Encoder {
    shape: Shape,
    history: History,
    /// When the last snapshot was taken: what is older has been told.
    told: Option<SystemTime>,
}

impl Encoder {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, history: History::default(), told: None }
    }

    /// The request, encoded, and the number of its points; `None` if there is nothing to send.
    pub(crate) fn encode(
        &mut self,
        snapshot: &Snapshot,
        resource: &ResourceMessage,
    ) -> Option<(Vec<u8>, usize)> {
        let mut metrics: Vec<Metric> = Vec::new();
        let mut known = HashMap::new();
        let mut points = 0;
        for point in &snapshot.points {
            let metric = &point.series.metric;
            let index = *known.entry(std::ptr::from_ref(&**metric)).or_insert_with(|| {
                metrics.push(self.empty(metric));
                metrics.len() - 1
            });
            points += usize::from(self.add(&mut metrics[index], point, snapshot).is_some());
        }
        self.told = Some(snapshot.at.wall);
        metrics.retain(|metric| !is_empty(metric));
        if points == 0 {
            return None;
        }
        Some((framed(resource, metrics), points))
    }

    fn empty(&self, metric: &Known) -> Metric {
        let temporality = if is_delta(metric.kind, self.shape.temporality) {
            AggregationTemporality::Delta
        } else {
            AggregationTemporality::Cumulative
        };
        let aggregation_temporality = temporality.into();
        let data = match metric.kind {
            Kind::Gauge => metric::Data::Gauge(Gauge::default()),
            Kind::Histogram(_) if self.is_explicit(&metric.name) => {
                metric::Data::Histogram(Histogram { aggregation_temporality, ..Default::default() })
            }
            Kind::Histogram(_) => metric::Data::ExponentialHistogram(ExponentialHistogram {
                aggregation_temporality,
                ..Default::default()
            }),
            _ => metric::Data::Sum(Sum {
                aggregation_temporality,
                is_monotonic: metric.kind.is_monotonic(),
                ..Default::default()
            }),
        };
        Metric {
            name: metric.name.to_string(),
            description: metric.help().to_string(),
            unit: metric.unit().as_str().to_owned(),
            data: Some(data),
            ..Default::default()
        }
    }

    fn is_explicit(&self, name: &str) -> bool {
        self.shape.explicit || self.shape.bounds.contains_key(name)
    }

    /// Appends a point; `None` if it has nothing to say.
    fn add(&mut self, into: &mut Metric, point: &Point, snapshot: &Snapshot) -> Option<()> {
        let at = snapshot.at.unix_nanos();
        match (&mut into.data, point.data) {
            (Some(metric::Data::Gauge(gauge)), Data::Value(value)) => {
                gauge.data_points.push(number(
                    point,
                    number_data_point::Value::AsDouble(value),
                    0,
                    at,
                ));
            }
            (Some(metric::Data::Sum(sum)), data) => {
                let (value, start) = self.total(point, data, at)?;
                sum.data_points.push(number(point, value, start, at));
            }
            (Some(metric::Data::ExponentialHistogram(all)), Data::Histogram(which)) => {
                let max_buckets = self.shape.max_buckets;
                let all_since_birth = snapshot.distribution(which);
                let (mut message, start) =
                    self.counted(point, all_since_birth, at, |all| exponential(all, max_buckets))?;
                message.attributes = attributes(&point.series.labels);
                (message.start_time_unix_nano, message.time_unix_nano) = (start, at);
                message.exemplars = self.exemplars(snapshot.exemplars(which));
                all.data_points.push(message);
            }
            (Some(metric::Data::Histogram(all)), Data::Histogram(which)) => {
                let declared = self.shape.bounds.get(&into.name).cloned();
                let bounds =
                    declared.unwrap_or_else(|| advised_bounds(&into.name, &into.unit).into());
                let all_since_birth = snapshot.distribution(which);
                let (mut message, start) =
                    self.counted(point, all_since_birth, at, |all| explicit(all, &bounds))?;
                message.attributes = attributes(&point.series.labels);
                (message.start_time_unix_nano, message.time_unix_nano) = (start, at);
                message.exemplars = self.exemplars(snapshot.exemplars(which));
                all.data_points.push(message);
            }
            _ => return None,
        }
        Some(())
    }

    /// Those taken since the last snapshot.
    fn exemplars(&self, all: &[Exemplar]) -> Vec<ExemplarMessage> {
        let is_new = |exemplar: &&Exemplar| self.told.is_none_or(|told| exemplar.at > told);
        let message = |exemplar: &Exemplar| ExemplarMessage {
            time_unix_nano: unix_nanos(exemplar.at),
            value: Some(exemplar::Value::AsDouble(exemplar.value)),
            trace_id: exemplar.trace.trace_id().into(),
            span_id: exemplar.trace.span_id().into(),
            ..Default::default()
        };
        all.iter().filter(is_new).map(message).collect()
    }

    /// A sum's value, and since when it counts.
    fn total(
        &mut self,
        point: &Point,
        data: Data,
        at: u64,
    ) -> Option<(number_data_point::Value, u64)> {
        let (id, born) = (point.series.id, point.since.unix_nanos());
        let kind = point.series.metric.kind;
        let is_delta = is_delta(kind, self.shape.temporality);
        match data {
            Data::Integer(total) if is_delta => {
                let Counted { value, start } = self.history.gained(id, born, at, total)?;
                Some((integer(value), start))
            }
            Data::Integer(total) => Some((integer(total), born)),
            Data::Value(total) if kind == Kind::ObservedCounter => {
                let counted = self.history.observed(id, born, at, total, is_delta)?;
                Some((number_data_point::Value::AsDouble(counted.value), counted.start))
            }
            Data::Value(total) => Some((number_data_point::Value::AsDouble(total), born)),
            Data::Histogram(_) => None,
        }
    }

    /// A histogram's message, and since when it counts.
    fn counted<M>(
        &mut self,
        point: &Point,
        all: &Distribution,
        at: u64,
        message: impl FnOnce(&Distribution) -> M,
    ) -> Option<(M, u64)> {
        let born = point.since.unix_nanos();
        if !is_delta(point.series.metric.kind, self.shape.temporality) {
            return Some((message(all), born));
        }
        let gained = self.history.gained_histogram(point.series.id, born, at, all)?;
        Some((message(&gained.value), gained.start))
    }
}

/// An `ExportMetricsServiceRequest` of one resource and one scope, its outer messages framed by
/// hand: prost measures a message anew at each level around it, down to every bucket.
fn framed(resource: &ResourceMessage, metrics: Vec<Metric>) -> Vec<u8> {
    const RESOURCE_METRICS: u32 = 1;
    const RESOURCE: u32 = 1;
    const SCOPE_METRICS: u32 = 2;
    const SCOPE: u32 = 1;
    const METRICS: u32 = 2;
    let mut in_scope = Vec::new();
    encoding::message::encode(SCOPE, &scope(), &mut in_scope);
    for mut metric in metrics {
        match metric.data.take() {
            Some(metric::Data::ExponentialHistogram(all)) => {
                within(METRICS, &exponential_metric(&metric, all), &mut in_scope);
            }
            data => {
                metric.data = data;
                encoding::message::encode(METRICS, &metric, &mut in_scope);
            }
        }
    }
    let mut in_resource = Vec::with_capacity(in_scope.len() + 1_024);
    encoding::message::encode(RESOURCE, resource, &mut in_resource);
    within(SCOPE_METRICS, &in_scope, &mut in_resource);
    let mut request = Vec::with_capacity(in_resource.len() + 16);
    within(RESOURCE_METRICS, &in_resource, &mut request);
    request
}

fn within(tag: u32, message: &[u8], into: &mut Vec<u8>) {
    encoding::encode_key(tag, WireType::LengthDelimited, into);
    encoding::encode_varint(message.len() as u64, into);
    into.extend_from_slice(message);
}

/// A metric, of which all but `all` is in `rest`.
fn exponential_metric(rest: &Metric, mut all: ExponentialHistogram) -> Vec<u8> {
    const DATA: u32 = 10;
    const POINTS: u32 = 1;
    const POSITIVE: u32 = 8;
    const NEGATIVE: u32 = 9;
    let mut in_data = Vec::new();
    let (mut in_point, mut in_side, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    for mut point in std::mem::take(&mut all.data_points) {
        let sides = [(POSITIVE, point.positive.take()), (NEGATIVE, point.negative.take())];
        in_point.clear();
        append(&point, &mut in_point);
        for (tag, side) in sides {
            let Some(side) = side else { continue };
            buckets(&side, &mut in_side, &mut packed);
            within(tag, &in_side, &mut in_point);
        }
        within(POINTS, &in_point, &mut in_data);
    }
    append(&all, &mut in_data);
    let mut metric = rest.encode_to_vec();
    within(DATA, &in_data, &mut metric);
    metric
}

fn append(message: &impl Message, into: &mut Vec<u8>) {
    // A vector has room for all of it.
    let _ = message.encode(into);
}

/// One side's message, in place of what is in `into`.
fn buckets(side: &Buckets, into: &mut Vec<u8>, packed: &mut Vec<u8>) {
    const OFFSET: u32 = 1;
    const COUNTS: u32 = 2;
    /// Bytes of the longest number.
    const MOST: usize = 10;
    packed.resize(side.bucket_counts.len() * MOST, 0);
    let mut end = 0;
    for &count in &side.bucket_counts {
        if count < 1 << 14 {
            // One byte or two, without a branch that nobody could predict.
            let more = u8::from(count >= 0x80);
            packed[end] = count as u8 & 0x7f | more << 7;
            packed[end + 1] = (count >> 7) as u8;
            end += 1 + usize::from(more);
        } else {
            let mut rest = &mut packed[end..];
            encoding::encode_varint(count, &mut rest);
            end += encoding::encoded_len_varint(count);
        }
    }
    into.clear();
    if side.offset != 0 {
        encoding::sint32::encode(OFFSET, &side.offset, into);
    }
    if end > 0 {
        within(COUNTS, &packed[..end], into);
    }
}

fn is_empty(metric: &Metric) -> bool {
    match &metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.is_empty(),
        Some(metric::Data::Sum(sum)) => sum.data_points.is_empty(),
        Some(metric::Data::Histogram(all)) => all.data_points.is_empty(),
        Some(metric::Data::ExponentialHistogram(all)) => all.data_points.is_empty(),
        _ => true,
    }
}

/// What exceeds OTLP's signed integer travels as the nearest double.
fn integer(total: u64) -> number_data_point::Value {
    i64::try_from(total)
        .map_or(number_data_point::Value::AsDouble(total as f64), number_data_point::Value::AsInt)
}

fn number(point: &Point, value: number_data_point::Value, start: u64, at: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(&point.series.labels),
        start_time_unix_nano: start,
        time_unix_nano: at,
        value: Some(value),
        ..Default::default()
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels
        .iter()
        .map(|(key, value)| match (key, value) {
            // The specification wants a boolean; ours are all text.
            (semconv::OTEL_METRIC_OVERFLOW, "true") => attribute(key, Any::BoolValue(true)),
            _ => attribute(key, text(value)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::metrics::v1::ExportMetricsServiceRequest,
        metrics::v1::{ExponentialHistogramDataPoint, ResourceMetrics, ScopeMetrics},
    };

    use super::*;

    #[test]
    fn what_is_framed_by_hand_is_what_prost_frames() {
        let resource = ResourceMessage {
            attributes: vec![attribute("service.name", text("shop"))],
            ..Default::default()
        };
        let metric = |name: &str, data| Metric {
            name: name.repeat(200),
            data: Some(data),
            ..Default::default()
        };
        let side = |offset, bucket_counts| Some(Buckets { offset, bucket_counts });
        let counts = || vec![0, 1, 127, 128, (1 << 14) - 1, 1 << 14, 0, u64::MAX, 300];
        let point = |positive, negative| ExponentialHistogramDataPoint {
            attributes: vec![attribute("query", text("orders"))],
            time_unix_nano: 7,
            scale: 5,
            positive,
            negative,
            exemplars: vec![ExemplarMessage::default()],
            min: Some(-1.0),
            ..Default::default()
        };
        let data_points = vec![
            point(side(-400, counts()), side(0, vec![])),
            point(side(0, vec![5]), None),
            point(None, side(7, counts())),
        ];
        let aggregation_temporality = AggregationTemporality::Delta.into();
        let metrics = vec![
            metric("a", metric::Data::Gauge(Gauge::default())),
            metric(
                "b",
                metric::Data::ExponentialHistogram(ExponentialHistogram {
                    data_points,
                    aggregation_temporality,
                }),
            ),
        ];
        let scope_metrics =
            ScopeMetrics { scope: Some(scope()), metrics: metrics.clone(), ..Default::default() };
        let resource_metrics = ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![scope_metrics],
            ..Default::default()
        };
        let whole = ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] };
        // The fields may come in another order.
        let framed = framed(&resource, metrics);
        assert_eq!(framed.len(), whole.encoded_len());
        assert_eq!(ExportMetricsServiceRequest::decode(&*framed).unwrap(), whole);
    }
}
