//! What many series cost in memory, resident, measured on the process itself.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{sync::Barrier, thread, time::Duration};

use highwater::Highwater;

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

const MIB: usize = 1 << 20;

#[test]
fn ten_thousand_series_on_eight_threads() {
    let hw = Highwater::builder("memory").cardinality_limit(20_000).tick(Duration::from_secs(60));
    let hw = hw.start().unwrap();
    let before = resident();
    let series: Vec<_> = (0..10_000)
        .map(|at| hw.histogram("sizes").label("series", &at.to_string()).build())
        .collect();
    let named = resident();
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (series, barrier) = (&series, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for (at, series) in series.iter().enumerate() {
                    // Within four octaves: from 1 to 16 ms.
                    for value in 0..64u32 {
                        let spread = f64::from((value * 37 + at as u32 + thread) % 64) / 16.0;
                        series.record(1e-3 * spread.exp2());
                    }
                }
                // Leases are kept until all have recorded.
                barrier.wait();
            });
        }
    });
    let recorded = resident();
    println!("named {} KiB, recorded {} KiB", (named - before) / 1024, (recorded - named) / 1024);
    assert!(recorded - before < 64 * MIB, "{} MiB", (recorded - before) / MIB);
}
