//! rusqlite: every statement of a connection, by SQLite's own tracing hook.
//!
//! | metric | attributes |
//! |---|---|
//! | `db.client.operation.duration` (histogram, s) | `db.system.name` = `sqlite`, `db.query.summary`; `db.query.text` if asked for |
//! | `highwater.query.in_flight` (up-down counter, `{call}`) | the same |
//!
//! **What it sees.** Every statement from its first step to its end or reset, those of other code on
//! the same connection too, by our clock: SQLite's own figure has whole milliseconds of the wall
//! clock, so what takes less is nothing to it and a clock that is set is hours. What a caller does
//! between two rows is in it. A trigger is part of the statement that set it off.
//!
//! **What it does not.** Whether a statement failed: SQLite tells its hook of no error, so a
//! statement that fails or is interrupted while it runs is counted as any other, and one that cannot
//! be prepared is not seen at all. Where failures matter,
//! [`Query::try_time`](crate::Query::try_time) at the call sees them; do not use both for one
//! statement. Rows are not counted.
//!
//! A connection has one trace hook: this one replaces another, and is replaced by one.

use ::rusqlite::{
    Connection, Result,
    trace::{StmtRef, TraceEvent, TraceEventCodes},
};

use crate::{front::Queries, instrument::QueryCall};

/// Statements of one connection that run at once; more are not timed.
const MOST_RUNNING: usize = 256;

/// Measures every statement of this connection from now on.
///
/// Costs a look at the statement's text and two readings of the clock for each statement.
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
    let mut running = Running { queries: queries.clone(), calls: Vec::new() };
    let hook = move |event: TraceEvent<'_>| match event {
        TraceEvent::Stmt(statement, _) => running.begin(&statement),
        TraceEvent::Profile(statement, _) => running.end(&statement),
        _ => {}
    };
    let codes = TraceEventCodes::SQLITE_TRACE_STMT | TraceEventCodes::SQLITE_TRACE_PROFILE;
    connection.trace_v2(codes, Some(hook))
}

/// The statements that have begun and not ended: they may run inside one another, and out of order.
struct Running {
    queries: Queries,
    calls: Vec<(usize, QueryCall)>,
}

impl Running {
    /// Triggers begin too, as the statement they belong to, and so does one that was prepared anew
    /// on its way because a table had changed: such a one is running already.
    fn begin(&mut self, statement: &StmtRef<'_>) {
        let sql = statement.sql();
        let id = identity(&sql);
        if self.calls.len() >= MOST_RUNNING || self.calls.iter().any(|(running, _)| *running == id)
        {
            return;
        }
        let mut call = self.queries.of(&sql).call();
        call.during(|| ());
        self.calls.push((id, call));
    }

    /// Most often it is the latest.
    fn end(&mut self, statement: &StmtRef<'_>) {
        let id = identity(&statement.sql());
        if let Some(at) = self.calls.iter().rposition(|(running, _)| *running == id) {
            self.calls.swap_remove(at).1.stop();
        }
    }
}

/// Which statement it is: where SQLite keeps its text, of which each has its own. (Texts that are
/// not UTF-8 are copied and so not found again; rusqlite prepares none.)
fn identity(sql: &str) -> usize {
    sql.as_ptr().addr()
}
