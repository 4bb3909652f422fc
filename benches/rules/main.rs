//! What a tick's rules cost, and what their windows hold: beside a bare loop over an array of the
//! same size in the same run, and beside a real Prometheus on the same rules where there is one.
//!
//! ```sh
//! cargo bench -p highwater-bench --bench rules            # about two minutes, half of it Prometheus'
//! cargo bench -p highwater-bench --bench rules -- --quick # a look
//! cargo bench -p highwater-bench --bench rules -- hour    # only the cases of this name
//! ```
//!
//! What is timed is what the `highwater` thread does with what it has read: windows and rules, one
//! thread's own processor time, the median of many ticks a second apart on a clock that is counted.
//! Reading the instruments is not in it. Prints a table and writes
//! `target/highwater/rules.json` beside the workspace.

mod case;
mod claims;
mod prometheus;
mod report;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::case::{Case, cases};

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Microseconds it takes.
fn time(work: impl FnOnce()) -> f64 {
    let before = thread_time();
    work();
    (thread_time() - before).as_nanos() as f64 / 1e3
}

fn quantile(of: &mut [f64], q: f64) -> f64 {
    of.sort_by(f64::total_cmp);
    of[((of.len() - 1) as f64 * q) as usize]
}

fn run(case: Case, rounds: usize) -> report::Row {
    let Case { name, size, mut rules, mut feed, mut bare, warm_up } = case;
    for _ in 0..warm_up {
        feed();
        rules.collect();
        rules.evaluate();
    }
    let mut bare_times = Vec::new();
    let mut times = Vec::new();
    // In turns, so that what the machine does meanwhile falls on both alike.
    for _ in 0..rounds {
        bare_times.push(time(&mut bare));
        feed();
        rules.collect();
        times.push(time(|| rules.evaluate()));
    }
    report::Row {
        name,
        size,
        median: quantile(&mut times, 0.5),
        p99: quantile(&mut times, 0.99),
        bare: quantile(&mut bare_times, 0.5),
        bytes: rules.bytes(),
        judged: rules.values().iter().flatten().count(),
        prometheus: None,
    }
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let rounds = if quick { 50 } else { 1_000 };
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    let cases = cases().into_iter().filter(|case| case.name.contains(&only));
    let mut rows: Vec<_> = cases.map(|case| run(case, rounds)).collect();
    let server = if quick { Err("not with --quick".to_owned()) } else { prometheus::measure() };
    match &server {
        Err(why) => eprintln!("no Prometheus beside: {why}"),
        Ok(durations) => {
            for row in &mut rows {
                let found = durations.iter().find(|(name, _)| *name == row.name);
                row.prometheus = found.map(|(_, seconds)| seconds * 1e6);
            }
        }
    }
    report::print(&rows);
    claims::print(&rows);
    if let Err(error) = report::write(&rows, rounds) {
        eprintln!("cannot write the results: {error}");
        std::process::exit(1);
    }
}
