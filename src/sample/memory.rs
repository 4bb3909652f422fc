//! How close the wall is.
//!
//! There are several walls, each a limit *and the usage measured at that same level*: the own
//! control group and every ancestor that can be seen, the host, the address space, a budget. The
//! ratio that matters is the greatest of usage ÷ limit, and the level it is found at *binds*. The
//! host binds only a process that holds a quarter of it: who fills an unlimited host is otherwise
//! a neighbour, and nothing this process does about itself will help.
//!
//! Two ways to look, both on the tick thread: `sample`, once a tick, and `glance` in between, the
//! more often the less room is left.

#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::time::Duration;

use super::{
    Failure, Glance, Meter, Sampler, Time,
    backend::{Backend, Need, Origin},
    field::{Told, put},
};
#[cfg(target_os = "linux")]
use super::{
    alarm::{self, Alarm, Alarms},
    aside::Aside,
    cgroup::Version,
    group::{GroupReading, Located, group_level},
    procfs::{Age, Look, Procfs, Turn},
    resident::{Region, Resident},
};
#[cfg(target_os = "linux")]
use crate::sync::{Arc, Mutex};
use crate::{instrument::Gauge, name::Unit, semconv};

/// Above this share of the host's memory in our hands the host is a wall of ours.
const SHARE_OF_HOST: f64 = 0.25;

/// What memory is filled with at most, in bytes a second: earlyoom's figure.
const FASTEST: f64 = 6e9;
/// From here on a rise of so much between ticks is told at once.
const HIGH: f64 = 0.8;
const RISE: f64 = 0.02;
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// While memory grows so that little more than this is left.
const HURRIED_PAUSE: Duration = Duration::from_millis(10);
/// From here on it is critical: told at once.
const CRITICAL: f64 = 0.95;
/// Of a group's limit: where the kernel is asked to wake us, what is charged crossing it.
#[cfg(target_os = "linux")]
const MARKS: [f64; 6] = [0.5, 0.7, 0.8, 0.9, 0.95, 0.98];
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Over less time than this a growth is mostly noise.
const SHORTEST_STEP: Duration = Duration::from_millis(50);

/// The memory that counts: `highwater.memory.limit`, `.usage`, `.utilization` by `level`, and
/// the one that binds. On by default.
///
/// | `level` | limit | usage |
/// |---|---|---|
/// | `cgroup` | the own group's `memory.max` (v1: `limit_in_bytes`) | charged, less page cache and reclaimable slab |
/// | `cgroup.ancestor1`, `2`… | the same of the group around it, and so on outward | the same; the neighbours' included |
/// | `cgroup.memsw`… | of memory and swap together (v1's `memsw`; v2's `memory.max` and `memory.swap.max`) | the same, swap included |
/// | `host` | physical memory | what is not available |
/// | `address_space` | `RLIMIT_AS` | virtual size |
/// | `budget` | [`budget`](Memory::budget) | anonymous, shared and swapped memory of this process |
///
/// A level without a limit is absent. Limits are read anew every tick, as containers are resized
/// live; one that comes into being, and any `RLIMIT_AS`, is seen within five seconds. What a group
/// could give back is measured every five seconds as long as less than half of its limit is charged
/// and that holds still, and so is the host while less than half of it is in use and it does not
/// bind us. Page cache raises no usage, tmpfs
/// does; what an allocator has freed with `MADV_FREE` is left out of the groups' and the host's
/// usage, but not of a budget's, and what it keeps without saying so counts everywhere.
/// `memory.high` is no wall but a throttle: [`pressure`](super::pressure()) tells of it.
///
/// Beside them: `highwater.memory.binding.utilization`, the greatest ratio over the levels that
/// bind us (the host only if this process holds a quarter of it), `highwater.memory.binding`,
/// which is 1 at that level, and `highwater.memory.runway`, the seconds left at the growth of the
/// last moment; no runway while nothing grows.
///
/// Between ticks it glances the more often the less room is left, and when the kernel wakes it:
/// thresholds of usage and reclaim pressure of v1 groups, changes of v2's `memory.events`, and
/// [`pressure`](super::pressure()). `highwater.memory.wakeups` counts those by `source`; what is
/// not granted is in the log, has no such series, and is made up for by looking more often.
///
/// What it touches between ticks, the tick thread's stack and the code around are kept in memory as
/// far as `RLIMIT_MEMLOCK` allows, of which at most half is taken; `highwater.memory.locked` says
/// how much of each `part` was granted.
///
/// A glance reads one small file for each group with a limit: 2 µs, or with a cold cache twenty times
/// that.
pub fn memory() -> Memory {
    Memory {
        origin: Origin::default(),
        budget: None,
        state: None,
        #[cfg(target_os = "linux")]
        resident: Resident::default(),
    }
}

