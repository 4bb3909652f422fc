//! What goes to the service's logger, and that one which panics ends nothing. The logger is the
//! process', so each story is a child.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/stack.rs"]
mod stack;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use highwater::{Highwater, export::otlp};
use receiver::{Reaction, Receiver};

/// `STORY URL` for the child.
const CHILD: &str = "HIGHWATER_TEST_LOGGER_CHILD";

/// Prints, and panics on what was refused.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        println!("{} {}", record.level(), record.args());
        assert!(!record.args().to_string().contains("refused a request"), "on purpose");
    }

    fn flush(&self) {}
}

/// Not a test: what the child runs.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let (story, url) = arguments.split_once(' ').unwrap();
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let to = otlp::to(url).interval(Duration::from_millis(100));
    let hw =
        Highwater::builder("logger").tick(Duration::from_millis(100)).export(to).start().unwrap();
    match story {
        "panics" => {
            stack::eventually("what comes after", || {
                hw.health().delivery.filter(|delivery| delivery.sent > 1)
            });
            let counted = r#"highwater_dropped_total{reason="export_panicked"} 1"#;
            stack::eventually(counted, || hw.render_prometheus().contains(counted).then_some(()));
        }
        _ => hw.test_fire("DeliveryFailing").unwrap(),
    }
    // The last round, and the last words of whoever is told.
    let begun = Instant::now();
    _ = hw.shutdown(Duration::from_secs(20));
    println!("shut down after {:?}", begun.elapsed());
}

fn run(story: &str, url: &str, sinks: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(CHILD, format!("{story} {url}"));
    if let Some(sinks) = sinks {
        command.env("HIGHWATER_SINKS", sinks);
    }
    let output = command.output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let said = said.concat();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn a_logger_that_panics_ends_no_delivery() {
    let receiver = Receiver::start(|number, _| match number {
        0 => Reaction::status(400),
        _ => Reaction::ok(),
    });
    let said = run("panics", &receiver.url(), None);
    assert!(said.contains("on purpose"), "{said}");
}

#[test]
fn that_delivery_fails_is_logged_whoever_is_told() {
    let receiver = Receiver::always(Reaction::ok());
    for sinks in [None, Some("off"), Some("callback"), Some("log")] {
        let said = run("tells", &receiver.url(), sinks);
        let lines = said.lines().filter(|line| line.starts_with("WARN DeliveryFailing firing"));
        // A rule for each of its causes.
        assert_eq!(lines.count(), 3, "with {sinks:?}: {said}");
    }
}
