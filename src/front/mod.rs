//! The doors in: our own instruments by name, and other people's, translated to our registry.
//! Foreign key types stay here.

mod cache;
mod lazy;
mod metrics;
pub(crate) mod native;
#[cfg(feature = "otel-api-0-33")]
pub(crate) mod otel;
pub(crate) mod text;

pub use self::metrics::Recorder;
pub(crate) use self::metrics::{forward_to, install_forwarder, installed};
pub(crate) use lazy::Lazy;
pub use native::{InstrumentBuilder, QueryBuilder};
pub use text::{KnownQuery, Queries, QueriesBuilder};
