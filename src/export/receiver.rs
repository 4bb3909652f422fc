//! What Alertmanagers and webhooks have in common: an address, headers, a time-out, an answer.

use std::{
    fmt,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use super::otlp::{self, endpoint};
use crate::{
    instrument::{Counter, Gauge},
    name::{Labels, Unit},
    registry::Registry,
    semconv,
    transport::{Fault, Tls, http, retry::Backoff},
};

pub(super) const TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(25);
/// Prometheus' own for its Alertmanagers.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two log lines about the same receiver.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How a receiver is spoken to.
#[derive(Clone)]
pub(super) struct Manner {
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) plaintext_credentials: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self { headers: Vec::new(), timeout: DEFAULT_TIMEOUT, plaintext_credentials: false }
    }
}

impl Manner {
    /// What is wrong with it and with these addresses; `what` names the sink.
    pub(super) fn check(
        &self,
        what: &str,
        urls: &[&str],
        path: endpoint::Path,
    ) -> Vec<otlp::Error> {
        let mut mistakes = Vec::new();
        let setting = format!("{what} url");
        if urls.is_empty() {
            mistakes.push(otlp::Error::new(&setting, "missing", "at least one"));
        }
        for text in urls {
            match url(text, path) {
                Err(allowed) => {
                    mistakes.push(otlp::Error::new(&setting, endpoint::place(text), allowed));
                }
                Ok(url) => mistakes.extend(self.exposed(what, &url)),
            }
        }
        let setting = format!("{what} header");
        for (name, value) in &self.headers {
            mistakes.extend(endpoint::check_header(&setting, name, value));
        }
        mistakes.extend(otlp::check_range(&format!("{what} timeout"), self.timeout, &TIMEOUTS));
        mistakes
    }

    fn exposed(&self, what: &str, url: &str) -> Option<otlp::Error> {
        if self.plaintext_credentials || !url.starts_with("http://") || endpoint::is_loopback(url) {
            return None;
        }
        let secret = |name: &str| endpoint::is_credential(&name.to_ascii_lowercase());
        let (name, _) = self.headers.iter().find(|(name, _)| secret(name))?;
        Some(otlp::Error::new(
            format!("{what} header {name:?}"),
            format!("sent to {} in the clear", endpoint::place(url)),
            "https://, a loopback address, or allow_plaintext_credentials",
        ))
    }
}

/// The full address, or what would be allowed.
pub(super) fn url(text: &str, path: endpoint::Path) -> Result<String, String> {
    endpoint::parse_endpoint(text, path, otlp::Protocol::HttpProtobuf)
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Taken,
    /// The body is at fault: sending it again is of no use.
    Refused(String),
    Later(Option<Duration>, String),
}

/// One receiver and how it fares.
pub(super) struct Line {
    /// Its path may be a secret.
    url: String,
    /// What may be shown of it.
    place: String,
    client: http::Client,
    timeout: Duration,
    backoff: Backoff,
    /// No attempt before.
    pub(super) not_before: Option<Instant>,
    pub(super) last_error: Option<String>,
    logged: Option<Instant>,
    delivered: Counter,
    retries: Counter,
    dropped: Gauge,
}

impl Line {
    /// # Errors
    /// Why there can be no client.
    pub(super) fn new(
        sink: &'static str,
        url: String,
        timeout: Duration,
        registry: &Registry,
    ) -> Result<Self, String> {
        let client = http::Client::new(&Tls::default())?;
        registry.describe(
            semconv::SINK_DELIVERED,
            Unit::known("{alert}"),
            "Alerts a receiver took, each time they were sent.",
        );
        registry.describe(
            semconv::SINK_RETRIES,
            Unit::known("{request}"),
            "Requests that failed and were made again.",
        );
        let labels =
            Labels::new([(semconv::SINK, sink), (semconv::SERVER_ADDRESS, &authority(&url))]);
        let reason = Labels::new([(semconv::REASON, sink)]);
        Ok(Self {
            client,
            timeout,
            backoff: Backoff::new(otlp::random_u128() as u64),
            not_before: None,
            last_error: None,
            logged: None,
            delivered: registry.counter(semconv::SINK_DELIVERED, &labels),
            retries: registry.counter(semconv::SINK_RETRIES, &labels),
            dropped: registry.observed_counter(semconv::DROPPED, &reason),
            place: endpoint::place(&url),
            url,
        })
    }

    /// Sends, and keeps count; `items` are the alerts in it.
    pub(super) fn post(
        &mut self,
        headers: &[(String, String)],
        body: &[u8],
        items: u64,
        deadline: Option<Instant>,
    ) -> Verdict {
        let left = deadline.map_or(self.timeout, |at| at.saturating_duration_since(Instant::now()));
        let timeout = self.timeout.min(left).max(Duration::from_millis(1));
        let request = http::Request {
            url: &self.url,
            headers,
            content_type: "application/json",
            encoding: None,
            body,
        };
        let verdict = match self.client.post(request, timeout) {
            Ok(answer) => judge(&answer),
            Err(Fault::Impossible(words)) => Verdict::Refused(words),
            Err(fault) => Verdict::Later(None, fault.to_string()),
        };
        match &verdict {
            Verdict::Taken => {
                self.backoff.succeeded();
                self.not_before = None;
                self.delivered.increment(items);
                if self.last_error.take().is_some() && self.logged.take().is_some() {
                    log::info!("highwater: {} takes alerts again", self.place);
                }
            }
            Verdict::Later(asked, words) => {
                self.retries.increment(1);
                let wait = self.backoff.failed(*asked);
                self.not_before = Instant::now().checked_add(wait);
                self.complain(&format!("{words}; trying again in {:.1} s", wait.as_secs_f64()));
            }
            Verdict::Refused(_) => self.backoff.succeeded(),
        }
        verdict
    }

    /// Counts alerts that never arrive.
    pub(super) fn lose(&mut self, items: u64, why: &str) {
        self.dropped.add(items as f64);
        self.complain(&format!("{why}; {items} alert(s) are lost"));
    }

    /// Forgets all waits.
    pub(super) fn hurry(&mut self) {
        self.not_before = None;
    }

    fn complain(&mut self, words: &str) {
        let now = Instant::now();
        if self.logged.is_none_or(|at| now.saturating_duration_since(at) >= LOG_INTERVAL) {
            self.logged = Some(now);
            log::warn!("highwater: {}: {words}", self.place);
        }
        self.last_error = Some(format!("{}: {words}", self.place));
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("place", &self.place).finish_non_exhaustive()
    }
}

fn authority(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

fn judge(answer: &http::Answer) -> Verdict {
    let said = || {
        let body = String::from_utf8_lossy(&answer.body);
        let body: String = body.chars().filter(|c| !c.is_control()).take(200).collect();
        format!("status {}: {body}", answer.status)
    };
    match answer.status {
        200..=299 => Verdict::Taken,
        // What the body says is wrong, or too much; all else may be mended over there.
        400 | 413 | 422 => Verdict::Refused(said()),
        _ => Verdict::Later(answer.retry_after, said()),
    }
}
