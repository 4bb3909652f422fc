//! The page for a scraper: read by Python's OpenMetrics parser and by a real Prometheus, whatever
//! names and labels a service makes up. `tests/stack/fetch.sh` fetches both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/prometheus.rs"]
mod prometheus;
#[path = "support/stack.rs"]
mod stack;

use std::time::Duration;

use highwater::{Highwater, TraceContext, Unit, export::prometheus::CONTENT_TYPE, rule};
use prometheus::{Prometheus, Route, parsed_by_python};
use proptest::{
    prelude::any,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

fn shop() -> Highwater {
    Highwater::builder("shop")
        .tick(Duration::from_millis(100))
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)))
        .start()
        .unwrap()
}

/// The page, once it shows what was recorded before the call.
fn page_with(hw: &Highwater, what: &str) -> String {
    stack::eventually(what, || Some(hw.render_prometheus()).filter(|page| page.contains(what)))
}

/// One call in sixteen is timed: the export says so, its counts are weighted, all calls are counted.
#[test]
fn a_thinned_timer_says_that_it_is_one() {
    let hw = shop();
    let lookups = hw.timer("lookups").timed_one_in(16).build();
    (0..1_600).for_each(|_| lookups.time(|| ()));
    let line = |name: &str| {
        let page = hw.render_prometheus();
        page.lines()
            .find(|line| line.starts_with(name) && line.contains("lookups"))
            .map(str::to_owned)
    };
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    // A hundred, give or take one.
    let count = stack::eventually("a hundred timed calls", || {
        let count = line("highwater_timer_duration_seconds_count")?;
        [1_584.0, 1_600.0, 1_616.0].contains(&value(&count)).then_some(count)
    });
    assert!(count.contains("highwater_timed_one_in=\"16\""), "{count}");
    let calls = line("highwater_timer_calls_total").unwrap();
    assert!(value(&calls) == 1_600.0 && !calls.contains("one_in"), "{calls}");
}

