//! An alert's transition as the API's log record: what it is over OTLP.

use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger, Severity};
use opentelemetry_proto::tonic::{common::v1::any_value::Value, logs::v1::SeverityNumber};

use crate::{
    event::Transition,
    export::otlp::{self, random_u128},
    semconv,
};

pub(super) fn record<L: Logger>(logger: &L, transition: &Transition) -> L::LogRecord {
    let encoded = otlp::log_record(transition, SystemTime::now(), random_u128());
    let mut record = logger.create_log_record();
    record.set_event_name(semconv::ALERT_TRANSITION);
    record.set_timestamp(SystemTime::UNIX_EPOCH + Duration::from_nanos(encoded.time_unix_nano));
    record.set_observed_timestamp(
        SystemTime::UNIX_EPOCH + Duration::from_nanos(encoded.observed_time_unix_nano),
    );
    let (severity, text) = match encoded.severity_number() {
        SeverityNumber::Error => (Severity::Error, "ERROR"),
        SeverityNumber::Warn => (Severity::Warn, "WARN"),
        _ => (Severity::Info, "INFO"),
    };
    record.set_severity_number(severity);
    record.set_severity_text(text);
    if let Some(body) = encoded.body.and_then(|body| any(body.value)) {
        record.set_body(body);
    }
    for attribute in encoded.attributes {
        if let Some(value) = attribute.value.and_then(|value| any(value.value)) {
            record.add_attribute(attribute.key, value);
        }
    }
    record
}

/// Of the kinds there are in ours; none is left out.
fn any(value: Option<Value>) -> Option<AnyValue> {
    Some(match value? {
        Value::StringValue(text) => AnyValue::String(text.into()),
        Value::BoolValue(flag) => AnyValue::Boolean(flag),
        Value::IntValue(number) => AnyValue::Int(number),
        Value::DoubleValue(number) => AnyValue::Double(number),
        Value::ArrayValue(array) => {
            let items = array.values.into_iter().filter_map(|item| any(item.value));
            AnyValue::ListAny(Box::new(items.collect()))
        }
        Value::KvlistValue(map) => AnyValue::Map(Box::new(
            map.values
                .into_iter()
                .filter_map(|pair| Some((pair.key.into(), any(pair.value?.value)?)))
                .collect(),
        )),
        Value::BytesValue(bytes) => AnyValue::Bytes(Box::new(bytes)),
        // An index into a table that profiles have, and log records do not.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{
        AnyValue as Encoded, ArrayValue, KeyValue, KeyValueList,
    };

    use super::*;

    #[test]
    fn whatever_is_in_a_record_over_otlp_is_in_one_of_the_sdk() {
        let text = |text: &str| Encoded { value: Some(Value::StringValue(text.to_owned())) };
        let array = ArrayValue { values: vec![text("a"), text("b")] };
        let list = AnyValue::ListAny(Box::new(vec!["a".into(), "b".into()]));
        assert_eq!(any(Some(Value::ArrayValue(array.clone()))), Some(list.clone()));
        let pair = KeyValue {
            key: "k".to_owned(),
            value: Some(Encoded { value: Some(Value::ArrayValue(array)) }),
            ..Default::default()
        };
        let map = AnyValue::Map(Box::new([("k".into(), list)].into()));
        let of = KeyValueList { values: vec![pair] };
        assert_eq!(any(Some(Value::KvlistValue(of))), Some(map));
    }
}
