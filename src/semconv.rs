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

/// A query's text without literals; only where it is asked for.
pub const DB_QUERY_TEXT: &str = "db.query.text";
/// Rows an operation gave; in development.
pub const DB_CLIENT_RESPONSE_RETURNED_ROWS: &str = "db.client.response.returned_rows";

// HTTP servers: the duration is stable, the others are in development.

/// Duration of HTTP server requests; [stable](https://opentelemetry.io/docs/specs/semconv/http/http-metrics/).
pub const HTTP_SERVER_REQUEST_DURATION: &str = "http.server.request.duration";
/// HTTP requests under way.
pub const HTTP_SERVER_ACTIVE_REQUESTS: &str = "http.server.active_requests";
/// Size of HTTP requests' bodies.
pub const HTTP_SERVER_REQUEST_BODY_SIZE: &str = "http.server.request.body.size";
/// Size of HTTP responses' bodies.
pub const HTTP_SERVER_RESPONSE_BODY_SIZE: &str = "http.server.response.body.size";
/// `GET`, `POST`…; `_OTHER` for methods nobody knows.
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// `200`, `404`…
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// The route's template, such as `/orders/{id}`.
pub const HTTP_ROUTE: &str = "http.route";
/// `http` or `https`.
pub const URL_SCHEME: &str = "url.scheme";

// Connection pools: OpenTelemetry's are in development.

/// A pool's connections by state.
pub const DB_CLIENT_CONNECTION_COUNT: &str = "db.client.connection.count";
/// `idle` or `used`.
pub const DB_CLIENT_CONNECTION_STATE: &str = "db.client.connection.state";
/// The pool's name, unique within the service.
pub const DB_CLIENT_CONNECTION_POOL_NAME: &str = "db.client.connection.pool.name";
/// How many idle connections a pool keeps at most.
pub const DB_CLIENT_CONNECTION_IDLE_MAX: &str = "db.client.connection.idle.max";
/// How many idle connections a pool keeps at least.
pub const DB_CLIENT_CONNECTION_IDLE_MIN: &str = "db.client.connection.idle.min";
/// How many connections a pool may open.
pub const DB_CLIENT_CONNECTION_MAX: &str = "db.client.connection.max";
/// Who waits for a connection.
pub const DB_CLIENT_CONNECTION_PENDING_REQUESTS: &str = "db.client.connection.pending_requests";
/// Waits for a connection that the pool ended without one.
pub const DB_CLIENT_CONNECTION_TIMEOUTS: &str = "db.client.connection.timeouts";
/// How long opening a connection took.
pub const DB_CLIENT_CONNECTION_CREATE_TIME: &str = "db.client.connection.create_time";
/// How long it took to get a connection.
pub const DB_CLIENT_CONNECTION_WAIT_TIME: &str = "db.client.connection.wait_time";
/// How long a connection was held.
pub const DB_CLIENT_CONNECTION_USE_TIME: &str = "db.client.connection.use_time";

// Connection pools: no convention.

/// 1 if somebody waits for a connection, else 0.
pub const POOL_WAITED_FOR: &str = "highwater.pool.waited_for";
/// Of the time callers spent on a connection in the last tick, the share they waited for it.
pub const POOL_WAIT_SHARE: &str = "highwater.pool.wait.share";
/// After how long a pool ends a wait without a connection.
pub const POOL_ACQUIRE_TIMEOUT: &str = "highwater.pool.acquire_timeout";
/// Waits for a connection that their caller gave up.
pub const POOL_ABANDONED: &str = "highwater.pool.abandoned";
/// Requests for a connection that failed, but not by waiting too long; by `error.type`.
pub const POOL_FAILURES: &str = "highwater.pool.failures";

/// Calls of a query that have started and not yet ended.
pub const QUERY_IN_FLIGHT: &str = "highwater.query.in_flight";
/// Calls of a query that is timed one time in N: all of them, those that failed with `error.type`.
pub const QUERY_CALLS: &str = "highwater.query.calls";
/// On the durations of a query that is timed one time in N: that N, which each stands for.
pub const TIMED_ONE_IN: &str = "highwater.timed_one_in";
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
/// A part of highwater: `windows`…
pub const COMPONENT: &str = "component";
/// Evaluations of single rules.
pub const RULE_EVALUATIONS: &str = "highwater.rule.evaluations";
/// Evaluations of single rules that failed.
pub const RULE_FAILURES: &str = "highwater.rule.failures";
/// Times rule files were read anew, by `outcome`: `success`, `failure`.
pub const RULE_RELOADS: &str = "highwater.rule.reloads";
/// How it ended.
pub const OUTCOME: &str = "outcome";
/// Rules of files that are refused and do not run.
pub const RULE_REFUSED: &str = "highwater.rule.refused";
/// Mistakes found in the environment at start.
pub const CONFIG_MISTAKES: &str = "highwater.config.mistakes";
/// Silences, maintenance windows and deploys in force.
pub const SILENCE_ACTIVE: &str = "highwater.silence.active";

