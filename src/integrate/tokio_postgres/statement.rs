//! What can be asked: a text, or a prepared statement that remembers its own.

use std::fmt;

use ::tokio_postgres::{Column, Statement as RawStatement, ToStatement, types::Type};

use crate::front::{KnownQuery, Queries};

mod sealed {
    pub trait Sealed {}
}

/// A query: its text, or a [`Statement`]. In the place of [`tokio_postgres::ToStatement`].
pub trait Text: sealed::Sealed + Send + Sync {
    #[doc(hidden)]
    type Raw: ?Sized + ToStatement + Sync;

    #[doc(hidden)]
    fn raw(&self) -> &Self::Raw;

    #[doc(hidden)]
    fn known(&self, queries: &Queries) -> KnownQuery;
}

impl sealed::Sealed for str {}

impl Text for str {
    type Raw = str;

    fn raw(&self) -> &str {
        self
    }

    fn known(&self, queries: &Queries) -> KnownQuery {
        queries.find(self)
    }
}

impl sealed::Sealed for String {}

impl Text for String {
    type Raw = str;

    fn raw(&self) -> &str {
        self
    }

    fn known(&self, queries: &Queries) -> KnownQuery {
        queries.find(self)
    }
}

/// A prepared statement that knows its name: the driver's own knows no text. From
/// [`GenericClient::prepare`](super::GenericClient::prepare).
#[derive(Clone)]
pub struct Statement {
    raw: RawStatement,
    known: KnownQuery,
}

impl Statement {
    pub(super) fn of(raw: RawStatement, known: KnownQuery) -> Self {
        Self { raw, known }
    }

    /// The types of its parameters.
    pub fn params(&self) -> &[Type] {
        self.raw.params()
    }

    /// Its columns.
    pub fn columns(&self) -> &[Column] {
        self.raw.columns()
    }
}

impl sealed::Sealed for Statement {}

impl Text for Statement {
    type Raw = RawStatement;

    fn raw(&self) -> &RawStatement {
        &self.raw
    }

    fn known(&self, _: &Queries) -> KnownQuery {
        self.known.clone()
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement").finish_non_exhaustive()
    }
}
