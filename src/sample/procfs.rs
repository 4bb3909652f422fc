//! The kernel's files, kept open.
//!
//! Opening a procfs file costs more than reading it, so each stays open and is read with `pread`
//! from its start, into one buffer of the thread. All samplers of all instances in a process share
//! one [`Procfs`]: a reading younger than [`FRESH`] is handed out again, so `memory()` and
//! `system()` parse one meminfo, and a second instance whose ticks fall together with the first's
//! costs next to nothing.
//!
//! What changes slowly, or is dear to read and judged over a longer time, is read every [`SLOW`],
//! each kind in a [`Turn`] of its own: no tick pays for all of them.
//!
//! `/proc/self` is resolved when a file is *opened*: in a forked child the parent's open file
//! still tells about the parent. So a file belongs to the process that opened it, and is opened
//! again by another. (The child of a fork while another thread was in here finds a locked mutex;
//! it gets a `Procfs` of its own from [`shared`].)
//!
//! Read by the tick threads; a lock is held for one `pread` (microseconds).

use std::{
    cell::RefCell,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Weak,
    time::{Duration, Instant},
};

use super::{
    Failure,
    group::{GroupReading, GroupWalls, Located},
    parse::{
        LoadAverage, Malformed, MemInfo, ProcessLimits, ProcessStat, ProcessStatus, VmStat,
        cgroup::GroupMemory, virtual_pages,
    },
    resident::Region,
};
use crate::sync::{Arc, Mutex};

/// Until when a reading is handed out again. Below the fast lane's shortest interval.
const FRESH: Duration = Duration::from_millis(50);

/// How often what may be older is read: at every fifth tick of the default.
const SLOW: Duration = Duration::from_secs(5);

/// How often to ask whether this process was moved to another control group.
const RARE: Duration = Duration::from_secs(60);

/// No file of ours is a tenth as long; what is longer is not what we take it for.
const LONGEST: usize = 1 << 20;

/// Which part of [`SLOW`] it is read in: they cost about the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// What happened to the whole machine's memory.
    Host,
    /// This process in detail, its limits, and how busy the machine is.
    Process,
    /// What the own group and the one around it could give back; waiting for memory nobody told of.
    Groups,
    /// What the next one could, and the machine: the root of all, mostly, is both.
    Outer,
    /// Other groups' limits and what happens to them; waiting for anything but memory.
    Around,
}

impl Turn {
    /// Of what is asked of each level, by how far out it is.
    pub(super) fn of_level(depth: usize) -> Self {
        match depth % 4 {
            0 | 1 => Self::Groups,
            2 => Self::Outer,
            _ => Self::Around,
        }
    }
}

const TURNS: u64 = 5;

/// How old a reading may be that is handed out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Of this look.
    Now,
    /// Younger than [`FRESH`].
    Fresh,
    /// Since its last turn.
    Since(Turn),
    /// Whatever there is.
    Any,
}

/// When turns begin.
#[derive(Debug, Clone, Copy)]
struct Pace {
    fresh: Duration,
    slow: Duration,
    origin: Instant,
}

/// When something is read, and by which process: asked once for all that is read together, as
/// asking for the latter is a system call of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    now: Instant,
    process: u32,
    pace: Option<Pace>,
}

impl Look {
    /// At what nobody has read before.
    pub(super) fn first() -> Self {
        Self { now: Instant::now(), process: std::process::id(), pace: None }
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Whether a reading of this moment is handed out again.
    pub(super) fn accepts(&self, at: Instant, age: Age) -> bool {
        let Some(pace) = self.pace else { return age == Age::Any };
        match age {
            Age::Now => false,
            Age::Any => true,
            Age::Fresh => self.now.saturating_duration_since(at) < pace.fresh,
            Age::Since(turn) => {
                self.now.saturating_duration_since(at) < pace.fresh
                    || !pace.slow.is_zero() && pace.begun(turn, at) == pace.begun(turn, self.now)
            }
        }
    }
}

impl Pace {
    /// How often this turn has begun. At a tick a second the first tick's turn is half over: what
    /// is a little early or late is still in it.
    fn begun(&self, turn: Turn, at: Instant) -> u64 {
        let nanoseconds = |time: Duration| time.as_nanos() as u64;
        let step = nanoseconds(self.slow) / TURNS;
        let elapsed = nanoseconds(at.saturating_duration_since(self.origin)) + step / 2;
        let steps = elapsed.checked_div(step).unwrap_or(elapsed);
        (steps + TURNS - 1 - turn as u64) / TURNS
    }
}

thread_local! {
    /// Where all that this thread reads comes to lie: after a pause of a second each cache line costs
    /// as much as a system call, and this way they are few.
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A text file of the kernel, kept open.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    /// With the process that opened it.
    file: Option<(u32, File)>,
}

impl Kept {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// What is made of the whole file as it is now.
    pub(super) fn read<R>(&mut self, using: impl FnOnce(&[u8]) -> R) -> io::Result<R> {
        self.read_for(std::process::id(), true, using)
    }

