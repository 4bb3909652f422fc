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
            let spare = state.spare.take();
            let blank = spare.unwrap_or_else(|| Box::new(Snapshot::new(Clock::system().now())));
            state.waiting.push((blank, answer));
        }
        stop.ask();
        let snapshot = answered.recv_timeout(PATIENCE).ok()?;
        let result = read(&snapshot);
        self.0.lock().spare = Some(snapshot);
        Some(result)
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
    pub(super) fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.waiting.clear();
    }
}
