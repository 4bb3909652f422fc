//! The kernel's files, kept open.
//!
//! Opening a procfs file costs more than reading it, so each stays open and is read with `pread`
//! from its start into a buffer that is kept. All samplers of all instances in a process share
//! one [`Procfs`]: a reading younger than [`FRESH`] is handed out again, so `memory()` and
//! `system()` parse one meminfo, and a second instance whose ticks fall together with the first's
//! costs next to nothing.
//!
//! `/proc/self` is resolved when a file is *opened*: in a forked child the parent's open file
//! still tells about the parent. So a file belongs to the process that opened it, and is opened
//! again by another. (The child of a fork while another thread was in here finds a locked mutex;
//! it gets a `Procfs` of its own from [`shared`].)
//!
//! Read by the tick threads; a lock is held for one `pread` (microseconds).

use std::{
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
    parse::{LoadAverage, Malformed, MemInfo, ProcessStat, ProcessStatus, VmStat, virtual_pages},
    resident::Region,
};
use crate::sync::{Arc, Mutex};

/// Until when a reading is handed out again. Below the fast lane's shortest interval.
const FRESH: Duration = Duration::from_millis(50);

/// Until when a reading of what changes slowly, or is dear to read and judged over a longer time,
/// is handed out again: every fifth tick at the default.
const SLOW: Duration = Duration::from_millis(4_500);

/// How often to ask whether this process was moved to another control group.
const RARE: Duration = Duration::from_secs(60);

/// No file of ours is a tenth as long; what is longer is not what we take it for.
const LONGEST: usize = 1 << 20;

/// A text file of the kernel, kept open.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    /// With the process that opened it.
    file: Option<(u32, File)>,
    buffer: Vec<u8>,
}

