//! Sums: a counter that only grows, and one that goes both ways.

use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// A sum that only grows. Wait-free; a clone is the same series.
///
/// ```
/// let hw = highwater::Highwater::builder("doc").start()?;
/// let orders = hw.counter("shop.orders").build();
/// orders.increment(1);
/// # Ok::<(), highwater::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Counter(pub(crate) Arc<CounterCore>);

impl Counter {
    /// Adds `by`. Wraps after 2⁶⁴.
    #[inline]
    pub fn increment(&self, by: u64) {
        self.0.increment(by);
    }

    /// Raises the total to `total` if it is below it: for totals somebody else keeps.
    #[inline]
    pub fn absolute(&self, total: u64) {
        self.0.absolute(total);
    }
}

#[derive(Debug)]
pub(crate) struct CounterCore {
    live: AtomicBool,
    total: AtomicU64,
}

impl CounterCore {
    pub(crate) fn new() -> Self {
        Self { live: AtomicBool::new(true), total: AtomicU64::new(0) }
    }

    #[inline]
    pub(crate) fn increment(&self, by: u64) {
        if self.live.load(Ordering::Relaxed) {
            self.total.fetch_add(by, Ordering::Relaxed);
        }
    }

    pub(crate) fn absolute(&self, total: u64) {
        if self.live.load(Ordering::Relaxed) {
            self.total.fetch_max(total, Ordering::Relaxed);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn retire(&self) {
        self.live.store(false, Ordering::Relaxed);
    }
}

/// A sum that goes both ways, such as calls in flight. Wait-free; a clone is the same series.
#[derive(Clone, Debug)]
pub struct UpDownCounter(pub(crate) Arc<UpDownCore>);

impl UpDownCounter {
    /// Adds `by`, which may be negative.
    #[inline]
    pub fn add(&self, by: i64) {
        self.0.add(by);
    }
}

#[derive(Debug)]
pub(crate) struct UpDownCore {
    live: AtomicBool,
    /// Two's complement: wrapping addition is right for negative numbers too.
    total: AtomicU64,
}

impl UpDownCore {
    pub(crate) fn new() -> Self {
        Self { live: AtomicBool::new(true), total: AtomicU64::new(0) }
    }

    #[inline]
    pub(crate) fn add(&self, by: i64) {
        if self.live.load(Ordering::Relaxed) {
            self.total.fetch_add(by as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn total(&self) -> i64 {
        self.total.load(Ordering::Relaxed) as i64
    }

    pub(crate) fn retire(&self) {
        self.live.store(false, Ordering::Relaxed);
    }
}
