//! Alerts sent to Alertmanagers: a real one, whose webhook shows what it made of them, and ones
//! that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/prometheus.rs"]
mod prometheus;
#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/alertmanager.rs"]
mod server;
#[path = "support/stack.rs"]
mod stack;

use std::{
    collections::HashSet,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use highwater::{
    Gauge, Highwater,
    alert::Severity,
    export::{alertmanager, prometheus::CONTENT_TYPE},
    rule,
};
use prometheus::{Prometheus, Route, Setup};
use receiver::{Reaction, Received, Receiver};
use serde_json::Value;
use server::Alertmanager;

fn shop(to: alertmanager::Config) -> Highwater {
    Highwater::builder("shop")
        .resource("service.instance.id", "shop-1")
        .resource("service.namespace", "web")
        .tick(Duration::from_millis(100))
        .without_presets()
        .rule(
            rule::alert("Deep")
                .when(rule::gauge("depth").above(2.0))
                .severity(Severity::Critical)
                .summary("{{ value }} deep")
                .runbook("https://runbooks.example/deep")
                .annotation("dash.board", "https://dashboards.example/{{ labels.queue.name }}"),
        )
        .sink(to)
        .start()
        .unwrap()
}

fn depth(hw: &Highwater, queue: &str) -> Gauge {
    hw.gauge("depth").label("queue.name", queue).build()
}

fn array(request: &Received) -> Vec<Value> {
    assert_eq!(request.path, "/api/v2/alerts");
    assert_eq!(request.headers["content-type"], "application/json");
    serde_json::from_slice::<Value>(&request.body).unwrap().as_array().unwrap().clone()
}

fn time(value: &Value) -> SystemTime {
    // What both sides write: 2026-11-25T03:00:00.000Z.
    let text = value.as_str().unwrap();
    let out = Command::new("date").args(["-u", "-d", text, "+%s.%N"]).output().unwrap();
    let seconds: f64 = String::from_utf8(out.stdout).unwrap().trim().parse().unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)
}

#[test]
fn fires_is_sent_again_and_ends() {
    let peer = Receiver::always(Reaction::status(200));
    let to = alertmanager::to([peer.url()])
        .label("cluster", "eu-1")
        .label("queue_name", "not this one")
        .resend_delay(Duration::from_secs(1));
    let before = SystemTime::now();
    let hw = shop(to);
    let depth = depth(&hw, "mail");
    depth.set(7.0);
    // At once, and a second later.
    let requests = peer.wait_for(2);
    let [first, again] = [&array(&requests[0])[0], &array(&requests[1])[0]];
    for (label, expected) in [
        ("alertname", "Deep"),
        ("severity", "critical"),
        ("queue_name", "mail"),
        ("cluster", "eu-1"),
        ("job", "web/shop"),
        ("instance", "shop-1"),
    ] {
        assert_eq!(first["labels"][label], expected, "{first}");
    }
    assert_eq!(first["labels"].as_object().unwrap().len(), 6);
    assert_eq!(first["annotations"]["summary"], "7 deep");
    assert_eq!(first["annotations"]["runbook_url"], "https://runbooks.example/deep");
    // Under a name that Alertmanager takes.
    assert_eq!(first["annotations"]["dash_board"], "https://dashboards.example/mail");
    assert_eq!(first["labels"], again["labels"]);
    assert_eq!(first["startsAt"], again["startsAt"]);
    assert!(time(&first["startsAt"]) >= before - Duration::from_millis(1));
    // Four times the delay ahead.
    assert!(time(&again["endsAt"]) > time(&first["endsAt"]));
    assert!(time(&first["endsAt"]) > before + Duration::from_secs(4));

    depth.set(0.0);
    let ended = stack::eventually("the end", || {
        let last = array(peer.received().last().unwrap()).remove(0);
        (time(&last["endsAt"]) <= SystemTime::now()).then_some(last)
    });
    assert_eq!(ended["labels"], first["labels"]);
    assert_eq!(ended["startsAt"], first["startsAt"]);
    let sent = peer.received().len();
    hw.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(peer.received().len(), sent, "once it has ended there is nothing more to say");
}

