//! Streams of rows: one that is measured, and one made by a future that owns what it reads from.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use pin_project_lite::pin_project;
use sqlx_core::{Either, error::Error};

use super::failure::code;
use crate::{
    front::KnownQuery,
    instrument::QueryCall,
    sync::{Arc, Mutex},
};

pin_project! {
    /// Rows of one query: ended by its last, by an error, or by being dropped.
    pub(super) struct Rows<S> {
        #[pin]
        stream: S,
        call: QueryCall,
        known: KnownQuery,
        rows: u64,
    }
}

impl<S> Rows<S> {
    pub(super) fn of(stream: S, known: KnownQuery) -> Self {
        Self { stream, call: known.query().call(), known, rows: 0 }
    }
}

impl<S, R, O> Stream for Rows<S>
where
    S: Stream<Item = Result<Either<R, O>, Error>>,
{
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let item = ready!(this.call.during(|| this.stream.poll_next(cx)));
        match &item {
            Some(Ok(Either::Left(_))) => {}
            Some(Ok(Either::Right(_))) => *this.rows += 1,
            Some(Err(error)) => this.call.fail(&code(error)),
            None => {
                this.call.stop();
                this.known.returned(*this.rows);
            }
        }
        Poll::Ready(item)
    }
}

/// A query that gives at most one row, from the first poll of this on.
pub(super) async fn one<R>(
    row: impl Future<Output = Result<Option<R>, Error>>,
    known: &KnownQuery,
) -> Result<Option<R>, Error> {
    // Dropped where it is polled if that panics, or if it is given up.
    let call = known.query().start();
    let row = row.await;
    match &row {
        Ok(row) => {
            call.stop();
            known.returned(u64::from(row.is_some()));
        }
        Err(error) => call.fail(&code(error)),
    }
    row
}

/// Where a future puts what its [`Generated`] stream gives next.
pub(super) struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Slot<T> {
    /// Gives one, and goes on once it was taken.
    pub(super) async fn give(&self, item: T) {
        *self.0.lock() = Some(item);
        let mut given = false;
        poll_fn(
            |_| if std::mem::replace(&mut given, true) { Poll::Ready(()) } else { Poll::Pending },
        )
        .await;
    }
}

pin_project! {
    /// The items a future gives, then its error if it has one.
    pub(super) struct Generated<F, T> {
        #[pin]
        future: F,
        slot: Arc<Mutex<Option<T>>>,
        ended: bool,
    }
}

/// A stream of what `make`'s future gives.
pub(super) fn generate<T, F>(make: impl FnOnce(Slot<T>) -> F) -> Generated<F, T>
where
    F: Future<Output = Result<(), Error>>,
{
    let slot = Arc::new(Mutex::new(None));
    Generated { future: make(Slot(slot.clone())), slot, ended: false }
}

impl<F, T> Stream for Generated<F, T>
where
    F: Future<Output = Result<(), Error>>,
{
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        match this.future.poll(cx) {
            Poll::Ready(end) => {
                *this.ended = true;
                Poll::Ready(end.err().map(Err))
            }
            Poll::Pending => match this.slot.lock().take() {
                Some(item) => Poll::Ready(Some(Ok(item))),
                None => Poll::Pending,
            },
        }
    }
}

/// The next item.
pub(super) async fn next<S: Stream>(mut stream: Pin<&mut S>) -> Option<S::Item> {
    poll_fn(|cx| stream.as_mut().poll_next(cx)).await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[test]
    fn a_generated_stream_gives_all_then_the_error_then_nothing() {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut stream = pin!(generate(|out: Slot<u8>| async move {
            out.give(1).await;
            out.give(2).await;
            Err(Error::PoolClosed)
        }));
        let mut poll = || stream.as_mut().poll_next(&mut cx);
        assert!(matches!(poll(), Poll::Ready(Some(Ok(1)))));
        assert!(matches!(poll(), Poll::Ready(Some(Ok(2)))));
        assert!(matches!(poll(), Poll::Ready(Some(Err(Error::PoolClosed)))));
        assert!(matches!(poll(), Poll::Ready(None)));
        assert!(matches!(poll(), Poll::Ready(None)));
    }
}
