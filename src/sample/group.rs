//! The memory of control groups: limits, each with the usage measured at that same level.
//!
//! *The usage that counts* is what cannot be had back before something is refused: what is
//! charged, less the page cache on the file lists (active and inactive) and less reclaimable
//! slab. tmpfs and shared memory stay in: they live on the anonymous lists. Memory freed with
//! `MADV_FREE` is out: the kernel moves it to the inactive file list, though it still counts it
//! as anonymous. v1 does not tell its slab, so there it counts.
//!
//! What a group could give back is measured in a turn, as long as less than half of its limit is
//! charged and that holds still: it costs more than the rest together.
//!
//! An ancestor's usage includes the neighbours'. A v1 group also tells the least limit of all
//! ancestors, so one that cannot be seen from a container still binds, with the visible usage as
//! a lower bound.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Failure,
    cgroup::{Membership, Version},
    memory::Wall,
    parse::cgroup::{GroupMemory, limit, single},
    procfs::{Age, Kept, Look, Source, Turn},
    resident::Region,
};

/// The label of the group so many levels out.
pub(super) fn group_level(depth: usize) -> String {
    match depth {
        0 => "cgroup".into(),
        _ => format!("cgroup.ancestor{depth}"),
    }
}

/// What one group tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct GroupReading {
    pub(super) memory: Wall,
    /// Memory and swap together: v1's `memsw`, v2's `memory.max` and `memory.swap.max`.
    pub(super) memory_and_swap: Wall,
    /// All that is charged, cache included.
    pub(super) charged: u64,
    pub(super) stat: GroupMemory,
}

/// Where a level is.
#[derive(Debug, Clone)]
pub(super) struct Located {
    /// How far out from the own group. Those between may have no limits of their own.
    pub(super) depth: usize,
    pub(super) folder: PathBuf,
    pub(super) version: Version,
}

/// Where a level stands among the others.
#[derive(Debug, Clone, Copy)]
struct Place {
    own: bool,
    outermost: bool,
    /// Whether there may be limits beyond the outermost.
    hidden: bool,
}

/// The memory groups of this process, kept open.
#[derive(Debug, Default)]
pub(super) struct GroupWalls {
    membership: Option<(Membership, Kept)>,
    levels: Vec<Level>,
    /// Counts the times it was looked up anew.
    generation: u64,
    /// When it was last found to be still so.
    located: Option<Instant>,
}

#[derive(Debug)]
struct Level {
    depth: usize,
    folder: PathBuf,
    version: Version,
    limit: Source<Option<u64>>,
    charged: Source<u64>,
    stat: Source<GroupMemory>,
    swap: Option<Swap>,
    last: GroupReading,
    /// When it was read whole.
    read_at: Option<Instant>,
    /// What was charged when `stat` was read.
    charged_then: u64,
}

/// v1 limits and charges memory and swap together, v2 swap by itself.
#[derive(Debug)]
struct Swap {
    limit: Source<Option<u64>>,
    charged: Source<u64>,
}

impl Swap {
    fn open(folder: &Path, version: Version) -> Option<Self> {
        let (limit_file, charged_file) = match version {
            Version::V1 => ("memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes"),
            Version::V2 => ("memory.swap.max", "memory.swap.current"),
        };
        let mut swap = Self {
            limit: Source::new(folder.join(limit_file), limit),
            charged: Source::new(folder.join(charged_file), single),
        };
        let is_told = swap.limit.first().is_ok();
        (is_told && swap.charged.first().is_ok()).then_some(swap)
    }

    /// The limit of both, given that of memory alone. v2 has none of both where either has none,
    /// and none of its own where no swap may be used.
    fn limit_of_both(
        &mut self,
        version: Version,
        memory: Option<u64>,
        look: &Look,
        age: Age,
    ) -> Result<Option<u64>, Failure> {
        if version == Version::V2 && memory.is_none() {
            return Ok(None);
        }
        let limit = self.limit.read(look, age)?;
        Ok(match version {
            Version::V1 => limit,
            Version::V2 => limit
                .filter(|swap| *swap > 0)
                .zip(memory)
                .map(|(swap, memory)| swap.saturating_add(memory)),
        })
    }

    /// All that is charged of both.
    fn charged_of_both(
        &mut self,
        version: Version,
        memory: u64,
        look: &Look,
        age: Age,
    ) -> Result<u64, Failure> {
        let charged = self.charged.read(look, age)?;
        Ok(match version {
            Version::V1 => charged,
            Version::V2 => charged.saturating_add(memory),
        })
    }
}

