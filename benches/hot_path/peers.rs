//! The peers, each used as its own documentation shows.

use std::{hint::black_box, sync::LazyLock, time::Instant};

use metrics_exporter_prometheus::PrometheusBuilder;
use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter, MeterProvider},
};
use opentelemetry_sdk::metrics::{
    Aggregation, Instrument, ManualReader, SdkMeterProvider, Stream, Temporality,
};

use crate::{Case, values, work::LookUps};

/// The semantic conventions' advice for durations of database calls.
const BOUNDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

static METRIKEN: metriken::ShardedCounterHistogram = metriken::ShardedCounterHistogram::new(5, 64);
static METRIKEN_SITU: metriken::ShardedCounterHistogram =
    metriken::ShardedCounterHistogram::new(5, 64);
static METRIKEN_COUNTER: metriken::Counter = metriken::Counter::new();

/// Kept for the process' life, as a service would.
fn meter(base2: bool) -> Meter {
    let reader = ManualReader::builder().with_temporality(Temporality::Cumulative).build();
    let mut provider = SdkMeterProvider::builder().with_reader(reader);
    if base2 {
        provider = provider.with_view(|_: &Instrument| {
            let aggregation = Aggregation::Base2ExponentialHistogram {
                max_size: 160,
                max_scale: 20,
                record_min_max: true,
            };
            Stream::builder().with_aggregation(aggregation).build().ok()
        });
    }
    let provider = Box::leak(Box::new(provider.build()));
    provider.meter("bench")
}

fn histogram(base2: bool) -> Histogram<f64> {
    meter(base2).f64_histogram("bench").with_unit("s").with_boundaries(BOUNDS.to_vec()).build()
}

fn attributes() -> [KeyValue; 3] {
    [
        KeyValue::new("db.system.name", "sqlite"),
        KeyValue::new("db.query.summary", "orders"),
        KeyValue::new("db.collection.name", "orders"),
    ]
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("timed", "hdrhistogram, plain, one a thread", || {
            let mut histogram = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 40, 2).expect("bounds");
            move |n| for _ in 0..n {
                let start = Instant::now();
                black_box(());
                let _ = histogram.record(nanos(start));
            }
        }),
        Case::new("in situ", "hdrhistogram, plain, one a thread", || {
            let mut histogram = hdrhistogram::Histogram::<u64>::new_with_bounds(1, 1 << 40, 2).expect("bounds");
            let mut work = LookUps::new();
            move |n| for _ in 0..n {
                let start = Instant::now();
                work.run();
                let _ = histogram.record(nanos(start));
            }
        }),
        Case::new("timed", "metriken, sharded", || |n| for _ in 0..n {
            let start = Instant::now();
            black_box(());
            let _ = METRIKEN.increment(nanos(start));
        }),
        Case::new("record", "metriken, sharded", || {
            let values: Vec<_> = values().iter().map(|value| (value * 1e9) as u64).collect();
            move |n| for at in 0..n { let _ = METRIKEN.increment(values[at as usize & 4095]); }
        }),
        Case::new("in situ", "metriken, sharded", || {
            let mut work = LookUps::new();
            move |n| for _ in 0..n {
                let start = Instant::now();
                work.run();
                let _ = METRIKEN_SITU.increment(nanos(start));
            }
        }),
        Case::new("counter", "metriken", || |n| for _ in 0..n { METRIKEN_COUNTER.increment(); }),
    ];

    static LIB: LazyLock<metrics_lib::Timer> = LazyLock::new(metrics_lib::Timer::new);
    static LIB_SITU: LazyLock<metrics_lib::Timer> = LazyLock::new(metrics_lib::Timer::new);
    cases.push(Case::new("timed", "metrics-lib (no quantiles)", || {
        let timer = &*LIB;
        move |n| for _ in 0..n { let timer = timer.start(); black_box(()); black_box(timer.stop()); }
    }));

    cases.push(Case::new("in situ", "metrics-lib (no quantiles)", || {
        let (timer, mut work) = (&*LIB_SITU, LookUps::new());
        move |n| for _ in 0..n { let timer = timer.start(); work.run(); black_box(timer.stop()); }
    }));

    let prometheus = || {
        let options = prometheus::HistogramOpts::new("bench", "bench").buckets(BOUNDS.to_vec());
        prometheus::Histogram::with_opts(options).expect("options")
    };
    let (timed, recorded, situ) = (prometheus(), prometheus(), prometheus());
    cases.push(Case::new("timed", "prometheus, start_timer", move || {
        let histogram = timed.clone();
        move |n| for _ in 0..n { let timer = histogram.start_timer(); black_box(()); timer.observe_duration(); }
    }));
    cases.push(Case::new("record", "prometheus", move || {
        let (histogram, values) = (recorded.clone(), values());
        move |n| for at in 0..n { histogram.observe(values[at as usize & 4095]) }
    }));
    cases.push(Case::new("in situ", "prometheus, start_timer", move || {
        let (histogram, mut work) = (situ.clone(), LookUps::new());
        move |n| for _ in 0..n {
            let timer = histogram.start_timer();
            work.run();
            timer.observe_duration();
        }
    }));
    let counter = prometheus::IntCounter::new("bench", "bench").expect("name");
    cases.push(Case::new("counter", "prometheus", move || {
        let counter = counter.clone();
        move |n| for _ in 0..n { counter.inc() }
    }));

    use prometheus_client::metrics::{counter::Counter, histogram::Histogram as ClientHistogram};
    let client = || ClientHistogram::new(BOUNDS);
    let (timed, recorded, situ) = (client(), client(), client());
    cases.push(Case::new("timed", "prometheus-client", move || {
        let histogram = timed.clone();
        move |n| for _ in 0..n {
            let start = Instant::now();
            black_box(());
            histogram.observe(start.elapsed().as_secs_f64());
        }
    }));
    cases.push(Case::new("record", "prometheus-client", move || {
        let (histogram, values) = (recorded.clone(), values());
        move |n| for at in 0..n { histogram.observe(values[at as usize & 4095]) }
    }));
    cases.push(Case::new("in situ", "prometheus-client", move || {
        let (histogram, mut work) = (situ.clone(), LookUps::new());
        move |n| for _ in 0..n {
            let start = Instant::now();
            work.run();
            histogram.observe(start.elapsed().as_secs_f64());
        }
    }));
    let counter = Counter::<u64>::default();
    cases.push(Case::new("counter", "prometheus-client", move || {
        let counter = counter.clone();
        move |n| for _ in 0..n { counter.inc(); }
    }));

    for (name, base2) in [("OTel SDK, bound", false), ("OTel SDK, bound, base-2", true)] {
        let (timed, recorded, situ) = (
            histogram(base2).bind(&attributes()),
            histogram(base2).bind(&attributes()),
            histogram(base2).bind(&attributes()),
        );
        cases.push(Case::new("timed", name, move || {
            let histogram = timed.clone();
            move |n| for _ in 0..n {
                let start = Instant::now();
                black_box(());
                histogram.record(start.elapsed().as_secs_f64());
            }
        }));
        cases.push(Case::new("record", name, move || {
            let (histogram, values) = (recorded.clone(), values());
            move |n| for at in 0..n { histogram.record(values[at as usize & 4095]) }
        }));
        if !base2 {
            cases.push(Case::new("in situ", name, move || {
                let (histogram, mut work) = (situ.clone(), LookUps::new());
                move |n| for _ in 0..n {
                    let start = Instant::now();
                    work.run();
                    histogram.record(start.elapsed().as_secs_f64());
                }
            }));
        }
    }
    for (name, count) in [("OTel SDK, 1 attribute", 1), ("OTel SDK, 3 attributes", 3)] {
        let unbound = histogram(false);
        cases.push(Case::new("timed", name, move || {
            let (histogram, attributes) = (unbound.clone(), attributes());
            move |n| for _ in 0..n {
                let start = Instant::now();
                black_box(());
                histogram.record(start.elapsed().as_secs_f64(), &attributes[..count]);
            }
        }));
        let unbound = histogram(false);
        cases.push(Case::new("in situ", name, move || {
            let (histogram, attributes, mut work) = (unbound.clone(), attributes(), LookUps::new());
            move |n| for _ in 0..n {
                let start = Instant::now();
                work.run();
                histogram.record(start.elapsed().as_secs_f64(), &attributes[..count]);
            }
        }));
    }

    exporter(&mut cases);
    cases
}

