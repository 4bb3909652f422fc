use std::time::{Duration, SystemTime};

use super::*;
use crate::{
    alert::testing::transition,
    clock::{self, Moment},
    history::Scribe,
    instrument::{Histogram, Measure},
    name::Labels,
    registry::{Collector, Registry},
    sync::Arc,
};

const MIB: f64 = 1_048_576.0;

fn at(second: u64) -> Moment {
    Moment { mono: Duration::from_secs(second), wall: SystemTime::UNIX_EPOCH }
}

/// A service's registry and what is remembered of it.
struct Rig {
    registry: Arc<Registry>,
    collector: Collector,
    scribe: Scribe,
}

impl Rig {
    fn new() -> Self {
        let registry = Arc::new(Registry::new(1_000));
        let collector = Collector::new(registry.clone(), at(0));
        let history = History::shared(Duration::from_secs(1), at(0));
        Self { registry, collector, scribe: Scribe::new(history) }
    }

    fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> crate::instrument::Gauge {
        self.registry.gauge(name, &Labels::new(labels.iter().copied()))
    }

    fn query(&self, name: &str) -> Histogram {
        let labels = Labels::new([(s::DB_QUERY_SUMMARY, name)]);
        self.registry.histogram(s::DB_CLIENT_OPERATION_DURATION, Measure::Time, &labels)
    }

    fn tick(&mut self, second: u64) {
        self.collector.collect(at(second));
        self.scribe.observe(at(second), self.collector.series(), self.collector.frame());
    }

    fn evidence(&self, expression: &str, labels: &[(&str, &str)]) -> Option<Evidence> {
        let mut about = Transition::clone(&transition("Watched"));
        let mut rule = (*about.rule).clone();
        rule.expression = expression.to_owned();
        about.rule = Arc::new(rule);
        about.labels = Labels::new(labels.iter().copied());
        self.scribe.with(|history| gather(&about, history)).flatten()
    }
}

fn record(histogram: &Histogram, millis: u64) {
    let seconds = millis as f64 / 1e3;
    histogram.0.record_ticks((seconds / clock::seconds_per_tick()) as u64);
}

fn fact<'a>(evidence: &'a Evidence, key: &str) -> &'a str {
    &evidence.facts.iter().find(|fact| fact.key == key).unwrap_or_else(|| panic!("{key}")).text
}

#[test]
fn the_component_that_grew_is_named_first_with_its_figures() {
    let mut rig = Rig::new();
    let level = [(s::LEVEL, "cgroup")];
    rig.gauge(s::MEMORY_LIMIT, &level).set(1_000.0 * MIB);
    rig.gauge(s::MEMORY_BINDING, &level).set(1.0);
    rig.gauge(s::MEMORY_TIME_TO_LIMIT, &level).set(90.0);
    let usage = rig.gauge(s::MEMORY_USAGE, &level);
    let process = rig.gauge(s::PROCESS_MEMORY_USAGE, &[]);
    let store = rig.gauge(s::COMPONENT_MEMORY_USAGE, &[(s::COMPONENT_NAME, "config-store")]);
    let cache = rig.gauge(s::COMPONENT_MEMORY_USAGE, &[(s::COMPONENT_NAME, "cache")]);
    cache.set(400.0 * MIB);
    rig.gauge(s::COMPONENT_REQUESTS, &[(s::COMPONENT_NAME, "config-store")]).set(5_000.0);
    for second in 0..=60 {
        store.set((50.0 + 5.0 * second as f64) * MIB);
        process.set((500.0 + 5.0 * second as f64) * MIB);
        usage.set((510.0 + 5.0 * second as f64) * MIB);
        rig.tick(second);
    }
    let evidence = rig.evidence("highwater.memory.utilization > 0.8", &level).unwrap();
    assert_eq!(fact(&evidence, "memory.usage"), "810MiB of 1000MiB in use at cgroup (81%)");
    assert_eq!(
        fact(&evidence, "memory.time_to_limit"),
        "the limit is reached in 1m 30s at this rate"
    );
    assert_eq!(fact(&evidence, "memory.growth"), "this process grew by 300MiB in 1m 0s");
    let held: Vec<_> = evidence.facts.iter().filter(|f| f.key == "memory.component").collect();
    assert_eq!(held[0].of, "cache");
    assert_eq!(
        held[1].text,
        "config-store holds 350MiB (44% of this process), 300MiB more than 1m 0s ago"
    );
    let likeliest = evidence.likeliest().unwrap();
    assert_eq!(
        likeliest.text,
        "config-store grew by 300MiB in 1m 0s, 100% of what this process gained: the state of 5000 requests in flight, 71.68kiB each"
    );
    assert_eq!(likeliest.weight, 1.0);
    assert!(evidence.causes.iter().any(|cause| cause.text.starts_with("cache holds 50%")));
}

#[test]
fn what_no_component_holds_is_said() {
    let mut rig = Rig::new();
    let process = rig.gauge(s::PROCESS_MEMORY_USAGE, &[]);
    rig.gauge(s::COMPONENT_MEMORY_USAGE, &[(s::COMPONENT_NAME, "cache")]).set(MIB);
    for second in 0..30 {
        process.set((100.0 + second as f64) * MIB);
        rig.tick(second);
    }
    let evidence = rig.evidence("process.memory.usage > 1", &[]).unwrap();
    let likeliest = &evidence.likeliest().unwrap().text;
    assert!(likeliest.starts_with("no component accounts for 100% of the 29MiB"), "{likeliest}");
}

