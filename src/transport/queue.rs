//! What is encoded and not yet delivered, in memory and bounded in bytes.
//!
//! Two lanes: alerts and metrics. Whoever sends asks the alerts' lane first. When there is too
//! much, the oldest metrics go first and alerts last. Requests keep the timestamps they were
//! encoded with, so what is late is late and not wrong.

use std::{collections::VecDeque, time::SystemTime};

/// Which way a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Alerts = 0,
    Metrics = 1,
}

impl Lane {
    /// In the order they are served.
    pub(crate) const ALL: [Self; 2] = [Self::Alerts, Self::Metrics];
}

/// One encoded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    /// When its newest data were taken.
    pub(crate) at: SystemTime,
    /// Data points or log records in it.
    pub(crate) items: u64,
    /// The body's `Content-Encoding`.
    pub(crate) encoding: Option<&'static str>,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    failures: u32,
    parcel: Parcel,
}

/// A bounded queue of [`Parcel`]s.
#[derive(Debug)]
pub(crate) struct Queue {
    lanes: [VecDeque<Waiting>; 2],
    bytes: usize,
    cap: usize,
    next: u64,
    /// The metrics pushed last.
    fresh: Option<u64>,
}

impl Queue {
    /// Holds at most `cap` bytes of bodies.
    pub(crate) fn new(cap: usize) -> Self {
        Self { lanes: Default::default(), bytes: 0, cap, next: 0, fresh: None }
    }

    /// Appends a parcel; gives what had to go for it, be it the parcel itself.
    pub(crate) fn push(&mut self, lane: Lane, parcel: Parcel) -> Vec<(Lane, Parcel)> {
        self.bytes += parcel.body.len();
        self.lanes[lane as usize].push_back(Waiting { id: self.next, failures: 0, parcel });
        if lane == Lane::Metrics {
            self.fresh = Some(self.next);
        }
        self.next += 1;
        let mut dropped = Vec::new();
        while self.bytes > self.cap {
            let Some((lane, oldest)) = [Lane::Metrics, Lane::Alerts]
                .into_iter()
                .find_map(|lane| Some((lane, self.lanes[lane as usize].pop_front()?)))
            else {
                break;
            };
            self.bytes -= oldest.parcel.body.len();
            dropped.push((lane, oldest.parcel));
        }
        dropped
    }

    /// The next of a lane: of those that failed least often the oldest, so that a request that
    /// always fails stands in nobody's way; but metrics just pushed come before a backlog.
    pub(crate) fn pick(&self, lane: Lane) -> Option<(u64, &Parcel)> {
        let waiting = &self.lanes[lane as usize];
        let fresh = waiting.back().filter(|last| Some(last.id) == self.fresh && last.failures == 0);
        fresh
            .or_else(|| waiting.iter().min_by_key(|entry| (entry.failures, entry.id)))
            .map(|entry| (entry.id, &entry.parcel))
    }

    /// It was delivered, or never will be.
    pub(crate) fn remove(&mut self, lane: Lane, id: u64) -> Option<Parcel> {
        let waiting = &mut self.lanes[lane as usize];
        let at = waiting.iter().position(|entry| entry.id == id)?;
        let entry = waiting.remove(at)?;
        self.bytes -= entry.parcel.body.len();
        Some(entry.parcel)
    }

    /// It was tried and has to wait.
    pub(crate) fn failed(&mut self, lane: Lane, id: u64) {
        let mut waiting = self.lanes[lane as usize].iter_mut();
        if let Some(entry) = waiting.find(|entry| entry.id == id) {
            entry.failures = entry.failures.saturating_add(1);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the data of the oldest waiting parcel were taken.
    pub(crate) fn oldest(&self) -> Option<SystemTime> {
        self.lanes.iter().filter_map(|lane| lane.front()).map(|entry| entry.parcel.at).min()
    }

    /// Empties it.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (Lane, Parcel)> + '_ {
        self.bytes = 0;
        let lanes = self.lanes.iter_mut().zip(Lane::ALL);
        lanes.flat_map(|(waiting, lane)| waiting.drain(..).map(move |entry| (lane, entry.parcel)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn parcel(number: u8) -> Parcel {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(number.into());
        Parcel { at, items: 1, encoding: None, body: vec![number; 10] }
    }

    fn picked(queue: &Queue, lane: Lane) -> Option<u8> {
        queue.pick(lane).map(|(_, parcel)| parcel.body[0])
    }

    fn take(queue: &mut Queue, lane: Lane) -> u8 {
        let id = queue.pick(lane).unwrap().0;
        queue.remove(lane, id).unwrap().body[0]
    }

    #[test]
    fn the_oldest_metrics_are_dropped_first_and_alerts_last() {
        let mut queue = Queue::new(30);
        assert!(queue.push(Lane::Alerts, parcel(1)).is_empty());
        assert!(queue.push(Lane::Metrics, parcel(2)).is_empty());
        assert!(queue.push(Lane::Metrics, parcel(3)).is_empty());
        assert_eq!(queue.push(Lane::Alerts, parcel(4)), [(Lane::Metrics, parcel(2))]);
        assert_eq!(queue.push(Lane::Alerts, parcel(5)), [(Lane::Metrics, parcel(3))]);
        assert_eq!(queue.push(Lane::Metrics, parcel(6)), [(Lane::Metrics, parcel(6))]);
        assert_eq!(queue.push(Lane::Alerts, parcel(7)), [(Lane::Alerts, parcel(1))]);
        assert_eq!((queue.len(), queue.bytes()), (3, 30));
    }

    #[test]
    fn a_parcel_larger_than_the_queue_goes_and_so_does_what_was_before_it() {
        let mut queue = Queue::new(5);
        assert_eq!(queue.push(Lane::Alerts, parcel(1)).len(), 1);
        assert!(queue.is_empty() && queue.bytes() == 0);
    }

    #[test]
    fn fresh_metrics_come_before_the_backlog_and_the_backlog_oldest_first() {
        let mut queue = Queue::new(1_000);
        for number in 1..=4 {
            queue.push(Lane::Metrics, parcel(number));
        }
        let order: Vec<_> = (0..4).map(|_| take(&mut queue, Lane::Metrics)).collect();
        assert_eq!(order, [4, 1, 2, 3]);
    }

    #[test]
    fn alerts_keep_their_order() {
        let mut queue = Queue::new(1_000);
        for number in 1..=3 {
            queue.push(Lane::Alerts, parcel(number));
        }
        let order: Vec<_> = (0..3).map(|_| take(&mut queue, Lane::Alerts)).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn what_always_fails_lets_the_others_pass() {
        for lane in Lane::ALL {
            let mut queue = Queue::new(1_000);
            queue.push(lane, parcel(1));
            let poisoned = queue.pick(lane).unwrap().0;
            queue.failed(lane, poisoned);
            queue.push(lane, parcel(2));
            assert_eq!(picked(&queue, lane), Some(2));
            take(&mut queue, lane);
            assert_eq!(picked(&queue, lane), Some(1), "and is tried again");
        }
    }
}
