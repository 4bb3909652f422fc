//! How a gRPC call ended: not by the HTTP status, which is 200, but by a header that comes last.

use ::http::{HeaderMap, header::CONTENT_TYPE};

/// By its content's type: `application/grpc`, `application/grpc+proto`.
pub(super) fn is_it(head: &HeaderMap) -> bool {
    head.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The status that a server is to blame for, as OpenTelemetry's conventions have it; what a caller
/// did wrong is no failure here, as with HTTP's 4xx.
pub(super) fn failure(headers: &HeaderMap) -> Option<&'static str> {
    match headers.get("grpc-status")?.as_bytes() {
        b"2" => Some("UNKNOWN"),
        b"4" => Some("DEADLINE_EXCEEDED"),
        b"12" => Some("UNIMPLEMENTED"),
        b"13" => Some("INTERNAL"),
        b"14" => Some("UNAVAILABLE"),
        b"15" => Some("DATA_LOSS"),
        _ => None,
    }
}
