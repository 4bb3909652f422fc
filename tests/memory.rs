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

/// Series that are all busy, each recorded often by eight threads that live at the same time: the
/// shards, and what the engine keeps of what it has read.
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
    // Within four octaves: from 1 to 16 ms.
    let value = |at: u32| 1e-3 * (f64::from(at * 37 % 64) / 16.0).exp2();
    let values: Vec<_> = (0..64).map(value).collect();
    // Faster than the engine reads: whatever a series needs to be recorded by each thread in
    // counters of its own has happened before the threads come.
    for series in &series {
        (0..1_100).for_each(|at| series.record(values[at % 64]));
    }
    let (barrier, records) = (Barrier::new(8), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            let (series, values, barrier, records) = (&series, &values, &barrier, &records);
            scope.spawn(move || {
                barrier.wait();
                for series in series {
                    values.iter().chain(values).for_each(|value| series.record(*value));
                    records.fetch_add(128, Ordering::Relaxed);
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
    println!("{count} busy series on 8 threads, recorded and read: {} KiB", taken / 1024);
    assert!(taken < most, "{} KiB", taken / 1024);
    // All of it is there.
    let page = hw.render_prometheus();
    let counts = page.lines().filter(|line| line.starts_with("sizes_count"));
    let total: f64 = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    let due = count as f64 * 1_100.0 + f64::from(records.load(Ordering::Relaxed));
    assert_eq!(total, due);
}
