//! The [`metrics`] macros' door: `counter!`, `gauge!`, `histogram!` and `describe_*!` land in the
//! same registry, rules and exports as everything else.
//!
//! `metrics` can never unset a global recorder. So what is installed is a forwarder whose target
//! can change: after a shutdown it has none, macros resolve to handles that do nothing, and those
//! resolved before are inert because their cores were retired.

use metrics::{
    CounterFn, GaugeFn, HistogramFn, Key, KeyName, Metadata, SharedString, Unit as MetricsUnit,
};

use crate::{
    instrument::{CounterCore, GaugeCore, HistogramCore, Measure},
    name::{Labels, Unit},
    registry::Registry,
    sync::{Arc, RwLock},
};

/// A [`metrics::Recorder`] over an instance's registry; from
/// [`Highwater::recorder`](crate::Highwater::recorder).
///
/// For services that have a recorder of their own: put both into `metrics-util`'s `Fanout`.
///
/// Handles cost an atomic addition (counters), a store (gauges), or a lock-free
/// compare-and-swap of the sum (histograms). Names and label sets over the cardinality limit, and
/// values that are not finite, are dropped and counted.
///
/// ```
/// let hw = highwater::Highwater::builder("doc").start()?;
/// metrics::with_local_recorder(&hw.recorder(), || {
///     metrics::counter!("jobs", "queue" => "mail").increment(1);
/// });
/// # Ok::<(), highwater::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recorder {
    registry: Arc<Registry>,
}

impl Recorder {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }

    fn describe(&self, name: &KeyName, unit: Option<MetricsUnit>, help: &SharedString) {
        self.registry.describe(name.as_str(), unit.map_or(Unit::NONE, translate), help);
    }
}

fn labels(key: &Key) -> Labels {
    Labels::new(key.labels().map(|label| (label.key(), label.value())))
}

/// `metrics`' units in UCUM.
fn translate(unit: MetricsUnit) -> Unit {
    Unit::known(match unit {
        MetricsUnit::Count => "1",
        MetricsUnit::Percent => "%",
        MetricsUnit::Seconds => "s",
        MetricsUnit::Milliseconds => "ms",
        MetricsUnit::Microseconds => "us",
        MetricsUnit::Nanoseconds => "ns",
        MetricsUnit::Tebibytes => "TiBy",
        MetricsUnit::Gibibytes => "GiBy",
        MetricsUnit::Mebibytes => "MiBy",
        MetricsUnit::Kibibytes => "KiBy",
        MetricsUnit::Bytes => "By",
        MetricsUnit::TerabitsPerSecond => "Tbit/s",
        MetricsUnit::GigabitsPerSecond => "Gbit/s",
        MetricsUnit::MegabitsPerSecond => "Mbit/s",
        MetricsUnit::KilobitsPerSecond => "kbit/s",
        MetricsUnit::BitsPerSecond => "bit/s",
        MetricsUnit::CountPerSecond => "1/s",
    })
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, unit: Option<MetricsUnit>, help: SharedString) {
        self.describe(&name, unit, &help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<MetricsUnit>, help: SharedString) {
        self.describe(&name, unit, &help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<MetricsUnit>, help: SharedString) {
        self.describe(&name, unit, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.registry.counter(key.name(), &labels(key)).0)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.registry.gauge(key.name(), &labels(key)).0)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        let histogram = self.registry.histogram(key.name(), Measure::Value, &labels(key));
        metrics::Histogram::from_arc(histogram.0)
    }
}

impl CounterFn for CounterCore {
    fn increment(&self, by: u64) {
        CounterCore::increment(self, by);
    }

    fn absolute(&self, total: u64) {
        CounterCore::absolute(self, total);
    }
}

impl GaugeFn for GaugeCore {
    fn increment(&self, by: f64) {
        self.add(by);
    }

    fn decrement(&self, by: f64) {
        self.add(-by);
    }

    fn set(&self, value: f64) {
        GaugeCore::set(self, value);
    }
}

impl HistogramFn for HistogramCore {
    fn record(&self, value: f64) {
        self.record_value(value);
    }
}

/// The process' one global recorder, once [`install_forwarder`] succeeded.
struct Forwarder;

static TARGET: RwLock<Option<Recorder>> = RwLock::new(None);

/// Points the forwarder at `recorder`, or at nothing.
pub(crate) fn forward_to(recorder: Option<Recorder>) {
    *TARGET.write() = recorder;
}

/// Becomes the `metrics` recorder of the process; `false` when another one already is.
///
/// The caller holds the lock on the installed instance, so two installs cannot race here.
pub(crate) fn install_forwarder() -> bool {
    static INSTALLED: RwLock<bool> = RwLock::new(false);
    let mut installed = INSTALLED.write();
    if !*installed {
        *installed = metrics::set_global_recorder(Forwarder).is_ok();
    }
    *installed
}

impl metrics::Recorder for Forwarder {
    fn describe_counter(&self, name: KeyName, unit: Option<MetricsUnit>, help: SharedString) {
        if let Some(to) = &*TARGET.read() {
            to.describe(&name, unit, &help);
        }
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<MetricsUnit>, help: SharedString) {
        if let Some(to) = &*TARGET.read() {
            to.describe(&name, unit, &help);
        }
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<MetricsUnit>, help: SharedString) {
        if let Some(to) = &*TARGET.read() {
            to.describe(&name, unit, &help);
        }
    }

    fn register_counter(&self, key: &Key, meta: &Metadata<'_>) -> metrics::Counter {
        let to = TARGET.read();
        to.as_ref().map_or_else(metrics::Counter::noop, |to| to.register_counter(key, meta))
    }

    fn register_gauge(&self, key: &Key, meta: &Metadata<'_>) -> metrics::Gauge {
        let to = TARGET.read();
        to.as_ref().map_or_else(metrics::Gauge::noop, |to| to.register_gauge(key, meta))
    }

    fn register_histogram(&self, key: &Key, meta: &Metadata<'_>) -> metrics::Histogram {
        let to = TARGET.read();
        to.as_ref().map_or_else(metrics::Histogram::noop, |to| to.register_histogram(key, meta))
    }
}
