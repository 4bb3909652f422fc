//! Whoever wants to read everything asks the tick thread for a copy, since it alone owns what is
//! cumulative. It answers between two ticks, within microseconds, with what the last one
//! collected. So reading costs nothing until somebody reads, and no reader's lock is ever in the
//! way of a tick.

use std::{sync::mpsc, time::Duration};

use super::stop::Stop;
use crate::{
    clock::Clock,
    registry::{Collector, Snapshot},
    sync::Mutex,
};

/// A tick that takes longer has other worries than being read.
const PATIENCE: Duration = Duration::from_secs(2);

type Request = (Box<Snapshot>, mpsc::SyncSender<Box<Snapshot>>);

#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Request>,
    /// The last reader's, for the next one to have filled again.
    spare: Option<Box<Snapshot>>,
    /// Somebody reads to the end.
    followed: bool,
    /// What was collected last of all, for those who do.
    last: Option<Box<Snapshot>>,
    closed: bool,
}

impl Readers {
    /// What `read` makes of the last tick's data; `None` without a thread that answers.
    pub(super) fn read<T>(&self, stop: &Stop, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        {
            let mut state = self.0.lock();
            if state.closed {
                return None;
            }
            let blank = state.spare.take().unwrap_or_else(blank);
            state.waiting.push((blank, answer));
        }
        stop.ask();
        let snapshot = answered.recv_timeout(PATIENCE).ok()?;
        let result = read(&snapshot);
        self.0.lock().spare = Some(snapshot);
        Some(result)
    }

    /// Somebody is going to [`follow`](Self::follow).
    pub(super) fn expect_follower(&self) {
        self.0.lock().followed = true;
    }

    /// As [`read`](Self::read), for who comes again and again: what the last tick collected is
    /// still there after it.
    pub(super) fn follow(&self, stop: &Stop, read: &mut dyn FnMut(&Snapshot)) {
        if self.read(stop, &mut *read).is_none() {
            let last = self.0.lock().last.take();
            last.iter().for_each(|snapshot| read(snapshot));
        }
    }

    /// Called by the tick thread.
    pub(super) fn answer(&self, collector: &Collector) {
        let waiting = std::mem::take(&mut self.0.lock().waiting);
        for (mut snapshot, answer) in waiting {
            collector.snapshot(&mut snapshot);
            // Who lost patience is gone.
            _ = answer.try_send(snapshot);
        }
    }

    /// Nobody will answer any more.
    pub(super) fn close(&self, collector: &Collector) {
        let mut state = self.0.lock();
        state.closed = true;
        if state.followed {
            let mut last = state.spare.take().unwrap_or_else(blank);
            collector.snapshot(&mut last);
            state.last = Some(last);
        }
        state.waiting.clear();
    }
}

fn blank() -> Box<Snapshot> {
    Box::new(Snapshot::new(Clock::system().now()))
}
