//! What is read rather than recorded: the process, the system, and whatever a user's own sampler
//! knows. Called by the tick thread, once a tick.
//!
//! [`process`](process()), [`system`](system()), [`memory`](memory()) and
//! [`pressure`](pressure()) are on by default.

#[cfg(target_os = "linux")]
mod alarm;
mod aside;
mod backend;
#[cfg(target_os = "linux")]
mod cgroup;
mod closure;
mod component;
mod disk;
#[cfg(target_os = "linux")]
mod events;
mod field;
#[cfg(target_os = "linux")]
mod group;
#[doc(hidden)]
pub mod harness;
#[cfg(all(feature = "jemalloc", unix))]
mod jemalloc;
#[cfg(target_os = "linux")]
mod kills;
mod memory;
#[cfg(any(target_os = "linux", test))]
mod parse;
mod portable;
mod pressure;
mod process;
#[cfg(target_os = "linux")]
mod procfs;
#[cfg(target_os = "linux")]
mod resident;
mod run;
mod system;
#[cfg(target_os = "linux")]
mod tasks;

#[cfg(target_os = "linux")]
pub(crate) use alarm::{Alarm, Alarms};
/// There are none.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Clone, Default)]
pub(crate) struct Alarms;

pub use closure::{GaugeFn, gauge};
pub(crate) use component::Components;
pub(crate) use disk::Disk;
#[cfg(all(feature = "jemalloc", unix))]
pub use jemalloc::{Jemalloc, jemalloc};
#[cfg(target_os = "linux")]
pub(crate) use kills::Kills;
pub use memory::{Memory, memory};
pub use pressure::{Pressure, pressure};
pub use process::{Process, process};
pub(crate) use run::{Glanced, Samplers};
pub use system::{System, system};

use std::{borrow::Cow, fmt, time::Duration};

use crate::{
    instrument::Gauge,
    name::{Labels, Unit},
    registry::{Kind, Registry},
    sync::{Arc, AtomicU64, Ordering},
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

    /// Called on the tick thread before the first [`sample`](Self::sample), and again after a
    /// failure: resolve the handles here, and start afresh.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] where this machine lacks what is read: the sampler is not asked
    /// again. Any other: it is started again after a second, then two, up to a minute.
    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure>;

    /// Reads and sets. Must not block: the whole tick waits.
    ///
    /// # Errors
    /// On an error (or a panic) the values this sampler had set become absent, so that no rule
    /// judges by what is no longer true, and it is started again as after a failed
    /// [`start`](Self::start).
    fn sample(&mut self) -> Result<(), Failure>;

    /// In how long, counted from its last call, it wants to be looked at again, if that is
    /// before the next tick. By default not at all.
    fn next_glance(&self) -> Option<Duration> {
        None
    }

    /// Called between ticks when any sampler asked for it: reads what can change within
    /// milliseconds, and no more. Nothing by default.
    ///
    /// # Errors
    /// As of [`sample`](Self::sample).
    fn glance(&mut self) -> Result<Glance, Failure> {
        Ok(Glance::Calm)
    }
}

/// What a [`glance`](Sampler::glance) saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Glance {
    /// Nothing that could not wait for the next tick.
    Calm,
    /// The rules should judge it now: the next tick comes at once.
    Urgent,
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
    /// What it read is gone for good, such as a pool that was closed: its values become absent and
    /// it is let go.
    #[error("what it read is gone")]
    Ended,
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

impl Status {
    /// Its name in labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Failed => "failed",
            Self::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a sampler resolves the handles it writes to. Remembers them, so that they can be made
/// absent when the sampler fails.
pub struct Meter {
    registry: Arc<Registry>,
    gauges: Vec<Gauge>,
    time: Time,
    #[cfg(target_os = "linux")]
    alarms: Alarms,
}

/// When the tick or glance under way is: what is "now" to a sampler. Told, so that tests need not
/// wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    pub(crate) fn set(&self, now: Duration) {
        self.0.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Since some origin; never steps back.
    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl Meter {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            gauges: Vec::new(),
            time: Time::default(),
            #[cfg(target_os = "linux")]
            alarms: Alarms::default(),
        }
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

    /// Where what wakes the tick thread is armed.
    #[cfg(target_os = "linux")]
    pub(crate) fn alarms(&self) -> Alarms {
        self.alarms.clone()
    }

    pub(crate) fn time(&self) -> Time {
        self.time.clone()
    }

    /// A gauge that somebody else sets.
    pub(crate) fn reading(&self, name: &str) -> Gauge {
        self.registry.gauge(name, &Labels::empty())
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
    fn clear(&self) {
        self.gauges.iter().for_each(Gauge::clear);
    }

    /// Hands out anew.
    fn forget(&mut self) {
        self.gauges.clear();
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("handles", &self.gauges.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Meter, Sampler};
    use crate::{
        clock::Moment,
        registry::{Collector, Reading, Registry},
        sync::Arc,
    };
    use std::time::{Duration, SystemTime};

    /// A sampler that has been started, and the registry it writes to.
    pub(super) fn started<S: Sampler>(mut sampler: S) -> (S, Arc<Registry>) {
        let registry = Arc::new(Registry::new(100));
        let outcome = sampler.start(&mut Meter::new(registry.clone()));
        assert!(outcome.is_ok(), "{outcome:?}");
        (sampler, registry)
    }

    /// The value of the series that prints as `name{labels}`, if it is present.
    pub(super) fn value(registry: &Arc<Registry>, series: &str) -> Option<f64> {
        let start = Moment { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
        let mut collector = Collector::new(registry.clone(), start);
        collector.collect(start);
        let all = collector.series().iter().zip(&collector.frame().readings);
        all.filter(|(of, _)| format!("{}{}", of.metric.name, of.labels) == series).find_map(
            |(_, reading)| match reading {
                Reading::Value(value) => Some(*value),
                _ => None,
            },
        )
    }
}
