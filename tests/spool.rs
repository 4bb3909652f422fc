//! An alert is on disk before any sink hears of it, and arrives after an outage and a restart.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/receiver.rs"]
mod receiver;
#[path = "support/stack.rs"]
mod stack;

use std::{path::Path, sync::mpsc, time::Duration};

use highwater::{Highwater, alert, export::otlp, rule};
use receiver::{Reaction, Receiver};

/// Bytes of alerts in the spool.
fn alerts_on_disk(spool: &Path) -> u64 {
    let files = std::fs::read_dir(spool.join("slot-00")).unwrap().map(|file| file.unwrap());
    files
        .filter(|file| file.file_name().to_string_lossy().ends_with("-alerts.seg"))
        .map(|file| file.metadata().unwrap().len())
        .sum()
}

fn builder(receiver: &Receiver, spool: &Path) -> highwater::Builder {
    let to = otlp::to(receiver.url()).spool(otlp::spool(spool)).interval(Duration::from_secs(1));
    Highwater::builder("spool").tick(Duration::from_millis(100)).without_presets().export(to)
}

#[test]
fn an_alert_is_on_disk_before_any_sink_hears_of_it_and_survives_a_restart() {
    let directory = stack::Directory::new("spool");
    let path = directory.0.clone();
    let deaf = Receiver::always(Reaction::NeverAnswers);
    let (tell, told) = mpsc::channel();
    let sink = alert::to_fn(move |transition| {
        if transition.to == alert::State::Firing {
            _ = tell.send(alerts_on_disk(&path));
        }
    });
    let hw = builder(&deaf, &directory.0)
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)))
        .sink(sink)
        .start()
        .unwrap();
    // The io thread is busy with a request that nobody answers.
    deaf.wait_for(1);
    hw.gauge("depth").build().set(3.0);
    assert!(told.recv().unwrap() > 100, "nothing was kept when the sink was told");
    // What is on disk is not lost.
    hw.shutdown(Duration::from_secs(2)).unwrap();

    let well = Receiver::always(Reaction::ok());
    let hw = builder(&well, &directory.0).start().unwrap();
    let is_firing = |received: &receiver::Received| {
        received.path == "/v1/logs" && format!("{:?}", received.logs()).contains("\"firing\"")
    };
    stack::eventually("the alert of the first process", || {
        well.received().iter().any(is_firing).then_some(())
    });
    hw.shutdown(Duration::from_secs(10)).unwrap();
    let metrics = well.received().iter().filter(|got| got.path == "/v1/metrics").count();
    assert!(metrics >= 2, "the interval that nobody answered for, and a new one: {metrics}");
    assert_eq!(alerts_on_disk(&directory.0), 0, "delivered, and gone");
}
