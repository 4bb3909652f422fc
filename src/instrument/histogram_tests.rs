#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::instrument::{bucket::index, distribution::Distribution, lease::Leases};
use crate::sync::AtomicBool;

fn store(width: usize) -> &'static Store {
    Box::leak(Box::new(Store::new(width, 8)))
}

fn core(measure: Measure) -> HistogramCore {
    HistogramCore::new(measure, Arc::default())
}

fn all(core: &HistogramCore) -> Distribution {
    let (mut all, mut delta) = (Distribution::default(), Delta::default());
    core.fold(&mut all, &mut delta);
    all
}

#[test]
fn what_is_recorded_is_folded_once() {
    let core = core(Measure::Value);
    for value in [1.0, 1.5, 1.5, -2.0, 0.0, -0.0] {
        core.record_value(value);
    }
    let (mut all, mut delta) = (Distribution::default(), Delta::default());
    core.fold(&mut all, &mut delta);
    assert_eq!(delta.positive, [(-1, 1), (18, 2)]);
    assert_eq!(delta.negative, [(31, 1)]);
    assert_eq!((delta.zero, delta.count, delta.sum), (2, 6, 2.0));
    assert_eq!((delta.min, delta.max), (-2.0, 1.5));
    core.fold(&mut all, &mut delta);
    assert!(delta.is_empty() && delta.positive.is_empty());
    core.record_value(1.25);
    core.fold(&mut all, &mut delta);
    assert_eq!((delta.count, delta.sum), (1, 1.25));
    // Neither the least nor the greatest ever: the bounds of its bucket.
    assert!(delta.min < 1.25 && 1.25 <= delta.max && delta.max / delta.min < 1.022);
}

/// Five thousand million records of one bucket: more than its 32 bits hold.
#[test]
fn what_is_folded_ahead_is_counted_beyond_32_bits() {
    let core = core(Measure::Time);
    let (mut all, mut ahead, mut delta) =
        (Distribution::default(), Delta::default(), Delta::default());
    let half = 2_500_000_000;
    core.record_many(half);
    assert_eq!(core.waiting(), half);
    core.fold(&mut all, &mut ahead);
    assert_eq!(core.waiting(), 0);
    core.record_many(half);
    core.record_ticks_at(Slot::HOME, 9_000, 1);
    core.fold(&mut all, &mut delta);
    delta.append(&ahead);
    let mut added = Distribution::default();
    added.add(&delta);
    assert_eq!(added.count, 2 * u64::from(half) + 1);
    assert_eq!((&added.positive, added.count), (&all.positive, all.count));
    assert!(delta.positive.is_sorted_by_key(|(index, _)| *index));
    let tick = clock::seconds_per_tick();
    assert!((added.sum / (5e12 * tick) - 1.0).abs() < 1e-6);
}

#[test]
fn durations_are_summed_in_ticks() {
    let core = core(Measure::Time);
    for ticks in [1_000, 2_000, 0] {
        core.record_ticks(ticks);
    }
    let all = all(&core);
    let tick = clock::seconds_per_tick();
    assert_eq!((all.count, all.zero), (3, 1));
    assert_eq!(all.sum, 3_000.0 * tick);
    assert_eq!((all.min, all.max), (0.0, 2_000.0 * tick));
}

#[test]
fn seconds_given_to_a_timer_become_ticks() {
    let drops = Arc::new(Drops::default());
    let core = HistogramCore::new(Measure::Time, drops.clone());
    core.record_value(0.25);
    core.record_value(-1.0);
    core.record_value(1e300);
    core.record_value(f64::NAN);
    let all = all(&core);
    assert_eq!(all.positive.iter().collect::<Vec<_>>(), [(-65, 1)]);
    assert!((all.sum - 0.25).abs() < 1e-9);
    assert_eq!(drops.total(DropReason::NegativeDuration), 1);
    assert_eq!(drops.total(DropReason::NotFinite), 2);
}

#[test]
fn a_duration_below_zero_is_zero_and_counted() {
    let drops = Arc::new(Drops::default());
    let core = HistogramCore::new(Measure::Time, drops.clone());
    core.record_elapsed_at(lease::current(), None, 1);
    assert_eq!((all(&core).zero, drops.total(DropReason::NegativeDuration)), (1, 1));
}

#[test]
fn a_retired_core_records_nothing() {
    let core = core(Measure::Time);
    core.retire();
    core.record_ticks(5);
    core.record_value(1.0);
    assert_eq!(all(&core).count, 0);
}

