//! Runtimes of both kinds, really blocked: reported while they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/points.rs"]
mod points;
#[path = "../../support/receiver.rs"]
mod receiver;

use std::{
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use highwater::{
    Highwater,
    alert::{self, State},
    integrate, rule,
};
use points::Points;
use receiver::{Reaction, Receiver};
use tokio::runtime::Builder;

const STALL: &str = "highwater.tokio.stall";
const WORKER: &str = "highwater.tokio.worker.stall";

/// By the preset rule at the default tick, as a service has it, but for the minute after a start in
/// which presets see nothing. The runtime is released by the alert itself: were it not reported
/// while it is blocked, this would never end.
#[test]
fn a_blocked_current_thread_runtime_is_reported_while_it_is_blocked() {
    let (fired, firing) = channel();
    let tick = Duration::from_secs(1);
    let presets =
        rule::preset::all(tick).into_iter().filter(|rule| rule.name() == "RuntimeStalled");
    let builder = presets.fold(Highwater::builder("tokio").without_presets(), |builder, rule| {
        builder.rule(rule.warm_up(Duration::ZERO))
    });
    let hw = builder
        .tick(tick)
        .sink(alert::to_fn(move |transition| {
            if transition.to == State::Firing {
                let _ = fired.send((Instant::now(), transition.value, transition.summary.clone()));
            }
        }))
        .start()
        .unwrap();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    integrate::tokio::runtime(&hw, "main", runtime.handle());
    let (blocked, (told, value, summary)) = runtime.block_on(async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        let blocked = Instant::now();
        // A blocking call in async code.
        (blocked, firing.recv().unwrap())
    });
    let value = value.unwrap();
    println!("told {:?} after it was blocked: {summary}", told - blocked);
    assert!(summary.starts_with("the runtime main has stood still for"), "{summary}");
    // How long, too; not more than it was.
    assert!(value > 1.0 && value <= (told - blocked).as_secs_f64(), "{value}");
    // At the first look after the threshold: what the looker itself was late by is not in it, so a
    // slow machine does not change this.
    assert!(value <= 1.0 + tick.as_secs_f64() + 0.001, "{value}");
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn one_blocked_worker_of_many_is_seen_though_the_heart_beats() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let runtime = Builder::new_multi_thread().worker_threads(3).enable_time().build().unwrap();
    integrate::tokio::runtime(&hw, "main", runtime.handle());
    let points = Points::until(&receiver, |points| {
        points.value("highwater.tokio.workers") == Some(3.0)
            && points.count("highwater.tokio.heartbeat.delay").is_some_and(|beats| beats > 2)
    });
    assert_eq!(points.labels(STALL), [("runtime".to_owned(), "main".to_owned())]);
    assert_eq!(points.value("highwater.tokio.tasks"), Some(1.0), "the heart itself");

    let (release, released) = channel::<()>();
    let held = runtime.spawn(async move { released.recv().unwrap() });
    let points = Points::until(&receiver, |p| p.value(WORKER).is_some_and(|held| held > 1.0));
    assert!(points.value(STALL).unwrap() < 1.0, "the others carry on: {points:#?}");
    release.send(()).unwrap();
    runtime.block_on(held).unwrap();
    Points::until(&receiver, |points| points.value(WORKER).is_some_and(|held| held < 0.5));

    // Busy, and yet not held up.
    let until = Instant::now() + Duration::from_secs(2);
    let busy: Vec<_> = (0..3)
        .map(|_| {
            runtime.spawn(async move {
                while Instant::now() < until {
                    std::hint::black_box((0..2_000).sum::<u64>());
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let points = Points::until(&receiver, |points| {
        points.value("highwater.tokio.busy.utilization").is_some_and(|busy| busy > 0.2)
    });
    assert!(points.value(WORKER).unwrap() < 1.0);
    runtime.block_on(async {
        for task in busy {
            task.await.unwrap();
        }
    });

    runtime.shutdown_background();
    Points::until(&receiver, |points| points.value(STALL).is_none());
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn a_runtime_without_timers_and_a_stopped_instance_harm_nobody() {
    let hw = Highwater::builder("tokio").start().unwrap();
    let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    integrate::tokio::runtime(&hw, "no timers", runtime.handle());
    hw.shutdown(Duration::from_secs(5)).unwrap();
    integrate::tokio::runtime(&hw, "stopped", runtime.handle());
    thread::sleep(Duration::from_millis(50));
    assert_eq!(runtime.block_on(async { 7 }), 7);
}
