#![allow(clippy::unwrap_used, clippy::panic)]
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::{
    instrument::{CounterCore, Delta, Distribution, HistogramCore, Measure, UpDownCore},
    sync::Mutex,
};

/// A query over cores of its own.
struct Bench {
    query: Query,
    in_flight: UpDownCounter,
    success: Histogram,
    failures: Arc<Mutex<Vec<(String, Histogram)>>>,
}

impl Bench {
    fn new() -> Self {
        let core = || Histogram(Arc::new(HistogramCore::new(Measure::Time, Arc::default())));
        let failures: Arc<Mutex<Vec<(String, Histogram)>>> = Arc::default();
        let success = core();
        let in_flight = UpDownCounter(Arc::new(UpDownCore::new()));
        let known = failures.clone();
        let resolve = move |error_type: &str| {
            let mut known = known.lock();
            if let Some((_, series)) = known.iter().find(|(name, _)| name == error_type) {
                return series.clone();
            }
            let series = core();
            known.push((error_type.to_owned(), series.clone()));
            series
        };
        let query = Query::new(success.clone(), in_flight.clone(), Box::new(resolve));
        Self { query, in_flight, success, failures }
    }

    fn in_flight(&self) -> i64 {
        self.in_flight.0.total()
    }

    /// Successes, and failures by type in the order they were first seen.
    fn counts(&self) -> (u64, Vec<(String, u64)>) {
        assert_eq!(self.in_flight(), 0);
        let count = |series: &Histogram| {
            let mut delta = Delta::default();
            series.0.fold(&mut Distribution::default(), &mut delta);
            delta.count
        };
        let failures = self.failures.lock();
        (
            count(&self.success),
            failures.iter().map(|(name, series)| (name.clone(), count(series))).collect(),
        )
    }

    fn failed(&self) -> Vec<(String, u64)> {
        let (successes, failures) = self.counts();
        assert_eq!(successes, 0);
        failures
    }
}

fn one(error_type: &str) -> Vec<(String, u64)> {
    vec![(error_type.to_owned(), 1)]
}

#[test]
fn successes_and_failures_are_apart() {
    let bench = Bench::new();
    assert_eq!(bench.query.time(|| bench.in_flight()), 1);
    assert_eq!(bench.query.try_time(|| Ok::<_, ()>(3)), Ok(3));
    let error = bench.query.try_time(|| "x".parse::<u8>());
    assert!(error.is_err());
    assert_eq!(bench.counts(), (2, one("core::num::error::ParseIntError")));
}

#[test]
fn the_time_of_a_call_is_within_it() {
    let bench = Bench::new();
    let began = std::time::Instant::now();
    bench.query.time(|| while began.elapsed() < Duration::from_millis(20) {});
    let outer = began.elapsed().as_secs_f64();
    let mut delta = Delta::default();
    bench.success.0.fold(&mut Distribution::default(), &mut delta);
    assert!(delta.sum >= 0.0199 && delta.sum <= outer * 1.001, "{} {outer}", delta.sum);
}

#[test]
fn a_guard_dropped_is_cancelled_and_one_unwound_a_panic() {
    let bench = Bench::new();
    drop(bench.query.start());
    assert_eq!(bench.failed(), one("cancelled"));
    let bench = Bench::new();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bench.query.time(|| panic!("on purpose"))
    }));
    assert!(caught.is_err());
    assert_eq!(bench.failed(), one("panic"));
    let bench = Bench::new();
    bench.query.start().fail("timeout");
    bench.query.start().stop();
    assert_eq!(bench.counts(), (1, one("timeout")));
}

#[test]
fn a_classifier_says_what_is_no_failure() {
    let bench = Bench::new();
    let query = bench.query.classify(|error: &u8| (*error != 0).then_some("bad"));
    assert_eq!(query.try_time(|| Err::<(), u8>(0)), Err(0));
    assert_eq!(query.try_time(|| Err::<(), u8>(7)), Err(7));
    let mut cx = Context::from_waker(Waker::noop());
    let future = pin!(query.try_timed(std::future::ready(Err::<(), u8>(0))));
    assert_eq!(future.poll(&mut cx), Poll::Ready(Err(0)));
    assert_eq!(bench.counts(), (2, one("bad")));
}

#[test]
fn what_others_timed_is_taken_over() {
    let bench = Bench::new();
    bench.query.record(Duration::from_millis(250));
    bench.query.record_failure(Duration::from_secs(1), "timeout");
    assert_eq!(bench.counts(), (1, one("timeout")));
}

