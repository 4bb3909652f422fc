//! A value that is set.

use super::drops::{DropReason, Drops};
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// A value that is set, and absent until it is. A clone is the same series.
///
/// `set` is wait-free; `add` is lock-free (compare-and-swap on one cell).
#[derive(Clone, Debug)]
pub struct Gauge(pub(crate) Arc<GaugeCore>);

impl Gauge {
    /// Sets the value. NaN and infinities are dropped and counted.
    #[inline]
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Adds `by` to the value; an absent value counts as zero.
    #[inline]
    pub fn add(&self, by: f64) {
        self.0.add(by);
    }

    /// Makes the value absent again: rules see no data, exports nothing.
    pub fn clear(&self) {
        self.0.clear();
    }
}

/// The bits of the NaN that stands for "absent"; no recorded value has them, as NaN is dropped.
const ABSENT: u64 = 0x7ff0_0000_0000_0002;

#[derive(Debug)]
pub(crate) struct GaugeCore {
    live: AtomicBool,
    bits: AtomicU64,
    drops: Arc<Drops>,
}

impl GaugeCore {
    pub(crate) fn new(drops: Arc<Drops>) -> Self {
        Self { live: AtomicBool::new(true), bits: AtomicU64::new(ABSENT), drops }
    }

    #[inline]
    pub(crate) fn set(&self, value: f64) {
        if !self.live.load(Ordering::Relaxed) {
            return;
        }
        if value.is_finite() {
            self.bits.store(value.to_bits(), Ordering::Relaxed);
        } else {
            self.drops.count(DropReason::NotFinite);
        }
    }

    pub(crate) fn add(&self, by: f64) {
        if !self.live.load(Ordering::Relaxed) {
            return;
        }
        if !by.is_finite() {
            self.drops.count(DropReason::NotFinite);
            return;
        }
        let mut bits = self.bits.load(Ordering::Relaxed);
        loop {
            let was = if bits == ABSENT { 0.0 } else { f64::from_bits(bits) };
            let sum = was + by;
            if !sum.is_finite() {
                self.drops.count(DropReason::NotFinite);
                return;
            }
            match self.bits.compare_exchange_weak(
                bits,
                sum.to_bits(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => bits = now,
            }
        }
    }

    pub(crate) fn clear(&self) {
        self.bits.store(ABSENT, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> Option<f64> {
        let bits = self.bits.load(Ordering::Relaxed);
        (bits != ABSENT).then(|| f64::from_bits(bits))
    }

    pub(crate) fn retire(&self) {
        self.live.store(false, Ordering::Relaxed);
    }
}
