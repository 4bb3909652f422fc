//! How long a tick of the TSC is, from pairs of (ticks, monotonic nanoseconds). Pure arithmetic:
//! the readings are arguments.
//!
//! The estimate is the slope from an anchor to the newest reading, so that it sharpens with each
//! tick of the engine, and the anchor moves on every minute, so that it follows what NTP does to
//! `CLOCK_MONOTONIC`. A reading that contradicts the slope in force (the host was suspended, the
//! guest migrated) is not believed; the anchor moves to it, and once two slopes measured afresh
//! agree with each other they are.

/// One look at both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) ticks: u64,
    pub(super) nanos: u64,
}

/// Below this a slope says less than the one it would replace.
const SHORTEST: u64 = 50_000_000;
/// After this the anchor moves on.
const LONGEST: u64 = 60_000_000_000;
/// No crystal is off, and no NTP slews, by more than this.
const CREDIBLE: f64 = 1e-3;

#[derive(Debug)]
pub(super) struct Calibration {
    anchor: Reading,
    /// Seconds per tick.
    factor: f64,
    /// The slope that was not believed, if the last one was not.
    doubted: Option<f64>,
}

impl Calibration {
    /// The first estimate, from two readings however close; `None` if a clock stood still.
    pub(super) fn new(anchor: Reading, later: Reading) -> Option<Self> {
        let factor = slope(anchor, later)?;
        Some(Self { anchor, factor, doubted: None })
    }

    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// Takes one more reading into account and gives the factor now in force.
    pub(super) fn refine(&mut self, now: Reading) -> f64 {
        let Some(slope) = slope(self.anchor, now) else {
            // The counter was reset: start over from here.
            self.anchor = now;
            return self.factor;
        };
        let span = now.nanos - self.anchor.nanos;
        if span < SHORTEST {
            return self.factor;
        }
        let agrees = |with: f64| (slope / with - 1.0).abs() < CREDIBLE;
        if agrees(self.factor) || self.doubted.is_some_and(agrees) {
            self.factor = slope;
            self.doubted = None;
            if span > LONGEST {
                self.anchor = now;
            }
        } else {
            self.doubted = Some(slope);
            self.anchor = now;
        }
        self.factor
    }
}

fn slope(from: Reading, to: Reading) -> Option<f64> {
    let ticks = to.ticks.checked_sub(from.ticks).filter(|ticks| *ticks > 0)?;
    let nanos = to.nanos.checked_sub(from.nanos).filter(|nanos| *nanos > 0)?;
    Some(nanos as f64 * 1e-9 / ticks as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A 2.5 GHz counter at `nanos`, read `late` ns too late.
    fn at(nanos: u64, late: u64) -> Reading {
        Reading { ticks: (nanos + late) * 5 / 2, nanos }
    }

    fn parts_per_million(factor: f64) -> f64 {
        (factor / 0.4e-9 - 1.0).abs() * 1e6
    }

    #[test]
    fn a_hundred_microseconds_suffice_to_start_and_each_second_sharpens() {
        let mut calibration = Calibration::new(at(1_000, 0), at(101_000, 40)).unwrap();
        assert!(parts_per_million(calibration.factor()) < 500.0);
        calibration.refine(at(1_000_000_000, 40));
        assert!(parts_per_million(calibration.factor()) < 0.05);
    }

    #[test]
    fn too_short_a_span_changes_nothing() {
        let mut calibration = Calibration::new(at(0, 0), at(100_000, 0)).unwrap();
        let before = calibration.factor();
        assert_eq!(calibration.refine(at(200_000, 90)), before);
    }

    #[test]
    fn a_suspend_is_not_taken_for_a_faster_clock() {
        let mut calibration = Calibration::new(at(0, 0), at(100_000, 0)).unwrap();
        calibration.refine(at(1_000_000_000, 0));
        // The monotonic clock stood still for an hour, the counter did not.
        let hour = 3_600_000_000_000;
        for second in 2..10 {
            let factor = calibration.refine(at(second * 1_000_000_000, hour));
            assert!(parts_per_million(factor) < 0.1, "{factor}");
        }
    }

    #[test]
    fn a_counter_that_was_reset_is_followed_from_there() {
        let mut calibration = Calibration::new(at(0, 0), at(100_000, 0)).unwrap();
        calibration.refine(at(10_000_000_000, 0));
        for second in 11..14 {
            let nanos = second * 1_000_000_000;
            let factor =
                calibration.refine(Reading { ticks: (nanos - 10_500_000_000) * 5 / 2, nanos });
            assert!(parts_per_million(factor) < 0.1, "{factor}");
        }
    }

    #[test]
    fn a_new_frequency_is_believed_once_two_measurements_agree() {
        let mut calibration = Calibration::new(at(0, 0), at(100_000, 0)).unwrap();
        calibration.refine(at(1_000_000_000, 0));
        // Migrated to a host of 3 GHz.
        let moved = |second: u64| Reading {
            ticks: 2_500_000_000 + (second - 1) * 3_000_000_000,
            nanos: second * 1_000_000_000,
        };
        // The first two measure half of each, and 3 GHz.
        assert!(parts_per_million(calibration.refine(moved(2))) < 0.1);
        assert!(parts_per_million(calibration.refine(moved(3))) < 0.1);
        assert!((calibration.refine(moved(4)) * 3e9 - 1.0).abs() < 1e-9);
    }
}