#[test]
fn a_refused_array_loses_only_what_is_bad_in_it() {
    // As a real one: 400 for the whole array if one alert in it is bad.
    let peer = Receiver::start(|_, request| {
        let bad = |alert: &Value| alert["labels"]["queue_name"] == "bad";
        Reaction::status(if array(request).iter().any(bad) { 400 } else { 200 })
    });
    let hw = shop(alertmanager::to([peer.url()]));
    let queues: Vec<_> =
        (0..20).map(|n| if n == 13 { "bad".into() } else { n.to_string() }).collect();
    queues.iter().for_each(|queue: &String| depth(&hw, queue).set(7.0));
    let taken = || -> HashSet<String> {
        let good = |alert: &Value| alert["labels"]["queue_name"].as_str().unwrap().to_owned();
        let arrays = peer.received().iter().map(array).collect::<Vec<_>>();
        let arrays = arrays.iter().map(|array| array.iter().map(good).collect::<Vec<_>>());
        arrays.filter(|array| !array.contains(&"bad".to_owned())).flatten().collect()
    };
    stack::eventually("the nineteen good ones", || (taken().len() == 19).then_some(()));
    let page = || hw.render_prometheus();
    stack::eventually("the loss to be counted", || {
        page().contains("highwater_dropped_total{reason=\"alertmanager\"} 1").then_some(())
    });
    let alone = |request: &Received| array(request).len() == 1;
    let requests = peer.received();
    let bad: Vec<_> = requests.iter().filter(|request| alone(request)).collect();
    assert_eq!(bad.iter().filter(|r| array(r)[0]["labels"]["queue_name"] == "bad").count(), 1);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn each_peer_is_told_whatever_the_others_do() {
    let well = Receiver::always(Reaction::status(200));
    let silent = Receiver::always(Reaction::NeverAnswers);
    let down = format!("http://127.0.0.1:{}", stack::free_port());
    let flaky = Receiver::start(|n, _| Reaction::status(if n == 0 { 503 } else { 200 }));
    let to = alertmanager::to([silent.url(), down, flaky.url(), well.url()])
        .timeout(Duration::from_secs(25));
    let hw = shop(to);
    depth(&hw, "mail").set(7.0);
    well.wait_for(1);
    let again = flaky.wait_for(2);
    assert_eq!(array(&again[0])[0]["labels"], array(&again[1])[0]["labels"]);
    // Those that could not be told are named; nobody waits longer than told.
    let error = hw.shutdown(Duration::from_secs(2)).unwrap_err().to_string();
    assert!(error.contains("not delivered"), "{error}");
    let last = array(well.received().last().unwrap()).remove(0);
    assert!(time(&last["endsAt"]) <= SystemTime::now(), "a shutdown ends its alerts: {last}");
}

#[test]
fn mistakes_are_told_together() {
    let none: [&str; 0] = [];
    let wrong = alertmanager::to(["ftp://x", "http://am:9093"])
        .header("Authorization", "Bearer x")
        .resend_delay(Duration::ZERO)
        .timeout(Duration::from_secs(60));
    let error = Highwater::builder("shop")
        .sink(alertmanager::to(none))
        .sink(wrong)
        .start()
        .unwrap_err()
        .to_string();
    for part in [
        "alertmanager url is missing",
        "\"ftp://x\"",
        "alertmanager header \"Authorization\"",
        "alertmanager resend_delay is 0ns",
        "alertmanager timeout is 60s",
    ] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    assert!(!error.contains("Bearer x"));
}

#[test]
fn a_real_alertmanager_notifies_repeats_and_resolves() {
    let test = "a_real_alertmanager_notifies_repeats_and_resolves";
    let hook = Receiver::always(Reaction::status(200));
    let Some(first) = Alertmanager::start(test, Some(&hook.url())) else { return };
    let elsewhere = Receiver::always(Reaction::status(200));
    let Some(second) = Alertmanager::start(test, Some(&elsewhere.url())) else { return };
    let to = alertmanager::to([first.url(), second.url()]).resend_delay(Duration::from_secs(1));
    let hw = shop(to);
    let depth = depth(&hw, "mail");
    depth.set(7.0);
    // Longer than the 4 s an alert lasts that is not sent again: notified, and again.
    let notified = hook.wait_for(6);
    let body = |request: &Received| serde_json::from_slice::<Value>(&request.body).unwrap();
    for request in &notified {
        assert_eq!(body(request)["status"], "firing");
    }
    let alert = &body(&notified[0])["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "Deep");
    assert_eq!(alert["labels"]["queue_name"], "mail");
    assert_eq!(alert["annotations"]["summary"], "7 deep");
    let known = first.alerts();
    assert_eq!((known.len(), &known[0]["status"]["state"]), (1, &Value::from("active")));
    // The instant, as one side cuts trailing zeros.
    assert_eq!(time(&known[0]["startsAt"]), time(&alert["startsAt"]));

    let cleared = SystemTime::now();
    depth.set(0.0);
    let resolved = stack::eventually("a resolved notification", || {
        hook.received().iter().map(body).find(|body| body["status"] == "resolved")
    });
    let alert = &resolved["alerts"][0];
    let ends = time(&alert["endsAt"]);
    assert!(ends >= cleared - Duration::from_millis(2) && ends <= SystemTime::now(), "{alert}");
    elsewhere.wait_for(1);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn what_was_refused_is_tried_again_alone() {
    // Only the third time it stands alone.
    let alone = |request: &Received| {
        array(request).iter().all(|alert| alert["labels"]["queue_name"] == "odd")
    };
    let times = AtomicUsize::new(0);
    let peer = Receiver::start(move |_, request| {
        let odd = array(request).iter().any(|alert| alert["labels"]["queue_name"] == "odd");
        let taken = alone(request) && times.fetch_add(1, Ordering::Relaxed) >= 2;
        Reaction::status(if odd && !taken { 400 } else { 200 })
    });
    let hw = shop(alertmanager::to([peer.url()]).resend_delay(Duration::from_secs(1)));
    depth(&hw, "even").set(7.0);
    peer.wait_for(1);
    let odd = depth(&hw, "odd");
    odd.set(7.0);
    stack::eventually("it to be taken", || {
        let tried = peer.received().iter().filter(|request| alone(request)).count();
        (tried > 3).then_some(())
    });
    // Taken at last, it has an end like the others.
    odd.set(0.0);
    stack::eventually("its end", || {
        let received = peer.received();
        let mut own = received.iter().filter(|request| alone(request)).flat_map(array);
        own.any(|alert| time(&alert["endsAt"]) <= SystemTime::now()).then_some(())
    });
    stack::eventually("the loss, counted once", || {
        let page = hw.render_prometheus();
        page.contains("highwater_dropped_total{reason=\"alertmanager\"} 1.0\n").then_some(())
    });
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

/// A server that scrapes under the same `job` and `instance`, and runs the exported rules, raises
/// the very alert that the process does. One that sums away whose it is, raises another.
#[test]
fn the_exported_rules_on_a_server_raise_the_same_alert() {
    let test = "the_exported_rules_on_a_server_raise_the_same_alert";
    let ours = Receiver::always(Reaction::status(200));
    let Some(alertmanager) = Alertmanager::start(test, None) else { return };
    let hw = Highwater::builder("shop")
        .resource("service.instance.id", "shop-1")
        .resource("service.namespace", "web")
        .tick(Duration::from_millis(100))
        .without_presets()
        .rule(
            rule::alert("Deep")
                .when(rule::gauge("depth").above(2.0))
                .severity(Severity::Critical)
                .label("queue.kind", "{{ labels.queue.name }}s"),
        )
        .rule(rule::alert("DeepInAll").when(rule::promql("sum(depth) > 2")))
        .sink(alertmanager::to([alertmanager.url(), ours.url()]))
        .start()
        .unwrap();
    let depth = depth(&hw, "mail");
    depth.set(0.0);
    let page = hw.clone();
    let route = Route::serve(CONTENT_TYPE, move || page.render_prometheus());
    let style = rule::ExportStyle::new().histograms(rule::Histograms::Classic);
    let setup = Setup {
        rules: &hw.export_rules(&style).yaml,
        job: "web/shop",
        instance: Some("shop-1"),
        alertmanager: Some(alertmanager.port),
        ..Setup::default()
    };
    let Some(server) = Prometheus::start_as(test, route.address, setup) else { return };
    depth.set(7.0);
    ours.wait_for(1);
    // Both have told: the server's own is there by its label, which ours has not.
    stack::eventually("the server's alerts", || {
        let firing = server.query("ALERTS{alertstate=\"firing\"}").len();
        (firing == 2 && sent(&server) >= 2.0).then_some(())
    });
    let known = stack::eventually("both ours and the server's", || {
        let known = alertmanager.alerts();
        // Of the sum, one of the process and one of the server, which knows no process.
        let sums = known.iter().filter(|alert| alert["labels"]["alertname"] == "DeepInAll");
        (sums.count() == 2).then_some(known)
    });
    let deep: Vec<_> =
        known.iter().filter(|alert| alert["labels"]["alertname"] == "Deep").collect();
    assert_eq!(deep.len(), 1, "{known:#?}");
    let mut labels: Vec<_> = deep[0]["labels"].as_object().unwrap().iter().collect();
    labels.sort_by_key(|(key, _)| *key);
    let labels: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
    assert_eq!(
        labels,
        [
            ("alertname", "Deep"),
            ("instance", "shop-1"),
            ("job", "web/shop"),
            ("queue_kind", "mails"),
            ("queue_name", "mail"),
            ("severity", "critical"),
        ]
    );
    hw.shutdown(Duration::from_secs(20)).unwrap();
}

/// How many alerts a Prometheus has sent to its Alertmanager.
fn sent(server: &Prometheus) -> f64 {
    let page = server.get("/metrics", &[]).unwrap();
    let sent = page.lines().filter(|line| line.starts_with("prometheus_notifications_sent_total{"));
    sent.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
