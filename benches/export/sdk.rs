//! The same in the OpenTelemetry SDK: collected by a reader, encoded as its OTLP exporter does.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{Gauge, Histogram, MeterProvider},
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        Aggregation, Instrument, InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Stream,
        Temporality, data::ResourceMetrics, reader::MetricReader,
    },
};
use prost::Message;

use crate::{GAUGES, HISTOGRAMS, SCALE, What, values};

/// A reader that stays in our hands.
#[derive(Debug, Clone)]
struct Reader(Arc<ManualReader>);

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, into: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(into)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

enum Instruments {
    Histogram(Histogram<f64>),
    Gauge(Gauge<f64>),
}

pub(crate) struct Sdk {
    reader: Reader,
    instruments: Instruments,
    attributes: Vec<[KeyValue; 1]>,
    _provider: SdkMeterProvider,
}

impl Sdk {
    pub(crate) fn new(what: What) -> Self {
        let reader = Reader(Arc::new(
            ManualReader::builder().with_temporality(Temporality::Cumulative).build(),
        ));
        let base2 = |_: &Instrument| {
            let aggregation = Aggregation::Base2ExponentialHistogram {
                max_size: 160,
                max_scale: SCALE,
                record_min_max: true,
            };
            Stream::builder()
                .with_aggregation(aggregation)
                .with_cardinality_limit(HISTOGRAMS + 1)
                .build()
                .ok()
        };
        let many =
            |_: &Instrument| Stream::builder().with_cardinality_limit(GAUGES + 1).build().ok();
        let provider = SdkMeterProvider::builder().with_reader(reader.clone());
        let provider = match what {
            What::Histograms => provider.with_view(base2).build(),
            What::Gauges => provider.with_view(many).build(),
        };
        let meter = provider.meter("bench");
        let (key, count) = match what {
            What::Histograms => ("query", HISTOGRAMS),
            What::Gauges => ("queue", GAUGES),
        };
        let attributes: Vec<_> =
            (0..count).map(|at| [KeyValue::new(key, format!("q{at}"))]).collect();
        let instruments = match what {
            What::Histograms => {
                let all = meter.f64_histogram("query.duration").with_unit("s").build();
                for (number, attributes) in attributes.iter().enumerate() {
                    values(number).for_each(|value| all.record(value, attributes));
                }
                Instruments::Histogram(all)
            }
            What::Gauges => Instruments::Gauge(meter.f64_gauge("queue.depth").build()),
        };
        Self { reader, instruments, attributes, _provider: provider }
    }

    /// As ours is touched.
    pub(crate) fn touch(&self, value: f64) {
        match &self.instruments {
            Instruments::Histogram(all) => {
                self.attributes.iter().for_each(|attributes| all.record(0.003, attributes));
            }
            Instruments::Gauge(all) => {
                for (at, attributes) in self.attributes.iter().enumerate() {
                    all.record(value + at as f64, attributes);
                }
            }
        }
    }

    pub(crate) fn collect(&self) -> ResourceMetrics {
        let mut data = ResourceMetrics::default();
        self.reader.collect(&mut data).expect("the SDK collects");
        data
    }
}

/// Its bytes.
pub(crate) fn encode(data: &ResourceMetrics) -> usize {
    ExportMetricsServiceRequest::from(data).encode_to_vec().len()
}
