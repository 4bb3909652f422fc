//! Futures being timed: they carry their start, not a thread, so they may be polled anywhere.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::query::{Query, QueryCall, failure_type};

pin_project! {
    /// A future being timed; from [`Query::timed`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Timed<F> {
        // Before the call, so that what its own destructor does is in the time taken.
        #[pin]
        future: F,
        call: QueryCall,
    }
}

impl<F: Future> Timed<F> {
    pub(super) fn new(query: Query, future: F) -> Self {
        Self { future, call: query.call() }
    }

    /// Polls, and ends the call with what `failed` makes of the output.
    fn poll_with<S: AsRef<str>>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        failed: impl FnOnce(&F::Output) -> Option<S>,
    ) -> Poll<F::Output> {
        let this = self.project();
        let entered = this.call.enter();
        let polled = this.future.poll(cx);
        drop(entered);
        let output = ready!(polled);
        this.call.finish(failed(&output).as_ref().map(AsRef::as_ref));
        Poll::Ready(output)
    }
}

impl<F: Future> Future for Timed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_with(cx, |_| None::<&str>)
    }
}

impl<F> fmt::Debug for Timed<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed").finish_non_exhaustive()
    }
}

pin_project! {
    /// A fallible future being timed; from [`Query::try_timed`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct TryTimed<F> {
        #[pin]
        timed: Timed<F>,
    }
}

impl<F: Future> TryTimed<F> {
    pub(super) fn new(query: Query, future: F) -> Self {
        Self { timed: Timed::new(query, future) }
    }
}

impl<T, E, F: Future<Output = Result<T, E>>> Future for TryTimed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().timed.poll_with(cx, failure_type)
    }
}

pin_project! {
    /// A fallible future being timed, whose errors are classified; from
    /// [`ClassifiedQuery::try_timed`](super::ClassifiedQuery::try_timed).
    #[must_use = "futures do nothing unless polled"]
    pub struct ClassifiedTimed<F, C> {
        #[pin]
        timed: Timed<F>,
        classify: C,
    }
}

impl<F: Future, C> ClassifiedTimed<F, C> {
    pub(super) fn new(query: Query, future: F, classify: C) -> Self {
        Self { timed: Timed::new(query, future), classify }
    }
}

impl<T, E, S: AsRef<str>, F, C> Future for ClassifiedTimed<F, C>
where
    F: Future<Output = Result<T, E>>,
    C: Fn(&E) -> Option<S>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let classify = &*this.classify;
        this.timed.poll_with(cx, |output| output.as_ref().err().and_then(classify))
    }
}

impl<F, C> fmt::Debug for ClassifiedTimed<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassifiedTimed").finish_non_exhaustive()
    }
}
