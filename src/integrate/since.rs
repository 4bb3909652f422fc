//! A time taken by the hot path's clock, which costs a third of [`Instant`](std::time::Instant).

use crate::clock;

/// When something began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since(u64);

impl Since {
    #[inline]
    pub(super) fn now() -> Self {
        Self(clock::ticks())
    }

    /// Seconds from then to now; none are below zero.
    #[inline]
    pub(super) fn seconds(self) -> f64 {
        clock::elapsed_since(self.0).unwrap_or(0) as i64 as f64 * clock::seconds_per_tick()
    }
}
