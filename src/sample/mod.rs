//! What is read rather than recorded: the process, the system, and whatever a user's own sampler
//! knows. Called by the tick thread, once a tick.

use std::{borrow::Cow, fmt};

use crate::{
    instrument::Gauge,
    name::{Labels, Unit},
    registry::{Kind, Registry},
    sync::Arc,
};

/// Something that is read once a tick.
///
/// ```
/// use highwater::{sample, Gauge, Unit};
///
/// struct Queue { depth: Option<Gauge> }
///
/// impl sample::Sampler for Queue {
///     fn name(&self) -> &str { "queue" }
///     fn start(&mut self, meter: &mut sample::Meter) -> Result<(), sample::Failure> {
///         self.depth = Some(meter.gauge("queue.depth", Unit::ONE, "Jobs waiting.", []));
///         Ok(())
///     }
///     fn sample(&mut self) -> Result<(), sample::Failure> {
///         if let Some(depth) = &self.depth { depth.set(42.0) }
///         Ok(())
///     }
/// }
/// ```
pub trait Sampler: Send {
    /// Its name in self-metrics and logs.
    fn name(&self) -> &str;

    /// Called once, on the tick thread, before the first [`sample`](Self::sample): resolve the
    /// handles here.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] where this machine lacks what is read: the sampler is not asked
    /// again. [`Failure::Failed`]: it is started again later.
    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure>;

    /// Reads and sets. Must not block: the whole tick waits.
    ///
    /// # Errors
    /// On an error (or a panic) the values this sampler had set become absent, so that no rule
    /// judges by what is no longer true.
    fn sample(&mut self) -> Result<(), Failure>;
}

/// Why a sampler gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// This machine does not have it; nothing is wrong.
    #[error("not supported here: {0}")]
    Unsupported(Cow<'static, str>),
    /// It should have worked.
    #[error("{0}")]
    Failed(Cow<'static, str>),
    /// It should have worked, and the system says why not.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// How a sampler fares; the value of `highwater.sampler.status`' label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It is read every tick.
    Active,
    /// Switched off by configuration.
    Disabled,
    /// Its last call failed or panicked.
    Failed,
    /// This machine lacks what it reads.
    Unsupported,
}

/// Where a sampler resolves the handles it writes to. Remembers them, so that they can be made
/// absent when the sampler fails.
pub struct Meter {
    registry: Arc<Registry>,
    gauges: Vec<Gauge>,
}

impl Meter {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, gauges: Vec::new() }
    }

    /// A value that is set.
    pub fn gauge<const N: usize>(
        &mut self,
        name: &str,
        unit: Unit,
        help: &str,
        labels: [(&str, &str); N],
    ) -> Gauge {
        self.remember(name, Kind::Gauge, unit, help, &Labels::new(labels))
    }

    /// A monotonic sum that is kept elsewhere: set the total.
    pub fn counter<const N: usize>(
        &mut self,
        name: &str,
        unit: Unit,
        help: &str,
        labels: [(&str, &str); N],
    ) -> Gauge {
        self.remember(name, Kind::ObservedCounter, unit, help, &Labels::new(labels))
    }

    /// A sum that goes both ways and is kept elsewhere, such as bytes in use: set the total.
    pub fn up_down_counter<const N: usize>(
        &mut self,
        name: &str,
        unit: Unit,
        help: &str,
        labels: [(&str, &str); N],
    ) -> Gauge {
        self.remember(name, Kind::ObservedUpDown, unit, help, &Labels::new(labels))
    }

    fn remember(
        &mut self,
        name: &str,
        kind: Kind,
        unit: Unit,
        help: &str,
        labels: &Labels,
    ) -> Gauge {
        self.registry.describe(name, unit, help);
        let gauge = match kind {
            Kind::ObservedCounter => self.registry.observed_counter(name, labels),
            Kind::ObservedUpDown => self.registry.observed_up_down(name, labels),
            _ => self.registry.gauge(name, labels),
        };
        self.gauges.push(gauge.clone());
        gauge
    }

    /// Makes all it has handed out absent.
    pub(crate) fn clear(&self) {
        self.gauges.iter().for_each(Gauge::clear);
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("handles", &self.gauges.len()).finish_non_exhaustive()
    }
}