#[test]
fn more_error_types_than_are_cached_are_all_counted() {
    let bench = Bench::new();
    for round in 0..2 {
        for at in 0..20 {
            bench.query.start().fail(&format!("e{at}"));
        }
        let _ = round;
    }
    let failures = bench.failed();
    assert_eq!(failures.len(), 20);
    assert!(failures.iter().all(|(_, count)| *count == 2));
}

/// Ready at the third poll.
struct Slow(u8);

impl Future for Slow {
    type Output = Result<u8, &'static str>;
    fn poll(mut self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.0 += 1;
        match self.0 {
            3 => Poll::Ready(Ok(3)),
            200 => panic!("on purpose"),
            _ => Poll::Pending,
        }
    }
}

#[test]
fn a_future_is_in_flight_from_its_first_poll_and_may_change_threads() {
    let bench = Bench::new();
    let mut cx = Context::from_waker(Waker::noop());
    let mut future = Box::pin(bench.query.try_timed(Slow(0)));
    assert_eq!(bench.in_flight(), 0);
    assert!(future.as_mut().poll(&mut cx).is_pending());
    assert_eq!(bench.in_flight(), 1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(future.as_mut().poll(&mut cx).is_pending());
            assert_eq!(future.as_mut().poll(&mut cx), Poll::Ready(Ok(3)));
        });
    });
    assert_eq!(bench.counts(), (1, vec![]));
}

#[test]
fn a_future_dropped_under_way_is_cancelled_and_one_never_polled_is_nothing() {
    let bench = Bench::new();
    drop(bench.query.timed(Slow(0)));
    assert_eq!(bench.counts(), (0, vec![]));
    let mut future = Box::pin(bench.query.timed(Slow(0)));
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(future);
    assert_eq!(bench.failed(), one("cancelled"));
}

#[test]
fn a_future_that_panics_is_a_panic_even_if_dropped_later() {
    let bench = Bench::new();
    let mut future = Box::pin(bench.query.timed(Slow(199)));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }));
    assert!(caught.is_err());
    drop(future);
    assert_eq!(bench.failed(), one("panic"));
}

#[test]
fn a_query_of_a_stopped_instance_does_nothing() {
    let bench = Bench::new();
    bench.success.0.retire();
    assert!(bench.query.start().started == Start::NONE);
    assert_eq!(bench.query.time(|| 1), 1);
    bench.query.record_failure(Duration::ZERO, "x");
    assert_eq!(bench.counts(), (0, vec![]));
}

#[test]
fn a_thinned_query_counts_all_and_times_one_in_n() {
    const CALLS: u64 = 16_000;
    let core = || Histogram(Arc::new(HistogramCore::new(Measure::Time, Arc::default())));
    let counter = || Counter(Arc::new(CounterCore::new()));
    let (duration, failed) = (core(), core());
    let (calls, failed_calls) = (counter(), counter());
    let (failures, failure_calls) = (failed.clone(), failed_calls.clone());
    let query = Query::thinned(
        duration.clone(),
        16,
        calls.clone(),
        Box::new(move |_| failures.clone()),
        Box::new(move |_| failure_calls.clone()),
    );
    for at in 0..CALLS {
        let _ = query.try_time(|| if at % 4 == 0 { Err(()) } else { Ok(()) });
    }
    query.record(Duration::from_secs(1));
    assert_eq!((calls.0.total(), failed_calls.0.total()), (CALLS / 4 * 3 + 1, CALLS / 4));
    let counted = |series: &Histogram| {
        let mut delta = Delta::default();
        series.0.fold(&mut Distribution::default(), &mut delta);
        delta.count as f64
    };
    // Each timed call stands for sixteen.
    let (count, failed) = (counted(&duration), counted(&failed));
    assert!((count / (CALLS / 4 * 3) as f64 - 1.0).abs() < 0.05, "{count}");
    assert!((failed / (CALLS / 4) as f64 - 1.0).abs() < 0.05, "{failed}");
    assert_eq!(failed % 16.0, 0.0);
}

