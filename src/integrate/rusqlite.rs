//! rusqlite: every statement of a connection, by SQLite's own profiling hook.
//!
//! | metric | attributes |
//! |---|---|
//! | `db.client.operation.duration` (histogram, s) | `db.system.name` = `sqlite`, `db.query.summary`; `db.query.text` if asked for |
//!
//! **What it sees.** Every statement that ran to its end or was reset, those of other code on the
//! same connection too: how long SQLite took from its first step to its last.
//!
//! **What it does not.** Whether a statement failed: SQLite tells its hook of no error, so a
//! statement that fails while it runs is counted as any other, and one that cannot be prepared is
//! not seen at all. Where failures matter, [`Query::try_time`](crate::Query::try_time) at the call
//! sees them; do not use both for one statement. Rows and calls in flight are not counted.
//!
//! A connection has one trace hook: this one replaces another, and is replaced by one.

use ::rusqlite::{
    Connection, Result,
    trace::{TraceEvent, TraceEventCodes},
};

use crate::front::Queries;

/// Measures every statement of this connection from now on.
///
/// ```
/// use highwater::{Highwater, integrate};
/// use rusqlite::Connection;
///
/// let hw = Highwater::builder("doc").start()?;
/// let queries = hw.queries().system("sqlite").build();      // one for all connections
/// let mut connection = Connection::open_in_memory()?;
/// integrate::rusqlite::measure(&mut connection, &queries)?; // the one line
/// connection.execute_batch("CREATE TABLE orders (id INTEGER)")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`rusqlite::Connection::trace_v2`].
pub fn measure(connection: &mut Connection, queries: &Queries) -> Result<()> {
    let queries = queries.clone();
    let hook = move |event: TraceEvent<'_>| {
        if let TraceEvent::Profile(statement, took) = event {
            queries.of(&statement.sql()).record(took);
        }
    };
    let codes = TraceEventCodes::SQLITE_TRACE_PROFILE;
    connection.trace_v2(codes, Some(hook))
}
