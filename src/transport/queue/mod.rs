//! What is encoded and not yet delivered: its order and its bounds.
//!
//! Two lanes: alerts and metrics. When there is too much, the oldest metrics go first and alerts
//! last; what has waited for too long goes too. Each loss is remembered until
//! [`Queue::take_losses`]. Requests keep the timestamps they were encoded with, so what is late is
//! late and not wrong.
//!
//! Bodies are on disk if there is a [spool](super::spool), else, and while the disk fails, in
//! memory. Shared by those who queue and those who send, under one lock, which is held while the
//! disk is written and never while the network is waited for.

mod disk;
#[cfg(all(test, unix))]
mod disk_tests;
#[cfg(test)]
mod tests;

pub(crate) use disk::DiskLimits;

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant, SystemTime},
};

use self::disk::{Disk, is_lost};
use super::{
    Dropped, Encoding, Lane, Parcel, retry,
    spool::{Place, Spool},
};
use crate::sync::Arc;

/// How much may wait, and where.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bytes of bodies in memory.
    pub(crate) memory: usize,
    /// What waits longer is dropped.
    pub(crate) age: Duration,
    pub(crate) disk: Option<DiskLimits>,
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
    /// How many a receiver took or refused, by [`Lane`].
    settled: [u64; 2],
    losses: Vec<Loss>,
    notes: Vec<Note>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    failures: u32,
    /// Failures while the receiver took others.
    blamed: u32,
    /// How many of the lane were settled when it failed last.
    settled: u64,
    /// Not tried before.
    not_before: Option<Instant>,
    /// It is on disk and could not be read when last tried.
    unreadable: bool,
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

