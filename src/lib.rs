#![doc = include_str!("../README.md")]
//!
//! # The data's way
//!
//! ```text
//! record or sample  →  registry  →  window  →  rule  →  alert  →  out
//! ```
//!
//! The modules below stand in that order, floor by floor; a module imports only from its own floor
//! and those below (`tests/floors.rs` keeps it so). Why things are as they are is in [`design`].
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

// 0: foundations.
mod clock;
mod event;
mod name;
pub mod semconv;
mod sql;
mod sync;
mod transport;
// 1: written by the user's threads.
mod instrument;
// 2: what exists, and the doors in.
mod front;
mod registry;
// 3: written by our own thread.
pub mod sample;
// 4: snapshots over time.
mod history;
mod window;
// 5: pure; time and data are arguments.
pub mod rule;
// 6: what leaves the process.
pub mod alert;
pub mod compare;
pub mod export;
// 7: the one loop.
mod engine;
// The roof.
mod builder;
mod env;
mod error;
pub mod generate;
mod handle;
pub mod report;
mod site;
#[cfg(feature = "test-util")]
pub mod testing;
// The balconies: other people's crates.
pub mod integrate;

pub use builder::Builder;
pub use engine::{Delivery, Health, ShutdownError};
pub use error::{Error, InstallError, Problem};
pub use front::{InstrumentBuilder, KnownQuery, Queries, QueriesBuilder, QueryBuilder, Recorder};
pub use handle::{Highwater, global};
#[cfg(feature = "allocator")]
pub use instrument::{Allocator, Scope, Scoped};
pub use instrument::{
    ClassifiedQuery, ClassifiedTimed, Component, Counter, Exceeded, Gauge, Held, Histogram, Query,
    QueryCall, QueryGuard, Timed, TraceContext, TryTimed, UpDownCounter,
};
pub use name::{Labels, Unit, UnknownUnit};

#[doc = include_str!("../docs/guide.md")]
pub mod guide {}

#[doc = include_str!("../DESIGN.md")]
pub mod design {}

#[doc(hidden)]
pub use engine::{Rehearsal, Standing};

/// What our macros expand to; not for use by name.
#[doc(hidden)]
pub mod __private {
    pub use crate::site::QuerySite;
}
