//! Transitions of alerts as log records: an event with flat attributes, so that any log store can
//! filter by them.
//!
//! The record's severity is the rule's when the alert fires and INFO for every other step, so that
//! "errors in the log" does not count an alert's end; the rule's own is always an attribute.

use std::time::SystemTime;

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::AnyValue,
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource as ResourceMessage,
};

use super::{Any, attribute, scope, text};
use crate::{
    clock::unix_nanos,
    event::{Hush, Severity, State, Transition},
    semconv,
    sync::Arc,
};

/// The request; `uid` gives each record its own identity.
pub(crate) fn logs(
    transitions: &[Arc<Transition>],
    observed: SystemTime,
    resource: &ResourceMessage,
    mut uid: impl FnMut() -> u128,
) -> Option<ExportLogsServiceRequest> {
    if transitions.is_empty() {
        return None;
    }
    let log_records = transitions.iter().map(|transition| record(transition, observed, uid()));
    let scope_logs = vec![ScopeLogs {
        scope: Some(scope()),
        log_records: log_records.collect(),
        ..Default::default()
    }];
    let resource_logs =
        vec![ResourceLogs { resource: Some(resource.clone()), scope_logs, ..Default::default() }];
    Some(ExportLogsServiceRequest { resource_logs })
}

fn record(transition: &Transition, observed: SystemTime, uid: u128) -> LogRecord {
    let rule = &transition.rule;
    let (severity_number, severity_text) = match (transition.to, rule.severity) {
        (State::Firing, Severity::Critical) => (SeverityNumber::Error, "ERROR"),
        (State::Firing, Severity::Warning) => (SeverityNumber::Warn, "WARN"),
        _ => (SeverityNumber::Info, "INFO"),
    };
    let silenced = transition.hushed.is_some_and(Hush::is_silence);
    let mut attributes = vec![
        attribute(semconv::LOG_RECORD_UID, text(format!("{uid:032x}"))),
        attribute(semconv::ALERT_NAME, text(&*rule.name)),
        attribute(semconv::ALERT_SEVERITY, text(rule.severity.as_str())),
        attribute(semconv::ALERT_STATE, text(transition.to.as_str())),
        attribute(semconv::ALERT_PREVIOUS_STATE, text(transition.from.as_str())),
        attribute(semconv::ALERT_SILENCED, Any::BoolValue(silenced)),
    ];
    let texts = [
        (semconv::ALERT_GROUP, &*rule.group),
        (semconv::ALERT_EXPRESSION, &rule.expression),
        (semconv::ALERT_UNIT, rule.unit.as_str()),
        (semconv::ALERT_RUNBOOK, rule.runbook.as_deref().unwrap_or_default()),
        (semconv::ALERT_SUMMARY, &transition.summary),
        (semconv::ALERT_DESCRIPTION, &transition.description),
        (semconv::ALERT_HUSHED, transition.hushed.map_or("", |why| why.as_str())),
        (semconv::ALERT_RESOLVE_REASON, transition.resolved.map_or("", |reason| reason.as_str())),
    ];
    let present = texts.into_iter().filter(|(_, value)| !value.is_empty());
    attributes.extend(present.map(|(key, value)| attribute(key, text(value))));
    let since = transition.active_since;
    let lasted = since.and_then(|since| transition.at.duration_since(since).ok());
    let numbers = [
        (semconv::ALERT_VALUE, transition.value),
        (semconv::ALERT_THRESHOLD, transition.threshold),
        (semconv::ALERT_DURATION, lasted.map(|lasted| lasted.as_secs_f64())),
    ];
    let present = numbers.into_iter().filter_map(|(key, value)| Some((key, value?)));
    attributes.extend(present.map(|(key, value)| attribute(key, Any::DoubleValue(value))));
    if let Some(since) = since {
        attributes.push(attribute(semconv::ALERT_STARTED_AT, text(rfc3339(since))));
    }
    attributes.extend(
        transition
            .labels
            .iter()
            .map(|(key, value)| attribute(&format!("{}{key}", semconv::ALERT_LABEL), text(value))),
    );
    LogRecord {
        time_unix_nano: unix_nanos(transition.at),
        observed_time_unix_nano: unix_nanos(observed),
        severity_number: severity_number.into(),
        severity_text: severity_text.into(),
        body: Some(AnyValue { value: Some(text(&*transition.summary)) }),
        attributes,
        event_name: semconv::ALERT_TRANSITION.into(),
        ..Default::default()
    }
}

/// In UTC, to the millisecond. Days to dates by Howard Hinnant's
/// [`civil_from_days`](https://howardhinnant.github.io/date_algorithms.html#civil_from_days), for
/// times since 1970.
fn rfc3339(at: SystemTime) -> String {
    let nanos = unix_nanos(at);
    let (seconds, millis) = (nanos / 1_000_000_000, nanos / 1_000_000 % 1_000);
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        // Each checked with `date -u -d @SECONDS`.
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)), expected);
        }
    }
}
