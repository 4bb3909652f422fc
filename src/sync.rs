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

pub(crate) use once_cell::sync::OnceCell;
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