/// See [`memory`].
#[derive(Debug)]
pub struct Memory {
    pub(super) origin: Origin,
    budget: Option<u64>,
    state: Option<State>,
    /// What is kept in memory for the fast lane.
    #[cfg(target_os = "linux")]
    resident: Resident,
}

impl Memory {
    /// A limit of your own for this process, in bytes: the level `budget`. None by default.
    ///
    /// ```
    /// let memory = highwater::sample::memory().budget(512 << 20);
    /// # let _ = memory;
    /// ```
    #[must_use]
    pub fn budget(mut self, bytes: u64) -> Self {
        self.budget = Some(bytes);
        self
    }
}

/// One level's figures, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wall {
    /// `None`: unlimited.
    pub(super) limit: Option<u64>,
    pub(super) usage: u64,
}

impl Wall {
    fn ratio(&self) -> Option<f64> {
        match self.limit? {
            // Nothing may be used: full, whatever is.
            0 => Some(1.0),
            limit => Some(self.usage as f64 / limit as f64),
        }
    }

    fn headroom(&self) -> Option<u64> {
        Some(self.limit?.saturating_sub(self.usage))
    }
}

/// What is published of one level, and how fast it grew.
#[derive(Debug)]
struct Level {
    limit: Gauge,
    usage: Gauge,
    utilization: Gauge,
    binds: Told,
    /// When it was last measured.
    last: Option<(Duration, u64)>,
    /// Bytes a second.
    growth: f64,
    /// What was published.
    told: Option<Wall>,
}

impl Level {
    fn resolve(meter: &mut Meter, level: &str) -> Self {
        let label = [(semconv::LEVEL, level)];
        Self {
            limit: meter.up_down_counter(
                semconv::MEMORY_LIMIT,
                Unit::BYTES,
                "How much memory may be in use at this level.",
                label,
            ),
            usage: meter.up_down_counter(
                semconv::MEMORY_USAGE,
                Unit::BYTES,
                "Memory in use at this level that cannot be had back at once.",
                label,
            ),
            utilization: meter.gauge(
                semconv::MEMORY_UTILIZATION,
                Unit::ONE,
                "Usage as a share of the limit at this level.",
                label,
            ),
            binds: Told::new(meter.gauge(
                semconv::MEMORY_BINDING,
                Unit::ONE,
                "1 at the level whose share is the greatest, 0 at the others.",
                label,
            )),
            last: None,
            growth: 0.0,
            told: None,
        }
    }

    /// Whether it is news: see [`Told`].
    fn publish(&mut self, wall: &Wall) -> bool {
        if self.told == Some(*wall) {
            return false;
        }
        self.told = Some(*wall);
        put(&self.limit, wall.limit.map(|bytes| bytes as f64));
        put(&self.usage, wall.limit.map(|_| wall.usage as f64));
        put(&self.utilization, wall.ratio());
        true
    }

    fn grow(&mut self, now: Duration, usage: u64) {
        let Some((at, before)) = self.last else {
            self.last = Some((now, usage));
            return;
        };
        let step = now.saturating_sub(at);
        if step >= SHORTEST_STEP {
            self.growth = (usage as f64 - before as f64) / step.as_secs_f64();
            self.last = Some((now, usage));
        }
    }
}