impl GroupWalls {
    /// Looks up where this process is, unless it is still there. Says how many levels there are
    /// and which look-up this was.
    pub(super) fn locate(&mut self, procfs: &Path, now: Instant, fresh: Duration) -> (usize, u64) {
        if self.located.is_some_and(|at| now.saturating_duration_since(at) < fresh) {
            return (self.levels.len(), self.generation);
        }
        self.located = Some(now);
        let still = self.membership.as_mut().is_some_and(|(known, kept)| {
            // Unreadable is not elsewhere.
            kept.read(|groups| known.still(groups)).unwrap_or(true)
        });
        if !still {
            let membership = Membership::read(procfs);
            self.levels = levels(&membership);
            let kept = Kept::new(procfs.join("self/cgroup"));
            self.membership = Some((membership, kept));
            self.generation += 1;
        }
        (self.levels.len(), self.generation)
    }

    /// What a glance touches.
    pub(super) fn regions(&self, into: &mut Vec<Region>) {
        into.push(Region::of(&self.levels[..]));
        for level in &self.levels {
            level.limit.regions(into);
            level.charged.regions(into);
            level.stat.regions(into);
            if let Some(swap) = &level.swap {
                swap.limit.regions(into);
                swap.charged.regions(into);
            }
        }
    }

    /// Where the levels are.
    pub(super) fn places(&self) -> Vec<Located> {
        let place = |level: &Level| Located {
            depth: level.depth,
            folder: level.folder.clone(),
            version: level.version,
        };
        self.levels.iter().map(place).collect()
    }

    /// What the own group's memory is made of, as old as its level's figures may be.
    pub(super) fn own(&mut self, look: &Look) -> Result<Option<GroupMemory>, Failure> {
        let outermost = self.levels.len() == 1;
        let Some(level) = self.levels.first_mut() else { return Ok(None) };
        if level.read_at.is_none_or(|at| !look.accepts(at, Age::Fresh)) {
            level.read(look, Place { own: true, outermost, hidden: true })?;
        }
        Ok(Some(level.last.stat))
    }

    /// Reads all levels, from the own group outward; see [`Level::glance`] for what is `cheap`.
    pub(super) fn read(
        &mut self,
        look: &Look,
        cheap: bool,
        into: &mut Vec<GroupReading>,
    ) -> Result<(), Failure> {
        into.clear();
        let outermost = self.levels.len().saturating_sub(1);
        for (depth, level) in self.levels.iter_mut().enumerate() {
            // v1 tells the least limit of all ancestors, out of sight ones too, in every group.
            let hidden = into.first().is_none_or(|own| own.stat.least_limit.is_some());
            let place = Place { own: depth == 0, outermost: depth == outermost, hidden };
            into.push(if cheap { level.glance(look)? } else { level.read(look, place)? });
        }
        Ok(())
    }
}

fn levels(membership: &Membership) -> Vec<Level> {
    let Some(groups) = membership.of("memory") else { return Vec::new() };
    let mut levels = Vec::new();
    for (depth, folder) in groups.folders.iter().enumerate() {
        // Before Linux 5.11 a v1 group might not be charged for those below it.
        let alone = || std::fs::read(folder.join("memory.use_hierarchy"));
        if depth > 0 && groups.version == Version::V1 && alone().is_ok_and(|flag| flag == b"0\n") {
            break;
        }
        // Some have no limits: v2's root, and groups the controller is off for.
        levels.extend(Level::open(depth, folder, groups.version));
    }
    levels
}

impl Level {
    fn limit_of_both(
        &mut self,
        memory: Option<u64>,
        look: &Look,
        age: Age,
    ) -> Result<Option<u64>, Failure> {
        let Some(swap) = &mut self.swap else { return Ok(None) };
        swap.limit_of_both(self.version, memory, look, age)
    }

    fn open(depth: usize, folder: &Path, version: Version) -> Option<Self> {
        let file = |name: &str| -> PathBuf { folder.join(name) };
        let (limit_file, charged_file) = match version {
            Version::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            Version::V2 => ("memory.max", "memory.current"),
        };
        let mut level = Self {
            depth,
            folder: folder.to_owned(),
            version,
            limit: Source::new(file(limit_file), limit),
            charged: Source::new(file(charged_file), single),
            stat: Source::new(file("memory.stat"), GroupMemory::parse),
            swap: Swap::open(folder, version),
            last: GroupReading::default(),
            read_at: None,
            charged_then: 0,
        };
        let place = Place { own: true, outermost: false, hidden: false };
        level.read(&Look::first(), place).is_ok().then_some(level)
    }

