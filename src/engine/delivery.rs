//! How delivery fares, as series.

use crate::{
    clock::Moment,
    export::otlp::Health,
    instrument::Gauge,
    name::{Labels, Unit},
    registry::Registry,
    semconv,
    sync::Arc,
    transport::{Dropped, Lane},
};

#[derive(Debug)]
pub(super) struct Delivery {
    health: Arc<Health>,
    /// An age without a success counts from here.
    started: Moment,
    lanes: [LaneSeries; 2],
    interval: Gauge,
    /// What the spool takes and of what share, if there is one.
    spool: Option<(Gauge, Gauge)>,
}

#[derive(Debug)]
struct LaneSeries {
    exported: Gauge,
    /// By [`Dropped`].
    lost: Vec<Gauge>,
    sent: Gauge,
    retried: Gauge,
    refused: Gauge,
    refused_in_a_row: Gauge,
    queued: Gauge,
    queued_bytes: Gauge,
    oldest: Gauge,
    success_age: Gauge,
}

impl Delivery {
    pub(super) fn new(registry: &Arc<Registry>, health: Arc<Health>, started: Moment) -> Self {
        use semconv as name;
        for (name, unit, help) in [
            (name::EXPORTED_POINTS, "{data_point}", "Data points taken, or lost by error.type."),
            (name::EXPORTED_LOGS, "{log_record}", "Log records taken, or lost by error.type."),
            (name::EXPORT_SENT, "{request}", "Requests a receiver took."),
            (name::EXPORT_RETRIES, "{request}", "Attempts that failed and were made again."),
            (name::EXPORT_REFUSED, "{request}", "Requests a receiver refused for good."),
            (
                name::EXPORT_REFUSED_IN_A_ROW,
                "{request}",
                "Requests refused for good since one was taken.",
            ),
            (name::EXPORT_QUEUE_SIZE, "{request}", "Requests waiting to be taken."),
            (name::EXPORT_QUEUE_BYTES, "By", "Bytes of the requests waiting to be taken."),
            (name::EXPORT_QUEUE_AGE, "s", "Age of the oldest data waiting to be taken."),
            (name::EXPORT_SUCCESS_AGE, "s", "Time since a receiver took a request."),
            (name::EXPORT_INTERVAL, "s", "Time between two pushes of metrics."),
            (name::SPOOL_USAGE, "By", "Bytes of the spool's files."),
            (name::SPOOL_UTILIZATION, "1", "The spool's files as a share of their limit."),
        ] {
            registry.describe(name, Unit::known(unit), help);
        }
        let none = Labels::empty();
        let lanes = Lane::ALL.map(|lane| {
            let (items, signal) = match lane {
                Lane::Alerts => (name::EXPORTED_LOGS, "logs"),
                Lane::Metrics => (name::EXPORTED_POINTS, "metrics"),
            };
            let lost = |why: Dropped| {
                let labels = Labels::new([(name::ERROR_TYPE, why.as_str())]);
                registry.observed_counter(items, &labels)
            };
            let signal = Labels::new([(name::SIGNAL, signal)]);
            LaneSeries {
                exported: registry.observed_counter(items, &none),
                lost: Dropped::ALL.map(lost).into(),
                sent: registry.observed_counter(name::EXPORT_SENT, &signal),
                retried: registry.observed_counter(name::EXPORT_RETRIES, &signal),
                refused: registry.observed_counter(name::EXPORT_REFUSED, &signal),
                refused_in_a_row: registry.gauge(name::EXPORT_REFUSED_IN_A_ROW, &signal),
                queued: registry.gauge(name::EXPORT_QUEUE_SIZE, &signal),
                queued_bytes: registry.gauge(name::EXPORT_QUEUE_BYTES, &signal),
                oldest: registry.gauge(name::EXPORT_QUEUE_AGE, &signal),
                success_age: registry.gauge(name::EXPORT_SUCCESS_AGE, &signal),
            }
        });
        let spool = health.disk_limit().map(|_| {
            let gauge = |name| registry.gauge(name, &none);
            (gauge(name::SPOOL_USAGE), gauge(name::SPOOL_UTILIZATION))
        });
        let interval = registry.gauge(name::EXPORT_INTERVAL, &none);
        Self { health, started, lanes, interval, spool }
    }

    pub(super) fn publish(&self, now: Moment) {
        let report = self.health.report();
        let age = |since| now.wall.duration_since(since).unwrap_or_default().as_secs_f64();
        for (series, lane) in self.lanes.iter().zip(&report.lanes) {
            series.exported.set(lane.sent_items as f64);
            series.sent.set(lane.sent as f64);
            series.retried.set(lane.retried as f64);
            series.refused.set(lane.refused as f64);
            for (gauge, lost) in series.lost.iter().zip(lane.dropped) {
                gauge.set(lost as f64);
            }
            series.refused_in_a_row.set(lane.refused_in_a_row as f64);
            series.queued.set(lane.load.requests as f64);
            series.queued_bytes.set(lane.load.bytes as f64);
            series.oldest.set(lane.load.oldest.map_or(0.0, age));
            series.success_age.set(age(lane.last_success.unwrap_or(self.started.wall)));
        }
        self.interval.set(self.health.interval().as_secs_f64());
        if let (Some((usage, share)), Some(limit)) = (&self.spool, self.health.disk_limit()) {
            usage.set(report.disk_bytes as f64);
            share.set(report.disk_bytes as f64 / limit as f64);
        }
    }
}
