//! Bytes out, answers in: what carries encoded requests, knows nothing of what is in them, and
//! keeps those that cannot be delivered yet. Only the `highwater-io` thread comes here.

pub(crate) mod http;
pub(crate) mod queue;
pub(crate) mod retry;
