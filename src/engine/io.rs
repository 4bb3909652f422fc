//! The `highwater-io` thread: it encodes what the tick thread hands over and talks to the
//! receivers. The [`Courier`] is the tick thread's end of it, and never waits.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    errand::Errand,
    launch::Launch,
    mailbox::{Mail, Mailbox},
    stop::Stop,
    telemetry::{Losses, count},
};
use crate::{
    clock::Moment,
    export::otlp::{Exporter, Health, Interrupt, Step},
    registry::{Collector, Snapshot},
    sync::Arc,
};

pub(super) const NAME: &str = "highwater-io";

/// Snapshots there are: one being encoded, the others waiting behind a slow receiver.
const SNAPSHOTS: usize = 3;
/// How many transitions wait.
const TRANSITIONS: usize = 1_024;
/// Longer than any attempt's own time-out.
const FAR: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
enum Parcel {
    Alert(Arc<Errand>),
    Snapshot(Box<Snapshot>),
}

/// The tick thread's end.
#[derive(Debug)]
pub(super) struct Courier {
    boxes: Arc<Boxes>,
    losses: Arc<Losses>,
    launch: Launch,
    /// Says how long the interval is at present.
    health: Arc<Health>,
    /// When the next snapshot is due, by the monotonic clock.
    due: Duration,
}

#[derive(Debug)]
struct Boxes {
    parcels: Mailbox<Parcel>,
    /// Snapshots that were encoded, to be filled again.
    free: Mailbox<Box<Snapshot>>,
}

impl Courier {
    pub(super) fn start(
        exporter: Exporter,
        now: Moment,
        losses: Arc<Losses>,
        stop: Arc<Stop>,
    ) -> (Self, Interrupt) {
        let boxes = Arc::new(Boxes {
            parcels: Mailbox::new(SNAPSHOTS + TRANSITIONS),
            free: Mailbox::new(SNAPSHOTS),
        });
        for _ in 0..SNAPSHOTS {
            _ = boxes.free.push(Box::new(Snapshot::new(now)));
        }
        let (health, interrupt) = (exporter.health().clone(), exporter.interrupt());
        let due = now.mono + exporter.phase();
        let theirs = boxes.clone();
        let launch = Launch::new(NAME, move || {
            Worker { exporter, boxes: theirs, batch: Vec::new() }.run(&stop);
            stop.ended(NAME);
        });
        (Self { boxes, losses, launch, health, due }, interrupt)
    }

    /// The thread behind it.
    pub(super) fn launch(&self) -> &Launch {
        &self.launch
    }

    pub(super) fn alert(&self, errand: &Arc<Errand>) {
        if self.boxes.parcels.push(Parcel::Alert(errand.clone())).is_err() {
            count(&self.losses.alert_queue_full);
        }
    }

    pub(super) fn snapshot_if_due(&mut self, collector: &Collector, at: Moment) {
        if at.mono >= self.due {
            // From the schedule, not from now, so that intervals do not creep; but no catching up.
            self.due = (self.due + self.health.interval()).max(at.mono);
            self.snapshot(collector);
        }
    }

    /// Whether every snapshot handed over is in the exporter's queue.
    #[cfg(all(test, unix))]
    pub(super) fn is_idle(&self) -> bool {
        self.boxes.free.len() == SNAPSHOTS
    }

    pub(super) fn snapshot(&self, collector: &Collector) {
        let Some(mut snapshot) = self.boxes.free.take() else {
            // Sums are cumulative: the next interval carries what this one would have.
            count(&self.losses.export_interval);
            return;
        };
        collector.snapshot(&mut snapshot);
        if let Err(Parcel::Snapshot(snapshot)) = self.boxes.parcels.push(Parcel::Snapshot(snapshot))
        {
            count(&self.losses.export_interval);
            _ = self.boxes.free.push(snapshot);
        }
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.boxes.parcels.close();
    }
}

/// By when an attempt has to be over. Once a stop is asked for, what is left of the time is for
/// counting what was not delivered.
fn deadline(stop: &Stop, now: Instant) -> Instant {
    let left = stop.deadline().map_or(FAR, |at| at.saturating_duration_since(now));
    now + left - (left / 2).min(Duration::from_millis(100))
}

struct Worker {
    exporter: Exporter,
    boxes: Arc<Boxes>,
    /// Transitions to go together.
    batch: Vec<Arc<Errand>>,
}

impl Worker {
    fn run(mut self, stop: &Stop) {
        loop {
            let now = Instant::now();
            // One attempt at most, then what came in meanwhile: alerts overtake metrics.
            let wait = match self.exporter.send_next(now, deadline(stop, now)) {
                Step::Tried => Some(now),
                Step::Wait(time) => Some(now + time),
                Step::Idle | Step::OutOfTime => None,
            };
            match self.boxes.parcels.wait(wait) {
                Mail::Message(parcel) => self.take_in(parcel),
                Mail::TimedOut => {}
                Mail::Closed => return self.finish(stop),
            }
        }
    }

    /// Encodes a parcel and whatever else has come.
    fn take_in(&mut self, first: Parcel) {
        let mut next = Some(first);
        while let Some(parcel) = next {
            match parcel {
                Parcel::Alert(errand) => self.batch.push(errand),
                Parcel::Snapshot(snapshot) => {
                    self.exporter.intake().metrics(&snapshot);
                    _ = self.boxes.free.push(snapshot);
                }
            }
            next = self.boxes.parcels.take();
        }
        if !self.batch.is_empty() {
            Errand::keep(&self.batch, &self.exporter.intake());
            self.batch.clear();
        }
    }

    /// One more round for everything, as long as there is time.
    fn finish(mut self, stop: &Stop) {
        let deadline = deadline(stop, Instant::now());
        self.exporter.hurry();
        loop {
            let now = Instant::now();
            match self.exporter.send_next(now, deadline) {
                Step::Tried => {}
                Step::Idle => return,
                Step::Wait(time) if now + time < deadline => thread::sleep(time),
                Step::Wait(_) | Step::OutOfTime => break,
            }
        }
        // What is on disk is not lost: the next process sends it.
        let lost = self.exporter.abandon();
        let kept = self.exporter.health().report().load.requests;
        if kept > 0 {
            log::info!("highwater: {kept} request(s) stay in the spool for the next process");
        }
        if lost > 0 {
            let last_error = self.exporter.health().last_error();
            stop.left_undelivered(lost, last_error.unwrap_or_else(|| "out of time".to_owned()));
        }
    }
}
