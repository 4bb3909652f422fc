//! What exists: every metric with its unit and help, every series with its labels, and the core
//! behind each. Resolving a name locks; recording through the handle that comes back does not.
//!
//! A series' identity is its metric's name and its labels; [`SeriesId`] is the interned form. Ids
//! are dense, never reused, and only ever added, so a reader that knows `n` series catches up by
//! reading from `n` on.

mod catalog;
mod collector;
mod component;
mod series;
mod snapshot;

pub(crate) use catalog::{Kind, Metric};
pub(crate) use collector::{Collector, Frame, Reading};
pub(crate) use series::{Instrument, Series, SeriesId};
pub(crate) use snapshot::{Data, Point, Snapshot};

use component::Components;
use std::collections::{HashMap, hash_map::Entry};

use crate::{
    instrument::{
        Counter, CounterCore, DropReason, Drops, Gauge, GaugeCore, Histogram, HistogramCore,
        Measure, TraceSource, UpDownCore, UpDownCounter,
    },
    name::{Labels, Unit},
    semconv,
    sync::{Arc, AtomicUsize, Ordering, RwLock, fixed},
};

/// OpenTelemetry's default cardinality limit per metric.
pub(crate) const DEFAULT_CARDINALITY_LIMIT: usize = 2_000;

/// All metrics and series of one instance.
#[derive(Debug)]
pub(crate) struct Registry {
    /// Unlike its address never used again.
    id: u64,
    limit: usize,
    drops: Arc<Drops>,
    /// What histograms ask for exemplars.
    traces: Option<TraceSource>,
    components: Components,
    /// How many series there are, to be asked for without the lock.
    known: AtomicUsize,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    metrics: HashMap<Arc<str>, MetricState>,
    /// Described, not yet recorded to.
    described: HashMap<Arc<str>, (Unit, Arc<str>)>,
    series: Vec<Arc<Series>>,
    /// By metric, ascending.
    bounds: HashMap<String, Arc<[f64]>>,
    retired: bool,
}

#[derive(Debug)]
struct MetricState {
    metric: Arc<Metric>,
    series: HashMap<Labels, SeriesId>,
    overflow: Option<SeriesId>,
    /// Somebody has taken it for another kind.
    conflict: bool,
}

impl Registry {
    pub(crate) fn new(limit: usize) -> Self {
        static NEXT: fixed::AtomicU64 = fixed::AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            limit,
            drops: Arc::default(),
            traces: None,
            components: Components::default(),
            known: AtomicUsize::new(0),
            state: RwLock::default(),
        }
    }

    /// Histograms keep exemplars, and ask `source` where a value was recorded.
    pub(crate) fn with_exemplars(self, source: Option<TraceSource>) -> Self {
        Self { traces: source, ..self }
    }

    /// Tells registries of this process apart; never zero.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn drops(&self) -> &Arc<Drops> {
        &self.drops
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.known.load(Ordering::Acquire)
    }

    /// Appends the series from the `known.len()`th on.
    pub(crate) fn catch_up(&self, known: &mut Vec<Arc<Series>>) {
        if known.len() < self.len() {
            known.extend_from_slice(&self.state.read().series[known.len()..]);
        }
    }

    /// States a metric's unit and help, before or after its first series. The first statement of
    /// each stands.
    pub(crate) fn describe(&self, name: &str, unit: Unit, help: &str) {
        if let Some(known) = self.state.read().metrics.get(name) {
            return known.metric.describe(unit, help);
        }
        let mut state = self.state.write();
        match state.metrics.get(name) {
            Some(known) => known.metric.describe(unit, help),
            None => {
                let described = state.described.entry(Arc::from(name)).or_default();
                if described.0 == Unit::NONE {
                    described.0 = unit;
                }
                if described.1.is_empty() {
                    described.1 = Arc::from(help);
                }
            }
        }
    }

    /// Declares bounds for a histogram's series that come after this.
    pub(crate) fn bound(&self, name: &str, bounds: &[f64]) {
        let mut state = self.state.write();
        let known = state.bounds.remove(name);
        let mut all: Vec<f64> = known.iter().flat_map(|known| known.iter()).copied().collect();
        all.extend_from_slice(bounds);
        all.sort_by(f64::total_cmp);
        all.dedup();
        state.bounds.insert(name.to_owned(), all.into());
    }

    pub(crate) fn counter(&self, name: &str, labels: &Labels) -> Counter {
        match self.resolve(name, Kind::Counter, labels) {
            Instrument::Counter(core) => Counter(core),
            _ => Counter(retired(CounterCore::new(), CounterCore::retire)),
        }
    }

    /// A sum somebody else keeps, in fractions: CPU seconds. Set through a gauge.
    pub(crate) fn observed_counter(&self, name: &str, labels: &Labels) -> Gauge {
        self.gauge_like(name, Kind::ObservedCounter, labels)
    }

    pub(crate) fn up_down_counter(&self, name: &str, labels: &Labels) -> UpDownCounter {
        match self.resolve(name, Kind::UpDownCounter, labels) {
            Instrument::UpDown(core) => UpDownCounter(core),
            _ => UpDownCounter(retired(UpDownCore::new(), UpDownCore::retire)),
        }
    }

    /// A non-monotonic sum somebody else keeps: bytes in use. Set through a gauge.
    pub(crate) fn observed_up_down(&self, name: &str, labels: &Labels) -> Gauge {
        self.gauge_like(name, Kind::ObservedUpDown, labels)
    }

    pub(crate) fn gauge(&self, name: &str, labels: &Labels) -> Gauge {
        self.gauge_like(name, Kind::Gauge, labels)
    }

    pub(crate) fn histogram(&self, name: &str, measure: Measure, labels: &Labels) -> Histogram {
        match self.resolve(name, Kind::Histogram(measure), labels) {
            Instrument::Histogram(core) => Histogram(core),
            _ => {
                let core = HistogramCore::new(measure, self.drops.clone());
                Histogram(retired(core, HistogramCore::retire))
            }
        }
    }

    fn gauge_like(&self, name: &str, kind: Kind, labels: &Labels) -> Gauge {
        match self.resolve(name, kind, labels) {
            Instrument::Gauge(core) => Gauge(core),
            _ => Gauge(retired(GaugeCore::new(self.drops.clone()), GaugeCore::retire)),
        }
    }

    fn resolve(&self, name: &str, kind: Kind, labels: &Labels) -> Instrument {
        if let Some(found) = self.state.read().find(name, kind, labels) {
            return found;
        }
        let (instrument, trouble) = self.state.write().insert(self, name, kind, labels);
        // Not while the state is locked: the logger may count what it logs.
        match trouble {
            None => {}
            Some(Trouble::Kind(known)) => log::warn!(
                "highwater: {name:?} is a {known} and cannot be a {kind} too: what is recorded through the second handle is dropped"
            ),
            Some(Trouble::Full) => log::warn!(
                "highwater: {name:?} has {} label sets, its limit: further ones are recorded together under {}=\"true\"",
                self.limit,
                semconv::OTEL_METRIC_OVERFLOW
            ),
        }
        instrument
    }

    /// Makes every handle inert, those not yet resolved too.
    pub(crate) fn retire(&self) {
        let mut state = self.state.write();
        state.retired = true;
        for series in &state.series {
            series.instrument.retire();
        }
        self.components.retire();
    }
}