/// The own group's raw figures under their conventional names.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Container {
    usage: Told,
    anonymous: Told,
    working_set: Told,
    available: Told,
}

#[cfg(target_os = "linux")]
impl Container {
    fn resolve(meter: &mut Meter) -> Self {
        let mut gauge = |name, help| Told::new(meter.up_down_counter(name, Unit::BYTES, help, []));
        Self {
            usage: gauge(semconv::CONTAINER_MEMORY_USAGE, "All that is charged, page cache too."),
            anonymous: gauge(semconv::CONTAINER_MEMORY_RSS, "Memory that no file backs."),
            working_set: gauge(
                semconv::CONTAINER_MEMORY_WORKING_SET,
                "All that is charged but page cache not used lately.",
            ),
            available: gauge(
                semconv::CONTAINER_MEMORY_AVAILABLE,
                "The limit less the working set; absent without a limit.",
            ),
        }
    }

    fn publish(&mut self, own: &GroupReading) {
        let working_set = own.charged.saturating_sub(own.stat.inactive_file);
        self.usage.put(Some(own.charged as f64));
        self.working_set.put(Some(working_set as f64));
        self.anonymous.put(own.stat.anonymous.map(|bytes| bytes as f64));
        let available = own.memory.limit.map(|limit| limit.saturating_sub(working_set));
        self.available.put(available.map(|bytes| bytes as f64));
    }
}

#[derive(Debug)]
struct State {
    backend: Backend,
    time: Time,
    /// Those of groups, two each, then `host`, `address_space`, `budget`.
    levels: Vec<Level>,
    /// One for each level.
    walls: Vec<Wall>,
    #[cfg(target_os = "linux")]
    groups: Groups,
    utilization: Told,
    runway: Told,
    /// Which level binds.
    binding: Option<usize>,
    /// Whether the host is a wall of ours.
    host_binds: bool,
    next_glance: Option<Duration>,
    /// The binding ratio now, and when the rules last judged.
    ratio: f64,
    judged: f64,
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Groups {
    /// Which look-up the levels belong to.
    generation: u64,
    readings: Vec<GroupReading>,
    container: Container,
    guards: Guards,
}

/// What the kernel wakes us by.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Guards {
    alarms: Alarms,
    threshold: Gauge,
    /// Of v1.
    marks: Vec<Marks>,
    /// Whether they were armed once.
    begun: bool,
    /// Held, so that they stay armed.
    _others: Vec<Arc<Alarm>>,
}

#[cfg(target_os = "linux")]
impl Guards {
    fn arm(places: Vec<Located>, meter: &mut Meter) -> Self {
        let alarms = meter.alarms();
        let told = |meter: &mut Meter, source| alarm::wakeups(meter, source);
        let (reclaim, events) = (told(meter, "reclaim"), told(meter, "events"));
        let mut others = Vec::new();
        let v1 = |place: &Located| (place.version == Version::V1).then(|| place.folder.clone());
        let files: Vec<_> = places
            .iter()
            .filter(|place| place.version == Version::V2)
            .map(|place| place.folder.join("memory.events"))
            .filter(|file| file.exists())
            .collect();
        let mut granted = |source: &str, alarm: std::io::Result<Alarm>| match alarm {
            Ok(alarm) => others.push(alarms.arm(alarm)),
            Err(why) => log::info!("highwater: polls memory, not woken by {source}: {why}"),
        };
        if let Some(own) = places.iter().find_map(v1) {
            granted("memory.pressure_level", Alarm::reclaim(&own, &reclaim));
        }
        if !files.is_empty() {
            granted("memory.events", Alarm::events(files.iter(), &events));
        }
        Self {
            threshold: told(meter, "threshold"),
            marks: places.iter().filter_map(v1).map(Marks::of).collect(),
            begun: false,
            alarms,
            _others: others,
        }
    }

    /// Limits are resized live.
    fn follow(&mut self, readings: &[GroupReading]) {
        for (marks, reading) in self.marks.iter_mut().zip(readings) {
            if marks.limit != reading.memory.limit {
                marks.move_to(reading.memory.limit, &self.alarms, &self.threshold, self.begun);
            }
        }
        self.begun = true;
    }

