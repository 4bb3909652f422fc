//! A logger that counts what it logs, as log appenders do: what highwater says while it resolves a
//! name, starts or stops comes back as a macro's call on the same thread. Nothing may hang.
#![allow(clippy::unwrap_used, clippy::panic, unsafe_code)]

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use highwater::Highwater;

static LOGGED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

impl log::Log for Counting {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if !record.target().starts_with("highwater") {
            return;
        }
        LOGGED.fetch_add(1, Ordering::Relaxed);
        let level = record.level().as_str();
        metrics::counter!("log_lines", "level" => level).increment(1);
        // New to the registry each time, so that it is locked; and kinds that contradict.
        metrics::counter!("log_texts", "text" => record.args().to_string()).increment(1);
        metrics::gauge!("log_lines").set(1.0);
        highwater::query!("log").time(|| ());
        let _ = highwater::query!("log").try_time(|| Err::<(), _>(std::fmt::Error));
        metrics::describe_counter!("log_lines", "lines");
        if let Some(hw) = highwater::global() {
            let _ = hw.queries().build().of("INSERT INTO log VALUES (1)");
        }
    }

    fn flush(&self) {}
}

/// Its own thread does the work, so that a deadlock is a failure and not a hang.
#[test]
fn a_logger_that_counts_does_not_hang_what_it_logs() {
    log::set_logger(&Counting).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let (done, finished) = mpsc::channel();
    let work = thread::spawn(move || {
        live();
        done.send(()).unwrap();
    });
    if finished.recv_timeout(Duration::from_secs(300)) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("hangs after {} lines", LOGGED.load(Ordering::Relaxed));
    }
    work.join().unwrap();
}

fn live() {
    // A mistake in the environment is logged while it starts.
    // SAFETY: the only test here, and no other thread of it is running.
    unsafe { std::env::set_var("HIGHWATER_TICK", "never") };
    let hw = Highwater::builder("logger").cardinality_limit(100).install().unwrap();
    let said = || LOGGED.load(Ordering::Relaxed);
    assert!(said() > 0, "the mistake in the environment");

    let before = said();
    for at in 0..200 {
        metrics::counter!("requests", "id" => at.to_string()).increment(1);
    }
    assert!(said() > before, "too many label sets");

    let before = said();
    metrics::gauge!("requests").set(1.0);
    assert!(said() > before, "a counter is no gauge");
    let before = said();
    metrics::gauge!("requests", "id" => "other").set(1.0);
    hw.gauge("requests").build().set(1.0);
    assert_eq!(said(), before, "it is said once of each metric");

    // Failures of a query whose label sets are over the limit are resolved while they are recorded.
    let orders = highwater::query!("orders");
    for at in 0..200 {
        orders.start().fail(&format!("error{at}"));
    }
    for at in 0..200 {
        let _ = hw.queries().build().of(&format!("SELECT * FROM t{at}"));
    }
    hw.shutdown(Duration::from_secs(30)).unwrap();
}
