//! When a heap profile is worth its cost. Pure: the ratio and the time are arguments.

use std::time::Duration;

/// Below this all stages count again.
const REARMED: f64 = 0.65;
/// Above this a profile could be the last straw.
const TOO_LATE: f64 = 0.90;

#[derive(Debug)]
pub(super) struct Stages {
    /// In rising order, and whether it was written since memory was low.
    stages: Vec<(f64, bool)>,
    cool_down: Duration,
    last: Option<Duration>,
}

impl Stages {
    pub(super) fn new(stages: &[f64], cool_down: Duration) -> Self {
        let mut stages: Vec<_> = stages
            .iter()
            .filter(|stage| (REARMED..=TOO_LATE).contains(*stage))
            .map(|stage| (*stage, false))
            .collect();
        stages.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { stages, cool_down, last: None }
    }

    /// The stage whose profile is due. Those below it are taken as written.
    pub(super) fn due(&mut self, ratio: f64, now: Duration) -> Option<f64> {
        if ratio < REARMED {
            self.stages.iter_mut().for_each(|(_, written)| *written = false);
            return None;
        }
        let cooling = self.last.is_some_and(|last| now.saturating_sub(last) < self.cool_down);
        if ratio > TOO_LATE || cooling {
            return None;
        }
        let reached = self.stages.iter().rposition(|(stage, _)| ratio >= *stage)?;
        let (stage, written) = *self.stages.get(reached)?;
        if written {
            return None;
        }
        self.stages.iter_mut().take(reached + 1).for_each(|(_, written)| *written = true);
        self.last = Some(now);
        Some(stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: [f64; 3] = [0.70, 0.80, 0.85];

    /// The stages due at each second of this trace.
    fn walk(cool_down: u64, trace: &[f64]) -> Vec<(usize, f64)> {
        let mut stages = Stages::new(&DEFAULT, Duration::from_secs(cool_down));
        let at = trace.iter().enumerate();
        at.filter_map(|(at, ratio)| Some((at, stages.due(*ratio, Duration::from_secs(at as u64))?)))
            .collect()
    }

    #[test]
    fn each_stage_once_until_memory_was_low() {
        let trace = [0.5, 0.71, 0.75, 0.69, 0.72, 0.81, 0.86, 0.84, 0.79, 0.86];
        assert_eq!(walk(0, &trace), [(1, 0.70), (5, 0.80), (6, 0.85)]);
        let sawtooth = [0.71, 0.66, 0.71, 0.64, 0.71, 0.82];
        assert_eq!(walk(0, &sawtooth), [(0, 0.70), (4, 0.70), (5, 0.80)]);
    }

    #[test]
    fn a_leap_is_one_profile_and_none_above_the_last_straw() {
        assert_eq!(walk(0, &[0.5, 0.87, 0.88, 0.75]), [(1, 0.85)]);
        assert_eq!(walk(0, &[0.5, 0.95, 0.97]), []);
        // On the way back down there is room again.
        assert_eq!(walk(0, &[0.5, 0.95, 0.89]), [(2, 0.85)]);
    }

    #[test]
    fn one_that_is_due_while_it_cools_comes_later_if_it_still_holds() {
        assert_eq!(walk(3, &[0.71, 0.81, 0.81, 0.81, 0.81]), [(0, 0.70), (3, 0.80)]);
        assert_eq!(walk(3, &[0.71, 0.81, 0.60, 0.60, 0.60]), [(0, 0.70)]);
    }

    #[test]
    fn what_is_no_stage_is_left_out() {
        let mut odd = Stages::new(&[f64::NAN, 0.2, 0.99, 0.75, -1.0, 7.0], Duration::ZERO);
        assert_eq!(odd.stages.len(), 1);
        assert_eq!(odd.due(0.76, Duration::ZERO), Some(0.75));
        assert_eq!(odd.due(f64::NAN, Duration::ZERO), None);
        assert_eq!(Stages::new(&[], Duration::ZERO).due(0.8, Duration::ZERO), None);
    }
}
