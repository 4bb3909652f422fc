//! The tick thread's sign of life, for whoever asks how it fares.

use std::time::Duration;

use crate::{
    clock::Moment,
    sample::Status,
    sync::{AtomicU64, Mutex, Ordering},
};

#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// The last round, in nanoseconds since the origin; zero before the first.
    last: AtomicU64,
    /// Samplers that do not work.
    failing: Mutex<Vec<(String, Status)>>,
}

impl Pulse {
    /// A round was made. Allocates only when a sampler's state changed.
    pub(super) fn beat<'a>(
        &self,
        at: Moment,
        samplers: impl Iterator<Item = (&'a str, Option<Status>)>,
    ) {
        let nanos = u64::try_from(at.mono.as_nanos()).unwrap_or(u64::MAX);
        self.last.store(nanos.max(1), Ordering::Relaxed);
        let mut failing = self.failing.lock();
        let mut known = 0;
        for (name, status) in samplers {
            let Some(status) = status.filter(|status| is_failing(*status)) else { continue };
            let same = failing.get(known).is_some_and(|(n, s)| n == name && *s == status);
            if !same {
                failing.truncate(known);
                failing.push((name.to_owned(), status));
            }
            known += 1;
        }
        failing.truncate(known);
    }

    /// Since the last round.
    pub(super) fn age(&self, now: Moment) -> Option<Duration> {
        let last = self.last.load(Ordering::Relaxed);
        (last > 0).then(|| now.mono.saturating_sub(Duration::from_nanos(last)))
    }

    pub(super) fn failing(&self) -> Vec<String> {
        let failing = self.failing.lock();
        failing.iter().map(|(name, status)| format!("sampler {name:?} is {status}")).collect()
    }
}

/// Switched off or not to be had here is no problem.
fn is_failing(status: Status) -> bool {
    status == Status::Failed
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_round_is_remembered_and_what_failed_in_it() {
        let pulse = Pulse::default();
        let at =
            |seconds| Moment { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH };
        assert_eq!(pulse.age(at(9)), None);
        let (failed, active) = (Some(Status::Failed), Some(Status::Active));
        pulse.beat(at(10), [("a", failed), ("b", active), ("c", failed)].into_iter());
        assert_eq!(pulse.age(at(12)), Some(Duration::from_secs(2)));
        assert_eq!(pulse.failing().len(), 2);
        pulse.beat(
            at(11),
            [("a", active), ("b", Some(Status::Unsupported)), ("c", failed)].into_iter(),
        );
        assert_eq!(pulse.failing(), ["sampler \"c\" is failed"]);
        pulse.beat(at(12), [("a", None)].into_iter());
        assert!(pulse.failing().is_empty());
    }
}
