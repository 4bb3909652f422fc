//! A client for `opentelemetry-otlp` that needs no runtime.
#![allow(clippy::unwrap_used)]

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError};

/// Blocks; good enough for an exporter with a thread of its own.
#[derive(Debug)]
pub struct Blocking;

type Answer = Result<http::Response<Bytes>, HttpError>;

impl HttpClient for Blocking {
    fn send_bytes<'life, 'future>(
        &'life self,
        request: http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let agent = ureq::Agent::config_builder()
                .proxy(None)
                .http_status_as_error(false)
                .build()
                .new_agent();
            let mut post = agent.post(head.uri.to_string());
            for (name, value) in &head.headers {
                post = post.header(name, value);
            }
            let mut answer = post.send(&body[..])?;
            let read = answer.body_mut().read_to_vec()?;
            Ok(http::Response::builder().status(answer.status().as_u16()).body(read.into())?)
        })
    }
}