impl Kept {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, buffer: Vec::new() }
    }

    /// The whole file as it is now.
    pub(super) fn read(&mut self) -> io::Result<&[u8]> {
        self.read_for(std::process::id())
    }

    /// By the process of this id, which is ours: asking for it is a system call of its own.
    fn read_for(&mut self, process: u32) -> io::Result<&[u8]> {
        let reopened = match &self.file {
            Some((owner, _)) if *owner == process => false,
            _ => {
                self.file = Some((process, File::open(&self.path)?));
                true
            }
        };
        let length = match self.fill() {
            Ok(length) => length,
            // What it showed is gone (ESRCH, ENODEV); there may be a new one by that name.
            Err(_) if !reopened => {
                self.file = Some((process, File::open(&self.path)?));
                self.fill()?
            }
            Err(error) => return Err(error),
        };
        Ok(&self.buffer[..length])
    }

    fn fill(&mut self) -> io::Result<usize> {
        let Some((_, file)) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if self.buffer.is_empty() {
            self.buffer.resize(PAGE, 0);
        }
        let mut length = 0;
        loop {
            if length == self.buffer.len() {
                if length >= LONGEST {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                self.buffer.resize(length * 2, 0);
            }
            match file.read_at(&mut self.buffer[length..], length as u64) {
                Ok(0) => return Ok(length),
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            // seq_file stops early only when a page is full, so a short answer is the whole.
            if length < PAGE / 2 {
                return Ok(length);
            }
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
    last: Option<(Instant, u32, T)>,
    /// Whether it was ever read.
    seen: bool,
}

impl<T: Copy> Source<T> {
    pub(super) fn new(path: PathBuf, parse: fn(&[u8]) -> Result<T, Malformed>) -> Self {
        Self { kept: Kept::new(path), parse, last: None, seen: false }
    }

    /// What a reading touches.
    pub(super) fn regions(&self, into: &mut Vec<Region>) {
        into.push(Region::of(self));
        into.push(Region::of(&self.kept.buffer[..]));
    }

    pub(super) fn read(&mut self, fresh: Duration) -> Result<T, Failure> {
        let (now, process) = (Instant::now(), std::process::id());
        if let Some((at, owner, value)) = self.last
            && owner == process
            && now.saturating_duration_since(at) < fresh
        {
            return Ok(value);
        }
        self.last = None;
        let value = match self.kept.read_for(process) {
            Ok(text) => (self.parse)(text)?,
            Err(error) => return Err(at_path(&self.kept.path, &error)),
        };
        self.last = Some((now, process, value));
        self.seen = true;
        Ok(value)
    }

    /// For what some kernels and sandboxes lack: failing is a failure only if it worked before.
    fn read_if_any(&mut self, fresh: Duration) -> Result<Option<T>, Failure> {
        match self.read(fresh) {
            Ok(value) => Ok(Some(value)),
            Err(_) if !self.seen => Ok(None),
            Err(failure) => Err(failure),
        }
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
    fresh: Duration,
    slow: Duration,
    descriptors: Mutex<Descriptors>,
    process_stat: Mutex<Source<ProcessStat>>,
    process_status: Mutex<Source<ProcessStatus>>,
    meminfo: Mutex<Source<MemInfo>>,
    vmstat: Mutex<Source<VmStat>>,
    load_average: Mutex<Source<LoadAverage>>,
    virtual_pages: Mutex<Source<u64>>,
    groups: Mutex<GroupWalls>,
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

    pub(super) fn with(root: &Path, fresh: Duration, slow: Duration) -> Arc<Self> {
        let own = root.join("self");
        Arc::new(Self {
            root: root.to_owned(),
            fresh,
            slow,
            descriptors: Descriptors { folder: own.join("fd"), listed: None }.into(),
            process_stat: Source::new(own.join("stat"), ProcessStat::parse).into(),
            process_status: Source::new(own.join("status"), ProcessStatus::parse).into(),
            meminfo: Source::new(root.join("meminfo"), MemInfo::parse).into(),
            vmstat: Source::new(root.join("vmstat"), VmStat::parse).into(),
            load_average: Source::new(root.join("loadavg"), LoadAverage::parse).into(),
            virtual_pages: Source::new(own.join("statm"), virtual_pages).into(),
            groups: Mutex::default(),
        })
    }

    pub(super) fn process_stat(&self) -> Result<ProcessStat, Failure> {
        self.process_stat.lock().read(self.fresh)
    }

    pub(super) fn process_status(&self) -> Result<Option<ProcessStatus>, Failure> {
        self.process_status.lock().read_if_any(self.fresh)
    }

    pub(super) fn meminfo(&self) -> Result<MemInfo, Failure> {
        self.meminfo.lock().read(self.fresh)
    }

    /// The same where it may be hidden: `subset=pid` shows processes and their groups only.
    pub(super) fn meminfo_if_any(&self) -> Result<Option<MemInfo>, Failure> {
        self.meminfo.lock().read_if_any(self.fresh)
    }

    pub(super) fn vmstat(&self) -> Result<Option<VmStat>, Failure> {
        self.vmstat.lock().read_if_any(self.slow)
    }

    pub(super) fn load_average(&self) -> Result<Option<LoadAverage>, Failure> {
        self.load_average.lock().read_if_any(self.slow)
    }

    pub(super) fn virtual_pages(&self) -> Result<u64, Failure> {
        self.virtual_pages.lock().read(self.fresh)
    }

    /// Whether a kernel is behind it: what a test plays takes no orders.
    pub(super) fn is_real(&self) -> bool {
        self.root == Path::new("/proc")
    }

    /// How old what changes slowly may be.
    pub(super) fn slow(&self) -> Duration {
        self.slow
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// See [`GroupWalls::locate`].
    pub(super) fn locate_groups(&self) -> (usize, u64) {
        let rare = if self.fresh.is_zero() { self.fresh } else { RARE };
        self.groups.lock().locate(&self.root, rare)
    }

    /// See [`GroupWalls::read`].
    pub(super) fn groups(&self, cheap: bool, into: &mut Vec<GroupReading>) -> Result<(), Failure> {
        self.groups.lock().read(self.fresh, self.slow, cheap, into)
    }

    /// See [`GroupWalls::places`].
    pub(super) fn group_places(&self) -> Vec<Located> {
        self.groups.lock().places()
    }

    /// What a glance touches.
    pub(super) fn regions(&self, into: &mut Vec<Region>) {
        into.push(Region::of(self));
        self.process_status.lock().regions(into);
        self.meminfo.lock().regions(into);
        self.virtual_pages.lock().regions(into);
        self.groups.lock().regions(into);
    }

    /// How many descriptors this process has open.
    pub(super) fn descriptors(&self) -> Option<u64> {
        self.descriptors.lock().count(Instant::now())
    }
}

/// `/proc/self/fd`.
#[derive(Debug)]
struct Descriptors {
    folder: PathBuf,
    /// How many there were, and when to count again.
    listed: Option<(u64, Instant)>,
}

/// Counting one descriptor takes about a microsecond: so counting takes a thousandth of a core.
const PAUSE_PER_DESCRIPTOR: Duration = Duration::from_millis(1);

impl Descriptors {
    fn count(&mut self, now: Instant) -> Option<u64> {
        // Since Linux 6.2 the folder's size is their number, before it was zero.
        let known = fs::metadata(&self.folder).ok().map(|folder| folder.len());
        known.filter(|count| *count > 0).or_else(|| self.list(now))
    }

    fn list(&mut self, now: Instant) -> Option<u64> {
        if let Some((count, until)) = self.listed
            && now < until
        {
            return Some(count);
        }
        // One of them is the listing itself.
        let count = (fs::read_dir(&self.folder).ok()?.count() as u64).saturating_sub(1);
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
        assert!(one.meminfo().is_ok());
    }

    #[test]
    fn a_fresh_reading_is_handed_out_again_and_a_stale_one_is_not() {
        let fake = Fake::new("fresh");
        fake.write("meminfo", SMALL);
        let long = Procfs::at(&fake.0, Duration::from_secs(3600));
        let never = Procfs::at(&fake.0, Duration::ZERO);
        assert_eq!(long.meminfo().unwrap().total, 8192);
        assert_eq!(never.meminfo().unwrap().total, 8192);
        fake.write("meminfo", LARGE);
        assert_eq!(long.meminfo().unwrap().total, 8192);
        assert_eq!(never.meminfo().unwrap().total, 16384);
    }

    #[test]
    fn a_failed_reading_is_not_hidden_by_the_one_before() {
        let fake = Fake::new("failed");
        let procfs = Procfs::at(&fake.0, Duration::ZERO);
        assert!(matches!(procfs.vmstat(), Ok(None)), "never there: not missed");
        fake.write("vmstat", b"pgfault 7\n");
        assert_eq!(procfs.vmstat().unwrap().unwrap().faults, Some(7));
        fake.write("vmstat", b"nonsense\n");
        let failure = procfs.vmstat().unwrap_err().to_string();
        assert_eq!(failure, "malformed /proc/vmstat");
        let failure = procfs.meminfo().unwrap_err().to_string();
        assert!(failure.contains("meminfo: No such file"), "{failure}");
    }

    #[test]
    fn files_longer_than_the_buffer_are_read_whole() {
        let fake = Fake::new("long");
        let text: Vec<u8> = (0..50_000u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        fake.write("meminfo", &text);
        assert_eq!(Kept::new(fake.0.join("meminfo")).read().unwrap(), text);
        fake.write("meminfo", &vec![b'x'; LONGEST + 1]);
        let error = Kept::new(fake.0.join("meminfo")).read().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        // vmstat comes in several answers of less than a page.
        let whole = fs::read("/proc/vmstat").unwrap();
        let mut kept = Kept::new("/proc/vmstat".into());
        let lines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines(kept.read().unwrap()), lines(&whole));
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
        assert_eq!(source.read(Duration::ZERO).unwrap().pid, u64::from(first.id()));
        first.kill().unwrap();
        first.wait().unwrap();
        assert!(matches!(source.read(Duration::ZERO), Err(Failure::Io(_))));
        point_at(&second);
        let found = source.read(Duration::ZERO).map(|stat| stat.pid);
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
        assert_eq!(procfs.process_stat().unwrap().pid, u64::from(std::process::id()));
        let mut command = Command::new("true");
        #[allow(unsafe_code)]
        // SAFETY: runs in the forked child; it opens, reads and parses a file. It may allocate,
        // which glibc and musl allow after their own fork(); the mutexes it takes belong to this
        // test alone, so no other thread held them at the fork.
        unsafe {
            command.pre_exec(move || {
                let own = u64::from(std::process::id());
                let saw = procfs.process_stat().is_ok_and(|stat| stat.pid == own);
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
        let mut descriptors = Descriptors { folder: fake.0.join("self/fd"), listed: None };
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
