//! The distribution of values or durations, written by many threads, read by one.
//!
//! A core is a row of [`Shard`]s. As long as it is *quiet* all threads record in the first, the
//! home shard, so that ten thousand series that are used now and then cost one shard each, to
//! keep and to read. Once it has been recorded 1024 times between two folds it is *busy* for good:
//! each thread records in its own.
//!
//! Folding adds the shards up and takes the difference to what it had seen. Nothing is ever reset
//! under the writers, so nothing can be lost between a read and a reset, and totals never go
//! backwards.
//!
//! Shards of threads' own take memory by the thread, so all of them together have a share of it
//! ([`Pool::take_own`](super::storage::Pool)); beyond it a series new to a thread stays in its home
//! shard, which costs time and no count.
//!
//! Counters are 32 bits wide and differences wrap: right as long as one series gains 2²² less than 2³²
//! between two folds. The engine looks at least every 5 s and folds ahead of its tick where a
//! quarter of that is reached, so 640 million records a second into one series are counted right.

use std::time::Duration;

use super::{
    bucket::{PER_OCTAVE, in_octave, place},
    cut::Cuts,
    distribution::{Delta, Distribution},
    drops::{DropReason, Drops},
    exemplar::{Exemplar, Exemplars, TraceSource},
    lease::{self, Slot},
    shard::{Alone, Amount, Key, Record, Shard, Together},
    storage::{Pool, Row},
    store::{self, SHARD_STRIDE, Store},
};
use crate::{
    clock,
    sync::{Arc, AtomicU32, Mutex, Ordering},
};

/// The distribution of values. A clone is the same series.
///
/// Recording is wait-free but for the sum of values (not of durations) on threads that outnumber
/// the shards, which is compare-and-swap; it never locks and never allocates.
#[derive(Clone, Debug)]
pub struct Histogram(pub(crate) Arc<HistogramCore>);

impl Histogram {
    /// Records one value in the metric's unit. NaN, infinities and numbers that an `f32` could not
    /// hold (beyond 2^±128, about 10^±38; zero is fine) are dropped and counted.
    #[inline]
    pub fn record(&self, value: f64) {
        self.0.record_value(value);
    }

    /// Records a duration, in seconds.
    #[inline]
    pub fn record_duration(&self, elapsed: Duration) {
        self.0.record_value(elapsed.as_secs_f64());
    }
}

/// What a core measures: decides how its sum is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Ticks of [`clock::ticks`], reported in seconds.
    Time,
    /// Any finite number.
    Value,
}

const RETIRED: u32 = 0;
const QUIET: u32 = 1;
const BUSY: u32 = 2;
/// Beside one of the two: the next record may become an exemplar, so none takes the fast lane.
const ARMED: u32 = 4;
/// Beside one of the two, for good: bounds are declared, which the fast lane would pass by.
const CUT: u32 = 8;
/// Beside one of the two, for good: it is a [`Measure::Time`], whose fast lane is another.
const TIMES: u32 = 16;

fn is_quiet(state: u32) -> bool {
    state & QUIET != 0
}

/// A series recorded so often between two folds has enough to gain from shards of its own: adding
/// to a shared one costs up to 90 ns more where two threads meet, 0.01% of a tick of a second. With
/// fewer, ten thousand series on eight threads would take more than 64 MiB.
const BUSY_AFTER: u32 = if cfg!(loom) { 2 } else { 1024 };

/// In this order: what each record reads lies side by side.
#[derive(Debug)]
#[repr(C, align(32))]
pub(crate) struct HistogramCore {
    store: &'static Store,
    /// None beyond the process's limit: then every record is counted as dropped.
    row: Row<Shard, SHARD_STRIDE>,
    /// [`QUIET`] or [`BUSY`], either with [`ARMED`], [`CUT`] and [`TIMES`]; or [`RETIRED`].
    state: AtomicU32,
    /// The home shard's count at the last fold.
    mark: AtomicU32,
    measure: Measure,
    drops: Arc<Drops>,
    /// Where anybody can tell what a record is part of.
    exemplars: Option<Box<Exemplars>>,
    /// None where no bound is declared.
    cuts: Option<Box<Cuts>>,
    /// What has been folded so far. Locked by [`fold`](Self::fold) only.
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    count: u32,
    ticks: u64,
    sum: f64,
    max: u64,
    not_min: u64,
    /// The octaves met, and what all counters of each came to, modulo 2³²: the negative ones after
    /// the positive ones, zero last.
    keys: Vec<(Key, u32)>,
}

