//! The one door to atomics, locks and cells: `--cfg loom` swaps the atomics for loom's.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

use std::{
    sync::{MutexGuard, PoisonError},
    time::Instant,
};

pub(crate) use once_cell::sync::OnceCell;
// Not its `Condvar`: what threads sleep on is a `Monitor`.
pub(crate) use parking_lot::{Mutex, RwLock};

/// Always std's: for statics, since loom's atomics cannot be made in a constant.
pub(crate) mod fixed {
    pub(crate) use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
}

/// What the cell holds, made if it holds nothing; by several threads at once perhaps, of which one
/// is first. Not made inside the cell: making logs, and the logger may count what it logs and come
/// here again.
#[inline]
pub(crate) fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> T) -> &T {
    if let Some(known) = cell.get() {
        return known;
    }
    let made = make();
    cell.get_or_init(|| made)
}

/// A lock that threads sleep on.
///
/// It is std's and not parking_lot's, whose sleepers are in a table of the whole process: a forked
/// child inherits the entries of threads it does not have, and the next to sleep there follows
/// them into freed memory (`tests/degraded.rs` saw it). std's sleep in the kernel.
#[derive(Debug, Default)]
pub(crate) struct Monitor<T> {
    state: std::sync::Mutex<T>,
    changed: std::sync::Condvar,
}

impl<T> Monitor<T> {
    pub(crate) fn new(state: T) -> Self {
        Self { state: std::sync::Mutex::new(state), changed: std::sync::Condvar::new() }
    }

    /// What a panic left half-done is used as it is: nothing here panics half-way.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until it is notified, or for no reason.
    pub(crate) fn wait<'a>(&self, held: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.changed.wait(held).unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, but not beyond `at`; whether that has come.
    pub(crate) fn wait_until<'a>(
        &self,
        held: MutexGuard<'a, T>,
        at: Instant,
    ) -> (MutexGuard<'a, T>, bool) {
        let left = at.saturating_duration_since(Instant::now());
        let (held, result) =
            self.changed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner);
        (held, result.timed_out())
    }

    pub(crate) fn notify_one(&self) {
        self.changed.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.changed.notify_all();
    }
}
