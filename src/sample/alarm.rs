//! What the kernel wakes the tick thread by, between two looks: descriptors that become readable
//! when memory gets tight. Samplers arm them, the engine sleeps on them.
//!
//! | source | wakes when | needs |
//! |---|---|---|
//! | `psi` | tasks waited 150 ms of the last 2 s for memory | PSI; Linux 6.x or privileges |
//! | `systemd` | as the service manager asked for (`MEMORY_PRESSURE_WATCH`) | systemd 254 |
//! | `threshold` | what is charged to a v1 group crosses a share of its limit | write access to the group |
//! | `reclaim` | a v1 group reclaims with effort (`memory.pressure_level`) | the same |
//! | `events` | a v2 group's `memory.events` changes | nothing |
//!
//! Each may be refused: then the fast lane polls, which it does anyhow. How often each has woken
//! is `highwater.memory.wakeups`; a source that was not granted has no such series.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, OpenOptionsExt},
            net::UnixStream,
        },
    },
    path::Path,
    sync::Weak,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd},
    fs::{OFlags, inotify},
};

use super::Meter;
use crate::{
    instrument::Gauge,
    name::Unit,
    semconv,
    sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering},
};

/// Windows that are no multiple of 2 s are refused to the unprivileged.
const TRIGGER: &str = "some 150000 2000000\0";

/// The count of what a source woke us for; absent until one is armed.
pub(super) fn wakeups(meter: &mut Meter, source: &str) -> Gauge {
    let help = "How often the kernel woke highwater, by what it was asked for.";
    let unit = Unit::known("{wakeup}");
    meter.counter(semconv::MEMORY_WAKEUPS, unit, help, [(semconv::SOURCE, source)])
}

/// Any one that is armed.
#[derive(Debug)]
pub(crate) struct Alarm {
    fd: OwnedFd,
    kind: Kind,
    rung: AtomicU64,
    /// The kernel says that nothing will come of it any more.
    is_broken: AtomicBool,
    told: Gauge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Priority data each time, nothing to be read.
    Trigger,
    /// Read until it is empty.
    Readable,
}

