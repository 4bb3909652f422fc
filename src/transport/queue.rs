//! What is encoded and not yet delivered: its order and its bounds.
//!
//! Two lanes: alerts and metrics. Whoever sends asks the alerts' lane first. When there is too
//! much, the oldest metrics go first and alerts last; what has waited for too long goes too. Each
//! loss is remembered until [`Queue::take_losses`]. Requests keep the timestamps they were encoded
//! with, so what is late is late and not wrong.
//!
//! Bodies are on disk if there is a [spool](super::spool), else, and while the disk fails, in
//! memory. Shared by those who queue and the `highwater-io` thread, under one lock, which is held
//! while the disk is written and never while the network is waited for.

use std::{
    collections::VecDeque,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use super::{
    Dropped, Encoding, Lane, Parcel,
    spool::{Durability, Place, Spool},
};
use crate::sync::Arc;

/// A disk that failed is tried again so often.
const DISK_PAUSE: Duration = Duration::from_secs(30);

/// How much may wait, and where.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bytes of bodies in memory.
    pub(crate) memory: usize,
    /// What waits longer is dropped.
    pub(crate) age: Duration,
    pub(crate) disk: Option<DiskLimits>,
}

#[derive(Debug, Clone)]
pub(crate) struct DiskLimits {
    pub(crate) directory: PathBuf,
    /// Bytes of files.
    pub(crate) bytes: u64,
    pub(crate) durability: Durability,
}

/// A bounded queue of [`Parcel`]s.
#[derive(Debug)]
pub(crate) struct Queue {
    lanes: [VecDeque<Waiting>; 2],
    limits: Limits,
    /// Bytes of bodies in memory.
    memory: usize,
    /// Bytes of all bodies, by [`Lane`].
    bytes: [usize; 2],
    disk: Option<Disk>,
    next: u64,
    /// The metrics pushed last.
    fresh: Option<u64>,
    losses: Vec<Loss>,
    notes: Vec<Note>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    failures: u32,
    at: SystemTime,
    items: u32,
    encoding: Encoding,
    length: usize,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Memory(Arc<[u8]>),
    Disk(Place),
}

#[derive(Debug)]
struct Disk {
    limits: DiskLimits,
    /// `None` as long as it could not be opened.
    spool: Option<Spool>,
    /// It failed; not tried before.
    pause: Option<Instant>,
    /// With what; as long as it does.
    error: Option<String>,
}

/// What waits in a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    /// Of their bodies, compressed.
    pub(crate) bytes: u64,
    /// When the data of the oldest were taken.
    pub(crate) oldest: Option<SystemTime>,
}

/// A request to be tried.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picked {
    pub(crate) id: u64,
    /// Not part of a backlog.
    pub(crate) is_fresh: bool,
    pub(crate) parcel: Parcel,
}

/// What was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) lane: Lane,
    pub(crate) why: Dropped,
    pub(crate) items: u64,
}

/// What happened to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    DiskFailed(String),
    DiskBack,
    Recovered { requests: usize, damaged_bytes: u64 },
}

impl Queue {
    /// A disk that cannot be used is a [`Note`], and tried again later.
    pub(crate) fn new(limits: Limits) -> Self {
        let disk = limits.disk.clone();
        let mut queue = Self {
            lanes: Default::default(),
            limits,
            memory: 0,
            bytes: [0; 2],
            disk: disk.map(|limits| Disk { limits, spool: None, pause: None, error: None }),
            next: 0,
            fresh: None,
            losses: Vec::new(),
            notes: Vec::new(),
        };
        queue.open_disk();
        queue
    }

    fn open_disk(&mut self) -> bool {
        let Some(disk) = &mut self.disk else { return false };
        let limits = &disk.limits;
        let opened = match &mut disk.spool {
            Some(spool) => spool.reopen(),
            None => Spool::open(&limits.directory, limits.bytes, limits.durability)
                .map(|spool| disk.spool = Some(spool)),
        };
        opened.map_err(|error| self.disk_failed(&error)).is_ok()
    }

