//! OTLP over HTTP or gRPC: metrics and alert transitions, pushed to any OpenTelemetry receiver.
//!
//! [`from_env`] pushes where `OTEL_EXPORTER_OTLP_ENDPOINT` points and nowhere if it is not set;
//! [`to`] names the receiver in code. What is not set in code is taken from the
//! `OTEL_EXPORTER_OTLP_*` variables of OpenTelemetry's
//! [exporter specification](https://opentelemetry.io/docs/specs/otel/protocol/exporter/), and then
//! from the defaults named at each setter. `HIGHWATER_ENDPOINT` wins over all of them; its value
//! `off` switches the export off.
//!
//! Metrics go to `/v1/metrics`, cumulative, histograms as base-2 exponential ones; transitions of
//! alerts go to `/v1/logs` as log records named
//! [`highwater.alert.transition`](crate::semconv::ALERT_TRANSITION), ahead of any metrics. All of
//! it happens on the `highwater-io` thread: a receiver that is slow, down or talks nonsense delays
//! nothing else.

mod answer;
mod cadence;
mod client;
mod config;
mod encode;
pub(crate) mod endpoint;
mod env;
#[doc(hidden)]
pub mod harness;
mod health;
mod intake;
mod resource;
#[cfg(test)]
mod tests;

pub use config::{Compression, Config, Error, Protocol, Spool, Temporality};

#[cfg(any(feature = "alertmanager", feature = "webhook"))]
pub(crate) use config::check_range;
#[cfg(feature = "otel-sdk-0-33")]
pub(crate) use encode::{gained, log_record};
#[cfg(any(feature = "alertmanager", feature = "webhook", feature = "otel-sdk-0-33"))]
pub(crate) use resource::random_u128;

pub(crate) use client::{Exporter, Interrupt, Step};
pub(crate) use encode::{advised_bounds, counts};
pub(crate) use health::Health;
pub(crate) use intake::Intake;
pub(crate) use resource::Resource;

pub use crate::transport::spool::Durability;

/// Pushes where `OTEL_EXPORTER_OTLP_ENDPOINT` points; nowhere if neither it nor a variable of one
/// signal (`OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`, `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`) is set.
///
/// ```
/// use std::time::Duration;
/// use highwater::export::otlp;
///
/// let often = otlp::from_env().interval(Duration::from_secs(5));
/// ```
pub fn from_env() -> Config {
    Config::default()
}

/// Pushes to the receiver at `endpoint`, such as `http://localhost:4318`; `/v1/metrics` and
/// `/v1/logs` are appended.
///
/// `https://` needs the feature `tls`. A malformed endpoint is reported when the instance is
/// started, with all other mistakes.
///
/// ```
/// use highwater::export::otlp;
///
/// let config = otlp::to("http://localhost:4318").header("x-scope-orgid", "shop");
/// ```
pub fn to(endpoint: impl Into<String>) -> Config {
    Config::default().endpoint(endpoint)
}

/// Keeps requests in `directory` until they are delivered, so that neither an outage nor a crash
/// loses them; for [`Config::spool`].
///
/// Several processes may share a directory: each locks a part of it, and takes over what the dead
/// have left.
///
/// ```
/// use highwater::export::otlp;
///
/// let config = otlp::from_env()
///     .spool(otlp::spool("/var/lib/shop/highwater").durability(otlp::Durability::PowerLoss));
/// ```
pub fn spool(directory: impl Into<std::path::PathBuf>) -> Spool {
    Spool::new(directory.into())
}
