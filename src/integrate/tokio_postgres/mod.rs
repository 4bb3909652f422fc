//! tokio-postgres: clients and transactions that measure every query, with the driver's own methods.
//!
//! [`Client`] takes any client: one of your own, or what a pool gave (deadpool-postgres through
//! [`deadpool`](super::deadpool), bb8-postgres through [`bb8`](super::bb8)). The methods are those of
//! tokio-postgres, in the trait [`GenericClient`], which takes the place of the driver's.
//!
//! | metric | attributes |
//! |---|---|
//! | `db.client.operation.duration` (histogram, s) | `db.system.name`, `db.query.summary`, `error.type`; `db.query.text` if asked for |
//! | `db.client.response.returned_rows` (histogram, `{row}`) | `db.system.name`, `db.query.summary` |
//! | `highwater.query.in_flight` (up-down counter, `{call}`) | `db.system.name`, `db.query.summary` |
//!
//! **What it sees.** Everything asked through [`GenericClient`]: latency from the first poll to the last
//! row (a text that is not prepared is prepared first, and that is in it), rows, failures by SQLSTATE
//! (`23505`) or kind (`io`, `connection_closed`, `client`), calls that were dropped before their end
//! (`cancelled`; the server may go on with them). `query_one` that finds nothing is no failure.
//! Preparing is counted only if it fails, under the name of what was to be prepared. `BEGIN`, `COMMIT`,
//! `ROLLBACK`, `SAVEPOINT` and `RELEASE` are queries of those names; a transaction that is dropped
//! rolls back inside the driver, and that is not seen.
//!
//! **What it does not.** What is done with [`GenericClient::client`], `COPY` among it; what the driver
//! asks by itself to learn of types.
//!
//! A statement the driver prepared elsewhere (deadpool-postgres' `prepare_cached`) does not know its
//! text: [`GenericClient::named`] tells it.

mod failure;
mod generic;
mod lend;
mod rows;
mod statement;

pub use generic::GenericClient;
pub use lend::Lend;
pub use rows::Rows;
pub use statement::{Statement, Text};

use std::fmt;

use ::tokio_postgres::{
    Client as RawClient, Error, Transaction as RawTransaction, TransactionBuilder,
};

use self::failure::error_type;
use crate::front::Queries;

/// A measured client; see the [module](self). Queries are asked through [`GenericClient`].
///
/// ```
/// use highwater::integrate::tokio_postgres::{Client, GenericClient};
///
/// async fn orders(
///     client: tokio_postgres::Client,
///     queries: &highwater::Queries,
/// ) -> Result<i64, tokio_postgres::Error> {
///     let mut client = Client::new(client, queries);                  // the one line
///
///     client.execute("DELETE FROM jobs WHERE id = $1", &[&7]).await?; // `DELETE jobs`
///     let transaction = client.transaction().await?;
///     let row = transaction.query_one("SELECT count(*) FROM orders", &[]).await?;
///     transaction.commit().await?;
///     Ok(row.get(0))
/// }
/// let hw = highwater::Highwater::builder("doc").start()?;
/// let queries = hw.queries().system("postgresql").build();            // once
/// # let _asked_in_the_tests_of_integrations = (orders, &queries);
/// # Ok::<(), highwater::Error>(())
/// ```
pub struct Client<C = RawClient> {
    raw: C,
    queries: Queries,
}

impl<C: Lend> Client<C> {
    /// Measures what is asked of this client.
    pub fn new(client: C, queries: &Queries) -> Self {
        Self { raw: client, queries: queries.clone() }
    }

    /// The client as it was.
    pub fn into_raw(self) -> C {
        self.raw
    }

    /// A measured transaction.
    ///
    /// # Errors
    /// Those of [`tokio_postgres::Client::transaction`].
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        self.transaction_with(|builder| builder).await
    }

    /// The same with a say in its isolation and access:
    /// `client.transaction_with(|t| t.read_only(true))`.
    ///
    /// # Errors
    /// Those of [`tokio_postgres::TransactionBuilder::start`].
    pub async fn transaction_with(
        &mut self,
        configure: impl FnOnce(TransactionBuilder<'_>) -> TransactionBuilder<'_>,
    ) -> Result<Transaction<'_>, Error> {
        let Self { raw, queries } = self;
        let begin = queries.of("BEGIN").classify(error_type);
        let start = configure(raw.lend_mut().build_transaction()).start();
        let raw = begin.try_timed(start).await?;
        Ok(Transaction { raw, queries, nested: false })
    }
}

impl<C: Lend + Sync> GenericClient for Client<C> {
    fn client(&self) -> &RawClient {
        self.raw.lend()
    }

    fn queries(&self) -> &Queries {
        &self.queries
    }
}

/// A measured transaction; from [`Client::transaction`]. Rolls back when it is dropped.
pub struct Transaction<'a> {
    raw: RawTransaction<'a>,
    queries: &'a Queries,
    nested: bool,
}

impl<'a> Transaction<'a> {
    /// Commits; a nested one is released.
    ///
    /// # Errors
    /// Those of [`tokio_postgres::Transaction::commit`].
    pub async fn commit(self) -> Result<(), Error> {
        let timer = self.queries.of(if self.nested { "RELEASE x" } else { "COMMIT" });
        timer.classify(error_type).try_timed(self.raw.commit()).await
    }

    /// Rolls back; a nested one to where it began.
    ///
    /// # Errors
    /// Those of [`tokio_postgres::Transaction::rollback`].
    pub async fn rollback(self) -> Result<(), Error> {
        let timer = self.queries.of("ROLLBACK");
        timer.classify(error_type).try_timed(self.raw.rollback()).await
    }

    /// A transaction within this one: a savepoint.
    ///
    /// # Errors
    /// Those of [`tokio_postgres::Transaction::transaction`].
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        let timer = self.queries.of("SAVEPOINT x").classify(error_type);
        let raw = timer.try_timed(self.raw.transaction()).await?;
        Ok(Transaction { raw, queries: self.queries, nested: true })
    }

    /// The driver's own, for portals and copies: what is done with it is not measured.
    pub fn raw(&mut self) -> &mut RawTransaction<'a> {
        &mut self.raw
    }
}

impl GenericClient for Transaction<'_> {
    fn client(&self) -> &RawClient {
        self.raw.client()
    }

    fn queries(&self) -> &Queries {
        self.queries
    }
}

impl<C> fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("queries", &self.queries).finish_non_exhaustive()
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("nested", &self.nested).finish_non_exhaustive()
    }
}
