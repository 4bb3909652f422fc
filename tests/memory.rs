//! What many series cost in memory, resident, measured on the process itself.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use highwater::{Highwater, sample};

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

const MIB: usize = 1 << 20;

/// One test, one thing after the other: the process has one memory.
#[test]
fn many_series_take_little() {
    flood_of_label_sets();
    // Often enough for each thread to have a shard of its own in each series.
    on_eight_threads(10_000, 64 * MIB);
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

/// The shards, and what the engine keeps of what it has read.
fn on_eight_threads(count: usize, most: usize) {
    let ticks = Arc::new(AtomicU32::new(0));
    let counted = ticks.clone();
    let tick = sample::gauge("ticks", move || f64::from(counted.fetch_add(1, Ordering::Relaxed)));
    let hw = Highwater::builder("memory").cardinality_limit(20_000).sample(tick);
    let hw = hw.tick(Duration::from_millis(500)).start().unwrap();
    let before = resident();
    let series: Vec<_> = (0..count)
        .map(|at| hw.histogram("sizes").label("series", &at.to_string()).build())
        .collect();
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
    let recorded_at = ticks.load(Ordering::Relaxed);
    while ticks.load(Ordering::Relaxed) < recorded_at + 3 {
        thread::sleep(Duration::from_millis(20));
    }
    let taken = resident().saturating_sub(before);
    println!("{count} series on 8 threads, recorded and read: {} KiB", taken / 1024);
    assert!(taken < most, "{} KiB", taken / 1024);
}