    /// Whether the kernel wakes us before this level is in danger. It counts all that is charged:
    /// once cache has crossed the first mark, what takes the cache's place crosses nothing.
    fn watches(&self, level: usize, readings: &[GroupReading]) -> bool {
        // Two levels a group, the first without swap.
        if !level.is_multiple_of(2) {
            return false;
        }
        let marks = self.marks.get(level / 2).zip(readings.get(level / 2));
        marks.is_some_and(|(marks, reading)| {
            let limit = marks.limit;
            let far = limit.is_some_and(|limit| (reading.charged as f64) < MARKS[0] * limit as f64);
            far && limit == reading.memory.limit && marks.are_armed()
        })
    }
}

/// Of one v1 group.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Marks {
    group: PathBuf,
    /// What they are shares of.
    limit: Option<u64>,
    armed: Arc<Mutex<Option<Arc<Alarm>>>>,
    aside: Aside,
}

#[cfg(target_os = "linux")]
impl Marks {
    fn of(group: PathBuf) -> Self {
        Self { group, limit: None, armed: Arc::default(), aside: Aside::default() }
    }

    fn are_armed(&self) -> bool {
        let armed = self.armed.lock();
        armed.as_ref().is_some_and(|alarm| alarm.is_live())
    }

    /// For each the kernel waits until all cores have gone round, some ten milliseconds: not on this
    /// thread (`aside`) where a limit was lowered just now. Until they are armed it polls.
    fn move_to(&mut self, limit: Option<u64>, alarms: &Alarms, told: &Gauge, aside: bool) {
        if self.aside.is_busy() {
            return;
        }
        *self.armed.lock() = None;
        let Some(bytes) = limit else {
            self.limit = None;
            return;
        };
        let (group, armed) = (self.group.clone(), self.armed.clone());
        let (alarms, told) = (alarms.clone(), told.clone());
        let work = move || {
            let marks = MARKS.into_iter().map(|mark| (mark * bytes as f64) as u64);
            match Alarm::thresholds(&group, marks, &told) {
                Ok(new) => *armed.lock() = Some(alarms.arm(new)),
                Err(why) => {
                    log::info!("highwater: polls memory, not woken by thresholds: {why}");
                }
            }
        };
        if !aside {
            work();
            self.limit = limit;
        } else if self.aside.run("highwater-marks", work) {
            self.limit = limit;
        }
    }
}

impl Sampler for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        self.state = Some(State::new(self.origin.open(Need::Memory)?, meter));
        #[cfg(target_os = "linux")]
        {
            // Once all that it touches is there.
            self.look(false)?;
            self.resident = Resident::default();
            self.resident =
                Resident::keep(&self.regions(), &[Self::look as *const () as usize], meter);
        }
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        self.look(false)?;
        if let Some(state) = &mut self.state {
            state.judged = state.ratio;
        }
        Ok(())
    }

    fn next_glance(&self) -> Option<Duration> {
        self.state.as_ref()?.next_glance
    }

    fn glance(&mut self) -> Result<Glance, Failure> {
        self.look(true)?;
        let urgent = self.state.as_ref().is_some_and(State::is_urgent);
        Ok(if urgent { Glance::Urgent } else { Glance::Calm })
    }
}

#[cfg(target_os = "linux")]
impl Memory {
    /// What a glance touches, the pressure sampler's part left out: one that thrashes is found by
    /// its ratio, too.
    fn regions(&self) -> Vec<Region> {
        let mut regions = vec![Region::of(self)];
        let Some(state) = &self.state else { return regions };
        regions.push(Region::of(&state.levels[..]));
        regions.push(Region::of(&state.walls[..]));
        let gauges = state.levels.iter().flat_map(|level| {
            [&level.limit, &level.usage, &level.utilization, level.binds.gauge()]
        });
        for gauge in gauges.chain([state.utilization.gauge(), state.runway.gauge()]) {
            regions.push(Region::of(&*gauge.0));
        }
        regions.push(Region::of(&state.groups.guards.marks[..]));
        regions.push(Region::of(&state.groups.readings[..]));
        if let Backend::Linux(procfs) = &state.backend {
            procfs.regions(&mut regions);
        }
        regions
    }
}

