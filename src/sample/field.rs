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
    rows: Vec<(Told, Value<R>)>,
    last: Option<R>,
}

impl<R: PartialEq> Fields<R> {
    pub(super) fn resolve(table: &[Field<R>], meter: &mut Meter) -> Self {
        let rows = table.iter().map(|field| {
            let labels = Labels::new(field.label);
            let unit = Unit::known(field.unit);
            let gauge = meter.remember(field.name, field.kind, unit, field.help, &labels);
            (Told::new(gauge), field.value)
        });
        Self { rows: rows.collect(), last: None }
    }

    pub(super) fn publish(&mut self, reading: R) {
        if self.last.as_ref() == Some(&reading) {
            return;
        }
        for (told, value) in &mut self.rows {
            told.put(value(&reading));
        }
        self.last = Some(reading);
    }
}

/// A handle, and what it was told last: what is the same is not told again. Each value lies in a part
/// of memory of its own, and after a second's pause fetching that costs more than all else about it.
#[derive(Debug)]
pub(super) struct Told {
    gauge: Gauge,
    last: Option<f64>,
}

impl Told {
    /// Of a handle that nobody else sets.
    pub(super) fn new(gauge: Gauge) -> Self {
        gauge.clear();
        Self { gauge, last: None }
    }

    pub(super) fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    pub(super) fn last(&self) -> Option<f64> {
        self.last
    }

    pub(super) fn put(&mut self, value: Option<f64>) {
        if value != self.last {
            self.last = value;
            put(&self.gauge, value);
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