    fn read(&mut self, look: &Look, place: Place) -> Result<GroupReading, Failure> {
        self.read_at = None;
        let reading = self.measure(look, place)?;
        self.read_at = Some(look.now());
        Ok(reading)
    }

    fn measure(&mut self, look: &Look, place: Place) -> Result<GroupReading, Failure> {
        // A limit that comes into being may be seen a little later than one that is changed.
        let rarely = |limit: Option<u64>| match limit {
            Some(_) => Age::Fresh,
            None => Age::Since(Turn::Around),
        };
        let mut limit = self.limit.read(look, rarely(self.last.memory.limit))?;
        let swap_age = rarely(self.last.memory_and_swap.limit);
        if limit.is_none() && !place.own && self.limit_of_both(limit, look, swap_age)?.is_none() {
            let in_turn = Age::Since(Turn::of_level(self.depth));
            let is_bound = place.outermost
                && place.hidden
                && self.stat.read(look, in_turn)?.least_limit.is_some();
            if !is_bound {
                // Nothing to compare with: no usage to measure, which costs the most.
                self.last = GroupReading::default();
                return Ok(self.last);
            }
        }
        let charged = self.charged.read(look, Age::Fresh)?;
        let least = limit.or(self.last.memory.limit);
        let stat = self.stat(look, charged, least)?;
        self.last.stat = stat;
        if place.outermost
            && let Some(least) = stat.least_limit
        {
            limit = Some(limit.map_or(least, |limit| limit.min(least)));
        }
        let reclaimable = stat.reclaimable();
        self.last.charged = charged;
        self.last.memory = Wall { limit, usage: charged.saturating_sub(reclaimable) };
        let both = self.limit_of_both(limit, look, swap_age)?;
        self.last.memory_and_swap = match &mut self.swap {
            Some(swap) if both.is_some() => {
                let charged = swap.charged_of_both(self.version, charged, look, Age::Fresh)?;
                Wall { limit: both, usage: charged.saturating_sub(reclaimable) }
            }
            // Who has no such limit need not know what it would be compared with.
            _ => Wall::default(),
        };
        Ok(self.last)
    }

    /// What of it could be had back. As of the last turn where that can change nothing: even if it
    /// were none, the wall would be far, and what is charged has hardly changed since.
    fn stat(
        &mut self,
        look: &Look,
        charged: u64,
        limit: Option<u64>,
    ) -> Result<GroupMemory, Failure> {
        let both = self.last.memory_and_swap;
        let moved = charged.abs_diff(self.charged_then);
        let far = |charged: u64, limit: Option<u64>| {
            limit.is_none_or(|limit| charged < limit / 2 && moved < limit / 64)
        };
        let is_far = far(charged, limit) && far(charged.max(both.usage), both.limit);
        let in_turn = Age::Since(Turn::of_level(self.depth));
        let age = if is_far { in_turn } else { Age::Fresh };
        let before = self.stat.read_at();
        let stat = self.stat.read(look, age)?;
        if self.stat.read_at() != before {
            self.charged_then = charged;
        }
        Ok(stat)
    }

    /// Between ticks: limits are those of the last one, and so is what can be reclaimed, unless it
    /// begins to matter. `memory.stat` costs ten times what the number of charged bytes does.
    fn glance(&mut self, look: &Look) -> Result<GroupReading, Failure> {
        let GroupReading { memory, memory_and_swap, stat, .. } = self.last;
        if memory.limit.is_none() && memory_and_swap.limit.is_none() {
            return Ok(self.last);
        }
        let charged = self.charged.read(look, Age::Now)?;
        self.last.charged = charged;
        let reclaimable = stat.reclaimable();
        let limit = memory.limit.unwrap_or(u64::MAX);
        // It looks full, or cache may be giving way to what cannot be reclaimed.
        let full = |usage: u64| usage / 4 >= limit / 5;
        let gives_way = charged / 9 >= limit / 10 && reclaimable > limit / 20;
        if full(charged.saturating_sub(reclaimable)) || gives_way {
            self.last.stat = self.stat.read(look, Age::Now)?;
            self.charged_then = charged;
        }
        let reclaimable = self.last.stat.reclaimable();
        self.last.memory.usage = charged.saturating_sub(reclaimable);
        if let (Some(_), Some(swap)) = (memory_and_swap.limit, &mut self.swap) {
            let charged = swap.charged_of_both(self.version, charged, look, Age::Now)?;
            self.last.memory_and_swap.usage = charged.saturating_sub(reclaimable);
        }
        Ok(self.last)
    }
}