    fn disk_failed(&mut self, error: &std::io::Error) {
        let Some(disk) = &mut self.disk else { return };
        // Said once, not at each try.
        if disk.pause.is_none() {
            let error = format!("{}: {error}", disk.limits.directory.display());
            disk.error = Some(error.clone());
            self.notes.push(Note::DiskFailed(error));
        }
        disk.pause = Some(Instant::now() + DISK_PAUSE);
    }

    /// Takes in what processes left that are dead by now. Reads all of it: for the `highwater-io`
    /// thread, now and then.
    pub(crate) fn recover(&mut self) {
        let spool = self.disk.as_mut().and_then(|disk| disk.spool.as_mut());
        let Some(recovered) = spool.map(Spool::recover) else { return };
        for lane in Lane::ALL {
            self.lose(lane, Dropped::Damaged, recovered.damaged_items[lane as usize]);
        }
        let requests = recovered.waiting.len();
        if requests > 0 || recovered.damaged_bytes > 0 {
            let damaged_bytes = recovered.damaged_bytes;
            self.notes.push(Note::Recovered { requests, damaged_bytes });
        }
        // Older than all that is there: before it, oldest first.
        for found in recovered.waiting.iter().rev() {
            let id = self.next;
            self.next += 1;
            self.bytes[found.lane as usize] += found.length as usize;
            self.lanes[found.lane as usize].push_front(Waiting {
                id,
                failures: 0,
                at: found.at,
                items: found.items,
                encoding: found.encoding,
                length: found.length as usize,
                body: Body::Disk(found.place),
            });
        }
        self.expire(SystemTime::now());
    }

    /// Appends a parcel. When it returns, the parcel is on disk, if there is one that works.
    pub(crate) fn push(&mut self, lane: Lane, parcel: Parcel) {
        self.expire(parcel.at);
        let Parcel { at, items, encoding, .. } = parcel;
        let length = parcel.body.len();
        let body = match self.append(lane, &parcel) {
            Some(place) => Body::Disk(place),
            None => {
                self.memory += length;
                Body::Memory(parcel.body)
            }
        };
        let id = self.next;
        self.next += 1;
        let waiting = Waiting { id, failures: 0, at, items, encoding, length, body };
        self.lanes[lane as usize].push_back(waiting);
        self.bytes[lane as usize] += length;
        if lane == Lane::Metrics {
            self.fresh = Some(id);
        }
        while self.memory > self.limits.memory
            && self.drop_oldest(|body| matches!(body, Body::Memory(_)))
        {}
    }

    /// To the disk, if there is one that works.
    fn append(&mut self, lane: Lane, parcel: &Parcel) -> Option<Place> {
        let pause = self.disk.as_ref()?.pause;
        if pause.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        if pause.is_some() && !self.open_disk() {
            return None;
        }
        self.make_room(parcel.body.len())?;
        let disk = self.disk.as_mut()?;
        match disk.spool.as_mut()?.append(lane, parcel) {
            Ok(place) => {
                if disk.pause.take().is_some() {
                    disk.error = None;
                    self.notes.push(Note::DiskBack);
                    self.move_to_disk();
                }
                Some(place)
            }
            Err(error) => {
                self.disk_failed(&error);
                None
            }
        }
    }

    /// Drops the oldest on disk until there is room; `None` for what would not fit an empty disk.
    fn make_room(&mut self, length: usize) -> Option<()> {
        loop {
            let disk = self.disk.as_mut()?;
            let spool = disk.spool.as_mut()?;
            let wanted = Spool::bytes_for(length);
            if spool.bytes() + wanted <= disk.limits.bytes {
                return Some(());
            }
            if wanted > disk.limits.bytes {
                return None;
            }
            if !self.drop_oldest(|body| matches!(body, Body::Disk(_))) {
                // All delivered, but in files still being written to.
                let disk = self.disk.as_mut()?;
                let spool = disk.spool.as_mut()?;
                spool.tidy();
                return (spool.bytes() + wanted <= disk.limits.bytes).then_some(());
            }
        }
    }

