//! A library instrumented with the `opentelemetry` API, seen in the rules and on the page.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use highwater::{Highwater, integrate::otel, rule};
use opentelemetry::{
    KeyValue,
    metrics::{Meter, MeterProvider as _},
};

fn shop() -> (Highwater, Meter) {
    let hw = Highwater::builder("shop")
        .tick(Duration::from_millis(100))
        .rule(rule::alert("Deep").when(rule::gauge("queue.depth").above(2.0)))
        .start()
        .unwrap();
    let meter = otel::meter_provider(&hw).meter("library");
    (hw, meter)
}

/// The page, once it is as wanted.
fn page_when(hw: &Highwater, what: &str, is_so: impl Fn(&str) -> bool) -> String {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let page = hw.render_prometheus();
        if is_so(&page) {
            return page;
        }
        assert!(Instant::now() < patience, "never: {what}\n{page}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Once all of these lines are on it.
fn page_with(hw: &Highwater, lines: &[&str]) -> String {
    page_when(hw, &format!("{lines:?}"), |page| {
        lines.iter().all(|line| page.lines().any(|of| of == *line))
    })
}

#[test]
fn every_kind_of_instrument_lands_in_the_registry() {
    let (hw, meter) = shop();
    let kind = [KeyValue::new("kind", "book"), KeyValue::new("http.status", 200)];
    let orders = meter.u64_counter("orders").with_unit("{order}").with_description("Sold.").build();
    for _ in 0..3 {
        orders.add(2, &kind);
    }
    orders.add(1, &[]);
    let paid = meter.f64_counter("paid").build();
    [0.5, 0.25, -7.0, f64::NAN].iter().for_each(|value| paid.add(*value, &[]));
    let open = meter.i64_up_down_counter("open").build();
    open.add(5, &[]);
    open.add(-7, &[]);
    meter.f64_up_down_counter("balance").build().add(-1.5, &[]);
    meter.f64_gauge("queue.depth").build().record(7.0, &[]);
    meter.i64_gauge("celsius").build().record(-4, &[]);
    meter.u64_gauge("workers").build().record(4, &[]);
    let size = meter.u64_histogram("size").with_unit("By").build();
    [3, 900].iter().for_each(|value| size.record(*value, &kind));
    let took = meter.f64_histogram("took").with_unit("s").build();
    [0.003, 0.3].iter().for_each(|value| took.record(*value, &[]));
    let page = page_with(
        &hw,
        &[
            "# HELP orders Sold.",
            "orders_total{http_status=\"200\",kind=\"book\"} 6",
            "orders_total 1",
            "paid_total 0.75",
            "open -2.0",
            "balance -1.5",
            "queue_depth 7.0",
            "celsius -4.0",
            "workers 4.0",
            "size_bytes_sum{http_status=\"200\",kind=\"book\"} 903.0",
            "took_seconds_count 2",
            "took_seconds_bucket{le=\"0.005\"} 1",
        ],
    );
    assert!(page.contains("highwater_dropped_total{reason=\"not_finite\"} 1"), "{page}");
    page_when(&hw, "the alert", |_| hw.alert("Deep").unwrap().is_firing());
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn observables_are_asked_each_tick_and_forget_what_is_gone() {
    let (hw, meter) = shop();
    let asked = Arc::new(AtomicU64::new(0));
    let pools = Arc::new(Mutex::new(vec!["a", "b"]));
    let (count, known) = (asked.clone(), pools.clone());
    meter
        .u64_observable_counter("asked")
        .with_callback(move |observer| observer.observe(count.fetch_add(1, Ordering::Relaxed), &[]))
        .build();
    meter
        .f64_observable_gauge("busy")
        .with_callback(move |observer| {
            for pool in &*known.lock().unwrap() {
                observer.observe(0.5, &[KeyValue::new("pool", *pool)]);
            }
        })
        .build();
    meter
        .i64_observable_up_down_counter("open")
        .with_callback(|observer| observer.observe(-3, &[]))
        .build();
    let page = page_with(&hw, &["busy{pool=\"a\"} 0.5", "busy{pool=\"b\"} 0.5", "open -3.0"]);
    let observed = |page: &str| {
        page.lines().find_map(|line| line.strip_prefix("asked_total ")?.parse::<f64>().ok())
    };
    // Which round a page shows is the machine's business; that it goes on is ours.
    let first = observed(&page).unwrap();
    let later = page_when(&hw, "a later round", |page| observed(page) > Some(first));
    assert!(observed(&later).unwrap() < asked.load(Ordering::Relaxed) as f64);
    pools.lock().unwrap().pop();
    page_when(&hw, "the end of b", |page| !page.contains("busy{pool=\"b\"}"));
    page_with(&hw, &["busy{pool=\"a\"} 0.5"]);
    hw.shutdown(Duration::from_secs(5)).unwrap();
    // Nobody can ask any more: the thread has ended, and the callbacks are gone with it.
    drop((hw, meter));
    let patience = Instant::now() + Duration::from_secs(30);
    while Arc::strong_count(&asked) > 1 {
        assert!(Instant::now() < patience, "the callbacks are still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn callbacks_that_panic_or_hang_harm_nobody() {
    let (hw, meter) = shop();
    let (release, hang) = mpsc::channel::<()>();
    let hang = Mutex::new(hang);
    let panics = Arc::new(AtomicU64::new(0));
    let counted = panics.clone();
    let gauge = |name| meter.u64_observable_gauge(name);
    gauge("before").with_callback(|observer| observer.observe(1, &[])).build();
    gauge("panics")
        .with_callback(move |observer| {
            observer.observe(1, &[]);
            counted.fetch_add(1, Ordering::Relaxed);
            panic!("on purpose")
        })
        .build();
    let hung = Arc::new(AtomicU64::new(0));
    let calls = hung.clone();
    gauge("hangs")
        .with_callback(move |observer| {
            observer.observe(1, &[]);
            if calls.fetch_add(1, Ordering::Relaxed) == 1 {
                _ = hang.lock().unwrap().recv();
            }
        })
        .build();
    let after = Arc::new(AtomicU64::new(0));
    let count = after.clone();
    gauge("after")
        .with_callback(move |observer| observer.observe(count.fetch_add(1, Ordering::Relaxed), &[]))
        .build();
    // It hangs in its second round; the others go on, and what it said is no longer true.
    page_when(&hw, "the late one's value to vanish", |page| {
        hung.load(Ordering::Relaxed) >= 2 && !page.contains("\nhangs ")
    });
    let then = after.load(Ordering::Relaxed);
    page_when(&hw, "more rounds", |_| after.load(Ordering::Relaxed) > then + 5);
    assert_eq!(hung.load(Ordering::Relaxed), 2, "a late one is passed over");
    assert_eq!(panics.load(Ordering::Relaxed), 1, "one that panicked is not asked again");
    page_with(&hw, &["before 1.0"]);
    assert!(!hw.render_prometheus().contains("\npanics "));
    drop(release);
    page_with(&hw, &["hangs 1.0"]);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn attribute_sets_without_end_are_bounded() {
    let hw = Highwater::builder("shop")
        .tick(Duration::from_millis(100))
        .cardinality_limit(100)
        .start()
        .unwrap();
    let meter = otel::meter_provider(&hw).meter("library");
    let orders = meter.u64_counter("orders").build();
    for user in 0..10_000_i64 {
        orders.add(1, &[KeyValue::new("user", user)]);
    }
    let page = page_with(&hw, &["orders_total{otel_metric_overflow=\"true\"} 9900"]);
    assert_eq!(page.lines().filter(|line| line.starts_with("orders_total{")).count(), 101);
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[test]
fn what_is_recorded_in_a_sampled_span_has_it_as_exemplar() {
    use opentelemetry::{
        Context,
        trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
    };
    let hw = Highwater::builder("shop")
        .tick(Duration::from_millis(100))
        .exemplars(otel::trace_context)
        .start()
        .unwrap();
    let within = |trace: u8, flags: TraceFlags| {
        let (trace, span) = (TraceId::from_bytes([trace; 16]), SpanId::from_bytes([9; 8]));
        let span = SpanContext::new(trace, span, flags, true, TraceState::default());
        Context::new().with_remote_span_context(span)
    };
    let orders = hw.query("orders").system("sqlite").build();
    orders.time(|| ());
    {
        let _unsampled = within(1, TraceFlags::NOT_SAMPLED).attach();
        orders.time(|| ());
    }
    {
        let _sampled = within(2, TraceFlags::SAMPLED).attach();
        orders.time(|| ());
    }
    let page = page_when(&hw, "the queries", |page| page.contains("db_client_operation"));
    let exemplar = format!("trace_id=\"{}\",span_id=\"{}\"", "02".repeat(16), "09".repeat(8));
    assert_eq!(page.matches("trace_id=").count(), 1, "{page}");
    assert!(page.contains(&exemplar), "{page}");
}
