//! The slowest records, while the reader folds: 1,000 series, recorded in turn while the engine
//! reads all of them ten times a second, each record between two readings of the clock; until it has
//! read them twenty times at least.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use highwater::{Highwater, sample};

use crate::{
    ours::{Ours, rdtsc},
    values,
};

/// In nanoseconds, the two readings of the clock included.
pub(crate) struct Tail {
    pub(crate) name: &'static str,
    pub(crate) median: f64,
    pub(crate) p999: f64,
    /// How often the engine read all series meanwhile.
    pub(crate) folds: usize,
}

/// As many as a run goes on for.
const FOLDS: usize = 20;

pub(crate) fn measure(_: &Ours, records: usize) -> Vec<Tail> {
    let ticks = Arc::new(AtomicUsize::new(0));
    let counted = ticks.clone();
    // Sampled once a tick, just before all series are read.
    let each = sample::gauge("tick", move || counted.fetch_add(1, Ordering::Relaxed) as f64);
    let hw = Highwater::builder("tail").tick(Duration::from_millis(100)).sample(each).start();
    let hw = hw.expect("no mistake in the builder");
    let many: Vec<_> = (0..1_000)
        .map(|at| hw.histogram("bench.many").label("series", &at.to_string()).build())
        .collect();
    let values = values();
    let record = |at: usize| many[at % 1_000].record(values[at & 4095]);
    (0..2_000_000).for_each(record);
    vec![
        run("2 x rdtsc", records, &ticks, |at| {
            black_box(at);
        }),
        run("highwater histogram, one of 1,000, while read", records, &ticks, record),
    ]
}

/// At least so many records, and as many as it takes.
fn run(
    name: &'static str,
    records: usize,
    ticks: &AtomicUsize,
    mut one: impl FnMut(usize),
) -> Tail {
    let nanos_per_tick = calibrate();
    // By how many ticks of the processor they took; the last holds what took longer, some 25 us.
    let mut taken = vec![0u32; 1 << 16];
    let before = ticks.load(Ordering::Relaxed);
    let folds = || ticks.load(Ordering::Relaxed) - before;
    let mut at = 0;
    while at < records || folds() < FOLDS {
        for _ in 0..10_000 {
            let start = rdtsc();
            one(at);
            let ticks = rdtsc().saturating_sub(start) as usize;
            let last = taken.len() - 1;
            taken[ticks.min(last)] += 1;
            at += 1;
        }
    }
    let (folds, all) = (folds(), at);
    let at = |share: f64| {
        let mut seen = 0;
        let ticks = taken.iter().position(|count| {
            seen += *count as usize;
            seen as f64 >= all as f64 * share
        });
        ticks.unwrap_or(taken.len()) as f64 * nanos_per_tick
    };
    Tail { name, median: at(0.5), p999: at(0.999), folds }
}

fn calibrate() -> f64 {
    let (began, start) = (std::time::Instant::now(), rdtsc());
    std::thread::sleep(Duration::from_millis(50));
    began.elapsed().as_nanos() as f64 / rdtsc().saturating_sub(start).max(1) as f64
}
