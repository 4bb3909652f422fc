//! Where to push and how: what the user set in code, checked; and joined with the environment.
//!
//! A mistake in code is reported to the caller with all others; one in the environment is a
//! warning and falls back, because no variable may keep a service from starting.

use std::{collections::HashMap, fmt, ops::RangeInclusive, path::PathBuf, time::Duration};

use opentelemetry_otlp::OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT;

use super::{
    encode::Shape,
    endpoint::{Path, check_header, is_credential, is_loopback, parse_endpoint, shown},
    env::{self, Env},
};
use crate::transport::{Encoding, HAS_TLS, Lane, Tls, queue::DiskLimits, spool::Durability};

const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(600);
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// More often than the specification's minute: a dashboard beside an alert must not lag behind it.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Protocol {
    /// OTLP/HTTP with protobuf bodies; port 4318 by custom.
    #[default]
    HttpProtobuf,
    /// OTLP/gRPC; port 4317 by custom. Feature `grpc`, with `https://` feature `grpc-tls`.
    Grpc,
}

impl Protocol {
    pub(super) fn is_built(self) -> bool {
        self == Self::HttpProtobuf || cfg!(feature = "grpc")
    }

    pub(super) fn has_tls(self) -> bool {
        HAS_TLS && (self == Self::HttpProtobuf || cfg!(feature = "grpc-tls"))
    }

    pub(super) fn tls_feature(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "tls",
            Self::Grpc => "grpc-tls",
        }
    }
}

/// How requests are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// As they are.
    None,
    /// gzip, which every OTLP receiver must understand.
    #[default]
    Gzip,
    /// zstd, where the receiver takes it; feature `zstd`.
    Zstd,
}

impl Compression {
    pub(super) fn is_built(self) -> bool {
        self != Self::Zstd || cfg!(feature = "zstd")
    }

    pub(super) fn encoding(self) -> Encoding {
        match self {
            Self::None => Encoding::Identity,
            Self::Gzip => Encoding::Gzip,
            Self::Zstd => Encoding::Zstd,
        }
    }
}

/// Since when sums and histograms count. What goes both ways is always cumulative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Temporality {
    /// Since the series began: a lost request loses nothing but resolution. What Prometheus and
    /// VictoriaMetrics want; Prometheus drops all else without a word.
    #[default]
    Cumulative,
    /// Since the last export: for receivers that add up, and for processes too short-lived to be
    /// seen twice. What gained nothing is not sent; a lost request is a lost amount.
    Delta,
    /// Delta for what this crate counts, cumulative for what it reads elsewhere.
    LowMemory,
}

/// A setting that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}: allowed is {allowed}")]
#[non_exhaustive]
pub struct Error {
    /// The setter or the variable.
    pub setting: String,
    /// What it was given; what may be secret is left out.
    pub value: String,
    /// What it takes.
    pub allowed: String,
}

impl Error {
    pub(crate) fn new(
        setting: impl Into<String>,
        value: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self { setting: setting.into(), value: value.into(), allowed: allowed.into() }
    }
}

/// Of compressed requests in memory: a day of a small service at the default interval.
const MEMORY: usize = 4 << 20;
/// Longer than that no receiver cares for, and few take it.
const DEFAULT_AGE: Duration = Duration::from_secs(24 * 3600);
const AGES: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);
/// OpenTelemetry's default.
const DEFAULT_BUCKETS: usize = 160;
const BUCKETS: RangeInclusive<usize> = 2..=1_000;
const DEFAULT_SPOOL_BYTES: u64 = 64 << 20;
const SPOOL_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// Where undelivered requests are kept on disk, and how many; from [`spool`](super::spool).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Spool {
    directory: PathBuf,
    max_bytes: u64,
    max_age: Duration,
    durability: Durability,
}

impl Spool {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            max_bytes: DEFAULT_SPOOL_BYTES,
            max_age: DEFAULT_AGE,
            durability: Durability::default(),
        }
    }

    /// Bytes of files at most; beyond it the oldest metrics go first and alerts last. Default:
    /// 64 MiB; allowed: 1 MiB to 1 TiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// What waits longer is dropped. Default: a day; allowed: a minute to 30 days.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// What a kept request survives. Default: [`Durability::ProcessCrash`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    fn check(&self) -> Vec<Error> {
        let mut mistakes = Vec::new();
        if self.directory.as_os_str().is_empty() {
            mistakes.push(Error::new("otlp spool", "in \"\"", "the path of a directory"));
        }
        mistakes.extend(check_range("otlp spool max_age", self.max_age, &AGES));
        if !SPOOL_BYTES.contains(&self.max_bytes) {
            let given = format!("{} bytes", self.max_bytes);
            let allowed = format!("{} to {} bytes", SPOOL_BYTES.start(), SPOOL_BYTES.end());
            mistakes.push(Error::new("otlp spool max_bytes", given, allowed));
        }
        mistakes
    }
}

