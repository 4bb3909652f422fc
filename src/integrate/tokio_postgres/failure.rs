//! What an error is called.

use std::{borrow::Cow, error::Error as _, io};

use ::tokio_postgres::Error;

/// How the driver words the one error that is none of the database's: it found no row, or several.
/// It says so in no other way.
const ROW_COUNT: &str = "query returned an unexpected number of rows";

/// `error.type`: the SQLSTATE where the server answered, else the kind. Never the message.
pub(super) fn code(error: &Error) -> Cow<'static, str> {
    if let Some(state) = error.code()
        && state.code().len() <= 16
    {
        return Cow::Owned(state.code().to_owned());
    }
    let source = error.source();
    Cow::Borrowed(if error.is_closed() {
        "connection_closed"
    } else if source.is_some_and(|source| source.is::<io::Error>()) {
        "io"
    } else {
        "client"
    })
}

/// As a timer's classifier: every error is a failure, but a count of rows that was not expected.
pub(super) fn error_type(error: &Error) -> Option<Cow<'static, str>> {
    let counted = error.source().is_none() && !error.is_closed() && error.to_string() == ROW_COUNT;
    (!counted).then(|| code(error))
}
