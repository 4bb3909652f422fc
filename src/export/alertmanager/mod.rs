//! Alertmanager, spoken to directly: for shops whose routing, grouping and silencing live there,
//! and who would hear of an alert before a Prometheus server has scraped and evaluated.
//!
//! A firing alert is sent at once and again every [`resend_delay`](Config::resend_delay), as a
//! Prometheus server does, with an `endsAt` four of these away: should the process die, the alert
//! resolves there by itself. Its end is sent with the time of the end. Labels are those that the
//! exported rules have on a server that receives this service over OTLP: `job` is
//! `service.namespace/service.name`, `instance` is `service.instance.id`. Where a server that
//! scrapes gives its target the same two, its alerts and ours are the same alerts, and so are
//! routes and silences; those of a rule that sums both away are not.
//!
//! Each Alertmanager has a thread of its own while alerts are firing or waiting, so one that hangs
//! delays nobody; with a cluster, name each of its members, as for Prometheus.
//!
//! ```
//! use highwater::{Highwater, export::alertmanager};
//!
//! let hw = Highwater::builder("shop")
//!     .sink(alertmanager::to(["http://127.0.0.1:9093"]).label("cluster", "eu-1"))
//!     .start()?;
//! # Ok::<(), highwater::Error>(())
//! ```

mod peer;

use std::{
    fmt,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use self::peer::{Peer, Plan};
use super::{
    otlp::{self, endpoint::Path},
    outbox::Outbox,
    receiver::{self, Line, Manner},
};
use crate::{
    alert::{Habits, Left, Remote, Retrier, Sink, Speaker},
    event::Transition,
    sync::Arc,
};

/// As `HIGHWATER_SINKS` and the self-metrics name it.
const NAME: &str = "alertmanager";
const THREAD: &str = "highwater-am";
/// Prometheus' default.
const DEFAULT_RESEND: Duration = Duration::from_secs(60);
const RESENDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
const PATH: Path = Path::Append("/api/v2/alerts");

/// Sends alerts to these Alertmanagers (`http://HOST:PORT`, with the prefix they are served under,
/// if any), each of them; for [`Builder::sink`](crate::Builder::sink).
///
/// `https://` needs the feature `tls`. Mistakes are reported when the instance is started.
pub fn to<U: Into<String>>(peers: impl IntoIterator<Item = U>) -> Config {
    Config {
        peers: peers.into_iter().map(Into::into).collect(),
        labels: Vec::new(),
        manner: Manner::default(),
        resend_delay: DEFAULT_RESEND,
        generator_url: None,
    }
}

/// How alerts are sent to Alertmanagers; from [`to`].
#[derive(Clone)]
#[must_use = "it does nothing until it is a builder's sink"]
pub struct Config {
    peers: Vec<String>,
    labels: Vec<(String, String)>,
    manner: Manner,
    resend_delay: Duration,
    generator_url: Option<String>,
}

impl Config {
    /// Adds a label to every alert that lacks it, as Prometheus' `external_labels`.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Adds a header to every request, such as `authorization`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.manner.headers.push((name.into(), value.into()));
        self
    }

    /// How long a request may take: 10 s by default, 100 ms to 25 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.manner.timeout = timeout;
        self
    }

    /// How often a firing alert is sent again: 60 s by default, 1 s to an hour.
    pub fn resend_delay(mut self, delay: Duration) -> Self {
        self.resend_delay = delay;
        self
    }

    /// Where people find out more, the `generatorURL` of every alert; by default none.
    pub fn generator_url(mut self, url: impl Into<String>) -> Self {
        self.generator_url = Some(url.into());
        self
    }

    /// Lets credentials travel over `http://` to other hosts.
    pub fn allow_plaintext_credentials(mut self) -> Self {
        self.manner.plaintext_credentials = true;
        self
    }
}

/// Header values may be secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers: Vec<_> = self.peers.iter().map(|peer| otlp::endpoint::place(peer)).collect();
        f.debug_struct("Config")
            .field("peers", &peers)
            .field("labels", &self.labels)
            .field("resend_delay", &self.resend_delay)
            .finish_non_exhaustive()
    }
}

impl From<Config> for Sink {
    fn from(config: Config) -> Self {
        Self::remote(NAME, Alertmanager { config, peers: Vec::new() })
    }
}

/// The sink.
#[derive(Debug)]
struct Alertmanager {
    config: Config,
    peers: Vec<Outbox<Peer>>,
}

impl Remote for Alertmanager {
    fn check(&self) -> Vec<otlp::Error> {
        let urls: Vec<_> = self.config.peers.iter().map(String::as_str).collect();
        let mut mistakes = self.config.manner.check(NAME, &urls, PATH);
        let delay = self.config.resend_delay;
        mistakes.extend(otlp::check_range("alertmanager resend_delay", delay, &RESENDS));
        let nameless = self.config.labels.iter().filter(|(key, _)| key.trim().is_empty());
        mistakes.extend(nameless.map(|(key, value)| {
            otlp::Error::new("alertmanager label", format!("{key:?} = {value:?}"), "a name")
        }));
        mistakes
    }

    /// Its books have to be right: what fires is told again, lest news that was lost stays so.
    fn habits(&self) -> Habits {
        Habits { again: true, books: true, ..Habits::default() }
    }

    fn begin(&mut self, speaker: Speaker) {
        let plan = Arc::new(Plan::new(&self.config, &speaker));
        for text in &self.config.peers {
            let line = receiver::url(text, PATH).and_then(|url| {
                Line::new(NAME, url, self.config.manner.timeout, &speaker.registry)
            });
            match line {
                Ok(line) => self.peers.push(Outbox::new(THREAD, Peer::new(plan.clone(), line))),
                // Checked at start; all that is left is that TLS cannot be had.
                Err(why) => log::error!("highwater: {}: {why}", otlp::endpoint::place(text)),
            }
        }
    }

    fn tell(&mut self, transition: &Arc<Transition>) -> bool {
        let told: Vec<_> = self.peers.iter().map(|peer| peer.push(transition)).collect();
        told.iter().all(|told| *told)
    }

    fn retrier(&self) -> Retrier {
        let peers = self.peers.clone();
        Box::new(move || peers.iter().for_each(Outbox::retry))
    }

    fn close(&mut self, deadline: Option<Instant>) {
        self.peers.iter().for_each(|peer| peer.close(deadline));
    }

    fn finish(&mut self) -> Option<Left> {
        self.peers
            .iter()
            .filter_map(Outbox::finish)
            .reduce(|all, one| Left { alerts: all.alerts + one.alerts, reason: all.reason })
    }
}
