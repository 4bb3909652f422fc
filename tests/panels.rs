//! Every panel's every expression, asked of real servers that a real highwater process has filled,
//! returns data; those that must be empty are listed with the reason.
#![cfg(feature = "generate")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/promql.rs"]
mod promql;
#[path = "support/stack.rs"]
mod stack;

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use highwater::{
    Builder, Highwater,
    export::otlp,
    generate::{self, Flavor},
    integrate::pool::{Pool, Refusal, State},
    rule, sample,
};
use serde_json::Value;
use stack::{Prometheus, Victoria};

/// Panels that have nothing to show here, and why.
const EMPTY: [(&str, &str); 6] = [
    ("At the limit", "a control group of version 2 would be needed"),
    ("CPU", "so for what the quota holds back"),
    ("Missed and failed", "the second query: nothing fails"),
    ("annotation \"Alert ends\"", "the alert goes on"),
    ("annotation \"Start\"", "the tests' process may be older"),
    ("annotation \"Alert fires\"", "its samples are seconds apart, not fifteen"),
];

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

fn builder() -> Builder {
    Highwater::builder("panels")
        .rule(rule::alert("Deep").when(rule::gauge("depth").above(2.0)))
        .rule(
            rule::alert("OrdersSlow").when(
                rule::query("orders")
                    .quantile(0.99)
                    .over(Duration::from_secs(60))
                    .above(Duration::from_millis(1)),
            ),
        )
}

/// So long must memory rise to be a trend and no burst.
const LIVE: Duration = Duration::from_secs(75);

/// Memory that grows towards the budget, in pages that are really touched: 4 MiB a second.
fn grow() -> Vec<Vec<u8>> {
    let (start, mut held) = (Instant::now(), Vec::new());
    while start.elapsed() < LIVE {
        if held.len() < start.elapsed().as_millis() as usize * 4 / 1_000 {
            held.push(vec![1_u8; 1 << 20]);
        }
        thread::sleep(Duration::from_millis(20));
    }
    held
}

/// A service's life: queries that succeed, fail and overlap, a pool that is waited for, an alert.
fn live(to: otlp::Config) {
    let hw = builder()
        .tick(Duration::from_millis(250))
        .sample(sample::memory().budget(480 << 20))
        .sample(sample::pressure())
        .export(to.interval(Duration::from_secs(1)))
        .start()
        .unwrap();
    hw.gauge("depth").build().set(7.0);
    let orders = hw.query("orders").system("sqlite").build();
    let thinned = hw.query("lookups").system("sqlite").timed_one_in(4).build();
    let timer = hw.timer("render").build();
    let store = hw.component("config-store");
    store.set_limit(1 << 40);
    let pool = Pool::new(&hw, "main", || Some(State::new(3, 1, 4).pending(2)));
    let start = Instant::now();
    let mut number = 0_u64;
    while start.elapsed() < LIVE {
        number += 1;
        let _flying = orders.start();
        orders.time(|| std::thread::sleep(Duration::from_millis(number % 5)));
        thinned.time(|| ());
        timer.time(|| std::thread::sleep(Duration::from_millis(1)));
        _ = orders.try_time(|| "x".parse::<u8>());
        pool.waited(Duration::from_millis(2));
        pool.held(Duration::from_millis(9));
        if number.is_multiple_of(3) {
            pool.refused(Refusal::Timeout);
        }
        store.add(1 << 10);
        let _state = store.request(1 << 10).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    hw.shutdown(Duration::from_secs(20)).unwrap();
}

/// Asks all of it; what is empty and not listed is told together.
fn check(server: &str, flavor: Flavor, from: f64, ask: impl Fn(&str, f64, f64) -> usize) {
    let all = generate::grafana(&builder()).unwrap().flavor(flavor);
    let (mut empty, mut asked) = (Vec::new(), 0);
    for text in [all.instance(), all.fleet()] {
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        let presets = |title: &str| {
            title.starts_with("Rule: ") && !["Rule: Deep", "Rule: OrdersSlow"].contains(&title)
        };
        for (title, expr) in promql::expressions(&dashboard) {
            let listed = EMPTY.iter().any(|(empty, _)| *empty == title);
            // Of a preset nothing is wrong here; most have no data within seconds.
            if presets(&title) {
                continue;
            }
            asked += 1;
            let found = ask(&promql::filled(&expr, "10s"), from, now());
            if found == 0 && !listed {
                empty.push(format!("{title}: {expr}"));
            }
        }
    }
    assert!(
        empty.is_empty(),
        "{server}: {} of {asked} are empty:\n{}",
        empty.len(),
        empty.join("\n")
    );
    assert!(asked > 80, "only {asked} expressions");
}

/// Three services of one process, side by side: one rise of memory serves them all.
#[test]
fn every_panel_of_every_flavor_has_data() {
    let test = "every_panel_of_every_flavor_has_data";
    let (Some(victoria), Some(native), Some(classic)) =
        (Victoria::start(test), Prometheus::start(test), Prometheus::start(test))
    else {
        return;
    };
    let from = now();
    let metrics = |to: String| otlp::from_env().metrics_endpoint(to);
    let _held = thread::scope(|scope| {
        scope.spawn(|| live(metrics(format!("{}/v1/metrics", victoria.otlp_base()))));
        scope.spawn(|| live(metrics(native.otlp())));
        scope.spawn(|| live(metrics(classic.otlp()).explicit_histograms()));
        grow()
    });
    let ask = |expr: &str, from, to| victoria.range(expr, from, to);
    check("VictoriaMetrics", Flavor::VictoriaMetrics, from, ask);
    let ask = |expr: &str, from, to| native.range(expr, from, to);
    check("Prometheus", Flavor::PrometheusNative, from, ask);
    let ask = |expr: &str, from, to| classic.range(expr, from, to);
    check("Prometheus, classic", Flavor::PrometheusClassic, from, ask);
}
