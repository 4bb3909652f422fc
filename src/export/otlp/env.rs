//! `OTEL_*` and `HIGHWATER_*` variables that concern the export. Pure: the environment is a
//! function, so tests never touch the process' own.

use std::{fmt::Display, path::PathBuf, str::FromStr, time::Duration};

use opentelemetry_otlp as otel;

use super::{
    config::{Compression, Error, Protocol, Temporality, check_interval, check_timeout, check_tls},
    endpoint::{Path, check_header, parse_endpoint, shown},
};
use crate::transport::{Lane, Tls};

/// Looks a variable up.
pub(crate) type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The base address, or `off`; wins over code.
pub(super) const HIGHWATER_ENDPOINT: &str = "HIGHWATER_ENDPOINT";
/// `allow` sends credentials over plain `http://`.
pub(super) const PLAINTEXT_CREDENTIALS: &str = "HIGHWATER_PLAINTEXT_CREDENTIALS";
const OTEL_EXPORTER_OTLP_CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
const OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
const OTEL_EXPORTER_OTLP_CLIENT_KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";
/// The spool's directory, or `off`; wins over code.
pub(super) const HIGHWATER_SPOOL: &str = "HIGHWATER_SPOOL";
const TEMPORALITY_PREFERENCE: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
const HISTOGRAM_AGGREGATION: &str = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
const OTEL_METRIC_EXPORT_INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";

/// What becomes of a base address.
pub(super) fn path(lane: Lane, protocol: Protocol) -> Path {
    match (protocol, lane) {
        (Protocol::Grpc, _) => Path::Given,
        (Protocol::HttpProtobuf, Lane::Alerts) => Path::Append("/v1/logs"),
        (Protocol::HttpProtobuf, Lane::Metrics) => Path::Append("/v1/metrics"),
    }
}

/// The variables, those of a signal before the general ones.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) highwater_endpoint: Option<Override>,
    pub(super) plaintext_credentials: bool,
    /// By [`Lane`].
    pub(super) signals: [Signal; 2],
    pub(super) interval: Option<Duration>,
    pub(super) spool: Option<Directory>,
    pub(super) temporality: Option<Temporality>,
    pub(super) explicit: Option<bool>,
    pub(super) warnings: Vec<Error>,
}

#[derive(Debug)]
pub(super) enum Override {
    Off,
    To(String),
}

#[derive(Debug)]
pub(super) enum Directory {
    Off,
    At(PathBuf),
}

#[derive(Debug, Default)]
pub(super) struct Signal {
    /// `OTEL_METRICS_EXPORTER` or `OTEL_LOGS_EXPORTER` is `none`.
    pub(super) disabled: bool,
    pub(super) protocol: Option<Protocol>,
    /// The full URL.
    pub(super) endpoint: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Option<Duration>,
    pub(super) compression: Option<Compression>,
}

/// `protocol` is the one set in code, which decides how addresses are read.
pub(super) fn read(env: &Env<'_>, protocol: Option<Protocol>) -> Variables {
    let mut reader = Reader { env, protocol, warnings: Vec::new() };
    let highwater_endpoint = reader.take(&[HIGHWATER_ENDPOINT], |value| match value {
        "off" => Ok(Override::Off),
        base => parse_endpoint(base, Path::Append(""), protocol.unwrap_or_default())
            .map(|_| Override::To(base.into())),
    });
    let plaintext_credentials = reader.take(&[PLAINTEXT_CREDENTIALS], |value| {
        if value == "allow" { Ok(()) } else { Err("\"allow\"".to_owned()) }
    });
    let interval =
        reader.take(&[OTEL_METRIC_EXPORT_INTERVAL], |value| milliseconds(value, check_interval));
    let spool = reader.take(&[HIGHWATER_SPOOL], |value| {
        Ok(if value == "off" { Directory::Off } else { Directory::At(value.into()) })
    });
    let temporality =
        reader.take(&[TEMPORALITY_PREFERENCE], |value| match value.to_ascii_lowercase().as_str() {
            "cumulative" => Ok(Temporality::Cumulative),
            "delta" => Ok(Temporality::Delta),
            "lowmemory" => Ok(Temporality::LowMemory),
            _ => Err("\"cumulative\", \"delta\" or \"lowmemory\"".to_owned()),
        });
    let explicit =
        reader.take(&[HISTOGRAM_AGGREGATION], |value| match value.to_ascii_lowercase().as_str() {
            "explicit_bucket_histogram" => Ok(true),
            "base2_exponential_bucket_histogram" => Ok(false),
            _ => Err("\"base2_exponential_bucket_histogram\" or \"explicit_bucket_histogram\""
                .to_owned()),
        });
    let signals = Lane::ALL.map(|lane| reader.signal(lane));
    let mut warnings = reader.warnings;
    // A mistake in a general variable is met once a signal.
    warnings.dedup();
    let mut seen = Vec::new();
    warnings.retain(|warning| {
        let new = !seen.contains(warning);
        seen.push(warning.clone());
        new
    });
    Variables {
        highwater_endpoint,
        plaintext_credentials: plaintext_credentials.is_some(),
        signals,
        interval,
        spool,
        temporality,
        explicit,
        warnings,
    }
}

