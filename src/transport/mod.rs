//! Bytes out, answers in: what carries encoded requests, knows nothing of what is in them, and
//! keeps those that cannot be delivered yet, in memory ([`queue`]) or on disk ([`spool`]).

#[cfg(feature = "grpc")]
pub(crate) mod grpc;
pub(crate) mod http;
mod lookup;
mod parcel;
pub(crate) mod queue;
pub(crate) mod retry;
pub(crate) mod spool;
mod tls;

pub(crate) use parcel::{Dropped, Encoding, Lane, Parcel};
pub(crate) use tls::{HAS_TLS, Tls};

use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// Not connected, cut off, or another protocol spoken there.
    #[error("{0}")]
    Connection(String),
    #[error("interrupted")]
    #[cfg_attr(not(feature = "grpc"), allow(dead_code))]
    Interrupted,
    /// No attempt can succeed.
    #[error("{0}")]
    Impossible(String),
}
