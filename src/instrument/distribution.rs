//! Histograms at rest: what was read from the cores, to be merged, scaled down, exported. No
//! atomics here; only the tick thread and those it hands copies to. Quantiles are in
//! [`quantile`](super::quantile).

use super::{
    bucket::{lower_bound, upper_bound},
    cut::Cut,
};

/// What one core gained between two readings. Reused from reading to reading.
///
/// A reading is not one instant: a record under way may have its bucket in this delta and its
/// share of the sum in the next. So `count` may be zero while `sum` is not: a reader that adds
/// deltas up must add all that are not [empty](Self::is_empty).
#[derive(Debug, Clone)]
pub(crate) struct Delta {
    /// `(index, count)`, ascending by index, counts above zero; an index once, or once more for
    /// each time it was folded [ahead](Self::append).
    pub(crate) positive: Vec<(i32, u32)>,
    /// The same for the absolute values of negative ones.
    pub(crate) negative: Vec<(i32, u32)>,
    pub(crate) zero: u64,
    /// All of the above together.
    pub(crate) count: u64,
    pub(crate) sum: f64,
    /// The least and greatest of these values: exact if they are the least or greatest since the
    /// series' start, so that merging all deltas gives the exact ones; else the bound of their
    /// bucket. Infinite, the wrong way round, when there is none: when `count` is zero, unless what
    /// the last delta counted was an extreme that is only seen now.
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// How many of them lie in the bucket a declared bound cuts, at or below it: by the bound's
    /// place among those declared.
    pub(crate) cuts: Vec<(u8, u32)>,
}

impl Default for Delta {
    fn default() -> Self {
        Self {
            positive: Vec::new(),
            negative: Vec::new(),
            zero: 0,
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            cuts: Vec::new(),
        }
    }
}

impl Delta {
    /// Empties it, keeping its buffers.
    pub(crate) fn clear(&mut self) {
        self.positive.clear();
        self.negative.clear();
        self.zero = 0;
        self.count = 0;
        self.sum = 0.0;
        self.min = f64::INFINITY;
        self.max = f64::NEG_INFINITY;
        self.cuts.clear();
    }

    /// Takes in what was folded before it.
    pub(crate) fn append(&mut self, earlier: &Self) {
        self.positive.extend(&earlier.positive);
        self.positive.sort_by_key(|(index, _)| *index);
        self.negative.extend(&earlier.negative);
        self.negative.sort_by_key(|(index, _)| *index);
        self.zero += earlier.zero;
        self.count += earlier.count;
        self.sum += earlier.sum;
        self.min = self.min.min(earlier.min);
        self.max = self.max.max(earlier.max);
        self.cuts.extend(&earlier.cuts);
    }

    /// How many lie at or below a declared bound, of those in the bucket it cuts.
    pub(crate) fn cut(&self, at: u8) -> u64 {
        self.cuts.iter().filter(|(of, _)| *of == at).map(|(_, count)| u64::from(*count)).sum()
    }

    /// Whether adding it changes nothing.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && self.sum == 0.0
    }

    /// No value is below it.
    pub(super) fn least_bound(&self) -> f64 {
        match (self.negative.last(), self.zero, self.positive.first()) {
            (Some((index, _)), ..) => -upper_bound(*index),
            (None, 0, Some((index, _))) => lower_bound(*index),
            _ => 0.0,
        }
    }

    /// No value is above it.
    pub(super) fn greatest_bound(&self) -> f64 {
        match (self.positive.last(), self.zero, self.negative.first()) {
            (Some((index, _)), ..) => upper_bound(*index),
            (None, 0, Some((index, _))) => -lower_bound(*index),
            _ => 0.0,
        }
    }
}

/// A dense run of bucket counts.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Buckets {
    /// The index of `counts[0]`.
    pub(crate) offset: i32,
    pub(crate) counts: Vec<u64>,
}

