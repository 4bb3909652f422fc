//! `shutdown` keeps its deadline whatever the network and the sinks do, and says what was lost.
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic)]

#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/stack.rs"]
mod stack;

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use highwater::{Highwater, ShutdownError, alert, export::otlp, rule};
use receiver::{Reaction, Receiver};

/// What a busy machine may take beyond a deadline. An attempt that is waited for takes ten minutes.
const SLACK: Duration = Duration::from_secs(4);
const TIMEOUT: Duration = Duration::from_secs(600);

fn shut_down(hw: &Highwater, within: Duration) -> Result<(), ShutdownError> {
    let begun = Instant::now();
    let result = hw.shutdown(within);
    assert!(begun.elapsed() < within + SLACK, "{:?} of {within:?}", begun.elapsed());
    result
}

/// An instance with an attempt under way, as far as can be seen from here.
fn pushing(to: otlp::Config) -> Highwater {
    let hw = Highwater::builder("shutdown")
        .tick(Duration::from_millis(100))
        .export(to.interval(Duration::from_millis(200)).timeout(TIMEOUT))
        .start()
        .unwrap();
    stack::eventually("a request that waits", || {
        hw.health().delivery.filter(|delivery| delivery.queued > 0)
    });
    hw
}

#[test]
fn a_receiver_that_never_answers() {
    let receiver = Receiver::always(Reaction::NeverAnswers);
    let hw = pushing(otlp::to(receiver.url()));
    receiver.wait_for(1);
    let error = shut_down(&hw, Duration::from_secs(2)).unwrap_err();
    assert!(
        matches!(error, ShutdownError::Undelivered { requests, .. } if requests > 0),
        "{error}"
    );
}

#[test]
fn a_receiver_that_is_not_there() {
    let hw = pushing(otlp::to("http://127.0.0.1:1"));
    let error = shut_down(&hw, Duration::from_secs(2)).unwrap_err();
    assert!(error.to_string().contains("not delivered"), "{error}");
}

/// An address where a connection attempt gets no answer at all: the kernel drops it, as the queue of
/// those to be accepted is full.
#[cfg(target_os = "linux")]
fn black_hole() -> (String, impl Sized) {
    use std::os::fd::AsRawFd;

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let filling: Vec<_> = std::iter::from_fn(|| connect().ok()).take(100).collect();
    assert!(filling.len() < 100, "nothing fills it");
    (format!("http://{address}"), (listener, filling))
}

#[test]
#[cfg(target_os = "linux")]
fn a_network_that_swallows_connection_attempts_loses_nothing_that_is_spooled() {
    let (url, _hole) = black_hole();
    let error = shut_down(&pushing(otlp::to(&url)), Duration::from_secs(2)).unwrap_err();
    assert!(
        matches!(error, ShutdownError::Undelivered { requests, .. } if requests > 0),
        "{error}"
    );

    let directory = stack::Directory::new("shutdown-hole");
    let hw = pushing(otlp::to(&url).spool(otlp::spool(&directory.0)));
    hw.counter("jobs.done").build().increment(7);
    shut_down(&hw, Duration::from_secs(2)).unwrap();
    // The last snapshot is in the spool too; in a copy, as the attempt goes on and keeps its lock.
    let copy = stack::Directory::new("shutdown-copy");
    std::fs::create_dir(copy.0.join("slot-00")).unwrap();
    for file in std::fs::read_dir(directory.0.join("slot-00")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.0.join("slot-00").join(file.file_name())).unwrap();
    }
    let well = Receiver::always(Reaction::ok());
    let hw = Highwater::builder("shutdown")
        .export(otlp::to(well.url()).spool(otlp::spool(&copy.0)))
        .start()
        .unwrap();
    shut_down(&hw, Duration::from_secs(60)).unwrap();
    let all = well.received();
    let metrics = all.iter().filter(|got| got.path == "/v1/metrics");
    let mut said = metrics.map(|got| format!("{:?}", got.metrics()));
    assert!(said.any(|said| said.contains("\"jobs.done\"")), "{} requests", all.len());
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
    let error = shut_down(&hw, Duration::from_millis(500)).unwrap_err();
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
    let receiver = Receiver::always(Reaction::NeverAnswers);
    let hw = pushing(otlp::to(receiver.url()));
    receiver.wait_for(1);
    let begun = Instant::now();
    drop(hw);
    assert!(begun.elapsed() < SLACK);
}
