use std::time::SystemTime;

use super::*;
use crate::{
    clock,
    instrument::Measure,
    name::Labels,
    registry::{Collector, Registry},
    semconv as s,
};

fn at(second: u64) -> Moment {
    Moment { mono: Duration::from_secs(second), wall: SystemTime::UNIX_EPOCH }
}

/// A registry, and what is kept of it.
struct Rig {
    registry: Arc<Registry>,
    collector: Collector,
    history: History,
    seen: usize,
}

impl Rig {
    fn new() -> Self {
        let registry = Arc::new(Registry::new(1_000));
        let collector = Collector::new(registry.clone(), at(0));
        let history = History::new(Duration::from_secs(1), at(0));
        Self { registry, collector, history, seen: 0 }
    }

    fn tick(&mut self, second: u64) {
        self.collector.collect(at(second));
        let known = self.seen;
        for new in &self.collector.series()[known..] {
            self.history.meet(new);
        }
        self.seen = self.collector.series().len();
        self.history.observe(at(second), self.collector.frame());
    }
}

#[test]
fn columns_widen_and_then_the_oldest_go() {
    let mut rig = Rig::new();
    let usage = rig.registry.gauge(s::PROCESS_MEMORY_USAGE, &Labels::empty());
    let cpu = rig.registry.observed_counter(s::PROCESS_CPU_TIME, &Labels::empty());
    for second in 0..2_000 {
        usage.set(second as f64);
        cpu.set(second as f64 * 0.5);
        rig.tick(second);
        let columns = &rig.history.columns;
        assert!(columns.len() <= COLUMNS);
        let usage = &rig.history.lines[0];
        assert_eq!(f64::from(usage.at(columns.last())), second as f64, "the last is the present");
        // A column holds the greatest of its seconds: the one before the next begins.
        for column in 1..columns.len() {
            assert_eq!(f64::from(usage.at(column - 1)), columns.time(column) - 1.0);
        }
    }
    assert_eq!(rig.history.columns.width(), 4.0);
    let (usage, cpu) = (&rig.history.lines[0], &rig.history.lines[1]);
    assert_eq!(cpu.at(100), 2.0, "half a second a second, for four");
    assert_eq!(rig.history.rise(usage, 61.0).map(|(rise, time)| rise / time), Some(1.0));
}

#[test]
fn durations_are_where_they_were() {
    let mut rig = Rig::new();
    let labels = |error: &str| Labels::new([(s::DB_QUERY_SUMMARY, "q"), (s::ERROR_TYPE, error)]);
    let name = s::DB_CLIENT_OPERATION_DURATION;
    let good = rig.registry.histogram(name, Measure::Time, &labels(""));
    let bad = rig.registry.histogram(name, Measure::Time, &labels("timeout"));
    let cancelled = rig.registry.histogram(name, Measure::Time, &labels(s::ERROR_CANCELLED));
    let record = |histogram: &crate::instrument::Histogram, millis: u64| {
        let seconds = millis as f64 / 1e3;
        histogram.0.record_ticks((seconds / clock::seconds_per_tick()) as u64);
    };
    for second in 0..700 {
        (0..9).for_each(|_| record(&good, if second < 600 { 10 } else { 80 }));
        record(if second % 2 == 0 { &bad } else { &cancelled }, 300);
        rig.tick(second);
    }
    assert_eq!(rig.history.timings.len(), 1, "one query, three series");
    let timing = &rig.history.timings[0];
    let before = timing.before();
    assert_eq!(before.calls, 6_000);
    let within = |value: Option<f64>, exact: f64| {
        let value = value.unwrap();
        assert!((value / exact).log2().abs() <= 0.25, "{value}, not {exact}");
    };
    within(before.quantile(0.5), 0.010);
    within(before.quantile(0.99), 0.3);
    let last = rig.history.columns.last() / SPAN;
    let now = timing.sum(last - 4..last);
    within(now.quantile(0.5), 0.080);
    assert_eq!((now.calls, now.errors * 20), (now.errors * 20, now.calls), "half of a tenth");
    let all = timing.sum(0..COLUMNS);
    assert_eq!(all.calls, 7_000);
}

/// A timed call of a thinned query is recorded as the many it stands for, once.
#[test]
fn what_is_timed_one_in_n_is_weighted_once() {
    let mut rig = Rig::new();
    let labels = Labels::new([(s::TIMER_NAME, "t"), (s::TIMED_ONE_IN, "16")]);
    let timed = rig.registry.histogram(s::TIMER_DURATION, Measure::Time, &labels);
    let failed = labels.with(s::ERROR_TYPE, "timeout");
    let failed = rig.registry.histogram(s::TIMER_DURATION, Measure::Time, &failed);
    rig.tick(0);
    (0..10).for_each(|_| timed.0.record_many(16));
    failed.0.record_many(16);
    rig.tick(1);
    let all = rig.history.timings[0].sum(0..COLUMNS);
    assert_eq!((all.calls, all.errors), (176, 16));
}

#[test]
fn what_finds_no_room_is_counted() {
    let mut rig = Rig::new();
    for number in 0..70 {
        let labels = Labels::new([(s::TIMER_NAME, format!("t{number}"))]);
        rig.registry.histogram(s::TIMER_DURATION, Measure::Time, &labels);
    }
    rig.tick(0);
    assert_eq!((rig.history.timings.len(), rig.history.left_out), (64, 6));
}

#[test]
fn a_jump_of_the_clock_forgets() {
    let mut rig = Rig::new();
    let usage = rig.registry.gauge(s::PROCESS_MEMORY_USAGE, &Labels::empty());
    usage.set(1.0);
    (0..10).for_each(|second| rig.tick(second));
    rig.history.discontinuity();
    rig.tick(10_000);
    assert_eq!(rig.history.columns.len(), 1);
    assert!(rig.history.rise(&rig.history.lines[0], 60.0).is_none());
}

#[test]
fn a_reader_holds_up_neither_evidence_nor_what_happened() {
    let registry = Arc::new(Registry::new(10));
    let mut collector = Collector::new(registry, at(0));
    let shared = History::shared(Duration::from_secs(1), at(0));
    let mut scribe = Scribe::new(shared.clone());
    let reader = shared.read();
    scribe.note(&[crate::event::testing::transition("Held")]);
    assert!(reader.transitions.is_empty());
    assert_eq!(scribe.read(|history| history.transitions.len()), 0, "it can be read all the same");
    drop(reader);
    collector.collect(at(1));
    scribe.observe(at(1), collector.series(), collector.frame());
    let names: Vec<_> = shared.read().transitions.iter().map(|t| t.rule.name.clone()).collect();
    assert_eq!(names, [Arc::<str>::from("Held")]);
    assert_eq!(shared.read().firing.len(), 1);
}
