//! A histogram for somebody who takes single values only.
//!
//! What a histogram gained is said again as that many values, each in the bucket of the value it
//! stands for. All of them lie at the same relative place within their buckets, chosen so that
//! their sum is the sum; the least and the greatest ever are said as they were. So count, minimum
//! and maximum are exact, the sum is to the last digit or two, and a receiver's
//! bucket holds the right number wherever its bounds are ours: always with base-2 buckets no finer
//! than ours, else within one of our buckets.

use crate::{
    export::otlp::gained,
    instrument::{Distribution, lower_bound, upper_bound},
};

/// What was said of one series.
#[derive(Debug, Default)]
pub(super) struct Replay {
    known: Distribution,
    /// The sum of what was said, as whoever adds it up has it.
    said: f64,
}

/// Values of one bucket: what they may be, ends included.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    least: f64,
    greatest: f64,
    count: u64,
}

impl Replay {
    /// Says what is new; costs one call for each value that was recorded.
    pub(super) fn say(&mut self, now: &Distribution, mut record: impl FnMut(f64)) {
        let mut cells = cells(&gained(now, &self.known), now);
        if cells.is_empty() {
            return;
        }
        // Told once: whoever listens keeps them.
        let extremes = [(now.min < self.known.min, now.min), (now.max > self.known.max, now.max)];
        // Ahead of the telling: should that panic, the rest is lost, and nothing is told twice.
        self.known.clone_from(now);
        for (is_new, extreme) in extremes {
            let holds = |cell: &&mut Cell| {
                cell.count > 0 && cell.least <= extreme && extreme <= cell.greatest
            };
            if is_new && let Some(cell) = cells.iter_mut().find(holds) {
                cell.count -= 1;
                self.said += extreme;
                record(extreme);
            }
        }
        let total = |end: fn(&Cell) -> f64| -> f64 {
            cells.iter().map(|cell| end(cell) * cell.count as f64).sum()
        };
        let (least, greatest) = (total(|cell| cell.least), total(|cell| cell.greatest));
        let rest = now.sum - self.said;
        let place = ((rest - least) / (greatest - least)).clamp(0.0, 1.0);
        // Where there is only one thing to say.
        let place = if place.is_nan() { 0.0 } else { place };
        let mut left: u64 = cells.iter().map(|cell| cell.count).sum();
        for cell in &cells {
            let value = cell.least + place * (cell.greatest - cell.least);
            for _ in 0..cell.count {
                left -= 1;
                // The last one makes up for what rounding took.
                let value = if left == 0 { now.sum - self.said } else { value };
                let value = value.clamp(cell.least, cell.greatest);
                self.said += value;
                record(value);
            }
        }
    }
}

/// Buckets without their open end, and within the extremes.
fn cells(gained: &Distribution, now: &Distribution) -> Vec<Cell> {
    let within = |least: f64, greatest: f64, count| {
        let least = least.max(now.min);
        Cell { least, greatest: greatest.min(now.max).max(least), count }
    };
    let negative = gained.negative.iter().rev().map(|(index, count)| {
        within(-upper_bound(index), (-lower_bound(index)).next_down(), count)
    });
    let zero = (gained.zero > 0).then_some(Cell { least: 0.0, greatest: 0.0, count: gained.zero });
    let positive = gained
        .positive
        .iter()
        .map(|(index, count)| within(lower_bound(index).next_up(), upper_bound(index), count));
    negative.chain(zero).chain(positive).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::instrument::{Buckets, SCALE};

    /// A distribution of exactly these values.
    fn of(values: &[f64]) -> Distribution {
        let mut all = Distribution::default();
        for &value in values {
            // The index by its definition: above the lower bound, up to the upper.
            let index = |value: f64| {
                let mut index = (value.log2() * f64::from(1 << SCALE)).floor() as i32;
                while upper_bound(index) < value {
                    index += 1;
                }
                while lower_bound(index) >= value {
                    index -= 1;
                }
                index
            };
            match value {
                0.0 => all.zero += 1,
                value if value > 0.0 => all.positive.add(index(value), 1),
                value => all.negative.add(index(-value), 1),
            }
            all.count += 1;
            all.sum += value;
            all.min = all.min.min(value);
            all.max = all.max.max(value);
        }
        all
    }

    fn same(one: &Buckets, other: &Buckets) -> bool {
        one.iter().eq(other.iter())
    }

    #[test]
    fn one_value_is_itself() {
        let mut heard = Vec::new();
        let mut replay = Replay::default();
        replay.say(&of(&[0.3]), |value| heard.push(value));
        replay.say(&of(&[0.3]), |value| heard.push(value));
        assert_eq!(heard, [0.3]);
        replay.say(&of(&[0.3, 0.3, 0.0]), |value| heard.push(value));
        heard.sort_by(f64::total_cmp);
        assert_eq!(heard, [0.0, 0.3, 0.3]);
    }

    proptest! {
        #[test]
        fn what_is_said_is_what_was_recorded(
            rounds in prop::collection::vec(
                prop::collection::vec(
                    prop_oneof![8 => 1e-6_f64..1e3, 1 => Just(0.0), 1 => Just(1.0), 2 => -50.0_f64..0.0],
                    0..60,
                ),
                1..8,
            ),
        ) {
            let (mut all, mut heard, mut replay) = (Vec::new(), Vec::new(), Replay::default());
            for round in rounds {
                all.extend(round);
                let now = of(&all);
                replay.say(&now, |value| heard.push(value));
                let then = of(&heard);
                prop_assert_eq!(then.count, now.count);
                prop_assert_eq!((then.min, then.max), (now.min, now.max));
                prop_assert_eq!(then.zero, now.zero);
                prop_assert!(same(&then.positive, &now.positive) && same(&then.negative, &now.negative));
                let size: f64 = all.iter().map(|value| value.abs()).sum();
                prop_assert!((then.sum - now.sum).abs() <= 1e-14 * size, "{} {}", then.sum, now.sum);
            }
        }
    }
}
