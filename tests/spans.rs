//! Alerts as `tracing` events, spans as queries and timers, and nothing of ours fed back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use highwater::{Highwater, integrate, rule};
use tracing::{Event, Subscriber, field::Field, info_span};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
};

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Heard {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "highwater::alert" {
            return;
        }
        let mut text = event.metadata().level().to_string();
        event.record(&mut |field: &Field, value: &dyn fmt::Debug| {
            text += &format!(" {}={value:?}", field.name());
        });
        self.0.lock().unwrap().push(text);
    }
}

fn wait_for(what: impl Fn() -> bool) {
    let mut patience = 3_000;
    while !what() {
        patience -= 1;
        assert!(patience > 0, "never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn alerts_are_events() {
    let heard = Heard::default();
    // Global, since a sink's thread is highwater's own; the only test here that needs it.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(heard.clone()))
        .unwrap();
    let hw = Highwater::builder("shop")
        .tick(Duration::from_millis(100))
        .without_presets()
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)).summary("{{ value }} deep"))
        .sink(integrate::tracing::sink())
        .start()
        .unwrap();
    let depth = hw.gauge("depth").label("queue", "mail").build();
    depth.set(7.0);
    wait_for(|| !heard.0.lock().unwrap().is_empty());
    depth.set(0.0);
    wait_for(|| heard.0.lock().unwrap().len() >= 2);
    let heard = heard.0.lock().unwrap().clone();
    for part in
        ["WARN", "alertname=\"Deep\"", "state=\"firing\"", "value=7.0", "queue=\"mail\"", "7 deep"]
    {
        assert!(heard[0].contains(part), "no {part} in {}", heard[0]);
    }
    for part in ["INFO", "previous_state=\"firing\"", "resolve_reason=\"cleared\""] {
        assert!(heard[1].contains(part), "no {part} in {}", heard[1]);
    }
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn spans_that_are_asked_for_are_queries_and_timers() {
    let hw = Highwater::builder("shop").tick(Duration::from_millis(100)).start().unwrap();
    let spans = integrate::tracing::spans(&hw)
        .query("shop::db", "orders_by_user", "postgresql")
        .timers("shop::web")
        .timers("h2")
        .timers("highwater");
    let subscriber = tracing_subscriber::registry().with(spans);
    tracing::subscriber::with_default(subscriber, || {
        for n in 0..10 {
            let span = info_span!(target: "shop::db", "orders_by_user", error.type = tracing::field::Empty);
            if n == 3 {
                span.record("error.type", "timeout");
            }
            span.in_scope(|| ());
            // Others' names, targets that only begin alike, and our own.
            info_span!(target: "shop::db", "other").in_scope(|| ());
            info_span!(target: "shop::website", "index").in_scope(|| ());
            info_span!(target: "shop::web::api", "checkout").in_scope(|| ());
            info_span!(target: "h2::client", "request").in_scope(|| ());
            info_span!(target: "highwater::alert", "alert").in_scope(|| ());
        }
        info_span!(target: "shop::web", "failing", otel.status_code = "ERROR").in_scope(|| ());
    });
    wait_for(|| hw.render_prometheus().contains("checkout"));
    let page = hw.render_prometheus();
    let count = |metric: &str, labels: &[&str]| {
        let name = format!("{metric}_count{{");
        let mut found = page.lines().filter(|line| {
            line.starts_with(&name) && labels.iter().all(|label| line.contains(label))
        });
        let line = found.next()?;
        assert!(found.next().is_none(), "{labels:?}: more than one");
        line.rsplit(' ').next().unwrap().parse::<f64>().ok()
    };
    let query = "db_client_operation_duration_seconds";
    let timer = "highwater_timer_duration_seconds";
    let system = "db_system_name=\"postgresql\"";
    assert_eq!(
        count(query, &["orders_by_user", system, "error_type=\"timeout\""]),
        Some(1.0),
        "{page}"
    );
    assert_eq!(page.lines().filter(|l| l.starts_with(query) && l.contains("_count{")).count(), 2);
    assert_eq!(count(timer, &["\"checkout\""]), Some(10.0));
    assert_eq!(count(timer, &["\"failing\"", "error_type=\"error\""]), Some(1.0));
    for other in ["\"other\"", "\"index\"", "\"request\"", "\"alert\""] {
        assert!(!page.lines().any(|l| l.starts_with(timer) && l.contains(other)), "{other}");
    }
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn two_layers_of_two_instances_see_the_same_spans() {
    let start = || Highwater::builder("shop").tick(Duration::from_millis(100)).start().unwrap();
    let (one, other) = (start(), start());
    let layer = |hw: &Highwater| integrate::tracing::spans(hw).timers("shop");
    let subscriber = tracing_subscriber::registry().with(layer(&one)).with(layer(&other));
    tracing::subscriber::with_default(subscriber, || {
        let span = info_span!(target: "shop", "checkout", error.type = tracing::field::Empty);
        span.record("error.type", "timeout");
        span.in_scope(|| ());
    });
    for hw in [one, other] {
        let is_there = |line: &str| {
            line.starts_with("highwater_timer_duration_seconds_count{")
                && line.contains("error_type=\"timeout\"")
                && line.ends_with(" 1")
        };
        wait_for(|| hw.render_prometheus().lines().any(is_there));
        hw.shutdown(Duration::from_secs(5)).unwrap();
    }
}