    /// By the process of this id, which is ours; if not `whole`, what the kernel gives at once.
    fn read_for<R>(
        &mut self,
        process: u32,
        whole: bool,
        using: impl FnOnce(&[u8]) -> R,
    ) -> io::Result<R> {
        TEXT.with_borrow_mut(|buffer| {
            let length = self.fill(process, whole, buffer)?;
            Ok(using(&buffer[..length]))
        })
    }

    fn fill(&mut self, process: u32, whole: bool, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let known = self.file.take_if(|(owner, _)| *owner == process);
        if let Some((_, file)) = known {
            // If not, what it showed is gone (ESRCH, ENODEV); there may be a new one by that name.
            if let Ok(length) = fill(&file, whole, buffer) {
                self.file = Some((process, file));
                return Ok(length);
            }
        }
        let (_, file) = self.file.insert((process, File::open(&self.path)?));
        fill(file, whole, buffer)
    }
}

fn fill(file: &File, whole: bool, buffer: &mut Vec<u8>) -> io::Result<usize> {
    if buffer.is_empty() {
        buffer.resize(2 * PAGE, 0);
    }
    let mut length = 0;
    loop {
        if length == buffer.len() {
            if length >= LONGEST {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            buffer.resize(length * 2, 0);
        }
        match file.read_at(&mut buffer[length..], length as u64) {
            Ok(0) => return Ok(length),
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        // seq_file stops early only when a page is full, so a short answer is the whole.
        if !whole || length < PAGE / 2 {
            return Ok(length);
        }
    }
}

/// seq_file's first buffer.
const PAGE: usize = 4096;

/// A kept file, how it is read, and what was read last.
#[derive(Debug)]
pub(super) struct Source<T> {
    kept: Kept,
    parse: fn(&[u8]) -> Result<T, Malformed>,
    /// Whether nothing is missing, where the file goes on after what is ours.
    is_all: Option<fn(&T) -> bool>,
    last: Option<(Instant, u32, T)>,
    /// Whether it was ever read.
    seen: bool,
}

impl<T: Copy> Source<T> {
    pub(super) fn new(path: PathBuf, parse: fn(&[u8]) -> Result<T, Malformed>) -> Self {
        Self { kept: Kept::new(path), parse, is_all: None, last: None, seen: false }
    }

    /// Read no further than that.
    fn until(self, is_all: fn(&T) -> bool) -> Self {
        Self { is_all: Some(is_all), ..self }
    }

    /// What a reading touches.
    pub(super) fn regions(&self, into: &mut Vec<Region>) {
        into.push(Region::of(self));
    }

    /// Whether there is such a thing, and what it says.
    pub(super) fn first(&mut self) -> Result<T, Failure> {
        self.read(&Look::first(), Age::Now)
    }

    pub(super) fn read(&mut self, look: &Look, age: Age) -> Result<T, Failure> {
        if let Some((at, owner, value)) = self.last
            && owner == look.process
            && look.accepts(at, age)
        {
            return Ok(value);
        }
        self.last = None;
        let mut value = None;
        if let Some(is_all) = self.is_all {
            let start = self.kept.read_for(look.process, false, self.parse);
            value = start.ok().and_then(Result::ok).filter(is_all);
        }
        let value = match value {
            Some(value) => value,
            None => match self.kept.read_for(look.process, true, self.parse) {
                Ok(parsed) => parsed?,
                Err(error) => return Err(at_path(&self.kept.path, &error)),
            },
        };
        self.last = Some((look.now, look.process, value));
        self.seen = true;
        Ok(value)
    }

    /// For what some kernels and sandboxes lack: failing is a failure only if it worked before.
    fn read_if_any(&mut self, look: &Look, age: Age) -> Result<Option<T>, Failure> {
        match self.read(look, age) {
            Ok(value) => Ok(Some(value)),
            Err(_) if !self.seen => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// What would be handed out, however old.
    fn last(&self) -> Option<T> {
        self.last.map(|(.., value)| value)
    }

    /// When what would be handed out was read.
    pub(super) fn read_at(&self) -> Option<Instant> {
        self.last.map(|(at, ..)| at)
    }
}

fn at_path(path: &Path, error: &io::Error) -> Failure {
    io::Error::new(error.kind(), format!("{}: {error}", path.display())).into()
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Failed(malformed.to_string().into())
    }
}

/// The files of one procfs mount that we read.
#[derive(Debug)]
pub(super) struct Procfs {
    root: PathBuf,
    pace: Pace,
    descriptors: Mutex<Descriptors>,
    process_stat: Mutex<Source<ProcessStat>>,
    process_status: Mutex<Source<ProcessStatus>>,
    correction: Mutex<Option<Correction>>,
    process_limits: Mutex<Source<ProcessLimits>>,
    meminfo: Mutex<Source<MemInfo>>,
    vmstat: Mutex<Source<VmStat>>,
    load_average: Mutex<Source<LoadAverage>>,
    virtual_pages: Mutex<Source<u64>>,
    groups: Mutex<GroupWalls>,
}

/// By how much `stat` was wrong about resident memory when `status` was read.
#[derive(Debug, Clone, Copy)]
struct Correction {
    at: Instant,
    bytes: i64,
}

impl Procfs {
    /// The one of this process; closed when its last user is gone.
    pub(super) fn shared() -> Arc<Self> {
        static SHARED: Mutex<(u32, Weak<Procfs>)> = Mutex::new((0, Weak::new()));
        let process = std::process::id();
        let Some(mut shared) = SHARED.try_lock() else {
            return Self::at(Path::new("/proc"), FRESH);
        };
        if shared.0 == process
            && let Some(procfs) = shared.1.upgrade()
        {
            return procfs;
        }
        let procfs = Self::at(Path::new("/proc"), FRESH);
        *shared = (process, Arc::downgrade(&procfs));
        procfs
    }

    /// What is mounted at `root`.
    pub(super) fn at(root: &Path, fresh: Duration) -> Arc<Self> {
        // Where nothing is handed out again, what changes slowly is not either.
        Self::with(root, fresh, if fresh.is_zero() { fresh } else { SLOW })
    }

    /// At another pace than the usual, in which `slow` is [`SLOW`].
    pub(super) fn paced(slow: Duration) -> Arc<Self> {
        Self::with(Path::new("/proc"), FRESH.min(slow), slow)
    }

    pub(super) fn with(root: &Path, fresh: Duration, slow: Duration) -> Arc<Self> {
        let own = root.join("self");
        Arc::new(Self {
            root: root.to_owned(),
            pace: Pace { fresh, slow, origin: Instant::now() },
            descriptors: Descriptors::of(own.join("fd")).into(),
            process_stat: Source::new(own.join("stat"), ProcessStat::parse).into(),
            process_status: Source::new(own.join("status"), ProcessStatus::parse).into(),
            correction: Mutex::new(None),
            process_limits: Source::new(own.join("limits"), ProcessLimits::parse).into(),
            meminfo: Source::new(root.join("meminfo"), MemInfo::parse).into(),
            vmstat: Source::new(root.join("vmstat"), VmStat::parse).until(VmStat::is_all).into(),
            load_average: Source::new(root.join("loadavg"), LoadAverage::parse).into(),
            virtual_pages: Source::new(own.join("statm"), virtual_pages).into(),
            groups: Mutex::default(),
        })
    }

    /// To be taken once for all that is read together.
    pub(super) fn look(&self) -> Look {
        Look { now: Instant::now(), process: std::process::id(), pace: Some(self.pace) }
    }

    pub(super) fn process_stat(&self, look: &Look) -> Result<ProcessStat, Failure> {
        self.process_stat.lock().read(look, Age::Fresh)
    }

    pub(super) fn process_status(
        &self,
        look: &Look,
        age: Age,
    ) -> Result<Option<ProcessStatus>, Failure> {
        self.process_status.lock().read_if_any(look, age)
    }

    /// Resident memory, in bytes: as `status` had it in its last turn, and what `stat`, a third of
    /// its price, has seen of change since.
    pub(super) fn resident(&self, look: &Look) -> Result<Option<u64>, Failure> {
        let mut status = self.process_status.lock();
        let exact = status.read_if_any(look, Age::Since(Turn::Process))?;
        let exact = exact.and_then(|status| status.resident);
        let Some(stat) = self.process_stat.lock().read_if_any(look, Age::Fresh)? else {
            return Ok(exact);
        };
        let estimate = stat.resident_pages.saturating_mul(rustix::param::page_size() as u64);
        let Some((exact, at)) = exact.zip(status.read_at()) else { return Ok(Some(estimate)) };
        let mut correction = self.correction.lock();
        let known = correction.filter(|known| known.at == at);
        let known = known.unwrap_or(Correction { at, bytes: exact.wrapping_sub(estimate) as i64 });
        *correction = Some(known);
        Ok(Some(estimate.saturating_add_signed(known.bytes)))
    }

    /// Soft limits of this process. Not asked of the kernel by a call: a filter of calls may
    /// refuse that, and `rustix` has no answer for it.
    pub(super) fn process_limits(&self, look: &Look) -> Result<ProcessLimits, Failure> {
        let limits = self.process_limits.lock().read_if_any(look, Age::Since(Turn::Process))?;
        Ok(limits.unwrap_or_default())
    }

    /// As of the last turn while less than half of the machine is in use.
    pub(super) fn meminfo(&self, look: &Look) -> Result<MemInfo, Failure> {
        let mut meminfo = self.meminfo.lock();
        let age = age_of(&meminfo);
        meminfo.read(look, age)
    }

    /// The same where it may be hidden: `subset=pid` shows processes and their groups only. No older
    /// than this tick if it is a `wall`.
    pub(super) fn meminfo_if_any(
        &self,
        look: &Look,
        wall: bool,
    ) -> Result<Option<MemInfo>, Failure> {
        let mut meminfo = self.meminfo.lock();
        let age = if wall { Age::Fresh } else { age_of(&meminfo) };
        meminfo.read_if_any(look, age)
    }

    pub(super) fn vmstat(&self, look: &Look) -> Result<Option<VmStat>, Failure> {
        self.vmstat.lock().read_if_any(look, Age::Since(Turn::Host))
    }

    pub(super) fn load_average(&self, look: &Look) -> Result<Option<LoadAverage>, Failure> {
        self.load_average.lock().read_if_any(look, Age::Since(Turn::Process))
    }

    pub(super) fn virtual_pages(&self, look: &Look) -> Result<u64, Failure> {
        self.virtual_pages.lock().read(look, Age::Fresh)
    }

    /// Whether a kernel is behind it: what a test plays takes no orders.
    pub(super) fn is_real(&self) -> bool {
        self.root == Path::new("/proc")
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// See [`GroupWalls::locate`].
    pub(super) fn locate_groups(&self, look: &Look) -> (usize, u64) {
        let rare = if self.pace.fresh.is_zero() { self.pace.fresh } else { RARE };
        self.groups.lock().locate(&self.root, look.now, rare)
    }

    /// See [`GroupWalls::read`].
    pub(super) fn groups(
        &self,
        look: &Look,
        cheap: bool,
        into: &mut Vec<GroupReading>,
    ) -> Result<(), Failure> {
        self.groups.lock().read(look, cheap, into)
    }

    /// See [`GroupWalls::own`].
    pub(super) fn own_group(&self, look: &Look) -> Result<Option<GroupMemory>, Failure> {
        self.groups.lock().own(look)
    }

    /// See [`GroupWalls::places`].
    pub(super) fn group_places(&self) -> Vec<Located> {
        self.groups.lock().places()
    }

    /// What a glance of this thread touches.
    pub(super) fn regions(&self, into: &mut Vec<Region>) {
        into.push(Region::of(self));
        TEXT.with_borrow(|buffer| into.push(Region::of(&buffer[..])));
        self.process_status.lock().regions(into);
        self.meminfo.lock().regions(into);
        self.virtual_pages.lock().regions(into);
        self.groups.lock().regions(into);
    }

    /// How many descriptors this process has open.
    pub(super) fn descriptors(&self, look: &Look) -> Option<u64> {
        self.descriptors.lock().count(look)
    }
}

fn age_of(meminfo: &Source<MemInfo>) -> Age {
    let far = meminfo.last().is_some_and(|info| info.used() < info.total / 2);
    if far { Age::Since(Turn::Outer) } else { Age::Fresh }
}

/// `/proc/self/fd`.
#[derive(Debug)]
struct Descriptors {
    path: PathBuf,
    /// With the process that opened it.
    folder: Option<(u32, File)>,
    /// How many the folder had, and when.
    told: Option<(Instant, u64)>,
    /// How many were listed, and when to list them again.
    listed: Option<(u64, Instant)>,
}

/// Counting one descriptor takes about a microsecond: so counting takes a thousandth of a core.
const PAUSE_PER_DESCRIPTOR: Duration = Duration::from_millis(1);

impl Descriptors {
    fn of(path: PathBuf) -> Self {
        Self { path, folder: None, told: None, listed: None }
    }

    fn count(&mut self, look: &Look) -> Option<u64> {
        if let Some((at, count)) = self.told
            && self.folder.as_ref().is_some_and(|(owner, _)| *owner == look.process)
            && look.accepts(at, Age::Since(Turn::Process))
        {
            return Some(count);
        }
        if self.folder.as_ref().is_none_or(|(owner, _)| *owner != look.process) {
            self.folder = File::open(&self.path).ok().map(|folder| (look.process, folder));
        }
        // Since Linux 6.2 the folder's size is their number, before it was zero.
        let known = self.folder.as_ref().and_then(|(_, folder)| folder.metadata().ok());
        let known = known.map(|folder| folder.len()).filter(|count| *count > 0);
        self.told = known.map(|count| (look.now, count));
        known.or_else(|| self.list(look.now))
    }

    fn list(&mut self, now: Instant) -> Option<u64> {
        if let Some((count, until)) = self.listed
            && now < until
        {
            return Some(count);
        }
        // One of them is the listing itself.
        let count = (fs::read_dir(&self.path).ok()?.count() as u64).saturating_sub(1);
        let pause = PAUSE_PER_DESCRIPTOR.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        self.listed = now.checked_add(pause).map(|until| (count, until));
        Some(count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A folder that plays procfs.
    pub(in crate::sample) struct Fake(pub(in crate::sample) PathBuf);

    impl Fake {
        pub(in crate::sample) fn new(test: &str) -> Self {
            let name = format!("highwater-{}-{test}", std::process::id());
            let root = std::env::temp_dir().join(name);
            fs::create_dir_all(root.join("self/fd")).unwrap();
            Self(root)
        }

        pub(in crate::sample) fn write(&self, file: &str, text: &[u8]) {
            fs::write(self.0.join(file), text).unwrap();
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const SMALL: &[u8] = b"MemTotal: 8 kB\nMemFree: 1 kB\n";
    const LARGE: &[u8] = b"MemTotal: 16 kB\nMemFree: 1 kB\n";

    #[test]
    fn all_share_one_that_closes_with_its_last_user() {
        let (one, other) = (Procfs::shared(), Procfs::shared());
        assert!(Arc::ptr_eq(&one, &other));
        assert!(one.meminfo(&one.look()).is_ok());
    }

    #[test]
    fn a_fresh_reading_is_handed_out_again_and_a_stale_one_is_not() {
        let fake = Fake::new("fresh");
        fake.write("meminfo", SMALL);
        let long = Procfs::at(&fake.0, Duration::from_secs(3600));
        let never = Procfs::at(&fake.0, Duration::ZERO);
        assert_eq!(long.meminfo(&long.look()).unwrap().total, 8192);
        assert_eq!(never.meminfo(&never.look()).unwrap().total, 8192);
        fake.write("meminfo", LARGE);
        assert_eq!(long.meminfo(&long.look()).unwrap().total, 8192);
        assert_eq!(never.meminfo(&never.look()).unwrap().total, 16384);
    }

    #[test]
    fn each_tick_has_a_turn_of_its_own() {
        let pace = Pace { fresh: FRESH, slow: SLOW, origin: Instant::now() };
        let turns = [Turn::Host, Turn::Process, Turn::Groups, Turn::Outer, Turn::Around];
        let begin = |from: u64, to: u64| {
            let at = |ms: u64| pace.origin + Duration::from_millis(ms);
            let begins = |turn: &&Turn| pace.begun(**turn, at(from)) != pace.begun(**turn, at(to));
            turns.iter().filter(begins).copied().collect::<Vec<_>>()
        };
        // Some are late by up to 0.4 s.
        let time = |tick: u64| tick * 1000 + tick * 137 % 400;
        for tick in 1..=50 {
            let expected = turns[(tick as usize - 1) % turns.len()];
            assert_eq!(begin(time(tick - 1), time(tick)), [expected]);
        }
        // Who ticks more rarely reads more at once; after a long sleep it is as before.
        assert_eq!(begin(0, 2_000), turns[..2]);
        assert_eq!(begin(0, 10_000), turns);
        assert_eq!(begin(100_000, 101_000), [Turn::Host]);
        assert_eq!(begin(1_100, 1_200), []);
    }

    /// A filter of system calls may refuse to be asked for limits in another way.
    #[test]
    fn limits_are_those_of_the_kernel() {
        use rustix::process::{Resource, getrlimit};

        let procfs = Procfs::at(Path::new("/proc"), Duration::ZERO);
        let limits = procfs.process_limits(&procfs.look()).unwrap();
        assert_eq!(limits.open_files, getrlimit(Resource::Nofile).current);
        assert_eq!(limits.address_space, getrlimit(Resource::As).current);
        assert_eq!(limits.locked_memory, getrlimit(Resource::Memlock).current);
    }

    /// Where `stat` estimates: what it saw of change is added to what was exact.
    #[test]
    fn resident_memory_is_exact_in_its_turn_and_follows_in_between() {
        let fake = Fake::new("resident");
        let page = rustix::param::page_size() as u64;
        let tell = |exact: u64, estimate: u64| {
            let text = format!("Name: a\nVmRSS: {} kB\n", exact * page / 1024);
            fake.write("self/status", text.as_bytes());
            let text = format!("1 (a) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 0 9 {estimate} 0\n");
            fake.write("self/stat", text.as_bytes());
        };
        tell(100, 90);
        let hour = Duration::from_secs(3600);
        let procfs = Procfs::with(&fake.0, Duration::ZERO, hour);
        let pages = || procfs.resident(&procfs.look()).unwrap().map(|bytes| bytes / page);
        assert_eq!(pages(), Some(100));
        tell(125, 110);
        assert_eq!(pages(), Some(120));
        tell(0, 0);
        assert_eq!(pages(), Some(10));
        tell(100, 110);
        let always = Procfs::at(&fake.0, Duration::ZERO);
        assert_eq!(always.resident(&always.look()).unwrap(), Some(100 * page));
    }

    #[test]
    fn the_machine_is_read_in_its_turn_while_half_of_it_is_free() {
        let fake = Fake::new("machine");
        let procfs = Procfs::with(&fake.0, Duration::ZERO, Duration::from_secs(3600));
        let tell = |free: u64| {
            fake.write("meminfo", format!("MemTotal: 10 kB\nMemFree: {free} kB\n").as_bytes());
        };
        let free = || procfs.meminfo(&procfs.look()).unwrap().free / 1024;
        tell(9);
        assert_eq!(free(), 9);
        tell(4);
        assert_eq!(free(), 9);
        let as_a_wall = procfs.meminfo_if_any(&procfs.look(), true).unwrap();
        assert_eq!(as_a_wall.map(|info| info.free / 1024), Some(4));
        tell(8);
        assert_eq!(free(), 8, "less than half was free");
    }

    #[test]
    fn a_failed_reading_is_not_hidden_by_the_one_before() {
        let fake = Fake::new("failed");
        let procfs = Procfs::at(&fake.0, Duration::ZERO);
        assert!(matches!(procfs.vmstat(&procfs.look()), Ok(None)), "never there: not missed");
        fake.write("vmstat", b"pgfault 7\n");
        assert_eq!(procfs.vmstat(&procfs.look()).unwrap().unwrap().faults, Some(7));
        fake.write("vmstat", b"nonsense\n");
        let failure = procfs.vmstat(&procfs.look()).unwrap_err().to_string();
        assert_eq!(failure, "malformed /proc/vmstat");
        let failure = procfs.meminfo(&procfs.look()).unwrap_err().to_string();
        assert!(failure.contains("meminfo: No such file"), "{failure}");
    }

    #[test]
    fn files_longer_than_the_buffer_are_read_whole() {
        let fake = Fake::new("long");
        let text: Vec<u8> = (0..50_000u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        fake.write("meminfo", &text);
        let whole = |name: &str| Kept::new(fake.0.join(name)).read(<[u8]>::to_vec);
        assert_eq!(whole("meminfo").unwrap(), text);
        fake.write("meminfo", &vec![b'x'; LONGEST + 1]);
        let error = whole("meminfo").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        // vmstat comes in several answers of less than a page.
        let vmstat = fs::read("/proc/vmstat").unwrap();
        let mut kept = Kept::new("/proc/vmstat".into());
        let lines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(kept.read(lines).unwrap(), lines(&vmstat));
    }

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn a_file_whose_subject_is_gone_is_opened_again() {
        let fake = Fake::new("gone");
        let link = fake.0.join("link");
        let (mut first, mut second) = (sleeper(), sleeper());
        let point_at = |child: &Child| {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(format!("/proc/{}/stat", child.id()), &link).unwrap();
        };
        point_at(&first);
        let mut source = Source::new(link.clone(), ProcessStat::parse);
        assert_eq!(source.first().unwrap().pid, u64::from(first.id()));
        first.kill().unwrap();
        first.wait().unwrap();
        assert!(matches!(source.first(), Err(Failure::Io(_))));
        point_at(&second);
        let found = source.first().map(|stat| stat.pid);
        second.kill().unwrap();
        second.wait().unwrap();
        assert_eq!(found.unwrap(), u64::from(second.id()));
    }

    /// In a real fork: the child must read its own stat through what the parent had opened.
    #[test]
    fn a_forked_child_does_not_read_its_parent() {
        use std::os::unix::process::CommandExt;

        const CHILD_SAW_ITSELF: i32 = 1001;
        const CHILD_SAW_ANOTHER: i32 = 1002;
        let procfs = Procfs::at(Path::new("/proc"), Duration::from_secs(3600));
        assert_eq!(procfs.process_stat(&procfs.look()).unwrap().pid, u64::from(std::process::id()));
        let mut command = Command::new("true");
        #[allow(unsafe_code)]
        // SAFETY: runs in the forked child; it opens, reads and parses a file. It may allocate,
        // which glibc and musl allow after their own fork(); the mutexes it takes belong to this
        // test alone, so no other thread held them at the fork.
        unsafe {
            command.pre_exec(move || {
                let own = u64::from(std::process::id());
                let saw = procfs.process_stat(&procfs.look()).is_ok_and(|stat| stat.pid == own);
                let answer = if saw { CHILD_SAW_ITSELF } else { CHILD_SAW_ANOTHER };
                // The one channel from here to the parent.
                Err(io::Error::from_raw_os_error(answer))
            });
        }
        let answer = command.spawn().map(drop).unwrap_err();
        assert_eq!(answer.raw_os_error(), Some(CHILD_SAW_ITSELF));
    }

    #[test]
    fn the_dearer_the_count_the_rarer_it_is() {
        let fake = Fake::new("descriptors");
        // A plain folder has a size of its own: the listing is asked for directly.
        let mut descriptors = Descriptors::of(fake.0.join("self/fd"));
        for n in 0..=20 {
            fake.write(&format!("self/fd/{n}"), b"");
        }
        let now = Instant::now();
        assert_eq!(descriptors.list(now), Some(20));
        fake.write("self/fd/21", b"");
        assert_eq!(descriptors.list(now + Duration::from_millis(19)), Some(20));
        assert_eq!(descriptors.list(now + Duration::from_millis(20)), Some(21));
    }
}
