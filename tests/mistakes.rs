//! Mistakes in code are reported together, each with its value and what is allowed; mistakes at
//! run time never stop anything.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use highwater::{Error, Highwater, Problem, export::otlp, rule};

#[test]
fn all_mistakes_in_code_come_together() {
    let slow = || rule::alert("Slow").when(rule::gauge("queue.depth").above(10.0));
    let error: Error = Highwater::builder(" ")
        .tick(Duration::ZERO)
        .cardinality_limit(0)
        .window_budget(7)
        .maintenance("Sunday night", [], "")
        .resource("", "prod")
        .describe("queue.depth", "furlong", "")
        .rule(rule::alert("").when(rule::gauge("a").above(1.0)))
        .rule(rule::alert("Band").when(rule::gauge("a").above(1.0).clear_below(2.0)))
        .rule(slow())
        .rule(slow())
        .export(otlp::to("collector:4318").header("bad name", "x"))
        .start()
        .unwrap_err();
    let text = error.to_string();
    for part in [
        "service name is \" \"",
        "tick is 0ns: it must be from 100 ms to 60 s",
        "cardinality limit is 0",
        "maintenance is \"Sunday night\": expected days",
        "window budget is 7 bytes: it must be from 1 MiB to 1 GiB",
        "resource attribute",
        "unknown unit \"furlong\"",
        "Band",
        "Slow",
        "\"collector:4318\"",
        "bad name",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(error.problems().len() >= 12, "{text}");
    assert!(error.problems().iter().any(|problem| matches!(problem, Problem::Rule(_))));
}

#[test]
fn an_unknown_alert_lists_those_there_are() {
    let hw = Highwater::builder("mistakes").start().unwrap();
    let error = hw.alert("MemoryNearLimt").unwrap_err();
    assert!(error.to_string().contains("MemoryNearLimit"), "{error}");
}

#[test]
fn a_kind_taken_twice_gives_an_inert_handle() {
    let hw = Highwater::builder("mistakes").start().unwrap();
    hw.counter("jobs").build().increment(1);
    hw.gauge("jobs").build().set(7.0);
    hw.histogram("jobs").build().record(7.0);
}
