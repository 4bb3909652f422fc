//! A child process records, alerts, sends, and is killed at any moment, again and again; what it
//! said was kept must arrive.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, SystemTime},
};

use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    metrics::v1::{metric::Data, number_data_point},
};

use super::{
    DAY_ZERO, drain, exporter, one_gauge,
    receiver::{Reaction, Received, Receiver},
    transition,
};
use crate::{
    event::{State, Transition},
    export::otlp::{self, Config},
    name::Labels,
    sync::Arc,
    transport::spool::tests::Directory,
};

const ROUNDS: u64 = 200;
/// `URL DIRECTORY FIRST` for the child.
const CHILD: &str = "HIGHWATER_TEST_CRASH_CHILD";

fn config(url: &str, directory: &str) -> Config {
    otlp::to(url).spool(otlp::spool(directory)).timeout(Duration::from_secs(5))
}

/// Not a test: what the killed process runs.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let arguments: Vec<_> = arguments.split(' ').collect();
    let mut exporter = exporter(config(arguments[0], arguments[1]));
    let first: u64 = arguments[2].parse().unwrap();
    let mut out = std::io::stdout();
    for number in first.. {
        let labels = Labels::new([("number", &*number.to_string())]);
        let one = Transition { labels, ..(*transition(State::Pending, State::Firing)).clone() };
        exporter.intake().alerts(&[Arc::new(one)], SystemTime::now());
        // The transition is kept: only now may anyone be told.
        out.write_all(format!("alert {number}\n").as_bytes()).unwrap();
        if number % 3 == 0 {
            let mut snapshot = one_gauge(number as f64);
            snapshot.at.wall = SystemTime::now();
            exporter.intake().metrics(&snapshot);
            out.write_all(format!("metrics {number}\n").as_bytes()).unwrap();
        }
        let now = Instant::now();
        exporter.send_next(now, now + Duration::from_secs(5));
    }
}

/// `alert N` or `metrics N`, as the child says it.
fn names(request: &Received) -> Vec<String> {
    if request.path == "/v1/metrics" {
        let all = request.metrics();
        let metrics = &all.resource_metrics[0].scope_metrics[0].metrics;
        let Some(Data::Gauge(gauge)) = &metrics[0].data else { panic!("{metrics:?}") };
        let Some(number_data_point::Value::AsDouble(number)) = gauge.data_points[0].value else {
            panic!("{gauge:?}")
        };
        return vec![format!("metrics {number}")];
    }
    let all = request.logs();
    let records = &all.resource_logs[0].scope_logs[0].log_records;
    records
        .iter()
        .map(|record| {
            let number = record
                .attributes
                .iter()
                .find(|attribute| attribute.key == "highwater.alert.label.number")
                .and_then(|attribute| attribute.value.as_ref()?.value.clone());
            let Some(Value::StringValue(number)) = number else { panic!("{record:?}") };
            format!("alert {number}")
        })
        .collect()
}

#[test]
fn killed_at_any_moment_everything_kept_arrives() {
    let directory = Directory::new();
    let well = Arc::new(AtomicBool::new(false));
    let receiver_is_well = well.clone();
    let receiver = Receiver::start(move |number, _| {
        if receiver_is_well.load(Ordering::Relaxed) || number % 2 == 0 {
            Reaction::ok()
        } else {
            Reaction::status(503)
        }
    });
    let path = directory.0.to_str().unwrap();
    let mut kept = Vec::new();
    let mut random = SystemTime::now().duration_since(DAY_ZERO).unwrap().as_nanos() as u64 | 1;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "export::otlp::tests::crash::child", "--nocapture"])
            .env(CHILD, format!("{} {path} {}", receiver.url(), round * 1_000_000 + 1))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let is_ours = |line: &String| line.starts_with("alert ") || line.starts_with("metrics ");
        // Under way, then at any moment.
        said.extend(lines.by_ref().map_while(Result::ok).find(is_ours));
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_micros(random % 10_000));
        child.kill().unwrap();
        child.wait().unwrap();
        said.extend(lines.map_while(Result::ok).filter(is_ours));
        assert!(!said.is_empty(), "round {round}: the child never got so far");
        kept.append(&mut said);
    }

    let during = receiver.received().len();
    well.store(true, Ordering::Relaxed);
    let mut last = exporter(config(&receiver.url(), path));
    drain(&mut last);
    let mut arrived: HashMap<String, usize> = HashMap::new();
    let mut accepted = 0;
    for (number, request) in receiver.received().iter().enumerate() {
        // What was answered 503 did not arrive.
        if number % 2 == 0 || number >= during {
            accepted += 1;
            for name in names(request) {
                *arrived.entry(name).or_default() += 1;
            }
        }
    }
    let missing: Vec<_> = kept.iter().filter(|name| !arrived.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), kept.len());
    let twice = arrived.values().filter(|times| **times > 1).count();
    assert!(twice <= ROUNDS as usize, "{twice} twice: more than one a crash");
    assert!(arrived.values().all(|times| *times <= 1 + ROUNDS as usize));
    assert!(kept.len() >= ROUNDS as usize && accepted > 0, "{}", kept.len());
    assert_eq!(last.health().last_error(), None);
}
