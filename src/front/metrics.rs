//! The [`metrics`] macros' door: `counter!`, `gauge!`, `histogram!` and `describe_*!` land in the
//! same registry, rules and exports as everything else.
//!
//! `metrics` can never unset a global recorder. So what is installed is a forwarder whose target
//! can change: after a shutdown it has none, macros resolve to handles that do nothing, and those
//! resolved before are inert because their cores were retired.

use metrics::{
    CounterFn, GaugeFn, HistogramFn, Key, KeyName, Metadata, SharedString, Unit as MetricsUnit,
};

use super::cache;
use crate::{
    instrument::{CounterCore, GaugeCore, HistogramCore, Measure},
    name::{Labels, Unit},
    registry::Registry,
    sync::{Arc, Ordering, RwLock, fixed},
};

/// A [`metrics::Recorder`] over an instance's registry; from
/// [`Highwater::recorder`](crate::Highwater::recorder).
///
/// For services that have a recorder of their own: put both into `metrics-util`'s `Fanout`.
///
/// Handles cost what the native ones cost and a virtual call; a macro costs finding the handle
/// among the thread's latest as well, and the name's resolution (a lock) the first time. Names and label sets over the cardinality limit, and
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

    fn counter(&self, key: &Key) -> metrics::Counter {
        let core = self.registry.counter(key.name(), &labels(key)).0;
        metrics::Counter::from_arc(Arc::new(Own(core)))
    }

    fn gauge(&self, key: &Key) -> metrics::Gauge {
        let core = self.registry.gauge(key.name(), &labels(key)).0;
        metrics::Gauge::from_arc(Arc::new(Own(core)))
    }

    fn histogram(&self, key: &Key) -> metrics::Histogram {
        let core = self.registry.histogram(key.name(), Measure::Value, &labels(key)).0;
        metrics::Histogram::from_arc(Arc::new(Own(core)))
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
        cache::counter(self.registry.id(), key, || self.counter(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        cache::gauge(self.registry.id(), key, || self.gauge(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        cache::histogram(self.registry.id(), key, || self.histogram(key))
    }
}

/// A thread's own reference to a core: cloning it is nothing to other threads.
struct Own<C>(Arc<C>);

impl CounterFn for Own<CounterCore> {
    fn increment(&self, by: u64) {
        self.0.increment(by);
    }

    fn absolute(&self, total: u64) {
        self.0.absolute(total);
    }
}

impl GaugeFn for Own<GaugeCore> {
    fn increment(&self, by: f64) {
        self.0.add(by);
    }

    fn decrement(&self, by: f64) {
        self.0.add(-by);
    }

    fn set(&self, value: f64) {
        self.0.set(value);
    }
}

impl HistogramFn for Own<HistogramCore> {
    fn record(&self, value: f64) {
        self.0.record_value(value);
    }
}

/// The process' one global recorder, once [`install_forwarder`] succeeded.
struct Forwarder;

static TARGET: RwLock<Option<Recorder>> = RwLock::new(None);

/// The id of the target's registry, 0 for none: what the macros ask first, without a lock.
static TARGET_ID: fixed::AtomicU64 = fixed::AtomicU64::new(0);

/// Points the forwarder at `recorder`, or at nothing.
pub(crate) fn forward_to(recorder: Option<Recorder>) {
    let mut target = TARGET.write();
    let id = recorder.as_ref().map_or(0, |to| to.registry.id());
    TARGET_ID.store(id, Ordering::Relaxed);
    *target = recorder;
}

/// Not to be asked under the lock: resolving may log, and the logger may count.
fn target() -> Option<Recorder> {
    TARGET.read().clone()
}

/// The id of the installed instance's registry, 0 without one.
#[inline]
pub(crate) fn installed() -> u64 {
    TARGET_ID.load(Ordering::Relaxed)
}

/// What the target resolves a key to, if its registry still is the one of this id.
fn resolve<H>(id: u64, to: impl FnOnce(&Recorder) -> H, nothing: impl FnOnce() -> H) -> H {
    match target() {
        Some(target) if target.registry.id() == id => to(&target),
        _ => nothing(),
    }
}

/// Becomes the `metrics` recorder of the process; `false` when another one already is.
///
/// The caller sees to it that two installs cannot race here.
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
        if let Some(to) = target() {
            to.describe(&name, unit, &help);
        }
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<MetricsUnit>, help: SharedString) {
        if let Some(to) = target() {
            to.describe(&name, unit, &help);
        }
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<MetricsUnit>, help: SharedString) {
        if let Some(to) = target() {
            to.describe(&name, unit, &help);
        }
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> metrics::Counter {
        match installed() {
            0 => metrics::Counter::noop(),
            id => cache::counter(id, key, || {
                resolve(id, |to| to.counter(key), metrics::Counter::noop)
            }),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        match installed() {
            0 => metrics::Gauge::noop(),
            id => cache::gauge(id, key, || resolve(id, |to| to.gauge(key), metrics::Gauge::noop)),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        match installed() {
            0 => metrics::Histogram::noop(),
            id => cache::histogram(id, key, || {
                resolve(id, |to| to.histogram(key), metrics::Histogram::noop)
            }),
        }
    }
}