/// `metrics` with its Prometheus exporter, whose summaries keep every value until the upkeep that
/// its own thread does every five seconds.
#[rustfmt::skip]
fn exporter(cases: &mut Vec<Case>) {
    let recorder: &'static _ = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    let mut add = |mut case: Case| {
        let handle = recorder.handle();
        case.upkeep = Some(Box::new(move || handle.run_upkeep()));
        cases.push(case);
    };
    let handle = |name: &'static str| metrics::with_local_recorder(recorder, || metrics::histogram!(name));
    let (timed, recorded, situ) = (handle("timed"), handle("recorded"), handle("situ"));
    add(Case::new("timed", "metrics handle: exporter-prometheus", move || {
        let histogram = timed.clone();
        move |n| for _ in 0..n {
            let start = Instant::now();
            black_box(());
            histogram.record(start.elapsed());
        }
    }));
    add(Case::new("timed", "metrics macro, constant: exporter-prometheus", move || move |n| {
        metrics::with_local_recorder(recorder, || for _ in 0..n {
            let start = Instant::now();
            black_box(());
            metrics::histogram!("timed.macro", "kind" => "constant").record(start.elapsed());
        });
    }));
    add(Case::new("in situ", "metrics handle: exporter-prometheus", move || {
        let (histogram, mut work) = (situ.clone(), LookUps::new());
        move |n| for _ in 0..n {
            let start = Instant::now();
            work.run();
            histogram.record(start.elapsed());
        }
    }));
    add(Case::new("record", "metrics handle: exporter-prometheus", move || {
        let (histogram, values) = (recorded.clone(), values());
        move |n| for at in 0..n { histogram.record(values[at as usize & 4095]) }
    }));
    add(Case::new("record", "metrics macro, constant: exporter-prometheus", move || {
        let values = values();
        move |n| metrics::with_local_recorder(recorder, || for at in 0..n {
            metrics::histogram!("recorded.macro", "kind" => "constant").record(values[at as usize & 4095]);
        })
    }));
    add(Case::new("record", "metrics macro, dynamic: exporter-prometheus", move || {
        let values = values();
        let tenants: Vec<_> = (0..16).map(|at| format!("tenant{at}")).collect();
        move |n| metrics::with_local_recorder(recorder, || for at in 0..n {
            let tenant = tenants[at as usize & 15].clone();
            metrics::histogram!("recorded.dynamic", "tenant" => tenant).record(values[at as usize & 4095]);
        })
    }));
    add(Case::new("counter", "metrics macro, constant: exporter-prometheus", move || move |n| {
        metrics::with_local_recorder(recorder, || for _ in 0..n {
            metrics::counter!("counted.macro", "kind" => "constant").increment(1);
        })
    }));
}
