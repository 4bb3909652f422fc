//! How delivery fares. Written by those who send, read by the tick thread and by users.

use std::time::{Duration, SystemTime};

use crate::{
    sync::{AtomicU64, Mutex, Ordering},
    transport::{
        Dropped, Lane,
        queue::{Load, Queue},
    },
};

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    sent_items: AtomicU64,
    retried: AtomicU64,
    refused: AtomicU64,
    refused_in_a_row: AtomicU64,
    unclear: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

#[derive(Debug, Clone, Default)]
struct Last {
    /// By [`Lane`], as are the loads.
    success: [Option<SystemTime>; 2],
    error: Option<String>,
    loads: [Load; 2],
    disk_error: Option<String>,
}

/// The live counters.
#[derive(Debug, Default)]
pub(crate) struct Health {
    lanes: [Counts; 2],
    disk_bytes: AtomicU64,
    /// The most of them; zero without a spool.
    disk_limit: u64,
    /// Between two pushes of metrics, in nanoseconds.
    interval: AtomicU64,
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
    /// Of them those since one was taken.
    pub(crate) refused_in_a_row: u64,
    /// Requests taken with an answer that is not OTLP's: perhaps nobody who speaks OTLP took them.
    pub(crate) unclear: u64,
    /// Data points or log records lost, by [`Dropped`].
    pub(crate) dropped: [u64; Dropped::ALL.len()],
    /// What waits.
    pub(crate) load: Load,
    pub(crate) last_success: Option<SystemTime>,
}

/// Delivery at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// By [`Lane`].
    pub(crate) lanes: [LaneReport; 2],
    /// What waits in both.
    pub(crate) load: Load,
    /// Bytes of the spool's files, what is delivered and not yet removed included.
    pub(crate) disk_bytes: u64,
    pub(crate) last_success: Option<SystemTime>,
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Health {
    pub(super) fn new(interval: Duration, disk_limit: Option<u64>) -> Self {
        let health = Self { disk_limit: disk_limit.unwrap_or(0), ..Self::default() };
        health.set_interval(interval);
        health
    }

    pub(super) fn set_interval(&self, interval: Duration) {
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        self.interval.store(nanos, Ordering::Relaxed);
    }

    /// The time between two pushes of metrics at present.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_nanos(get(&self.interval))
    }

    /// Bytes the spool's files may take, if there is one.
    pub(crate) fn disk_limit(&self) -> Option<u64> {
        (self.disk_limit > 0).then_some(self.disk_limit)
    }

    pub(super) fn sent(&self, lane: Lane, items: u64, at: SystemTime) {
        add(&self.lanes[lane as usize].sent, 1);
        add(&self.lanes[lane as usize].sent_items, items);
        self.lanes[lane as usize].refused_in_a_row.store(0, Ordering::Relaxed);
        self.last.lock().success[lane as usize] = Some(at);
    }

    pub(super) fn unclear(&self, lane: Lane) {
        add(&self.lanes[lane as usize].unclear, 1);
    }

    pub(super) fn retried(&self, lane: Lane) {
        add(&self.lanes[lane as usize].retried, 1);
    }

    pub(super) fn refused(&self, lane: Lane, items: u64) {
        add(&self.lanes[lane as usize].refused, 1);
        add(&self.lanes[lane as usize].refused_in_a_row, 1);
        self.dropped(lane, Dropped::Refused, items);
    }

    pub(super) fn dropped(&self, lane: Lane, why: Dropped, items: u64) {
        add(&self.lanes[lane as usize].dropped[why as usize], items);
    }

    pub(super) fn error(&self, text: &str) {
        self.last.lock().error = Some(text.to_owned());
    }

    pub(super) fn queue(&self, queue: &Queue) {
        self.disk_bytes.store(queue.disk_bytes(), Ordering::Relaxed);
        let mut last = self.last.lock();
        last.loads = Lane::ALL.map(|lane| queue.load(lane));
        last.disk_error = queue.disk_error();
    }

    /// Reads all figures, without allocating; what is counted while it is read may be in or not.
    pub(crate) fn report(&self) -> Report {
        let last = self.last.lock();
        let lanes = [0, 1].map(|lane| {
            let counts = &self.lanes[lane];
            LaneReport {
                sent: get(&counts.sent),
                sent_items: get(&counts.sent_items),
                retried: get(&counts.retried),
                refused: get(&counts.refused),
                refused_in_a_row: get(&counts.refused_in_a_row),
                unclear: get(&counts.unclear),
                dropped: Dropped::ALL.map(|why| get(&counts.dropped[why as usize])),
                load: last.loads[lane],
                last_success: last.success[lane],
            }
        });
        let [alerts, metrics] = last.loads;
        Report {
            lanes,
            load: Load {
                requests: alerts.requests + metrics.requests,
                bytes: alerts.bytes + metrics.bytes,
                oldest: alerts.oldest.into_iter().chain(metrics.oldest).min(),
            },
            disk_bytes: get(&self.disk_bytes),
            last_success: last.success.iter().flatten().max().copied(),
        }
    }

    /// What went wrong last; stays after a success.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last.lock().error.clone()
    }

    /// What the spool cannot do at present, and why.
    pub(crate) fn disk_error(&self) -> Option<String> {
        self.last.lock().disk_error.clone()
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
