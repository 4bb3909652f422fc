//! Encoding, queueing, sending, and reading the receiver's mind.
//!
//! Owned by the `highwater-io` thread. Nothing here sleeps: [`Exporter::send_next`] makes at most
//! one attempt and says when to come again, so its thread can take new alerts (which overtake all
//! metrics) or stop in between. A request leaves the queue when the receiver took it or refused it
//! for good; with anything else it stays, its timestamps unchanged, until the queue is full.

use std::{
    io::Write,
    time::{Duration, Instant, SystemTime},
};

use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse},
    resource::v1::Resource as ResourceMessage,
};
use prost::Message;

use super::{
    config::{Compression, Settings, Target},
    encode,
    health::{Dropped, Health},
    resource::{Resource, random_u128},
};
use crate::{
    event::Transition,
    registry::Snapshot,
    sync::Arc,
    transport::{
        http::{self, Answer, Client, Fault, Request},
        queue::{Lane, Parcel, Queue},
        retry::Backoff,
    },
};

const CONTENT_TYPE: &str = "application/x-protobuf";
/// Of compressed requests: a day of a small service at the default interval.
const QUEUE_BYTES: usize = 4 << 20;
/// Between two log lines of one kind.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// As much of a receiver's words as is repeated.
const WORDS: usize = 300;

/// Sends metrics and alerts to their receivers.
#[derive(Debug)]
pub(crate) struct Exporter {
    resource: ResourceMessage,
    queue: Queue,
    /// By [`Lane`].
    routes: [Option<Route>; 2],
    health: Arc<Health>,
    interval: Duration,
    /// Reused from request to request.
    encoded: Vec<u8>,
    spoken: [Spoken; Topic::COUNT],
}

/// One lane's receiver and how it fares.
#[derive(Debug)]
struct Route {
    target: Target,
    client: Client,
    backoff: Backoff,
    /// No attempt before.
    not_before: Option<Instant>,
}

/// What [`Exporter::send_next`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// One attempt was made, well or badly: call again.
    Tried,
    /// All that waits must wait for so long.
    Wait(Duration),
    /// Nothing waits.
    Idle,
    /// Something waits and could be sent, but the deadline is over.
    OutOfTime,
}

/// What an attempt came to.
#[derive(Debug, PartialEq)]
enum Verdict {
    Accepted { rejected: u64, words: Option<String>, unclear: bool },
    Later { asked: Option<Duration>, words: String },
    Refused { words: String },
}

/// Cuts off the request under way.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Vec<http::Interrupt>);

impl Interrupt {
    pub(crate) fn cut(&self) {
        self.0.iter().for_each(http::Interrupt::cut);
    }
}

impl Exporter {
    /// # Errors
    /// What is wrong with the certificates.
    pub(crate) fn new(settings: Settings, resource: &Resource) -> Result<Self, String> {
        let [alerts, metrics] = settings.targets;
        Ok(Self {
            resource: encode::resource(resource),
            queue: Queue::new(QUEUE_BYTES),
            routes: [Route::new(alerts)?, Route::new(metrics)?],
            health: Arc::default(),
            interval: settings.interval,
            encoded: Vec::new(),
            spoken: Default::default(),
        })
    }

