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

/// The event name of an alert's transition among log records.
pub const ALERT_TRANSITION: &str = "highwater.alert.transition";
/// The alert's name.
pub const ALERT_NAME: &str = "highwater.alert.name";
/// The group of its rule; absent for rules of the builder.
pub const ALERT_GROUP: &str = "highwater.alert.group";
/// `info`, `warning`, `critical`: the rule's, whatever the transition.
pub const ALERT_SEVERITY: &str = "highwater.alert.severity";
/// Where the alert stands: `inactive`, `no_data`, `error`, `pending`, `firing`.
pub const ALERT_STATE: &str = "highwater.alert.state";
/// Where it stood before.
pub const ALERT_PREVIOUS_STATE: &str = "highwater.alert.previous_state";
/// Why a firing alert ended: `cleared`, `no_data`, `rule_removed`, `shutdown`.
pub const ALERT_RESOLVE_REASON: &str = "highwater.alert.resolve_reason";
/// What was judged; absent without data.
pub const ALERT_VALUE: &str = "highwater.alert.value";
/// What it was compared with.
pub const ALERT_THRESHOLD: &str = "highwater.alert.threshold";
/// The unit of value and threshold.
pub const ALERT_UNIT: &str = "highwater.alert.unit";
/// The condition, as PromQL-like text.
pub const ALERT_EXPRESSION: &str = "highwater.alert.expression";
/// When the condition began to hold, RFC 3339 in UTC.
pub const ALERT_STARTED_AT: &str = "highwater.alert.started_at";
/// Seconds from then to the transition.
pub const ALERT_DURATION: &str = "highwater.alert.duration";
/// What it means, values filled in; the log record's body too.
pub const ALERT_SUMMARY: &str = "highwater.alert.summary";
/// More of it.
pub const ALERT_DESCRIPTION: &str = "highwater.alert.description";
/// The runbook's address.
pub const ALERT_RUNBOOK: &str = "highwater.alert.runbook";
/// `true` while a silence keeps it from the sinks.
pub const ALERT_SILENCED: &str = "highwater.alert.silenced";
/// What the alert's labels are prefixed with.
pub const ALERT_LABEL: &str = "highwater.alert.label.";
/// Unique to a log record, so that one sent twice can be told.
pub const LOG_RECORD_UID: &str = "log.record.uid";

/// What the service is called.
pub const SERVICE_NAME: &str = "service.name";
/// A UUID, of this process only.
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
/// Who made the telemetry: `highwater`.
pub const TELEMETRY_SDK_NAME: &str = "telemetry.sdk.name";
/// `rust`.
pub const TELEMETRY_SDK_LANGUAGE: &str = "telemetry.sdk.language";
/// This crate's version.
pub const TELEMETRY_SDK_VERSION: &str = "telemetry.sdk.version";
/// The process' id.
pub const PROCESS_PID: &str = "process.pid";
/// The executable's file name.
pub const PROCESS_EXECUTABLE_NAME: &str = "process.executable.name";
/// The host's name.
pub const HOST_NAME: &str = "host.name";
