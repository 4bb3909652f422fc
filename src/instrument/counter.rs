//! Sums: a counter that only grows, and one that goes both ways.
//!
//! Sharded like histograms, but a shard is one 8-byte cell in a line shared with the same
//! thread's other sums, so a counter costs memory by the cell: adding is a load and a store on the
//! thread's own, the total is the sum of the row.

use super::{
    lease::{self, Slot},
    storage::Row,
    store::{self, CELL_STRIDE, Store},
};
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

    /// Raises the total to `total` if it is below it: for totals somebody else keeps. Lock-free.
    #[inline]
    pub fn absolute(&self, total: u64) {
        self.0.absolute(total);
    }
}

#[derive(Debug)]
pub(crate) struct CounterCore {
    live: AtomicBool,
    cells: Cells,
}

impl CounterCore {
    pub(crate) fn new() -> Self {
        Self { live: AtomicBool::new(true), cells: Cells::new(store::process()) }
    }

    #[inline]
    pub(crate) fn increment(&self, by: u64) {
        if self.live.load(Ordering::Relaxed) {
            self.cells.add(lease::held(), by);
        }
    }

    /// Adds whether or not it is live, for who knows.
    #[inline]
    pub(super) fn add_at(&self, held: Slot, by: u64) {
        self.cells.add(held, by);
    }

    pub(crate) fn absolute(&self, total: u64) {
        if self.live.load(Ordering::Relaxed) {
            self.cells.raise(total);
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.cells.total()
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
    /// Of things there cannot be fewer than none of.
    of_things: AtomicBool,
    /// Two's complement: wrapping addition is right for negative numbers too.
    cells: Cells,
}

impl UpDownCore {
    pub(crate) fn new() -> Self {
        Self {
            live: AtomicBool::new(true),
            of_things: AtomicBool::new(false),
            cells: Cells::new(store::process()),
        }
    }

    /// It counts what is taken away only after it was added: its total is never below zero.
    pub(crate) fn is_of_things(&self) {
        self.of_things.store(true, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn add(&self, by: i64) {
        if self.live.load(Ordering::Relaxed) {
            self.add_at(lease::held(), by);
        }
    }

    /// Adds whether or not it is live, for who knows.
    #[inline]
    pub(super) fn add_at(&self, held: Slot, by: i64) {
        self.cells.add(held, by as u64);
    }

    /// The sum as far as it has been read: while others write, an addition read here may miss the
    /// subtraction it follows, or the other way round. Of [things](Self::is_of_things) that is none.
    pub(crate) fn total(&self) -> i64 {
        let total = self.cells.total() as i64;
        if self.of_things.load(Ordering::Relaxed) { total.max(0) } else { total }
    }

    pub(crate) fn retire(&self) {
        self.live.store(false, Ordering::Relaxed);
    }
}

/// A sum in parts, modulo 2⁶⁴.
#[derive(Debug)]
pub(super) struct Cells {
    row: Row<AtomicU64, CELL_STRIDE>,
    /// For what has no cell of its own, and what is raised.
    home: AtomicU64,
    store: &'static Store,
}

impl Cells {
    pub(super) fn new(store: &'static Store) -> Self {
        Self { row: store.cells.take(), home: AtomicU64::new(0), store }
    }

    /// Adds where the thread [holds](lease::held) a cell, or wherever it may.
    #[inline]
    pub(super) fn add(&self, held: Slot, by: u64) {
        match self.row.get(held.own()) {
            // The only writer: a load and a store.
            Some(cell) => {
                cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
            }
            None => self.add_far(by),
        }
    }

    /// A thread's first addition, those of one that shares, and those to a sum without a row.
    #[cold]
    #[inline(never)]
    fn add_far(&self, by: u64) {
        self.add_in(lease::current(), by);
    }

    /// Adds in this slot, whoever has it.
    pub(super) fn add_in(&self, slot: Slot, by: u64) {
        if self.row.get(slot.own()).is_some() {
            return self.add(slot, by);
        }
        let cell = self.row.get(slot.shard()).unwrap_or(&self.home);
        cell.fetch_add(by, Ordering::Relaxed);
        lease::ask_again();
    }

    fn raise(&self, total: u64) {
        let mut home = self.home.load(Ordering::Relaxed);
        loop {
            let missing = total.wrapping_sub(self.parts().wrapping_add(home));
            if missing == 0 || missing as i64 <= 0 {
                return;
            }
            match self.home.compare_exchange_weak(
                home,
                home.wrapping_add(missing),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => home = now,
            }
        }
    }

    fn parts(&self) -> u64 {
        self.row.iter().fold(0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
    }

    pub(super) fn total(&self) -> u64 {
        self.parts().wrapping_add(self.home.load(Ordering::Relaxed))
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        // The last handle is gone: nobody adds.
        self.row.iter().for_each(|cell| cell.store(0, Ordering::Relaxed));
        self.store.cells.give_back(&mut self.row);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_counter_adds_up_over_more_threads_than_shards() {
        let counter = CounterCore::new();
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| (0..1_000).for_each(|_| counter.increment(1)));
            }
        });
        assert_eq!(counter.total(), 64_000);
    }

    #[test]
    fn absolute_raises_and_never_lowers() {
        let counter = CounterCore::new();
        counter.increment(5);
        counter.absolute(3);
        assert_eq!(counter.total(), 5);
        counter.absolute(9);
        assert_eq!(counter.total(), 9);
        counter.increment(1);
        assert_eq!(counter.total(), 10);
    }

    #[test]
    fn what_one_thread_adds_another_may_take_away() {
        let sum = UpDownCore::new();
        sum.add(2);
        std::thread::scope(|scope| {
            scope.spawn(|| sum.add(-3));
        });
        assert_eq!(sum.total(), -1);
    }

    /// A reading between an addition it came too early for and the subtraction that followed.
    #[test]
    fn there_are_never_fewer_than_none_of_things() {
        let sum = UpDownCore::new();
        sum.add(-1);
        assert_eq!(sum.total(), -1);
        sum.is_of_things();
        assert_eq!(sum.total(), 0);
        sum.add(3);
        assert_eq!(sum.total(), 2);
    }

    #[test]
    fn a_retired_sum_stands_still_and_a_recycled_one_starts_at_zero() {
        let counter = CounterCore::new();
        counter.increment(7);
        counter.retire();
        counter.increment(1);
        counter.absolute(100);
        assert_eq!(counter.total(), 7);
        drop(counter);
        assert_eq!(CounterCore::new().total(), 0);
    }
}
