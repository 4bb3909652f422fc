//! The names this crate emits: OpenTelemetry's where they exist (semantic conventions 1.44),
//! `highwater.*` where they do not.

/// Client operations of databases; [stable](https://opentelemetry.io/docs/specs/semconv/database/database-metrics/).
pub const DB_CLIENT_OPERATION_DURATION: &str = "db.client.operation.duration";
/// Which database: `postgresql`, `sqlite`, `other_sql`…
pub const DB_SYSTEM_NAME: &str = "db.system.name";
/// The query's low-cardinality name.
pub const DB_QUERY_SUMMARY: &str = "db.query.summary";
/// What failed; present only on failures.
pub const ERROR_TYPE: &str = "error.type";
/// `true` on the series that took the label sets over the limit.
pub const OTEL_METRIC_OVERFLOW: &str = "otel.metric.overflow";

/// Calls of a query that have started and not yet ended.
pub const QUERY_IN_FLIGHT: &str = "highwater.query.in_flight";
/// How long a timed thing that is no database query took.
pub const TIMER_DURATION: &str = "highwater.timer.duration";
/// The name of a timed thing that is no database query.
pub const TIMER_NAME: &str = "highwater.timer.name";
/// Calls of a timed thing that have started and not yet ended.
pub const TIMER_IN_FLIGHT: &str = "highwater.timer.in_flight";

/// How long a round of the engine took, in seconds.
pub const TICK_DURATION: &str = "highwater.tick.duration";
/// Rounds of the engine that were due and did not take place.
pub const TICK_MISSED: &str = "highwater.tick.missed";
/// What was not recorded, evaluated or delivered as it should have been, by `reason`.
pub const DROPPED: &str = "highwater.dropped";
/// Why something was dropped.
pub const REASON: &str = "reason";
/// How many series there are.
pub const SERIES_COUNT: &str = "highwater.series.count";
/// Bytes held by a part of highwater, by `component`.
pub const OWN_MEMORY: &str = "highwater.own.memory";
/// Mistakes found in the environment at start.
pub const CONFIG_MISTAKES: &str = "highwater.config.mistakes";
/// Silences in force.
pub const SILENCE_ACTIVE: &str = "highwater.silence.active";

/// Where an alert stands: 0 inactive, 1 no data, 2 error, 3 pending, 4 firing.
pub const ALERT_STATE: &str = "highwater.alert.state";
/// What an alert's rule compares.
pub const ALERT_VALUE: &str = "highwater.alert.value";
/// What it is compared with.
pub const ALERT_THRESHOLD: &str = "highwater.alert.threshold";
/// The alert's name, as Prometheus labels it.
pub const ALERTNAME: &str = "alertname";

/// Data points a receiver took (no `error.type`) or never will (with one). [Development](https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/).
pub const EXPORTED_POINTS: &str = "otel.sdk.exporter.metric_data_point.exported";
/// Log records a receiver took (no `error.type`) or never will (with one).
pub const EXPORTED_LOGS: &str = "otel.sdk.exporter.log.exported";
/// Attempts to send that failed and were made again, by `signal`.
pub const EXPORT_RETRIES: &str = "highwater.export.retries";
/// `metrics` or `logs`.
pub const SIGNAL: &str = "signal";
/// Requests waiting to be taken.
pub const EXPORT_QUEUE_SIZE: &str = "highwater.export.queue.size";
/// Bytes of the requests waiting to be taken.
pub const EXPORT_QUEUE_BYTES: &str = "highwater.export.queue.memory";
/// Age of the oldest data waiting to be taken, in seconds.
pub const EXPORT_QUEUE_AGE: &str = "highwater.export.queue.age";