/// The namespace of `service.name`.
pub const SERVICE_NAMESPACE: &str = "service.namespace";
/// Alerts a receiver took, each time they were sent, by [`SINK`] and `server.address`.
pub const SINK_DELIVERED: &str = "highwater.sink.delivered";
/// Requests to a sink's receiver that failed and were made again.
pub const SINK_RETRIES: &str = "highwater.sink.retries";
/// `alertmanager` or `webhook`.
pub const SINK: &str = "sink";
/// Host and port of a receiver.
pub const SERVER_ADDRESS: &str = "server.address";
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
/// Requests a receiver took, by `signal`.
pub const EXPORT_SENT: &str = "highwater.export.sent";
/// Requests a receiver refused for good, by `signal`.
pub const EXPORT_REFUSED: &str = "highwater.export.refused";
/// Of them those since the receiver took one, by `signal`.
pub const EXPORT_REFUSED_IN_A_ROW: &str = "highwater.export.refused.in_a_row";
/// Time since a receiver last took a request, or since the start, in seconds, by `signal`.
pub const EXPORT_SUCCESS_AGE: &str = "highwater.export.success.age";
/// Time between two pushes of metrics, in seconds: longer than asked for while a receiver throttles.
pub const EXPORT_INTERVAL: &str = "highwater.export.interval";
/// Bytes of the spool's files.
pub const SPOOL_USAGE: &str = "highwater.export.spool.usage";
/// The same as a share of what the spool may take.
pub const SPOOL_UTILIZATION: &str = "highwater.export.spool.utilization";
/// Requests waiting to be taken, by `signal`.
pub const EXPORT_QUEUE_SIZE: &str = "highwater.export.queue.size";
/// Bytes of the requests waiting to be taken, by `signal`.
pub const EXPORT_QUEUE_BYTES: &str = "highwater.export.queue.memory";
/// Age of the oldest data waiting to be taken, in seconds, by `signal`.
pub const EXPORT_QUEUE_AGE: &str = "highwater.export.queue.age";

// Process metrics: OpenTelemetry's are release candidates.

/// Resident memory of this process.
pub const PROCESS_MEMORY_USAGE: &str = "process.memory.usage";
/// Virtual memory of this process.
pub const PROCESS_MEMORY_VIRTUAL: &str = "process.memory.virtual";
/// Resident memory as a share of *physical* memory; in development.
pub const PROCESS_MEMORY_UTILIZATION: &str = "process.memory.utilization";
/// CPU time of this process.
pub const PROCESS_CPU_TIME: &str = "process.cpu.time";
/// `user` or `system`.
pub const CPU_MODE: &str = "cpu.mode";
/// Threads of this process.
pub const PROCESS_THREAD_COUNT: &str = "process.thread.count";
/// Open file descriptors.
pub const PROCESS_UNIX_FILE_DESCRIPTOR_COUNT: &str = "process.unix.file_descriptor.count";
/// Page faults of this process.
pub const PROCESS_PAGING_FAULTS: &str = "process.paging.faults";
/// Age of this process.
pub const PROCESS_UPTIME: &str = "process.uptime";

// Process metrics without a convention.

/// Resident memory that no file backs.
pub const PROCESS_MEMORY_ANONYMOUS: &str = "highwater.process.memory.anonymous";
/// Memory of this process that lies in swap.
pub const PROCESS_MEMORY_SWAP: &str = "highwater.process.memory.swap";
/// The most resident memory this process ever had.
pub const PROCESS_MEMORY_PEAK: &str = "highwater.process.memory.peak";
/// The soft limit of open file descriptors.
pub const PROCESS_UNIX_FILE_DESCRIPTOR_LIMIT: &str = "highwater.process.unix.file_descriptor.limit";
/// Open file descriptors as a share of their soft limit.
pub const PROCESS_UNIX_FILE_DESCRIPTOR_UTILIZATION: &str =
    "highwater.process.unix.file_descriptor.utilization";

