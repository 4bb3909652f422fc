//! Transitions of alerts as log records: an event with flat attributes, so that any log store can
//! filter by them.
//!
//! The record's severity is the rule's when the alert fires and INFO for every other step, so that
//! "errors in the log" does not count an alert's end; the rule's own is always an attribute.

use std::time::SystemTime;

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, ArrayValue, KeyValue},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource as ResourceMessage,
};

use super::{Any, attribute, scope, text};
use crate::{
    clock::{rfc3339, unix_nanos},
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

/// An array of texts; nothing if there are none.
fn texts_of<'a>(key: &str, texts: impl Iterator<Item = &'a String>) -> Option<KeyValue> {
    let values: Vec<_> = texts.map(|one| AnyValue { value: Some(text(one)) }).collect();
    (!values.is_empty()).then(|| attribute(key, Any::ArrayValue(ArrayValue { values })))
}

pub(crate) fn record(transition: &Transition, observed: SystemTime, uid: u128) -> LogRecord {
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
    if let Some(evidence) = &transition.evidence {
        let causes = evidence.causes.iter().map(|cause| &cause.text);
        let facts = evidence.facts.iter().map(|fact| &fact.text);
        attributes.extend(texts_of(semconv::ALERT_CAUSES, causes));
        attributes.extend(texts_of(semconv::ALERT_EVIDENCE, facts));
    }
    attributes.extend(
        transition
            .labels
            .iter()
            .map(|(key, value)| attribute(&format!("{}{key}", semconv::ALERT_LABEL), text(value))),
    );
    let annotations = transition.annotations.iter();
    attributes.extend(annotations.map(|(key, value)| {
        attribute(&format!("{}{key}", semconv::ALERT_ANNOTATION), text(value))
    }));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::testing;

    /// The texts of an attribute that is an array.
    fn array(record: &LogRecord, key: &str) -> Option<Vec<String>> {
        let found = record.attributes.iter().find(|attribute| attribute.key == key)?;
        let Some(Any::ArrayValue(array)) = found.value.clone()?.value else { return None };
        let texts = array.values.into_iter().map(|one| match one.value {
            Some(Any::StringValue(text)) => text,
            other => panic!("{other:?} is no text"),
        });
        Some(texts.collect())
    }

    #[test]
    fn a_record_carries_the_evidence() {
        let at = SystemTime::UNIX_EPOCH;
        let told = record(&testing::explained("Full"), at, 7);
        let causes = array(&told, semconv::ALERT_CAUSES);
        assert_eq!(causes, Some(vec!["the store \"grew\"".to_owned()]));
        let facts = array(&told, semconv::ALERT_EVIDENCE);
        let expected = ["store holds 9MiB", "cache holds 1MiB"].map(str::to_owned);
        assert_eq!(facts, Some(expected.to_vec()));
        // Without any there is no empty array.
        let plain = record(&testing::transition("Full"), at, 7);
        assert_eq!(array(&plain, semconv::ALERT_CAUSES), None);
        assert!(plain.attributes.iter().all(|attribute| attribute.key != semconv::ALERT_EVIDENCE));
    }
}
