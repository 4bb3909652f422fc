//! Quantiles of a [`Distribution`], of two kinds that must not be confused.
//!
//! A *reported* one is the midpoint of the bucket that holds the exact order statistic, at most
//! 1.1% off. An *interpolated* one is what Prometheus' `histogram_quantile` answers for the same
//! native histogram, so that a rule decides in the process as it would decide there; it lies in
//! the same bucket or at its edge.

use super::{
    bucket::{lower_bound, upper_bound},
    distribution::Distribution,
};

/// A bucket on the number line; zero's is `0..=0`.
struct Span {
    lower: f64,
    upper: f64,
    count: u64,
}

impl Distribution {
    /// The reported quantile: the midpoint of the bucket that holds the order statistic of rank
    /// ⌈q·count⌉, never beyond the exact minimum and maximum where they are in it. `None` when empty or when `q` is no
    /// ratio.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        if self.count == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut seen = 0;
        let span = self.spans().find(|span| {
            seen += span.count;
            seen >= rank
        })?;
        let middle = span.lower / 2.0 + span.upper / 2.0;
        // An end that is not in this bucket says nothing about it.
        let within = |end: f64| span.lower <= end && end <= span.upper;
        let middle = if within(self.min) { middle.max(self.min) } else { middle };
        Some(if within(self.max) { middle.min(self.max) } else { middle })
    }

    /// The interpolated quantile, as Prometheus 3 computes it for native histograms: exponentially
    /// within a bucket, counting from the nearer end. `None` when empty; infinite when `q` is
    /// below 0 or above 1.
    pub(crate) fn interpolated_quantile(&self, q: f64) -> Option<f64> {
        if self.count == 0 || q.is_nan() {
            return None;
        }
        if !(0.0..=1.0).contains(&q) {
            return Some(if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        let total = self.count as f64;
        let (span, into) = if q < 0.5 {
            let (span, rank, seen) = reach(self.spans(), q * total)?;
            let before = seen - span.count as f64;
            (span, rank - before)
        } else {
            let (span, rank, seen) = reach(self.spans().rev(), (1.0 - q) * total)?;
            (span, seen - rank)
        };
        let fraction = into / span.count as f64;
        let (lower, upper) = (span.lower.abs().log2(), span.upper.abs().log2());
        Some(if span.lower >= 0.0 && span.upper > 0.0 {
            if span.lower == 0.0 {
                span.upper * fraction
            } else {
                (lower + (upper - lower) * fraction).exp2()
            }
        } else if span.upper < 0.0 {
            -(upper + (lower - upper) * (1.0 - fraction)).exp2()
        } else {
            span.lower + (span.upper - span.lower) * fraction
        })
    }

    /// The buckets that hold something, ascending.
    fn spans(&self) -> impl DoubleEndedIterator<Item = Span> + '_ {
        let negative = self.negative.iter().rev().map(|(index, count)| Span {
            lower: -upper_bound(index),
            upper: -lower_bound(index),
            count,
        });
        let zero = (self.zero > 0).then_some(Span { lower: 0.0, upper: 0.0, count: self.zero });
        let positive = self.positive.iter().map(|(index, count)| Span {
            lower: lower_bound(index),
            upper: upper_bound(index),
            count,
        });
        negative.chain(zero).chain(positive)
    }
}