    /// The time between two pushes of metrics.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    pub(crate) fn health(&self) -> &Arc<Health> {
        &self.health
    }

    pub(crate) fn interrupt(&self) -> Interrupt {
        Interrupt(self.routes.iter().flatten().map(|route| route.client.interrupt()).collect())
    }

    /// Encodes a snapshot to be sent; nothing if metrics go nowhere.
    pub(crate) fn queue_metrics(&mut self, snapshot: &Snapshot) {
        if self.routes[Lane::Metrics as usize].is_none() {
            return;
        }
        if let Some((request, points)) = encode::metrics(snapshot, &self.resource) {
            self.queue(Lane::Metrics, &request, snapshot.at.wall, points);
        }
    }

    /// Encodes transitions to be sent, `observed` now; nothing if log records go nowhere.
    pub(crate) fn queue_alerts(&mut self, transitions: &[Arc<Transition>], observed: SystemTime) {
        if self.routes[Lane::Alerts as usize].is_none() {
            return;
        }
        let request = encode::logs(transitions, observed, &self.resource, random_u128);
        if let Some(request) = request {
            self.queue(Lane::Alerts, &request, observed, transitions.len() as u64);
        }
    }

    fn queue(&mut self, lane: Lane, request: &impl Message, at: SystemTime, items: u64) {
        self.encoded.clear();
        // Into a growing vector, which always has room.
        let _ = request.encode(&mut self.encoded);
        let compression = self.routes[lane as usize]
            .as_ref()
            .map_or(Compression::None, |route| route.target.compression);
        let (encoding, body) = match compression {
            Compression::None => (None, self.encoded.clone()),
            Compression::Gzip => match gzip(&self.encoded) {
                Ok(body) => (Some("gzip"), body),
                Err(_) => (None, self.encoded.clone()),
            },
        };
        let dropped = self.queue.push(lane, Parcel { at, items, encoding, body });
        if !dropped.is_empty() {
            for (lane, parcel) in &dropped {
                self.health.dropped(*lane, Dropped::QueueFull, parcel.items);
            }
            self.say(Topic::QueueFull, Instant::now(), || {
                format!(
                    "highwater: more than {QUEUE_BYTES} bytes wait to be sent: dropped the oldest {} request(s)",
                    dropped.len()
                )
            });
        }
        self.health.queue(&self.queue);
    }

    /// Makes at most one attempt, alerts first, done by `deadline`.
    pub(crate) fn send_next(&mut self, now: Instant, deadline: Instant) -> Step {
        let mut wait: Option<Duration> = None;
        for lane in Lane::ALL {
            let (Some(route), Some((id, parcel))) =
                (&self.routes[lane as usize], self.queue.pick(lane))
            else {
                continue;
            };
            let remaining = route.not_before.map(|at| at.saturating_duration_since(now));
            if let Some(remaining) = remaining.filter(|remaining| !remaining.is_zero()) {
                wait = Some(wait.map_or(remaining, |least| least.min(remaining)));
                continue;
            }
            let timeout = route.target.timeout.min(deadline.saturating_duration_since(now));
            if timeout.is_zero() {
                return Step::OutOfTime;
            }
            let started = Instant::now();
            let verdict = route.attempt(lane, parcel, timeout);
            self.conclude(lane, id, verdict, now + started.elapsed());
            return Step::Tried;
        }
        wait.map_or(Step::Idle, Step::Wait)
    }

    /// Forgets all waits, for one more attempt at everything before the end.
    pub(crate) fn hurry(&mut self) {
        for route in self.routes.iter_mut().flatten() {
            route.not_before = None;
        }
    }

    /// Gives up on what still waits, counted.
    pub(crate) fn abandon(&mut self) {
        for (lane, parcel) in self.queue.drain() {
            self.health.dropped(lane, Dropped::Shutdown, parcel.items);
        }
        self.health.queue(&self.queue);
    }

    fn conclude(&mut self, lane: Lane, id: u64, verdict: Verdict, now: Instant) {
        let Some(route) = &mut self.routes[lane as usize] else { return };
        let url = route.target.url.clone();
        match verdict {
            Verdict::Accepted { rejected, words, unclear } => {
                route.backoff.succeeded();
                route.not_before = None;
                let items = self.queue.remove(lane, id).map_or(0, |parcel| parcel.items);
                let rejected = rejected.min(items);
                self.health.sent(lane, items - rejected, SystemTime::now());
                self.health.dropped(lane, Dropped::Rejected, rejected);
                if unclear {
                    self.health.unclear(lane);
                }
                if let Some(words) = words {
                    let line = format!("{url} took a request, but {words}");
                    self.health.error(&line);
                    let topic = if rejected > 0 { Topic::Rejected } else { Topic::Remark };
                    self.say(topic, now, || format!("highwater: {line}"));
                }
            }
            Verdict::Later { asked, words } => {
                let wait = route.backoff.failed(asked);
                route.not_before = Some(now + wait);
                self.queue.failed(lane, id);
                self.health.retried(lane);
                let line = format!("{url}: {words}");
                self.health.error(&line);
                self.say(Topic::Later, now, || {
                    format!("highwater: {line}; trying again in {:.1} s", wait.as_secs_f64())
                });
            }
            Verdict::Refused { words } => {
                route.backoff.succeeded();
                route.not_before = None;
                let items = self.queue.remove(lane, id).map_or(0, |parcel| parcel.items);
                self.health.refused(lane, items);
                let line = format!("{url} refused a request for good: {words}");
                self.health.error(&line);
                self.say(Topic::Refused, now, || {
                    format!("highwater: {line}; {items} data point(s) or record(s) are lost")
                });
            }
        }
        self.health.queue(&self.queue);
    }

    /// Logs, at most once a topic and [`LOG_INTERVAL`].
    fn say(&mut self, topic: Topic, now: Instant, line: impl FnOnce() -> String) {
        let spoken = &mut self.spoken[topic as usize];
        if spoken.at.is_some_and(|at| now.saturating_duration_since(at) < LOG_INTERVAL) {
            spoken.kept_back += 1;
            return;
        }
        let kept_back = std::mem::take(&mut spoken.kept_back);
        spoken.at = Some(now);
        match kept_back {
            0 => log::warn!("{}", line()),
            more => log::warn!("{} (and {more} more like it)", line()),
        }
    }
}