impl Alarm {
    /// On a pressure file, the host's or a group's.
    pub(super) fn psi(file: &Path, told: &Gauge) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(file)?;
        file.write_all(TRIGGER.as_bytes())?;
        Ok(Self::new(file.into(), Kind::Trigger, told))
    }

    /// What systemd put into our environment, where it watches at all.
    pub(super) fn systemd(
        lookup: impl Fn(&str) -> Option<String>,
        told: &Gauge,
    ) -> Option<io::Result<Self>> {
        let watch = lookup("MEMORY_PRESSURE_WATCH").filter(|watch| watch != "/dev/null")?;
        let text = lookup("MEMORY_PRESSURE_WRITE").unwrap_or_default();
        let Some(text) = from_base64(&text) else {
            let why = format!("MEMORY_PRESSURE_WRITE is no base64: {text:?}");
            return Some(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
        };
        Some(Self::watch(Path::new(&watch), &text, told))
    }

    /// <https://systemd.io/MEMORY_PRESSURE>: a regular file is the kernel's, and has priority data;
    /// a FIFO or a socket is some manager's, and has data.
    fn watch(path: &Path, text: &[u8], told: &Gauge) -> io::Result<Self> {
        let kind = std::fs::metadata(path)?.file_type();
        if kind.is_socket() {
            let mut stream = UnixStream::connect(path)?;
            stream.set_nonblocking(true)?;
            stream.write_all(text)?;
            return Ok(Self::new(stream.into(), Kind::Readable, told));
        }
        let is_pipe = kind.is_fifo();
        // For reading *and* writing, a FIFO neither waits for its other end nor misses it.
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if is_pipe {
            options.custom_flags(OFlags::NONBLOCK.bits() as i32);
        }
        let mut file = options.open(path)?;
        if !text.is_empty() {
            file.write_all(text)?;
        } else if !is_pipe {
            // Polled without a trigger it would be an error for ever.
            file.write_all(TRIGGER.as_bytes())?;
        }
        let kind = if is_pipe { Kind::Readable } else { Kind::Trigger };
        Ok(Self::new(file.into(), kind, told))
    }

    /// At these numbers of bytes charged to a v1 group.
    pub(super) fn thresholds(
        group: &Path,
        bytes: impl Iterator<Item = u64>,
        told: &Gauge,
    ) -> io::Result<Self> {
        let events = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let usage = File::open(group.join("memory.usage_in_bytes"))?;
        for bytes in bytes {
            control(group, &events, &usage, &bytes.to_string())?;
        }
        Ok(Self::new(events, Kind::Readable, told))
    }

    /// When a v1 group has to reclaim with effort.
    pub(super) fn reclaim(group: &Path, told: &Gauge) -> io::Result<Self> {
        let events = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let level = File::open(group.join("memory.pressure_level"))?;
        control(group, &events, &level, "medium")?;
        Ok(Self::new(events, Kind::Readable, told))
    }

    /// When one of these files changes, such as a v2 group's `memory.events`.
    pub(super) fn events<P: AsRef<Path>>(
        files: impl Iterator<Item = P>,
        told: &Gauge,
    ) -> io::Result<Self> {
        let notes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        for file in files {
            inotify::add_watch(&notes, file.as_ref(), inotify::WatchFlags::MODIFY)?;
        }
        Ok(Self::new(notes, Kind::Readable, told))
    }

    fn new(fd: OwnedFd, kind: Kind, told: &Gauge) -> Self {
        // From absent to zero.
        told.add(0.0);
        let (rung, is_broken) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { fd, kind, rung, is_broken, told: told.clone() }
    }

    /// A manager's socket.
    #[cfg(test)]
    pub(crate) fn socket(stream: UnixStream, told: &Gauge) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::new(stream.into(), Kind::Readable, told))
    }

    /// Whether it may still ring.
    pub(super) fn is_live(&self) -> bool {
        !self.is_broken.load(Ordering::Relaxed)
    }

    /// For a sleep on it; none once it is broken.
    pub(crate) fn poll(&self) -> Option<PollFd<'_>> {
        if !self.is_live() {
            return None;
        }
        let flags = match self.kind {
            Kind::Trigger => PollFlags::PRI,
            Kind::Readable => PollFlags::IN,
        };
        Some(PollFd::from_borrowed_fd(self.as_fd(), flags))
    }

    /// Takes in what a sleep found; whether it rang.
    pub(crate) fn hear(&self, found: PollFlags) -> bool {
        if found.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            // Its group is gone. It would be found so for ever.
            self.is_broken.store(true, Ordering::Relaxed);
            return false;
        }
        if !found.intersects(PollFlags::PRI | PollFlags::IN) {
            return false;
        }
        if self.kind == Kind::Readable {
            let mut buffer = [0; 512];
            while let Ok(read) = rustix::io::read(&self.fd, &mut buffer) {
                if read == 0 {
                    // A manager that will write no more: so it would be found for ever, too.
                    self.is_broken.store(true, Ordering::Relaxed);
                    return false;
                }
            }
        }
        self.rung.fetch_add(1, Ordering::Relaxed);
        self.told.add(1.0);
        true
    }

    /// How often it rang.
    pub(crate) fn rung(&self) -> u64 {
        self.rung.load(Ordering::Relaxed)
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn control(group: &Path, events: &OwnedFd, of: &File, what: &str) -> io::Result<()> {
    let line = format!("{} {} {what}", events.as_raw_fd(), of.as_raw_fd());
    OpenOptions::new()
        .write(true)
        .open(group.join("cgroup.event_control"))?
        .write_all(line.as_bytes())
}

/// All that are armed. The samplers hold them; with a sampler its alarms go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alarms(Arc<Mutex<Vec<Weak<Alarm>>>>, Arc<AtomicU64>);

impl Alarms {
    pub(crate) fn arm(&self, alarm: Alarm) -> Arc<Alarm> {
        let alarm = Arc::new(alarm);
        let mut all = self.0.lock();
        all.retain(|armed| armed.strong_count() > 0);
        all.push(Arc::downgrade(&alarm));
        self.1.fetch_add(1, Ordering::Release);
        alarm
    }

    /// Which there are, if some came since `seen`; else those that are left.
    pub(crate) fn refresh(&self, known: &mut Vec<Arc<Alarm>>, seen: &mut u64) {
        // The other holder is the sampler.
        known.retain(|alarm| Arc::strong_count(alarm) > 1);
        let now = self.1.load(Ordering::Acquire);
        if now != *seen {
            *seen = now;
            known.clear();
            known.extend(self.0.lock().iter().filter_map(Weak::upgrade));
        }
    }
}

/// [RFC 4648](https://www.rfc-editor.org/rfc/rfc4648); padding may be missing.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0u32);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use rustix::event::{Timespec, poll};

    use super::{super::procfs::tests::Fake, *};
    use crate::registry::Registry;

    fn told() -> Gauge {
        wakeups(&mut Meter::new(Arc::new(Registry::new(100))), "test")
    }

    fn events(fake: &Fake) -> Alarm {
        Alarm::events([fake.0.join("memory.events")].iter(), &told()).unwrap()
    }

    fn rings(alarm: &Alarm) -> bool {
        let mut fds = [alarm.poll().unwrap()];
        let no_time = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&no_time)).unwrap();
        let found = fds[0].revents();
        alarm.hear(found)
    }

    #[test]
    fn a_change_of_a_file_rings_once() {
        let fake = Fake::new("alarm-events");
        fake.write("memory.events", b"oom 0\n");
        let alarm = events(&fake);
        assert!(!rings(&alarm));
        fs::write(fake.0.join("memory.events"), b"oom 1\n").unwrap();
        assert!(rings(&alarm));
        assert!(!rings(&alarm), "it was heard");
        assert_eq!(alarm.rung(), 1);
    }

    #[test]
    fn what_was_dropped_is_armed_no_more() {
        let fake = Fake::new("alarm-dropped");
        fake.write("memory.events", b"");
        let alarms = Alarms::default();
        let arm = || alarms.arm(events(&fake));
        let (one, _other) = (arm(), arm());
        let (mut known, mut seen) = (Vec::new(), 0);
        alarms.refresh(&mut known, &mut seen);
        assert_eq!(known.len(), 2);
        drop(one);
        alarms.refresh(&mut known, &mut seen);
        assert_eq!(known.len(), 1);
    }

    #[test]
    fn systemd_tells_where_and_what() {
        let fake = Fake::new("alarm-systemd");
        fake.write("pressure", b"");
        let file = fake.0.join("pressure");
        let environment = |write: &'static str| {
            let file = file.to_str().unwrap().to_owned();
            move |name: &str| match name {
                "MEMORY_PRESSURE_WATCH" => Some(file.clone()),
                _ => Some(write.to_owned()),
            }
        };
        // What systemd writes for 200 ms in 2 s.
        let text = "c29tZSAyMDAwMDAgMjAwMDAwMAA=";
        assert!(Alarm::systemd(environment(text), &told()).unwrap().is_ok());
        assert_eq!(fs::read(&file).unwrap(), b"some 200000 2000000\0");
        assert!(Alarm::systemd(environment("*"), &told()).unwrap().is_err());
        assert!(Alarm::systemd(|_| Some("/dev/null".into()), &told()).is_none());
        assert!(Alarm::systemd(|_| None, &told()).is_none());
    }

    /// <https://systemd.io/MEMORY_PRESSURE>: those of a manager are read, not polled for priority.
    #[test]
    fn systemd_may_give_a_fifo_or_a_socket() {
        let fake = Fake::new("alarm-manager");
        let pipe = fake.0.join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let at = |path: &Path| {
            let path = path.to_str().unwrap().to_owned();
            move |name: &str| (name == "MEMORY_PRESSURE_WATCH").then(|| path.clone())
        };
        let alarm = Alarm::systemd(at(&pipe), &told()).unwrap().unwrap();
        assert!(!rings(&alarm));
        for _ in 0..2 {
            // Its other end comes and goes.
            fs::write(&pipe, b"now").unwrap();
            assert!(rings(&alarm));
            assert!(!rings(&alarm) && alarm.is_live());
        }
        let path = fake.0.join("socket");
        let manager = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let alarm = Alarm::systemd(at(&path), &told()).unwrap().unwrap();
        let (mut other, _) = manager.accept().unwrap();
        assert!(!rings(&alarm));
        other.write_all(b"now").unwrap();
        assert!(rings(&alarm));
        drop(other);
        assert!(!rings(&alarm) && !alarm.is_live(), "nothing will come of it any more");
    }

    #[test]
    fn base64() {
        for (text, plain) in [("", &b""[..]), ("Zg==", b"f"), ("Zm9v", b"foo"), ("Zm9vYg", b"foob")]
        {
            assert_eq!(from_base64(text).as_deref(), Some(plain));
        }
        assert_eq!(from_base64("a b"), None);
    }
}
