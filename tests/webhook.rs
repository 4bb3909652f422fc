//! Alerts posted to webhooks, well-behaved and not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/stack.rs"]
mod stack;

use std::{
    io::Write,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use highwater::{
    Builder, Highwater,
    alert::Severity,
    export::{
        scale::{self, Replicas},
        webhook,
    },
    rule,
};
use receiver::{Reaction, Received, Receiver};
use serde_json::{Value, json};

fn builder() -> Builder {
    let deep = |name, above| rule::alert(name).when(rule::gauge("depth").above(above));
    Highwater::builder("shop")
        .resource("service.instance.id", "shop-1")
        .tick(Duration::from_millis(100))
        .without_presets()
        .rule(deep("Deep", 2.0).summary("{{ value }} \"deep\"\n"))
        .rule(deep("Bottomless", 100.0).severity(Severity::Critical))
}

fn body(request: &Received) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[test]
fn what_fires_and_ends_is_posted_in_the_shape_asked_for() {
    let hook = Receiver::always(Reaction::status(204));
    let to = webhook::to(format!("{}/in?room=7", hook.url()))
        .header("x-team", "shop")
        .template(r#"{"text": "{{ alertname }} {{ state }}: {{ summary }}", "n": "{{ value }}", "l": "{{ labels }}"}"#);
    let hw = builder().sink(to).start().unwrap();
    let depth = hw.gauge("depth").label("queue", "mail").build();
    depth.set(7.0);
    let sent = hook.wait_for(1).remove(0);
    assert_eq!(sent.path, "/in?room=7");
    assert_eq!(sent.headers["x-team"], "shop");
    assert_eq!(sent.headers["content-type"], "application/json");
    assert!(!sent.headers.contains_key("webhook-signature"));
    assert_eq!(
        body(&sent),
        json!({
            "text": "Deep firing: 7 \"deep\"\n",
            "n": 7.0,
            "l": {"alertname": "Deep", "severity": "warning", "queue": "mail", "job": "shop", "instance": "shop-1"},
        })
    );
    depth.set(0.0);
    let ended = hook.wait_for(2).remove(1);
    assert!(body(&ended)["text"].as_str().unwrap().starts_with("Deep resolved"), "{ended:?}");
    hw.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(hook.received().len(), 2);
}

#[test]
fn severities_go_their_own_ways() {
    let (all, pages) =
        (Receiver::always(Reaction::status(200)), Receiver::always(Reaction::status(200)));
    let loud = Receiver::always(Reaction::status(200));
    let hw = builder()
        .sink(webhook::to(all.url()).route(Severity::Critical, pages.url()))
        .sink(webhook::to(loud.url()).at_least(Severity::Critical))
        .start()
        .unwrap();
    hw.gauge("depth").build().set(1_000.0);
    assert_eq!(body(&all.wait_for(1)[0])["alertname"], "Deep");
    assert_eq!(body(&pages.wait_for(1)[0])["alertname"], "Bottomless");
    assert_eq!(body(&loud.wait_for(1)[0])["alertname"], "Bottomless");
    hw.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!([all.received().len(), pages.received().len(), loud.received().len()], [2, 2, 2]);
}

#[test]
fn a_failure_is_tried_again_as_the_same_message_in_order() {
    let hook = Receiver::start(|n, _| match n {
        0 => Reaction::status(503),
        1 => Reaction::CutsOff { status: 500 },
        _ => Reaction::status(200),
    });
    let hw = builder().sink(webhook::to(hook.url())).start().unwrap();
    let depth = hw.gauge("depth").build();
    depth.set(7.0);
    hook.wait_for(1);
    depth.set(0.0);
    let requests = hook.wait_for(4);
    let states: Vec<_> =
        requests.iter().map(|r| body(r)["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["firing", "firing", "firing", "resolved"]);
    let id = |n: usize| requests[n].headers["webhook-id"].clone();
    assert!(id(0) == id(1) && id(1) == id(2) && id(2) != id(3));
    assert_eq!(body(&requests[0])["id"], id(0));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn what_is_refused_is_counted_and_blocks_nothing() {
    let hook = Receiver::start(|n, _| Reaction::status(if n == 0 { 400 } else { 200 }));
    let hw = builder().sink(webhook::to(hook.url())).start().unwrap();
    let depth = hw.gauge("depth").build();
    depth.set(7.0);
    hook.wait_for(1);
    depth.set(0.0);
    assert_eq!(body(&hook.wait_for(2)[1])["state"], "resolved");
    stack::eventually("the loss to be counted", || {
        let page = hw.render_prometheus();
        let lost = page.contains("highwater_dropped_total{reason=\"webhook\"} 1");
        (lost && page.contains("highwater_sink_delivered_total{")).then_some(())
    });
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn one_that_hangs_keeps_nobody_past_the_deadline() {
    let hook = Receiver::always(Reaction::NeverAnswers);
    let hw = builder().sink(webhook::to(hook.url())).start().unwrap();
    hw.gauge("depth").build().set(7.0);
    hook.wait_for(1);
    let error = hw.shutdown(Duration::from_secs(1)).unwrap_err().to_string();
    assert!(error.contains("not delivered"), "{error}");
}

#[test]
fn a_signature_is_checked_by_somebody_else() {
    let hook = Receiver::always(Reaction::status(200));
    let secret = "sixteen bytes or more";
    let hw = builder().sink(webhook::to(hook.url()).sign_with(secret)).start().unwrap();
    hw.gauge("depth").build().set(7.0);
    let sent = hook.wait_for(1).remove(0);
    hw.shutdown(Duration::from_secs(5)).unwrap();
    let (id, at) = (&sent.headers["webhook-id"], &sent.headers["webhook-timestamp"]);
    let code = "import sys,hmac,hashlib,base64;s=sys.stdin.buffer.read();\
        print('v1,'+base64.b64encode(hmac.new(sys.argv[1].encode(),s,hashlib.sha256).digest()).decode())";
    let python = Command::new("python3")
        .args(["-c", code, secret])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: a_signature_is_checked_by_somebody_else: no python3"
        );
        return;
    };
    let mut stdin = python.stdin.take().unwrap();
    stdin.write_all(format!("{id}.{at}.").as_bytes()).unwrap();
    stdin.write_all(&sent.body).unwrap();
    drop(stdin);
    let out = python.wait_with_output().unwrap();
    let expected = String::from_utf8(out.stdout).unwrap();
    assert_eq!(sent.headers["webhook-signature"], expected.trim());
}

#[test]
fn mistakes_are_told_together() {
    let to = webhook::to("nowhere").template("{{ x }}").sign_with("short");
    let error = Highwater::builder("shop").sink(to).start().unwrap_err().to_string();
    for part in ["webhook url is \"nowhere\"", "webhook template", "webhook secret is 5 bytes long"]
    {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    let to = webhook::to("http://127.0.0.1:1").sign_with("whsec_not base64 at all");
    let error = Highwater::builder("shop").sink(to).start().unwrap_err().to_string();
    assert!(error.contains("webhook secret is not base64"), "{error}");
    assert!(!error.contains("at all"), "{error}");
}

#[test]
fn one_that_does_not_answer_in_time_is_asked_again() {
    let hook = Receiver::start(|n, _| match n {
        0 => Reaction::NeverAnswers,
        _ => Reaction::status(200),
    });
    let to = webhook::to(hook.url()).timeout(Duration::from_millis(100));
    let hw = builder().sink(to).start().unwrap();
    hw.gauge("depth").build().set(7.0);
    let [first, again] = &hook.wait_for(2)[..2] else { panic!() };
    assert_eq!(first.headers["webhook-id"], again.headers["webhook-id"]);
    assert_eq!(first.body, again.body);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn one_that_says_when_is_not_asked_before() {
    // Longer than our own first wait, which is a second at most.
    let asked = Duration::from_secs(3);
    let times = Arc::new(Mutex::new(Vec::new()));
    let heard = times.clone();
    let hook = Receiver::start(move |n, _| {
        heard.lock().unwrap().push(Instant::now());
        match n {
            0 => Reaction::with(429, &[("retry-after", "3")], b""),
            _ => Reaction::status(200),
        }
    });
    let hw = builder().sink(webhook::to(hook.url())).start().unwrap();
    hw.gauge("depth").build().set(7.0);
    hook.wait_for(2);
    hw.shutdown(Duration::from_secs(5)).unwrap();
    let times = times.lock().unwrap();
    assert!(times[1] - times[0] >= asked, "{:?}", times[1] - times[0]);
}

#[test]
fn a_secret_as_receivers_have_it_is_read_by_their_library() {
    let test = "a_secret_as_receivers_have_it_is_read_by_their_library";
    let hook = Receiver::always(Reaction::status(200));
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let hw = builder().sink(webhook::to(hook.url()).sign_with(secret)).start().unwrap();
    hw.gauge("depth").build().set(7.0);
    let sent = hook.wait_for(1).remove(0);
    hw.shutdown(Duration::from_secs(5)).unwrap();
    let python = |arguments: &[&str], body: &[u8]| {
        let path = stack::tools().unwrap_or_default().join("python");
        let mut python = Command::new("python3")
            .env("PYTHONPATH", path)
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .ok()?;
        // One that ended early reads nothing.
        _ = python.stdin.take().unwrap().write_all(body);
        let out = python.wait_with_output().unwrap();
        Some((out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned()))
    };
    let there = python(&["-c", "import standardwebhooks"], b"");
    if !there.is_some_and(|(there, _)| there) {
        let required = std::env::var_os("HIGHWATER_STACK_REQUIRED").is_some();
        assert!(!required, "{test} needs Python's standardwebhooks: run tests/stack/fetch.sh");
        let said = format!("SKIPPED: {test}: there is no Python with standardwebhooks\n");
        _ = std::io::stderr().write_all(said.as_bytes());
        return;
    }
    let code = "import sys, json; from standardwebhooks import Webhook\n\
        Webhook(sys.argv[1]).verify(sys.stdin.buffer.read(), json.loads(sys.argv[2]))";
    let headers = json!(sent.headers).to_string();
    let (verified, said) = python(&["-c", code, secret, &headers], &sent.body).unwrap();
    assert!(verified, "{said}");
    // It does look.
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(!python(&["-c", code, other, &headers], &sent.body).unwrap().0);
}

#[test]
fn what_an_address_holds_is_told_to_nobody() {
    let secret = "T0KEN";
    let at = |url: &str| webhook::to(format!("{url}/services/{secret}?key={secret}"));
    let down = at(&format!("http://127.0.0.1:{}", stack::free_port()));
    assert!(!format!("{down:?}").contains(secret));
    let hw = builder().sink(down).start().unwrap();
    hw.gauge("depth").build().set(7.0);
    stack::eventually("the alert", || hw.alert("Deep").unwrap().is_firing().then_some(()));
    let error = hw.shutdown(Duration::from_secs(1)).unwrap_err().to_string();
    assert!(error.contains("not delivered") && !error.contains(secret), "{error}");
    let wrong = Highwater::builder("shop").sink(at("chat.example")).start().unwrap_err();
    assert!(!wrong.to_string().contains(secret), "{wrong}");
}

#[test]
fn an_autoscaler_is_told_how_many_to_run() {
    let hook = Receiver::always(Reaction::status(200));
    let to = webhook::to(hook.url()).template(r#"{"replicas": "{{ desired_replicas }}"}"#);
    let desired = scale::desired(Replicas::towards(0.5).between(1, 10), || 4).of("busy");
    let hw = builder()
        .rule(rule::alert("Busy").when(rule::gauge(SCALE_DESIRED).above(4.0)))
        .sample(desired.clone())
        .sink(to)
        .start()
        .unwrap();
    hw.gauge("busy").build().set(0.8);
    assert_eq!(body(&hook.wait_for(1)[0]), json!({"replicas": 7}));
    assert_eq!(desired.get(), Some(7));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

const SCALE_DESIRED: &str = "highwater.scale.desired_replicas";
