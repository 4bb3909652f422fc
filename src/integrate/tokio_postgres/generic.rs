//! What clients and transactions have in common: the driver's methods, measured.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    time::Instant,
};

use ::tokio_postgres::{
    Client, Error, Row, RowStream, SimpleQueryMessage,
    types::{BorrowToSql, ToSql, Type},
};

use super::{
    failure::{code, error_type},
    rows::Rows,
    statement::{Statement, Text},
};
use crate::front::{KnownQuery, Queries};

type Params<'a> = [&'a (dyn ToSql + Sync)];
type TypedParams<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// What can be asked of a measured [`Client`](super::Client) or [`Transaction`](super::Transaction),
/// as the driver's methods of the same names. Code over both takes `&impl GenericClient`.
///
/// # Errors
/// Each method's are those of the driver's.
pub trait GenericClient: Sync {
    /// The driver's own: what is done with it is not measured.
    fn client(&self) -> &Client;

    /// By what texts are known here.
    fn queries(&self) -> &Queries;

    /// All rows.
    fn query<T: ?Sized + Text>(
        &self,
        statement: &T,
        params: &Params<'_>,
    ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send {
        let known = statement.known(self.queries());
        measured(known, self.client().query(statement.raw(), params), |rows| Some(rows.len()))
    }

    /// The one row there is.
    fn query_one<T: ?Sized + Text>(
        &self,
        statement: &T,
        params: &Params<'_>,
    ) -> impl Future<Output = Result<Row, Error>> + Send {
        let known = statement.known(self.queries());
        measured(known, self.client().query_one(statement.raw(), params), |_| Some(1))
    }

    /// The one row, or none.
    fn query_opt<T: ?Sized + Text>(
        &self,
        statement: &T,
        params: &Params<'_>,
    ) -> impl Future<Output = Result<Option<Row>, Error>> + Send {
        let known = statement.known(self.queries());
        let query = self.client().query_opt(statement.raw(), params);
        measured(known, query, |row| Some(usize::from(row.is_some())))
    }

    /// Rows as they come. The query lasts until the last was taken.
    fn query_raw<T, P, I>(
        &self,
        statement: &T,
        params: I,
    ) -> impl Future<Output = Result<Rows, Error>> + Send
    where
        T: ?Sized + Text,
        P: BorrowToSql + Send,
        I: IntoIterator<Item = P> + Send,
        I::IntoIter: ExactSizeIterator + Send,
    {
        let known = statement.known(self.queries());
        streamed(known, self.client().query_raw(statement.raw(), params))
    }

    /// All rows, without preparing.
    fn query_typed(
        &self,
        statement: &str,
        params: &TypedParams<'_>,
    ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send {
        let known = self.queries().find(statement);
        measured(known, self.client().query_typed(statement, params), |rows| Some(rows.len()))
    }

    /// How many rows it changed.
    fn execute<T: ?Sized + Text>(
        &self,
        statement: &T,
        params: &Params<'_>,
    ) -> impl Future<Output = Result<u64, Error>> + Send {
        let known = statement.known(self.queries());
        measured(known, self.client().execute(statement.raw(), params), |_| None)
    }

    /// The same with any parameters.
    fn execute_raw<T, P, I>(
        &self,
        statement: &T,
        params: I,
    ) -> impl Future<Output = Result<u64, Error>> + Send
    where
        T: ?Sized + Text,
        P: BorrowToSql + Send,
        I: IntoIterator<Item = P> + Send,
        I::IntoIter: ExactSizeIterator + Send,
    {
        let known = statement.known(self.queries());
        measured(known, self.client().execute_raw(statement.raw(), params), |_| None)
    }

    /// How many rows it changed, without preparing.
    fn execute_typed(
        &self,
        statement: &str,
        params: &TypedParams<'_>,
    ) -> impl Future<Output = Result<u64, Error>> + Send {
        let known = self.queries().find(statement);
        measured(known, self.client().execute_typed(statement, params), |_| None)
    }

    /// A statement to be asked often. Counted only if it fails, as a failure of what it was to be.
    fn prepare(&self, sql: &str) -> impl Future<Output = Result<Statement, Error>> + Send {
        self.prepare_typed(sql, &[])
    }

    /// The same with the parameters' types.
    fn prepare_typed(
        &self,
        sql: &str,
        types: &[Type],
    ) -> impl Future<Output = Result<Statement, Error>> + Send {
        async move {
            let begun = Instant::now();
            let known = self.queries().find(sql);
            match self.client().prepare_typed(sql, types).await {
                Ok(raw) => Ok(Statement::of(raw, known)),
                Err(error) => {
                    known.query().record_failure(begun.elapsed(), &code(&error));
                    Err(error)
                }
            }
        }
    }

    /// A statement that was prepared elsewhere, with its text: deadpool-postgres' `prepare_cached`.
    fn named(&self, statement: ::tokio_postgres::Statement, sql: &str) -> Statement {
        Statement::of(statement, self.queries().find(sql))
    }

    /// Statements without parameters, and what they answer. All of them are one call, named after all.
    fn simple_query(
        &self,
        sql: &str,
    ) -> impl Future<Output = Result<Vec<SimpleQueryMessage>, Error>> + Send {
        let known = self.queries().find(sql);
        measured(known, self.client().simple_query(sql), |messages| {
            let is_row =
                |message: &&SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
            Some(messages.iter().filter(is_row).count())
        })
    }

    /// Statements without parameters. All of them are one call, named after all.
    fn batch_execute(&self, sql: &str) -> impl Future<Output = Result<(), Error>> + Send {
        measured(self.queries().find(sql), self.client().batch_execute(sql), |()| None)
    }
}

/// Times a query and counts its rows, where it gives some.
async fn measured<T>(
    known: KnownQuery,
    query: impl Future<Output = Result<T, Error>> + Send,
    rows: impl FnOnce(&T) -> Option<usize> + Send,
) -> Result<T, Error> {
    let result = known.query().classify(error_type).try_timed(query).await;
    if let Some(rows) = result.as_ref().ok().and_then(rows) {
        known.returned(rows as u64);
    }
    result
}

/// Begins a query whose rows are yet to come.
async fn streamed(
    known: KnownQuery,
    query: impl Future<Output = Result<RowStream, Error>> + Send,
) -> Result<Rows, Error> {
    let mut call = known.query().call();
    let mut query = pin!(query);
    match poll_fn(|cx| call.during(|| query.as_mut().poll(cx))).await {
        Ok(stream) => Ok(Rows::of(stream, call, known)),
        Err(error) => {
            call.fail(&code(&error));
            Err(error)
        }
    }
}