    /// What had to be kept in memory while the disk failed.
    fn move_to_disk(&mut self) {
        let Some(spool) = self.disk.as_mut().and_then(|disk| disk.spool.as_mut()) else { return };
        for lane in Lane::ALL {
            for waiting in &mut self.lanes[lane as usize] {
                let Body::Memory(body) = &waiting.body else { continue };
                let Waiting { at, items, encoding, .. } = *waiting;
                let parcel = Parcel { at, items, encoding, body: body.clone() };
                let Ok(place) = spool.append(lane, &parcel) else { return };
                self.memory -= waiting.length;
                waiting.body = Body::Disk(place);
            }
        }
    }

    /// The oldest metrics of a kind, else the oldest alerts.
    fn drop_oldest(&mut self, kind: impl Fn(&Body) -> bool) -> bool {
        for lane in [Lane::Metrics, Lane::Alerts] {
            let oldest = self.lanes[lane as usize].iter().find(|waiting| kind(&waiting.body));
            if let Some(id) = oldest.map(|waiting| waiting.id) {
                self.give_up(lane, id, Dropped::QueueFull);
                return true;
            }
        }
        false
    }

    fn expire(&mut self, now: SystemTime) {
        for lane in Lane::ALL {
            while let Some(oldest) = self.lanes[lane as usize].front()
                && now.duration_since(oldest.at).is_ok_and(|age| age > self.limits.age)
            {
                let id = oldest.id;
                self.give_up(lane, id, Dropped::Expired);
            }
        }
    }

    fn lose(&mut self, lane: Lane, why: Dropped, items: u64) {
        if items > 0 {
            self.losses.push(Loss { lane, why, items });
        }
    }

    fn give_up(&mut self, lane: Lane, id: u64, why: Dropped) {
        let items = self.remove(lane, id);
        self.lose(lane, why, items.into());
    }

    /// The next of a lane: of those that failed least often the oldest, so that a request that
    /// always fails stands in nobody's way; but metrics just pushed come before a backlog.
    pub(crate) fn pick(&mut self, lane: Lane) -> Option<Picked> {
        loop {
            let waiting = &self.lanes[lane as usize];
            let fresh =
                waiting.back().filter(|last| Some(last.id) == self.fresh && last.failures == 0);
            let next = fresh.or_else(|| waiting.iter().min_by_key(|next| (next.failures, next.at)));
            let Waiting { id, at, items, encoding, .. } = *next?;
            let is_fresh = fresh.is_some() || lane == Lane::Alerts;
            let body = match &next?.body {
                Body::Memory(body) => Some(body.clone()),
                Body::Disk(place) => self
                    .disk
                    .as_ref()
                    .and_then(|disk| disk.spool.as_ref()?.read(*place).ok())
                    .map(Arc::from),
            };
            match body {
                Some(body) => {
                    let parcel = Parcel { at, items, encoding, body };
                    return Some(Picked { id, is_fresh, parcel });
                }
                None => self.give_up(lane, id, Dropped::Damaged),
            }
        }
    }

    /// It was delivered, or never will be; gives what was in it.
    pub(crate) fn remove(&mut self, lane: Lane, id: u64) -> u32 {
        let waiting = &mut self.lanes[lane as usize];
        let Some(at) = waiting.iter().position(|waiting| waiting.id == id) else { return 0 };
        let Some(waiting) = waiting.remove(at) else { return 0 };
        self.bytes[lane as usize] -= waiting.length;
        match waiting.body {
            Body::Memory(_) => self.memory -= waiting.length,
            Body::Disk(place) => {
                if let Some(spool) = self.disk.as_mut().and_then(|disk| disk.spool.as_mut()) {
                    spool.done(place);
                }
            }
        }
        waiting.items
    }

    /// It was tried and has to wait.
    pub(crate) fn failed(&mut self, lane: Lane, id: u64) {
        let mut waiting = self.lanes[lane as usize].iter_mut();
        if let Some(waiting) = waiting.find(|waiting| waiting.id == id) {
            waiting.failures = waiting.failures.saturating_add(1);
        }
    }

