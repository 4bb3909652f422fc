//! A snapshot as metrics: one message a metric, one point a series, cumulative.

use std::collections::HashMap;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    metrics::v1::{
        AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
        exponential_histogram_data_point::Buckets as BucketsMessage, metric, number_data_point,
    },
    resource::v1::Resource as ResourceMessage,
};

use super::{attribute, scope, text};
use crate::{
    instrument::{Buckets, Distribution, SCALE},
    name::Labels,
    registry::{Data, Kind, Point, Snapshot},
    semconv,
};

/// OpenTelemetry's default limit of buckets a side: a wider histogram is sent at a lower scale.
const MAX_BUCKETS: usize = 160;

/// The request and the number of its points; `None` if there is nothing to send.
pub(crate) fn metrics(
    snapshot: &Snapshot,
    resource: &ResourceMessage,
) -> Option<(ExportMetricsServiceRequest, u64)> {
    let at = snapshot.at.unix_nanos();
    let mut metrics: Vec<Metric> = Vec::new();
    let mut known = HashMap::new();
    for point in &snapshot.points {
        let metric = &point.series.metric;
        let index = *known.entry(std::ptr::from_ref(&**metric)).or_insert_with(|| {
            metrics.push(Metric {
                name: metric.name.to_string(),
                description: metric.help().to_string(),
                unit: metric.unit().as_str().to_owned(),
                data: Some(empty(metric.kind)),
                ..Default::default()
            });
            metrics.len() - 1
        });
        match (&mut metrics[index].data, point.data) {
            (Some(metric::Data::Sum(sum)), data) => {
                let start = point.since.unix_nanos();
                sum.data_points.extend(number(point, data, start, at));
            }
            (Some(metric::Data::Gauge(gauge)), data) => {
                gauge.data_points.extend(number(point, data, 0, at));
            }
            (Some(metric::Data::ExponentialHistogram(all)), Data::Histogram(which)) => {
                all.data_points.push(histogram(point, snapshot.distribution(which), at));
            }
            _ => {}
        }
    }
    if metrics.is_empty() {
        return None;
    }
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..Default::default() }];
    let resource_metrics = vec![ResourceMetrics {
        resource: Some(resource.clone()),
        scope_metrics,
        ..Default::default()
    }];
    Some((ExportMetricsServiceRequest { resource_metrics }, snapshot.points.len() as u64))
}

fn empty(kind: Kind) -> metric::Data {
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    match kind {
        Kind::Gauge => metric::Data::Gauge(Gauge::default()),
        Kind::Histogram(_) => metric::Data::ExponentialHistogram(ExponentialHistogram {
            aggregation_temporality,
            ..Default::default()
        }),
        Kind::Counter | Kind::ObservedCounter | Kind::UpDownCounter | Kind::ObservedUpDown => {
            metric::Data::Sum(Sum {
                aggregation_temporality,
                is_monotonic: kind.is_monotonic(),
                ..Default::default()
            })
        }
    }
}

fn number(point: &Point, data: Data, start: u64, at: u64) -> Option<NumberDataPoint> {
    let value = match data {
        // What exceeds OTLP's signed integer travels as the nearest double.
        Data::Integer(total) => i64::try_from(total)
            .map_or(number_data_point::Value::AsDouble(total as f64), |total| {
                number_data_point::Value::AsInt(total)
            }),
        Data::Value(value) => number_data_point::Value::AsDouble(value),
        Data::Histogram(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(&point.series.labels),
        start_time_unix_nano: start,
        time_unix_nano: at,
        value: Some(value),
        ..Default::default()
    })
}

fn histogram(point: &Point, all: &Distribution, at: u64) -> ExponentialHistogramDataPoint {
    let shift = shift(&all.positive).max(shift(&all.negative));
    let some = |value| (all.count > 0).then_some(value);
    ExponentialHistogramDataPoint {
        attributes: attributes(&point.series.labels),
        start_time_unix_nano: point.since.unix_nanos(),
        time_unix_nano: at,
        count: all.count,
        sum: Some(all.sum),
        scale: SCALE - shift as i32,
        zero_count: all.zero,
        positive: Some(buckets(&all.positive, shift)),
        negative: Some(buckets(&all.negative, shift)),
        min: some(all.min),
        max: some(all.max),
        ..Default::default()
    }
}

/// The populated buckets' first and last index.
fn span(buckets: &Buckets) -> Option<(i32, i32)> {
    let mut populated = buckets.iter().map(|(index, _)| index);
    let first = populated.next()?;
    Some((first, populated.next_back().unwrap_or(first)))
}

/// By how much the scale has to sink. Halving the resolution merges the buckets 2i and 2i+1 into
/// i, exactly: (base^2i, base^(2i+1)] and (base^(2i+1), base^(2i+2)] are ((base²)^i, (base²)^(i+1)].
fn shift(buckets: &Buckets) -> u32 {
    let Some((first, last)) = span(buckets) else { return 0 };
    let width = |shift: u32| (i64::from(last) >> shift) - (i64::from(first) >> shift) + 1;
    (0..32).find(|shift| width(*shift) <= MAX_BUCKETS as i64).unwrap_or(31)
}

fn buckets(buckets: &Buckets, shift: u32) -> BucketsMessage {
    let Some((first, last)) = span(buckets) else { return BucketsMessage::default() };
    let offset = first >> shift;
    let mut bucket_counts = vec![0; ((last >> shift) - offset + 1) as usize];
    for (index, count) in buckets.iter() {
        bucket_counts[((index >> shift) - offset) as usize] += count;
    }
    BucketsMessage { offset, bucket_counts }
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
    use super::*;

    fn filled(pairs: &[(i32, u64)]) -> Buckets {
        let mut filled = Buckets::default();
        pairs.iter().for_each(|(index, count)| filled.add(*index, *count));
        filled
    }

    #[test]
    fn up_to_160_buckets_travel_as_they_are() {
        let narrow = filled(&[(-80, 1), (-3, 2), (79, 3)]);
        assert_eq!(shift(&narrow), 0);
        let sent = buckets(&narrow, 0);
        assert_eq!((sent.offset, sent.bucket_counts.len()), (-80, 160));
        assert_eq!((sent.bucket_counts[77], sent.bucket_counts[159]), (2, 3));
    }

    #[test]
    fn wider_ones_are_merged_in_pairs_until_they_fit() {
        let wide = filled(&[(-81, 1), (-80, 2), (-79, 4), (78, 8), (79, 16)]);
        assert_eq!(shift(&wide), 1);
        let sent = buckets(&wide, 1);
        // Rounded towards minus infinity: -81 >> 1 is -41, -80 and -79 share -40.
        assert_eq!(sent.offset, -41);
        assert_eq!(sent.bucket_counts[..2], [1, 6]);
        assert_eq!(sent.bucket_counts.last(), Some(&24));
        assert_eq!(sent.bucket_counts.len(), 81);
    }

    #[test]
    fn the_widest_possible_histogram_fits_and_loses_nothing() {
        // 2^-1074 to 2^1024 at 32 buckets an octave.
        let widest = filled(&[(-34_368, 1), (0, 1), (32_767, 1)]);
        let shift = shift(&widest);
        let sent = buckets(&widest, shift);
        assert!(sent.bucket_counts.len() <= MAX_BUCKETS && shift == 9, "{shift}");
        assert_eq!(sent.bucket_counts.iter().sum::<u64>(), 3);
    }

    #[test]
    fn empty_sides_have_no_buckets() {
        assert_eq!(buckets(&Buckets::default(), 3), BucketsMessage::default());
        assert_eq!(shift(&Buckets::default()), 0);
    }
}
