//! The `highwater-io` thread: it encodes what the tick thread hands over and keeps it, on disk where
//! there is a spool, and sees to it that it is sent. It waits for no receiver: who does is an
//! [`Outlet`]. The [`Courier`] is the tick thread's end of it, and never waits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{
    errand::Errand,
    launch::Launch,
    mailbox::{Mail, Mailbox},
    outlet::Outlet,
    stop::{Ended, Stop},
    telemetry::{Losses, count},
};
use crate::{
    clock::Moment,
    export::otlp::{Exporter, Health, Step},
    registry::{Collector, Snapshot},
    sync::Arc,
};

pub(super) const NAME: &str = "highwater-io";

/// Snapshots there are: one being encoded, the others waiting behind a slow disk.
const SNAPSHOTS: usize = 3;
/// How many transitions wait.
const TRANSITIONS: usize = 1_024;
/// Longer than any attempt's own time-out.
const FAR: Duration = Duration::from_secs(3_600);
/// Of the time a shutdown leaves, what is kept for counting what was not delivered.
const MARGIN: Duration = Duration::from_millis(200);

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
    ) -> Self {
        let boxes = Arc::new(Boxes {
            // One more for the last, which need not wait for a free one.
            parcels: Mailbox::new(SNAPSHOTS + 1 + TRANSITIONS),
            free: Mailbox::new(SNAPSHOTS),
        });
        for _ in 0..SNAPSHOTS {
            _ = boxes.free.push(Box::new(Snapshot::new(now)));
        }
        let health = exporter.health().clone();
        let due = now.mono + exporter.phase();
        let worker = Worker::new(exporter, boxes.clone(), losses.clone());
        let launch = Launch::new(NAME, move || {
            let _ended = Ended(&stop, NAME);
            worker.run(&stop);
        });
        Self { boxes, losses, launch, health, due }
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

    fn snapshot(&self, collector: &Collector) {
        match self.boxes.free.take() {
            Some(snapshot) => self.hand_over(snapshot, collector),
            // Sums are cumulative: the next interval carries what this one would have.
            None => count(&self.losses.export_interval),
        }
    }

    /// The last, which no later one makes up for.
    pub(super) fn last_snapshot(&self, collector: &Collector, at: Moment) {
        let free = self.boxes.free.take();
        self.hand_over(free.unwrap_or_else(|| Box::new(Snapshot::new(at))), collector);
    }

    fn hand_over(&self, mut snapshot: Box<Snapshot>, collector: &Collector) {
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

/// By when all attempts have to be over. Once a stop is asked for, what is left of the time is for
/// counting what was not delivered.
fn deadline(stop: &Stop, now: Instant) -> Instant {
    let left = stop.deadline().map_or(FAR, |at| at.saturating_duration_since(now));
    now + left - (left / 2).min(MARGIN)
}

struct Worker {
    exporter: Exporter,
    outlets: Vec<Outlet>,
    boxes: Arc<Boxes>,
    losses: Arc<Losses>,
    /// Transitions to go together.
    batch: Vec<Arc<Errand>>,
}

impl Worker {
    fn new(mut exporter: Exporter, boxes: Arc<Boxes>, losses: Arc<Losses>) -> Self {
        let senders = exporter.take_senders().into_iter();
        let outlets = senders.map(|sender| Outlet::new(sender, losses.clone())).collect();
        Self { exporter, outlets, boxes, losses, batch: Vec::new() }
    }

    fn run(mut self, stop: &Stop) {
        loop {
            let wait = self.send();
            match self.boxes.parcels.wait(wait) {
                Mail::Message(parcel) => self.take_in(parcel),
                Mail::TimedOut => {}
                Mail::Closed => return self.finish(stop),
            }
        }
    }

    /// Wakes whoever sends. When to come again, if that is known here: where no thread can be had
    /// one attempt at a time is made by this one.
    fn send(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.guarded(|worker| worker.exporter.recover(now));
        let report = self.exporter.health().report();
        let waits = |outlet: &&Outlet| report.lanes[outlet.lane() as usize].load.requests > 0;
        let mut again = None;
        for outlet in self.outlets.iter().filter(waits).filter(|outlet| !outlet.wake()) {
            let at = match outlet.step(now, now + FAR) {
                Step::Wait(time) => now + time,
                _ => now,
            };
            again = Some(again.map_or(at, |earliest: Instant| earliest.min(at)));
        }
        again
    }

    /// Encodes a parcel and whatever else has come.
    fn take_in(&mut self, first: Parcel) {
        let mut next = Some(first);
        while let Some(parcel) = next {
            match parcel {
                Parcel::Alert(errand) => self.batch.push(errand),
                Parcel::Snapshot(snapshot) => {
                    self.guarded(|worker| worker.exporter.intake().metrics(&snapshot));
                    _ = self.boxes.free.push(snapshot);
                }
            }
            next = self.boxes.parcels.take();
        }
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            self.guarded(|worker| Errand::keep(&batch, &worker.exporter.intake()));
        }
        self.batch = batch;
        self.batch.clear();
    }

    /// Nothing in there should panic. If it does all the same, the next still goes.
    fn guarded(&mut self, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err()
            && self.losses.export_panicked.fetch_add(1, crate::sync::Ordering::Relaxed) == 0
        {
            log::error!("highwater: what is to be pushed panicked when it was encoded or kept");
        }
    }

    /// One more round for everything, as long as there is time.
    fn finish(mut self, stop: &Stop) {
        let now = Instant::now();
        let deadline = deadline(stop, now);
        self.outlets.iter().for_each(|outlet| outlet.close(deadline));
        // An attempt that began before has its own time-out; what waits behind it has to be tried.
        let nearly = deadline - (deadline.saturating_duration_since(now) / 4).min(MARGIN);
        for outlet in self.outlets.iter().filter(|outlet| !outlet.wait_for_end(nearly)) {
            outlet.cut();
        }
        for outlet in &self.outlets {
            // Whoever still waits for the network is left behind: neither a connection attempt nor a
            // name's look-up can be cut short.
            outlet.wait_for_end(deadline + MARGIN / 4);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        export::otlp::{self, Resource},
        registry::Registry,
        sync::Ordering,
    };

    #[test]
    fn the_last_snapshot_goes_though_all_are_in_use() {
        let nothing = |_: &str| None;
        let settings = otlp::to("http://127.0.0.1:9").resolve(&nothing).0.unwrap();
        let exporter = Exporter::new(settings, &Resource::new("shop", [], &nothing).0).unwrap();
        let (now, losses) = (Clock::system().now(), Arc::<Losses>::default());
        // Its thread never comes.
        let courier = Courier::start(exporter, now, losses.clone(), Arc::default());
        let collector = Collector::new(Arc::new(Registry::new(100)), now);
        let lost = || losses.export_interval.load(Ordering::Relaxed);
        for _ in 0..SNAPSHOTS + 1 {
            courier.snapshot(&collector);
        }
        assert_eq!(lost(), 1);
        courier.last_snapshot(&collector, now);
        assert_eq!(lost(), 1);
        assert_eq!(courier.boxes.parcels.len(), SNAPSHOTS + 1);
    }
}