    /// Gives up what is in memory only, and says how many requests that were; what is on disk stays
    /// there for the next process.
    pub(crate) fn abandon(&mut self) -> u64 {
        let mut requests = 0;
        for lane in Lane::ALL {
            let lost: Vec<_> = self.lanes[lane as usize]
                .iter()
                .filter(|waiting| matches!(waiting.body, Body::Memory(_)))
                .map(|waiting| waiting.id)
                .collect();
            requests += lost.len() as u64;
            lost.into_iter().for_each(|id| self.give_up(lane, id, Dropped::Shutdown));
        }
        requests
    }

    /// What was lost since the last call.
    pub(crate) fn take_losses(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.losses)
    }

    /// What happened to the disk since the last call.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// What waits in a lane.
    pub(crate) fn load(&self, lane: Lane) -> Load {
        let waiting = &self.lanes[lane as usize];
        Load {
            requests: waiting.len() as u64,
            bytes: self.bytes[lane as usize] as u64,
            oldest: waiting.front().map(|oldest| oldest.at),
        }
    }

    /// Why the disk cannot be used at present.
    pub(crate) fn disk_error(&self) -> Option<&str> {
        self.disk.as_ref()?.error.as_deref()
    }

    /// Bytes of files.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.disk.as_ref().and_then(|disk| disk.spool.as_ref()).map_or(0, Spool::bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(memory: usize) -> Queue {
        Queue::new(Limits { memory, age: Duration::from_secs(100), disk: None })
    }

    fn parcel(number: u8) -> Parcel {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(number.into());
        Parcel { at, items: 1, encoding: Encoding::Identity, body: Arc::from([number; 10]) }
    }

    fn lost(queue: &mut Queue) -> Vec<(Lane, Dropped)> {
        queue.take_losses().into_iter().map(|loss| (loss.lane, loss.why)).collect()
    }

    /// Requests and bytes.
    fn loads(queue: &Queue) -> (u64, u64) {
        let loads = Lane::ALL.map(|lane| queue.load(lane));
        (loads.iter().map(|load| load.requests).sum(), loads.iter().map(|load| load.bytes).sum())
    }

    fn take(queue: &mut Queue, lane: Lane) -> u8 {
        let picked = queue.pick(lane).unwrap();
        assert_eq!(queue.remove(lane, picked.id), 1);
        picked.parcel.body[0]
    }

    #[test]
    fn the_oldest_metrics_are_dropped_first_and_alerts_last() {
        let mut queue = queue(30);
        queue.push(Lane::Alerts, parcel(1));
        queue.push(Lane::Metrics, parcel(2));
        queue.push(Lane::Metrics, parcel(3));
        assert_eq!(lost(&mut queue), []);
        queue.push(Lane::Alerts, parcel(4));
        queue.push(Lane::Alerts, parcel(5));
        queue.push(Lane::Metrics, parcel(6));
        assert_eq!(lost(&mut queue), [(Lane::Metrics, Dropped::QueueFull); 3]);
        queue.push(Lane::Alerts, parcel(7));
        assert_eq!(lost(&mut queue), [(Lane::Alerts, Dropped::QueueFull)]);
        assert_eq!(loads(&queue), (3, 30));
        assert_eq!(take(&mut queue, Lane::Alerts), 4);
    }

    #[test]
    fn a_parcel_larger_than_the_queue_goes_itself() {
        let mut queue = queue(5);
        queue.push(Lane::Alerts, parcel(1));
        assert_eq!(lost(&mut queue), [(Lane::Alerts, Dropped::QueueFull)]);
        assert_eq!(loads(&queue), (0, 0));
    }

    #[test]
    fn what_has_waited_too_long_is_dropped() {
        let mut queue = queue(1_000);
        queue.push(Lane::Alerts, parcel(1));
        queue.push(Lane::Metrics, parcel(2));
        queue.push(Lane::Metrics, parcel(102));
        let expired = (Lane::Alerts, Dropped::Expired);
        assert_eq!(lost(&mut queue), [expired], "a hundred seconds are allowed");
        queue.push(Lane::Metrics, parcel(103));
        assert_eq!(lost(&mut queue), [(Lane::Metrics, Dropped::Expired)]);
    }

    #[test]
    fn fresh_metrics_come_before_the_backlog_and_the_backlog_oldest_first() {
        let mut queue = queue(1_000);
        for number in 1..=4 {
            queue.push(Lane::Metrics, parcel(number));
        }
        assert!(queue.pick(Lane::Metrics).unwrap().is_fresh);
        let order: Vec<_> = (0..4).map(|_| take(&mut queue, Lane::Metrics)).collect();
        assert_eq!(order, [4, 1, 2, 3]);
    }

    #[test]
    fn alerts_keep_their_order() {
        let mut queue = queue(1_000);
        for number in 1..=3 {
            queue.push(Lane::Alerts, parcel(number));
        }
        let order: Vec<_> = (0..3).map(|_| take(&mut queue, Lane::Alerts)).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn what_always_fails_lets_the_others_pass() {
        for lane in Lane::ALL {
            let mut queue = queue(1_000);
            queue.push(lane, parcel(1));
            let poisoned = queue.pick(lane).unwrap().id;
            queue.failed(lane, poisoned);
            queue.push(lane, parcel(2));
            assert_eq!(take(&mut queue, lane), 2);
            assert_eq!(take(&mut queue, lane), 1, "and is tried again");
        }
    }
}