impl HistogramCore {
    pub(crate) fn new(measure: Measure, drops: Arc<Drops>) -> Self {
        clock::ready();
        Self::within(store::process(), measure, drops)
    }

    /// With bounds, finite and above zero, of which it is known exactly how many values are at or
    /// below them.
    pub(crate) fn with_bounds(mut self, bounds: &[f64]) -> Self {
        self.cuts = Cuts::new(bounds);
        if self.cuts.is_some() {
            self.state.fetch_or(CUT, Ordering::Relaxed);
        }
        self
    }

    /// Where a declared bound that cuts a bucket is among those declared, and that bucket.
    pub(crate) fn cut(&self, bound: f64) -> Option<(u8, i32)> {
        self.cuts.as_ref()?.find(bound)
    }

    pub(super) fn within(store: &'static Store, measure: Measure, drops: Arc<Drops>) -> Self {
        let row = store.shards.take();
        store.top_up();
        let state = match measure {
            Measure::Time => QUIET | TIMES,
            Measure::Value => QUIET,
        };
        Self {
            store,
            row,
            state: AtomicU32::new(state),
            mark: AtomicU32::new(0),
            measure,
            drops,
            exemplars: None,
            cuts: None,
            seen: Mutex::default(),
        }
    }

    /// Some of what is recorded from now on becomes an exemplar.
    pub(crate) fn with_exemplars(mut self, source: Option<&TraceSource>) -> Self {
        self.exemplars = source.map(|source| Box::new(Exemplars::new(source.clone())));
        self.arm();
        self
    }

    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.state.load(Ordering::Relaxed) != RETIRED
    }

    /// Records a duration in ticks, below 2⁶³; only on a core of [`Measure::Time`].
    #[cfg(test)]
    pub(crate) fn record_ticks(&self, ticks: u64) {
        if self.is_live() {
            self.record_ticks_at(lease::current(), ticks, 1);
        }
    }

    /// Records so many of a duration, whether or not it is live: for who knows.
    pub(super) fn record_ticks_at(&self, slot: Slot, ticks: u64, times: u32) {
        debug_assert_eq!(self.measure, Measure::Time);
        self.record_seconds_far(slot, ticks, seconds(ticks), times);
    }

    /// Does so in the usual case: a shard of the thread's own that has seen the octave. Else
    /// `false`, and nothing is recorded: so it is with zero and with what is below it.
    #[inline(always)]
    pub(super) fn record_ticks_near(&self, held: Slot, ticks: u64, times: u32) -> bool {
        let Some(shard) = self.own(held, BUSY | TIMES) else { return false };
        let seconds = seconds(ticks);
        let bits = seconds.to_bits();
        let is_power = bits << 12 == 0;
        let place = (Key::nearest(bits), in_octave(seconds));
        let record = time_record(ticks, seconds, place, times);
        let pool = &self.store.pool;
        match times.is_power_of_two() {
            _ if is_power => false,
            true => shard.record_late(pool, record),
            false => shard.record_near(pool, record),
        }
    }

    /// Records what [`clock::elapsed_since`] gave; only on a core of [`Measure::Time`].
    pub(crate) fn record_elapsed(&self, ticks: Option<u64>) {
        if self.is_live() {
            self.record_elapsed_at(lease::current(), ticks, 1);
        }
    }

    /// Records what [`clock::elapsed_since`] gave: a duration below zero is zero, and counted.
    pub(super) fn record_elapsed_at(&self, slot: Slot, ticks: Option<u64>, times: u32) {
        match ticks {
            Some(ticks) => self.record_ticks_at(slot, ticks, times),
            None => self.record_negative(slot, times),
        }
    }

    /// Records so many in one bucket, as only minutes of a hot loop can.
    #[cfg(test)]
    pub(crate) fn record_many(&self, times: u32) {
        self.record_ticks_at(Slot::HOME, 1_000, times);
    }

    #[cold]
    fn record_negative(&self, slot: Slot, times: u32) {
        self.drops.count(DropReason::NegativeDuration);
        self.record_ticks_at(slot, 0, times);
    }

    /// Records a value in the metric's unit: seconds if it measures time.
    #[inline]
    pub(crate) fn record_value(&self, value: f64) {
        // The usual case first, inlined: a busy series, a shard of the thread's own that has seen
        // the octave. Nothing in it is a call, so that it saves no registers.
        let done = self.own(lease::held(), BUSY).is_some_and(|shard| {
            let place = (Key::near(value.to_bits()), in_octave(value));
            shard.record_near(&self.store.pool, value_record(value, place))
        });
        if !done {
            self.record_value_far(value);
        }
    }

    /// The shard of a thread that has one of its own, if the state is just this one.
    #[inline(always)]
    fn own(&self, held: Slot, state: u32) -> Option<&'static Shard> {
        let shard = self.row.get(held.own());
        shard.filter(|_| self.state.load(Ordering::Relaxed) == state)
    }

    fn record_seconds_far(&self, slot: Slot, ticks: u64, seconds: f64, times: u32) {
        let place = if seconds == 0.0 {
            (Key::ZERO, 0)
        } else {
            let (octave, bucket) = place(seconds);
            (Key::new(octave, false), bucket)
        };
        self.record_far(slot, time_record(ticks, seconds, place, times), seconds);
    }

    #[inline(never)]
    fn record_value_far(&self, value: f64) {
        if self.is_live() {
            self.record_value_at(lease::current(), value);
        }
    }

    /// Records a value, whether or not it is live.
    fn record_value_at(&self, slot: Slot, value: f64) {
        if !value.is_finite() {
            self.drops.count(DropReason::NotFinite);
        } else if self.measure == Measure::Time {
            self.record_seconds(slot, value);
        } else {
            let place = if value == 0.0 {
                (Key::ZERO, 0)
            } else {
                let (octave, bucket) = place(value.abs());
                (Key::new(octave, value < 0.0), bucket)
            };
            self.record_far(slot, value_record(value, place), value);
        }
    }

    fn record_seconds(&self, slot: Slot, seconds: f64) {
        // The sum is in whole ticks: of each duration given it is off by half a tick at most, well
        // below a nanosecond. Bucket and extremes are by what was given.
        let ticks = (seconds / clock::seconds_per_tick()).round();
        if seconds < 0.0 {
            self.drops.count(DropReason::NegativeDuration);
        } else if ticks >= i64::MAX as f64 {
            self.drops.count(DropReason::NotFinite);
        } else {
            self.record_seconds_far(slot, ticks as u64, seconds, 1);
        }
    }

    /// Every other case: a quiet series, an octave new to the shard, a shared shard, an empty pool.
    fn record_far(&self, slot: Slot, record: Record, value: f64) {
        if !record.key.is_kept() {
            return self.drops.count(DropReason::OutOfRange);
        }
        if slot.is_shared() {
            lease::ask_again();
        }
        if self.record_somewhere(slot, record) {
            if let Some(cuts) = &self.cuts {
                cuts.count((record.key, record.bucket), value, record.times);
            }
        } else {
            self.drops.count(DropReason::Storage);
        }
    }

    fn record_somewhere(&self, slot: Slot, record: Record) -> bool {
        let pool = &self.store.pool;
        let shard = |slot: Slot| self.row.get(slot.shard());
        let state = self.state.load(Ordering::Relaxed);
        if state & ARMED != 0 {
            self.exemplify(record);
        }
        let quiet = is_quiet(state);
        let alone = !quiet && !slot.is_shared();
        if alone && shard(slot).is_some_and(|own| own.record::<Alone>(pool, record).is_some()) {
            return true;
        }
        let home = shard(if quiet || alone { Slot::HOME } else { slot });
        let count = home.and_then(|home| home.record::<Together>(pool, record));
        if let Some(count) = count
            && quiet
        {
            self.wake(count.wrapping_sub(self.mark.load(Ordering::Relaxed)));
        }
        count.is_some()
    }

    /// The series has been recorded so often since the last fold.
    #[inline]
    pub(super) fn wake(&self, often: u32) {
        if often >= BUSY_AFTER {
            // Not if it was retired meanwhile. Nothing is ordered by it: whoever still takes it for
            // quiet uses the home shard, which is always read.
            let wake = |state| is_quiet(state).then_some(state & !QUIET | BUSY);
            let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, wake);
        }
    }

    /// Until enough have been asked where they are made.
    #[cold]
    fn exemplify(&self, record: Record) {
        let value = match record.amount {
            Amount::Ticks(ticks) => ticks as f64 * clock::seconds_per_tick(),
            Amount::Value(value) => value,
        };
        let is_enough = self.exemplars.as_ref().is_none_or(|all| all.offer(record.key, value));
        if is_enough {
            self.state.fetch_and(!ARMED, Ordering::Relaxed);
        }
    }

    fn arm(&self) {
        if let Some(exemplars) = &self.exemplars {
            exemplars.rearm();
            let arm = |state| (state != RETIRED).then_some(state | ARMED);
            let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, arm);
        }
    }

    /// Writes some of what was recorded, with the traces it was part of, to `into`.
    pub(crate) fn exemplars(&self, into: &mut Vec<Exemplar>) {
        if let Some(exemplars) = &self.exemplars {
            exemplars.copy(into);
        }
    }

    /// The shards that may hold something.
    fn shards(&self) -> impl Iterator<Item = &'static Shard> + Clone {
        // A record made while this is read may wait for the next fold; one that happened before is
        // in the home shard, or its series is seen as busy.
        let quiet = is_quiet(self.state.load(Ordering::Relaxed));
        self.row.iter().take(if quiet { 1 } else { usize::MAX })
    }

    /// How many were recorded since the last fold, modulo 2³².
    pub(crate) fn waiting(&self) -> u32 {
        self.count().wrapping_sub(self.seen.lock().count)
    }

    fn count(&self) -> u32 {
        // Acquire: pairs with the release in `Shard::record`.
        self.shards()
            .fold(0, |sum: u32, shard| sum.wrapping_add(shard.count.load(Ordering::Acquire)))
    }

    /// Writes what was recorded since the last call to `into`, and adds it to `all`: the same from
    /// call to call, empty at the first. One caller: the tick thread.
    ///
    /// Allocates when an octave is seen for the first time, and when `into` must grow.
    pub(crate) fn fold(&self, all: &mut Distribution, into: &mut Delta) {
        self.fold_by(clock::seconds_per_tick(), all, into);
    }

    /// Folds by this length of a tick, which may be another from call to call: only what is new is
    /// converted by it, so that a sum never steps back.
    fn fold_by(&self, seconds_per_tick: f64, all: &mut Distribution, into: &mut Delta) {
        into.clear();
        let mut seen = self.seen.lock();
        if let Some(cuts) = &self.cuts {
            cuts.fold(all, into);
        }
        let count = self.count();
        if count == seen.count {
            // Of a record whose bucket the last fold saw.
            if !into.cuts.is_empty() {
                all.add(into);
            }
            return;
        }
        seen.count = count;
        self.arm();
        self.store.top_up();
        if let Some(home) = self.row.get(lease::HOME) {
            self.mark.store(home.count.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let shards = self.shards();
        seen.fold_buckets(shards.clone(), &self.store.pool, all, into);
        self.fold_sums(shards, seconds_per_tick, &mut seen, into);
        all.add(into);
    }

    fn fold_sums(
        &self,
        shards: impl Iterator<Item = &'static Shard>,
        seconds_per_tick: f64,
        seen: &mut Seen,
        into: &mut Delta,
    ) {
        let (mut ticks, mut sum, mut max, mut not_min) = (0u64, 0.0, 0, 0);
        for shard in shards {
            let bits = shard.sum.load(Ordering::Relaxed);
            ticks = ticks.wrapping_add(bits);
            sum += f64::from_bits(bits);
            max = shard.max.load(Ordering::Relaxed).max(max);
            not_min = shard.not_min.load(Ordering::Relaxed).max(not_min);
        }
        match self.measure {
            Measure::Time => {
                into.sum = ticks.wrapping_sub(seen.ticks) as f64 * seconds_per_tick;
                seen.ticks = ticks;
            }
            Measure::Value => {
                into.sum = sum - seen.sum;
                seen.sum = sum;
            }
        }
        let value = |order| match self.measure {
            Measure::Time => time_of(order),
            Measure::Value => value_of(order),
        };
        let (new_max, new_min) = (max > seen.max, not_min > seen.not_min);
        (seen.max, seen.not_min) = (max, not_min);
        // A new extreme whatever the count: its bucket may have been seen by the last reading, which
        // came before the extreme did.
        if new_max {
            into.max = value(max);
        } else if into.count > 0 {
            into.max = into.greatest_bound().min(value(max));
        }
        if new_min {
            into.min = value(!not_min);
        } else if into.count > 0 {
            into.min = into.least_bound().max(value(!not_min));
        }
    }

    pub(crate) fn retire(&self) {
        self.state.store(RETIRED, Ordering::Relaxed);
    }
}

impl Seen {
    fn fold_buckets(
        &mut self,
        shards: impl Iterator<Item = &'static Shard> + Clone,
        pool: &Pool,
        all: &Distribution,
        into: &mut Delta,
    ) {
        for shard in shards.clone() {
            shard.each_key(pool, |key| {
                if let Err(at) = self.keys.binary_search_by_key(&key, |(known, _)| *known) {
                    // One at a time: there are few for each series, and many series.
                    self.keys.reserve_exact(1);
                    self.keys.insert(at, (key, 0));
                }
            });
        }
        for (key, seen) in &mut self.keys {
            let key = *key;
            let mut now = [0u32; PER_OCTAVE];
            shards.clone().for_each(|shard| shard.add_to(&mut now, pool, key));
            // Counters only grow, and all together by less than 2³²: where their sum is what it was,
            // so is each, and what they had need not be fetched. So it is with most octaves.
            let sum = now.iter().fold(0, |sum: u32, count| sum.wrapping_add(*count));
            let gained = sum.wrapping_sub(std::mem::replace(seen, sum));
            if gained == 0 {
                continue;
            }
            if key == Key::ZERO {
                into.zero = u64::from(gained);
                into.count += into.zero;
                continue;
            }
            let (before, side) = if key.is_negative() {
                (&all.negative, &mut into.negative)
            } else {
                (&all.positive, &mut into.positive)
            };
            let first = key.octave() * PER_OCTAVE as i32;
            // What the counters had at the last fold are the low bits of what they have given.
            let mut gained = now;
            before.take_off(first, &mut gained);
            for (index, gained) in (first..).zip(gained) {
                // Less than none: what was late is neither late nor counted yet.
                if (1..=u32::MAX - MOST_SHORT).contains(&gained) {
                    into.count += u64::from(gained);
                    side.push((index, gained));
                }
            }
        }
    }
}

/// What a reading may be short of: a record of each shard, of which there are 64 at most, each of at
/// most 2¹⁶ calls.
const MOST_SHORT: u32 = 64 << 16;

impl Drop for HistogramCore {
    fn drop(&mut self) {
        // The last handle is gone: nobody records, and what was recorded happened before.
        for shard in self.row.iter().filter(|shard| !shard.is_untouched()) {
            shard.reset(&self.store.pool);
        }
        self.store.shards.give_back(&mut self.row);
    }
}

/// As i64: the conversion is one instruction.
#[inline]
fn seconds(ticks: u64) -> f64 {
    ticks as i64 as f64 * clock::seconds_per_tick()
}

#[inline]
fn time_record(ticks: u64, seconds: f64, (key, bucket): (Key, usize), times: u32) -> Record {
    // Positive numbers are in the order of their bits. One more, so that zero is not "none".
    Record { key, bucket, order: seconds.to_bits() + 1, amount: Amount::Ticks(ticks), times }
}

fn time_of(order: u64) -> f64 {
    f64::from_bits(order.wrapping_sub(1))
}

#[inline]
fn value_record(value: f64, (key, bucket): (Key, usize)) -> Record {
    let bits = value.to_bits();
    // Integers in the order of the numbers: flip all bits of a negative one, else the sign's.
    let order = bits ^ (((bits as i64 >> 63) as u64) | 1 << 63);
    Record { key, bucket, order, amount: Amount::Value(value), times: 1 }
}

fn value_of(order: u64) -> f64 {
    f64::from_bits(order ^ (((!order as i64 >> 63) as u64) | 1 << 63))
}

#[cfg(all(test, not(loom)))]
#[path = "histogram_tests.rs"]
mod tests;
