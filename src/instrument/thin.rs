//! Which calls of a query are timed when not all are: one in N, for loops in which two readings of
//! the clock are too dear.
//!
//! Each call takes 1/N off what its thread has left; the one that takes the last of it is timed.
//! How much there is between two timed calls is drawn so that in each unit, N calls of one query,
//! exactly one is timed, at a place in it that is random and uniform. So every call has the same
//! chance, 1/N, whatever repeats with whatever period, and quantiles are unbiased; and yet of n
//! calls n/N are timed, give or take one. Threads begin at places spread over the unit, so that
//! those that make a few calls and end are met as often as all others.
//!
//! Thinned queries of a thread whose N are alike share what is left: one that takes turns with
//! others is timed by its share. Those with other N do not: a call could then take the last of two
//! units at once.
//!
//! A timed call is recorded N times, so the histogram's count and sum are those of all calls but
//! for chance; the exact number of calls, and of failures, is counted beside it.

use std::cell::Cell;

use super::counter::Counter;
use crate::sync::fixed::{AtomicU64, Ordering};

/// The most calls a timed one may stand for.
pub(crate) const MOST: u32 = 1 << 16;

/// N calls.
const UNIT: i64 = 1 << 48;

/// By what N is like.
const TURNS: usize = 32;

thread_local!(static TURN: [Turn; TURNS] = const { [const { Turn::new() }; TURNS] });

/// What a thread has left until a call is timed.
struct Turn {
    /// Below zero if a call took the last of two units, as those whose N are alike but not the same
    /// may.
    left: Cell<i64>,
    /// Where in its unit the last timed call was.
    place: Cell<i64>,
    /// Zero: nobody has asked yet.
    random: Cell<u64>,
}

impl Turn {
    const fn new() -> Self {
        Self { left: Cell::new(0), place: Cell::new(0), random: Cell::new(0) }
    }

    /// Takes off so much; whether that was the last of it.
    #[inline]
    fn take(&self, part: i64) -> bool {
        let left = self.left.get();
        if left >= part {
            self.left.set(left - part);
            return false;
        }
        self.draw(left, part)
    }

    #[cold]
    #[inline(never)]
    fn draw(&self, left: i64, part: i64) -> bool {
        if self.random.get() == 0 {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            self.begin(NEXT.fetch_add(1, Ordering::Relaxed));
            return self.take(part);
        }
        // Xorshift.
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        let (last, next) = (self.place.get(), random as i64 & (UNIT - 1));
        self.place.set(next);
        // The rest of this unit, and the next up to its place.
        self.left.set(left + (UNIT - last) + next - part);
        true
    }

    /// What the `nth` thread begins with: its own places, the first of them spread evenly.
    fn begin(&self, nth: u64) {
        // 2⁶⁴ divided by the golden ratio: no sequence of multiples is spread more evenly.
        let spread = (nth + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = (spread >> 16) as i64;
        self.place.set(place);
        self.left.set(place);
        // Mixed (as splitmix64 does), or neighbours would draw alike.
        let mixed = (spread ^ (spread >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.random.set((mixed ^ (mixed >> 31)).max(1));
    }
}

pub(super) struct Thin {
    /// How many calls a timed one stands for.
    pub(super) one_in: u32,
    /// A call's part of the unit.
    part: i64,
    /// Which of the thread's turns it takes.
    turn: usize,
    /// All that did not fail.
    pub(super) calls: Counter,
}

impl Thin {
    /// `one_in` from 2 to [`MOST`].
    pub(super) fn new(one_in: u32, calls: Counter) -> Self {
        // Each of the least by itself, others with those of their octave.
        let turn = if one_in < 8 { one_in } else { 5 + one_in.ilog2() } as usize;
        Self { one_in, part: UNIT / i64::from(one_in), turn, calls }
    }

    /// Whether this call of this thread is to be timed.
    #[inline]
    pub(super) fn is_timed(&self) -> bool {
        TURN.with(|turns| turns[self.turn % TURNS].take(self.part))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{instrument::CounterCore, sync::Arc};

    fn thin(one_in: u32) -> Thin {
        Thin::new(one_in, Counter(Arc::new(CounterCore::new())))
    }

    /// Which of so many calls of the `nth` thread are timed.
    fn timed(nth: u64, one_in: u32, calls: usize) -> Vec<usize> {
        let (turn, part) = (Turn::new(), thin(one_in).part);
        turn.begin(nth);
        (0..calls).filter(|_| turn.take(part)).collect()
    }

    #[test]
    fn one_in_n_is_timed_give_or_take_one() {
        for nth in 0..20 {
            for one_in in [2, 3, 10, 16, 100, 1000, MOST] {
                let timed = timed(nth, one_in, 200_000).len();
                let due = 200_000 / one_in as usize;
                assert!(timed.abs_diff(due) <= 1, "1/{one_in}: {timed}");
            }
        }
    }

    #[test]
    fn two_queries_taking_turns_are_both_timed() {
        let thins = [16, 4, 16, 4].map(thin);
        let mut timed = [0u32; 4];
        for _ in 0..32_000 {
            for (thin, timed) in thins.iter().zip(&mut timed) {
                *timed += u32::from(thin.is_timed());
            }
        }
        // Which of two is chance: five standard deviations.
        for (timed, due, most) in
            [(0, 2_000, 160), (1, 8_000, 320), (2, 2_000, 160), (3, 8_000, 320)]
                .map(|(at, due, most)| (timed[at], due, most))
        {
            assert!(timed.abs_diff(due) <= most, "{timed}, not {due}");
        }
        assert!((timed[0] + timed[2]).abs_diff(4_000) <= 1, "{timed:?}");
        assert!((timed[1] + timed[3]).abs_diff(16_000) <= 1, "{timed:?}");
    }

    #[test]
    fn whatever_repeats_is_met_at_each_of_its_steps_equally_often() {
        // Powers of two, N itself, and the Fibonacci numbers in which a golden step is caught.
        for period in [2, 3, 4, 8, 10, 13, 16, 21, 32, 34, 987, 1597] {
            let calls = 10_000 * period.min(160) / 160 * 160;
            let even = calls as f64 / 16.0 / period as f64;
            let mut met = vec![0u32; period];
            for nth in 0..2 {
                timed(nth, 16, calls).into_iter().for_each(|at| met[at % period] += 1);
            }
            for (step, met) in met.iter().enumerate() {
                // Chance: of 1,597 steps the most unlikely one is four or five deviations off.
                let off = (f64::from(*met) - 2.0 * even).abs() / (2.0 * even).sqrt();
                assert!(off < 6.0, "{step} of {period}: {met}, not {}", 2.0 * even);
            }
        }
    }

    /// A thread for each request: most end before one call in N is due.
    #[test]
    fn threads_of_a_few_calls_are_timed_as_often_as_others_and_at_each_of_them() {
        let mut met = [0; 5];
        for nth in 0..10_000 {
            timed(nth, 16, 5).into_iter().for_each(|at| met[at] += 1);
        }
        for (call, met) in met.into_iter().enumerate() {
            assert!(f64::abs(f64::from(met) / 625.0 - 1.0) < 0.02, "call {call}: {met}");
        }
    }

    #[test]
    fn threads_begin_each_at_a_place_of_its_own() {
        let thin = thin(16);
        let firsts: Vec<_> = (0..64)
            .map(|_| {
                let first = || (0..).find(|_: &u32| thin.is_timed());
                std::thread::scope(|scope| scope.spawn(first).join()).unwrap()
            })
            .collect();
        let mut distinct = firsts.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 8, "{firsts:?}");
    }
}