#[cfg(all(test, unix))]
mod disk_tests {
    use std::fs;

    use super::*;
    use crate::transport::spool::tests::Directory;

    fn queue(directory: &Directory, bytes: u64) -> Queue {
        let durability = Durability::ProcessCrash;
        let directory = directory.0.clone();
        let disk = Some(DiskLimits { directory, bytes, durability });
        Queue::new(Limits { memory: 1 << 20, age: Duration::from_secs(1 << 40), disk })
    }

    fn parcel(number: u8, length: usize) -> Parcel {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(number.into());
        let body = Arc::from(vec![number; length]);
        Parcel { at, items: 1, encoding: Encoding::Identity, body }
    }

    fn waiting(queue: &mut Queue, lane: Lane) -> Vec<u8> {
        let mut waiting = Vec::new();
        while let Some(picked) = queue.pick(lane) {
            queue.remove(lane, picked.id);
            waiting.push(picked.parcel.body[0]);
        }
        waiting
    }

    /// As if the pause were over.
    fn pause_over(queue: &mut Queue) {
        let disk = queue.disk.as_mut().unwrap();
        assert!(disk.pause.is_some());
        disk.pause = Some(Instant::now());
    }

    #[test]
    fn what_waited_is_there_after_a_restart_and_older_than_what_is_new() {
        let directory = Directory::new();
        let mut first = queue(&directory, 1 << 20);
        for number in [1, 2] {
            first.push(Lane::Metrics, parcel(number, 10));
            first.push(Lane::Alerts, parcel(number, 10));
        }
        drop(first);
        let mut second = queue(&directory, 1 << 20);
        second.push(Lane::Alerts, parcel(3, 10));
        second.recover();
        let note = Note::Recovered { requests: 4, damaged_bytes: 0 };
        assert_eq!(second.take_notes(), [note]);
        assert_eq!(waiting(&mut second, Lane::Alerts), [1, 2, 3]);
        assert_eq!(waiting(&mut second, Lane::Metrics), [1, 2]);
        second.recover();
        assert!(second.load(Lane::Metrics).requests == 0 && second.take_losses().is_empty());
    }

    #[test]
    fn a_full_spool_drops_the_oldest_metrics_first_and_alerts_last() {
        let directory = Directory::new();
        let cap = 1 << 20;
        let mut queue = queue(&directory, cap);
        for number in 0..100 {
            queue.push(Lane::Alerts, parcel(number, 1_000));
            queue.push(Lane::Metrics, parcel(number, 20_000));
            assert!(queue.disk_bytes() <= cap);
        }
        let lost = queue.take_losses();
        assert!(lost.len() > 40 && lost.len() < 70, "{}", lost.len());
        assert!(
            lost.iter().all(|loss| (loss.lane, loss.why) == (Lane::Metrics, Dropped::QueueFull))
        );
        let lost = lost.len() as u8;
        assert_eq!(waiting(&mut queue, Lane::Alerts), (0..100).collect::<Vec<_>>());
        let metrics = waiting(&mut queue, Lane::Metrics);
        assert_eq!(metrics[0], 99, "the fresh one");
        assert_eq!(metrics[1..], (lost..99).collect::<Vec<_>>(), "the newest are kept");
        for number in 0..100 {
            queue.push(Lane::Alerts, parcel(number, 20_000));
            assert!(queue.disk_bytes() <= cap);
        }
        assert!(queue.take_losses().iter().all(|loss| loss.lane == Lane::Alerts));
    }

