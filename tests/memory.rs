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

/// One test, one thing after the other: the process has one memory.
#[test]
fn many_series_take_little() {
    flood_of_label_sets();
    ten_thousand_series_on_eight_threads();
}

/// Label sets over the limit leave nothing behind.
fn flood_of_label_sets() {
    let hw = Highwater::builder("memory").start().unwrap();
    let before = resident();
    for at in 0..100_000 {
        hw.histogram("flood").label("id", &at.to_string()).build().record(0.001);
    }
    let taken = resident().saturating_sub(before);
    println!("100,000 label sets: {} KiB", taken / 1024);
    assert!(taken < 10 * MIB, "{} KiB", taken / 1024);
}

/// The shards alone: the engine does not read meanwhile.
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
                    for value in 0..160u32 {
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
    println!(
        "10,000 series: {} KiB to name, {} KiB to record on 8 threads",
        (named - before) / 1024,
        (recorded - named) / 1024
    );
    assert!(recorded - before < 64 * MIB, "{} MiB", (recorded - before) / MIB);
}
