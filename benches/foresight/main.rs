//! How well memory alerts foresee: `cargo bench -p highwater-bench --bench foresight`.
//!
//! Plays seeded random traces through the real samplers, trend and preset rules: leaks of random
//! shape and speed, and services that are well, with saws, bursts, tides, steps and noise. Prints
//! recall, lead time and false alarms. Arguments: leaks (1,000), days of benign service (1,000,
//! which take an hour on two cores), seed (1), how many seconds of each benign half day are played
//! (all: 43,200). Writes `target/highwater/foresight.json`; with
//! `--check` it exits 1 where a claim does not hold.

#[path = "../../tests/support/traces.rs"]
mod traces;

use std::{fs, io, path::Path, process::ExitCode, sync::Mutex, thread};

use highwater::alert::Severity;
use traces::{Outcome, Random, Workload, play};

/// What comes later is no warning.
const TIMELY: f64 = 30.0;
/// Of the leaks, told in time.
const RECALL: f64 = 0.95;
/// Per 1,000 days of benign service.
const FALSE_CRITICALS: f64 = 1.0;
/// How long a benign instance runs.
const RUN: f64 = 43_200.0;

fn main() -> io::Result<ExitCode> {
    let given: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let argument = |at: usize, otherwise| given.get(at).copied().unwrap_or(otherwise);
    let (leaks, days, seed) = (argument(0, 1_000), argument(1, 1_000), argument(2, 1));
    let seconds = argument(3, RUN as u64) as f64;

    let mut leads = Vec::new();
    let mut missed = Vec::new();
    let (mut early, mut foreseen) = (0, 0);
    for (workload, outcome) in all(leaks, |at| {
        let mut random = Random::new(seed.wrapping_mul(0x10_0000).wrapping_add(at));
        let workload = Workload::leaking(&mut random);
        let outcome = play(&workload, &mut random, 1e6);
        (workload, outcome)
    }) {
        let Some(leak) = workload.leak() else { continue };
        let before = outcome
            .alerts
            .iter()
            .filter(|(_, of, from, _)| *of == Severity::Critical && *from < leak.begins);
        early += before.count();
        let timely = |prefix| outcome.lead(&leak, prefix).filter(|lead| *lead >= TIMELY);
        foreseen += u64::from(timely("MemoryExhaustion").is_some());
        match timely("Memory") {
            Some(lead) => leads.push(lead),
            None => missed.push((workload, outcome)),
        }
    }
    leads.sort_by(f64::total_cmp);
    let recall = leads.len() as f64 / leaks.max(1) as f64;
    let foreseen = foreseen as f64 / leaks.max(1) as f64;
    println!(
        "{leaks} leaks of 3 min to 8 h, told at least {TIMELY} s before the wall: \
         recall {recall:.4}, by a forecast {foreseen:.4}"
    );
    for quantile in [0.05, 0.25, 0.5, 0.75, 0.95] {
        let at = (leads.len() as f64 * quantile) as usize;
        println!(
            "  lead, {:>3.0}% shorter: {:>6.0} s",
            quantile * 100.0,
            leads.get(at).unwrap_or(&0.0)
        );
    }
    println!("  criticals before the leak began: {early}");
    for (workload, outcome) in missed.iter().take(12) {
        println!("  missed: {:?}\n    wall {:?}, {workload}", outcome.alerts, outcome.wall);
    }

    let instances = (days as f64 * 86_400.0 / RUN).ceil() as u64;
    let (mut criticals, mut warnings, mut ticks) = (0, 0, 0);
    for (_, outcome) in all(instances, |at| {
        let mut random = Random::new(seed.wrapping_mul(0x20_0000).wrapping_add(at) ^ 0xbe9);
        let workload = Workload::benign(&mut random, RUN);
        let outcome = play(&workload, &mut random, seconds);
        if outcome.count(Severity::Critical) > 0 {
            println!("  false: {:?}\n    {workload}", outcome.alerts);
        }
        (workload, outcome)
    }) {
        criticals += outcome.count(Severity::Critical);
        warnings += outcome.count(Severity::Warning);
        ticks += outcome.ticks;
    }
    let days = ticks as f64 / 86_400.0;
    let per = |count: usize| count as f64 * 1_000.0 / days;
    println!(
        "{days:.1} instance-days of benign service: {criticals} false criticals, {warnings} false warnings\n  \
         per 1,000 instance-days: {:.2} criticals, {:.2} warnings",
        per(criticals),
        per(warnings)
    );

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/highwater");
    fs::create_dir_all(&root)?;
    let median = leads.get(leads.len() / 2).copied().unwrap_or(0.0);
    fs::write(
        root.join("foresight.json"),
        format!(
            "{{\n  \"leaks\": {leaks},\n  \"recall\": {recall},\n  \"recall_of_forecasts\": {foreseen},\n  \"median_lead_seconds\": {median},\n  \
             \"instance_days\": {days},\n  \"false_criticals_per_1000_days\": {},\n  \
             \"false_warnings_per_1000_days\": {}\n}}\n",
            per(criticals),
            per(warnings)
        ),
    )?;
    println!();
    let mut held = true;
    for (claim, figure, holds) in [
        ("recall, at least 0.95", recall, recall >= RECALL),
        (
            "false criticals per 1,000 days, at most 1",
            per(criticals),
            per(criticals) <= FALSE_CRITICALS,
        ),
    ] {
        println!("  {} {claim}: {figure:.4}", if holds { "holds" } else { "FAILS" });
        held &= holds;
    }
    let check = std::env::args().any(|arg| arg == "--check");
    Ok(if check && !held { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// On all cores.
fn all(count: u64, one: impl Fn(u64) -> (Workload, Outcome) + Sync) -> Vec<(Workload, Outcome)> {
    let (next, done) = (Mutex::new(0..count), Mutex::new(Vec::new()));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
                    let Some(at) = at else { return };
                    let outcome = one(at);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(outcome);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}
