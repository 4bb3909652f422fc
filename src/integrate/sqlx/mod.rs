//! sqlx: a pool that measures every query and every connection, in the pool's own place.
//!
//! [`Pool`] is an [`Executor`](sqlx_core::executor::Executor) as `&sqlx::Pool` is, and gives connections and transactions that are
//! too: `query.fetch_all(&pool)`, `.execute(&mut *transaction)` stay as they are written; only the
//! types in signatures change (`PgPool` becomes `Pool<Postgres>`). sqlx's own macros work with it,
//! and its feature `macros`, which is on by default, must be on.
//!
//! | metric | attributes |
//! |---|---|
//! | `db.client.operation.duration` (histogram, s) | `db.system.name`, `db.query.summary`, `error.type`; `db.query.text` if asked for |
//! | `db.client.response.returned_rows` (histogram, `{row}`) | `db.system.name`, `db.query.summary` |
//! | `highwater.query.in_flight` (up-down counter, `{call}`) | `db.system.name`, `db.query.summary`, `db.client.connection.pool.name` |
//! | `db.client.connection.*`, `highwater.pool.*` but `create_time` | those of a [`pool`] |
//!
//! **What it sees.** Everything that goes through this pool, its connections and its transactions:
//! latency from the first poll to the last row taken (waiting for a connection is not in it, that
//! is `db.client.connection.wait_time`), rows, failures by SQLSTATE (`23505`) or kind (`io`), calls
//! that were dropped before their end (`cancelled`), time-outs of the pool. `BEGIN`, `COMMIT` and
//! `ROLLBACK` are queries of those names; a transaction that is dropped rolls back inside sqlx, and
//! that is not seen.
//!
//! **What it does not.** Queries on the plain `sqlx::Pool` or on a connection taken out with
//! [`Connection::raw`]; statements sqlx makes by itself (its test of an idle connection, the
//! look-up of a type); how long opening a connection took, for which sqlx has no hook. sqlx's own
//! `tracing` events would show the former two, but neither errors nor time-outs, and only at their
//! log level: they are not used, so that nothing is counted twice.

mod connection;
mod executor;
mod failure;
mod stream;

pub use connection::{Acquired, Connection, Transaction};

use std::fmt;

use sqlx_core::{database::Database, error::Error, pool::PoolConnection};

use self::failure::{error_type, refusal};
use super::pool::{self, State};
use crate::{
    front::{Queries, QueriesBuilder},
    handle::Highwater,
    instrument::Query,
    sync::Arc,
};

/// A measured pool; see the [module](self). Clone it, share it, as sqlx's own.
///
/// ```
/// use highwater::{Highwater, integrate};
///
/// # mod sqlx {
/// #     pub(crate) use sqlx_core::{arguments::IntoArguments, database::Database, error::Error, executor::Executor, pool::Pool, query::query};
/// # }
/// # async fn serve<DB>(hw: &Highwater, pool: sqlx::Pool<DB>) -> Result<(), sqlx::Error>
/// # where
/// #     DB: sqlx::Database,
/// #     for<'c> &'c mut DB::Connection: sqlx::Executor<'c, Database = DB>,
/// #     DB::Arguments: sqlx::IntoArguments<DB>,
/// # {
/// let pool = integrate::sqlx::Pool::new(&hw, "main", pool);           // the one line
///
/// let rows = sqlx::query("SELECT id FROM orders").fetch_all(&pool).await?;  // `SELECT orders`
/// let mut transaction = pool.begin().await?;
/// sqlx::query("DELETE FROM jobs").execute(&mut *transaction).await?;
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
pub struct Pool<DB: Database>(Arc<Core<DB>>);

struct Core<DB: Database> {
    raw: sqlx_core::pool::Pool<DB>,
    meter: pool::Pool,
    queries: Queries,
    begin: Query,
    commit: Query,
    rollback: Query,
}

impl<DB: Database> Pool<DB> {
    /// Measures `pool` under a name that is unique in the service. Its values become absent when
    /// it is closed, or this handle's last clone is gone.
    pub fn new(hw: &Highwater, name: &str, pool: sqlx_core::pool::Pool<DB>) -> Self {
        Self::with_queries(hw, name, pool, hw.queries())
    }

    /// The same with a say in how queries are called: names for certain texts, labels, whether the
    /// text is told. The database's name is set in any case.
    ///
    /// ```
    /// # fn of<DB: sqlx_core::database::Database>(hw: &highwater::Highwater, pool: sqlx_core::pool::Pool<DB>) {
    /// let queries = hw.queries()
    ///     .named("SELECT id FROM orders WHERE customer = $1", "orders_by_customer")
    ///     .with_text();
    /// let pool = highwater::integrate::sqlx::Pool::with_queries(hw, "main", pool, queries);
    /// # }
    /// ```
    pub fn with_queries(
        hw: &Highwater,
        name: &str,
        pool: sqlx_core::pool::Pool<DB>,
        queries: QueriesBuilder,
    ) -> Self {
        let queries = queries.system(system::<DB>()).pool(name).build();
        let core = Arc::new_cyclic(|core: &std::sync::Weak<Core<DB>>| {
            let seen = core.clone();
            let meter = pool::Pool::new(hw, name, move || {
                let core = seen.upgrade()?;
                state(&core.raw)
            });
            Core {
                raw: pool,
                meter,
                begin: queries.called("BEGIN"),
                commit: queries.called("COMMIT"),
                rollback: queries.called("ROLLBACK"),
                queries,
            }
        });
        Self(core)
    }

    /// The pool as sqlx has it, for what is not a query: `close`, `options`. Queries on it are not
    /// measured.
    pub fn raw(&self) -> &sqlx_core::pool::Pool<DB> {
        &self.0.raw
    }

    /// A connection, measured like the pool.
    ///
    /// # Errors
    /// Those of [`sqlx_core::pool::Pool::acquire`].
    pub async fn acquire(&self) -> Result<Acquired<DB>, Error> {
        let raw = self.take().await?;
        Ok(Acquired::of(self.clone(), raw))
    }

    /// A transaction, measured like the pool.
    ///
    /// # Errors
    /// Those of [`sqlx_core::pool::Pool::begin`].
    pub async fn begin(&self) -> Result<Transaction<DB>, Error> {
        let raw = self.take().await?;
        let used = self.0.meter.used();
        let begin = sqlx_core::transaction::Transaction::begin(raw, None);
        let raw = self.0.begin.classify(error_type).try_timed(begin).await?;
        Ok(Transaction::of(self.clone(), raw, used))
    }

    fn take(&self) -> impl Future<Output = Result<PoolConnection<DB>, Error>> {
        self.0.meter.acquire(self.0.raw.acquire(), refusal)
    }
}

/// What the tick asks, without a lock. `min_connections` is of all, not of the idle ones.
fn state<DB: Database>(pool: &sqlx_core::pool::Pool<DB>) -> Option<State> {
    if pool.is_closed() {
        return None;
    }
    let (idle, options) = (pool.num_idle() as u64, pool.options());
    let used = u64::from(pool.size()).saturating_sub(idle);
    let state = State::new(used, idle, u64::from(options.get_max_connections()));
    Some(state.acquire_timeout(options.get_acquire_timeout()))
}

fn system<DB: Database>() -> &'static str {
    match DB::NAME {
        "PostgreSQL" => "postgresql",
        "MySQL" => "mysql",
        "SQLite" => "sqlite",
        _ => "other_sql",
    }
}

impl<DB: Database> Clone for Pool<DB> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<DB: Database> fmt::Debug for Pool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.0.raw).finish()
    }
}
