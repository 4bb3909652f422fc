//! Whoever wants to read everything asks the tick thread for a copy, since it alone owns what is
//! cumulative. It answers between two ticks, within microseconds, with what the last one
//! collected. So reading costs nothing until somebody reads, and no reader's lock is ever in the
//! way of a tick. While a tick takes so long that nobody answers, the last answer is read again.

use std::{sync::mpsc, time::Duration};

use super::stop::Stop;
use crate::{
    clock::Clock,
    registry::{Collector, Snapshot},
    sync::Mutex,
};

/// A tick that takes longer has other worries than being read.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be filled, and still holds the answer to somebody before.
type Request = (Box<Snapshot>, mpsc::SyncSender<Box<Snapshot>>);

#[derive(Debug, Default)]
pub(super) struct Readers {
    state: Mutex<State>,
    /// Held by whoever reads an answer again.
    again: Mutex<()>,
}

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
    /// What `read` makes of the last tick's data, or of an earlier one's while a tick does not
    /// end; `None` without a thread that answers, or before the first answer.
    pub(super) fn read<T>(&self, stop: &Stop, read: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        self.read_within(PATIENCE, stop, read)
    }

    fn read_within<T>(
        &self,
        patience: Duration,
        stop: &Stop,
        read: impl FnOnce(&Snapshot) -> T,
    ) -> Option<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        {
            let mut state = self.state.lock();
            if state.closed {
                return None;
            }
            let blank = state.spare.take().unwrap_or_else(blank);
            state.waiting.push((blank, answer));
        }
        stop.ask();
        let snapshot = match answered.recv_timeout(patience) {
            Ok(snapshot) => snapshot,
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // One after the other, as there is one copy.
                let _turn = self.again.lock();
                let snapshot = self.last_answer()?;
                let result = read(&snapshot);
                self.keep(snapshot);
                return Some(result);
            }
        };
        let result = read(&snapshot);
        self.keep(snapshot);
        Some(result)
    }

    /// The latest answer there is among those that wait to be filled again.
    fn last_answer(&self) -> Option<Box<Snapshot>> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        let latest = |of: &[Request]| {
            (0..of.len())
                .filter(|at| !of[*at].0.points.is_empty())
                .max_by_key(|at| of[*at].0.at.mono)
        };
        match latest(&state.waiting) {
            Some(at) => Some(std::mem::replace(&mut state.waiting[at].0, blank())),
            None => state.spare.take().filter(|spare| !spare.points.is_empty()),
        }
    }

    /// For the next one to have filled again, or to read while nobody answers.
    fn keep(&self, snapshot: Box<Snapshot>) {
        let mut state = self.state.lock();
        if state.spare.as_ref().is_none_or(|spare| spare.at.mono <= snapshot.at.mono) {
            state.spare = Some(snapshot);
        }
    }

    /// Somebody is going to [`follow`](Self::follow).
    pub(super) fn expect_follower(&self) {
        self.state.lock().followed = true;
    }

    /// As [`read`](Self::read), for who comes again and again: what the last tick collected is
    /// still there after it.
    pub(super) fn follow(&self, stop: &Stop, read: &mut dyn FnMut(&Snapshot)) {
        if self.read(stop, &mut *read).is_none() {
            let last = self.state.lock().last.take();
            last.iter().for_each(|snapshot| read(snapshot));
        }
    }

    /// Called by the tick thread.
    pub(super) fn answer(&self, collector: &Collector) {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        for (mut snapshot, answer) in waiting {
            collector.snapshot(&mut snapshot);
            // Who lost patience is gone.
            _ = answer.try_send(snapshot);
        }
    }

    /// Nobody will answer any more.
    pub(super) fn close(&self, collector: &Collector) {
        let mut state = self.state.lock();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        name::Labels,
        registry::{DEFAULT_CARDINALITY_LIMIT, Registry},
        sync::Arc,
    };

    #[test]
    fn while_nobody_answers_the_last_answer_is_read_again() {
        let (readers, stop) = (Readers::default(), Stop::default());
        let registry = Arc::new(Registry::new(DEFAULT_CARDINALITY_LIMIT));
        registry.gauge("depth", &Labels::empty()).set(7.0);
        let now = Clock::system().now();
        let mut collector = Collector::new(registry, now);
        collector.collect(now);
        let stalled = || {
            readers.read_within(Duration::from_millis(1), &stop, |snapshot| snapshot.points.len())
        };
        assert_eq!(stalled(), None, "nothing was ever answered");
        std::thread::scope(|scope| {
            let patient = || readers.read_within(PATIENCE * 100, &stop, |s| s.points.len());
            let reader = scope.spawn(patient);
            while !reader.is_finished() {
                readers.answer(&collector);
            }
            assert_eq!(reader.join().unwrap(), Some(1));
        });
        // All of them, however many there are.
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(stalled)).collect();
            assert!(all.into_iter().all(|one| one.join().unwrap() == Some(1)));
        });
        readers.close(&collector);
        assert_eq!(stalled(), None, "it has ended");
    }
}
