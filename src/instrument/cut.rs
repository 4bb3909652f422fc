//! Bounds that were declared for a histogram: how many values lie at or below each, exactly.
//!
//! All that is not in the one bucket a bound cuts is on the one side of it or the other, so only
//! that bucket's part below the bound has to be counted besides. A histogram without declared
//! bounds pays nothing; one with them leaves the nearest path, which costs some nanoseconds more.

use super::{
    bucket::{bucket_up_to, place},
    distribution::{Delta, Distribution},
    shard::Key,
};
use crate::sync::{AtomicU32, Ordering};

/// How many a metric may have.
pub(crate) const MOST_BOUNDS: usize = 64;

/// What is known of a declared bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cut {
    pub(crate) bound: f64,
    /// The bucket it cuts; none if it is the upper bound of one of ours.
    pub(crate) bucket: Option<i32>,
    /// How many of that bucket's values are at or below it.
    pub(crate) below: u64,
}

#[derive(Debug)]
struct Counter {
    cut: Cut,
    place: (Key, usize),
    /// Modulo 2³².
    below: AtomicU32,
}

/// The declared bounds of one core, ascending.
#[derive(Debug)]
pub(super) struct Cuts(Box<[Counter]>);

impl Cuts {
    /// Of bounds that are finite and above zero; none without any.
    pub(super) fn new(bounds: &[f64]) -> Option<Box<Self>> {
        let counter = |&bound: &f64| {
            let (octave, bucket) = place(bound);
            let index = octave * super::bucket::PER_OCTAVE as i32 + bucket as i32;
            let bucket_cut = bucket_up_to(bound).is_none().then_some(index);
            let cut = Cut { bound, bucket: bucket_cut, below: 0 };
            Counter { cut, place: (Key::new(octave, false), bucket), below: AtomicU32::new(0) }
        };
        let fit = bounds.iter().filter(|bound| bound.is_finite() && **bound > 0.0);
        let all: Box<[_]> = fit.take(MOST_BOUNDS).map(counter).collect();
        (!all.is_empty()).then(|| Box::new(Self(all)))
    }

    /// Where the bound is among them, if it cuts a bucket: that bucket too.
    pub(super) fn find(&self, bound: f64) -> Option<(u8, i32)> {
        let at = self.0.iter().position(|counter| counter.cut.bound == bound)?;
        Some((at as u8, self.0[at].cut.bucket?))
    }

    /// Counts a value that has been counted in its bucket.
    pub(super) fn count(&self, place: (Key, usize), value: f64, times: u32) {
        for counter in &self.0 {
            if counter.place == place && value <= counter.cut.bound && counter.cut.bucket.is_some()
            {
                // Release: the reader that sees this sees the value in its bucket.
                counter.below.fetch_add(times, Ordering::Release);
            }
        }
    }

    /// Writes what was counted since the last time to `into`; `all` is what was before. To be read
    /// before the buckets, so that no value is below a bound and in no bucket.
    pub(super) fn fold(&self, all: &mut Distribution, into: &mut Delta) {
        if all.cuts.is_empty() {
            all.cuts = self.0.iter().map(|counter| counter.cut).collect();
        }
        for (at, (counter, before)) in self.0.iter().zip(&all.cuts).enumerate() {
            // Acquire: pairs with the release in `count`.
            let now = counter.below.load(Ordering::Acquire);
            let gained = now.wrapping_sub(before.below as u32);
            if gained > 0 {
                into.cuts.push((at as u8, gained));
            }
        }
    }
}