/// What is said of a metric, once.
enum Trouble {
    /// It is of this kind.
    Kind(Kind),
    /// It has as many label sets as it may.
    Full,
}

/// A core without a series: its handle does nothing.
fn retired<C>(core: C, retire: impl Fn(&C)) -> Arc<C> {
    retire(&core);
    Arc::new(core)
}

impl State {
    fn find(&self, name: &str, kind: Kind, labels: &Labels) -> Option<Instrument> {
        let metric = self.metrics.get(name)?;
        if metric.metric.kind != kind {
            return None;
        }
        let id = metric.series.get(labels)?;
        Some(self.series[id.index()].instrument.clone())
    }

    fn metric(&mut self, name: &str, kind: Kind) -> &mut MetricState {
        match self.metrics.entry(Arc::from(name)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let metric = Arc::new(Metric::new(new.key().clone(), kind));
                if let Some((unit, help)) = self.described.remove(name) {
                    metric.describe(unit, &help);
                }
                new.insert(MetricState {
                    metric,
                    series: HashMap::new(),
                    overflow: None,
                    conflict: false,
                })
            }
        }
    }

    fn insert(
        &mut self,
        registry: &Registry,
        name: &str,
        kind: Kind,
        labels: &Labels,
    ) -> (Instrument, Option<Trouble>) {
        let next = SeriesId::new(self.series.len());
        let retired = self.retired;
        let bounds = self.bounds.get(name).cloned();
        let metric = self.metric(name, kind);
        if metric.metric.kind != kind {
            registry.drops.count(DropReason::KindConflict);
            let is_news = !std::mem::replace(&mut metric.conflict, true);
            return (Instrument::Conflict, is_news.then_some(Trouble::Kind(metric.metric.kind)));
        }
        let mut trouble = None;
        // Checked before anything is inserted, so that a flood of label sets leaves nothing behind.
        let (id, labels) = if let Some(id) = metric.series.get(labels) {
            (*id, None)
        } else if metric.series.len() < registry.limit {
            metric.series.insert(labels.clone(), next);
            (next, Some(labels.clone()))
        } else {
            registry.drops.count(DropReason::Cardinality);
            match metric.overflow {
                Some(id) => (id, None),
                None => {
                    metric.overflow = Some(next);
                    trouble = Some(Trouble::Full);
                    (next, Some(Labels::new([(semconv::OTEL_METRIC_OVERFLOW, "true")])))
                }
            }
        };
        let Some(labels) = labels else {
            return (self.series[id.index()].instrument.clone(), None);
        };
        let instrument = Instrument::new(
            kind,
            &registry.drops,
            registry.traces.as_ref(),
            bounds.as_deref().unwrap_or_default(),
        );
        if retired {
            instrument.retire();
        }
        let metric = metric.metric.clone();
        self.series.push(Arc::new(Series { id, metric, labels, instrument: instrument.clone() }));
        registry.known.store(self.series.len(), Ordering::Release);
        (instrument, trouble)
    }
}