/// The first bucket with which the running count reaches `rank`; the rank; and that count.
fn reach(spans: impl Iterator<Item = Span>, rank: f64) -> Option<(Span, f64, f64)> {
    let mut seen = 0.0;
    for span in spans {
        seen += span.count as f64;
        if seen >= rank {
            return Some((span, rank, seen));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::{
        instrument::{Delta, HistogramCore, Measure, bucket::index},
        sync::Arc,
    };

    /// Recorded and read as all are.
    fn of(values: &[f64]) -> Distribution {
        let core = HistogramCore::new(Measure::Value, Arc::default());
        values.iter().for_each(|value| core.record_value(*value));
        let mut all = Distribution::default();
        core.fold(&mut all, &mut Delta::default());
        all
    }

    fn order_statistic(values: &mut [f64], q: f64) -> f64 {
        values.sort_by(f64::total_cmp);
        values[((q * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1]
    }

    #[test]
    fn worked_numbers() {
        let all = of(&[1.0, 2.0, 3.0, 4.0]);
        // Rank 2 is the value 2, in (2^(31/32), 2].
        let two = all.quantile(0.5).unwrap();
        assert!((two - (2.0 + 2f64.powf(31.0 / 32.0)) / 2.0).abs() < 1e-12, "{two}");
        // Never beyond the exact ends.
        assert_eq!(all.quantile(1.0), Some(lower_bound(index(4.0)) / 2.0 + 2.0));
        assert_eq!(of(&[3.0]).quantile(0.5), Some(3.0));
        assert_eq!(of(&[]).quantile(0.5), None);
        assert_eq!(all.quantile(1.5), None);
    }

    /// Prometheus' `histogram_quantile` worked by hand.
    #[test]
    fn interpolation_is_exponential_and_from_the_nearer_end() {
        // Four in (1, 2^(1/32)].
        let mut all = Distribution::default();
        all.positive.add(0, 4);
        all.count = 4;
        // q = 0.25: rank 1 of 4, a quarter of the way on the logarithmic scale.
        let quarter = all.interpolated_quantile(0.25).unwrap();
        assert!((quarter - 2f64.powf(0.25 / 32.0)).abs() < 1e-12);
        let half = all.interpolated_quantile(0.5).unwrap();
        assert!((half - 2f64.powf(0.5 / 32.0)).abs() < 1e-12);
        assert!((all.interpolated_quantile(1.0).unwrap() - 2f64.powf(1.0 / 32.0)).abs() < 1e-12);
        // Mirrored.
        let mut negative = Distribution::default();
        negative.negative.add(0, 4);
        negative.count = 4;
        let quarter = negative.interpolated_quantile(0.25).unwrap();
        assert!((quarter + 2f64.powf(0.75 / 32.0)).abs() < 1e-12, "{quarter}");
        assert_eq!(all.interpolated_quantile(-0.1), Some(f64::NEG_INFINITY));
        assert_eq!(all.interpolated_quantile(1.1), Some(f64::INFINITY));
        assert_eq!(of(&[0.0, 0.0, 1.0]).interpolated_quantile(0.5), Some(0.0));
        assert_eq!(of(&[]).interpolated_quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn reported_quantiles_are_within_their_bound(
            exponents in proptest::collection::vec(-9.0..4.0f64, 1..300),
            q in 0.0..=1.0f64,
        ) {
            // 1 ns … 10,000 s.
            let mut values: Vec<_> = exponents.iter().map(|e| 10f64.powf(*e)).collect();
            let reported = of(&values).quantile(q).unwrap();
            let exact = order_statistic(&mut values, q);
            prop_assert!((reported / exact - 1.0).abs() <= 0.011, "{reported} for {exact}");
        }

        #[test]
        fn of_any_sign_too(
            mut values in proptest::collection::vec(
                prop_oneof![Just(0.0), -1e9..1e9f64, -1e-6..1e-6f64], 1..100),
            q in 0.0..=1.0f64,
        ) {
            let reported = of(&values).quantile(q).unwrap();
            let exact = order_statistic(&mut values, q);
            prop_assert!((reported - exact).abs() <= exact.abs() * 0.011, "{reported} for {exact}");
        }

        #[test]
        fn interpolated_quantiles_are_within_one_bucket(
            exponents in proptest::collection::vec(-9.0..4.0f64, 1..300),
            q in 0.0..=1.0f64,
        ) {
            let mut values: Vec<_> = exponents.iter().map(|e| 10f64.powf(*e)).collect();
            let interpolated = of(&values).interpolated_quantile(q).unwrap();
            values.sort_by(f64::total_cmp);
            // Prometheus' rank is fractional: it lies between two order statistics.
            let rank = q * values.len() as f64;
            let around = |rank: f64| values[(rank as usize).clamp(1, values.len()) - 1];
            let (low, high) = (around(rank.floor()), around(rank.ceil() + 1.0));
            prop_assert!(interpolated >= low / 1.0221 && interpolated <= high * 1.0221);
        }
    }
}