/// Where to push and how; from [`from_env`](super::from_env) or [`to`](super::to).
///
/// Setters never fail: mistakes are reported together when the instance is started.
#[derive(Clone, Default)]
#[must_use]
pub struct Config {
    endpoint: Option<String>,
    /// Full addresses, by [`Lane`].
    endpoints: [Option<String>; 2],
    headers: Vec<(String, String)>,
    timeout: Option<Duration>,
    interval: Option<Duration>,
    compression: Option<Compression>,
    protocol: Option<Protocol>,
    plaintext_credentials: bool,
    tls: Tls,
    spool: Option<Spool>,
    temporality: Option<Temporality>,
    explicit: Option<bool>,
    bounds: HashMap<String, Vec<f64>>,
    max_buckets: Option<usize>,
}

impl Config {
    /// The receiver's base address: `/v1/metrics` and `/v1/logs` are appended. Default:
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, else nothing is sent.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// The full address for metrics, nothing appended. Default: from the base address.
    pub fn metrics_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints[Lane::Metrics as usize] = Some(endpoint.into());
        self
    }

    /// The full address for log records, which carry alerts, nothing appended. Default: from the
    /// base address.
    pub fn logs_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints[Lane::Alerts as usize] = Some(endpoint.into());
        self
    }

    /// A header sent with every request; set twice, the last one counts. Wins over the same header
    /// of `OTEL_EXPORTER_OTLP_HEADERS`, whose others are kept.
    ///
    /// Credentials are refused over plain `http://` to another host: see
    /// [`allow_plaintext_credentials`](Self::allow_plaintext_credentials).
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into().to_ascii_lowercase();
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    /// The longest one attempt may take, from looking up the name to the answer's last byte.
    /// Default: `OTEL_EXPORTER_OTLP_TIMEOUT`, else 10 s; allowed: 1 ms to 10 min.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The time between two pushes of metrics. Default: `OTEL_METRIC_EXPORT_INTERVAL`, else 10 s;
    /// allowed: 100 ms to 1 h. Alerts do not wait for it.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// How requests are compressed. Default: `OTEL_EXPORTER_OTLP_COMPRESSION`, else gzip.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// How requests travel. Default: `OTEL_EXPORTER_OTLP_PROTOCOL`, else HTTP with protobuf bodies.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Certificates in PEM to trust in place of the built-in roots; feature `tls`. Default: the
    /// file `OTEL_EXPORTER_OTLP_CERTIFICATE` names, else the roots of Mozilla's programme.
    pub fn certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.roots = Some(pem.into());
        self
    }

    /// The client's certificate chain and its private key, in PEM; feature `tls`. Default: the
    /// files `OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE` and `…_CLIENT_KEY` name, else none.
    pub fn client_certificate(
        mut self,
        chain: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.tls.client = Some((chain.into(), key.into()));
        self
    }

    /// Sends headers that look like credentials (`authorization`, API keys, tokens, cookies) over
    /// plain `http://` to other hosts too, where anyone on the way can read them. Default: refused.
    pub fn allow_plaintext_credentials(mut self) -> Self {
        self.plaintext_credentials = true;
        self
    }

    /// Keeps undelivered requests on disk. Default: the directory `HIGHWATER_SPOOL` names, which
    /// wins over code and whose value `off` switches the spool off; else 4 MiB of them wait in
    /// memory and are lost with the process.
    ///
    /// A disk that is full, read-only or gone keeps nothing from starting or running: requests
    /// wait in memory meanwhile, and the log says so.
    pub fn spool(mut self, spool: Spool) -> Self {
        self.spool = Some(spool);
        self
    }

    /// Since when sums and histograms count. Default:
    /// `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`, else cumulative.
    pub fn temporality(mut self, temporality: Temporality) -> Self {
        self.temporality = Some(temporality);
        self
    }

    /// Sends histograms with explicit bounds, for receivers that lack exponential ones. Default:
    /// `OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION`, else exponential.
    ///
    /// Bounds are those the semantic conventions advise, else the SDK specification's, else those
    /// of [`explicit_bounds`](Self::explicit_bounds). They are filled from exponential
    /// buckets: a value up to 2.2% below a bound may be counted above it.
    pub fn explicit_histograms(mut self) -> Self {
        self.explicit = Some(true);
        self
    }

    /// Sends the histograms of one metric with these bounds, ascending and finite.
    pub fn explicit_bounds(
        mut self,
        metric: impl Into<String>,
        bounds: impl Into<Vec<f64>>,
    ) -> Self {
        self.bounds.insert(metric.into(), bounds.into());
        self
    }

    /// The most buckets an exponential histogram is sent with, on each side of zero; wider ones
    /// are sent at a lower resolution, exactly. Default: 160; allowed: 2 to 1,000.
    pub fn max_buckets(mut self, buckets: usize) -> Self {
        self.max_buckets = Some(buckets);
        self
    }

    /// By metric.
    pub(crate) fn bounds(&self) -> &HashMap<String, Vec<f64>> {
        &self.bounds
    }

    /// All mistakes made in code.
    pub(crate) fn check(&self) -> Vec<Error> {
        let mut mistakes = Vec::new();
        let given = [
            ("otlp endpoint", &self.endpoint, Path::Append("/v1/metrics")),
            ("otlp metrics_endpoint", &self.endpoints[Lane::Metrics as usize], Path::Given),
            ("otlp logs_endpoint", &self.endpoints[Lane::Alerts as usize], Path::Given),
        ];
        for (setting, endpoint, path) in given {
            let Some(text) = endpoint else { continue };
            match parse_endpoint(text, path, self.protocol.unwrap_or_default()) {
                Err(allowed) => mistakes.push(Error::new(setting, shown(text), allowed)),
                Ok(url) => mistakes.extend(self.exposed(&url, &self.headers)),
            }
        }
        mistakes.dedup();
        for (name, value) in &self.headers {
            mistakes.extend(check_header("otlp header", name, value));
        }
        if let Some(timeout) = self.timeout {
            mistakes.extend(check_range("otlp timeout", timeout, &TIMEOUTS));
        }
        if let Some(interval) = self.interval {
            mistakes.extend(check_range("otlp interval", interval, &INTERVALS));
        }
        mistakes.extend(check_tls(&self.tls));
        if self.protocol.is_some_and(|protocol| !protocol.is_built()) {
            let allowed = "HttpProtobuf, as this build lacks highwater's feature `grpc`";
            mistakes.push(Error::new("otlp protocol", "Grpc", allowed));
        }
        if self.compression.is_some_and(|compression| !compression.is_built()) {
            let allowed = "Gzip or None, as this build lacks highwater's feature `zstd`";
            mistakes.push(Error::new("otlp compression", "Zstd", allowed));
        }
        mistakes.extend(self.spool.iter().flat_map(Spool::check));
        for (metric, bounds) in &self.bounds {
            let ascending = bounds.windows(2).all(|pair| pair[0] < pair[1]);
            if bounds.is_empty() || !ascending || !bounds.iter().all(|bound| bound.is_finite()) {
                let setting = format!("otlp explicit_bounds of {metric:?}");
                let allowed = "one or more finite numbers, each greater than the one before";
                mistakes.push(Error::new(setting, format!("{bounds:?}"), allowed));
            }
        }
        if let Some(buckets) = self.max_buckets.filter(|buckets| !BUCKETS.contains(buckets)) {
            let allowed = format!("{} to {}", BUCKETS.start(), BUCKETS.end());
            mistakes.push(Error::new("otlp max_buckets", buckets.to_string(), allowed));
        }
        mistakes
    }

    /// Joins what was set in code with the environment: `HIGHWATER_*`, code, `OTEL_*`, defaults.
    /// `None` if there is nowhere to push to; the warnings are the environment's mistakes.
    pub(crate) fn resolve(&self, env: &Env<'_>) -> (Option<Settings>, Vec<Error>) {
        let variables = env::read(env, self.protocol);
        let mut warnings = variables.warnings;
        let base = match &variables.highwater_endpoint {
            Some(env::Override::Off) => return (None, warnings),
            Some(env::Override::To(base)) => Some(base.as_str()),
            None => None,
        };
        let targets = Lane::ALL.map(|lane| {
            let signal = &variables.signals[lane as usize];
            if signal.disabled {
                return None;
            }
            let protocol = self.protocol.or(signal.protocol).unwrap_or_default();
            let appended = env::path(lane, protocol);
            let in_code = || {
                let full = self.endpoints[lane as usize].as_deref().map(|full| (full, Path::Given));
                full.or(self.endpoint.as_deref().map(|base| (base, appended)))
            };
            let url = base
                .map(|base| (base, appended))
                .or_else(in_code)
                .and_then(|(text, path)| parse_endpoint(text, path, protocol).ok())
                .or_else(|| signal.endpoint.clone())?;
            let mut headers = signal.headers.clone();
            headers.retain(|(name, _)| !self.headers.iter().any(|(ours, _)| ours == name));
            headers.extend(self.headers.iter().cloned());
            if !variables.plaintext_credentials
                && let Some(warning) = self.exposed(&url, &headers)
            {
                warnings.push(warning);
                return None;
            }
            let mut tls = self.tls.clone();
            let (named, mistakes) = env::tls(env, lane);
            tls.roots = tls.roots.or(named.roots);
            tls.client = tls.client.or(named.client);
            for mistake in mistakes {
                // A general variable's is met once a signal.
                if !warnings.contains(&mistake) {
                    warnings.push(mistake);
                }
            }
            Some(Target {
                protocol,
                url,
                headers,
                timeout: self
                    .timeout
                    .or(signal.timeout)
                    .unwrap_or(OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT),
                compression: self.compression.or(signal.compression).unwrap_or_default(),
                tls,
            })
        });
        let interval = self.interval.or(variables.interval).unwrap_or(DEFAULT_INTERVAL);
        let spool = match variables.spool {
            None => self.spool.clone(),
            Some(env::Directory::Off) => None,
            Some(env::Directory::At(directory)) => {
                let in_code = self.spool.clone().unwrap_or_else(|| Spool::new(PathBuf::new()));
                Some(Spool { directory, ..in_code })
            }
        };
        let settings = targets.iter().any(Option::is_some).then(|| Settings {
            targets,
            interval,
            shape: Shape {
                temporality: self.temporality.or(variables.temporality).unwrap_or_default(),
                explicit: self.explicit.or(variables.explicit).unwrap_or(false),
                bounds: self.bounds.clone(),
                max_buckets: self.max_buckets.unwrap_or(DEFAULT_BUCKETS),
            },
            memory: MEMORY,
            age: spool.as_ref().map_or(DEFAULT_AGE, |spool| spool.max_age),
            disk: spool.map(|spool| DiskLimits {
                directory: spool.directory,
                bytes: spool.max_bytes,
                durability: spool.durability,
            }),
        });
        (settings, warnings)
    }

    /// Whether credentials would travel in the clear.
    fn exposed(&self, url: &str, headers: &[(String, String)]) -> Option<Error> {
        if self.plaintext_credentials || !url.starts_with("http://") || is_loopback(url) {
            return None;
        }
        let (name, _) = headers.iter().find(|(name, _)| is_credential(name))?;
        Some(Error::new(
            format!("otlp header {name:?}"),
            format!("sent to {url:?} in the clear"),
            format!(
                "https://, a loopback address, Config::allow_plaintext_credentials or {}=allow",
                env::PLAINTEXT_CREDENTIALS
            ),
        ))
    }
}

