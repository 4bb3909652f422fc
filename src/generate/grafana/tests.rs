//! What a dashboard calls a series is what the series is called.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    handle::Highwater,
    integrate::pool::{Pool, State},
    registry::Series,
    rule::{KNOWN, naming},
    sample, semconv as s,
    sync::Arc,
};

#[test]
fn series_are_called_what_an_instance_calls_them() {
    let hw = Highwater::builder("names")
        .tick(Duration::from_millis(100))
        .sample(sample::pressure())
        .start()
        .unwrap();
    let query = hw.query("q").system("sqlite").build();
    query.time(|| ());
    hw.timer("t").build().time(|| ());
    let component = hw.component("c");
    component.set_limit(1 << 20);
    let _held = component.request(1 << 10).unwrap();
    component.request(1 << 20).unwrap_err();
    let _pool = Pool::new(&hw, "p", || Some(State::new(0, 0, 1)));
    hw.gauge("seen").build().set(1.0);
    let registry = hw.registry();
    let mut known: Vec<Arc<Series>> = Vec::new();
    // What is registered last: by the samplers' first round, and by the first evaluation.
    let last = [
        s::COMPONENT_MEMORY_LIMIT,
        s::COMPONENT_MEMORY_PER_REQUEST,
        s::COMPONENT_REFUSED,
        s::DB_CLIENT_CONNECTION_COUNT,
        s::ALERT_STATE,
    ];
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        registry.catch_up(&mut known);
        let is_known = |name: &str| known.iter().any(|series| &*series.metric.name == name);
        let missing: Vec<_> = last.iter().filter(|name| !is_known(name)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < patience, "nobody registered {missing:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let named: BTreeMap<String, String> = known
        .iter()
        .map(|series| {
            let metric = &series.metric;
            (metric.name.to_string(), naming::metric(&metric.name, &metric.unit(), metric.kind))
        })
        .collect();
    let mut absent = Vec::new();
    for (name, kind, unit) in KNOWN {
        let Some(real) = named.get(*name) else {
            absent.push(*name);
            continue;
        };
        let ours = naming::metric(name, &crate::name::Unit::known(unit), *kind);
        assert_eq!(ours, *real, "{name}");
    }
    absent.retain(|name| !ABSENT.iter().any(|(known, _)| known == name));
    assert!(absent.is_empty(), "nobody registers {absent:?}");
}

/// What an instance in a test may lack, and why.
const ABSENT: &[(&str, &str)] = &[
    (s::MEMORY_EVENTS, "needs a control group with a memory controller of version 2"),
    (s::MEMORY_EVENTS_LOCAL, "so does it"),
    (s::MEMORY_OOM_KILLS_BEFORE_START, "needs a spool"),
    (s::CPU_THROTTLED_TIME, "needs a CPU controller"),
    (s::CPU_PERIODS, "so does it"),
    (s::CPU_THROTTLED_PERIODS, "so does it"),
    (s::EXPORTED_POINTS, "nothing is exported"),
    (s::EXPORT_RETRIES, "nothing is exported"),
    (s::EXPORT_QUEUE_SIZE, "nothing is exported"),
    (s::EXPORT_QUEUE_AGE, "nothing is exported"),
    (s::EXPORT_SUCCESS_AGE, "nothing is exported"),
    (s::SPOOL_UTILIZATION, "nothing is exported"),
    (s::TOKIO_STALL, "no runtime is watched"),
    (s::TOKIO_WORKER_STALL, "no runtime is watched"),
    (s::EXPORT_REFUSED_IN_A_ROW, "nothing is exported"),
    (s::RULE_FAILURES, "registered when a rule first fails"),
    (s::QUERY_CALLS, "no query is thinned out"),
];

/// What presets and panels ask for is in the list: what is not has the wrong name on a server.
#[test]
fn what_presets_ask_for_is_known() {
    let mut unknown = Vec::new();
    for preset in crate::rule::preset::all(Duration::from_secs(1)) {
        for name in preset.metrics() {
            if !KNOWN.iter().any(|(known, ..)| *known == name) {
                unknown.push(format!("{} of {}", name, preset.name()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:?}");
}
