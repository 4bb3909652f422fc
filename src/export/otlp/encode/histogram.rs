//! Our histograms as OTLP's: exponential as they are, down-scaled where they are too wide, or
//! counted into explicit buckets for receivers that lack exponential ones.

use std::borrow::Cow;

use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint,
    exponential_histogram_data_point::Buckets as BucketsMessage,
};

use crate::instrument::{Buckets, Cut, Distribution, SCALE, lower_bound, upper_bound};

/// The bounds advised for
/// [`db.client.operation.duration`](https://opentelemetry.io/docs/specs/semconv/database/database-metrics/).
const DATABASE: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// Those advised for
/// [`http.server.request.duration`](https://opentelemetry.io/docs/specs/semconv/http/http-metrics/),
/// for all else in seconds.
const SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// The SDK specification's default, for all else.
const DEFAULT: &[f64] = &[
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1_000.0, 2_500.0, 5_000.0,
    7_500.0, 10_000.0,
];

/// The bounds a metric gets if none were declared.
pub(crate) fn advised_bounds(name: &str, unit: &str) -> &'static [f64] {
    match unit {
        "s" if name.starts_with("db.client.") => DATABASE,
        "s" => SECONDS,
        _ => DEFAULT,
    }
}

/// Without attributes and times. At most `max_buckets` a side.
pub(super) fn exponential(all: &Distribution, max_buckets: usize) -> ExponentialHistogramDataPoint {
    let shift = all.downscale_for(max_buckets);
    ExponentialHistogramDataPoint {
        count: all.count,
        sum: Some(all.sum),
        scale: SCALE - shift as i32,
        zero_count: all.zero,
        positive: Some(buckets(&all.positive, shift)),
        negative: Some(buckets(&all.negative, shift)),
        min: finite(all.min),
        max: finite(all.max),
        ..Default::default()
    }
}

/// These bounds and those declared for the histogram.
pub(crate) fn with_declared<'a>(all: &Distribution, bounds: &'a [f64]) -> Cow<'a, [f64]> {
    if all.cuts.is_empty() {
        return Cow::Borrowed(bounds);
    }
    let mut both: Vec<f64> =
        bounds.iter().copied().chain(all.cuts.iter().map(|c| c.bound)).collect();
    both.sort_by(f64::total_cmp);
    both.dedup();
    Cow::Owned(both)
}

/// How many values lie up to each of `bounds` (and above the one before), and above the last. Each
/// of our buckets goes whole to where its upper end belongs, so a count is wrong by at most what
/// lies in the one bucket a bound cuts through; where the bound was declared it is exact.
pub(crate) fn counts(all: &Distribution, bounds: &[f64]) -> Vec<u64> {
    let mut counts = vec![0; bounds.len() + 1];
    let mut count = |upper: f64, count: u64| {
        counts[bounds.partition_point(|bound| *bound < upper)] += count;
    };
    all.negative.iter().for_each(|(index, n)| count(-lower_bound(index), n));
    count(0.0, all.zero);
    all.positive.iter().for_each(|(index, n)| count(upper_bound(index), n));
    // What a declared bound leaves below it goes there, less what an earlier one of the same bucket
    // has taken.
    let mut taken: Option<(i32, u64)> = None;
    for cut in &all.cuts {
        let (Some(bucket), Some(at)) = (cut.bucket, bounds.iter().position(|b| *b == cut.bound))
        else {
            continue;
        };
        let before = taken.filter(|(of, _)| *of == bucket).map_or(0, |(_, before)| before);
        let from = bounds.partition_point(|bound| *bound < upper_bound(bucket));
        // Both are read while others write.
        let moved = cut.below.saturating_sub(before).min(counts[from]);
        counts[from] -= moved;
        counts[at] += moved;
        taken = Some((bucket, before + moved));
    }
    counts
}

/// Without attributes and times.
pub(super) fn explicit(all: &Distribution, bounds: &[f64]) -> HistogramDataPoint {
    let bounds = &*with_declared(all, bounds);
    let bucket_counts = counts(all, bounds);
    HistogramDataPoint {
        count: all.count,
        sum: Some(all.sum),
        bucket_counts,
        explicit_bounds: bounds.to_vec(),
        min: finite(all.min),
        max: finite(all.max),
        ..Default::default()
    }
}

/// What `now` has gained since `before`. Its extremes are not known.
pub(crate) fn gained(now: &Distribution, before: &Distribution) -> Distribution {
    let side = |now: &Buckets, before: &Buckets| {
        let mut gained = Buckets::default();
        for (index, count) in now.iter() {
            let known = usize::try_from(index - before.offset)
                .ok()
                .and_then(|at| before.counts.get(at))
                .copied()
                .unwrap_or(0);
            if count > known {
                gained.add(index, count - known);
            }
        }
        gained
    };
    Distribution {
        positive: side(&now.positive, &before.positive),
        negative: side(&now.negative, &before.negative),
        zero: now.zero.saturating_sub(before.zero),
        count: now.count.saturating_sub(before.count),
        sum: now.sum - before.sum,
        cuts: gained_cuts(&now.cuts, &before.cuts),
        ..Default::default()
    }
}

fn gained_cuts(now: &[Cut], before: &[Cut]) -> Vec<Cut> {
    let known = |at: usize| before.get(at).map_or(0, |cut| cut.below);
    let gained =
        |(at, cut): (usize, &Cut)| Cut { below: cut.below.saturating_sub(known(at)), ..*cut };
    now.iter().enumerate().map(gained).collect()
}

