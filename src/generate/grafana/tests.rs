//! What a dashboard calls a series is what the series is called.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    generate::series::SERIES,
    handle::Highwater,
    integrate::pool::{Pool, State},
    registry::Series,
    rule::naming,
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
    hw.component("c").add(1);
    let _pool = Pool::new(&hw, "p", || Some(State::new(0, 0, 1)));
    hw.gauge("seen").build().set(1.0);
    let registry = hw.registry();
    let mut known: Vec<Arc<Series>> = Vec::new();
    // What is registered last: by the samplers' first round, and by the first evaluation.
    let last = [s::COMPONENT_MEMORY_USAGE, s::DB_CLIENT_CONNECTION_COUNT, s::ALERT_STATE];
    while !last.iter().all(|name| known.iter().any(|series| &*series.metric.name == *name)) {
        registry.catch_up(&mut known);
        std::thread::yield_now();
    }
    let named: BTreeMap<String, String> = known
        .iter()
        .map(|series| {
            let metric = &series.metric;
            (metric.name.to_string(), naming::metric(&metric.name, &metric.unit(), metric.kind))
        })
        .collect();
    let mut seen = 0;
    for (name, kind, unit) in SERIES {
        let Some(real) = named.get(*name) else { continue };
        seen += 1;
        let ours = naming::metric(name, &crate::name::Unit::known(unit), *kind);
        assert_eq!(ours, *real, "{name}");
    }
    // Not everywhere is there a control group to be throttled by, nor an exporter.
    assert!(seen >= SERIES.len() - 12, "only {seen} of {} exist", SERIES.len());
}
