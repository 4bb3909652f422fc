//! Rows as they come.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::tokio_postgres::{Error, Row, RowStream};
use futures_core::Stream;
use pin_project_lite::pin_project;

use super::failure::code;
use crate::{front::KnownQuery, instrument::QueryCall};

pin_project! {
    /// A stream of rows that is measured: the query ends with its last, with an error, or by being
    /// dropped before (`cancelled`).
    pub struct Rows {
        #[pin]
        stream: RowStream,
        call: QueryCall,
        known: KnownQuery,
        rows: u64,
    }
}

impl Rows {
    pub(super) fn of(stream: RowStream, call: QueryCall, known: KnownQuery) -> Self {
        Self { stream, call, known, rows: 0 }
    }

    /// As [`RowStream::rows_affected`].
    pub fn rows_affected(&self) -> Option<u64> {
        self.stream.rows_affected()
    }
}

impl Stream for Rows {
    type Item = Result<Row, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let item = ready!(this.call.during(|| this.stream.poll_next(cx)));
        match &item {
            Some(Ok(_)) => *this.rows += 1,
            Some(Err(error)) => this.call.fail(&code(error)),
            None => {
                this.call.stop();
                this.known.returned(*this.rows);
            }
        }
        Poll::Ready(item)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("rows", &self.rows).finish_non_exhaustive()
    }
}
