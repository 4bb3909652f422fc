//! `shutdown` keeps its deadline whatever the network and the sinks do, and says what was lost.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use highwater::{Highwater, ShutdownError, alert, export::otlp, rule};

/// Much longer than any deadline below: what takes that long ignored it.
const FAR_TOO_LONG: Duration = Duration::from_secs(8);

/// Accepts, keeps, never answers.
fn silent_receiver() -> (String, thread::JoinHandle<Vec<TcpStream>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accept = move || listener.incoming().take(3).map_while(Result::ok).collect();
    (format!("http://{address}"), thread::spawn(accept))
}

#[test]
fn a_receiver_that_never_answers() {
    let (endpoint, _accepting) = silent_receiver();
    let hw = Highwater::builder("shutdown")
        .tick(Duration::from_millis(100))
        .export(otlp::to(endpoint).interval(Duration::from_secs(1)))
        .start()
        .unwrap();
    thread::sleep(Duration::from_millis(1_500)); // into the first attempt
    let begun = Instant::now();
    let error = hw.shutdown(Duration::from_secs(1)).unwrap_err();
    assert!(begun.elapsed() < FAR_TOO_LONG);
    assert!(
        matches!(error, ShutdownError::Undelivered { requests, .. } if requests > 0),
        "{error}"
    );
}

#[test]
fn a_receiver_that_is_not_there() {
    let hw = Highwater::builder("shutdown")
        .tick(Duration::from_millis(100))
        .export(otlp::to("http://127.0.0.1:1"))
        .start()
        .unwrap();
    let begun = Instant::now();
    let error = hw.shutdown(Duration::from_millis(500)).unwrap_err();
    assert!(begun.elapsed() < FAR_TOO_LONG);
    assert!(error.to_string().contains("not delivered"), "{error}");
}

#[test]
fn a_sink_that_hangs() {
    let (release, hang) = mpsc::channel::<()>();
    let hw = Highwater::builder("shutdown")
        .without_presets()
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)))
        .tick(Duration::from_millis(100))
        .sink(alert::to_fn(move |_| _ = hang.recv()))
        .start()
        .unwrap();
    let watch = hw.alert("Deep").unwrap();
    hw.gauge("depth").build().set(3.0);
    while !watch.is_firing() {
        thread::yield_now();
    }
    let begun = Instant::now();
    let error = hw.shutdown(Duration::from_millis(500)).unwrap_err();
    assert!(begun.elapsed() < FAR_TOO_LONG);
    assert!(matches!(error, ShutdownError::Deadline { thread: "highwater-act", .. }), "{error}");
    drop(release);
}

#[test]
fn twice_and_after_the_end() {
    let hw = Highwater::builder("shutdown").start().unwrap();
    let counter = hw.counter("jobs").build();
    hw.shutdown(Duration::from_secs(5)).unwrap();
    hw.shutdown(Duration::from_secs(5)).unwrap();
    counter.increment(1);
    hw.query("late").build().time(|| ());
    assert!(!hw.alert("MemoryNearLimit").unwrap().is_firing());
}

#[test]
fn dropping_does_not_wait() {
    let (endpoint, _accepting) = silent_receiver();
    let builder = Highwater::builder("shutdown").tick(Duration::from_millis(100));
    let hw = builder.export(otlp::to(endpoint).interval(Duration::from_secs(1))).start().unwrap();
    thread::sleep(Duration::from_millis(1_500));
    let begun = Instant::now();
    drop(hw);
    assert!(begun.elapsed() < FAR_TOO_LONG);
}
