//! What jemalloc knows of the heap: the truth between what a service asked for and what the kernel
//! has given it. And, where it profiles, who asked, written down while somebody still can.

mod figure;
mod profile;
mod stage;

use std::{fmt, path::PathBuf, time::Duration};

use tikv_jemalloc_ctl as ctl;

use self::{figure::Figure, profile::Profiles};
use super::{Disk, Failure, Meter, Sampler};
use crate::{instrument::Gauge, name::Unit, semconv};

/// What jemalloc holds, where it is the process' allocator (`tikv-jemallocator` 0.6 or
/// 0.7, with its feature `stats`):
///
/// | series | is |
/// |---|---|
/// | `highwater.allocator.allocated` | what the service asked for and has not freed |
/// | `highwater.allocator.active` | the pages that is on |
/// | `highwater.allocator.resident` | what of those and of jemalloc's own is in memory, freed pages not yet given back too |
/// | `highwater.allocator.retained` | address space kept for later, not in memory |
///
/// Much more resident than allocated is fragmentation, or memory that was freed and is kept.
///
/// With [`profile_to`](Jemalloc::profile_to) a heap profile is written when memory crosses a stage.
///
/// ```
/// use highwater::sample;
/// let sampler = sample::jemalloc().profile_to("/var/lib/veltrix/heap");
/// # let _ = sampler;
/// ```
pub fn jemalloc() -> Jemalloc {
    Jemalloc { stats: None, plan: None, profiles: None, disk: None }
}

/// See [`jemalloc`].
pub struct Jemalloc {
    stats: Option<Stats>,
    plan: Option<Plan>,
    profiles: Option<Profiles>,
    /// Of the profiles' directory.
    disk: Option<Disk>,
}

impl fmt::Debug for Jemalloc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jemalloc").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// How profiles are to be written.
#[derive(Debug, Clone)]
struct Plan {
    directory: PathBuf,
    stages: Vec<f64>,
    cool_down: Duration,
    keep: usize,
}

impl Jemalloc {
    /// Writes a heap profile into this directory when the binding memory ratio crosses a stage
    /// (70, 80, 85%), where jemalloc was built and started to profile (`malloc_conf=prof:true`).
    ///
    /// Each stage once, until memory was below 65%; none above 90%, with less than 64 MiB of disk,
    /// or within [five minutes](Self::cool_down) of the last. The four newest are kept: `jeprof` and
    /// `pprof` read `heap-N.heap`, and `heap-N.json` says when, how full, and which
    /// [component](crate::Component) held what. Written by a thread of its own,
    /// `highwater-heap`, which exists only meanwhile. Where the last ones are is in
    /// `highwater.allocator.profile.time`, labelled with the path; how many there were, and with
    /// `error.type` how many could not be written, is `highwater.allocator.profiles`.
    #[must_use]
    pub fn profile_to(mut self, directory: impl Into<PathBuf>) -> Self {
        let plan = self.plan.get_or_insert_with(|| Plan {
            directory: PathBuf::new(),
            stages: vec![0.70, 0.80, 0.85],
            cool_down: Duration::from_secs(300),
            keep: 4,
        });
        plan.directory = directory.into();
        self
    }

    /// At which memory ratios, in place of 0.70, 0.80 and 0.85. Those not within 0.65 and 0.90 are
    /// left out. After [`profile_to`](Jemalloc::profile_to).
    #[must_use]
    pub fn stages(mut self, at: &[f64]) -> Self {
        if let Some(plan) = &mut self.plan {
            plan.stages = at.to_vec();
        }
        self
    }

    /// How long after a profile there is no other: 5 minutes by default. After
    /// [`profile_to`](Jemalloc::profile_to).
    #[must_use]
    pub fn cool_down(mut self, least: Duration) -> Self {
        if let Some(plan) = &mut self.plan {
            plan.cool_down = least;
        }
        self
    }
}

struct Stats {
    epoch: ctl::epoch_mib,
    allocated: (Figure, Gauge),
    active: (Figure, Gauge),
    resident: (Figure, Gauge),
    retained: (Figure, Gauge),
}

/// Bytes at one moment.
#[derive(Debug, Clone, Copy)]
struct Held {
    allocated: usize,
    active: usize,
    resident: usize,
    retained: usize,
}

fn failed(what: &str, why: &ctl::Error) -> Failure {
    Failure::Failed(format!("jemalloc's {what}: {why}").into())
}

/// Whether what this thread allocates comes from jemalloc.
fn is_in_use() -> Result<bool, ctl::Error> {
    let allocated = ctl::thread::allocatedp::read()?;
    let before = allocated.get();
    drop(std::hint::black_box(Box::new([0u8; 64])));
    Ok(allocated.get() > before)
}

impl Stats {
    fn resolve(meter: &mut Meter) -> Result<Self, ctl::Error> {
        let mut gauge = |name, help| meter.up_down_counter(name, Unit::BYTES, help, []);
        Ok(Self {
            epoch: ctl::epoch::mib()?,
            allocated: (
                Figure::of(b"stats.allocated\0")?,
                gauge(semconv::ALLOCATOR_ALLOCATED, "Memory asked for and not yet freed."),
            ),
            active: (
                Figure::of(b"stats.active\0")?,
                gauge(semconv::ALLOCATOR_ACTIVE, "Pages that hold what was asked for."),
            ),
            resident: (
                Figure::of(b"stats.resident\0")?,
                gauge(semconv::ALLOCATOR_RESIDENT, "What the allocator has in memory."),
            ),
            retained: (
                Figure::of(b"stats.retained\0")?,
                gauge(semconv::ALLOCATOR_RETAINED, "Address space kept, not in memory."),
            ),
        })
    }

    fn read(&self) -> Result<Held, ctl::Error> {
        // Statistics are of the moment the epoch was last advanced.
        self.epoch.advance()?;
        Ok(Held {
            allocated: self.allocated.0.read()?,
            active: self.active.0.read()?,
            resident: self.resident.0.read()?,
            retained: self.retained.0.read()?,
        })
    }

    fn publish(&self, held: Held) {
        self.allocated.1.set(held.allocated as f64);
        self.active.1.set(held.active as f64);
        self.resident.1.set(held.resident as f64);
        self.retained.1.set(held.retained as f64);
    }
}

impl Sampler for Jemalloc {
    fn name(&self) -> &str {
        "jemalloc"
    }

    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        if !is_in_use().map_err(|why| failed("thread.allocatedp", &why))? {
            return Err(Failure::Unsupported("jemalloc is not this process' allocator".into()));
        }
        // A jemalloc without statistics knows none of the names.
        let stats = Stats::resolve(meter).and_then(|stats| stats.read().map(|_| stats));
        let Ok(stats) = stats else {
            return Err(Failure::Unsupported(
                "jemalloc was built without statistics: tikv-jemallocator has a feature `stats`"
                    .into(),
            ));
        };
        self.stats = Some(stats);
        if let Some(plan) = &self.plan
            && self.profiles.is_none()
        {
            self.profiles = Profiles::start(plan, meter);
            self.disk = match self.profiles {
                Some(_) => Disk::new(vec![("profile", plan.directory.clone())]),
                None => None,
            };
        }
        if let Some(disk) = &mut self.disk {
            disk.start(meter)?;
        }
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        let Some(stats) = &self.stats else { return Ok(()) };
        let held = stats.read().map_err(|why| failed("statistics", &why))?;
        stats.publish(held);
        if let Some(profiles) = &mut self.profiles {
            profiles.consider(held);
        }
        if let Some(disk) = &mut self.disk {
            disk.sample()?;
        }
        Ok(())
    }
}
