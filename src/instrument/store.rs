//! The one [`Store`] of the process, and how large it may grow.

use super::{
    lease,
    shard::Shard,
    storage::{Pool, Slab},
};
use crate::sync::{AtomicU64, OnceCell};

/// Histograms in one segment of shards, and a little more: 64 KiB a shard.
pub(super) const SHARD_STRIDE: usize = if cfg!(loom) { 2 } else { 1040 };
/// Sums in one segment, and a little more: 32 KiB a shard.
pub(super) const CELL_STRIDE: usize = if cfg!(loom) { 2 } else { 4160 };

/// More series than this record nowhere, and that is counted.
const MAX_HISTOGRAMS: usize = 1 << 17;
const MAX_SUMS: usize = 1 << 18;

/// Chunks kept ready beyond those in use, for each series and shard: what a burst of new octaves
/// may take before the next tick tops up. Address space only until they are touched.
const SPARE: usize = 8;

/// Where histograms and sums keep their shards.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) shards: Slab<Shard, SHARD_STRIDE>,
    pub(super) cells: Slab<AtomicU64, CELL_STRIDE>,
    pub(super) pool: Pool,
    width: usize,
}

impl Store {
    /// For `width` shards and at most so many histograms.
    pub(super) fn new(width: usize, max_histograms: usize) -> Self {
        Self {
            shards: Slab::new(width, max_histograms),
            cells: Slab::new(width, MAX_SUMS),
            pool: Pool::new(),
            width,
        }
    }

    /// Keeps chunks ready for who records. Allocates if it must; within the pool's hard limit.
    pub(super) fn top_up(&self) {
        let most = self.shards.used() * self.width * SPARE;
        let spare = most.saturating_sub(self.pool.used() as usize).max(4096);
        self.pool.top_up(u32::try_from(spare).unwrap_or(u32::MAX));
    }
}

static STORE: OnceCell<Store> = OnceCell::new();

pub(super) fn process() -> &'static Store {
    STORE.get_or_init(|| Store::new(lease::leases().shards(), MAX_HISTOGRAMS))
}
