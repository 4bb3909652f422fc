//! What a push costs: histograms and gauges built, encoded, compressed and sent, beside the
//! OpenTelemetry SDK's collect and encode of the same in the same run.
//!
//! ```sh
//! cargo bench -p highwater-bench --bench export            # under a minute
//! cargo bench -p highwater-bench --bench export -- --quick # a look
//! ```
//!
//! Timed is one thread's own processor time, the median of many rounds, ours and the SDK's in
//! turns. Sending is timed by the wall, to a receiver in this process that reads and answers.
//! Prints a table and writes `target/highwater/export.json` beside the workspace.

mod receiver;
mod report;
mod sdk;

use std::time::{Duration, Instant};

use highwater::export::otlp::{self, harness::Pushing};
use rustix::time::{ClockId, clock_gettime};

/// How many histograms, of how many populated buckets, and how many gauges.
const HISTOGRAMS: usize = 1_000;
const BUCKETS: i32 = 100;
const GAUGES: usize = 10_000;
/// Buckets of a 32nd of an octave, ours and, told so, the SDK's.
const SCALE: i8 = 5;

/// What histogram `number` records: up to 200 in the midst of each of the buckets, about 1 ms to
/// 9 ms.
fn values(number: usize) -> impl Iterator<Item = f64> {
    (0..BUCKETS).flat_map(move |at| {
        let times = 1 + (number * 31 + at as usize * 17) % 200;
        std::iter::repeat_n(0.001 * 2_f64.powf((f64::from(at) + 0.5) / 32.0), times)
    })
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Milliseconds of this thread's processor time.
fn time<T>(into: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let before = thread_time();
    let result = work();
    into.push((thread_time() - before).as_secs_f64() * 1e3);
    result
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Histograms,
    Gauges,
}

/// Fills ours; gives what records one more value into all of it.
fn fill(pushing: &Pushing, what: What) -> Box<dyn Fn(f64)> {
    match what {
        What::Histograms => {
            let all: Vec<_> = (0..HISTOGRAMS)
                .map(|at| pushing.histogram("query.duration", [("query", &*format!("q{at}"))]))
                .collect();
            for (number, one) in all.iter().enumerate() {
                values(number).for_each(|value| one.record(value));
            }
            Box::new(move |_| all.iter().for_each(|one| one.record(0.003)))
        }
        What::Gauges => {
            let all: Vec<_> = (0..GAUGES)
                .map(|at| pushing.gauge("queue.depth", [("queue", &*format!("q{at}"))]))
                .collect();
            Box::new(move |value| {
                all.iter().enumerate().for_each(|(at, one)| one.set(value + at as f64));
            })
        }
    }
}

fn run(name: &'static str, what: What, rounds: usize) -> report::Row {
    let receiver = receiver::start();
    let mut pushing = Pushing::new(&otlp::to(receiver)).expect("a configuration");
    let touch = fill(&pushing, what);
    let sdk = sdk::Sdk::new(what);
    let mut times: [Vec<f64>; 7] = Default::default();
    let [collect, copy, build, keep, send, sdk_collect, sdk_encode] = &mut times;
    let (mut plain, mut wire, mut sdk_plain) = (0, 0, 0);
    for round in 0..rounds {
        touch(round as f64);
        sdk.touch(round as f64);
        // In turns, so that what the machine does meanwhile falls on both alike.
        time(collect, || pushing.collect());
        time(copy, || pushing.snapshot());
        plain = time(build, || pushing.build());
        let data = time(sdk_collect, || sdk.collect());
        sdk_plain = time(sdk_encode, || sdk::encode(&data));
        wire = time(keep, || pushing.keep());
        let begun = Instant::now();
        assert!(pushing.send(), "the receiver takes all");
        send.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let [collect, copy, build, keep, send, sdk_collect, sdk_encode] =
        times.each_mut().map(|times| median(times));
    report::Row {
        name,
        collect,
        copy,
        build,
        keep,
        send,
        sdk: sdk_collect + sdk_encode,
        sdk_collect,
        plain,
        sdk_plain,
        wire,
    }
}

fn main() {
    let rounds = if std::env::args().any(|arg| arg == "--quick") { 20 } else { 300 };
    let rows = [
        run("1,000 histograms of 100 buckets", What::Histograms, rounds),
        run("10,000 gauges", What::Gauges, rounds),
    ];
    report::print(&rows);
    report::print_claims(&rows);
    match report::write(&rows, rounds) {
        Ok(path) => println!("\nwritten to {path}"),
        Err(why) => eprintln!("\nnot written: {why}"),
    }
}