/// Threads of all processes in the control group that is nearest to its limit of them.
pub const TASK_COUNT: &str = "highwater.task.count";
/// That limit: the tightest `pids.max`.
pub const TASK_LIMIT: &str = "highwater.task.limit";
/// Those threads as a share of it.
pub const TASK_UTILIZATION: &str = "highwater.task.utilization";

// System metrics: OpenTelemetry's are in development.

/// The machine's memory by state.
pub const SYSTEM_MEMORY_USAGE: &str = "system.memory.usage";
/// The machine's memory by state, as a share.
pub const SYSTEM_MEMORY_UTILIZATION: &str = "system.memory.utilization";
/// `used`, `free`, `cached`, `buffers`; used is physical memory less what is available.
pub const SYSTEM_MEMORY_STATE: &str = "system.memory.state";
/// The machine's physical memory.
pub const SYSTEM_MEMORY_LIMIT: &str = "system.memory.limit";
/// Linux's `MemAvailable`.
pub const SYSTEM_MEMORY_LINUX_AVAILABLE: &str = "system.memory.linux.available";
/// Linux's `Shmem`.
pub const SYSTEM_MEMORY_LINUX_SHARED: &str = "system.memory.linux.shared";
/// Linux's slab by state.
pub const SYSTEM_MEMORY_LINUX_SLAB_USAGE: &str = "system.memory.linux.slab.usage";
/// `reclaimable` or `unreclaimable`.
pub const SYSTEM_MEMORY_LINUX_SLAB_STATE: &str = "system.memory.linux.slab.state";
/// Swap space by state.
pub const SYSTEM_PAGING_USAGE: &str = "system.paging.usage";
/// Swap space in use as a share.
pub const SYSTEM_PAGING_UTILIZATION: &str = "system.paging.utilization";
/// `used` or `free`.
pub const SYSTEM_PAGING_STATE: &str = "system.paging.state";
/// Pages moved between memory and swap.
pub const SYSTEM_PAGING_OPERATIONS: &str = "system.paging.operations";
/// `in` or `out`.
pub const SYSTEM_PAGING_DIRECTION: &str = "system.paging.direction";
/// Page faults of the machine.
pub const SYSTEM_PAGING_FAULTS: &str = "system.paging.faults";
/// `minor` or `major`.
pub const SYSTEM_PAGING_FAULT_TYPE: &str = "system.paging.fault.type";
/// Load over a minute. The conventions have no load; the Collector's name for it is used.
pub const SYSTEM_CPU_LOAD_AVERAGE_1M: &str = "system.cpu.load_average.1m";
/// Load over 5 minutes.
pub const SYSTEM_CPU_LOAD_AVERAGE_5M: &str = "system.cpu.load_average.5m";
/// Load over 15 minutes.
pub const SYSTEM_CPU_LOAD_AVERAGE_15M: &str = "system.cpu.load_average.15m";

// Container metrics: OpenTelemetry's are release candidates.

/// All that is charged to the own control group.
pub const CONTAINER_MEMORY_USAGE: &str = "container.memory.usage";
/// The group's memory that no file backs.
pub const CONTAINER_MEMORY_RSS: &str = "container.memory.rss";
/// What is charged but page cache not used lately.
pub const CONTAINER_MEMORY_WORKING_SET: &str = "container.memory.working_set";
/// The group's limit less its working set.
pub const CONTAINER_MEMORY_AVAILABLE: &str = "container.memory.available";

// The memory that counts: no convention.

/// How much memory may be in use at a level.
pub const MEMORY_LIMIT: &str = "highwater.memory.limit";
/// Memory in use at a level that cannot be reclaimed at once.
pub const MEMORY_USAGE: &str = "highwater.memory.usage";
/// The usage as a share of the limit.
pub const MEMORY_UTILIZATION: &str = "highwater.memory.utilization";
/// The greatest utilisation over the levels that bind this process.
pub const MEMORY_BINDING_UTILIZATION: &str = "highwater.memory.binding.utilization";
/// How many replicas an autoscaler should want, as `export::scale::desired` computes it.
pub const SCALE_DESIRED_REPLICAS: &str = "highwater.scale.desired_replicas";
/// 1 at the level that binds.
pub const MEMORY_BINDING: &str = "highwater.memory.binding";
/// Time until a limit is reached at the growth of the last moment.
pub const MEMORY_RUNWAY: &str = "highwater.memory.runway";
/// Time until a limit is reached, as a robust trend foresees it.
pub const MEMORY_TIME_TO_LIMIT: &str = "highwater.memory.time_to_limit";
/// Where the limit is: `cgroup`, `cgroup.ancestor1`, `host`, `address_space`, `budget`…
pub const LEVEL: &str = "level";

