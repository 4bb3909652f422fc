//! A service that already uses the `metrics` macros adopts highwater: with a recorder of its own,
//! and without.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use highwater::{Highwater, alert, rule};
use metrics_util::{
    debugging::{DebugValue, DebuggingRecorder},
    layers::FanoutBuilder,
};

/// Fires as soon as a counter of ours has moved; read through the alert, as a user would.
fn jobs_rule() -> rule::Rule {
    rule::alert("JobsDone").when(rule::gauge("jobs.waiting").above(2.0))
}

/// Fires while a call of `at_a_site` is under way.
fn busy_rule() -> rule::Rule {
    let calls = rule::gauge(highwater::semconv::QUERY_IN_FLIGHT);
    rule::alert("SiteBusy").when(calls.label("db.query.summary", "site").above(0.0))
}

/// A handle that its call site resolves.
fn at_a_site() -> &'static highwater::Query {
    highwater::query!("site", "db.system.name" => "sqlite")
}

fn waits_for_firing(alerts: &mut alert::Alerts) -> bool {
    let deadline = Duration::from_secs(20);
    while let Some(transition) = alerts.recv_timeout(deadline) {
        if transition.to == alert::State::Firing {
            return true;
        }
    }
    false
}

#[test]
fn beside_a_recorder_of_ones_own() {
    let (sink, mut alerts) = alert::channel(16);
    let hw = Highwater::builder("adopt").without_presets().rule(jobs_rule()).sink(sink);
    let hw = hw.tick(Duration::from_millis(100)).start().unwrap();
    let theirs = DebuggingRecorder::new();
    let seen = theirs.snapshotter();
    let both = FanoutBuilder::default().add_recorder(theirs).add_recorder(hw.recorder()).build();
    metrics::with_local_recorder(&both, || {
        metrics::gauge!("jobs.waiting", "queue" => "mail").set(3.0);
    });
    assert!(waits_for_firing(&mut alerts), "the rule sees the macro's gauge");
    let theirs = seen.snapshot().into_vec();
    assert!(matches!(theirs[0].3, DebugValue::Gauge(v) if v.0 == 3.0), "and so do they");
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn installed_shut_down_and_installed_again() {
    let (sink, mut alerts) = alert::channel(16);
    let build = || Highwater::builder("adopt").without_presets().tick(Duration::from_millis(100));
    let hw = build().rule(jobs_rule()).sink(sink).install().unwrap();

    let refused = build().install().unwrap_err();
    assert!(refused.to_string().contains("already installed"), "{refused}");
    let other = refused.builder.unwrap().start().unwrap();
    other.shutdown(Duration::from_secs(5)).unwrap();

    assert_eq!(at_a_site().time(|| 1), 1);
    let gauge = metrics::gauge!("jobs.waiting");
    gauge.set(3.0);
    assert!(waits_for_firing(&mut alerts));
    drop(hw);
    assert!(highwater::global().is_some(), "an installed instance needs nobody to hold it");
    highwater::global().unwrap().shutdown(Duration::from_secs(5)).unwrap();
    assert!(highwater::global().is_none());

    // `metrics` keeps the recorder for ever: it must do nothing now, and work again afterwards.
    gauge.set(4.0);
    metrics::counter!("while.down").increment(1);
    drop(at_a_site().start());
    let (sink, mut alerts) = alert::channel(16);
    let hw = build().rule(jobs_rule()).rule(busy_rule()).sink(sink).install().unwrap();
    metrics::gauge!("jobs.waiting").set(5.0);
    assert!(waits_for_firing(&mut alerts));
    // The call site's handle is of the new instance now.
    let _call = at_a_site().start();
    assert!(waits_for_firing(&mut alerts));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