/// Header values may be secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Config")
            .field("endpoint", &self.endpoint)
            .field("endpoints", &self.endpoints)
            .field("headers", &names)
            .field("timeout", &self.timeout)
            .field("interval", &self.interval)
            .field("compression", &self.compression)
            .field("protocol", &self.protocol)
            .field("plaintext_credentials", &self.plaintext_credentials)
            .field("tls", &self.tls)
            .field("spool", &self.spool)
            .field("temporality", &self.temporality)
            .field("explicit", &self.explicit)
            .field("bounds", &self.bounds)
            .field("max_buckets", &self.max_buckets)
            .finish()
    }
}

/// What is pushed where, nothing left to be looked up.
#[derive(Debug)]
pub(crate) struct Settings {
    /// By [`Lane`]; `None` is switched off.
    pub(crate) targets: [Option<Target>; 2],
    /// The time between two pushes of metrics.
    pub(crate) interval: Duration,
    pub(crate) shape: Shape,
    /// Bytes that may wait in memory.
    pub(crate) memory: usize,
    /// What waits longer is dropped.
    pub(crate) age: Duration,
    pub(crate) disk: Option<DiskLimits>,
}

/// Where one signal goes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) protocol: Protocol,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timeout: Duration,
    pub(crate) compression: Compression,
    pub(crate) tls: Tls,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("url", &self.url).finish_non_exhaustive()
    }
}

pub(crate) fn check_range(
    setting: &str,
    given: Duration,
    allowed: &RangeInclusive<Duration>,
) -> Option<Error> {
    (!allowed.contains(&given)).then(|| {
        let allowed = format!("{:?} to {:?}", allowed.start(), allowed.end());
        Error::new(setting, format!("{given:?}"), allowed)
    })
}

pub(super) fn check_timeout(setting: &str, given: Duration) -> Option<Error> {
    check_range(setting, given, &TIMEOUTS)
}

pub(super) fn check_interval(setting: &str, given: Duration) -> Option<Error> {
    check_range(setting, given, &INTERVALS)
}

pub(super) fn check_tls(tls: &Tls) -> Option<Error> {
    if *tls == Tls::default() {
        return None;
    }
    if !HAS_TLS {
        let allowed = "none, as this build lacks highwater's feature `tls`";
        return Some(Error::new("otlp certificate", "given", allowed));
    }
    let error = crate::transport::http::Client::new(tls).err()?;
    Some(Error::new("otlp certificate", format!("unusable ({error})"), "PEM"))
}
