//! How delivery fares. Written by the `highwater-io` thread, read by the tick thread and by users.

use std::time::SystemTime;

use crate::{
    sync::{AtomicU64, Mutex, Ordering},
    transport::{Dropped, Lane, queue::Queue},
};

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    sent_items: AtomicU64,
    retried: AtomicU64,
    refused: AtomicU64,
    unclear: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

#[derive(Debug, Clone, Default)]
struct Last {
    success: Option<SystemTime>,
    error: Option<String>,
    oldest: Option<SystemTime>,
}

/// The live counters.
#[derive(Debug, Default)]
pub(crate) struct Health {
    lanes: [Counts; 2],
    queued: AtomicU64,
    queued_bytes: AtomicU64,
    disk_bytes: AtomicU64,
    last: Mutex<Last>,
}

/// One lane's counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LaneReport {
    /// Requests the receiver took.
    pub(crate) sent: u64,
    /// Data points or log records in them.
    pub(crate) sent_items: u64,
    /// Attempts that failed and are made again.
    pub(crate) retried: u64,
    /// Requests refused for good.
    pub(crate) refused: u64,
    /// Requests taken with an answer that is not OTLP's: perhaps nobody who speaks OTLP took them.
    pub(crate) unclear: u64,
    /// Data points or log records lost, by [`Dropped`].
    pub(crate) dropped: [u64; Dropped::ALL.len()],
}

/// Delivery at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// By [`Lane`].
    pub(crate) lanes: [LaneReport; 2],
    /// Requests waiting.
    pub(crate) queued: u64,
    /// Their bytes, compressed.
    pub(crate) queued_bytes: u64,
    /// Bytes of the spool's files, what is delivered and not yet removed included.
    pub(crate) disk_bytes: u64,
    /// When the data of the oldest were taken.
    pub(crate) oldest: Option<SystemTime>,
    pub(crate) last_success: Option<SystemTime>,
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Health {
    pub(super) fn sent(&self, lane: Lane, items: u64, at: SystemTime) {
        add(&self.lanes[lane as usize].sent, 1);
        add(&self.lanes[lane as usize].sent_items, items);
        self.last.lock().success = Some(at);
    }

    pub(super) fn unclear(&self, lane: Lane) {
        add(&self.lanes[lane as usize].unclear, 1);
    }

    pub(super) fn retried(&self, lane: Lane) {
        add(&self.lanes[lane as usize].retried, 1);
    }

    pub(super) fn refused(&self, lane: Lane, items: u64) {
        add(&self.lanes[lane as usize].refused, 1);
        self.dropped(lane, Dropped::Refused, items);
    }

    pub(super) fn dropped(&self, lane: Lane, why: Dropped, items: u64) {
        add(&self.lanes[lane as usize].dropped[why as usize], items);
    }

    pub(super) fn error(&self, text: &str) {
        self.last.lock().error = Some(text.to_owned());
    }

    pub(super) fn queue(&self, queue: &Queue) {
        self.queued.store(queue.len() as u64, Ordering::Relaxed);
        self.queued_bytes.store(queue.bytes() as u64, Ordering::Relaxed);
        self.disk_bytes.store(queue.disk_bytes(), Ordering::Relaxed);
        self.last.lock().oldest = queue.oldest();
    }

    /// Reads all figures, without allocating; what is counted while it is read may be in or not.
    pub(crate) fn report(&self) -> Report {
        let lanes = [&self.lanes[0], &self.lanes[1]].map(|counts| LaneReport {
            sent: get(&counts.sent),
            sent_items: get(&counts.sent_items),
            retried: get(&counts.retried),
            refused: get(&counts.refused),
            unclear: get(&counts.unclear),
            dropped: Dropped::ALL.map(|why| get(&counts.dropped[why as usize])),
        });
        let last = self.last.lock();
        Report {
            lanes,
            queued: get(&self.queued),
            queued_bytes: get(&self.queued_bytes),
            disk_bytes: get(&self.disk_bytes),
            oldest: last.oldest,
            last_success: last.success,
        }
    }

    /// What went wrong last; stays after a success.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last.lock().error.clone()
    }
}

#[cfg(test)]
impl Report {
    pub(crate) fn lane(&self, lane: Lane) -> &LaneReport {
        &self.lanes[lane as usize]
    }

    pub(crate) fn dropped(&self, lane: Lane, why: Dropped) -> u64 {
        self.lane(lane).dropped[why as usize]
    }
}
