//! The way in: what is to be sent is encoded, compressed and kept.
//!
//! Any thread may come here. An alert's transition is kept for good when [`Intake::alerts`]
//! returns, as far as there is a spool that works, so call it before any sink is told. Nobody waits
//! here for the network; with a spool, for the disk.

use std::{
    io::Write,
    time::{Duration, Instant, SystemTime},
};

use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::resource::v1::Resource as ResourceMessage;
use prost::Message;

use super::{
    config::{Compression, Settings},
    encode,
    health::Health,
    resource::{Resource, random_u128},
};
use crate::{
    event::Transition,
    registry::Snapshot,
    sync::{Arc, Mutex},
    transport::{
        Dropped, Encoding, Lane, Parcel,
        queue::{Limits, Loss, Note, Queue},
    },
};

/// Between two log lines of one kind.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Where metrics and transitions are handed in. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Intake(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    resource: ResourceMessage,
    /// By [`Lane`]; `None` goes nowhere.
    compression: [Option<Compression>; 2],
    encoder: Mutex<encode::Encoder>,
    queue: Mutex<Queue>,
    pub(super) health: Arc<Health>,
    pub(super) pace: Pace,
    spoken: Mutex<[Spoken; Topic::COUNT]>,
}

impl Intake {
    pub(super) fn new(settings: &Settings, resource: &Resource) -> Self {
        let compression =
            [0, 1].map(|lane| settings.targets[lane].as_ref().map(|target| target.compression));
        let shared = Shared {
            resource: encode::resource(resource),
            compression,
            encoder: Mutex::new(encode::Encoder::new(settings.shape.clone())),
            queue: Mutex::new(Queue::new(Limits {
                memory: settings.memory,
                age: settings.age,
                disk: settings.disk.clone(),
            })),
            health: Arc::new(Health::new(
                settings.interval,
                settings.disk.as_ref().map(|disk| disk.bytes),
            )),
            pace: Pace::default(),
            spoken: Mutex::default(),
        };
        Self(Arc::new(shared))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Keeps a snapshot to be sent; nothing if metrics go nowhere.
    pub(crate) fn metrics(&self, snapshot: &Snapshot) {
        if self.0.compression[Lane::Metrics as usize].is_none() {
            return;
        }
        if let Some((plain, points)) = self.build(snapshot) {
            self.0.keep(Lane::Metrics, plain, snapshot.at.wall, points);
        }
    }

    /// A snapshot as a request, and the number of its points; `None` if there is nothing to send.
    pub(super) fn build(&self, snapshot: &Snapshot) -> Option<(Vec<u8>, usize)> {
        self.0.encoder.lock().encode(snapshot, &self.0.resource)
    }

    /// Keeps transitions to be sent, `observed` now; nothing if log records go nowhere.
    pub(crate) fn alerts(&self, transitions: &[Arc<Transition>], observed: SystemTime) {
        if self.0.compression[Lane::Alerts as usize].is_none() {
            return;
        }
        let request = encode::logs(transitions, observed, &self.0.resource, random_u128);
        if let Some(request) = request {
            let plain = request.encode_to_vec();
            self.0.keep(Lane::Alerts, plain, observed, transitions.len());
        }
    }
}

impl Shared {
    fn keep(&self, lane: Lane, plain: Vec<u8>, at: SystemTime, items: usize) {
        let wanted = self.compression[lane as usize].unwrap_or_default().encoding();
        let (encoding, body) = match compressed(&plain, wanted) {
            Ok(body) => (wanted, body),
            // Does not happen when writing to memory; the receiver must take it plain.
            Err(_) => (Encoding::Identity, plain),
        };
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        let parcel = Parcel { at, items, encoding, body: body.into() };
        self.with_queue(|queue| queue.push(lane, parcel));
    }

    /// Works on the queue, then tells what came of it.
    pub(super) fn with_queue<T>(&self, work: impl FnOnce(&mut Queue) -> T) -> T {
        let mut queue = self.queue.lock();
        let result = work(&mut queue);
        let (losses, notes) = (queue.take_losses(), queue.take_notes());
        self.health.queue(&queue);
        drop(queue);
        losses.iter().for_each(|loss| self.tell_loss(*loss));
        notes.into_iter().for_each(|note| self.tell_note(note));
        result
    }