#[test]
fn a_slow_query_is_set_beside_its_own_past() {
    let mut rig = Rig::new();
    let query = rig.query("orders_by_user");
    let pool = [(s::DB_CLIENT_CONNECTION_POOL_NAME, "main")];
    let wait = rig.registry.histogram(
        s::DB_CLIENT_CONNECTION_WAIT_TIME,
        Measure::Time,
        &Labels::new(pool),
    );
    rig.gauge(s::DB_CLIENT_CONNECTION_PENDING_REQUESTS, &pool).set(12.0);
    for second in 0..1_000 {
        let slow = second >= 900;
        (0..10).for_each(|_| record(&query, if slow { 80 } else { 10 }));
        record(&wait, if slow { 400 } else { 1 });
        rig.tick(second);
    }
    let labels = [(s::DB_QUERY_SUMMARY, "orders_by_user")];
    let evidence = rig.evidence("histogram_quantile(0.99, …) > 0.05", &labels).unwrap();
    let p99 = fact(&evidence, "query.p99");
    assert!(p99.starts_with("99% took up to 8") && p99.contains("times the"), "{p99}");
    assert!(p99.ends_with("of the hour before"), "{p99}");
    assert!(fact(&evidence, "query.errors").starts_with("0 of them failed"));
    let likeliest = &evidence.likeliest().unwrap().text;
    assert!(likeliest.contains("for a connection of main (12 wait now)"), "{likeliest}");
    assert!(evidence.causes.iter().any(|c| c.text.starts_with("every call is slower")));
}

#[test]
fn a_pool_says_who_holds_it() {
    let mut rig = Rig::new();
    let pool = s::DB_CLIENT_CONNECTION_POOL_NAME;
    let count = |state| {
        let labels = [(pool, "main"), (s::DB_CLIENT_CONNECTION_STATE, state)];
        rig.gauge(s::DB_CLIENT_CONNECTION_COUNT, &labels)
    };
    count("used").set(10.0);
    count("idle").set(0.0);
    rig.gauge(s::DB_CLIENT_CONNECTION_MAX, &[(pool, "main")]).set(10.0);
    rig.gauge(s::DB_CLIENT_CONNECTION_PENDING_REQUESTS, &[(pool, "main")]).set(7.0);
    rig.gauge(s::QUERY_IN_FLIGHT, &[(s::DB_QUERY_SUMMARY, "report")]).set(9.0);
    rig.gauge(s::QUERY_IN_FLIGHT, &[(s::DB_QUERY_SUMMARY, "login")]).set(1.0);
    for second in 0..5 {
        rig.tick(second);
    }
    let evidence = rig.evidence("avg_over_time(…) > 0.9", &[(pool, "main")]).unwrap();
    assert_eq!(fact(&evidence, "pool.used"), "10 of 10 connections of main are in use");
    assert_eq!(fact(&evidence, "pool.pending"), "7 callers wait for one");
    assert_eq!(fact(&evidence, "query.in_flight"), "9 calls of report are under way");
    let causes: Vec<_> = evidence.causes.iter().map(|cause| &*cause.text).collect();
    assert!(causes[0].starts_with("report has 9 of the 10 calls"), "{causes:?}");
    assert!(causes[1].contains("none came back in the last minute"), "{causes:?}");
}

#[test]
fn ten_thousand_components_make_no_longer_evidence() {
    let mut rig = Rig::new();
    for number in 0..900 {
        let name = format!("{number}{}", "x".repeat(10_000));
        rig.gauge(s::COMPONENT_MEMORY_USAGE, &[(s::COMPONENT_NAME, &name)]).set(MIB);
    }
    rig.gauge(s::PROCESS_MEMORY_USAGE, &[]).set(1_000.0 * MIB);
    rig.tick(0);
    let evidence = rig.evidence("highwater.memory.utilization > 0.8", &[]).unwrap();
    let size: usize = evidence.facts.iter().map(|fact| fact.text.len()).sum();
    assert!(size < 4_096, "{size} bytes");
    assert!(evidence.causes.len() <= Evidence::MOST_CAUSES);
}

#[test]
fn an_end_needs_no_evidence() {
    let rig = Rig::new();
    let mut over = Transition::clone(&transition("Over"));
    over.to = State::Inactive;
    assert!(rig.scribe.with(|history| gather(&over, history)).flatten().is_none());
}

#[test]
fn the_newest_heap_profile_is_named() {
    let mut rig = Rig::new();
    let profile = |path: &str| rig.gauge(s::ALLOCATOR_PROFILE_TIME, &[(s::FILE_PATH, path)]);
    let (old, new) = (profile("/heap/heap-0.heap"), profile("/heap/heap-1.heap"));
    // The rig's wall clock stands at 1970.
    old.set(-100.0);
    rig.tick(1);
    let evidence = rig.evidence("highwater.memory.utilization > 0.85", &[]).unwrap();
    assert_eq!(fact(&evidence, "memory.profile"), "a heap profile of this is in /heap/heap-0.heap");
    new.set(-50.0);
    rig.tick(2);
    let evidence = rig.evidence("highwater.memory.utilization > 0.85", &[]).unwrap();
    assert_eq!(fact(&evidence, "memory.profile"), "a heap profile of this is in /heap/heap-1.heap");
    old.set(-7_200.0);
    new.set(-3_700.0);
    rig.tick(3);
    let evidence = rig.evidence("highwater.memory.utilization > 0.85", &[]);
    assert!(evidence.is_none_or(|it| it.facts.iter().all(|fact| fact.key != "memory.profile")));
}
