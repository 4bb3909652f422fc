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
/// [`ERROR_TYPE`] of a call that was dropped before it ended: no failure of the database.
pub(crate) const ERROR_CANCELLED: &str = "cancelled";

/// Calls of a query that have started and not yet ended.
pub const QUERY_IN_FLIGHT: &str = "highwater.query.in_flight";
/// How long a timed thing that is no database query took.
pub const TIMER_DURATION: &str = "highwater.timer.duration";
/// The name of a timed thing that is no database query.
pub const TIMER_NAME: &str = "highwater.timer.name";

/// The greatest of memory usage over limit; [`MEMORY_LEVEL`] names the wall that binds.
pub const MEMORY_UTILIZATION: &str = "highwater.memory.utilization";
/// Which wall: `host`, `cgroup`…
pub const MEMORY_LEVEL: &str = "level";
/// The process' share of physical memory.
pub const PROCESS_MEMORY_UTILIZATION: &str = "process.memory.utilization";
/// Open file descriptors over the soft limit.
pub const FILE_DESCRIPTOR_UTILIZATION: &str = "highwater.process.unix.file_descriptor.utilization";
/// How long a round of the engine took.
pub const TICK_DURATION: &str = "highwater.tick.duration";
/// Rounds of the engine that were skipped.
pub const TICK_MISSED: &str = "highwater.tick.missed";
/// What could not be recorded, by `reason`.
pub const DROPPED: &str = "highwater.dropped";
