//! `highwater-instructions CASE N`: does one thing N times, so that the difference between two
//! runs, divided by the difference of their Ns, is what one costs.

use std::{hint::black_box, time::Duration};

use highwater::Highwater;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let case = arguments.next().unwrap_or_default();
    let n: u64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(0);

    // Nothing else may run meanwhile: no preset, no sampler, and no tick before the end.
    let hw = Highwater::builder("instructions")
        .without_presets()
        .cardinality_limit(5_000)
        .without("process")
        .without("system")
        .without("memory")
        .rule(highwater::rule::alert("Never").when(highwater::rule::gauge("nothing").above(1.0)))
        .tick(Duration::from_secs(60))
        .start()
        .expect("no mistake in the builder");
    let query = hw.query("query").build();
    let thinned = hw.query("thinned").timed_one_in(16).build();
    let counter = hw.counter("counter").build();
    let histogram = hw.histogram("histogram").build();
    let watch = hw.alert("Never").expect("the rule above");
    let recorder = hw.recorder();
    let queries = hw.queries().system("postgresql").build();
    let sql = "SELECT id, total FROM orders WHERE customer = $1";
    match case.as_str() {
        "timed" => (0..n).for_each(|_| query.time(|| black_box(()))),
        "try_timed" => (0..n).for_each(|_| {
            let _ = query.try_time(|| black_box(Ok::<(), ()>(())));
        }),
        "thinned" => (0..n).for_each(|_| thinned.time(|| black_box(()))),
        "record" => (0..n).for_each(|at| histogram.record(black_box(1.5 + (at & 1) as f64))),
        // Series that never become busy: nobody reads them meanwhile, so each may be recorded 1,023
        // times.
        "quiet_timed" => {
            let many: Vec<_> = (0..4096)
                .map(|at| hw.timer("quiet").label("at", &at.to_string()).build())
                .collect();
            (0..n).for_each(|at| many[(at / 512) as usize].time(|| black_box(())));
        }
        "quiet_record" => {
            let many: Vec<_> = (0..4096)
                .map(|at| hw.histogram("quiet").label("at", &at.to_string()).build())
                .collect();
            (0..n).for_each(|at| many[(at / 512) as usize].record(black_box(1.5)));
        }
        "counter" => (0..n).for_each(|_| counter.increment(black_box(1))),
        "watch" => (0..n).for_each(|_| {
            black_box(watch.is_firing());
        }),
        // A hit in the thread's own table.
        "by_text" => (0..n).for_each(|_| {
            black_box(queries.of(black_box(sql)));
        }),
        "macro" => metrics::with_local_recorder(&recorder, || {
            (0..n).for_each(|_| metrics::histogram!("macro", "a" => "b").record(black_box(1.5)));
        }),
        "disabled" => {
            let _ = hw.shutdown(Duration::from_secs(5));
            (0..n).for_each(|_| query.time(|| black_box(())));
        }
        _ => {
            eprintln!("no such case: {case:?}");
            std::process::exit(2);
        }
    }
}
