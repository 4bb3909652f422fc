//! What it costs to watch a query, a value, a count: highwater, bare baselines and peers in one
//! interleaved run.
//!
//! ```sh
//! cargo bench -p highwater-bench --bench hot_path            # about two minutes
//! cargo bench -p highwater-bench --bench hot_path -- --quick # a look
//! ```
//!
//! Every case runs once a round on 1, 2 and 8 threads, in an order that turns, so that what the
//! machine does meanwhile falls on all alike. What is reported is the threads' own processor time
//! for each operation, the median of 31 rounds; for two threads also the time that passed for the
//! caller, who waits for a lock without using a processor. Threads are pinned, each to its core as
//! far as there are cores: else two of them run one after the other and never meet. Prints a table with ratios, then what is
//! claimed and whether it held, and writes `target/highwater/hot_path.json` beside the workspace.

mod claims;
mod ours;
mod peers;
mod report;
mod tail;
mod work;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};

/// Runs so many operations.
pub(crate) type Work = Box<dyn FnMut(u64)>;

pub(crate) struct Case {
    /// What it is compared within.
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    /// Made on each thread.
    pub(crate) make: Box<dyn Fn() -> Work + Sync>,
    /// Called between rounds, unmeasured: what the peer's own background thread would do.
    pub(crate) upkeep: Option<Box<dyn Fn() + Sync>>,
}

impl Case {
    pub(crate) fn new<W: FnMut(u64) + 'static>(
        group: &'static str,
        name: &'static str,
        make: impl Fn() -> W + Sync + 'static,
    ) -> Self {
        Self { group, name, make: Box::new(move || Box::new(make())), upkeep: None }
    }
}

/// Values as a service's latencies: from 1 to 16 ms, evenly on a logarithmic scale.
pub(crate) fn values() -> Vec<f64> {
    let mut state = 88_172_645_463_325_252;
    (0..4096).map(|_| 1e-3 * 2f64.powf(random(&mut state) as f64 / u64::MAX as f64 * 4.0)).collect()
}

/// Xorshift.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

pub(crate) const THREADS: [usize; 3] = [1, 2, 8];

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Nanoseconds for each operation.
#[derive(Clone, Copy)]
struct Sample {
    /// Of the thread's processor time.
    cpu: f64,
    /// As the caller sees them pass.
    elapsed: f64,
}

/// Puts this thread on a core; where that is not allowed, the kernel chooses.
fn pin(thread: usize) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut cpus = CpuSet::new();
    cpus.set(thread % cores);
    let _ = sched_setaffinity(None, &cpus);
}

fn sample(case: &Case, threads: usize, operations: u64) -> Sample {
    // Spun upon: whom a futex wakes starts late.
    let ready = AtomicUsize::new(0);
    let measure = |at| {
        pin(at);
        let mut work = (case.make)();
        // Caches, leases and the peers' thread-locals are warm, as in a service.
        work(operations / 2);
        ready.fetch_add(1, Ordering::AcqRel);
        while ready.load(Ordering::Acquire) < threads {
            thread::yield_now();
        }
        let (started, before) = (Instant::now(), thread_time());
        work(operations);
        (thread_time() - before, started.elapsed())
    };
    let spent: Vec<(Duration, Duration)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|at| {
                scope.spawn({
                    let measure = &measure;
                    move || measure(at)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let each = |total: Duration| total.as_nanos() as f64 / (operations * threads as u64) as f64;
    Sample {
        cpu: each(spent.iter().map(|spent| spent.0).sum()),
        elapsed: each(spent.iter().map(|spent| spent.1).sum()),
    }
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let (rounds, span) = if quick { (5, 500_000.0) } else { (31, 3_000_000.0) };
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));

    let ours = ours::Ours::start();
    let mut cases = ours.cases();
    cases.extend(peers::cases());
    cases.retain(|case| only.as_ref().is_none_or(|only| case.group.contains(only.as_str())));

    // As many operations as take each thread about 3 ms: long enough to run side by side.
    let operations: Vec<_> =
        cases.iter().map(|case| (span / sample(case, 1, 10_000).cpu).max(1_000.0) as u64).collect();
    // samples[case][threads][round]
    let mut samples = vec![vec![Vec::with_capacity(rounds); THREADS.len()]; cases.len()];
    for round in 0..rounds {
        for at in 0..cases.len() {
            let at = (at + round * 7) % cases.len();
            for (column, threads) in THREADS.into_iter().enumerate() {
                samples[at][column].push(sample(&cases[at], threads, operations[at]));
            }
            if let Some(upkeep) = &cases[at].upkeep {
                upkeep();
            }
        }
        eprint!("\rround {} of {rounds}", round + 1);
    }
    eprintln!();
    let rows: Vec<_> = cases
        .iter()
        .zip(&samples)
        .map(|(case, columns)| report::Row {
            group: case.group,
            name: case.name,
            nanos: columns.iter().map(|samples| median(samples.iter().map(|s| s.cpu))).collect(),
            elapsed: median(columns[1].iter().map(|s| s.elapsed)),
        })
        .collect();
    let tail = tail::measure(&ours, if quick { 100_000 } else { 2_000_000 });
    report::print(&rows, &tail);
    if only.is_none() {
        claims::print(&rows);
    }
    if only.is_none()
        && let Err(error) = report::write(&rows, &tail, rounds)
    {
        eprintln!("cannot write the results: {error}");
        std::process::exit(1);
    }
}

fn median(of: impl Iterator<Item = f64>) -> f64 {
    let mut of: Vec<_> = of.collect();
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
