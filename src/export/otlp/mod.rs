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
//! [`highwater.alert.transition`](crate::semconv::ALERT_TRANSITION). Requests are made and kept on the
//! `highwater-io` thread and sent on one for each of the two signals, which lives while there is
//! something to send: a receiver that is slow, down or talks nonsense delays nothing else, and
//! alerts wait for no metrics.
//!
//! # Which receiver needs which settings
//!
//! As found by running VictoriaMetrics and rotel; the others as their documentation has it:
//!
//! | receiver | settings |
//! |---|---|
//! | VictoriaMetrics 1.145 | [`metrics_endpoint`](Config::metrics_endpoint)`("http://…:8428/opentelemetry/v1/metrics")`; it takes no log records (400, so a base address would have every transition refused and `DeliveryFailing` fire). It takes gzip and zstd over HTTP, shows exponential histograms as `vmrange` buckets, and data of an outage at their own time within its retention. `-opentelemetry.usePrometheusNaming` gives the names dashboards expect. Delta is stored raw: leave it cumulative |
//! | rotel 0.0.1a15 | HTTP at port 4318 or gRPC at 4317, metrics and log records, gzip or none: zstd over HTTP is answered 400, so every request is refused |
//! | Prometheus 3 (read, not run: Debian's build has no OTLP receiver) | [`metrics_endpoint`](Config::metrics_endpoint)`("http://…:9090/api/v1/otlp/v1/metrics")`, cumulative only: delta is dropped with a 200. It takes no log records. `out_of_order_time_window` must cover the longest outage that is to be filled in |
//! | any that lacks exponential histograms | [`explicit_histograms`](Config::explicit_histograms) |
//!
//! # In a fleet
//!
//! An instance at its defaults, with no queries yet, sends 6 requests a minute of 4.2 kB and
//! 0.2 kB of headers (gzip), 26 kB a minute; each 1,000 histograms of 100 buckets add 32 kB a
//! request, each 10,000 gauges 39 kB. A thousand such instances are 100 requests and 0.44 MB a
//! second for the collectors, all the time.
//!
//! After an outage each instance sends its backlog at no more than 20 requests a second, alerts
//! first, and fresh data beside it at once: an hour is 360 requests, so a tier that a thousand
//! instances come back to must take up to 20,000 requests a second for some 20 s, or answer 429 with
//! `Retry-After`, which is kept to. A request that fails while others are taken is tried ever more
//! seldom, in the end every ten minutes. Instances that started together push spread over the interval by `service.instance.id`,
//! and waits after failures are jittered by half. While a receiver throttles, the interval doubles,
//! up to eight times, and `highwater.export.interval` and the log say so.
//!
//! What fails in a fleet fails in many: let Alertmanager group by `alertname` and `job`, not by
//! `instance`, so that a thousand instances make one notification.

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

pub(crate) use client::{Exporter, Interrupt, Sender, Step};
pub(crate) use encode::{advised_bounds, counts, with_declared};
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
/// Several processes of one service may share a directory: each locks a part of it, and takes over
/// what the dead have left. Processes of different services must not, nor any that push to different
/// receivers: what one has left would be sent by another, to its own receiver with its own
/// credentials. Nothing is touched before there is something to keep.
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