// Who holds the memory: no convention.

/// A part of the service that holds memory: `config-store`…
pub const COMPONENT_NAME: &str = "highwater.component.name";
/// Memory a component says it holds.
pub const COMPONENT_MEMORY_USAGE: &str = "highwater.component.memory.usage";
/// Memory a component may hold.
pub const COMPONENT_MEMORY_LIMIT: &str = "highwater.component.memory.limit";
/// The usage as a share of the limit.
pub const COMPONENT_MEMORY_UTILIZATION: &str = "highwater.component.memory.utilization";
/// Items a component says it holds.
pub const COMPONENT_ITEMS: &str = "highwater.component.items";
/// Requests in flight whose state a component holds.
pub const COMPONENT_REQUESTS: &str = "highwater.component.requests";
/// Memory of the state of those requests.
pub const COMPONENT_REQUEST_MEMORY: &str = "highwater.component.request.memory";
/// That memory divided by their number.
pub const COMPONENT_MEMORY_PER_REQUEST: &str = "highwater.component.memory.per_request";
/// Memory of the live blocks that were allocated in a component's scopes.
pub const COMPONENT_HEAP_USAGE: &str = "highwater.component.heap.usage";
/// Memory of all blocks that were ever allocated there.
pub const COMPONENT_HEAP_ALLOCATED: &str = "highwater.component.heap.allocated";
/// How many those were.
pub const COMPONENT_HEAP_ALLOCATIONS: &str = "highwater.component.heap.allocations";
/// Reservations a component's limit refused.
pub const COMPONENT_REFUSED: &str = "highwater.component.refused";

// The allocator: no convention.

/// What the service asked its allocator for and has not freed.
pub const ALLOCATOR_ALLOCATED: &str = "highwater.allocator.allocated";
/// The pages that is on.
pub const ALLOCATOR_ACTIVE: &str = "highwater.allocator.active";
/// What the allocator has in memory.
pub const ALLOCATOR_RESIDENT: &str = "highwater.allocator.resident";
/// Address space the allocator keeps for later.
pub const ALLOCATOR_RETAINED: &str = "highwater.allocator.retained";
/// Heap profiles that were written (no `error.type`) or could not be (with one).
pub const ALLOCATOR_PROFILES: &str = "highwater.allocator.profiles";
/// When the heap profile of a path was written, in seconds since 1970.
pub const ALLOCATOR_PROFILE_TIME: &str = "highwater.allocator.profile.time";
/// A file.
pub const FILE_PATH: &str = "file.path";

// Pressure: no convention.

/// Share of the last 10 seconds lost waiting.
pub const PRESSURE_AVG10: &str = "highwater.pressure.avg10";
/// Share of the last minute lost waiting.
pub const PRESSURE_AVG60: &str = "highwater.pressure.avg60";
/// Time lost waiting.
pub const PRESSURE_TIME: &str = "highwater.pressure.time";
/// What is waited for: `memory`, `io`, `cpu`.
pub const RESOURCE: &str = "resource";
/// Who waits: `some` or `full`.
pub const STALL: &str = "stall";
/// What the kernel did at a memory limit.
pub const MEMORY_EVENTS: &str = "highwater.memory.events";
/// The same of a group itself, those below it left out.
pub const MEMORY_EVENTS_LOCAL: &str = "highwater.memory.events.local";
/// Killed within our limits since this service last ran; absent a quarter of an hour later.
pub const MEMORY_OOM_KILLS_BEFORE_START: &str = "highwater.memory.oom_kills.before_start";
/// Room left where this crate writes, by `directory`.
pub const DISK_FREE: &str = "highwater.disk.free";
/// Size of the file system it writes to.
pub const DISK_SIZE: &str = "highwater.disk.size";
/// What it writes there: `spool`, `report`, `profile`.
pub const DIRECTORY: &str = "directory";
/// Kept in memory for the fast lane, by `part`.
pub const MEMORY_LOCKED: &str = "highwater.memory.locked";
/// `stack`, `state`, `code`.
pub const PART: &str = "part";
/// `high`, `max`, `oom`, `oom_kill`.
pub const EVENT: &str = "event";
/// How often the kernel woke us, by `source`.
pub const MEMORY_WAKEUPS: &str = "highwater.memory.wakeups";
/// What woke us: `psi`, `systemd`, `threshold`, `reclaim`, `events`.
pub const SOURCE: &str = "source";
/// Pages taken back right after they were given up.
pub const MEMORY_REFAULTS: &str = "highwater.memory.refaults";
/// `anonymous` or `file`.
pub const KIND: &str = "kind";
/// Periods in which the own group's quota applied.
pub const CPU_PERIODS: &str = "highwater.cpu.periods";
/// Those in which it was used up.
pub const CPU_THROTTLED_PERIODS: &str = "highwater.cpu.throttled.periods";
/// How long threads were kept from running by the quota.
pub const CPU_THROTTLED_TIME: &str = "highwater.cpu.throttled.time";
/// How long the sampling thread waited for a CPU.
pub const CPU_DELAY_TIME: &str = "highwater.cpu.delay.time";

