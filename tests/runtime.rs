//! highwater works without a runtime, and under a current-thread and a multi-thread one: it never
//! uses theirs.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use highwater::{Highwater, alert, rule};

fn start() -> (Highwater, alert::Alerts) {
    let (sink, alerts) = alert::channel(16);
    let hw = Highwater::builder("runtime")
        .without_presets()
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)))
        .tick(Duration::from_millis(100))
        .sink(sink)
        .start()
        .unwrap();
    (hw, alerts)
}

async fn a_service() {
    let (hw, mut alerts) = start();
    let query = hw.query("orders").system("postgresql").build();
    let answer = query
        .timed(async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            42
        })
        .await;
    assert_eq!(answer, 42);
    let failed = query.try_timed(async { "x".parse::<u8>() }).await;
    assert!(failed.is_err());
    hw.gauge("depth").build().set(3.0);
    loop {
        let transition = alerts.next().await.unwrap();
        if transition.to == alert::State::Firing {
            break;
        }
    }
    assert!(hw.alert("Deep").unwrap().is_firing());
    hw.shutdown(Duration::from_secs(5)).unwrap();
    let last = alerts.next().await.unwrap();
    assert_eq!(last.resolved, Some(alert::ResolveReason::Shutdown));
    assert!(alerts.next().await.is_none(), "the channel ends with the instance");
}

#[test]
fn without_a_runtime() {
    let (hw, mut alerts) = start();
    hw.gauge("depth").build().set(3.0);
    while alerts.recv().unwrap().to != alert::State::Firing {}
    hw.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(alerts.recv().unwrap().resolved, Some(alert::ResolveReason::Shutdown));
    assert!(alerts.recv().is_none());
}

#[test]
fn calls_under_way_are_there_for_rules() {
    let (sink, mut alerts) = alert::channel(16);
    let hw = Highwater::builder("runtime")
        .without_presets()
        .rule(rule::alert("Busy").when(rule::query("slow").in_flight().above(0.0)))
        .tick(Duration::from_millis(100))
        .sink(sink)
        .start()
        .unwrap();
    let query = hw.query("slow").system("sqlite").build();
    let call = query.start();
    let patience = Duration::from_secs(20);
    while alerts.recv_timeout(patience).unwrap().to != alert::State::Firing {}
    call.stop();
    let ended = alerts.recv_timeout(patience).unwrap();
    assert_eq!(ended.resolved, Some(alert::ResolveReason::Cleared));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn under_a_current_thread_runtime() {
    a_service().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_multi_thread_runtime() {
    a_service().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_future_may_move_between_threads() {
    let (hw, _alerts) = start();
    let query = hw.query("moving").build();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let query = query.clone();
            tokio::spawn(async move {
                query
                    .timed(async {
                        for _ in 0..20 {
                            tokio::task::yield_now().await
                        }
                    })
                    .await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
