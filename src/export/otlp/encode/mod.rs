//! From our snapshots and transitions to OTLP's messages. No clock, no network: what goes in
//! decides what comes out.

mod histogram;
mod history;
mod logs;
mod metrics;

#[cfg(feature = "otel-sdk-0-33")]
pub(crate) use histogram::gained;
pub(crate) use histogram::{advised_bounds, counts, with_declared};
pub(super) use logs::logs;
#[cfg(feature = "otel-sdk-0-33")]
pub(crate) use logs::record as log_record;
pub(super) use metrics::{Encoder, Shape};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any},
    resource::v1::Resource as ResourceMessage,
};

use super::resource::{Resource, Value};

pub(super) fn resource(resource: &Resource) -> ResourceMessage {
    let attributes = resource.iter().map(|(key, value)| match value {
        Value::Text(text) => attribute(key, Any::StringValue(text.clone())),
        Value::Integer(number) => attribute(key, Any::IntValue(*number)),
    });
    ResourceMessage { attributes: attributes.collect(), ..Default::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "highwater".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..Default::default()
    }
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn text(value: impl Into<String>) -> Any {
    Any::StringValue(value.into())
}
