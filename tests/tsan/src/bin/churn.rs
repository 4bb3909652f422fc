//! Every kind of writer at once, more threads than shards, ending and being replaced, while an
//! engine reads; then the series go and their storage is used again.
//!
//! Threads are joined one by one: that ThreadSanitizer sees, what `thread::scope` does inside std
//! it does not.

use std::{sync::Arc, thread, time::Duration};

use highwater::Highwater;

fn main() {
    for round in 0..3u64 {
        let hw = Highwater::builder("churn")
            .without_presets()
            .tick(Duration::from_millis(100))
            .start()
            .expect("no mistake in the builder");
        let query = hw.query("query").build();
        let thinned = hw.query("thinned").timed_one_in(4).build();
        let counter = hw.counter("counter").build();
        let histogram = hw.histogram("histogram").build();
        let recorder = Arc::new(hw.recorder());
        for generation in 0..8u64 {
            let threads: Vec<_> = (0..24u64)
                .map(|thread| {
                    let (query, thinned) = (query.clone(), thinned.clone());
                    let (counter, histogram) = (counter.clone(), histogram.clone());
                    let recorder = recorder.clone();
                    thread::spawn(move || {
                        for at in 0..500u64 {
                            query.time(|| ());
                            let _ = query.try_time(|| if at % 7 == 0 { Err(()) } else { Ok(()) });
                            thinned.time(|| ());
                            counter.increment(1);
                            // Ever new octaves, so that chunks are taken and directories grow.
                            let octave = ((thread + at + generation * round) % 120) as i32 - 60;
                            histogram.record(f64::from(octave).exp2());
                            histogram.record(-1.0);
                            metrics::with_local_recorder(&*recorder, || {
                                metrics::histogram!("macro", "k" => "v").record(at as f64);
                            });
                        }
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
        }
        hw.shutdown(Duration::from_secs(10)).expect("nothing waits to be sent");
    }
}