impl Memory {
    fn look(&mut self, glance: bool) -> Result<(), Failure> {
        let Some(state) = &mut self.state else { return Ok(()) };
        state.read(glance, self.budget)?;
        state.publish(state.time.now());
        Ok(())
    }
}

impl State {
    fn new(backend: Backend, meter: &mut Meter) -> Self {
        let mut levels = Vec::new();
        #[cfg(target_os = "linux")]
        let groups = {
            let (generation, places) = match &backend {
                Backend::Linux(procfs) => {
                    (procfs.locate_groups(&procfs.look()).1, procfs.group_places())
                }
                Backend::Portable(_) => (0, Vec::new()),
            };
            for place in &places {
                let name = group_level(place.depth);
                levels.push(Level::resolve(meter, &name));
                levels.push(Level::resolve(meter, &format!("{name}.memsw")));
            }
            let container = Container::resolve(meter);
            let readings = Vec::with_capacity(places.len());
            Groups { generation, readings, container, guards: Guards::arm(places, meter) }
        };
        for name in ["host", "address_space", "budget"] {
            levels.push(Level::resolve(meter, name));
        }
        Self {
            backend,
            time: meter.time(),
            walls: vec![Wall::default(); levels.len()],
            levels,
            #[cfg(target_os = "linux")]
            groups,
            utilization: Told::new(meter.gauge(
                semconv::MEMORY_BINDING_UTILIZATION,
                Unit::ONE,
                "Usage as a share of the limit, at the level where that is greatest.",
                [],
            )),
            runway: Told::new(meter.gauge(
                semconv::MEMORY_RUNWAY,
                Unit::SECONDS,
                "Time until a limit is reached, growing as in the last moment; absent if not growing.",
                [],
            )),
            binding: None,
            host_binds: false,
            next_glance: None,
            ratio: 0.0,
            judged: 0.0,
        }
    }

    /// A glance spares what has been far from mattering.
    fn read(&mut self, glance: bool, budget: Option<u64>) -> Result<(), Failure> {
        let Some([host, address_space, own]) = self.walls.last_chunk_mut() else { return Ok(()) };
        match &mut self.backend {
            #[cfg(target_os = "linux")]
            Backend::Linux(procfs) => {
                let look = &procfs.look();
                if !glance || self.host_binds {
                    let info = procfs.meminfo_if_any(look, self.host_binds)?;
                    *host = info.map_or_else(Wall::default, |info| Wall {
                        limit: Some(info.total),
                        usage: info.used(),
                    });
                }
                if !glance {
                    address_space.limit = procfs.process_limits(look)?.address_space;
                }
                // Most have no such limit and need not know their size.
                address_space.usage = match address_space.limit {
                    Some(_) => {
                        let pages = procfs.virtual_pages(look)?;
                        pages.saturating_mul(rustix::param::page_size() as u64)
                    }
                    None => 0,
                };
                if !glance || budget.is_some() {
                    let age = if budget.is_some() { Age::Fresh } else { Age::Since(Turn::Process) };
                    let status = procfs.process_status(look, age)?.unwrap_or_default();
                    let part = |bytes: Option<u64>| bytes.unwrap_or(0);
                    let usage = part(status.anonymous)
                        .saturating_add(part(status.shared))
                        .saturating_add(part(status.swap));
                    *own = Wall { limit: budget, usage };
                    let resident = match budget {
                        Some(_) => status.resident,
                        None => procfs.resident(look)?,
                    };
                    let held = part(resident).saturating_add(part(status.swap));
                    self.host_binds = binds(held, host);
                }
                self.groups.read(procfs, look, glance, &mut self.walls)?;
            }
            Backend::Portable(portable) => {
                let system = portable.system()?;
                *host = Wall { limit: Some(system.total), usage: system.used };
                let resident = portable.process()?.resident.unwrap_or(0);
                *address_space = Wall::default();
                *own = Wall { limit: budget, usage: resident };
                self.host_binds = binds(resident, host);
            }
        }
        Ok(())
    }

