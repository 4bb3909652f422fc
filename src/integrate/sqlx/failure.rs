//! What an error is called.

use std::borrow::Cow;

use sqlx_core::error::Error;

use super::super::pool::Refusal;

/// `error.type` of a query's error: the SQLSTATE (or the driver's own code) where the database
/// answered, else the kind. Never the message.
pub(super) fn code(error: &Error) -> Cow<'static, str> {
    if let Error::Database(error) = error
        && let Some(code) = error.code()
        && code.len() <= 16
    {
        return Cow::Owned(code.into_owned());
    }
    Cow::Borrowed(kind(error))
}

/// The same, as a timer's classifier: every error is a failure.
pub(super) fn error_type(error: &Error) -> Option<Cow<'static, str>> {
    Some(code(error))
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Database(_) => "database",
        Error::Io(_) => "io",
        Error::Tls(_) => "tls",
        Error::Protocol(_) => "protocol",
        Error::PoolTimedOut => "pool_timed_out",
        Error::PoolClosed => "pool_closed",
        Error::WorkerCrashed => "worker_crashed",
        Error::RowNotFound => "row_not_found",
        Error::Configuration(_) => "configuration",
        Error::Encode(_) | Error::InvalidArgument(_) => "encode",
        Error::Decode(_) | Error::ColumnDecode { .. } => "decode",
        Error::TypeNotFound { .. } => "type_not_found",
        Error::BeginFailed => "begin_failed",
        _ => "other",
    }
}

pub(super) fn refusal(error: &Error) -> Refusal {
    match error {
        Error::PoolTimedOut => Refusal::Timeout,
        other => Refusal::Error(kind(other)),
    }
}