    #[test]
    fn delivered_entries_make_room() {
        let directory = Directory::new();
        let mut queue = queue(&directory, 1 << 20);
        for number in 0..200 {
            queue.push(Lane::Metrics, parcel(number, 20_000));
            assert_eq!(waiting(&mut queue, Lane::Metrics), [number]);
        }
        assert_eq!(queue.take_losses(), []);
    }

    #[test]
    fn a_disk_that_cannot_be_used_is_said_once_and_memory_serves() {
        let directory = Directory::new();
        // A file where the directory should be.
        fs::write(&directory.0, "").unwrap();
        let mut queue = queue(&directory, 1 << 20);
        queue.push(Lane::Alerts, parcel(1, 10));
        pause_over(&mut queue);
        queue.push(Lane::Alerts, parcel(2, 10));
        let notes = queue.take_notes();
        assert!(matches!(&notes[..], [Note::DiskFailed(_)]), "{notes:?}");
        fs::remove_file(&directory.0).unwrap();
        pause_over(&mut queue);
        queue.push(Lane::Alerts, parcel(3, 10));
        assert_eq!(queue.take_notes(), [Note::DiskBack]);
        assert_eq!(queue.memory, 0, "what waited in memory was moved");
        drop(queue);
        let mut next = self::queue(&directory, 1 << 20);
        next.recover();
        assert_eq!(waiting(&mut next, Lane::Alerts), [1, 2, 3]);
        let _ = fs::remove_file(&directory.0);
    }

    #[test]
    fn a_disk_that_vanishes_loses_what_was_on_it_and_nothing_after() {
        let directory = Directory::new();
        let mut queue = queue(&directory, 1 << 20);
        queue.push(Lane::Alerts, parcel(1, 10));
        fs::remove_dir_all(&directory.0).unwrap();
        queue.push(Lane::Alerts, parcel(2, 10));
        assert!(matches!(&queue.take_notes()[..], [Note::DiskFailed(_)]));
        pause_over(&mut queue);
        queue.push(Lane::Alerts, parcel(3, 10));
        assert_eq!(queue.take_notes(), [Note::DiskBack]);
        assert_eq!(waiting(&mut queue, Lane::Alerts), [2, 3]);
        let lost = queue.take_losses();
        assert_eq!(
            lost.iter().map(|loss| (loss.why, loss.items)).collect::<Vec<_>>(),
            [(Dropped::Damaged, 1)]
        );
    }

    #[test]
    fn a_full_disk_is_bridged_in_memory() {
        let directory = Directory::new();
        fs::create_dir_all(&directory.0).unwrap();
        let mount = |args: &[&str]| {
            let run = std::process::Command::new("mount").args(args).arg(&directory.0).output();
            run.is_ok_and(|output| output.status.success())
        };
        if !mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"]) {
            use std::io::Write;
            let _ =
                writeln!(std::io::stderr(), "SKIPPED: a_full_disk_…: may not mount a small disk");
            return;
        }
        let mut queue = queue(&directory, 1 << 20);
        for number in 0..10 {
            queue.push(Lane::Metrics, parcel(number, 10_000));
        }
        assert!(matches!(&queue.take_notes()[..], [Note::DiskFailed(_)]));
        assert!(queue.memory >= 40_000);
        let mut all = waiting(&mut queue, Lane::Metrics);
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_eq!(queue.take_losses(), []);
        // There is room again.
        pause_over(&mut queue);
        queue.push(Lane::Metrics, parcel(10, 10_000));
        assert_eq!(queue.take_notes(), [Note::DiskBack]);
        drop(queue);
        let umount = std::process::Command::new("umount").arg(&directory.0).status();
        assert!(umount.unwrap().success());
    }
}
