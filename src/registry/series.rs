//! One series: a metric with a label set, and the core its handles write to.

use super::{Kind, Metric};
use crate::{
    instrument::{CounterCore, Drops, GaugeCore, HistogramCore, TraceSource, UpDownCore},
    name::Labels,
    sync::Arc,
};

/// The interned identity of a series within its registry: dense, from zero, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SeriesId(u32);

impl SeriesId {
    pub(crate) fn new(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) id: SeriesId,
    pub(crate) metric: Arc<Metric>,
    pub(crate) labels: Labels,
    pub(crate) instrument: Instrument,
}

/// The core behind a series.
#[derive(Debug, Clone)]
pub(crate) enum Instrument {
    Counter(Arc<CounterCore>),
    UpDown(Arc<UpDownCore>),
    /// Gauges, and sums that are read from elsewhere.
    Gauge(Arc<GaugeCore>),
    Histogram(Arc<HistogramCore>),
    /// The name belongs to another kind.
    Conflict,
}

impl Series {
    /// Where a declared bound that cuts a bucket of a histogram is among those declared, and that
    /// bucket.
    pub(crate) fn cut(&self, bound: f64) -> Option<(u8, i32)> {
        match &self.instrument {
            Instrument::Histogram(core) => core.cut(bound),
            _ => None,
        }
    }
}

impl Instrument {
    /// `bounds` are those declared for a histogram.
    pub(super) fn new(
        kind: Kind,
        drops: &Arc<Drops>,
        traces: Option<&TraceSource>,
        bounds: &[f64],
    ) -> Self {
        match kind {
            Kind::Counter => Self::Counter(Arc::new(CounterCore::new())),
            Kind::UpDownCounter => Self::UpDown(Arc::new(UpDownCore::new())),
            Kind::Gauge | Kind::ObservedCounter | Kind::ObservedUpDown => {
                Self::Gauge(Arc::new(GaugeCore::new(drops.clone())))
            }
            Kind::Histogram(measure) => {
                let core = HistogramCore::new(measure, drops.clone());
                let core = core.with_exemplars(traces).with_bounds(bounds);
                Self::Histogram(Arc::new(core))
            }
        }
    }

    pub(super) fn retire(&self) {
        match self {
            Self::Counter(core) => core.retire(),
            Self::UpDown(core) => core.retire(),
            Self::Gauge(core) => core.retire(),
            Self::Histogram(core) => core.retire(),
            Self::Conflict => {}
        }
    }
}
