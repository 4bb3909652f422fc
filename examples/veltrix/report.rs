//! The table at the end, and whether the runs went as told.

use std::{os::unix::process::ExitStatusExt, path::PathBuf, time::Duration};

use crate::{
    BUDGET, MIB, Mode,
    run::{Alert, Outcome},
};

pub(crate) fn bytes(of: u64) -> String {
    if of >= MIB {
        format!("{:.1} MiB", of as f64 / MIB as f64)
    } else {
        format!("{:.1} KiB", of as f64 / 1024.0)
    }
}

pub(crate) fn seconds(of: Duration) -> String {
    if of < Duration::from_secs(1) {
        format!("{:.0} ms", of.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", of.as_secs_f64())
    }
}

fn latency(of: f32) -> String {
    Duration::try_from_secs_f32(of).map_or_else(|_| "none".to_owned(), seconds)
}

pub(crate) fn print(outcomes: &[Outcome]) {
    println!(
        "\n{:<8} {:<20} {:>7} {:>8} {:>7} {:>8} {:>8} {:>8} {:>11}",
        "run", "", "served", "refused", "failed", "p50", "p95", "p99", "most memory"
    );
    for outcome in outcomes {
        let end = match outcome.died {
            None => "lasted".to_owned(),
            Some((at, how)) => match how.signal() {
                Some(9) => format!("killed at {}", seconds(at)),
                Some(6) => format!("aborted at {}", seconds(at)),
                _ => format!("ended at {}", seconds(at)),
            },
        };
        let [p50, p95, p99] = outcome.latency.map(latency);
        let counts = outcome.counts;
        println!(
            "{:<8} {end:<20} {:>7} {:>8} {:>7} {p50:>8} {p95:>8} {p99:>8} {:>11}",
            outcome.mode.name(),
            counts.served,
            counts.refused,
            counts.failed + counts.in_flight,
            bytes(outcome.peak),
        );
    }
    println!(
        "\n{:<8} {:<16} {:>8} {:>15}   at the growth of the second before",
        "run", "alert", "fired", "headroom"
    );
    for outcome in outcomes {
        if outcome.alerts.is_empty() {
            let why = if outcome.mode == Mode::Alone { "nobody looked" } else { "none" };
            println!("{:<8} {why}", outcome.mode.name());
        }
        for Alert { name, at, headroom, runway, .. } in &outcome.alerts {
            let before = runway.map_or_else(
                || "it did not grow".to_owned(),
                |runway| format!("{} before the wall", seconds(runway)),
            );
            let share = 100.0 * *headroom as f64 / BUDGET as f64;
            let headroom = format!("{} {share:>3.0}%", bytes(*headroom));
            println!(
                "{:<8} {name:<16} {:>8} {headroom:>15}   {before}",
                outcome.mode.name(),
                seconds(*at)
            );
        }
    }
    for outcome in outcomes {
        if let Some(alert) = outcome.alerts.iter().find(|alert| alert.name.starts_with("Memory")) {
            println!("\n{}, {}: {}", outcome.mode.name(), alert.name, alert.text);
        }
        for why in &outcome.scaled {
            println!("{}, autoscaler called: {why}", outcome.mode.name());
        }
    }
}

/// The page that the last memory alert of a run wrote.
fn page_of(outcome: &Outcome) -> Option<PathBuf> {
    let pages = std::fs::read_dir(&outcome.pages).ok()?.flatten().map(|entry| entry.path());
    let is_page = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".html") && name.contains("-Memory")
    };
    // Names begin with the time.
    pages.filter(is_page).max()
}

/// Where the incident is on one page.
pub(crate) fn print_page(outcomes: &[Outcome]) {
    let watched = outcomes.iter().find(|outcome| outcome.mode == Mode::Watched);
    if let Some(page) = watched.and_then(page_of) {
        println!("\nthe incident on one page: {}", page.display());
    }
}

/// What did not go as the story says.
pub(crate) fn otherwise(outcomes: &[Outcome]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    for outcome in outcomes {
        match outcome.mode {
            Mode::Alone => expect(outcome.died.is_some(), "alone, the server lasted"),
            Mode::Watched => {
                expect(outcome.died.is_none(), "watched, the server died");
                expect(outcome.counts.refused > 0, "watched, nothing was refused");
                expect(!outcome.scaled.is_empty(), "watched, the autoscaler was not called");
                let memory = outcome.alerts.iter().find(|alert| alert.name == "MemoryNearLimit");
                let says = |what: &str| memory.is_some_and(|alert| alert.text.contains(what));
                let names = says("config-store holds");
                expect(names, "watched, no memory alert named the configuration layer");
                let counts = says("requests in flight") && says(" each");
                expect(counts, "watched, no memory alert said what a request's state takes");
                expect(page_of(outcome).is_some(), "watched, no memory alert wrote a page");
            }
            Mode::Fixed => {
                expect(outcome.died.is_none(), "mended, the server died");
                expect(outcome.counts.refused == 0, "mended, the server refused requests");
            }
        }
    }
    wrong
}

/// The same of pooling: less load and less time, and both more than chance.
pub(crate) fn pooled_otherwise(report: &highwater::compare::Report) -> Vec<String> {
    let falls = |change: &highwater::compare::Change| change.is_clear() && change.ratio < 1.0;
    let figures =
        [(&report.load, "the load on the database"), (&report.query_time, "the time of queries")];
    let not = figures.into_iter().filter(|(change, _)| !falls(change));
    not.map(|(_, what)| format!("pooling did not cut {what}")).collect()
}