/// The extremes of nothing are infinite, and not sent.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// At a scale lower by `shift`: halving the resolution merges the buckets 2i and 2i+1 into i,
/// exactly.
fn buckets(buckets: &Buckets, shift: u32) -> BucketsMessage {
    if shift == 0 {
        return BucketsMessage { offset: buckets.offset, bucket_counts: buckets.counts.clone() };
    }
    let mut low = Buckets::default();
    buckets.downscale(shift, &mut low);
    BucketsMessage { offset: low.offset, bucket_counts: low.counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 160;

    fn shift(positive: &Buckets, max: usize) -> u32 {
        Distribution { positive: positive.clone(), ..Default::default() }.downscale_for(max)
    }

    fn filled(pairs: &[(i32, u64)]) -> Buckets {
        let mut filled = Buckets::default();
        pairs.iter().for_each(|(index, count)| filled.add(*index, *count));
        filled
    }

    #[test]
    fn up_to_160_buckets_travel_as_they_are() {
        let narrow = filled(&[(-80, 1), (-3, 2), (79, 3)]);
        assert_eq!(shift(&narrow, MAX), 0);
        let sent = buckets(&narrow, 0);
        assert_eq!((sent.offset, sent.bucket_counts.len()), (-80, 160));
        assert_eq!((sent.bucket_counts[77], sent.bucket_counts[159]), (2, 3));
    }

    #[test]
    fn wider_ones_are_merged_in_pairs_until_they_fit() {
        let wide = filled(&[(-81, 1), (-80, 2), (-79, 4), (78, 8), (79, 16)]);
        assert_eq!(shift(&wide, MAX), 1);
        let sent = buckets(&wide, 1);
        // Rounded towards minus infinity: -81 >> 1 is -41, -80 and -79 share -40.
        assert_eq!(sent.offset, -41);
        assert_eq!(sent.bucket_counts[..2], [1, 6]);
        assert_eq!(sent.bucket_counts.last(), Some(&24));
        assert_eq!(sent.bucket_counts.len(), 81);
    }

    #[test]
    fn the_widest_possible_histogram_fits_and_loses_nothing() {
        // 2^-1074 to 2^1024 at 32 buckets an octave.
        let widest = filled(&[(-34_368, 1), (0, 1), (32_767, 1)]);
        for max in [2, 20, 160] {
            let sent = buckets(&widest, shift(&widest, max));
            assert!(sent.bucket_counts.len() <= max);
            assert_eq!(sent.bucket_counts.iter().sum::<u64>(), 3);
        }
        assert_eq!(shift(&widest, MAX), 9);
    }

    #[test]
    fn empty_sides_have_no_buckets() {
        assert!(buckets(&Buckets::default(), 3).bucket_counts.is_empty());
        assert_eq!(shift(&Buckets::default(), MAX), 0);
    }

    #[test]
    fn explicit_buckets_hold_all_within_one_of_ours() {
        let all = Distribution {
            // 1.0 ends bucket -1; 0.1 lies in bucket -107, which ends at 0.1007.
            positive: filled(&[(-107, 5), (-1, 7), (0, 9), (1_000, 1)]),
            negative: filled(&[(0, 2)]),
            zero: 3,
            count: 27,
            ..Default::default()
        };
        let sent = explicit(&all, &[-2.0, 0.0, 0.1, 0.101, 1.0, 10.0]);
        assert_eq!(sent.bucket_counts, [0, 5, 0, 5, 7, 9, 1]);
        assert_eq!(sent.explicit_bounds.len(), 6);
        assert_eq!(sent.bucket_counts.iter().sum::<u64>(), sent.count);
    }

    #[test]
    fn declared_bounds_are_exact_within_a_bucket() {
        // 0.1 lies in bucket -107, (0.0985, 0.1007].
        let cut = |bound, below| Cut { bound, bucket: Some(-107), below };
        let all = Distribution {
            positive: filled(&[(-107, 10), (-1, 7)]),
            count: 17,
            cuts: vec![cut(0.099, 3), cut(0.1, 8), Cut { bound: 1.0, bucket: None, below: 0 }],
            ..Default::default()
        };
        let sent = explicit(&all, &[0.1, 5.0]);
        assert_eq!(sent.explicit_bounds, [0.099, 0.1, 1.0, 5.0]);
        assert_eq!(sent.bucket_counts, [3, 5, 9, 0, 0]);
        let mut before = all.clone();
        before.cuts[1].below = 6;
        assert_eq!(gained(&all, &before).cuts[1].below, 2);
    }

    #[test]
    fn what_was_gained_is_the_difference_bucket_by_bucket() {
        let positive = filled(&[(3, 5), (7, 1)]);
        let before = Distribution { positive, zero: 1, count: 7, sum: 10.0, ..Default::default() };
        let mut now = before.clone();
        now.positive = filled(&[(-2, 4), (3, 5), (7, 3)]);
        (now.zero, now.count, now.sum) = (2, 14, 16.0);
        let gained = gained(&now, &before);
        assert_eq!(gained.positive.iter().collect::<Vec<_>>(), [(-2, 4), (7, 2)]);
        assert_eq!((gained.zero, gained.count, gained.sum), (1, 7, 6.0));
        assert_eq!((finite(gained.min), finite(gained.max)), (None, None));
    }
}
