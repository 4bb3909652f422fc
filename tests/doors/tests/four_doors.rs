//! The same service out of four doors, changing only the builder: pushed over OTLP, through an
//! application's own OpenTelemetry SDK and exporter, scraped by Prometheus, its alerts sent to
//! Alertmanager. What arrives is the same. `tests/stack/fetch.sh` fetches the servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/prometheus.rs"]
mod prometheus;
#[path = "../../support/stack.rs"]
mod stack;

use std::{
    collections::BTreeMap,
    process::Command,
    time::{Duration, SystemTime},
};

use highwater::{
    Builder, Highwater, Unit,
    export::{self, alertmanager, otlp, prometheus::CONTENT_TYPE},
    rule,
};
use highwater_doors::Blocking;
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    logs::SdkLoggerProvider,
    metrics::{PeriodicReader, SdkMeterProvider},
};
use prometheus::{Prometheus, Route};
use serde_json::Value;
use stack::Victoria;

/// The service: what it does knows nothing of where it goes.
fn service(builder: Builder) -> Highwater {
    let hw = builder
        .tick(Duration::from_millis(100))
        .resource("service.instance.id", "shop-1")
        .without_presets()
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)).summary("{{ value }} deep"))
        .start()
        .unwrap();
    hw.counter("jobs.done")
        .unit(Unit::parse("{job}").unwrap())
        .label("queue.name", "mail")
        .build()
        .increment(42);
    hw.up_down_counter("open").build().add(-3);
    hw.gauge("depth").build().set(7.0);
    let sizes = hw.histogram("payload.size").unit(Unit::BYTES).build();
    (1..=1_000).for_each(|n| sizes.record(f64::from(n) * 10.0));
    let watch = hw.alert("Deep").unwrap();
    while !watch.is_firing() {
        std::thread::yield_now();
    }
    // The alert's own series are collected a tick later.
    stack::eventually("the alert as a series", || {
        hw.render_prometheus().contains("highwater_alert_state{alertname=\"Deep\"").then_some(())
    });
    hw
}

/// What is compared, and what it is everywhere.
const VALUES: [(&str, f64); 6] = [
    (r#"jobs_done_total{queue_name="mail"}"#, 42.0),
    ("open", -3.0),
    ("depth", 7.0),
    ("payload_size_bytes_count", 1_000.0),
    ("payload_size_bytes_sum", 5_005_000.0),
    (r#"highwater_alert_state{alertname="Deep"}"#, 4.0),
];

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Of what is in `VALUES`, by query.
type Seen = BTreeMap<&'static str, f64>;

fn in_victoria(victoria: &Victoria, job: &str) -> Seen {
    let value = |promql: &'static str| {
        let of_job = match promql.split_once('{') {
            Some((name, rest)) => format!("{name}{{service_name=\"{job}\",{rest}"),
            None => format!("{promql}{{service_name=\"{job}\"}}"),
        };
        let value = stack::eventually(&of_job, || victoria.query(&of_job, now()).pop());
        (promql, value.1)
    };
    VALUES.iter().map(|(promql, _)| value(promql)).collect()
}

#[test]
fn one_service_four_doors_the_same_values() {
    let test = "one_service_four_doors_the_same_values";
    let Some(victoria) = Victoria::start(test) else { return };
    let metrics = format!("{}/v1/metrics", victoria.otlp_base());

    // Our own way.
    let to = otlp::from_env().metrics_endpoint(&metrics).interval(Duration::from_secs(1));
    let hw = service(Highwater::builder("pushed").export(to));
    stack::eventually("our own push of all", || {
        let alert = r#"highwater_alert_state{service_name="pushed",alertname="Deep"} == 4"#;
        victoria.query(alert, now()).pop()
    });
    // Before the shutdown, which ends the alert.
    let pushed = in_victoria(&victoria, "pushed");
    hw.shutdown(Duration::from_secs(20)).unwrap();

    // The application's own SDK and exporter.
    let exporter = MetricExporter::builder()
        .with_http()
        .with_http_client(Blocking)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&metrics)
        .build()
        .unwrap();
    let meters = SdkMeterProvider::builder()
        .with_resource(Resource::builder_empty().with_service_name("bridged").build())
        .with_reader(PeriodicReader::builder(exporter).build())
        .build();
    let loggers = SdkLoggerProvider::builder().build();
    let hw = service(Highwater::builder("bridged").export(export::sdk(&meters, &loggers)));
    stack::eventually("the SDK to know all", || {
        meters.force_flush().unwrap();
        let alert = r#"highwater_alert_state{service_name="bridged",alertname="Deep"} == 4"#;
        victoria.query(alert, now()).pop()
    });
    let bridged = in_victoria(&victoria, "bridged");
    hw.shutdown(Duration::from_secs(20)).unwrap();
    meters.shutdown().unwrap();

    // Scraped, and its alerts sent to Alertmanager.
    let Some(alertmanager) = Alertmanager::start(test) else { return };
    let hw = service(Highwater::builder("scraped").sink(alertmanager::to([alertmanager.url()])));
    let page = hw.clone();
    let route = Route::serve(CONTENT_TYPE, move || page.render_prometheus());
    let Some(prometheus) = Prometheus::start(test, route.address, None) else { return };
    let scraped: Seen =
        VALUES.iter().map(|(promql, _)| (*promql, prometheus.one(promql))).collect();
    let alerts = stack::eventually("the alert", || {
        Some(alertmanager.alerts()).filter(|alerts| !alerts.is_empty())
    });
    hw.shutdown(Duration::from_secs(20)).unwrap();

    assert_eq!(pushed, VALUES.into_iter().collect::<Seen>());
    // Added up value by value, so to the last digits.
    for (promql, value) in &bridged {
        let error = (value - pushed[promql]).abs() / pushed[promql].abs();
        assert!(error <= 1e-14, "{promql}: {value}, not {}", pushed[promql]);
    }
    assert_eq!(pushed, scraped);
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let labels = &alerts[0]["labels"];
    assert_eq!((&labels["alertname"], &labels["severity"]), (&"Deep".into(), &"warning".into()));
    assert_eq!((&labels["job"], &labels["instance"]), (&"scraped".into(), &"shop-1".into()));
    assert_eq!(alerts[0]["annotations"]["summary"], "7 deep");
}

struct Alertmanager {
    _server: stack::Server,
    port: u16,
}

impl Alertmanager {
    fn start(test: &str) -> Option<Self> {
        let binary = stack::find(test, "alertmanager")?;
        let port = stack::free_port();
        let server = stack::Server::start("alertmanager", |directory| {
            let config = directory.join("am.yml");
            std::fs::write(&config, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
                .unwrap();
            let mut command = Command::new(binary);
            command
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.path={}", directory.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--cluster.listen-address=");
            command
        });
        let this = Self { _server: server, port };
        stack::eventually("a ready Alertmanager", || {
            stack::agent().get(format!("{}/-/ready", this.url())).call().ok()
        });
        Some(this)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn alerts(&self) -> Vec<Value> {
        let url = format!("{}/api/v2/alerts", self.url());
        let text = stack::agent().get(url).call().unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().clone()
    }
}