impl Buckets {
    pub(crate) fn add(&mut self, index: i32, count: u64) {
        if self.counts.is_empty() {
            self.offset = index;
        }
        if index < self.offset {
            let grow = (self.offset - index) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, grow));
            self.offset = index;
        }
        let at = (index - self.offset) as usize;
        if at >= self.counts.len() {
            // A line of the cache at a time, not twice as much: there are few buckets for each
            // series, and many series.
            self.counts.reserve_exact((at + 1).next_multiple_of(8) - self.counts.len());
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += count;
    }

    /// Takes what there is off adjacent counters, the first of which is that of bucket `first`,
    /// modulo 2³².
    pub(super) fn take_off(&self, first: i32, counters: &mut [u32]) {
        let (skip, own) = match usize::try_from(self.offset - first) {
            Ok(skip) => (skip, 0),
            Err(_) => (0, (first - self.offset) as usize),
        };
        if let (Some(counters), Some(own)) = (counters.get_mut(skip..), self.counts.get(own..)) {
            for (counter, own) in counters.iter_mut().zip(own) {
                *counter = counter.wrapping_sub(*own as u32);
            }
        }
    }

    /// `(index, count)` of the buckets that hold something, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(at, count)| (self.offset + at as i32, *count))
    }

    /// These counts at a scale lower by `by`, written over `into`: each bucket there is 2^`by`
    /// of ours, exactly.
    pub(crate) fn downscale(&self, by: u32, into: &mut Self) {
        into.counts.clear();
        into.offset = self.offset >> by.min(31);
        for (at, count) in self.counts.iter().enumerate() {
            let at = (((self.offset + at as i32) >> by.min(31)) - into.offset) as usize;
            if at == into.counts.len() {
                into.counts.push(0);
            }
            into.counts[at] += count;
        }
    }

    /// How many buckets there would be at a scale lower by `by`.
    fn len_at(&self, by: u32) -> usize {
        match self.counts.len() {
            0 => 0,
            len => {
                let last = self.offset + len as i32 - 1;
                ((last >> by) - (self.offset >> by)) as usize + 1
            }
        }
    }
}

/// A whole histogram at scale [`SCALE`](super::SCALE).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distribution {
    pub(crate) positive: Buckets,
    pub(crate) negative: Buckets,
    pub(crate) zero: u64,
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// The bounds declared for it, ascending, and what is known of each.
    pub(crate) cuts: Vec<Cut>,
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            positive: Buckets::default(),
            negative: Buckets::default(),
            zero: 0,
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            cuts: Vec::new(),
        }
    }
}

impl Distribution {
    /// Merging is addition.
    pub(crate) fn add(&mut self, delta: &Delta) {
        for &(index, count) in &delta.positive {
            self.positive.add(index, u64::from(count));
        }
        for &(index, count) in &delta.negative {
            self.negative.add(index, u64::from(count));
        }
        for (at, count) in &delta.cuts {
            // Who does not know the bounds asks about none.
            if let Some(cut) = self.cuts.get_mut(usize::from(*at)) {
                cut.below += u64::from(*count);
            }
        }
        self.add_rest(delta.zero, delta.count, delta.sum, (delta.min, delta.max));
    }

    /// Merging is addition.
    #[cfg(test)]
    pub(crate) fn merge(&mut self, other: &Self) {
        for (index, count) in other.positive.iter() {
            self.positive.add(index, count);
        }
        for (index, count) in other.negative.iter() {
            self.negative.add(index, count);
        }
        self.add_rest(other.zero, other.count, other.sum, (other.min, other.max));
    }

    fn add_rest(&mut self, zero: u64, count: u64, sum: f64, (min, max): (f64, f64)) {
        self.zero += zero;
        self.count += count;
        self.sum += sum;
        self.min = self.min.min(min);
        self.max = self.max.max(max);
    }

