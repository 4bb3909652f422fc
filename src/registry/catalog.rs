//! What a metric is: name, kind, unit, help.

use std::fmt;

use crate::{
    instrument::Measure,
    name::Unit,
    sync::{Arc, RwLock},
};

/// What a metric's numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A monotonic sum that we keep.
    Counter,
    /// A monotonic sum that is read from elsewhere.
    ObservedCounter,
    /// A non-monotonic sum that we keep.
    UpDownCounter,
    /// A non-monotonic sum that is read from elsewhere.
    ObservedUpDown,
    Gauge,
    Histogram(Measure),
}

impl Kind {
    /// Whether it only ever grows, but for resets.
    pub(crate) fn is_monotonic(self) -> bool {
        matches!(self, Self::Counter | Self::ObservedCounter)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter | Self::ObservedCounter => "counter",
            Self::UpDownCounter | Self::ObservedUpDown => "up-down counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        })
    }
}

/// One metric.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    described: RwLock<(Unit, Arc<str>)>,
}

impl Metric {
    pub(super) fn new(name: Arc<str>, kind: Kind) -> Self {
        // A duration is in seconds whether or not anyone said so.
        let unit = if kind == Kind::Histogram(Measure::Time) { Unit::SECONDS } else { Unit::NONE };
        Self { name, kind, described: RwLock::new((unit, Arc::from(""))) }
    }

    /// Fills what is still empty: the first description stands.
    pub(super) fn describe(&self, unit: Unit, help: &str) {
        let mut described = self.described.write();
        if described.0 == Unit::NONE {
            described.0 = unit;
        }
        if described.1.is_empty() {
            described.1 = Arc::from(help);
        }
    }

    pub(crate) fn unit(&self) -> Unit {
        self.described.read().0.clone()
    }

    pub(crate) fn help(&self) -> Arc<str> {
        self.described.read().1.clone()
    }
}