/// What [`Queue::pick`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Request(Picked),
    /// All that is there must wait for so long.
    Wait(Duration),
    Nothing,
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
    /// A disk is first touched when there is something for it. One that cannot be used is a
    /// [`Note`], and tried again later.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            lanes: Default::default(),
            memory: 0,
            bytes: [0; 2],
            disk: limits.disk.clone().map(Disk::new),
            limits,
            next: 0,
            fresh: None,
            settled: [0; 2],
            losses: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Takes in what processes left that are dead by now. Reads all of it: for the `highwater-io`
    /// thread, now and then.
    pub(crate) fn recover(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        let Some(mut recovered) = disk.open(&mut self.notes).map(Spool::recover) else { return };
        disk.recovered(recovered.unread.take(), &mut self.notes);
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
            let body = Body::Disk(found.place);
            let length = found.length as usize;
            let waiting = self.waiting(found.at, found.items, found.encoding, length, body);
            self.bytes[found.lane as usize] += length;
            self.lanes[found.lane as usize].push_front(waiting);
        }
        self.expire(SystemTime::now());
    }

    fn waiting(
        &mut self,
        at: SystemTime,
        items: u32,
        encoding: Encoding,
        length: usize,
        body: Body,
    ) -> Waiting {
        let id = self.next;
        self.next += 1;
        Waiting {
            id,
            failures: 0,
            blamed: 0,
            settled: 0,
            not_before: None,
            unreadable: false,
            at,
            items,
            encoding,
            length,
            body,
        }
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
        let waiting = self.waiting(at, items, encoding, length, body);
        if lane == Lane::Metrics {
            self.fresh = Some(waiting.id);
        }
        self.lanes[lane as usize].push_back(waiting);
        self.bytes[lane as usize] += length;
        while self.memory > self.limits.memory
            && self.drop_oldest(|body| matches!(body, Body::Memory(_)))
        {}
    }

    /// To the disk, if there is one that works.
    fn append(&mut self, lane: Lane, parcel: &Parcel) -> Option<Place> {
        self.disk.as_mut()?.open(&mut self.notes)?;
        self.make_room(parcel.body.len())?;
        let disk = self.disk.as_mut()?;
        match disk.spool.as_mut()?.append(lane, parcel) {
            Ok(place) => {
                if disk.written(&mut self.notes) {
                    self.move_to_disk();
                }
                Some(place)
            }
            Err(error) => {
                disk.write_failed(&error, &mut self.notes);
                None
            }
        }
    }

    /// Drops the oldest on disk until there is room; `None` for what would not fit an empty disk,
    /// and if what takes the room cannot be read.
    fn make_room(&mut self, length: usize) -> Option<()> {
        let mut searched = false;
        loop {
            let disk = self.disk.as_mut()?;
            let spool = disk.spool.as_mut()?;
            let wanted = Spool::bytes_for(length);
            let fits = |spool: &Spool| spool.bytes() + wanted <= disk.limits.bytes;
            if fits(spool) {
                return Some(());
            }
            // Delivered, but in files still being written to; nothing that waits is lost by it.
            spool.tidy();
            if fits(spool) {
                return Some(());
            }
            let unread = spool.unread_bytes();
            if unread > 0 && !std::mem::replace(&mut searched, true) {
                // What earlier processes left is older than anything here.
                self.recover();
                continue;
            }
            if unread + wanted > disk.limits.bytes
                || !self.drop_oldest(|body| matches!(body, Body::Disk(_)))
            {
                return None;
            }
        }
    }

    /// What had to be kept in memory while the disk failed, as far as there is room.
    fn move_to_disk(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        let Some(spool) = &mut disk.spool else { return };
        for lane in Lane::ALL {
            for waiting in &mut self.lanes[lane as usize] {
                let Body::Memory(body) = &waiting.body else { continue };
                if spool.bytes() + Spool::bytes_for(waiting.length) > disk.limits.bytes {
                    return;
                }
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

    /// All of them are looked at: while the clock was wrong, what came late may have been dated
    /// early.
    fn expire(&mut self, now: SystemTime) {
        let limit = self.limits.age;
        let is_old =
            |waiting: &&Waiting| now.duration_since(waiting.at).is_ok_and(|age| age > limit);
        for lane in Lane::ALL {
            let waiting = self.lanes[lane as usize].iter();
            let old: Vec<_> = waiting.filter(is_old).map(|waiting| waiting.id).collect();
            old.into_iter().for_each(|id| self.give_up(lane, id, Dropped::Expired));
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
    /// always fails stands in nobody's way; but metrics just pushed come before a backlog, of
    /// which nothing is given before `paced`.
    pub(crate) fn pick(&mut self, lane: Lane, now: Instant, paced: Option<Instant>) -> Next {
        loop {
            let waiting = &self.lanes[lane as usize];
            let reads = self.disk.as_ref().and_then(|disk| disk.reads);
            let is_due = |waiting: &&Waiting| waiting.due(reads).is_none_or(|at| at <= now);
            let fresh = waiting
                .back()
                .filter(|last| Some(last.id) == self.fresh && last.failures == 0)
                .filter(is_due);
            let least = || waiting.iter().filter(is_due).min_by_key(|one| (one.failures, one.at));
            let Some(next) = fresh.or_else(least) else {
                let earliest = waiting.iter().filter_map(|waiting| waiting.due(reads)).min();
                let left = earliest.map(|at| at.saturating_duration_since(now));
                return left.map_or(Next::Nothing, Next::Wait);
            };
            let is_fresh = fresh.is_some() || (lane == Lane::Alerts && waiting.len() == 1);
            let left = paced.map(|at| at.saturating_duration_since(now));
            if let Some(left) = left.filter(|left| !is_fresh && !left.is_zero()) {
                return Next::Wait(left);
            }
            let Waiting { id, at, items, encoding, .. } = *next;
            match self.read(&next.body) {
                Ok(body) => {
                    self.read_again(lane, id);
                    let parcel = Parcel { at, items, encoding, body };
                    return Next::Request(Picked { id, is_fresh, parcel });
                }
                Err(error) if is_lost(&error) => self.give_up(lane, id, Dropped::Damaged),
                Err(error) => self.read_failed(lane, id, &error, now),
            }
        }
    }

    fn read(&self, body: &Body) -> io::Result<Arc<[u8]>> {
        match (body, &self.disk) {
            (Body::Memory(body), _) => Ok(body.clone()),
            (Body::Disk(place), Some(disk)) => disk.read(*place).map(Arc::from),
            (Body::Disk(_), None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn find(&mut self, lane: Lane, id: u64) -> Option<&mut Waiting> {
        self.lanes[lane as usize].iter_mut().find(|waiting| waiting.id == id)
    }

    /// It is kept, and others go first meanwhile.
    fn read_failed(&mut self, lane: Lane, id: u64, error: &io::Error, now: Instant) {
        let Some(waiting) = self.find(lane, id) else { return };
        waiting.failures = waiting.failures.saturating_add(1);
        waiting.not_before = Some(now + disk::UNREADABLE);
        let known = std::mem::replace(&mut waiting.unreadable, true);
        if let Some(disk) = &mut self.disk {
            disk.read_failed(error, known, now, &mut self.notes);
        }
    }

    fn read_again(&mut self, lane: Lane, id: u64) {
        let Some(waiting) = self.find(lane, id) else { return };
        let was_unreadable = std::mem::take(&mut waiting.unreadable);
        if let Some(disk) = self.disk.as_mut().filter(|_| was_unreadable) {
            disk.read_again(&mut self.notes);
        }
    }

    /// The receiver took it, or refused it for good; gives what was in it.
    pub(crate) fn settle(&mut self, lane: Lane, id: u64) -> u32 {
        self.settled[lane as usize] += 1;
        self.remove(lane, id)
    }

    fn remove(&mut self, lane: Lane, id: u64) -> u32 {
        self.read_again(lane, id);
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

    /// It was tried and has to wait. One that fails again after others were taken is at fault
    /// itself, and is tried ever more seldom.
    pub(crate) fn failed(&mut self, lane: Lane, id: u64, now: Instant) {
        let settled = self.settled[lane as usize];
        let Some(waiting) = self.find(lane, id) else { return };
        if waiting.failures > 0 && settled > waiting.settled {
            waiting.blamed = waiting.blamed.saturating_add(1);
            waiting.not_before = Some(now + retry::alone(waiting.blamed));
        }
        waiting.failures = waiting.failures.saturating_add(1);
        waiting.settled = settled;
    }

    /// One more attempt for everything, at once.
    pub(crate) fn hurry(&mut self) {
        self.lanes.iter_mut().flatten().for_each(|waiting| waiting.not_before = None);
        if let Some(disk) = &mut self.disk {
            disk.reads = None;
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
            oldest: waiting.iter().map(|waiting| waiting.at).min(),
        }
    }

    /// What the disk cannot do at present, and why.
    pub(crate) fn disk_error(&self) -> Option<String> {
        self.disk.as_ref()?.error()
    }

    /// Bytes of files.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.disk.as_ref().and_then(|disk| disk.spool.as_ref()).map_or(0, Spool::bytes)
    }
}

impl Waiting {
    /// When it may be tried; `reads` is when the disk may be read.
    fn due(&self, reads: Option<Instant>) -> Option<Instant> {
        match self.body {
            Body::Memory(_) => self.not_before,
            Body::Disk(_) => self.not_before.max(reads),
        }
    }
}