    /// By how much the scale must be lowered for neither side to have more than `most` buckets
    /// (at least one); for [`Buckets::downscale`].
    pub(crate) fn downscale_for(&self, most: usize) -> u32 {
        (0..31)
            .find(|by| self.positive.len_at(*by).max(self.negative.len_at(*by)) <= most.max(2))
            .unwrap_or(31)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::instrument::bucket::index;

    fn of(values: &[f64]) -> Distribution {
        let mut all = Distribution::default();
        for value in values {
            all.positive.add(index(*value), 1);
            all.count += 1;
            all.sum += value;
            all.min = all.min.min(*value);
            all.max = all.max.max(*value);
        }
        all
    }

    #[test]
    fn the_bounds_of_a_delta_hold_its_values_whatever_their_signs() {
        let one = index(1.5);
        let delta = |negative: &[i32], zero, positive: &[i32]| Delta {
            negative: negative.iter().map(|i| (*i, 1)).collect(),
            positive: positive.iter().map(|i| (*i, 1)).collect(),
            zero,
            ..Delta::default()
        };
        let (lower, upper) = (lower_bound(one), upper_bound(one));
        for (delta, least, greatest) in [
            (delta(&[], 0, &[one]), lower, upper),
            (delta(&[], 1, &[one]), 0.0, upper),
            (delta(&[], 1, &[]), 0.0, 0.0),
            (delta(&[one], 0, &[]), -upper, -lower),
            (delta(&[one], 1, &[]), -upper, 0.0),
            (delta(&[one], 0, &[one]), -upper, upper),
        ] {
            assert_eq!((delta.least_bound(), delta.greatest_bound()), (least, greatest));
        }
    }

    #[test]
    fn a_delta_without_a_count_may_still_hold_a_sum() {
        let mut delta = Delta { sum: 1.0, ..Delta::default() };
        assert!(!delta.is_empty());
        delta.clear();
        assert!(delta.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn merging_is_recording_together(
            a in proptest::collection::vec(1e-9..1e4f64, 0..50),
            b in proptest::collection::vec(1e-9..1e4f64, 0..50),
        ) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let together = of(&[a, b].concat());
            proptest::prop_assert_eq!(
                merged.positive.iter().collect::<Vec<_>>(),
                together.positive.iter().collect::<Vec<_>>()
            );
            proptest::prop_assert_eq!(merged.count, together.count);
            proptest::prop_assert_eq!((merged.min, merged.max), (together.min, together.max));
            proptest::prop_assert!((merged.sum - together.sum).abs() <= together.sum * 1e-12);
        }

        #[test]
        fn scaling_down_is_recording_at_the_lower_scale(
            values in proptest::collection::vec(1e-12..1e12f64, 1..80),
            by in 0..12u32,
        ) {
            let all = of(&values);
            let mut low = Buckets::default();
            all.positive.downscale(by, &mut low);
            // At scale 5 - by a value's index is its index at scale 5 without the last bits.
            let mut expected = Buckets::default();
            for value in &values {
                expected.add(index(*value) >> by, 1);
            }
            proptest::prop_assert_eq!(low.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
            // And the coarse bucket's ends are ends of fine ones.
            for (coarse, _) in low.iter() {
                let (first, last) = (coarse << by, (coarse << by) + (1 << by) - 1);
                let within = |value: &f64| lower_bound(first) < *value && *value <= upper_bound(last);
                proptest::prop_assert!(values.iter().any(within));
            }
        }

        #[test]
        fn the_scale_is_lowered_as_far_as_needed_and_no_further(
            values in proptest::collection::vec(1e-300..1e300f64, 1..20),
            most in 2..300usize,
        ) {
            let all = of(&values);
            let by = all.downscale_for(most);
            let mut low = Buckets::default();
            all.positive.downscale(by, &mut low);
            proptest::prop_assert!(low.counts.len() <= most);
            if by > 0 {
                all.positive.downscale(by - 1, &mut low);
                proptest::prop_assert!(low.counts.len() > most);
            }
        }
    }
}
