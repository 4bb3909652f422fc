//! From the head of the response to the last byte of its body.

use std::{
    any::type_name,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::{HeaderMap, Response, StatusCode, header::CONTENT_LENGTH};
use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{grpc, series::Exchange};

pin_project! {
    /// A response's body that is measured as it is handed over; the request ends with it.
    pub struct Measured<B> {
        #[pin]
        body: B,
        sending: Option<Sending>,
    }
}

struct Sending {
    exchange: Exchange,
    sent: u64,
    /// After so many bytes nobody asks for more.
    expected: Option<u64>,
    /// gRPC says in its last headers how a call ended.
    grpc: bool,
    failed: Option<&'static str>,
    /// Its trailers were handed over.
    ended: bool,
}

impl Sending {
    fn complete(self) {
        self.exchange.complete(self.sent, self.failed);
    }
}

impl<B: Body> Measured<B> {
    pub(super) fn of(response: Response<B>, exchange: Option<Exchange>) -> Response<Self> {
        let (head, body) = response.into_parts();
        let sending = exchange.and_then(|mut exchange| {
            exchange.status(head.status);
            let grpc = grpc::is_it(&head.headers);
            // Its end comes after its last byte.
            let expected = if grpc {
                None
            } else {
                body.size_hint().exact().or_else(|| content_length(&head.headers))
            };
            // A call that fails at once has nothing but a head.
            let failed = if grpc { grpc::failure(&head.headers) } else { None };
            // What will not be asked for has been handed over.
            let nothing = exchange.is_head()
                || has_no_body(head.status)
                || body.is_end_stream()
                || expected == Some(0);
            if nothing {
                exchange.complete(0, failed);
                return None;
            }
            Some(Sending { exchange, sent: 0, expected, grpc, failed, ended: false })
        });
        Response::from_parts(head, Self { body, sending })
    }
}

/// Its body is there for the length of it, and never sent; as it is with every `HEAD`.
fn has_no_body(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// What a body's length is said to be.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

impl<B: Body> Body for Measured<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        match &frame {
            None => {
                if let Some(sending) = this.sending.take() {
                    sending.complete();
                }
            }
            Some(Err(_)) => {
                if let Some(sending) = this.sending.take() {
                    sending.exchange.fail(type_name::<B::Error>());
                }
            }
            Some(Ok(frame)) => {
                if let Some(sending) = this.sending {
                    sending.sent += frame.data_ref().map_or(0, |data| data.remaining() as u64);
                    if let Some(trailers) = frame.trailers_ref() {
                        // Nothing comes after them, and a server need not ask whether it does.
                        sending.ended = true;
                        if sending.grpc {
                            sending.failed = grpc::failure(trailers);
                        }
                    }
                }
            }
        }
        let is_last = this.sending.as_ref().is_some_and(|sending| {
            sending.ended
                || this.body.is_end_stream()
                || sending.expected.is_some_and(|all| sending.sent >= all)
        });
        if is_last && let Some(sending) = this.sending.take() {
            sending.complete();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for Measured<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measured").finish_non_exhaustive()
    }
}
