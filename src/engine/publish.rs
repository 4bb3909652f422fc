//! What an evaluation found, written back as series: `highwater.alert.state`, `.value` and
//! `.threshold`, since logs get lost and Grafana needs series.

use crate::{
    event::RuleInfo,
    instrument::Gauge,
    name::{Labels, Unit},
    registry::Registry,
    rule::Status,
    semconv,
    sync::Arc,
};

/// The gauges of every alert, in the order the evaluator lists them, so that a steady state
/// resolves no name.
#[derive(Debug)]
pub(super) struct AlertSeries {
    registry: Arc<Registry>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    rule: Arc<RuleInfo>,
    labels: Labels,
    state: Gauge,
    value: Gauge,
    threshold: Gauge,
}

impl AlertSeries {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        registry.describe(
            semconv::ALERT_STATE,
            // Not "1", which receivers turn into a name that ends in "ratio".
            Unit::NONE,
            "Where the alert stands: 0 inactive, 1 no data, 2 error, 3 pending, 4 firing.",
        );
        registry.describe(semconv::ALERT_VALUE, Unit::NONE, "What the alert's rule compares.");
        registry.describe(semconv::ALERT_THRESHOLD, Unit::NONE, "What it is compared with.");
        Self { registry, entries: Vec::new() }
    }

    pub(super) fn publish<'a>(&mut self, statuses: impl Iterator<Item = Status<'a>>) {
        let mut count = 0;
        for (at, status) in statuses.enumerate() {
            count = at + 1;
            let known = self.entries.get(at).is_some_and(|entry| entry.is_of(&status));
            if !known {
                // Alerts came or went: everything from here on has moved.
                for gone in self.entries.drain(at..) {
                    gone.clear();
                }
                let entry = self.resolve(&status);
                self.entries.push(entry);
            }
            self.entries[at].write(&status);
        }
        for gone in self.entries.drain(count..) {
            gone.clear();
        }
    }

    fn resolve(&self, status: &Status<'_>) -> Entry {
        let gauge = |name| self.registry.gauge(name, status.labels);
        Entry {
            rule: status.rule.clone(),
            labels: status.labels.clone(),
            state: gauge(semconv::ALERT_STATE),
            value: gauge(semconv::ALERT_VALUE),
            threshold: gauge(semconv::ALERT_THRESHOLD),
        }
    }
}

impl Entry {
    fn is_of(&self, status: &Status<'_>) -> bool {
        Arc::ptr_eq(&self.rule, status.rule) && self.labels.is(status.labels)
    }

    fn write(&self, status: &Status<'_>) {
        self.state.set(f64::from(status.state as u8));
        set(&self.value, status.value);
        set(&self.threshold, status.threshold);
    }

    fn clear(&self) {
        for gauge in [&self.state, &self.value, &self.threshold] {
            gauge.clear();
        }
    }
}

fn set(gauge: &Gauge, value: Option<f64>) {
    // What a rule computed may be infinite or NaN: that is no value to plot, nor a drop to count.
    match value.filter(|value| value.is_finite()) {
        Some(value) => gauge.set(value),
        None => gauge.clear(),
    }
}
