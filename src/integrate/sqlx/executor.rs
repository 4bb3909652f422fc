//! The pool and its connections in sqlx's place.

use std::pin::pin;

use futures_core::{future::BoxFuture, stream::BoxStream};
use sqlx_core::{
    Either,
    database::Database,
    describe::Describe,
    error::{BoxDynError, Error},
    executor::{Execute, Executor},
    sql_str::SqlStr,
};

use super::{
    Connection, Pool,
    stream::{Rows, generate, next, one},
};
use crate::front::KnownQuery;

/// A query that has been looked at: the trait gives its text only for itself.
struct Looked<DB: Database> {
    sql: SqlStr,
    statement: Option<DB::Statement>,
    arguments: Option<Result<DB::Arguments, BoxDynError>>,
    persistent: bool,
}

impl<DB: Database> Looked<DB> {
    fn at<'q>(mut query: impl Execute<'q, DB>) -> Self {
        Self {
            statement: query.statement().cloned(),
            arguments: query.take_arguments().transpose(),
            persistent: query.persistent(),
            sql: query.sql(),
        }
    }
}

impl<DB: Database> Execute<'_, DB> for Looked<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        self.statement.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        self.arguments.take().transpose()
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}

impl<DB: Database> Pool<DB> {
    fn look<'q>(&self, query: impl Execute<'q, DB>) -> (Looked<DB>, KnownQuery) {
        let query = Looked::at(query);
        let known = self.0.queries.find(query.sql.as_str());
        (query, known)
    }
}

type Step<DB> = Either<<DB as Database>::QueryResult, <DB as Database>::Row>;

impl<'p, DB: Database> Executor<'p> for &'_ Pool<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step<DB>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let (query, known) = self.look(query);
        let pool = self.clone();
        Box::pin(generate(move |out| async move {
            let mut connection = pool.take().await?;
            let _using = pool.0.meter.using();
            let mut rows = pin!(Rows::of(connection.fetch_many(query), known));
            while let Some(step) = next(rows.as_mut()).await {
                out.give(step?).await;
            }
            Ok(())
        }))
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<DB::Row>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let (query, known) = self.look(query);
        let pool = self.clone();
        // Made where it is to lie: it is kilobytes, mostly of what opening a connection would take,
        // and `Box::pin` makes it on the stack and copies all of it.
        let fetching = Box::write(Box::new_uninit(), async move {
            let mut connection = pool.take().await?;
            let _using = pool.0.meter.using();
            one(connection.fetch_optional(query), &known).await
        });
        Box::into_pin(fetching)
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<DB::Statement, Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move {
            let mut connection = pool.take().await?;
            let _using = pool.0.meter.using();
            connection.prepare_with(sql, parameters).await
        })
    }

    #[doc(hidden)]
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<DB>, Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.take().await?.describe(sql).await })
    }
}

impl<'c, DB: Database> Executor<'c> for &'c mut Connection<DB>
where
    for<'x> &'x mut DB::Connection: Executor<'x, Database = DB>,
{
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step<DB>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let (query, known) = self.pool.look(query);
        Box::pin(Rows::of(self.raw().fetch_many(query), known))
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<DB::Row>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let (query, known) = self.pool.look(query);
        let row = self.raw().fetch_optional(query);
        Box::pin(async move { one(row, &known).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<DB::Statement, Error>>
    where
        'c: 'e,
    {
        self.raw().prepare_with(sql, parameters)
    }

    #[doc(hidden)]
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<DB>, Error>>
    where
        'c: 'e,
    {
        self.raw().describe(sql)
    }
}