/// The certificates for a signal that goes somewhere, whoever said where, and the mistakes in them;
/// else no file is read and none is missed.
pub(super) fn tls(env: &Env<'_>, lane: Lane) -> (Tls, Vec<Error>) {
    let mut reader = Reader { env, protocol: None, warnings: Vec::new() };
    let tls = reader.tls(lane);
    (tls, reader.warnings)
}

struct Reader<'a> {
    env: &'a Env<'a>,
    protocol: Option<Protocol>,
    warnings: Vec<Error>,
}

impl Reader<'_> {
    /// The first of `names` that is set; an empty variable is as good as none.
    fn text<'n>(&self, names: &[&'n str]) -> Option<(&'n str, String)> {
        names.iter().find_map(|name| {
            let value = (self.env)(name)?.trim().to_owned();
            (!value.is_empty()).then_some((*name, value))
        })
    }

    /// The first of `names` that is set, parsed; a mistake is a warning and falls through to the
    /// next.
    fn take<T>(&mut self, names: &[&str], parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        for name in names {
            let Some((_, value)) = self.text(&[name]) else { continue };
            match parse(&value) {
                Ok(parsed) => return Some(parsed),
                Err(allowed) => self.warn(name, shown(&value), allowed),
            }
        }
        None
    }

    fn warn(&mut self, name: &str, value: impl Into<String>, allowed: impl Into<String>) {
        self.warnings.push(Error::new(name, value, allowed));
    }

    fn signal(&mut self, lane: Lane) -> Signal {
        let own = |general| own(general, lane);
        let disabled = self
            .take(&[&format!("OTEL_{}_EXPORTER", signal(lane))], |value| match value {
                "none" => Ok(true),
                "otlp" => Ok(false),
                _ => Err("\"otlp\" or \"none\"".to_owned()),
            })
            .unwrap_or(false);
        let names = [&*own(otel::OTEL_EXPORTER_OTLP_PROTOCOL), otel::OTEL_EXPORTER_OTLP_PROTOCOL];
        let in_environment = self.take(&names, |value| {
            let protocol = match value {
                otel::OTEL_EXPORTER_OTLP_PROTOCOL_HTTP_PROTOBUF => Protocol::HttpProtobuf,
                otel::OTEL_EXPORTER_OTLP_PROTOCOL_GRPC => Protocol::Grpc,
                _ => return Err("\"http/protobuf\" or \"grpc\"; the former is used".to_owned()),
            };
            if protocol.is_built() {
                Ok(protocol)
            } else {
                Err("\"http/protobuf\", which is used, as this build lacks highwater's feature `grpc`".to_owned())
            }
        });
        let protocol = self.protocol.or(in_environment);
        let endpoint = self.endpoint(lane, protocol.unwrap_or_default());
        let timeout = self.take(
            &[&own(otel::OTEL_EXPORTER_OTLP_TIMEOUT), otel::OTEL_EXPORTER_OTLP_TIMEOUT],
            |value| milliseconds(value, check_timeout),
        );
        let compression = self.take(
            &[&own(otel::OTEL_EXPORTER_OTLP_COMPRESSION), otel::OTEL_EXPORTER_OTLP_COMPRESSION],
            |value| match value {
                "gzip" => Ok(Compression::Gzip),
                "none" => Ok(Compression::None),
                "zstd" if Compression::Zstd.is_built() => Ok(Compression::Zstd),
                _ => Err("\"gzip\" or \"none\"".to_owned()),
            },
        );
        let headers = self
            .text(&[&own(otel::OTEL_EXPORTER_OTLP_HEADERS), otel::OTEL_EXPORTER_OTLP_HEADERS])
            .map(|(name, value)| self.headers(name, &value))
            .unwrap_or_default();
        Signal { disabled, protocol, endpoint, headers, timeout, compression }
    }

    fn endpoint(&mut self, lane: Lane, protocol: Protocol) -> Option<String> {
        let (own, general) =
            (own(otel::OTEL_EXPORTER_OTLP_ENDPOINT, lane), otel::OTEL_EXPORTER_OTLP_ENDPOINT);
        let insecure_names = [
            &*self::own(otel::OTEL_EXPORTER_OTLP_INSECURE, lane),
            otel::OTEL_EXPORTER_OTLP_INSECURE,
        ];
        let insecure = self.take(&insecure_names, truth).unwrap_or(false);
        let parse = |value: &str, path| {
            // Only gRPC's may lack a scheme.
            if protocol == Protocol::Grpc && !value.contains("://") {
                let scheme = if insecure { "http" } else { "https" };
                return parse_endpoint(&format!("{scheme}://{value}"), path, protocol);
            }
            parse_endpoint(value, path, protocol)
        };
        self.take(&[&own], |value| parse(value, Path::Given))
            .or_else(|| self.take(&[general], |value| parse(value, path(lane, protocol))))
    }

    /// `key=value,key=value`, values percent-encoded. A bad pair is left out with a warning that
    /// does not repeat what may be a secret.
    fn headers(&mut self, variable: &str, text: &str) -> Vec<(String, String)> {
        let mut headers: Vec<(String, String)> = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                self.warn(variable, "without \"=\" in one of its pairs", "key=value,key=value");
                continue;
            };
            let name = name.trim().to_ascii_lowercase();
            let Some(value) = percent_decoded(value.trim()) else {
                let what = format!("wrongly encoded for {name:?}");
                self.warn(variable, what, "percent-encoded UTF-8");
                continue;
            };
            match check_header(variable, &name, &value) {
                Some(mistake) => self.warnings.push(mistake),
                None => {
                    headers.retain(|(known, _)| *known != name);
                    headers.push((name, value));
                }
            }
        }
        headers
    }

    fn tls(&mut self, lane: Lane) -> Tls {
        let mut file = |general: &str| {
            let own = own(general, lane);
            let (name, path) = self.text(&[&own, general]).map(|(n, p)| (n.to_owned(), p))?;
            std::fs::read(&path)
                .map_err(|error| {
                    self.warn(&name, format!("{path:?} ({error})"), "a readable PEM file");
                })
                .ok()
        };
        let roots = file(OTEL_EXPORTER_OTLP_CERTIFICATE);
        let chain = file(OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE);
        let key = file(OTEL_EXPORTER_OTLP_CLIENT_KEY);
        let client = match (chain, key) {
            (Some(chain), Some(key)) => Some((chain, key)),
            (None, None) => None,
            (Some(_), None) => {
                let lacks = format!("set without a readable {OTEL_EXPORTER_OTLP_CLIENT_KEY}");
                self.warn(OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, lacks, "both or neither");
                None
            }
            (None, Some(_)) => {
                let lacks =
                    format!("set without a readable {OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE}");
                self.warn(OTEL_EXPORTER_OTLP_CLIENT_KEY, lacks, "both or neither");
                None
            }
        };
        let tls = Tls { roots, client };
        match check_tls(&tls) {
            Some(mistake) => {
                self.warnings.push(mistake);
                Tls::default()
            }
            None => tls,
        }
    }
}

/// The signal's word in the variables' names.
fn signal(lane: Lane) -> &'static str {
    match lane {
        Lane::Alerts => "LOGS",
        Lane::Metrics => "METRICS",
    }
}

/// A general variable's namesake for one signal; the crate that names the general ones keeps these
/// to those who use its transports.
fn own(general: &str, lane: Lane) -> String {
    general.replacen("_OTLP_", &format!("_OTLP_{}_", signal(lane)), 1)
}

fn truth(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("\"true\" or \"false\"".into()),
    }
}

fn milliseconds(
    value: &str,
    check: impl Fn(&str, Duration) -> Option<Error>,
) -> Result<Duration, String> {
    let millis = number::<u64>(value)?;
    let given = Duration::from_millis(millis);
    match check("", given) {
        Some(mistake) => Err(mistake.allowed),
        None => Ok(given),
    }
}

fn number<T: FromStr<Err: Display>>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| "a whole number of milliseconds".to_owned())
}

/// Strict: a stray `%` or bytes that are no UTF-8 are a mistake, not text.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            decoded.push((high * 16 + low) as u8);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}