/// 1 for the status a sampler has.
pub const SAMPLER_STATUS: &str = "highwater.sampler.status";
/// A sampler's name.
pub const SAMPLER: &str = "sampler";
/// A sampler's status: `active`, `disabled`, `failed`, `unsupported`.
pub const STATUS: &str = "status";

// Tokio's runtimes: no convention.

/// A watched runtime's name.
pub const RUNTIME: &str = "runtime";
/// By how much a runtime's heartbeat is overdue.
pub const TOKIO_STALL: &str = "highwater.tokio.stall";
/// The longest that a worker is held up by what it polls.
pub const TOKIO_WORKER_STALL: &str = "highwater.tokio.worker.stall";
/// How late the heartbeat's timer was served.
pub const TOKIO_HEARTBEAT_DELAY: &str = "highwater.tokio.heartbeat.delay";
/// How long workers were busy, all together.
pub const TOKIO_BUSY_TIME: &str = "highwater.tokio.busy.time";
/// Share of the last tick in which workers were busy.
pub const TOKIO_BUSY_UTILIZATION: &str = "highwater.tokio.busy.utilization";
/// Worker threads.
pub const TOKIO_WORKERS: &str = "highwater.tokio.workers";
/// Tasks alive.
pub const TOKIO_TASKS: &str = "highwater.tokio.tasks";
/// Tasks waiting in the global queue.
pub const TOKIO_QUEUE: &str = "highwater.tokio.queue";
/// How often workers had nothing to do, all together.
pub const TOKIO_PARKS: &str = "highwater.tokio.parks";

/// The event name of an alert's transition among log records.
pub const ALERT_TRANSITION: &str = "highwater.alert.transition";
/// The alert's name.
pub const ALERT_NAME: &str = "highwater.alert.name";
/// The group of its rule; absent for rules of the builder.
pub const ALERT_GROUP: &str = "highwater.alert.group";
/// `info`, `warning`, `critical`: the rule's, whatever the transition.
pub const ALERT_SEVERITY: &str = "highwater.alert.severity";
/// Where the alert stands: as a metric 0 inactive, 1 no data, 2 error, 3 pending, 4 firing; as an
/// attribute `inactive`, `no_data`, `error`, `pending`, `firing`.
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
/// The beginning of an attribute that carries an annotation of the rule.
pub const ALERT_ANNOTATION: &str = "highwater.alert.annotation.";
/// The runbook's address.
pub const ALERT_RUNBOOK: &str = "highwater.alert.runbook";
/// What may be behind it, the likeliest first: texts.
pub const ALERT_CAUSES: &str = "highwater.alert.causes";
/// Figures that explain it, as they were when it began or fired: texts.
pub const ALERT_EVIDENCE: &str = "highwater.alert.evidence";
/// Why the sinks are not told of it when it happens: `silence`, `maintenance`, `deploy`,
/// `inhibited`, `flapping`. As a metric, how many transitions were not, by `reason`.
pub const ALERT_HUSHED: &str = "highwater.alert.hushed";
/// `true` while a silence, a maintenance window or a deploy keeps it from the sinks.
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
/// Calls of a timed thing that is timed one time in N, as [`QUERY_CALLS`].
pub const TIMER_CALLS: &str = "highwater.timer.calls";