    fn publish(&mut self, now: Duration) {
        let host = self.levels.len().saturating_sub(3);
        let (mut binding, mut runway, mut headroom) = (None, None::<f64>, None::<u64>);
        let mut is_news = false;
        for (at, (level, wall)) in self.levels.iter_mut().zip(&self.walls).enumerate() {
            let is_new = level.publish(wall);
            is_news |= is_new;
            match wall.limit {
                Some(_) => level.grow(now, wall.usage),
                None if is_new => (level.last, level.growth) = (None, 0.0),
                None => {}
            }
            let (Some(ratio), Some(room)) = (wall.ratio(), wall.headroom()) else { continue };
            if at == host && !self.host_binds {
                continue;
            }
            if binding.is_none_or(|(_, greatest)| ratio > greatest) {
                binding = Some((at, ratio));
            }
            #[cfg(target_os = "linux")]
            let is_watched = self.groups.guards.watches(at, &self.groups.readings);
            #[cfg(not(target_os = "linux"))]
            let is_watched = false;
            if !is_watched {
                headroom = Some(headroom.map_or(room, |least| least.min(room)));
            }
            if level.growth > 0.0 {
                let left = room as f64 / level.growth;
                runway = Some(runway.map_or(left, |least| least.min(left)));
            }
        }
        let at = binding.map(|(at, _)| at);
        if is_news || at != self.binding {
            self.binding = at;
            for (at, (level, wall)) in self.levels.iter_mut().zip(&self.walls).enumerate() {
                let here = self.binding == Some(at);
                level.binds.put(wall.limit.map(|_| f64::from(here)));
            }
        }
        self.ratio = binding.map_or(0.0, |(_, ratio)| ratio);
        self.utilization.put(binding.map(|(_, ratio)| ratio));
        self.runway.put(runway);
        let hurried = runway.map(|left| pause_of_seconds(left / 4.0, HURRIED_PAUSE));
        let calm = headroom.map(|room| pause_of_seconds(room as f64 / FASTEST, SHORTEST_PAUSE));
        self.next_glance = calm.into_iter().chain(hurried).min();
    }
}

impl State {
    /// High, and higher than what the rules know of.
    fn is_urgent(&self) -> bool {
        let is_critical = self.ratio > CRITICAL && self.judged <= CRITICAL;
        is_critical || (self.ratio >= HIGH && self.ratio - self.judged >= RISE)
    }
}

fn pause_of_seconds(seconds: f64, shortest: Duration) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_PAUSE.as_secs_f64())).max(shortest)
}

fn binds(held: u64, host: &Wall) -> bool {
    host.limit.is_some_and(|limit| held as f64 >= SHARE_OF_HOST * limit as f64)
}

#[cfg(target_os = "linux")]
impl Groups {
    fn read(
        &mut self,
        procfs: &Procfs,
        look: &Look,
        glance: bool,
        walls: &mut [Wall],
    ) -> Result<(), Failure> {
        if !glance && procfs.locate_groups(look).1 != self.generation {
            return Err(Failure::Failed(
                "this process was moved to another control group, whose levels differ".into(),
            ));
        }
        procfs.groups(look, glance, &mut self.readings)?;
        if !glance {
            self.guards.follow(&self.readings);
        }
        for (group, walls) in self.readings.iter().zip(walls.chunks_exact_mut(2)) {
            walls.copy_from_slice(&[group.memory, group.memory_and_swap]);
        }
        // The outermost group alone is the whole machine.
        if !glance
            && let Some(own) = self.readings.first()
            && (self.readings.len() > 1 || own.memory.limit.is_some())
        {
            self.container.publish(own);
        }
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
#[path = "memory_tests.rs"]
mod tests;
