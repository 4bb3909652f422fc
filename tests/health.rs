//! `hw.health()` says what a person wants to know, and the series say it to the rules.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/stack.rs"]
mod stack;

use std::time::Duration;

use highwater::{Highwater, export::otlp, rule};
use receiver::{Reaction, Receiver};

fn builder(receiver: &Receiver) -> highwater::Builder {
    let to = otlp::to(receiver.url()).interval(Duration::from_secs(1));
    Highwater::builder("health").tick(Duration::from_millis(100)).export(to)
}

#[test]
fn an_instance_without_an_endpoint_knows_the_alert_and_has_no_delivery() {
    let hw = Highwater::builder("health").tick(Duration::from_millis(100)).start().unwrap();
    assert!(!hw.alert("DeliveryFailing").unwrap().is_firing());
    stack::eventually("a round", || hw.health().last_tick);
    let health = hw.health();
    assert!(health.delivery.is_none() && health.problems.is_empty(), "{health}");
    assert!(health.to_string().starts_with("last round "), "{health}");
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn deliveries_refusals_and_retries_are_told_in_the_receivers_words() {
    let receiver = Receiver::start(|number, _| match number {
        0 => Reaction::with(400, &[("content-type", "text/plain")], b"no tenant"),
        1 => Reaction::status(503),
        _ => Reaction::ok(),
    });
    let hw = builder(&receiver).start().unwrap();
    let delivery = stack::eventually("a success after a refusal and a retry", || {
        hw.health().delivery.filter(|delivery| delivery.sent > 0)
    });
    assert_eq!((delivery.refused, delivery.retried), (1, 1));
    assert!(delivery.dropped.iter().any(|(why, lost)| *why == "refused" && *lost > 10));
    assert!(delivery.last_success.is_some());
    assert_eq!(delivery.interval, Duration::from_secs(1));
    let error = delivery.last_error.clone().unwrap();
    assert!(error.contains("503"), "{error}");
    let text = hw.health().to_string();
    assert!(
        text.contains("1 retried, 1 refused") && text.contains("items lost: refused"),
        "{text}"
    );
    hw.shutdown(Duration::from_secs(5)).unwrap();
    let sent: Vec<_> =
        receiver.received().into_iter().filter(|r| r.path == "/v1/metrics").collect();
    let last = format!("{:?}", sent.last().unwrap().metrics());
    for name in [
        "highwater.export.sent",
        "highwater.export.refused",
        "highwater.export.queue.size",
        "highwater.export.queue.age",
        "highwater.export.success.age",
        "highwater.export.interval",
    ] {
        assert!(last.contains(&format!("{name:?}")), "no {name} in {last}");
    }
}

#[test]
fn a_receiver_that_throttles_gets_less_and_it_is_said() {
    let receiver = Receiver::start(|number, _| match number {
        0..2 => Reaction::with(429, &[("retry-after", "0")], b"slow down"),
        _ => Reaction::ok(),
    });
    let hw = builder(&receiver)
        .without_presets()
        .rule(
            rule::alert("Slower")
                .when(rule::gauge("highwater.export.interval").above(Duration::from_millis(1_500))),
        )
        .start()
        .unwrap();
    let slower = hw.alert("Slower").unwrap();
    stack::eventually("a longer interval", || slower.is_firing().then_some(()));
    assert!(hw.health().delivery.unwrap().interval >= Duration::from_secs(2));
    stack::eventually("the interval asked for", || (!slower.is_firing()).then_some(()));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_spool_that_cannot_be_used_is_a_problem_and_the_rest_goes_on() {
    let receiver = Receiver::always(Reaction::ok());
    let directory = stack::Directory::new("health");
    let file = directory.0.join("no-directory");
    std::fs::write(&file, "in the way").unwrap();
    let to = otlp::to(receiver.url()).spool(otlp::spool(&file)).interval(Duration::from_secs(1));
    let hw =
        Highwater::builder("health").tick(Duration::from_millis(100)).export(to).start().unwrap();
    stack::eventually("a success without a spool", || {
        hw.health().delivery.filter(|delivery| delivery.sent > 0)
    });
    let health = hw.health();
    assert!(health.to_string().contains("in memory only"), "{health}");
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn what_waits_is_told_how_much_for_how_long_and_where() {
    let receiver = Receiver::always(Reaction::status(503));
    let directory = stack::Directory::new("health-waits");
    let to = otlp::to(receiver.url())
        .spool(otlp::spool(&directory.0))
        .interval(Duration::from_millis(200));
    let hw =
        Highwater::builder("health").tick(Duration::from_millis(100)).export(to).start().unwrap();
    let delivery = stack::eventually("a backlog", || {
        let aged = |delivery: &highwater::Delivery| {
            delivery.oldest.is_some_and(|oldest| oldest > Duration::from_secs(1))
        };
        hw.health().delivery.filter(|delivery| delivery.queued > 2).filter(aged)
    });
    assert!(delivery.queued_bytes > 100 && delivery.disk_bytes > delivery.queued_bytes);
    assert_eq!((delivery.sent, delivery.last_success), (0, None));
    for reason in ["export_interval", "alert_queue_full"] {
        assert!(delivery.dropped.iter().any(|(why, _)| *why == reason), "{:?}", delivery.dropped);
    }
    let text = hw.health().to_string();
    assert!(text.contains(" requests wait (") && text.contains("the oldest for"), "{text}");
    // What rules see is what was so at the last round.
    let page = stack::eventually("a round", || {
        let page = hw.render_prometheus();
        let of = |name: &str| {
            let line = page.lines().find(|line| line.starts_with(name))?;
            line.rsplit_once(' ')?.1.parse::<f64>().ok()
        };
        let metrics = "{signal=\"metrics\"}";
        let all = [
            of(&format!("highwater_export_queue_size{metrics}"))?,
            of(&format!("highwater_export_queue_age_seconds{metrics}"))?,
            of("highwater_export_spool_usage_bytes")?,
            of("highwater_export_spool_utilization_ratio")?,
        ];
        all.iter().all(|value| *value > 0.0).then(|| page.clone())
    });
    assert!(page.ends_with("# EOF\n"));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
