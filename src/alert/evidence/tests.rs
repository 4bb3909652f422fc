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
const POOL: &str = s::DB_CLIENT_CONNECTION_POOL_NAME;

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
        self.scribe.read(|history| gather(&about, history))
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
    let name = [(s::COMPONENT_NAME, "config-store")];
    rig.gauge(s::COMPONENT_REQUESTS, &name).set(5_000.0);
    // Of the 350 MiB that it holds in the end 250 are requests'.
    rig.gauge(s::COMPONENT_MEMORY_PER_REQUEST, &name).set(250.0 * MIB / 5_000.0);
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
        "config-store grew by 300MiB in 1m 0s, 100% of what this process gained: of it the state of 5000 requests in flight, 51.2kiB each"
    );
    assert_eq!(likeliest.weight, 1.0);
    assert!(evidence.causes.iter().any(|cause| cause.text.starts_with("cache holds 50%")));
}

#[test]
fn without_a_trend_the_growth_of_the_moment_says_how_long() {
    let mut rig = Rig::new();
    rig.gauge(s::MEMORY_RUNWAY, &[]).set(42.0);
    rig.tick(0);
    let evidence = rig.evidence("highwater.memory.utilization > 0.8", &[]).unwrap();
    let said = "a limit is reached in 42s at the growth of this moment";
    assert_eq!(fact(&evidence, "memory.runway"), said);
    let level = [(s::LEVEL, "cgroup")];
    rig.gauge(s::MEMORY_BINDING, &level).set(1.0);
    rig.gauge(s::MEMORY_TIME_TO_LIMIT, &level).set(90.0);
    rig.tick(1);
    let evidence = rig.evidence("highwater.memory.utilization > 0.8", &level).unwrap();
    assert!(evidence.facts.iter().all(|fact| fact.key != "memory.runway"), "a trend says more");
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
    let pool = [(POOL, "main")];
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
    // It is waited for because the calls take longer, not the other way round.
    let likeliest = &evidence.likeliest().unwrap().text;
    assert!(likeliest.starts_with("the database is slow: every call is slower"), "{likeliest}");
    assert_eq!(fact(&evidence, "pool.pending"), "12 callers wait for one");
}

/// A pool of ten and the query that uses it, fifteen minutes as ever and then trouble.
struct Trouble {
    /// Milliseconds.
    query: u64,
    hold: u64,
    wait: u64,
    /// Of ten periods of a quota.
    throttled: u64,
    stall: f64,
}

const AS_EVER: Trouble = Trouble { query: 10, hold: 12, wait: 1, throttled: 0, stall: 0.0 };

fn in_trouble(trouble: &Trouble) -> Rig {
    let mut rig = Rig::new();
    let query = rig.query("orders");
    let pool = [(POOL, "main")];
    let of = |metric| rig.registry.histogram(metric, Measure::Time, &Labels::new(pool));
    let (wait, hold) =
        (of(s::DB_CLIENT_CONNECTION_WAIT_TIME), of(s::DB_CLIENT_CONNECTION_USE_TIME));
    let used = [(POOL, "main"), (s::DB_CLIENT_CONNECTION_STATE, "used")];
    rig.gauge(s::DB_CLIENT_CONNECTION_COUNT, &used).set(10.0);
    rig.gauge(s::DB_CLIENT_CONNECTION_MAX, &pool).set(10.0);
    rig.gauge(s::DB_CLIENT_CONNECTION_PENDING_REQUESTS, &pool).set(20.0);
    let flying = [(s::DB_QUERY_SUMMARY, "orders"), (POOL, "main")];
    rig.gauge(s::QUERY_IN_FLIGHT, &flying).set(9.0);
    let counter = |name| rig.registry.observed_counter(name, &Labels::empty());
    let (periods, throttled) = (counter(s::CPU_PERIODS), counter(s::CPU_THROTTLED_PERIODS));
    let stall = rig.gauge(s::TOKIO_STALL, &[(s::RUNTIME, "main")]);
    let mut so_far = (0, 0);
    for second in 0..1_000 {
        let is = if second >= 900 { trouble } else { &AS_EVER };
        for _ in 0..10 {
            record(&query, is.query);
            record(&hold, is.hold);
            record(&wait, is.wait);
        }
        so_far = (so_far.0 + 10, so_far.1 + is.throttled);
        periods.set(so_far.0 as f64);
        throttled.set(so_far.1 as f64);
        stall.set(is.stall);
        rig.tick(second);
    }
    rig
}

