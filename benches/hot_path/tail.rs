//! The slowest records, while the reader folds: 1,000 series, recorded in turn while the engine
//! reads all of them ten times a second, each record between two readings of the clock.

use std::{hint::black_box, time::Duration};

use highwater::Highwater;

use crate::{
    ours::{Ours, rdtsc},
    values,
};

/// In nanoseconds, the two readings of the clock included.
pub(crate) struct Tail {
    pub(crate) name: &'static str,
    pub(crate) median: f64,
    pub(crate) p999: f64,
}

pub(crate) fn measure(_: &Ours, records: usize) -> Vec<Tail> {
    let hw = Highwater::builder("tail").tick(Duration::from_millis(100)).start();
    let hw = hw.expect("no mistake in the builder");
    let many: Vec<_> = (0..1_000)
        .map(|at| hw.histogram("bench.many").label("series", &at.to_string()).build())
        .collect();
    let values = values();
    let record = |at: usize| many[at % 1_000].record(values[at & 4095]);
    (0..100_000).for_each(record);
    vec![
        run("2 x rdtsc", records, |at| {
            black_box(at);
        }),
        run("highwater histogram, one of 1,000, while read", records, record),
    ]
}

fn run(name: &'static str, records: usize, mut one: impl FnMut(usize)) -> Tail {
    let nanos_per_tick = calibrate();
    let mut taken: Vec<u64> = (0..records)
        .map(|at| {
            let start = rdtsc();
            one(at);
            rdtsc().saturating_sub(start)
        })
        .collect();
    taken.sort_unstable();
    let at = |share: f64| taken[(records as f64 * share) as usize] as f64 * nanos_per_tick;
    Tail { name, median: at(0.5), p999: at(0.999) }
}

fn calibrate() -> f64 {
    let (began, start) = (std::time::Instant::now(), rdtsc());
    std::thread::sleep(Duration::from_millis(50));
    began.elapsed().as_nanos() as f64 / rdtsc().saturating_sub(start).max(1) as f64
}
