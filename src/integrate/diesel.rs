//! diesel: every query of a connection, by diesel's instrumentation, on our clock.
//!
//! | metric | attributes |
//! |---|---|
//! | `db.client.operation.duration` (histogram, s) | `db.system.name`, `db.query.summary`, `error.type`; `db.query.text` if asked for |
//! | `highwater.query.in_flight` (up-down counter, `{call}`) | `db.system.name`, `db.query.summary` |
//!
//! **What it sees.** Every query of a connection that [`measure`] was given to, those of diesel itself
//! too (`BEGIN`, `COMMIT`, `ROLLBACK`, a pool's `SELECT 1`), and whether it failed: `error.type` is
//! diesel's kind (`unique_violation`, `closed_connection`, `database` where it has no kind), as diesel
//! passes no SQLSTATE on. Preparing is in the time, making rows into values is not, unless the
//! connection hands rows out one by one.
//!
//! **What it does not.** Rows, which diesel's hook does not count; how long connecting took, which it
//! tells only with the URL, that is never looked at here. Values are never kept: of a query's display
//! nothing is read from its binds on.
//!
//! A query costs what diesel takes to display it: some microseconds, with allocations of diesel's.

use std::{
    fmt::{self, Write},
    mem::take,
};

use ::diesel::{
    connection::{DebugQuery, Instrumentation, InstrumentationEvent},
    result::{DatabaseErrorKind, Error},
};

use crate::{
    front::Queries,
    instrument::{Query, QueryCall},
};

/// What diesel writes between a query and its values.
const BINDS: &str = " -- binds: ";

/// As much of a text as names are made of.
const MOST_READ: usize = 8 * 1024;

/// An instrumentation for one connection: give it to
/// [`set_instrumentation`](::diesel::connection::Connection::set_instrumentation), which takes the place of another.
///
/// ```
/// use diesel::connection::{Connection, Instrumentation, SimpleConnection};
/// use highwater::{Highwater, integrate};
///
/// fn open<C: Connection>(hw: &Highwater, url: &str) -> diesel::ConnectionResult<C> {
///     let queries = hw.queries().system("postgresql").build();       // one for all connections
///     let mut connection = C::establish(url)?;
///     connection.set_instrumentation(integrate::diesel::measure(&queries)); // the one line
///     Ok(connection)
/// }
/// # let hw = Highwater::builder("doc").start()?;
/// # let _: Box<dyn Instrumentation> = Box::new(integrate::diesel::measure(&hw.queries().build()));
/// # Ok::<(), highwater::Error>(())
/// ```
///
/// With a pool (features `diesel` and `r2d2`) it goes to the builder, and so to every connection:
/// `Pool::builder().connection_customizer(Box::new(integrate::diesel::measure(&queries)))`.
pub fn measure(queries: &Queries) -> Measure {
    Measure { queries: queries.clone(), running: None, text: String::new() }
}

/// See [`measure`].
#[must_use = "give it to a connection"]
pub struct Measure {
    queries: Queries,
    /// A connection has one query at a time.
    running: Option<QueryCall>,
    /// Reused.
    text: String,
}

impl Measure {
    fn query(&mut self, query: &dyn DebugQuery) -> Query {
        let mut text = UpToBinds(take(&mut self.text));
        text.0.clear();
        // It ends in an error at the binds, by intent.
        let _ = write!(text, "{query}");
        self.text = text.0;
        self.queries.of(&self.text)
    }
}

impl Instrumentation for Measure {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartQuery { query, .. } => {
                let mut call = self.query(query).call();
                call.during(|| ());
                // One whose end was never told counts as cancelled.
                self.running = Some(call);
            }
            InstrumentationEvent::FinishQuery { error, .. } => {
                if let Some(mut call) = self.running.take() {
                    match error {
                        None => call.stop(),
                        Some(error) => call.fail(kind(error)),
                    }
                }
            }
            _ => {}
        }
    }
}

/// To every connection of a pool.
#[cfg(feature = "r2d2")]
impl<C: ::diesel::connection::Connection, E: 'static> ::r2d2::CustomizeConnection<C, E>
    for Measure
{
    fn on_acquire(&self, connection: &mut C) -> Result<(), E> {
        connection.set_instrumentation(measure(&self.queries));
        Ok(())
    }
}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measure").finish_non_exhaustive()
    }
}

fn kind(error: &Error) -> &'static str {
    let Error::DatabaseError(kind, _) = error else {
        return match error {
            Error::NotFound => "not_found",
            Error::QueryBuilderError(_) | Error::InvalidCString(_) => "query",
            Error::SerializationError(_) => "encode",
            Error::DeserializationError(_) => "decode",
            _ => "other",
        };
    };
    match kind {
        DatabaseErrorKind::UniqueViolation => "unique_violation",
        DatabaseErrorKind::ForeignKeyViolation => "foreign_key_violation",
        DatabaseErrorKind::NotNullViolation => "not_null_violation",
        DatabaseErrorKind::CheckViolation => "check_violation",
        DatabaseErrorKind::RestrictViolation => "restrict_violation",
        DatabaseErrorKind::ExclusionViolation => "exclusion_violation",
        DatabaseErrorKind::SerializationFailure => "serialization_failure",
        DatabaseErrorKind::ReadOnlyTransaction => "read_only_transaction",
        DatabaseErrorKind::UnableToSendCommand => "unable_to_send_command",
        DatabaseErrorKind::ClosedConnection => "closed_connection",
        _ => "database",
    }
}

/// Takes what is written until the binds begin, or there is enough.
struct UpToBinds(String);

impl Write for UpToBinds {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        // From where the mark may have begun in an earlier piece.
        let from = self.0.len().saturating_sub(BINDS.len());
        self.0.push_str(piece);
        let mut windows = self.0.as_bytes()[from..].windows(BINDS.len());
        if let Some(at) = windows.position(|window| window == BINDS.as_bytes()) {
            self.0.truncate(from + at);
            return Err(fmt::Error);
        }
        if self.0.len() > MOST_READ { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_where_its_values_begin() {
        let written = |pieces: &[&str]| {
            let mut text = UpToBinds(String::new());
            for piece in pieces {
                if text.write_str(piece).is_err() {
                    break;
                }
            }
            text.0
        };
        assert_eq!(written(&["SELECT 1", " -- binds: ", "[\"hunter2\"]"]), "SELECT 1");
        assert_eq!(written(&["SELECT 1 -- bi", "nds: [hunter2]"]), "SELECT 1");
        assert_eq!(written(&["SELECT 'é' -- binds: [\n'hunter2']"]), "SELECT 'é'");
        assert_eq!(written(&["SELECT ", "1"]), "SELECT 1");
        let long = "x".repeat(MOST_READ + 1);
        assert_eq!(written(&[&long, "more"]).len(), MOST_READ + 1);
    }
}
