//! Code and environment joined; mistakes in either.

use std::{path::Path, time::Duration};

use crate::{
    export::otlp::{self, Compression, Config, Error, Protocol, Temporality, config::Settings},
    transport::{
        HAS_TLS,
        Lane::{Alerts, Metrics},
        Tls,
    },
};

fn resolve(config: &Config, env: &[(&str, &str)]) -> (Option<Settings>, Vec<Error>) {
    config.resolve(&|name| {
        env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

/// From the environment alone, without a mistake.
fn from_env(env: &[(&str, &str)]) -> Option<Settings> {
    let (settings, warnings) = resolve(&otlp::from_env(), env);
    assert_eq!(warnings, []);
    settings
}

fn urls(settings: &Settings) -> [Option<&str>; 2] {
    [Alerts, Metrics]
        .map(|lane| settings.targets[lane as usize].as_ref().map(|target| target.url.as_str()))
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

#[test]
fn nothing_is_sent_unless_an_endpoint_says_so() {
    assert!(from_env(&[]).is_none());
    assert!(from_env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).is_none());
    assert!(from_env(&[("OTEL_EXPORTER_OTLP_HEADERS", "a=b")]).is_none());
    assert!(from_env(&[ENDPOINT, ("HIGHWATER_ENDPOINT", "off")]).is_none());
}

#[test]
fn defaults_are_named_ones() {
    let settings = from_env(&[ENDPOINT]).unwrap();
    let expected = ["http://collector:4318/v1/logs", "http://collector:4318/v1/metrics"];
    assert_eq!(urls(&settings), expected.map(Some));
    assert_eq!(settings.interval, Duration::from_secs(10));
    let target = settings.targets[0].as_ref().unwrap();
    assert_eq!((target.timeout, target.compression), (Duration::from_secs(10), Compression::Gzip));
    assert!(target.headers.is_empty());
}

#[test]
fn a_base_keeps_its_path_and_a_signals_own_address_is_used_as_it_is() {
    let settings = from_env(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:1/otlp/"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:2/write?x=y"),
    ]);
    assert_eq!(
        urls(&settings.unwrap()),
        [Some("http://h:1/otlp/v1/logs"), Some("http://m:2/write?x=y")]
    );
    let only = from_env(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://[::1]:3/v1/logs")]);
    assert_eq!(urls(&only.unwrap()), [Some("http://[::1]:3/v1/logs"), None]);
    let off = from_env(&[ENDPOINT, ("OTEL_LOGS_EXPORTER", "none")]);
    assert_eq!(urls(&off.unwrap()), [None, Some("http://collector:4318/v1/metrics")]);
}

#[test]
fn highwaters_variables_win_over_code_and_code_over_opentelemetrys() {
    let config = otlp::to("http://code:1")
        .timeout(Duration::from_secs(1))
        .interval(Duration::from_secs(2))
        .compression(Compression::None)
        .header("X-Tenant", "code");
    let env = [
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://env:9/m"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "7000"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "8000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=env,x-other=env"),
    ];
    let (settings, warnings) = resolve(&config, &env);
    assert_eq!(warnings, []);
    let settings = settings.unwrap();
    assert_eq!(urls(&settings), [Some("http://code:1/v1/logs"), Some("http://code:1/v1/metrics")]);
    assert_eq!(settings.interval, Duration::from_secs(2));
    let target = settings.targets[1].as_ref().unwrap();
    assert_eq!((target.timeout, target.compression), (Duration::from_secs(1), Compression::None));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(target.headers, [pair("x-other", "env"), pair("x-tenant", "code")]);

    let operator = [ENDPOINT, ("HIGHWATER_ENDPOINT", "http://operator:2")];
    let (settings, _) = resolve(&config.metrics_endpoint("http://code:3/m"), &operator);
    assert_eq!(
        urls(&settings.unwrap()),
        [Some("http://operator:2/v1/logs"), Some("http://operator:2/v1/metrics")]
    );
}

#[test]
fn a_signals_variables_win_over_the_general_ones() {
    let settings = from_env(&[
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1, b = x%20y%2C"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "c=3"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "60000"),
    ]);
    let settings = settings.unwrap();
    let [alerts, metrics] = settings.targets.map(Option::unwrap);
    assert_eq!((alerts.timeout.as_secs(), metrics.timeout.as_secs()), (1, 2));
    assert_eq!((alerts.compression, metrics.compression), (Compression::Gzip, Compression::None));
    assert_eq!(alerts.headers, [("c".to_owned(), "3".to_owned())]);
    let expected = [("a", "1"), ("b", "x y,")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(metrics.headers, expected);
    assert_eq!(settings.interval, Duration::from_secs(60));
}

#[test]
fn the_shape_of_metrics_and_the_spool_follow_the_same_order() {
    let defaults = from_env(&[ENDPOINT]).unwrap();
    assert_eq!(defaults.shape.temporality, Temporality::Cumulative);
    assert!(!defaults.shape.explicit && defaults.disk.is_none());
    let env = [
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "EXPLICIT_BUCKET_HISTOGRAM"),
        ("HIGHWATER_SPOOL", "/operator"),
    ];
    let settings = from_env(&env).unwrap();
    assert_eq!((settings.shape.temporality, settings.shape.explicit), (Temporality::Delta, true));
    assert_eq!(settings.disk.unwrap().directory, Path::new("/operator"));
    let config = otlp::from_env()
        .temporality(Temporality::LowMemory)
        .spool(otlp::spool("/code").max_bytes(2 << 20).max_age(Duration::from_secs(60)));
    let settings = resolve(&config, &env).0.unwrap();
    assert_eq!(settings.shape.temporality, Temporality::LowMemory);
    assert_eq!(settings.age, Duration::from_secs(60));
    let disk = settings.disk.unwrap();
    assert_eq!((&*disk.directory, disk.bytes), (Path::new("/operator"), 2 << 20));
    let off = resolve(&config, &[ENDPOINT, ("HIGHWATER_SPOOL", "off")]).0.unwrap();
    assert!(off.disk.is_none());
}

#[test]
fn a_mistake_in_the_environment_warns_names_the_variable_and_falls_back() {
    let cases = [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "ten", "a whole number"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1", "a whole number"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "1ms to 600s"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "99999999999", "100ms to 3600s"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "lzma", "gzip"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "collector", "http://HOST"),
        ("HIGHWATER_ENDPOINT", "ftp://x", "http://HOST"),
        ("OTEL_METRICS_EXPORTER", "prometheus", "otlp"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "novalue", "key=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=%zz", "percent-encoded"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c", "token"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=x%0Ay", "control"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "content-length=0", "request itself"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file", "PEM"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "absolute", "lowmemory"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "fancy", "base2"),
    ];
    for (name, value, allowed) in cases {
        let (settings, warnings) = resolve(&otlp::from_env(), &[ENDPOINT, (name, value)]);
        let settings = settings.unwrap();
        assert!(urls(&settings).iter().all(Option::is_some), "{name}={value}");
        assert!(settings.targets.iter().flatten().all(|target| target.headers.is_empty()));
        assert_eq!(warnings.len(), 1, "{name}={value}: {warnings:?}");
        let said = warnings[0].to_string();
        assert!(said.contains(name) && said.contains(allowed), "{said}");
    }
    let (settings, warnings) = resolve(&otlp::from_env(), &[("OTEL_EXPORTER_OTLP_ENDPOINT", "::")]);
    assert!(settings.is_none() && warnings.len() == 1, "once: {warnings:?}");
}

#[test]
fn a_secret_in_a_bad_header_is_not_repeated() {
    for value in ["authorization=Bearer%zzs3cret", "s3cret", "a=s3cret%0A"] {
        let env = [ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", value)];
        let (_, warnings) = resolve(&otlp::from_env(), &env);
        assert!(!format!("{warnings:?}").contains("s3cret"), "{warnings:?}");
    }
}

#[test]
fn credentials_do_not_travel_in_the_clear_unless_asked_for() {
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x");
    let (settings, warnings) = resolve(&otlp::from_env(), &[ENDPOINT, headers]);
    assert!(settings.is_none() && !warnings.is_empty());
    let allowed = [ENDPOINT, headers, ("HIGHWATER_PLAINTEXT_CREDENTIALS", "allow")];
    assert!(from_env(&allowed).is_some());
    for local in ["http://localhost:4318", "http://127.0.0.9:1", "http://[::1]:1"] {
        assert!(from_env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", local), headers]).is_some(), "{local}");
    }

    for name in ["Authorization", "x-api-key", "DD-API-KEY", "Cookie", "x-auth-token"] {
        let config = otlp::to("http://collector:4318").header(name, "x");
        assert_eq!(config.check().len(), 1, "{name}");
        assert_eq!(config.allow_plaintext_credentials().check(), []);
    }
    assert_eq!(otlp::to("http://collector:4318").header("x-scope-orgid", "x").check(), []);
}

#[test]
fn mistakes_in_code_are_reported_together_with_value_and_range() {
    let mistakes = otlp::to("collector:4318")
        .metrics_endpoint("http://user:pass@host/")
        .logs_endpoint("http://host:99999")
        .header("bad name", "x")
        .header("host", "x")
        .timeout(Duration::ZERO)
        .interval(Duration::from_secs(7200))
        .spool(otlp::spool("").max_bytes(1).max_age(Duration::ZERO))
        .explicit_bounds("x", [2.0, 1.0])
        .max_buckets(1)
        .check();
    let said: Vec<_> = mistakes.iter().map(Error::to_string).collect();
    assert_eq!(said.len(), 12, "{said:#?}");
    assert!(!format!("{mistakes:?}").contains("pass@"), "{said:?}");
    assert!(said[0].contains("\"collector:4318\"") && said[0].contains("http://HOST"), "{said:?}");
    assert!(said[5].contains("0ns") && said[5].contains("1ms to 600s"), "{said:?}");
    assert!(said[6].contains("7200s") && said[6].contains("100ms to 3600s"), "{said:?}");
}

#[test]
fn malformed_endpoints_are_refused() {
    for bad in [
        "",
        " ",
        "/",
        "http://",
        "http:///v1",
        "localhost",
        "http://h:x",
        "http://h:h",
        "http://h/#f",
        "http://h?q=1",
        "ws://h",
        "http://a b",
    ] {
        assert_eq!(otlp::to(bad).check().len(), 1, "{bad:?}");
    }
    for good in ["http://h", "HTTP://H:1/", "http://[::1]:4318/p/q", "http://1.2.3.4"] {
        assert_eq!(otlp::to(good).check(), [], "{good:?}");
    }
}

#[test]
fn grpc_takes_addresses_without_path_or_scheme() {
    let env = |endpoint| {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ]
    };
    if !cfg!(feature = "grpc") {
        let (settings, warnings) = resolve(&otlp::from_env(), &env("http://collector:4317"));
        assert!(warnings[0].to_string().contains("feature `grpc`"), "{warnings:?}");
        assert_eq!(urls(&settings.unwrap())[0], Some("http://collector:4317/v1/logs"));
        let mistakes = otlp::to("http://h").protocol(Protocol::Grpc).check();
        assert!(mistakes[0].to_string().contains("feature `grpc`"), "{mistakes:?}");
        return;
    }
    for endpoint in ["http://collector:4317", "collector:4317"] {
        let settings = from_env(&env(endpoint)).unwrap();
        assert_eq!(urls(&settings), [Some("http://collector:4317/"); 2]);
        let target = settings.targets[0].as_ref().unwrap();
        assert_eq!(target.protocol, Protocol::Grpc);
    }
    // Code's protocol decides how the environment's addresses are read.
    let http = otlp::from_env().protocol(Protocol::HttpProtobuf);
    let (settings, _) = resolve(&http, &env("http://collector:4317"));
    assert_eq!(urls(&settings.unwrap())[0], Some("http://collector:4317/v1/logs"));
    let plain = otlp::to("https://h").protocol(Protocol::Grpc).check();
    let named = plain.iter().any(|mistake| mistake.to_string().contains("feature `grpc-tls`"));
    assert_eq!(named, !cfg!(feature = "grpc-tls"), "{plain:?}");
}

#[test]
fn https_without_the_feature_names_it() {
    let mistakes = otlp::to("https://h").check();
    if HAS_TLS {
        assert_eq!(mistakes, []);
    } else {
        assert!(mistakes[0].to_string().contains("feature `tls`"), "{mistakes:?}");
        let certificate = otlp::to("http://h").certificate("x").check();
        assert!(certificate[0].to_string().contains("feature `tls`"), "{certificate:?}");
    }
}

#[test]
fn certificates_of_the_environment_serve_addresses_from_wherever() {
    let missing = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file");
    let in_code = resolve(&otlp::to("http://h"), &[missing]);
    let by_us = resolve(&otlp::from_env(), &[("HIGHWATER_ENDPOINT", "http://h"), missing]);
    for (settings, warnings) in [in_code, by_us] {
        assert!(settings.is_some());
        assert_eq!(warnings.len(), 1, "read, and once: {warnings:?}");
        assert!(warnings[0].to_string().contains("/no/such/file"), "{warnings:?}");
    }
    let (settings, warnings) = resolve(&otlp::from_env(), &[missing]);
    assert!(settings.is_none() && warnings.is_empty(), "nobody needs it: {warnings:?}");
}

#[test]
fn a_client_certificate_without_its_key_and_a_key_without_one_are_said() {
    let file = file!();
    for (set, lacks) in [("CERTIFICATE", "CLIENT_KEY"), ("KEY", "CLIENT_CERTIFICATE")] {
        let name = format!("OTEL_EXPORTER_OTLP_CLIENT_{set}");
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let (settings, warnings) =
            resolve(&otlp::from_env(), &[ENDPOINT, (&name, manifest.to_str().unwrap())]);
        assert!(settings.unwrap().targets.iter().flatten().all(|to| to.tls == Tls::default()));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let said = warnings[0].to_string();
        assert!(said.contains(&name) && said.contains(lacks), "{said}");
    }
}