#[test]
fn a_recycled_row_starts_empty_and_its_chunks_come_back() {
    let store = store(4);
    let record = |values: std::ops::Range<i32>| {
        let core = HistogramCore::within(store, Measure::Value, Arc::default());
        let (mut all, mut delta) = (Distribution::default(), Delta::default());
        core.fold(&mut all, &mut delta);
        assert!(delta.is_empty());
        for exponent in values {
            core.record_value_at(Slot::HOME, 2f64.powi(exponent));
        }
        core.fold(&mut all, &mut delta);
        delta.count
    };
    for _ in 0..3 {
        assert_eq!(record(-100..100), 200);
        assert_eq!(store.pool.used(), 0);
        assert_eq!(store.shards.used(), 0);
    }
}

#[test]
fn thirty_octaves_take_less_than_four_kibibytes_a_shard() {
    let store = store(12);
    let core = HistogramCore::within(store, Measure::Time, Arc::default());
    core.wake(BUSY_AFTER);
    let slot = Leases::new(2, 10).take();
    // 1 ns to 1 s.
    let mut octaves = 0;
    for octave in -30..0 {
        core.record_value_at(slot, 2f64.powi(octave) * 1.5);
        octaves += 1;
    }
    let bytes = store.pool.used() as usize * size_of::<crate::instrument::storage::Chunk>()
        + size_of::<Shard>();
    assert_eq!(octaves, 30);
    assert!(bytes <= 4096, "{bytes}");
    assert_eq!(size_of::<Shard>(), 64);
}

#[test]
fn a_series_is_quiet_until_it_is_recorded_often_between_two_folds() {
    let store = store(12);
    let core = HistogramCore::within(store, Measure::Value, Arc::default());
    let slot = Leases::new(2, 10).take();
    let own =
        |core: &HistogramCore| core.row.get(slot.shard()).unwrap().count.load(Ordering::Relaxed);
    let (mut all, mut delta) = (Distribution::default(), Delta::default());
    let mut gained = || {
        core.fold(&mut all, &mut delta);
        delta.count
    };
    for _ in 0..3 {
        (1..BUSY_AFTER).for_each(|_| core.record_value_at(slot, 1.5));
        assert_eq!(gained(), u64::from(BUSY_AFTER) - 1);
    }
    assert_eq!(own(&core), 0);
    (0..BUSY_AFTER + 7).for_each(|_| core.record_value_at(slot, 1.5));
    assert_eq!(own(&core), 7);
    assert_eq!(gained(), u64::from(BUSY_AFTER) + 7);
    // Retired, it is still read to the end.
    core.record_value_at(slot, 1.5);
    core.retire();
    assert_eq!(gained(), 1);
    core.wake(BUSY_AFTER);
    assert!(!core.is_live());
}

#[test]
fn an_exclusive_shard_that_runs_out_of_directory_uses_the_home_shard() {
    let store = store(12);
    let core = HistogramCore::within(store, Measure::Value, Arc::default());
    core.wake(BUSY_AFTER);
    let slot = Leases::new(2, 10).take();
    for octave in -1074..=1023 {
        core.record_value_at(slot, f64::from(octave).exp2());
        core.record_value_at(slot, -f64::from(octave).exp2());
    }
    let all = all(&core);
    assert_eq!(all.count, 2 * 2098);
    assert_eq!(all.positive.iter().count(), 2098);
    assert_eq!(all.negative, all.positive);
    let own = core.row.get(slot.shard()).unwrap();
    let mut octaves = 0;
    own.each_key(&store.pool, |_| octaves += 1);
    assert!(octaves <= 39, "{octaves}");
}

#[test]
fn an_empty_pool_loses_nothing_that_has_a_place_and_counts_the_rest() {
    let store: &'static Store = Box::leak(Box::new(Store::new(12, 1)));
    let drops = Arc::new(Drops::default());
    let core = HistogramCore::within(store, Measure::Value, drops.clone());
    core.wake(BUSY_AFTER);
    let slot = Leases::new(2, 10).take();
    core.record_value_at(Slot::HOME, 1.0);
    while store.pool.take().is_some() {}
    core.record_value_at(slot, 1.0); // No chunk for this shard: the home's has room.
    core.record_value_at(slot, 1e9); // No chunk anywhere.
    assert_eq!(all(&core).count, 2);
    assert_eq!(drops.total(DropReason::Storage), 1);
    // No row for a second one.
    let second = HistogramCore::within(store, Measure::Value, drops.clone());
    second.wake(BUSY_AFTER);
    second.record_value_at(slot, 1.0);
    assert_eq!(all(&second).count, 0);
    assert_eq!(drops.total(DropReason::Storage), 2);
}

#[test]
fn a_sum_that_overflows_stays_finite() {
    let core = core(Measure::Value);
    for value in [f64::MAX, f64::MAX, f64::MIN] {
        core.record_value(value);
    }
    let all = all(&core);
    assert!(all.sum.is_finite());
    assert_eq!((all.count, all.min, all.max), (3, f64::MIN, f64::MAX));
}

