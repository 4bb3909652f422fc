//! Which calls of a query are timed when not all are: one in N, for loops in which two readings of
//! the clock are too dear.
//!
//! A thread adds the golden ratio, modulo 1, with each call; the call is timed if that is below
//! 1/N. No sequence is more even (the gaps are neighbours among the Fibonacci numbers), and it is in
//! step with no period of the caller's: of whatever repeats every k calls, each of the k is timed
//! equally often, so quantiles are unbiased. All thinned queries of a thread share the sequence:
//! taking turns is such a period.
//!
//! A timed call is recorded N times, so the histogram's count and sum are those of all calls but
//! for chance; the exact number of calls, and of failures, is counted beside it.

use std::cell::Cell;

use super::counter::Counter;

/// 2³² divided by the golden ratio.
const STEP: u32 = 0x9e37_79b9;

thread_local!(static TURN: Cell<u32> = const { Cell::new(0) });

/// The most calls a timed one may stand for.
pub(crate) const MOST: u32 = 1 << 16;

pub(super) struct Thin {
    /// How many calls a timed one stands for.
    pub(super) one_in: u32,
    /// A call whose turn is below it is timed.
    below: u32,
    /// All that did not fail.
    pub(super) calls: Counter,
}

impl Thin {
    /// `one_in` from 2 to [`MOST`].
    pub(super) fn new(one_in: u32, calls: Counter) -> Self {
        Self { one_in, below: u32::MAX / one_in, calls }
    }

    /// Whether this call of this thread is to be timed.
    #[inline]
    pub(super) fn is_timed(&self) -> bool {
        let turn = TURN.get().wrapping_add(STEP);
        TURN.set(turn);
        turn < self.below
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{instrument::CounterCore, sync::Arc};

    fn timed(one_in: u32, calls: usize) -> Vec<usize> {
        let thin = Thin::new(one_in, Counter(Arc::new(CounterCore::new())));
        (0..calls).filter(|_| thin.is_timed()).collect()
    }

    #[test]
    fn one_in_n_is_timed_and_almost_exactly() {
        for one_in in [2, 3, 10, 16, 100, 1000] {
            let timed = timed(one_in, 100_000).len() as f64;
            let share = timed * f64::from(one_in) / 100_000.0;
            assert!((share - 1.0).abs() < 0.02, "1/{one_in}: {share}");
        }
    }

    #[test]
    fn two_queries_taking_turns_are_both_timed() {
        let thins = [16, 4].map(|one_in| Thin::new(one_in, Counter(Arc::new(CounterCore::new()))));
        let mut timed = [0; 2];
        for _ in 0..32_000 {
            for (thin, timed) in thins.iter().zip(&mut timed) {
                *timed += u32::from(thin.is_timed());
            }
        }
        assert!(timed[0].abs_diff(2_000) < 40 && timed[1].abs_diff(8_000) < 80, "{timed:?}");
    }

    #[test]
    fn whatever_repeats_is_met_at_each_of_its_steps_equally_often() {
        for period in [2, 3, 4, 8, 10, 16, 32] {
            let mut met = vec![0u32; period];
            for at in timed(16, 320_000) {
                met[at % period] += 1;
            }
            let even = 320_000.0 / 16.0 / period as f64;
            for (step, met) in met.iter().enumerate() {
                let share = f64::from(*met) / even;
                assert!((share - 1.0).abs() < 0.05, "{step} of {period}: {share}");
            }
        }
    }
}
