//! A metric as a row of a table: what it is called, what it means, and how to get it from a
//! reading. Each sampler is a reading and such a table, so that sources may differ (procfs,
//! sysinfo) and names cannot.

use super::Meter;
use crate::{
    instrument::Gauge,
    name::{Labels, Unit},
    registry::Kind,
};

/// `None` where this reading lacks it: the series is absent.
pub(super) type Value<R> = fn(&R) -> Option<f64>;

/// One series that is got from a reading `R`.
pub(super) struct Field<R> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: &'static str,
    pub(super) help: &'static str,
    /// Nothing for a series without labels.
    pub(super) label: Option<(&'static str, &'static str)>,
    pub(super) value: Value<R>,
}

/// A table with its handles.
#[derive(Debug)]
pub(super) struct Fields<R: 'static> {
    rows: Vec<(Gauge, Value<R>)>,
}

impl<R> Fields<R> {
    pub(super) fn resolve(table: &[Field<R>], meter: &mut Meter) -> Self {
        let rows = table.iter().map(|field| {
            let labels = Labels::new(field.label);
            let unit = Unit::known(field.unit);
            (meter.remember(field.name, field.kind, unit, field.help, &labels), field.value)
        });
        Self { rows: rows.collect() }
    }

    pub(super) fn publish(&self, reading: &R) {
        for (gauge, value) in &self.rows {
            put(gauge, value(reading));
        }
    }
}

/// `part ÷ whole`, nothing if there is no whole.
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Sets it, or makes it absent.
pub(super) fn put(gauge: &Gauge, value: Option<f64>) {
    match value {
        Some(value) => gauge.set(value),
        None => gauge.clear(),
    }
}