    fn tell_loss(&self, Loss { lane, why, items }: Loss) {
        self.health.dropped(lane, why, items);
        let signal = lane.as_str();
        self.say(Topic::Lost, Instant::now(), || match why {
            Dropped::Expired => format!("{signal} waited too long: {items} item(s) are dropped"),
            Dropped::Damaged => format!("{signal} were damaged on disk: {items} item(s) are lost"),
            Dropped::Shutdown => {
                format!("{signal} still waited at the end: {items} item(s) are lost")
            }
            _ => format!("too many {signal} wait: the oldest {items} item(s) are dropped"),
        });
    }

    fn tell_note(&self, note: Note) {
        match note {
            Note::DiskFailed(what) => {
                let line = format!("the spool: {what}");
                self.health.error(&line);
                self.say(Topic::Disk, Instant::now(), || line);
            }
            Note::DiskBack => log::info!("highwater: the spool can be used again"),
            Note::Recovered { requests, damaged_bytes: 0 } => {
                log::info!("highwater: {requests} request(s) of an earlier process are sent on");
            }
            Note::Recovered { requests, damaged_bytes } => log::warn!(
                "highwater: {requests} request(s) of an earlier process are sent on; {damaged_bytes} byte(s) of the spool were torn or damaged"
            ),
        }
    }

    /// Logs, at most once a topic and [`LOG_INTERVAL`].
    pub(super) fn say(&self, topic: Topic, now: Instant, line: impl FnOnce() -> String) {
        let kept_back = {
            let spoken = &mut self.spoken.lock()[topic as usize];
            if spoken.at.is_some_and(|at| now.saturating_duration_since(at) < LOG_INTERVAL) {
                spoken.kept_back += 1;
                return;
            }
            spoken.at = Some(now);
            std::mem::take(&mut spoken.kept_back)
        };
        // Without the lock: it is the service's logger that runs now.
        match kept_back {
            0 => log::warn!("highwater: {}", line()),
            more => log::warn!("highwater: {} (and {more} more like it)", line()),
        }
    }
}

/// Between two requests of a backlog, so that a receiver that has just come back is not trampled by
/// a fleet: an hour of the default interval drains in 22 s.
const PACE: Duration = Duration::from_millis(50);
/// Metrics wait so much longer, so that alerts go first.
const COURTESY: Duration = Duration::from_millis(10);

/// When a backlog goes on, that of both lanes taken together.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// No request of the lane's backlog before.
    pub(super) fn not_before(&self, lane: Lane) -> Option<Instant> {
        self.0.lock().map(|at| at + courtesy(lane))
    }

    /// One request goes now, unless the other lane's has meanwhile.
    pub(super) fn take(&self, lane: Lane, now: Instant) -> bool {
        let mut next = self.0.lock();
        let is_due = next.is_none_or(|at| at + courtesy(lane) <= now);
        if is_due {
            *next = Some(now + PACE);
        }
        is_due
    }
}

fn courtesy(lane: Lane) -> Duration {
    if lane == Lane::Metrics { COURTESY } else { Duration::ZERO }
}

/// What is logged, each with its own limit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Topic {
    Lost,
    Disk,
    Later,
    Throttled,
    Refused,
    Rejected,
    Remark,
}

impl Topic {
    const COUNT: usize = 7;
}

#[derive(Debug, Default)]
struct Spoken {
    at: Option<Instant>,
    kept_back: u64,
}

fn compressed(plain: &[u8], encoding: Encoding) -> std::io::Result<Vec<u8>> {
    match encoding {
        Encoding::Identity => Ok(plain.to_vec()),
        Encoding::Gzip => {
            // Fast: the better levels save a tenth of the bytes for several times the work.
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain)?;
            encoder.finish()
        }
        #[cfg(feature = "zstd")]
        Encoding::Zstd => zstd::bulk::compress(plain, zstd::DEFAULT_COMPRESSION_LEVEL),
        #[cfg(not(feature = "zstd"))]
        Encoding::Zstd => Err(std::io::ErrorKind::Unsupported.into()),
    }
}
