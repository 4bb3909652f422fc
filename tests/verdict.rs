//! A load test's exit status, and test alerts that take the whole way.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use highwater::{Builder, Highwater, alert, rule};

const PATIENCE: Duration = Duration::from_secs(5);

fn builder() -> Builder {
    Highwater::builder("verdict")
        .without_presets()
        .tick(Duration::from_millis(100))
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)).summary("{{ value }} wait"))
}

#[test]
fn a_load_test_that_raises_nothing_passes() {
    let hw = builder().start().unwrap();
    hw.gauge("depth").build().set(1.0);
    hw.shutdown(PATIENCE).unwrap();
    let verdict = hw.verdict();
    assert!(verdict.is_clear(), "{verdict}");
    assert_eq!(verdict.code(), 0);
}

#[test]
fn a_rule_that_never_saw_a_sample_is_no_pass() {
    let hw = builder().rule(rule::alert("Blind").when(rule::gauge("dehpt").above(2.0)));
    let hw = hw.start().unwrap();
    hw.gauge("depth").build().set(1.0);
    hw.shutdown(PATIENCE).unwrap();
    let verdict = hw.verdict();
    assert_eq!((verdict.code(), verdict.unseen()), (3, &["Blind".to_owned()][..]), "{verdict}");
    assert!(verdict.allow_unseen().is_clear());
}

#[test]
fn one_that_raises_an_alert_fails_though_it_cleared_since() {
    let (sink, mut alerts) = alert::channel(16);
    let hw = builder().sink(sink).start().unwrap();
    let depth = hw.gauge("depth").build();
    depth.set(3.0);
    while alerts.recv().unwrap().to != alert::State::Firing {}
    depth.set(1.0);
    while alerts.recv().unwrap().resolved != Some(alert::ResolveReason::Cleared) {}
    hw.shutdown(PATIENCE).unwrap();
    let verdict = hw.verdict();
    assert_eq!(verdict.code(), 1);
    let fired: Vec<_> = verdict.fired().map(ToString::to_string).collect();
    assert_eq!(fired, ["Deep [warning] fired"]);
    assert!(verdict.at_least(alert::Severity::Critical).is_clear());
}

#[test]
fn a_test_alert_takes_the_whole_way_and_changes_nothing() {
    let (sink, mut alerts) = alert::channel(16);
    let hw = builder().sink(sink).start().unwrap();
    assert!(hw.test_fire("Deeep").unwrap_err().to_string().contains("Deep"));
    hw.gauge("depth").build().set(1.0);
    hw.test_fire("Deep").unwrap();
    let fired = alerts.recv().unwrap();
    assert_eq!(fired.to, alert::State::Firing);
    assert_eq!(fired.labels.get("highwater.test"), Some("true"));
    assert!(fired.summary.starts_with("[test] "), "{}", fired.summary);
    assert!(!hw.alert("Deep").unwrap().is_firing());
    let resolved = alerts.recv().unwrap();
    assert_eq!(resolved.resolved, Some(alert::ResolveReason::Cleared));
    assert_eq!(resolved.labels, fired.labels);
    hw.silence([("alertname", "Deep")], Duration::from_secs(60), "a silence holds for it too");
    hw.test_fire("Deep").unwrap();
    hw.shutdown(PATIENCE).unwrap();
    assert!(alerts.recv().is_none());
    assert!(hw.verdict().is_clear());
}

#[test]
fn a_rule_that_cannot_be_evaluated_is_no_pass() {
    let hw =
        builder().rule(rule::alert("Twice").when(rule::promql("a + on () b > 0"))).start().unwrap();
    for key in ["x", "y"] {
        hw.gauge("a").label("k", key).build().set(1.0);
        hw.gauge("b").label("k", key).build().set(1.0);
    }
    hw.shutdown(PATIENCE).unwrap();
    let verdict = hw.verdict();
    assert_eq!((verdict.code(), verdict.unjudged()), (2, &["Twice".to_owned()][..]));
}