/// What is thought the likeliest of an alert about the pool, and of one about the query.
fn likeliest(trouble: &Trouble) -> [String; 2] {
    let rig = in_trouble(trouble);
    [(POOL, "main"), (s::DB_QUERY_SUMMARY, "orders")].map(|about| {
        let evidence = rig.evidence("x > 1", &[about]).unwrap();
        evidence.likeliest().map(|cause| cause.text.clone()).unwrap_or_default()
    })
}

#[test]
fn a_small_pool_a_slow_database_and_a_starved_process_are_told_apart() {
    for told in likeliest(&Trouble { wait: 200, ..AS_EVER }) {
        assert!(told.starts_with("the pool main is too small for the demand"), "{told}");
        assert!(told.contains("one of its 10 connections (20 wait now), 9"), "{told}");
        assert!(told.ends_with("(no longer than before)"), "{told}");
    }
    let [pool, query] = likeliest(&Trouble { query: 80, hold: 90, wait: 700, ..AS_EVER });
    assert!(pool.starts_with("the database is slow: calls on main take 8."), "{pool}");
    assert!(query.starts_with("the database is slow: every call is slower"), "{query}");
    for told in likeliest(&Trouble { query: 40, hold: 50, wait: 400, throttled: 6, ..AS_EVER }) {
        assert!(told.starts_with("the process is starved: its quota kept it"), "{told}");
        assert!(told.contains(" in 60% of the periods"), "{told}");
    }
    for told in likeliest(&Trouble { query: 40, hold: 50, wait: 400, stall: 1.5, ..AS_EVER }) {
        assert!(told.starts_with("the process is starved: the runtime main stood still"), "{told}");
    }
    // And none of them: calls take as long as ever, and yet connections are held.
    let [pool, _] = likeliest(&Trouble { hold: 400, wait: 900, ..AS_EVER });
    assert!(pool.contains("work is done while holding one"), "{pool}");
}

#[test]
fn the_share_of_waiting_is_told_with_what_it_rests_on() {
    let rig = in_trouble(&Trouble { wait: 48, ..AS_EVER });
    let evidence = rig.evidence("x > 1", &[(POOL, "main")]).unwrap();
    let share = evidence.facts.iter().find(|fact| fact.key == "pool.wait_share").unwrap();
    assert!((share.value - 0.8).abs() < 0.01, "{}", share.value);
    assert!(share.text.starts_with("callers of main spend 80%"), "{}", share.text);
}

#[test]
fn no_pool_is_blamed_for_what_another_ones_queries_do() {
    let mut rig = Rig::new();
    let mut series = Vec::new();
    for (query, pool, count, wait) in [("report", "reports", 9.0, 1), ("login", "main", 3.0, 500)] {
        let labels = [(s::DB_QUERY_SUMMARY, query), (POOL, pool)];
        rig.gauge(s::QUERY_IN_FLIGHT, &labels).set(count);
        let waits = rig.registry.histogram(
            s::DB_CLIENT_CONNECTION_WAIT_TIME,
            Measure::Time,
            &Labels::new([(POOL, pool)]),
        );
        series.extend([(waits, wait), (rig.query(query), 10)]);
    }
    // Nobody said where this one's connections are from.
    rig.gauge(s::QUERY_IN_FLIGHT, &[(s::DB_QUERY_SUMMARY, "unknown")]).set(50.0);
    series.push((rig.query("unknown"), 10));
    rig.tick(0);
    for (histogram, millis) in &series {
        (0..100).for_each(|_| record(histogram, *millis));
    }
    rig.tick(1);
    let told = |about| rig.evidence("x > 1", &[about]).unwrap();
    let main = told((POOL, "main"));
    assert_eq!(fact(&main, "query.in_flight"), "3 calls of login are under way");
    assert!(main.facts.iter().all(|fact| fact.of != "report" && fact.of != "unknown"));
    let blames =
        |evidence: &Evidence| evidence.causes.iter().any(|cause| cause.text.contains("too small"));
    assert!(blames(&told((s::DB_QUERY_SUMMARY, "login"))));
    assert!(!blames(&told((s::DB_QUERY_SUMMARY, "report"))));
    assert!(!blames(&told((s::DB_QUERY_SUMMARY, "unknown"))));
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
    assert!(rig.scribe.read(|history| gather(&over, history)).is_none());
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
