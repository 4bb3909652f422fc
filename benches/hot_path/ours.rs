//! The baselines and highwater.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use highwater::{Highwater, Query, alert::Watch};

use crate::{Case, random, values, work::LookUps};

#[inline]
pub(crate) fn rdtsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: part of every x86-64.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// Seldom recorded series. A thread's samples take 1,024 records of none of them between two
/// readings of the engine: eight threads' 32 records, once and half a time more to warm up, beside
/// what one and two have left.
const QUIET: usize = 4096;

pub(crate) struct Ours {
    pub(crate) hw: Highwater,
    stopped: Query,
    watch: Watch,
}

impl Ours {
    pub(crate) fn start() -> Self {
        let start = |name| {
            Highwater::builder(name)
                .cardinality_limit(2 * QUIET)
                .start()
                .expect("no mistake in the builder")
        };
        let stopped = {
            let hw = start("stopped");
            let query = hw.query("stopped").build();
            let _ = hw.shutdown(Duration::from_secs(5));
            query
        };
        let hw = start("bench");
        let watch = hw.alert("MemoryNearLimit").expect("a preset");
        Self { hw, stopped, watch }
    }

    #[rustfmt::skip]
    pub(crate) fn cases(&self) -> Vec<Case> {
        let hw = &self.hw;
        let query = hw.query("orders").system("sqlite").build();
        let (timed, tried, guarded) = (query.clone(), query.clone(), query.clone());
        let thinned = hw.query("thinned").timed_one_in(16).build();
        let situ = query.clone();
        let counter = hw.counter("bench.counter").build();
        let histogram = hw.histogram("bench.values").build();
        let wide = hw.histogram("bench.wide").build();
        let many: Vec<_> = (0..1_000)
            .map(|at| hw.histogram("bench.many").label("series", &at.to_string()).build())
            .collect();
        // The series of a loop that goes on are busy: they were recorded this often between two
        // readings of the engine. The bench's own samples are too short for that.
        let recorded = values();
        for series in &many {
            (0..2_048).for_each(|at| series.record(recorded[at]));
        }
        std::thread::sleep(Duration::from_millis(2_500));
        let quiet: Vec<_> =
            (0..QUIET).map(|at| hw.timer("bench.quiet").label("at", &at.to_string()).build()).collect();
        let calm: Vec<_> = (0..QUIET)
            .map(|at| hw.histogram("bench.calm").label("at", &at.to_string()).build())
            .collect();
        let (recorder, dynamic, counted) = (hw.recorder(), hw.recorder(), hw.recorder());
        let (stopped, watch) = (self.stopped.clone(), self.watch.clone());
        let by_text = hw.queries().system("postgresql").build();
        let long_text = by_text.clone();
        const SQL: &str = "SELECT id, total FROM orders WHERE customer = $1";
        static SHARED: AtomicU64 = AtomicU64::new(0);

        vec![
            Case::new("timed", "2 x rdtsc", || |n| for _ in 0..n {
                let start = rdtsc();
                black_box(());
                black_box(rdtsc() - start);
            }),
            Case::new("timed", "2 x Instant", || |n| for _ in 0..n {
                let start = Instant::now();
                black_box(());
                black_box(start.elapsed());
            }),
            Case::new("timed", "highwater query", move || {
                let query = timed.clone();
                move |n| for _ in 0..n { query.time(|| black_box(())) }
            }),
            Case::new("timed", "highwater query, try_time", move || {
                let query = tried.clone();
                move |n| for _ in 0..n { let _ = query.try_time(|| black_box(Ok::<(), ()>(()))); }
            }),
            Case::new("timed", "highwater query, guard", move || {
                let query = guarded.clone();
                move |n| for _ in 0..n { let call = query.start(); black_box(()); call.stop(); }
            }),
            Case::new("timed", "highwater query, 1 in 16", move || {
                let query = thinned.clone();
                move |n| for _ in 0..n { query.time(|| black_box(())) }
            }),
            // A hit in the thread's own table: less than 100 ns is the bar.
            Case::new("by text", "highwater queries.of, 48 bytes", move || {
                let queries = by_text.clone();
                move |n| for _ in 0..n { black_box(queries.of(black_box(SQL))); }
            }),
            Case::new("by text", "highwater queries.of, 1,000 bytes", move || {
                let (queries, sql) = (long_text.clone(), format!("{SQL} OR {}", "x = 1 ".repeat(158)));
                move |n| for _ in 0..n { black_box(queries.of(black_box(&sql))); }
            }),
            Case::new("disabled", "highwater query, stopped", move || {
                let query = stopped.clone();
                move |n| for _ in 0..n { query.time(|| black_box(())) }
            }),
            Case::new("disabled", "highwater query!, not installed", || |n| for _ in 0..n {
                highwater::query!("nowhere").time(|| black_box(()))
            }),
            Case::new("watch", "highwater is_firing", move || {
                let watch = watch.clone();
                move |n| for _ in 0..n { black_box(watch.is_firing()); }
            }),
            Case::new("record", "highwater histogram", move || {
                let (histogram, values) = (histogram.clone(), values());
                move |n| for at in 0..n { histogram.record(values[at as usize & 4095]) }
            }),
            // Each series 32 times and then the next, of so many that none is busy: all threads add
            // to one shard, atomically.
            Case::new("quiet", "highwater query, seldom called", move || {
                let many = quiet.clone();
                move |n| for at in 0..n { many[(at / 32) as usize % many.len()].time(|| black_box(())) }
            }),
            Case::new("quiet", "highwater histogram, seldom recorded", move || {
                let (many, values) = (calm.clone(), values());
                move |n| for at in 0..n {
                    many[(at / 32) as usize % many.len()].record(values[at as usize & 4095]);
                }
            }),
            Case::new("record", "highwater histogram, 24 octaves", move || {
                // From 1 us to 16 s, evenly: three times what a shard's own line covers.
                let values: Vec<_> = values().iter().map(|value| (value * 1e3).powi(6) * 1e-6).collect();
                let histogram = wide.clone();
                move |n| for at in 0..n { histogram.record(values[at as usize & 4095]) }
            }),
            Case::new("record", "metrics macro, constant: highwater", move || {
                let (recorder, values) = (recorder.clone(), values());
                move |n| metrics::with_local_recorder(&recorder, || for at in 0..n {
                    metrics::histogram!("bench.macro", "kind" => "constant").record(values[at as usize & 4095]);
                })
            }),
            Case::new("record", "metrics macro, dynamic: highwater", move || {
                let (recorder, values) = (dynamic.clone(), values());
                let tenants: Vec<_> = (0..16).map(|at| format!("tenant{at}")).collect();
                move |n| metrics::with_local_recorder(&recorder, || for at in 0..n {
                    let tenant = tenants[at as usize & 15].clone();
                    metrics::histogram!("bench.dynamic", "tenant" => tenant).record(values[at as usize & 4095]);
                })
            }),
            Case::new("counter", "fetch_add, shared", || |n| for _ in 0..n {
                SHARED.fetch_add(1, Ordering::Relaxed);
            }),
            Case::new("counter", "highwater", move || {
                let counter = counter.clone();
                move |n| for _ in 0..n { counter.increment(1) }
            }),
            Case::new("counter", "metrics macro, constant: highwater", move || {
                let recorder = counted.clone();
                move |n| metrics::with_local_recorder(&recorder, || for _ in 0..n {
                    metrics::counter!("bench.counted", "kind" => "constant").increment(1);
                })
            }),
            Case::new("in situ", "the work alone", || {
                let mut work = LookUps::new();
                move |n| for _ in 0..n { work.run() }
            }),
            Case::new("in situ", "2 x rdtsc", || {
                let mut work = LookUps::new();
                move |n| for _ in 0..n {
                    let start = rdtsc();
                    work.run();
                    black_box(rdtsc() - start);
                }
            }),
            Case::new("in situ", "highwater query", move || {
                let (query, mut work) = (situ.clone(), LookUps::new());
                move |n| for _ in 0..n { query.time(|| work.run()) }
            }),
            Case::new("1,000 series", "the pick alone", {
                let many = many.clone();
                move || {
                    let (many, values, mut state) = (many.clone(), values(), 1);
                    move |n| for at in 0..n {
                        black_box(&many[random(&mut state) as usize % 1_000]);
                        black_box(values[at as usize & 4095]);
                    }
                }
            }),
            Case::new("1,000 series", "highwater histogram", move || {
                let (many, values, mut state) = (many.clone(), values(), 1);
                move |n| for at in 0..n {
                    many[random(&mut state) as usize % 1_000].record(values[at as usize & 4095]);
                }
            }),
        ]
    }
}
