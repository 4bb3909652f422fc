//! A service that records and alerts is killed again and again, several of it at a time on one
//! spool; every alert a sink was told of arrives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(unix)]

#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/stack.rs"]
mod stack;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use highwater::{Highwater, alert, export::otlp, rule};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use receiver::{Reaction, Received, Receiver};

const SERVICES: u64 = 4;
const LIVES: u64 = 60;
/// `URL DIRECTORY FIRST` for the child.
const CHILD: &str = "HIGHWATER_TEST_CRASH_CHILD";

/// Not a test: what the killed process runs.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let arguments: Vec<_> = arguments.split(' ').collect();
    let mut number: u64 = arguments[2].parse().unwrap();
    let to = otlp::to(arguments[0])
        .spool(otlp::spool(arguments[1]))
        .interval(Duration::from_millis(100))
        .timeout(Duration::from_secs(60));
    // Written at once, so that a kill does not take what was said.
    let tell = |transition: &alert::Transition| {
        let number = transition.labels.iter().find(|(key, _)| *key == "number").unwrap().1;
        let line = format!("told {number} {}\n", transition.to.as_str());
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    };
    let hw = Highwater::builder("crash")
        .without_presets()
        .tick(Duration::from_millis(100))
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)))
        .sink(alert::to_fn(move |transition| tell(transition)))
        .export(to)
        .start()
        .unwrap();
    let query = hw.query("orders").system("sqlite").build();
    loop {
        let name = number.to_string();
        hw.gauge("depth").label("number", &name).build().set(3.0);
        query.time(|| thread::sleep(Duration::from_millis(2)));
        if number.is_multiple_of(4) {
            hw.gauge("depth").label("number", &name).build().set(1.0);
        }
        number += 1;
    }
}

/// `NUMBER STATE` of each record.
fn names(request: &Received) -> Vec<String> {
    if request.path != "/v1/logs" {
        return Vec::new();
    }
    let all = request.logs();
    let records = &all.resource_logs[0].scope_logs[0].log_records;
    let text = |record: &opentelemetry_proto::tonic::logs::v1::LogRecord, key: &str| {
        let found = record.attributes.iter().find(|attribute| attribute.key == key);
        match found.and_then(|found| found.value.as_ref()?.value.clone()) {
            Some(Value::StringValue(text)) => text,
            other => panic!("{key}: {other:?}"),
        }
    };
    let name = |record| {
        let number = text(record, "highwater.alert.label.number");
        format!("{number} {}", text(record, "highwater.alert.state"))
    };
    records.iter().map(name).collect()
}

/// One service through all its lives; what its sinks were told.
fn lives(service: u64, url: &str, directory: &str) -> Vec<String> {
    let mut told = Vec::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(service + 1);
    for life in 0..LIVES {
        let first = (service * LIVES + life) * 1_000_000 + 1;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, format!("{url} {directory} {first}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ours = |line: String| line.strip_prefix("told ").map(str::to_owned);
        let first = lines.by_ref().map_while(Result::ok).find_map(ours);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        thread::sleep(Duration::from_micros(random % 150_000));
        child.kill().unwrap();
        child.wait().unwrap();
        told.push(first.expect("the child got so far"));
        // A line cut by the kill was not told.
        let whole = |line: &String| line.ends_with("firing") || line.ends_with("inactive");
        told.extend(lines.map_while(Result::ok).filter_map(ours).filter(whole));
    }
    told
}

#[test]
fn every_alert_a_sink_was_told_of_arrives_though_the_process_is_killed() {
    let directory = stack::Directory::new("crash");
    let path = directory.0.to_str().unwrap();
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let receiver = Receiver::start(move |number, _| {
        if is_well.load(Ordering::Relaxed) || number % 3 == 0 {
            Reaction::ok()
        } else {
            Reaction::status(503)
        }
    });
    let url = receiver.url();
    let told: Vec<String> = thread::scope(|scope| {
        let services: Vec<_> = (0..SERVICES)
            .map(|service| {
                scope.spawn({
                    let url = &url;
                    move || lives(service, url, path)
                })
            })
            .collect();
        services.into_iter().flat_map(|service| service.join().unwrap()).collect()
    });

    let during = receiver.received().len();
    well.store(true, Ordering::Relaxed);
    let hw = Highwater::builder("crash")
        .without_presets()
        .export(otlp::to(receiver.url()).spool(otlp::spool(path)))
        .start()
        .unwrap();
    // Recovers all slots, then sends all.
    hw.shutdown(Duration::from_secs(120)).unwrap();

    let mut arrived = BTreeSet::new();
    // By body: they carry times and the process' id, so no two are alike.
    let mut taken: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for (number, request) in receiver.received().into_iter().enumerate() {
        if number % 3 == 0 || number >= during {
            arrived.extend(names(&request));
            *taken.entry(request.body).or_default() += 1;
        }
    }
    let missing: Vec<_> = told.iter().filter(|name| !arrived.contains(*name)).collect();
    assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), told.len());
    assert!(told.len() as u64 >= SERVICES * LIVES, "{}", told.len());
    // At least once: a kill between the answer and its mark sends one request of a lane again.
    let again: u64 = taken.values().map(|times| times - 1).sum();
    assert!(again <= 2 * SERVICES * LIVES, "{again} requests were taken twice");
}
