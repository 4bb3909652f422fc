//! The one door to atomics, locks and cells: `--cfg loom` swaps the atomics for loom's.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

pub(crate) use once_cell::sync::OnceCell;
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

/// Always std's: for statics, since loom's atomics cannot be made in a constant.
pub(crate) mod fixed {
    pub(crate) use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
}
