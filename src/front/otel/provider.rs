//! From the API's builders to our registry.

use std::{borrow::Cow, fmt};

use opentelemetry::{
    InstrumentationScope,
    metrics::{
        self, AsyncInstrumentBuilder, HistogramBuilder, InstrumentBuilder, InstrumentProvider,
        Meter, ObservableCounter, ObservableGauge, ObservableUpDownCounter,
    },
};

use super::{Growing, Instrument, Record, Summed, observe::Observers, unit};
use crate::{
    instrument::Measure,
    name::{Labels, Unit},
    registry::{Kind, Registry},
    sync::Arc,
};

/// A provider of meters whose instruments record into an instance; from
/// `integrate::otel::meter_provider`.
///
/// Instruments of one name are one metric, whichever meter they come from: the instrumentation
/// scope is not part of a series. Units that [`Unit::parse`] does not know are
/// left out, boundaries of histograms too: ours have finer ones.
#[derive(Clone)]
pub struct MeterProvider(Arc<Instruments>);

impl MeterProvider {
    pub(crate) fn new(registry: Arc<Registry>, observers: Arc<Observers>) -> Self {
        Self(Arc::new(Instruments { registry, observers }))
    }
}

impl metrics::MeterProvider for MeterProvider {
    fn meter_with_scope(&self, _: InstrumentationScope) -> Meter {
        Meter::new(self.0.clone())
    }
}

impl fmt::Debug for MeterProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeterProvider").finish_non_exhaustive()
    }
}

struct Instruments {
    registry: Arc<Registry>,
    observers: Arc<Observers>,
}

impl Instruments {
    fn describe(&self, name: &str, given: Option<&str>, help: Option<&Cow<'static, str>>) -> Unit {
        let unit = unit(given);
        self.registry.describe(name, unit.clone(), help.map_or("", |help| help));
        unit
    }

    fn sync<I, T, H: Record<T>>(
        &self,
        builder: &InstrumentBuilder<'_, I>,
        resolve: fn(&Registry, &str, &Labels) -> H,
    ) -> Arc<Instrument<H>> {
        self.describe(&builder.name, builder.unit.as_deref(), builder.description.as_ref());
        Arc::new(Instrument::new(self.registry.clone(), &builder.name, resolve))
    }

    fn histogram<I, T>(
        &self,
        builder: &HistogramBuilder<'_, I>,
    ) -> Arc<dyn metrics::SyncInstrument<T> + Send + Sync>
    where
        T: 'static,
        crate::instrument::Histogram: Record<T>,
    {
        let unit =
            self.describe(&builder.name, builder.unit.as_deref(), builder.description.as_ref());
        // As our own timers have it, so that a library's metric of a known name is the same one.
        let resolve: fn(&Registry, &str, &Labels) -> _ = if unit == Unit::SECONDS {
            |registry, name, labels| registry.histogram(name, Measure::Time, labels)
        } else {
            |registry, name, labels| registry.histogram(name, Measure::Value, labels)
        };
        Arc::new(Instrument::new(self.registry.clone(), &builder.name, resolve))
    }

    fn observe<I, T: super::observe::Number>(
        &self,
        builder: AsyncInstrumentBuilder<'_, I, T>,
        kind: Kind,
    ) {
        self.describe(&builder.name, builder.unit.as_deref(), builder.description.as_ref());
        self.observers.add(&self.registry, &builder.name, kind, builder.callbacks);
    }
}

macro_rules! synchronous {
    ($($method:ident: $instrument:ident<$number:ty> = $resolve:expr;)*) => {$(
        fn $method(
            &self,
            builder: InstrumentBuilder<'_, metrics::$instrument<$number>>,
        ) -> metrics::$instrument<$number> {
            metrics::$instrument::new(self.sync::<_, $number, _>(&builder, $resolve))
        }
    )*};
}

macro_rules! asynchronous {
    ($($method:ident: $instrument:ident<$number:ty> = $kind:ident;)*) => {$(
        fn $method(
            &self,
            builder: AsyncInstrumentBuilder<'_, $instrument<$number>, $number>,
        ) -> $instrument<$number> {
            self.observe(builder, Kind::$kind);
            $instrument::new()
        }
    )*};
}

impl InstrumentProvider for Instruments {
    synchronous! {
        u64_counter: Counter<u64> = Registry::counter;
        f64_counter: Counter<f64> = |registry, name, labels| {
            Growing(registry.observed_counter(name, labels))
        };
        i64_up_down_counter: UpDownCounter<i64> = Registry::up_down_counter;
        f64_up_down_counter: UpDownCounter<f64> = |registry, name, labels| {
            Summed(registry.observed_up_down(name, labels))
        };
        u64_gauge: Gauge<u64> = Registry::gauge;
        i64_gauge: Gauge<i64> = Registry::gauge;
        f64_gauge: Gauge<f64> = Registry::gauge;
    }

    asynchronous! {
        u64_observable_counter: ObservableCounter<u64> = ObservedCounter;
        f64_observable_counter: ObservableCounter<f64> = ObservedCounter;
        i64_observable_up_down_counter: ObservableUpDownCounter<i64> = ObservedUpDown;
        f64_observable_up_down_counter: ObservableUpDownCounter<f64> = ObservedUpDown;
        u64_observable_gauge: ObservableGauge<u64> = Gauge;
        i64_observable_gauge: ObservableGauge<i64> = Gauge;
        f64_observable_gauge: ObservableGauge<f64> = Gauge;
    }

    fn f64_histogram(
        &self,
        builder: HistogramBuilder<'_, metrics::Histogram<f64>>,
    ) -> metrics::Histogram<f64> {
        metrics::Histogram::new(self.histogram(&builder))
    }

    fn u64_histogram(
        &self,
        builder: HistogramBuilder<'_, metrics::Histogram<u64>>,
    ) -> metrics::Histogram<u64> {
        metrics::Histogram::new(self.histogram(&builder))
    }
}
