//! From the request to the head of its response.

use std::{
    any::type_name,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::{Measured, series::Exchange};

pin_project! {
    /// A response being made; from [`MeasuredService`](super::MeasuredService).
    #[must_use = "futures do nothing unless polled"]
    pub struct Responding<F> {
        #[pin]
        future: F,
        // `None` once there is a response, or an error.
        exchange: Option<Exchange>,
    }
}

impl<F> Responding<F> {
    pub(super) fn new(future: F, exchange: Exchange) -> Self {
        Self { future, exchange: Some(exchange) }
    }
}

impl<F, B, E> Future for Responding<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<Measured<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let watched = Unwinding(this.exchange);
        let output = ready!(this.future.poll(cx));
        Poll::Ready(match (output, watched.0.take()) {
            (Ok(response), exchange) => Ok(Measured::of(response, exchange)),
            (Err(error), exchange) => {
                if let Some(exchange) = exchange {
                    exchange.fail(type_name::<E>());
                }
                Err(error)
            }
        })
    }
}

/// Ends the exchange as a panic if the poll it is made for unwinds: who catches the panic may drop
/// the future later, when it looks like a cancellation.
struct Unwinding<'a>(&'a mut Option<Exchange>);

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(self.0.take());
        }
    }
}

impl<F> fmt::Debug for Responding<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responding").finish_non_exhaustive()
    }
}