/// Every kind of writer over more threads than shards, all ending and being replaced, a future among
/// them that starts on one and ends on another, while a reader folds and adds up.
#[test]
fn nothing_is_lost_under_thread_churn() {
    const GENERATIONS: u64 = 8;
    const THREADS: u64 = 24;
    const CALLS: u64 = 320;
    const ALL: u64 = GENERATIONS * THREADS * CALLS;
    let bench = Bench::new();
    bench.in_flight.0.is_of_things();
    let counter = || Counter(Arc::new(CounterCore::new()));
    let (added, thinned_calls, thinned_failures) = (counter(), counter(), counter());
    let level = UpDownCounter(Arc::new(UpDownCore::new()));
    let histogram = |measure| Histogram(Arc::new(HistogramCore::new(measure, Arc::default())));
    let (values, thinned, failed) =
        (histogram(Measure::Value), histogram(Measure::Time), histogram(Measure::Time));
    let query = {
        let (failed, failures) = (failed.clone(), thinned_failures.clone());
        Query::thinned(
            thinned.clone(),
            16,
            thinned_calls.clone(),
            Box::new(move |_| failed.clone()),
            Box::new(move |_| failures.clone()),
        )
    };
    let work = |thread: u64| {
        for at in 0..CALLS {
            bench.query.time(|| ());
            let _ = bench.query.try_time(|| Err::<(), ()>(()));
            let _ = query.try_time(|| if at % 4 == 0 { Err(()) } else { Ok(()) });
            added.increment(thread);
            level.add(if at % 2 == 0 { 3 } else { -2 });
            // Sums of whole numbers are exact in any order; of both signs and many octaves.
            let value = (1u64 << (at % 20)) as f64;
            values.record(if thread.is_multiple_of(2) { value } else { -value });
        }
        // Begun here, ended by whoever adds up at the end.
        let mut call = Box::pin(bench.query.timed(Slow(0)));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        call
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    let gained = |histogram: &Histogram, all: &mut Distribution| {
        histogram.0.fold(all, &mut Delta::default());
        all.count
    };
    let mut seen: [Distribution; 4] = Default::default();
    let read = |seen: &mut [Distribution; 4], least: &mut [u64; 7]| {
        let [successes, of_values, of_thinned, of_failed] = seen;
        let now = [
            added.0.total(),
            thinned_calls.0.total(),
            thinned_failures.0.total(),
            gained(&bench.success, successes),
            gained(&values, of_values),
            gained(&thinned, of_thinned),
            gained(&failed, of_failed),
        ];
        assert!(least.iter().zip(&now).all(|(least, now)| least <= now), "{least:?} {now:?}");
        assert!(bench.in_flight() >= 0);
        *least = now;
    };
    let under_way = std::thread::scope(|scope| {
        let (read, seen, done, work) = (&read, &mut seen, &done, &work);
        let reader = scope.spawn(move || {
            let mut least = [0; 7];
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                read(seen, &mut least);
            }
            read(seen, &mut least);
        });
        let mut under_way = Vec::new();
        for _ in 0..GENERATIONS {
            let threads: Vec<_> =
                (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
            under_way.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
        }
        done.store(true, std::sync::atomic::Ordering::Release);
        reader.join().unwrap();
        under_way
    });
    assert_eq!(bench.in_flight(), (GENERATIONS * THREADS) as i64);
    for mut call in under_way {
        let mut cx = Context::from_waker(Waker::noop());
        while call.as_mut().poll(&mut cx).is_pending() {}
    }
    assert_eq!(bench.in_flight(), 0);
    let [successes, of_values, of_thinned, of_failed] = &mut seen;
    assert_eq!(gained(&bench.success, successes), ALL + GENERATIONS * THREADS);
    assert_eq!(bench.counts().1, [("()".to_owned(), ALL)]);
    assert_eq!(added.0.total(), GENERATIONS * CALLS * (0..THREADS).sum::<u64>());
    assert_eq!(level.0.total(), (ALL / 2) as i64);
    assert_eq!(of_values.count, ALL);
    assert_eq!((of_values.sum, of_values.min, of_values.max), (0.0, -524_288.0, 524_288.0));
    assert_eq!((thinned_calls.0.total(), thinned_failures.0.total()), (ALL / 4 * 3, ALL / 4));
    // Of each thread's 320 calls 20 are timed, give or take one; which of them fail is chance.
    let timed = (of_thinned.count + of_failed.count) / 16;
    assert!(timed.abs_diff(ALL / 16) <= GENERATIONS * THREADS, "{timed}");
    assert!((of_failed.count as f64 / (ALL / 4) as f64 - 1.0).abs() < 0.15);
}
