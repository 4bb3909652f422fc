//! An application's own SDK as the way out, broken and whole.

use std::{thread, time::Duration};

use opentelemetry::{
    KeyValue,
    logs::NoopLoggerProvider,
    metrics::{HistogramBuilder, InstrumentProvider, Meter, MeterProvider, SyncInstrument},
};

use crate::{
    export::{otlp, sdk},
    handle::Highwater,
    sync::{Arc, AtomicU64, Ordering},
};

/// Whose histograms panic now and then.
#[derive(Default)]
struct Broken(AtomicU64);

struct Instruments(Arc<Broken>);

impl SyncInstrument<f64> for Broken {
    fn measure(&self, _: f64, _: &[KeyValue]) {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) != 0, "on purpose");
    }
}

impl InstrumentProvider for Instruments {
    fn f64_histogram(
        &self,
        _: HistogramBuilder<'_, opentelemetry::metrics::Histogram<f64>>,
    ) -> opentelemetry::metrics::Histogram<f64> {
        opentelemetry::metrics::Histogram::new(self.0.clone())
    }
}

struct Provider(Arc<Broken>);

impl MeterProvider for Provider {
    fn meter_with_scope(&self, _: opentelemetry::InstrumentationScope) -> Meter {
        Meter::new(Arc::new(Instruments(self.0.clone())))
    }
}

#[test]
fn an_sdk_that_panics_is_told_of_the_next_round_all_the_same() {
    let broken = Arc::new(Broken::default());
    let hw = Highwater::builder("shop")
        .tick(Duration::from_millis(100))
        .without_presets()
        .export(sdk(&Provider(broken.clone()), &NoopLoggerProvider::new()))
        .start()
        .unwrap();
    hw.histogram("sizes").build().record(1.0);
    while broken.0.load(Ordering::Relaxed) < 2 {
        thread::yield_now();
    }
    hw.shutdown(Duration::from_secs(20)).unwrap();
}

#[test]
fn the_same_does_not_go_out_twice_because_their_endpoint_is_known() {
    let start = |own: bool, variable: &'static str| {
        let broken = Arc::new(Broken(AtomicU64::new(1)));
        let mut builder = Highwater::builder("shop")
            .without_presets()
            .export(sdk(&Provider(broken), &NoopLoggerProvider::new()));
        if own {
            builder = builder.export(otlp::from_env());
        }
        let lookup = |name: &str| (name == variable).then(|| "http://127.0.0.1:9".to_owned());
        let hw = builder.start_in(&lookup).unwrap();
        hw.health().delivery.is_some()
    };
    for variable in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"] {
        assert!(!start(false, variable), "the SDK's, {variable}");
        assert!(start(true, variable), "both were asked for");
    }
    assert!(start(false, "HIGHWATER_ENDPOINT"), "an operator means us");
}
