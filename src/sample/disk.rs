//! How much room is left where this crate writes: the spool, incident pages, heap profiles. A full
//! disk is how what must not be lost is lost.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Failure, Meter, Sampler, Time, aside::Aside};
use crate::{instrument::Gauge, name::Unit, semconv, sync::Arc};

/// How often it is asked for.
const PAUSE: Duration = Duration::from_secs(60);
/// A file system that does not answer for so long is not known any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// The sampler named `disk`: `highwater.disk.free` and `.size` by `directory`. Asked once a minute
/// on a thread of its own, as a file system over a network may hang.
#[derive(Debug)]
pub(crate) struct Disk {
    /// What for, and where.
    places: Vec<(&'static str, PathBuf)>,
    state: Option<State>,
}

#[derive(Debug)]
struct State {
    time: Time,
    asked: Option<Duration>,
    aside: Aside,
    rooms: Arc<Vec<Room>>,
}

#[derive(Debug)]
struct Room {
    place: PathBuf,
    free: Gauge,
    size: Gauge,
}

impl Disk {
    /// `None` if nothing is written anywhere.
    pub(crate) fn new(places: Vec<(&'static str, PathBuf)>) -> Option<Self> {
        (!places.is_empty()).then_some(Self { places, state: None })
    }
}

impl Sampler for Disk {
    fn name(&self) -> &str {
        "disk"
    }

    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        let rooms = self.places.iter().map(|(of, place)| {
            let label = [(semconv::DIRECTORY, *of)];
            let help = "Room left on the file system of a directory that highwater writes to.";
            let free = meter.up_down_counter(semconv::DISK_FREE, Unit::BYTES, help, label);
            let help = "Size of the file system of a directory that highwater writes to.";
            let size = meter.up_down_counter(semconv::DISK_SIZE, Unit::BYTES, help, label);
            Room { place: place.clone(), free, size }
        });
        let rooms = Arc::new(rooms.collect());
        self.state =
            Some(State { time: meter.time(), asked: None, aside: Aside::default(), rooms });
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        let Some(State { time, asked, aside, rooms }) = &mut self.state else { return Ok(()) };
        let now = time.now();
        let since = asked.map(|at| now.saturating_sub(at));
        if aside.is_busy() {
            if since.is_some_and(|since| since >= PATIENCE) {
                rooms.iter().for_each(Room::clear);
            }
            return Ok(());
        }
        if since.is_none_or(|since| since >= PAUSE) {
            *asked = Some(now);
            let rooms = rooms.clone();
            aside.run("highwater-disk", move || rooms.iter().for_each(Room::ask));
        }
        Ok(())
    }
}

impl Room {
    fn clear(&self) {
        self.free.clear();
        self.size.clear();
    }

    fn ask(&self) {
        match ask(&self.place) {
            Ok((free, size)) => {
                self.free.set(free as f64);
                self.size.set(size as f64);
            }
            Err(_) => self.clear(),
        }
    }
}

/// What the unprivileged may still write, and the whole. A directory that is not made yet will be
/// on its parent's file system.
fn ask(place: &Path) -> io::Result<(u64, u64)> {
    let mut refused = io::ErrorKind::NotFound.into();
    for place in place.ancestors() {
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
        match room(place) {
            Ok(room) => return Ok(room),
            Err(error) if error.kind() == io::ErrorKind::NotFound => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

#[cfg(unix)]
fn room(place: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(place)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok((bytes(stat.f_bavail), bytes(stat.f_blocks)))
}

#[cfg(not(unix))]
fn room(_: &Path) -> io::Result<(u64, u64)> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::thread;

    use super::{
        super::tests::{started, value},
        *,
    };

    #[test]
    fn the_room_of_a_directory_that_will_be_made() {
        let place = std::env::temp_dir().join("highwater-no-such/spool");
        let sampler = Disk::new(vec![("spool", place), ("report", "/proc/1".into())]).unwrap();
        let (mut sampler, registry) = started(sampler);
        sampler.sample().unwrap();
        while sampler.state.as_ref().unwrap().aside.is_busy() {
            thread::yield_now();
        }
        let read = |series: &str, of: &str| {
            value(&registry, &format!("highwater.disk.{series}{{directory={of:?}}}"))
        };
        let (free, size) = (read("free", "spool").unwrap(), read("size", "spool").unwrap());
        assert!(size >= free && size > 0.0, "{free} {size}");
        assert_eq!(read("size", "report"), Some(0.0), "procfs has no room");
        assert!(Disk::new(Vec::new()).is_none());
    }

    #[test]
    fn what_hangs_is_not_known() {
        let sampler = Disk::new(vec![("spool", "/".into())]).unwrap();
        let (mut sampler, registry) = started(sampler);
        let state = sampler.state.as_mut().unwrap();
        state.rooms[0].free.set(7.0);
        state.asked = Some(Duration::ZERO);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        state.aside.run("hung", move || _ = wait.recv());
        let time = state.time.clone();
        let mut at = |seconds| {
            time.set(Duration::from_secs(seconds));
            sampler.sample().unwrap();
            value(&registry, r#"highwater.disk.free{directory="spool"}"#)
        };
        assert_eq!(at(9), Some(7.0));
        assert_eq!(at(10), None);
        drop(go);
    }
}
