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
    assert_eq!(size_of::<Shard>(), 128);
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
    for octave in -127..=128 {
        core.record_value_at(slot, f64::from(octave).exp2());
        core.record_value_at(slot, -f64::from(octave).exp2());
    }
    let all = all(&core);
    assert_eq!(all.count, 2 * 256);
    assert_eq!(all.positive.iter().count(), 256);
    assert_eq!(all.negative, all.positive);
    let own = core.row.get(slot.shard()).unwrap();
    let mut octaves = 0;
    own.each_key(&store.pool, |_| octaves += 1);
    assert!(octaves <= 47, "{octaves}");
}

/// What one series can take at most, whatever is recorded: its own chunks, and where they are added
/// up.
#[test]
fn a_series_has_a_limit_and_what_is_beyond_is_counted() {
    let store = store(12);
    let drops = Arc::new(Drops::default());
    let core = HistogramCore::within(store, Measure::Value, drops.clone());
    core.wake(BUSY_AFTER);
    let leases = Leases::new(2, 10);
    let slots: Vec<_> = (0..12).map(|_| leases.take()).collect();
    let record = |value: f64| {
        for slot in &slots {
            core.record_value_at(*slot, value);
            core.record_value_at(*slot, -value);
        }
    };
    let kept = 24 * 256;
    (-1074..=1023).for_each(|octave| record(f64::from(octave).exp2()));
    let all = all(&core);
    assert_eq!(all.count, kept);
    assert_eq!(drops.total(DropReason::OutOfRange), 24 * 2098 - kept);
    for side in [&all.positive, &all.negative] {
        assert!(side.counts.capacity() * size_of::<u64>() <= 64 << 10);
    }
    // 512 octaves and 31 directories in each of two shared shards; 47 octaves in each of ten.
    let chunks = store.pool.used() as usize;
    assert!(chunks <= 2 * (512 + 31) + 10 * 48, "{chunks}");
    assert!(chunks * 128 < 200 << 10);
}

/// What is in threads' own shards has a share of the memory, and then their home shards serve them.
#[test]
fn threads_of_their_own_stop_at_their_share_of_memory_and_nothing_is_lost() {
    let store = store(12);
    let drops = Arc::new(Drops::default());
    let core = HistogramCore::within(store, Measure::Value, drops.clone());
    core.wake(BUSY_AFTER);
    store.pool.top_up(1 << 18);
    while store.pool.take_own().is_some() {}
    let slot = Leases::new(2, 10).take();
    (0..10).for_each(|_| core.record_value_at(slot, 1.5));
    assert_eq!(core.row.get(slot.shard()).unwrap().count.load(Ordering::Relaxed), 0);
    assert_eq!((all(&core).count, drops.total(DropReason::Storage)), (10, 0));
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

/// The clock's factor is sharpened with every tick: what was summed by the old one stays.
#[test]
fn a_sum_of_durations_never_steps_back_when_the_clock_is_recalibrated() {
    let core = core(Measure::Time);
    let (mut all, mut delta) = (Distribution::default(), Delta::default());
    let mut least = 0.0;
    for factor in [0.4e-9, 0.3e-9, 0.5e-9, 0.2e-9, 0.4e-9] {
        core.record_ticks(1_000_000);
        core.fold_by(factor, &mut all, &mut delta);
        assert!((delta.sum / (1e6 * factor) - 1.0).abs() < 1e-12, "{}", delta.sum);
        assert!(all.sum > least, "{} after {least}", all.sum);
        least = all.sum;
        // Nothing new: nothing changes.
        core.fold_by(factor / 2.0, &mut all, &mut delta);
        assert_eq!((all.sum, delta.sum), (least, 0.0));
    }
}

/// On a processor that orders its stores weakly a reading may hold a record's bucket without its
/// extreme, which comes with the next: then its count is zero.
#[test]
fn an_extreme_that_comes_after_its_bucket_is_not_lost() {
    let core = core(Measure::Value);
    let (mut all, mut delta) = (Distribution::default(), Delta::default());
    core.record_value(4.0);
    core.fold(&mut all, &mut delta);
    let home = core.row.get(lease::HOME).unwrap();
    let late = |value: f64| {
        let record = value_record(value, (Key::near(value.to_bits()), place(value.abs()).1));
        home.max.fetch_max(record.order, Ordering::Relaxed);
        home.not_min.fetch_max(!record.order, Ordering::Relaxed);
        home.count.fetch_add(1, Ordering::Release);
    };
    for (value, ends) in [(4.05, (4.0, 4.05)), (3.95, (3.95, 4.05))] {
        late(value);
        core.fold(&mut all, &mut delta);
        assert_eq!((delta.count, (all.min, all.max)), (0, ends));
    }
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
            prop_oneof![
                Just(0.0), Just(-0.0),
                (any::<bool>(), -127..128i32, 1.0..2.0f64).prop_map(|(negative, octave, mantissa)| {
                    let value = mantissa * f64::from(octave).exp2();
                    if negative { -value } else { value }
                })], 1..100),
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

    /// From what is recorded to what is reported: 1 ns to 10,000 s, given as durations, as values,
    /// and as ticks of the clock, against the exact order statistic.
    #[test]
    fn quantiles_of_what_was_recorded_are_within_their_bound(
        exponents in proptest::collection::vec(-9.0..4.0f64, 1..200),
        nanos in proptest::collection::vec(1..50u64, 0..20),
        q in 0.0..=1.0f64,
    ) {
        let mut values: Vec<_> = exponents.iter().map(|e| 10f64.powf(*e)).collect();
        values.extend(nanos.iter().map(|nanos| Duration::from_nanos(*nanos).as_secs_f64()));
        let tick = clock::seconds_per_tick();
        let (given, valued, timed) = (core(Measure::Time), core(Measure::Value), core(Measure::Time));
        let mut ticked = Vec::new();
        for value in &values {
            given.record_value(*value);
            valued.record_value(*value);
            let ticks = (*value / tick).ceil();
            timed.record_ticks(ticks as u64);
            ticked.push(ticks * tick);
        }
        let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1;
        values.sort_by(f64::total_cmp);
        for core in [given, valued] {
            let all = all(&core);
            let (reported, exact) = (all.quantile(q).unwrap(), values[rank]);
            prop_assert!((reported / exact - 1.0).abs() <= 0.011, "{} for {}", reported, exact);
            prop_assert_eq!(all.count, values.len() as u64);
            prop_assert_eq!((all.min, all.max), (values[0], values[values.len() - 1]));
        }
        ticked.sort_by(f64::total_cmp);
        let (reported, exact) = (all(&timed).quantile(q).unwrap(), ticked[rank]);
        // Another test's engine may have sharpened the clock's factor meanwhile.
        prop_assert!((reported / exact - 1.0).abs() <= 0.012, "{} for {}", reported, exact);
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
        let order = |value| value_record(value, (Key::ZERO, 0)).order;
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
