//! Reading the receiver's mind: what an answer means for the request.
//!
//! Whatever a stranger sends, there is a verdict; its words are made fit for a log.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
};
use prost::Message;

#[cfg(feature = "grpc")]
use crate::transport::grpc;
use crate::transport::{Lane, http::Answer};

pub(super) const CONTENT_TYPE: &str = "application/x-protobuf";
/// As much of a receiver's words as is repeated.
const WORDS: usize = 300;

/// What an attempt came to.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Accepted {
        rejected: u64,
        words: Option<String>,
        unclear: bool,
    },
    /// `throttled`: for being too much.
    Later {
        asked: Option<Duration>,
        throttled: bool,
        words: String,
    },
    Refused {
        words: String,
    },
}

/// [The specification's](https://opentelemetry.io/docs/specs/otlp/#otlphttp-response) reading of an
/// answer: 429, 502, 503, 504 are tried again, all other failures never.
pub(super) fn of_http(lane: Lane, answer: &Answer) -> Verdict {
    match answer.status {
        200..=299 => accepted(lane, answer),
        429 | 502 | 503 | 504 => Verdict::Later {
            asked: answer.retry_after,
            throttled: answer.status == 429,
            words: failure_words(answer),
        },
        _ => Verdict::Refused { words: failure_words(answer) },
    }
}

fn accepted(lane: Lane, answer: &Answer) -> Verdict {
    // Some receivers answer success with no body at all.
    if answer.body.is_empty() {
        return Verdict::Accepted { rejected: 0, words: None, unclear: false };
    }
    let partial =
        answer.content_type.starts_with(CONTENT_TYPE).then(|| partial_success(lane, &answer.body));
    let Some(Some((rejected, message))) = partial else {
        let words = format!(
            "its answer is no OTLP: {:?}, {:?}",
            printable(answer.content_type.as_bytes()),
            printable(&answer.body)
        );
        return Verdict::Accepted { rejected: 0, words: Some(words), unclear: true };
    };
    partly(rejected, &message)
}

/// Accepted, but for what was rejected.
fn partly(rejected: u64, message: &str) -> Verdict {
    let words = match (rejected, message.is_empty()) {
        (0, true) => None,
        (0, false) => Some(format!("says {:?}", printable(message.as_bytes()))),
        (count, _) => Some(format!(
            "rejected {count} of what was in it, saying {:?}",
            printable(message.as_bytes())
        )),
    };
    Verdict::Accepted { rejected, words, unclear: false }
}

/// How many items were rejected, and the message; `None` if the body is no OTLP answer.
fn partial_success(lane: Lane, body: &[u8]) -> Option<(u64, String)> {
    let partial = match lane {
        Lane::Metrics => ExportMetricsServiceResponse::decode(body)
            .ok()?
            .partial_success
            .map(|partial| (partial.rejected_data_points, partial.error_message)),
        Lane::Alerts => ExportLogsServiceResponse::decode(body)
            .ok()?
            .partial_success
            .map(|partial| (partial.rejected_log_records, partial.error_message)),
    };
    let (rejected, message) = partial.unwrap_or_default();
    Some((u64::try_from(rejected).unwrap_or(0), message))
}

/// The body of a failure is a `google.rpc.Status`; of that, only the message matters.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

fn failure_words(answer: &Answer) -> String {
    let status = answer.status;
    let message = answer
        .content_type
        .starts_with(CONTENT_TYPE)
        .then(|| Status::decode(&*answer.body).ok())
        .flatten()
        .map(|status| printable(status.message.as_bytes()));
    match message.unwrap_or_else(|| printable(&answer.body)) {
        words if words.is_empty() => format!("HTTP status {status}"),
        words => format!("HTTP status {status}, saying {words:?}"),
    }
}

/// What a stranger sent, fit for a log: one line, no control characters, not too long.
fn printable(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(WORDS * 4)];
    let text = String::from_utf8_lossy(head);
    let mut words: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS).collect();
    if text.chars().nth(WORDS).is_some() {
        words.push('…');
    }
    words.trim().to_owned()
}

/// The method a lane's requests go to.
#[cfg(feature = "grpc")]
pub(super) fn method(lane: Lane) -> &'static str {
    match lane {
        Lane::Alerts => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Lane::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
}

/// [The specification's](https://opentelemetry.io/docs/specs/otlp/#failures) reading of a gRPC
/// status: an exhausted resource is tried again only if the receiver says when.
#[cfg(feature = "grpc")]
pub(super) fn of_grpc(lane: Lane, answer: &grpc::Answer) -> Verdict {
    use grpc::code;

    let words = || {
        let message = printable(answer.message.as_bytes());
        format!("gRPC status {}, saying {message:?}", answer.code)
    };
    match (answer.code, answer.retry_after) {
        (code::OK, _) => match partial_success(lane, &answer.body) {
            Some((rejected, message)) => partly(rejected, &message),
            None => {
                let words = format!("its answer is no OTLP: {:?}", printable(&answer.body));
                Verdict::Accepted { rejected: 0, words: Some(words), unclear: true }
            }
        },
        (
            code::CANCELLED
            | code::DEADLINE_EXCEEDED
            | code::ABORTED
            | code::OUT_OF_RANGE
            | code::UNAVAILABLE
            | code::DATA_LOSS,
            asked,
        )
        | (code::RESOURCE_EXHAUSTED, asked @ Some(_)) => {
            let throttled = answer.code == code::RESOURCE_EXHAUSTED;
            Verdict::Later { asked, throttled, words: words() }
        }
        _ => Verdict::Refused { words: words() },
    }
}
