//! When metrics are pushed: every interval, at a phase of the instance's own, and less often while
//! a receiver says that it is too much.
//!
//! Instances that were started together push spread over an interval, and always at the same
//! place in it. A receiver that throttles (429, `RESOURCE_EXHAUSTED`) doubles the interval, up to
//! [`MOST`] times; each [`CALM`] requests it takes in a row halve it again.

use std::time::Duration;

/// The most an interval is stretched.
const MOST: u32 = 8;
/// Fresh requests taken in a row before the interval shrinks again.
const CALM: u32 = 3;

#[derive(Debug)]
pub(super) struct Cadence {
    asked: Duration,
    stretch: u32,
    calm: u32,
}

impl Cadence {
    pub(super) fn new(asked: Duration) -> Self {
        Self { asked, stretch: 1, calm: 0 }
    }

    /// The time between two pushes at present.
    pub(super) fn interval(&self) -> Duration {
        self.asked * self.stretch
    }

    /// A receiver took metrics that were just gathered. Gives the new interval if it changed.
    pub(super) fn accepted(&mut self) -> Option<Duration> {
        self.calm += 1;
        if self.stretch == 1 || self.calm < CALM {
            return None;
        }
        (self.stretch, self.calm) = (self.stretch / 2, 0);
        Some(self.interval())
    }

    /// A receiver throttles metrics that were just gathered. Gives the new interval if it changed.
    pub(super) fn throttled(&mut self) -> Option<Duration> {
        self.calm = 0;
        if self.stretch == MOST {
            return None;
        }
        self.stretch *= 2;
        Some(self.interval())
    }
}

/// How long after its start an instance pushes first: a quarter of an interval at least, then
/// spread over a whole one by its id.
pub(super) fn phase(instance_id: &str, interval: Duration) -> Duration {
    let share = f64::from(crc32fast::hash(instance_id.as_bytes())) / f64::from(u32::MAX);
    interval.mul_f64(0.25 + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn a_throttled_interval_doubles_to_its_bound_and_comes_back() {
        let mut cadence = Cadence::new(TEN);
        assert_eq!(cadence.accepted(), None);
        let stretched = [0; 5].map(|_| cadence.throttled().map(|interval| interval.as_secs()));
        assert_eq!(stretched, [Some(20), Some(40), Some(80), None, None]);
        let shrunk: Vec<_> = (0..12).filter_map(|_| cadence.accepted()).collect();
        assert_eq!(shrunk, [TEN * 4, TEN * 2, TEN]);
        assert_eq!(cadence.interval(), TEN);
    }

    #[test]
    fn a_throttle_in_between_starts_the_calm_anew() {
        let mut cadence = Cadence::new(TEN);
        cadence.throttled();
        cadence.accepted();
        cadence.accepted();
        assert_eq!(cadence.throttled(), Some(TEN * 4));
        assert_eq!([cadence.accepted(), cadence.accepted()], [None, None]);
        assert_eq!(cadence.accepted(), Some(TEN * 2));
    }

    #[test]
    fn a_fleet_is_spread_over_an_interval() {
        let mut tenths = [0; 10];
        for number in 0..1_000 {
            let phase = phase(&format!("instance-{number}"), TEN);
            assert!(phase >= TEN / 4 && phase <= TEN * 5 / 4);
            tenths[(phase.as_millis() / 1_000 % 10) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
        assert_eq!(phase("a", TEN), phase("a", TEN));
    }
}