/// What is logged, each with its own limit.
#[derive(Debug, Clone, Copy)]
enum Topic {
    QueueFull,
    Later,
    Refused,
    Rejected,
    Remark,
}

impl Topic {
    const COUNT: usize = 5;
}

#[derive(Debug, Default)]
struct Spoken {
    at: Option<Instant>,
    kept_back: u64,
}

impl Route {
    fn new(target: Option<Target>) -> Result<Option<Self>, String> {
        let Some(target) = target else { return Ok(None) };
        let client = Client::new(&target.tls)?;
        let backoff = Backoff::new(random_u128() as u64);
        Ok(Some(Self { target, client, backoff, not_before: None }))
    }

    fn attempt(&self, lane: Lane, parcel: &Parcel, timeout: Duration) -> Verdict {
        let request = Request {
            url: &self.target.url,
            headers: &self.target.headers,
            content_type: CONTENT_TYPE,
            encoding: parcel.encoding,
            body: &parcel.body,
        };
        match self.client.post(request, timeout) {
            Ok(answer) => judge(lane, &answer),
            Err(Fault::Impossible(words)) => Verdict::Refused { words },
            Err(fault) => Verdict::Later { asked: None, words: fault.to_string() },
        }
    }
}

/// [The specification's](https://opentelemetry.io/docs/specs/otlp/#otlphttp-response) reading of an
/// answer: 429, 502, 503, 504 are tried again, all other failures never.
fn judge(lane: Lane, answer: &Answer) -> Verdict {
    match answer.status {
        200..=299 => accepted(lane, answer),
        429 | 502 | 503 | 504 => {
            Verdict::Later { asked: answer.retry_after, words: failure_words(answer) }
        }
        _ => Verdict::Refused { words: failure_words(answer) },
    }
}

fn accepted(lane: Lane, answer: &Answer) -> Verdict {
    // Some receivers answer success with no body at all.
    if answer.body.is_empty() {
        return Verdict::Accepted { rejected: 0, words: None, unclear: false };
    }
    let partial =
        answer.content_type.starts_with(CONTENT_TYPE).then(|| partial_success(lane, &answer.body));
    let Some(Some((rejected, message))) = partial else {
        let words = format!(
            "its answer is no OTLP: {:?}, {:?}",
            printable(answer.content_type.as_bytes()),
            printable(&answer.body)
        );
        return Verdict::Accepted { rejected: 0, words: Some(words), unclear: true };
    };
    let words = match (rejected, message.is_empty()) {
        (0, true) => None,
        (0, false) => Some(format!("says {:?}", printable(message.as_bytes()))),
        (count, _) => Some(format!(
            "rejected {count} of what was in it, saying {:?}",
            printable(message.as_bytes())
        )),
    };
    Verdict::Accepted { rejected, words, unclear: false }
}

/// How many items were rejected, and the message; `None` if the body is no OTLP answer.
fn partial_success(lane: Lane, body: &[u8]) -> Option<(u64, String)> {
    let partial = match lane {
        Lane::Metrics => ExportMetricsServiceResponse::decode(body)
            .ok()?
            .partial_success
            .map(|partial| (partial.rejected_data_points, partial.error_message)),
        Lane::Alerts => ExportLogsServiceResponse::decode(body)
            .ok()?
            .partial_success
            .map(|partial| (partial.rejected_log_records, partial.error_message)),
    };
    let (rejected, message) = partial.unwrap_or_default();
    Some((u64::try_from(rejected).unwrap_or(0), message))
}

/// The body of a failure is a `google.rpc.Status`; of that, only the message matters.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

fn failure_words(answer: &Answer) -> String {
    let status = answer.status;
    let message = answer
        .content_type
        .starts_with(CONTENT_TYPE)
        .then(|| Status::decode(&*answer.body).ok())
        .flatten()
        .map(|status| printable(status.message.as_bytes()));
    match message.unwrap_or_else(|| printable(&answer.body)) {
        words if words.is_empty() => format!("HTTP status {status}"),
        words => format!("HTTP status {status}, saying {words:?}"),
    }
}

/// What a stranger sent, fit for a log: one line, no control characters, not too long.
fn printable(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(WORDS * 4)];
    let text = String::from_utf8_lossy(head);
    let mut words: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS).collect();
    if text.chars().nth(WORDS).is_some() {
        words.push('…');
    }
    words.trim().to_owned()
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    // Fast: the better levels save a tenth of the bytes for several times the work.
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}
