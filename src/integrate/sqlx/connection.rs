//! Connections in callers' hands.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use sqlx_core::{database::Database, error::Error, pool::PoolConnection};

use super::{super::pool::Used, Pool, error_type};

/// A connection whose queries are measured: `&mut Connection` is an
/// [`Executor`](sqlx_core::executor::Executor). What [`Acquired`] and [`Transaction`] dereference to.
pub struct Connection<DB: Database> {
    raw: Raw<DB>,
    pub(super) pool: Pool<DB>,
    _used: Used,
}

enum Raw<DB: Database> {
    Pooled(PoolConnection<DB>),
    Transaction(sqlx_core::transaction::Transaction<'static, DB>),
}

impl<DB: Database> Connection<DB> {
    /// The driver's own connection: what is done with it is not measured.
    pub fn raw(&mut self) -> &mut DB::Connection {
        match &mut self.raw {
            Raw::Pooled(connection) => connection,
            Raw::Transaction(transaction) => transaction,
        }
    }
}

/// A measured connection; from [`Pool::acquire`]. Goes back to the pool when it is dropped.
pub struct Acquired<DB: Database>(Connection<DB>);

impl<DB: Database> Acquired<DB> {
    pub(super) fn of(pool: Pool<DB>, raw: PoolConnection<DB>) -> Self {
        let used = pool.0.meter.used();
        Self(Connection { raw: Raw::Pooled(raw), pool, _used: used })
    }
}

/// A measured transaction; from [`Pool::begin`]. Rolls back when it is dropped.
pub struct Transaction<DB: Database>(Connection<DB>);

impl<DB: Database> Transaction<DB> {
    pub(super) fn of(
        pool: Pool<DB>,
        raw: sqlx_core::transaction::Transaction<'static, DB>,
        used: Used,
    ) -> Self {
        Self(Connection { raw: Raw::Transaction(raw), pool, _used: used })
    }

    /// Commits.
    ///
    /// # Errors
    /// Those of [`sqlx_core::transaction::Transaction::commit`].
    pub async fn commit(self) -> Result<(), Error> {
        let Connection { raw, pool, _used } = self.0;
        let Raw::Transaction(raw) = raw else { return Ok(()) };
        pool.0.commit.classify(error_type).try_timed(raw.commit()).await
    }

    /// Rolls back.
    ///
    /// # Errors
    /// Those of [`sqlx_core::transaction::Transaction::rollback`].
    pub async fn rollback(self) -> Result<(), Error> {
        let Connection { raw, pool, _used } = self.0;
        let Raw::Transaction(raw) = raw else { return Ok(()) };
        pool.0.rollback.classify(error_type).try_timed(raw.rollback()).await
    }
}

impl<DB: Database> Deref for Acquired<DB> {
    type Target = Connection<DB>;

    fn deref(&self) -> &Connection<DB> {
        &self.0
    }
}

impl<DB: Database> DerefMut for Acquired<DB> {
    fn deref_mut(&mut self) -> &mut Connection<DB> {
        &mut self.0
    }
}

impl<DB: Database> Deref for Transaction<DB> {
    type Target = Connection<DB>;

    fn deref(&self) -> &Connection<DB> {
        &self.0
    }
}

impl<DB: Database> DerefMut for Transaction<DB> {
    fn deref_mut(&mut self) -> &mut Connection<DB> {
        &mut self.0
    }
}

macro_rules! debug {
    ($($of:ident)*) => {$(
        impl<DB: Database> fmt::Debug for $of<DB> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($of)).finish_non_exhaustive()
            }
        }
    )*};
}

debug!(Connection Acquired Transaction);