/// More threads than shards, all of them ending and being replaced, while a reader folds.
#[test]
fn no_count_is_lost_under_thread_churn() {
    const GENERATIONS: u64 = 12;
    const THREADS: u64 = 24;
    const RECORDS: u64 = 2_000;
    let core = core(Measure::Time);
    let mut seen = Distribution::default();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut all, mut delta) = (Distribution::default(), Delta::default());
            while !done.load(Ordering::Acquire) {
                core.fold(&mut all, &mut delta);
                assert!(delta.sum >= 0.0);
            }
            core.fold(&mut all, &mut delta);
            all
        });
        for _ in 0..GENERATIONS {
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    let core = &core;
                    scope.spawn(move || {
                        for ticks in 0..RECORDS {
                            core.record_ticks(1_000 * (thread + 1) + ticks);
                        }
                    });
                }
            });
        }
        done.store(true, Ordering::Release);
        seen = reader.join().unwrap();
    });
    let per_generation: u64 =
        (0..THREADS).map(|t| (0..RECORDS).map(|r| 1_000 * (t + 1) + r).sum::<u64>()).sum();
    assert_eq!(seen.count, GENERATIONS * THREADS * RECORDS);
    let exact = (GENERATIONS * per_generation) as f64 * clock::seconds_per_tick();
    assert!((seen.sum / exact - 1.0).abs() < 1e-3, "{} {exact}", seen.sum);
    let tick = clock::seconds_per_tick();
    assert!((seen.min / (1_000.0 * tick) - 1.0).abs() < 1e-3);
    assert!((seen.max / ((1_000 * THREADS + RECORDS - 1) as f64 * tick) - 1.0).abs() < 1e-3);
}

proptest! {
    #[test]
    fn any_finite_values_are_counted_in_their_buckets(
        values in proptest::collection::vec(
            any::<f64>().prop_filter("finite", |value| value.is_finite()), 1..100),
        folds in 1..5usize,
    ) {
        let core = core(Measure::Value);
        let (mut all, mut delta) = (Distribution::default(), Delta::default());
        for part in values.chunks(values.len().div_ceil(folds)) {
            part.iter().for_each(|value| core.record_value(*value));
            core.fold(&mut all, &mut delta);
            prop_assert_eq!(delta.count, part.len() as u64);
            prop_assert!(part.iter().all(|value| delta.min <= *value && *value <= delta.max));
        }
        let mut expected = Distribution::default();
        for value in &values {
            if *value == 0.0 {
                expected.zero += 1;
            } else if *value > 0.0 {
                expected.positive.add(index(*value), 1);
            } else {
                expected.negative.add(index(-value), 1);
            }
        }
        prop_assert_eq!(all.positive, expected.positive);
        prop_assert_eq!(all.negative, expected.negative);
        prop_assert_eq!(all.zero, expected.zero);
        prop_assert_eq!(all.min, values.iter().copied().fold(f64::INFINITY, f64::min));
        prop_assert_eq!(all.max, values.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    }

    #[test]
    fn sums_of_moderate_values_are_exact(values in proptest::collection::vec(-1_000_000..1_000_000i32, 0..100)) {
        let core = core(Measure::Value);
        values.iter().for_each(|value| core.record_value(f64::from(*value)));
        prop_assert_eq!(all(&core).sum, values.iter().map(|value| f64::from(*value)).sum::<f64>());
    }

    #[test]
    fn orders_are_those_of_the_numbers(a in any::<f64>(), b in any::<f64>()) {
        prop_assume!(a.is_finite() && b.is_finite());
        let order = |value| value_record(value, (0, 0)).order;
        prop_assert_eq!(order(a).cmp(&order(b)), a.total_cmp(&b));
        prop_assert_eq!(value_of(order(a)).to_bits(), a.to_bits());
        prop_assert!(order(a) != 0 && order(a) != u64::MAX);
    }
}

#[test]
fn what_a_declared_bound_leaves_below_it_is_counted_exactly() {
    let core = HistogramCore::new(Measure::Value, Arc::default());
    let core = core.with_bounds(&[0.3, 1.0, 0.3001]);
    assert!(core.cut(1.0).is_none(), "the upper bound of a bucket of ours");
    let (mut all, mut delta) = (Distribution::default(), Delta::default());
    let threads = 4;
    for round in 1..=3_u64 {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        [0.3, 0.30005, 0.301, 2.0].iter().for_each(|v| core.record_value(*v));
                    }
                });
            }
        });
        core.fold(&mut all, &mut delta);
        assert_eq!((delta.cut(0), delta.cut(2)), (threads * 1_000, threads * 2_000));
        let below: Vec<_> = all.cuts.iter().map(|cut| cut.below).collect();
        assert_eq!(below, [round * threads * 1_000, 0, round * threads * 2_000]);
    }
    core.fold(&mut all, &mut delta);
    assert!(delta.is_empty() && delta.cuts.is_empty());
}
