//! What the user's threads write to. Recording is infallible and never locks or allocates; all
//! resolving of names happens above, in the registry.
//!
//! A handle is a reference count on a *core*. Cores belong to one series; the tick thread is their
//! only reader. A core whose instance was stopped is no longer *live*: its handles do nothing.
//!
//! ```text
//! thread ── lease ──► its shard of a core ──► chunk of the value's octave ──► one counter
//!                          (store: rows)            (storage: pool)
//! tick ── fold ──► Delta ── add ──► Distribution ──► quantile, downscale
//! ```

#[cfg(feature = "allocator")]
mod allocator;
#[cfg(feature = "allocator")]
mod attribution;
mod bucket;
mod component;
mod counter;
mod cut;
mod distribution;
mod drops;
mod exemplar;
mod gauge;
mod histogram;
mod lease;
#[cfg(test)]
mod quantile;
mod query;
mod shard;
mod storage;
mod store;
mod thin;
mod timed;

#[cfg(feature = "allocator")]
pub use allocator::Allocator;
#[cfg(feature = "allocator")]
pub use attribution::{Scope, Scoped};
pub use component::{Component, Exceeded, Held};
pub use counter::{Counter, UpDownCounter};
pub use exemplar::TraceContext;
pub use gauge::Gauge;
pub use histogram::Histogram;
pub use query::{ClassifiedQuery, Query, QueryCall, QueryGuard};
pub use timed::{ClassifiedTimed, Timed, TryTimed};

pub(crate) use bucket::{SCALE, bucket_up_to, lower_bound, upper_bound};
pub(crate) use counter::{CounterCore, UpDownCore};
pub(crate) use cut::{Cut, MOST_BOUNDS};
pub(crate) use distribution::{Buckets, Delta, Distribution};
pub(crate) use drops::{DropReason, Drops};
pub(crate) use exemplar::{Exemplar, Hex, TraceSource};
pub(crate) use gauge::GaugeCore;
pub(crate) use histogram::{HistogramCore, Measure};
pub(crate) use thin::MOST as MOST_THINNED;
