//! What the kernel did at the memory limits of this process' groups.
//!
//! v2 counts twice. `memory.events` has what happened in a group and all below it, so a slice of a
//! hundred services counts the death of each at its own limit; `memory.events.local` has what
//! happened to the group itself: `oom` where *its* limit could not be held, whoever then died, and
//! `oom_kill` where one of its own processes was killed. Kernels before 5.2 and v1 have only the
//! latter kind, under the former's name.

use std::path::Path;

use super::{
    Failure, Meter,
    cgroup::{Groups, Version},
    field::Told,
    group::group_level,
    parse::cgroup::GroupEvents,
    procfs::{Age, Look, Source},
};
use crate::{instrument::Gauge, name::Unit, semconv};

/// Those of one group.
#[derive(Debug)]
pub(super) struct Events {
    depth: usize,
    all: Source<GroupEvents>,
    /// `None`: `all` is it.
    local: Option<Source<GroupEvents>>,
    counts: Counts,
    local_counts: Counts,
}

impl Events {
    /// From the own group outward, those that tell.
    pub(super) fn open_all(groups: &Groups, meter: &mut Meter) -> Vec<Self> {
        let levels = groups.folders.iter().enumerate();
        levels
            .filter_map(|(depth, folder)| Self::open(depth, folder, groups.version, meter))
            .collect()
    }

    fn open(depth: usize, folder: &Path, version: Version, meter: &mut Meter) -> Option<Self> {
        let readable = |file: &str| {
            let mut source = Source::new(folder.join(file), GroupEvents::parse);
            source.first().is_ok().then_some(source)
        };
        let (all, local) = match version {
            Version::V1 => (readable("memory.oom_control")?, None),
            Version::V2 => (readable("memory.events")?, readable("memory.events.local")),
        };
        let level = group_level(depth);
        Some(Self {
            depth,
            all,
            local,
            counts: Counts::resolve(semconv::MEMORY_EVENTS, &level, meter),
            local_counts: Counts::resolve(semconv::MEMORY_EVENTS_LOCAL, &level, meter),
        })
    }

    /// What happens further out, and who of ours it was, may be known a little later: only if
    /// `around` is read.
    pub(super) fn read(&mut self, look: &Look, around: bool) -> Result<(), Failure> {
        if self.depth > 0 && !around {
            return Ok(());
        }
        let all = self.all.read(look, Age::Now)?;
        self.counts.publish(&all);
        match &mut self.local {
            None => self.local_counts.publish(&all),
            Some(local) if around => self.local_counts.publish(&local.read(look, Age::Now)?),
            Some(_) => {}
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Counts {
    high: Told,
    max: Told,
    oom: Told,
    oom_kill: Told,
}

impl Counts {
    fn resolve(metric: &'static str, level: &str, meter: &mut Meter) -> Self {
        let mut of = |event| Told::new(count(metric, event, level, meter));
        Self { high: of("high"), max: of("max"), oom: of("oom"), oom_kill: of("oom_kill") }
    }

    fn publish(&mut self, events: &GroupEvents) {
        for (told, count) in [
            (&mut self.high, events.high),
            (&mut self.max, events.max),
            (&mut self.oom, events.oom),
            (&mut self.oom_kill, events.oom_kill),
        ] {
            told.put(count.map(|count| count as f64));
        }
    }
}

/// The whole machine's kills.
pub(super) fn host_kills(meter: &mut Meter) -> Gauge {
    count(semconv::MEMORY_EVENTS, "oom_kill", "host", meter)
}

fn count(metric: &'static str, event: &str, level: &str, meter: &mut Meter) -> Gauge {
    let help = if metric == semconv::MEMORY_EVENTS {
        "How often a group met its limits (high, max), ran out (oom), had a process killed; with all groups below it."
    } else {
        "The same of the group itself, those below it left out."
    };
    let labels = [(semconv::EVENT, event), (semconv::LEVEL, level)];
    meter.counter(metric, Unit::known("{event}"), help, labels)
}
