//! How an instance fares, for people and readiness endpoints.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::telemetry::Losses;
use crate::{export::otlp, sync::Ordering, transport::Dropped};

/// How an instance fares at one moment; from [`Highwater::health`](crate::Highwater::health).
///
/// Shown as text it is a line for each thing to know. For an endpoint of a service: show it, and
/// think twice before you gate on it, as a service whose monitor is ill may be well.
///
/// ```
/// let hw = highwater::Highwater::builder("doc").start()?;
/// let health = hw.health();
/// assert!(health.problems.is_empty(), "{health}");
/// assert!(health.delivery.is_none(), "nothing is pushed anywhere");
/// # Ok::<(), highwater::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Health {
    /// Since the last round; `None` before the first.
    pub last_tick: Option<Duration>,
    /// What does not work at present, in words: a thread that was refused, rounds that do not come,
    /// a sampler that fails, a spool that cannot be used. Empty if all is well. The rest goes on
    /// meanwhile.
    pub problems: Vec<String>,
    /// How delivery over OTLP fares; `None` if nothing is pushed anywhere.
    pub delivery: Option<Delivery>,
}

/// How delivery fares at one moment. Counts are since the instance's start.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Delivery {
    /// Requests waiting to be taken.
    pub queued: u64,
    /// Their bytes, compressed.
    pub queued_bytes: u64,
    /// The age of the oldest data waiting.
    pub oldest: Option<Duration>,
    /// Bytes of the spool's files.
    pub disk_bytes: u64,
    /// Requests a receiver took.
    pub sent: u64,
    /// Attempts that failed and were, or will be, made again.
    pub retried: u64,
    /// Requests refused for good.
    pub refused: u64,
    /// Data points and log records lost, by reason: `queue_full`, `expired`, `damaged`, `refused`,
    /// `rejected`, `shutdown`; and what never became a request because the disk kept the thread that
    /// makes them: `export_interval` counts intervals of metrics, `alert_queue_full` transitions.
    pub dropped: Vec<(&'static str, u64)>,
    /// When a receiver last took a request.
    pub last_success: Option<SystemTime>,
    /// What went wrong last, in the receiver's words if it had any; stays after a success.
    pub last_error: Option<String>,
    /// The time between two pushes of metrics: longer than asked for while a receiver throttles.
    pub interval: Duration,
}

impl Delivery {
    pub(super) fn of(health: &otlp::Health, losses: &Losses, now: SystemTime) -> Self {
        let report = health.report();
        let [alerts, metrics] = report.lanes;
        Self {
            queued: report.load.requests,
            queued_bytes: report.load.bytes,
            oldest: report.load.oldest.map(|at| now.duration_since(at).unwrap_or_default()),
            disk_bytes: report.disk_bytes,
            sent: alerts.sent + metrics.sent,
            retried: alerts.retried + metrics.retried,
            refused: alerts.refused + metrics.refused,
            dropped: Dropped::ALL
                .map(|why| {
                    (why.as_str(), alerts.dropped[why as usize] + metrics.dropped[why as usize])
                })
                .into_iter()
                .chain([
                    ("export_interval", losses.export_interval.load(Ordering::Relaxed)),
                    ("alert_queue_full", losses.alert_queue_full.load(Ordering::Relaxed)),
                ])
                .collect(),
            last_success: report.last_success,
            last_error: health.last_error(),
            interval: health.interval(),
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last_tick {
            Some(age) => write!(f, "last round {:.1} s ago", age.as_secs_f64())?,
            None => f.write_str("no round yet")?,
        }
        for problem in &self.problems {
            write!(f, "\nproblem: {problem}")?;
        }
        if let Some(delivery) = &self.delivery {
            write!(f, "\ndelivery: {delivery}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queued, queued_bytes, sent, retried, refused, disk_bytes, .. } = self;
        write!(f, "{queued} requests wait ({queued_bytes} bytes")?;
        if let Some(oldest) = self.oldest {
            write!(f, ", the oldest for {:.1} s", oldest.as_secs_f64())?;
        }
        write!(f, "; {disk_bytes} bytes of files); {sent} sent, {retried} retried")?;
        write!(f, ", {refused} refused")?;
        for (why, lost) in self.dropped.iter().filter(|(_, lost)| *lost > 0) {
            write!(f, "; {lost} items lost: {why}")?;
        }
        if let Some(error) = &self.last_error {
            write!(f, "; last error: {error}")?;
        }
        Ok(())
    }
}
