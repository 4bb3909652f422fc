//! What this crate's series are called on a server. Kind and unit decide the suffixes, so they
//! are listed here, and a test holds the list against what an instance really registers.

use crate::{
    instrument::Measure,
    name::Unit,
    registry::Kind::{self, Gauge, Histogram, ObservedCounter, ObservedUpDown},
    rule::naming,
    semconv as s,
};

const COUNTER: Kind = ObservedCounter;
const SUM: Kind = ObservedUpDown;
const TIMES: Kind = Histogram(Measure::Time);

/// The series a dashboard shows: name, kind, unit.
pub(super) const SERIES: &[(&str, Kind, &str)] = &[
    (s::ALERT_STATE, Gauge, ""),
    (s::ALERT_VALUE, Gauge, ""),
    (s::ALERT_THRESHOLD, Gauge, ""),
    (s::MEMORY_USAGE, SUM, "By"),
    (s::MEMORY_LIMIT, SUM, "By"),
    (s::MEMORY_UTILIZATION, Gauge, "1"),
    (s::MEMORY_BINDING, Gauge, "1"),
    (s::MEMORY_BINDING_UTILIZATION, Gauge, "1"),
    (s::MEMORY_TIME_TO_LIMIT, Gauge, "s"),
    (s::MEMORY_EVENTS, COUNTER, "{event}"),
    (s::COMPONENT_MEMORY_USAGE, SUM, "By"),
    (s::COMPONENT_MEMORY_LIMIT, SUM, "By"),
    (s::COMPONENT_MEMORY_PER_REQUEST, Gauge, "By"),
    (s::COMPONENT_REFUSED, COUNTER, "{request}"),
    (s::PRESSURE_AVG10, Gauge, "1"),
    (s::PROCESS_MEMORY_USAGE, SUM, "By"),
    (s::PROCESS_MEMORY_ANONYMOUS, SUM, "By"),
    (s::PROCESS_MEMORY_SWAP, SUM, "By"),
    (s::PROCESS_MEMORY_PEAK, Gauge, "By"),
    (s::PROCESS_CPU_TIME, COUNTER, "s"),
    (s::PROCESS_THREAD_COUNT, SUM, "{thread}"),
    (s::PROCESS_UNIX_FILE_DESCRIPTOR_COUNT, SUM, "{file_descriptor}"),
    (s::PROCESS_UNIX_FILE_DESCRIPTOR_UTILIZATION, Gauge, "1"),
    (s::PROCESS_PAGING_FAULTS, COUNTER, "{fault}"),
    (s::PROCESS_UPTIME, Gauge, "s"),
    (s::SYSTEM_PAGING_OPERATIONS, COUNTER, "{operation}"),
    (s::SYSTEM_MEMORY_USAGE, SUM, "By"),
    (s::SYSTEM_CPU_LOAD_AVERAGE_1M, Gauge, "{thread}"),
    (s::CPU_THROTTLED_TIME, COUNTER, "s"),
    (s::DB_CLIENT_OPERATION_DURATION, TIMES, "s"),
    (s::QUERY_IN_FLIGHT, SUM, "{call}"),
    (s::QUERY_CALLS, COUNTER, "{call}"),
    (s::TIMER_DURATION, TIMES, "s"),
    (s::TICK_DURATION, TIMES, "s"),
    (s::TICK_MISSED, COUNTER, "{tick}"),
    (s::DROPPED, COUNTER, "{item}"),
    (s::SERIES_COUNT, Gauge, "{series}"),
    (s::OWN_MEMORY, Gauge, "By"),
    (s::RULE_FAILURES, COUNTER, "{evaluation}"),
    (s::SILENCE_ACTIVE, Gauge, "{silence}"),
    (s::CONFIG_MISTAKES, Gauge, "{mistake}"),
    (s::SAMPLER_STATUS, Gauge, "1"),
    (s::EXPORTED_POINTS, COUNTER, "{data_point}"),
    (s::EXPORT_RETRIES, COUNTER, "{request}"),
    (s::EXPORT_QUEUE_SIZE, Gauge, "{request}"),
    (s::EXPORT_QUEUE_AGE, Gauge, "s"),
    (s::DB_CLIENT_CONNECTION_COUNT, SUM, "{connection}"),
    (s::DB_CLIENT_CONNECTION_MAX, SUM, "{connection}"),
    (s::DB_CLIENT_CONNECTION_PENDING_REQUESTS, SUM, "{request}"),
    (s::DB_CLIENT_CONNECTION_TIMEOUTS, COUNTER, "{timeout}"),
    (s::DB_CLIENT_CONNECTION_WAIT_TIME, TIMES, "s"),
    (s::DB_CLIENT_CONNECTION_USE_TIME, TIMES, "s"),
];

/// The name on the server; of what is not listed, without suffixes.
pub(super) fn server_name(name: &str) -> String {
    match SERIES.iter().find(|(listed, ..)| *listed == name) {
        Some((_, kind, unit)) => naming::metric(name, &Unit::known(unit), *kind),
        None => naming::escape(name),
    }
}