#[test]
fn a_real_prometheus_scrapes_what_was_recorded() {
    let hw = shop();
    hw.counter("jobs.done").label("queue.name", "a \"b\"\\\n").build().increment(42);
    hw.gauge("depth").build().set(7.0);
    let sizes = hw.histogram("payload.size").unit(Unit::BYTES).build();
    [1.0, 700.0, 20_000.0].iter().for_each(|size| sizes.record(*size));
    let orders = hw.query("orders").system("sqlite").build();
    (0..10).for_each(|_| orders.time(|| ()));
    let route = Route::serve(CONTENT_TYPE, {
        let hw = hw.clone();
        move || hw.render_prometheus()
    });
    let test = "a_real_prometheus_scrapes_what_was_recorded";
    let Some(prometheus) = Prometheus::start(test, route.address) else { return };
    for (promql, expected) in [
        (r#"jobs_done_total{queue_name="a \"b\"\\\n"}"#, 42.0),
        ("depth", 7.0),
        ("payload_size_bytes_count", 3.0),
        ("payload_size_bytes_sum", 20_701.0),
        (r#"payload_size_bytes_bucket{le="750.0"}"#, 2.0),
        (
            r#"db_client_operation_duration_seconds_bucket{db_query_summary="orders",le="+Inf"}"#,
            10.0,
        ),
        (r#"highwater_alert_state{alertname="Deep"}"#, 4.0),
        (r#"target_info{service_name="shop"}"#, 1.0),
        ("up", 1.0),
    ] {
        assert_eq!(prometheus.one(promql), expected, "{promql}");
    }
    // What the three lines alone would show.
    for series in ["process_cpu_time_seconds_total", "process_memory_usage_bytes"] {
        assert!(!prometheus.query(series).is_empty(), "{series}");
    }
    assert!(prometheus.one("process_memory_usage_bytes") > 1e6);
    let metadata = prometheus.get("/api/v1/metadata", &[]).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let of = |name: &str| metadata["data"][name][0].clone();
    assert_eq!(of("process_memory_usage_bytes")["type"], "gauge");
    assert_eq!(of("process_memory_usage_bytes")["unit"], "bytes");
    assert_eq!(of("payload_size_bytes")["type"], "histogram");
    assert!(metadata["data"].as_object().unwrap().keys().any(|name| name.starts_with("jobs_done")));
}

#[test]
fn a_real_parser_reads_whatever_names_there_are() {
    let hw = shop();
    let mut runner = TestRunner::deterministic();
    let labels = proptest::collection::vec((any::<String>(), any::<String>()), 0..4);
    let series = (0..4, any::<String>(), labels);
    let mut written = 0;
    for n in 0..400 {
        let (kind, name, labels) = series.new_tree(&mut runner).unwrap().current();
        // Some as they come, others that cannot clash.
        let name = if n % 2 == 0 { name } else { format!("{name}.{n}") };
        let names: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        match kind {
            0 => labelled(hw.counter(&name), &names).build().increment(1),
            1 => labelled(hw.gauge(&name), &names).build().set(-1.5),
            2 => labelled(hw.up_down_counter(&name), &names).build().add(-3),
            _ => labelled(hw.histogram(&name), &names).build().record(f64::from(n) - 200.0),
        }
        written += 1;
    }
    hw.gauge("the.last").help("of \\ them \"all\"\n").build().set(1.0);
    let page = page_with(&hw, "the_last");
    assert!(page.lines().filter(|line| line.starts_with("# TYPE")).count() > written / 2);
    let test = "a_real_parser_reads_whatever_names_there_are";
    let Some(read) = parsed_by_python(test, &page) else { return };
    assert!(read.contains("gauge the_last [] 1.0"), "{read}");
    let samples =
        page.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert_eq!(read.lines().count(), samples);
    // And the one it is for: it takes a page whole or not at all.
    let route = Route::serve(CONTENT_TYPE, move || page.clone());
    let Some(prometheus) = Prometheus::start(test, route.address) else { return };
    assert_eq!(prometheus.one("up"), 1.0);
    assert_eq!(prometheus.one("scrape_samples_scraped"), samples as f64);
    assert_eq!(prometheus.one("scrape_series_added > 0"), samples as f64, "none twice");
}

fn labelled<H>(
    builder: highwater::InstrumentBuilder<H>,
    labels: &[(&str, &str)],
) -> highwater::InstrumentBuilder<H> {
    labels.iter().fold(builder, |builder, (key, value)| builder.label(key, value))
}

#[test]
fn readers_side_by_side_and_after_the_end() {
    let hw = shop();
    hw.counter("jobs.done").build().increment(1);
    page_with(&hw, "jobs_done_total 1");
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let hw = hw.clone();
            std::thread::spawn(move || {
                (0..50).all(|_| hw.render_prometheus().contains("jobs_done"))
            })
        })
        .collect();
    assert!(readers.into_iter().all(|reader| reader.join().unwrap()));
    hw.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(hw.render_prometheus(), "# EOF\n");
}

#[test]
fn a_slow_call_leads_to_its_trace() {
    let hw = Highwater::builder("shop")
        .tick(Duration::from_millis(100))
        .exemplars(|| Some(TraceContext::new([0xab; 16], [0xcd; 8])))
        .start()
        .unwrap();
    let orders = hw.query("orders").system("sqlite").build();
    orders.record(Duration::from_micros(30));
    orders.record(Duration::from_millis(700));
    let bucket = |page: &str, le: &str| {
        let of = format!("le=\"{le}\"}} ");
        page.lines()
            .find(|line| line.starts_with("db_client_op") && line.contains(&of))
            .map(str::to_owned)
    };
    let page = page_with(&hw, "db_client_operation_duration_seconds_bucket");
    let trace = format!("# {{trace_id=\"{}\",span_id=\"{}\"}} ", "ab".repeat(16), "cd".repeat(8));
    for (le, count, seconds) in [("1.0", 2, 0.7), ("0.001", 1, 3e-5)] {
        let line = bucket(&page, le).unwrap();
        let (before, exemplar) = line.split_once(&trace).expect(&line);
        assert!(before.ends_with(&format!("}} {count} ")), "{line}");
        let value: f64 = exemplar.split(' ').next().unwrap().parse().unwrap();
        // Kept in ticks, a fraction of a nanosecond.
        assert!((value - seconds).abs() < 2e-9, "{line}");
    }
    assert!(!bucket(&page, "+Inf").unwrap().contains('#'), "nothing lies there");

    let test = "a_slow_call_leads_to_its_trace";
    let Some(read) = parsed_by_python(test, &page) else { return };
    let ids = format!("[('span_id', '{}'), ('trace_id', '{}')]", "cd".repeat(8), "ab".repeat(16));
    assert!(
        read.lines().any(|line| line.contains("('le', '1.0')") && line.contains(&ids)),
        "{read}"
    );

    let route = Route::serve(CONTENT_TYPE, {
        let hw = hw.clone();
        move || hw.render_prometheus()
    });
    let Some(prometheus) = Prometheus::start(test, route.address) else { return };
    let query = r#"db_client_operation_duration_seconds_bucket{le="1.0"}"#;
    let found = stack::eventually("an exemplar", || {
        let range = [("query", query), ("start", "0"), ("end", "99999999999")];
        let answer = prometheus.get("/api/v1/query_exemplars", &range)?;
        let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
        answer["data"].as_array()?.first()?["exemplars"].as_array()?.first().cloned()
    });
    assert_eq!(found["labels"]["trace_id"], "ab".repeat(16));
}
