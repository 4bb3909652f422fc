//! Bytes out, answers in: what carries encoded requests, knows nothing of what is in them, and
//! keeps those that cannot be delivered yet, in memory ([`queue`]) or on disk ([`spool`]).

pub(crate) mod http;
mod parcel;
pub(crate) mod queue;
pub(crate) mod retry;
pub(crate) mod spool;

pub(crate) use parcel::{Dropped, Encoding, Lane, Parcel};
