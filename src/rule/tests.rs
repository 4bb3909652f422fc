//! Whole rules, tick by tick: a registry that is written to, a collector, an evaluator, and time
//! that is counted, not read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, SystemTime};

use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::{
    clock::Moment,
    event::{ResolveReason, Severity, State, Transition},
    instrument::{Histogram, Measure},
    name::Labels,
    registry::{Collector, Registry},
    semconv,
    sync::Arc,
};

mod memory_presets;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One instance without threads.
struct World {
    registry: Arc<Registry>,
    collector: Collector,
    rules: Evaluator,
    tick: Duration,
    now: Duration,
    steps: Vec<Arc<Transition>>,
}

fn moment(mono: Duration) -> Moment {
    Moment { mono, wall: SystemTime::UNIX_EPOCH + secs(1_000_000) + mono }
}

impl World {
    fn new<const N: usize>(tick: Duration, rules: [Rule; N]) -> Self {
        Self::of(tick, rules.into())
    }

    fn of(tick: Duration, rules: Vec<Rule>) -> Self {
        let registry = Arc::new(Registry::new(2000));
        let collector = Collector::new(registry.clone(), moment(Duration::ZERO));
        let rules = Evaluator::new(rules, tick).unwrap();
        Self { registry, collector, rules, tick, now: Duration::ZERO, steps: Vec::new() }
    }

    fn set<const N: usize>(&self, name: &str, labels: [(&str, &str); N], value: f64) {
        self.registry.gauge(name, &Labels::new(labels)).set(value);
    }

    fn query(&self, name: &str, error: &str) -> Histogram {
        let labels = [(semconv::DB_QUERY_SUMMARY, name), (semconv::ERROR_TYPE, error)];
        let name = semconv::DB_CLIENT_OPERATION_DURATION;
        self.registry.histogram(name, Measure::Time, &Labels::new(labels))
    }

    fn step(&mut self) {
        self.collector.collect(moment(self.now));
        self.rules.observe(&self.collector);
        self.rules.evaluate(moment(self.now), &mut self.steps);
        self.now += self.tick;
    }

    /// The state of the only alert there is, or of the rule.
    fn state(&self) -> State {
        let mut all = self.rules.status();
        let first = all.next().unwrap();
        assert!(all.next().is_none(), "there are more");
        first.state
    }

    /// Steps once for each of the values; one letter for the state at each.
    fn run(&mut self, name: &str, values: &[f64]) -> String {
        values
            .iter()
            .map(|value| {
                let gauge = self.registry.gauge(name, &Labels::empty());
                if value.is_nan() {
                    gauge.clear()
                } else {
                    gauge.set(*value)
                }
                self.step();
                letter(self.state())
            })
            .collect()
    }

    fn transitions(&mut self) -> Vec<(State, State, Option<ResolveReason>)> {
        self.steps.drain(..).map(|step| (step.from, step.to, step.resolved)).collect()
    }
}

fn letter(state: State) -> char {
    match state {
        State::Inactive => 'i',
        State::NoData => 'n',
        State::Error => 'e',
        State::Pending => 'p',
        State::Firing => 'F',
    }
}

const GAP: f64 = f64::NAN;

#[test]
fn a_threshold_with_a_hold_and_hysteresis() {
    let rule = alert("Hot").when(gauge("t").above(10.0).clear_below(5.0)).hold_for(secs(2));
    let mut world = World::new(secs(1), [rule]);
    // On its way it must stay above the threshold, or a blip would fire; then it clears below 5.
    let states = world.run("t", &[11.0, 6.0, 11.0, 11.0, 11.0, 5.0, 5.0, 4.9, 6.0, 10.0, 10.1]);
    assert_eq!(states, "pippFFFiiip");
    assert_eq!(
        world.transitions(),
        [
            (State::Inactive, State::Pending, None),
            (State::Pending, State::Inactive, None),
            (State::Inactive, State::Pending, None),
            (State::Pending, State::Firing, None),
            (State::Firing, State::Inactive, Some(ResolveReason::Cleared)),
            (State::Inactive, State::Pending, None),
        ]
    );
}

#[test]
fn a_missing_sample_is_not_false() {
    let rule = alert("Hot").when(gauge("t").above(10.0)).no_data_grace(secs(3));
    let mut world = World::new(secs(1), [rule]);
    let states = world.run("t", &[GAP, 11.0, GAP, 12.0, GAP, GAP, GAP, GAP, GAP, 11.0]);
    assert_eq!(states, "nFnFnnnnnF");
    let reasons: Vec<_> = world.transitions().into_iter().filter_map(|t| t.2).collect();
    assert_eq!(reasons, [ResolveReason::NoData]);
}

#[test]
fn a_rule_without_series_has_no_data_and_says_nothing() {
    let mut world = World::new(secs(1), [alert("Hot").when(gauge("t").above(10.0))]);
    world.step();
    assert_eq!(world.state(), State::NoData);
    assert!(world.steps.is_empty());
}

#[test]
fn each_label_set_is_an_alert_of_its_own() {
    let rule = alert("Deep")
        .when(gauge("depth").above(10.0))
        .label("team", "{{ labels.queue }}-crew")
        .severity(Severity::Critical)
        .summary("{{ value }} wait in {{ labels.queue }}");
    let mut world = World::new(secs(1), [rule]);
    world.set("depth", [("queue", "a")], 20.0);
    world.step();
    world.set("depth", [("queue", "b")], 5.0);
    world.step();
    world.set("depth", [("queue", "b")], 25.0);
    world.step();
    let seen: Vec<_> =
        world.steps.iter().map(|t| (t.labels.to_string(), t.summary.clone())).collect();
    let labels = |q: &str| {
        format!("{{alertname=\"Deep\", queue=\"{q}\", severity=\"critical\", team=\"{q}-crew\"}}")
    };
    assert_eq!(
        seen,
        [(labels("a"), "20 wait in a".to_owned()), (labels("b"), "25 wait in b".to_owned())]
    );
}

#[test]
fn value_threshold_and_level_are_known_while_all_is_well() {
    let mut world = World::new(secs(1), [alert("Hot").when(gauge("t").above(10.0))]);
    world.run("t", &[2.5]);
    let status = world.rules.status().next().unwrap();
    assert_eq!((status.value, status.threshold, status.level), (Some(2.5), Some(10.0), 0.25));
}

#[test]
fn a_counter_is_judged_by_its_rate() {
    let rule = alert("Busy").when(counter("n").rate(secs(4)).above(1.5));
    let mut world = World::new(secs(1), [rule]);
    let counter = world.registry.counter("n", &Labels::empty());
    counter.increment(1_000_000); // a baseline, no burst
    let mut states = String::new();
    for more in [0, 1, 1, 2, 2, 2, 0, 0, 0] {
        counter.increment(more);
        world.step();
        states.push(letter(world.state()));
    }
    // Over (t-4, t] four samples lie three seconds apart; extrapolation makes it per second.
    assert_eq!(states, "niiiFFiii");
}

#[test]
fn a_query_is_judged_over_all_its_series() {
    let rule = alert("Slow")
        .when(query("q").quantile(0.5).over(secs(10)).above(Duration::from_millis(250)));
    let mut world = World::new(secs(1), [rule]);
    world.step();
    for _ in 0..10 {
        world.query("q", "").record(0.1);
    }
    world.query("other", "").record(9.0);
    world.step();
    assert_eq!(world.state(), State::Inactive);
    for _ in 0..30 {
        world.query("q", "timeout").record(1.0);
    }
    world.step();
    assert_eq!(world.state(), State::Firing);
    let value = world.rules.status().next().unwrap().value.unwrap();
    assert!((0.97..1.03).contains(&value), "{value}");
    // Ten seconds later nothing is in the window any more: that is no all-clear.
    for _ in 0..10 {
        world.step();
    }
    assert_eq!(world.state(), State::NoData);
}

#[test]
fn the_error_share_leaves_cancelled_calls_out() {
    let rule = alert("Failing").when(queries().error_share(secs(10)).above(0.2));
    let mut world = World::new(secs(1), [rule]);
    let (good, cancelled) = (world.query("q", ""), world.query("q", "cancelled"));
    world.step();
    for _ in 0..50 {
        good.record(0.1);
        cancelled.record(0.1);
    }
    world.step();
    assert_eq!(world.state(), State::Inactive);
    assert_eq!(world.rules.status().next().unwrap().value, Some(0.0));
    // A series born with these failures: they count, its first reading is no baseline.
    let bad = world.query("q", "timeout");
    for _ in 0..100 {
        bad.record(0.1);
    }
    world.step();
    // Extrapolated to the window's border like everything else, which a newborn feels most.
    let share = world.rules.status().next().unwrap().value.unwrap();
    assert!((0.5..0.56).contains(&share), "{share}");
    assert_eq!(world.state(), State::Firing);
}

#[test]
fn too_few_samples_are_no_data() {
    let minute = secs(60);
    let rule = alert("Slow").when(
        query("q")
            .quantile(0.9)
            .over(minute)
            .provided(query("q").count(minute), 3.0)
            .above(Duration::from_millis(1)),
    );
    let mut world = World::new(secs(1), [rule]);
    world.step();
    let calls = world.query("q", "");
    calls.record(1.0);
    world.step();
    assert_eq!(world.state(), State::NoData);
    calls.record(1.0);
    calls.record(1.0);
    world.step();
    assert_eq!(world.state(), State::Firing);
}

#[test]
fn a_condition_to_raise_is_not_asked_again() {
    let rule =
        alert("Both").when(all([gauge("a").above(1.0), gauge("b").above(1.0).on([]).to_raise()]));
    let mut world = World::new(secs(1), [rule]);
    let mut states = String::new();
    for (a, b) in [(2.0, 0.0), (2.0, 2.0), (2.0, 0.0), (0.0, 2.0), (2.0, 0.0)] {
        world.set("a", [("x", "y")], a);
        world.set("b", [], b);
        world.step();
        states.push(letter(world.state()));
    }
    assert_eq!(states, "iFFii");
}

#[test]
fn warm_up_sees_no_data() {
    let rule = alert("Hot").when(gauge("t").above(10.0)).warm_up(secs(3));
    let mut world = World::new(secs(1), [rule]);
    assert_eq!(world.run("t", &[11.0; 5]), "nnnFF");
}

#[test]
fn a_suspended_machine_freezes_the_hold_and_empties_the_windows() {
    let hot = alert("Hot").when(gauge("t").above(10.0)).hold_for(secs(5));
    let mut world = World::new(secs(1), [hot]);
    assert_eq!(world.run("t", &[11.0; 3]), "ppp");
    world.now += secs(3600);
    world.rules.discontinuity(moment(world.now));
    assert_eq!(world.run("t", &[11.0; 3]), "ppF");

    let busy = alert("Busy").when(counter("n").increase(secs(10)).above(10.0));
    let mut world = World::new(secs(1), [busy]);
    let counter = world.registry.counter("n", &Labels::empty());
    world.step();
    world.step();
    counter.increment(1000);
    world.now += secs(3600);
    world.rules.discontinuity(moment(world.now));
    world.step();
    world.step();
    assert_eq!(world.state(), State::Inactive);
}

#[test]
fn two_samples_of_one_alert_fail_the_evaluation_and_change_nothing() {
    let rule = alert("Hot").when(gauge("t").above(10.0)).label("pool", "same");
    let mut world = World::new(secs(1), [rule]);
    world.set("t", [("pool", "a")], 11.0);
    world.step();
    assert_eq!(world.state(), State::Firing);
    world.set("t", [("pool", "b")], 12.0);
    world.step();
    assert_eq!(world.state(), State::Firing);
    assert_eq!(world.rules.errors().count(), 1);
    assert_eq!(world.rules.stats().failures, 1);
    world.set("t", [("pool", "b")], 1.0);
    world.set("t", [("pool", "a")], 1.0);
    world.step();
    assert_eq!((world.state(), world.rules.errors().count()), (State::Inactive, 0));
}

#[test]
fn a_duration_against_bytes_is_an_error_once_the_metric_is_known() {
    let rule = alert("Odd").when(gauge("size").above(secs(1)));
    let mut world = World::new(secs(1), [rule]);
    world.registry.describe("size", crate::name::Unit::BYTES, "");
    world.set("size", [], 2.0);
    world.step();
    assert_eq!(world.state(), State::Error);
    let (_, error) = world.rules.errors().next().unwrap();
    assert!(error.contains("\"s\"") && error.contains("\"By\""), "{error}");
}

#[test]
fn shutdown_resolves() {
    let mut world = World::new(secs(1), [alert("Hot").when(gauge("t").above(10.0))]);
    world.run("t", &[11.0]);
    world.transitions();
    let at = moment(world.now);
    world.rules.resolve_all(at, ResolveReason::Shutdown, &mut world.steps);
    let wanted = (State::Firing, State::Inactive, Some(ResolveReason::Shutdown));
    assert_eq!(world.transitions(), [wanted]);
}

#[test]
fn all_mistakes_are_told_together() {
    let minute = secs(60);
    let rules = vec![
        alert(" ").when(gauge("a").above(1.0)),
        alert("None"),
        alert("Twice").when(gauge("a").above(1.0)).label("x", "1"),
        alert("Twice").when(gauge("b").above(1.0)).label("x", "1"),
        alert("Nan").when(gauge("a").above(f64::NAN)),
        alert("Side").when(gauge("a").above(1.0).clear_below(2.0)),
        alert("Direction").when(gauge("a").below(1.0).clear_below(0.5)),
        alert("Window").when(counter("a").rate(Duration::ZERO).above(1.0)),
        alert("Quantile").when(query("q").quantile(99.0).over(minute).above(1.0)),
        alert("Unit").when(query("q").quantile(0.9).over(minute).above(bytes(1))),
        alert("Times").when(gauge("a").above(1.0)).times(3, 2),
        alert("Pattern").when(gauge("a").label_matches("x", "(").above(1.0)),
        alert("Label").when(gauge("a").above(1.0)).label("alertname", "x"),
        alert("Text").when(gauge("a").above(1.0)).summary("{{ valu }}"),
        alert("Metric").when(gauge("").above(1.0)),
        alert("Empty").when(any([])),
        alert("Nobody").when(gauge("a").above(1.0)).inhibited_by("Noone"),
        alert("Self").when(gauge("a").above(1.0)).inhibited_by("Self"),
        alert("Round").when(gauge("a").above(1.0)).inhibited_by("About"),
        alert("About").when(gauge("a").above(1.0)).inhibited_by("Round"),
        alert("Long").when(counter("a").rate(secs(86_400 * 8)).above(1.0)),
    ];
    let count = rules.len() - 1; // the two of one identity are one mistake
    let errors = Evaluator::new(rules, secs(1)).unwrap_err();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), count, "{texts:#?}");
    assert_eq!(texts[4], "rule \"Side\": the clear threshold 2 must be at most the threshold 1");
    assert_eq!(texts[7], "rule \"Quantile\": the quantile 99 is not within 0..=1");
}

#[test]
fn windows_over_the_budget_are_refused_at_load_with_what_each_rule_needs() {
    let day = secs(86_400);
    let rules = || {
        vec![
            alert("Short").when(counter("a").rate(secs(60)).above(1.0)),
            alert("Long").when(query("q").quantile(0.9).over(day).above(1.0)),
            alert("Shared").when(counter("a").rate(secs(60)).above(2.0)),
        ]
    };
    let needed = 677 * 64 + 62 * 8;
    assert!(Evaluator::with_budget(rules(), secs(1), needed).is_ok());
    let errors = Evaluator::with_budget(rules(), secs(1), needed - 1).unwrap_err();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts[..2],
        [
            "rule \"Long\": its windows take at least 43328 bytes, those of all rules 43824; allowed are 43823",
            "rule \"Short\": its windows take at least 496 bytes, those of all rules 43824; allowed are 43823",
        ]
    );
}

#[test]
fn what_is_born_over_the_budget_is_an_error_of_its_rule() {
    let rule = alert("Busy").when(counter("n").rate(secs(60)).above(1e9));
    let mut world = World::new(secs(1), [rule.clone()]);
    world.rules = Evaluator::with_budget(vec![rule], secs(1), 600).unwrap();
    world.registry.counter("n", &Labels::new([("a", "1")])).increment(1);
    world.step();
    assert_eq!(world.rules.errors().count(), 0);
    world.registry.counter("n", &Labels::new([("a", "2")])).increment(1);
    world.step();
    let (_, error) = world.rules.errors().next().unwrap();
    assert_eq!(error, "the windows of all rules would take 992 bytes, allowed are 600");
}

#[test]
fn a_long_window_holds_what_a_short_one_does_and_loses_nothing() {
    let hour = secs(3_600);
    let rules = [
        alert("Count").when(counter("n").increase(hour).above(1e9)),
        alert("P50").when(query("q").quantile(0.5).over(hour).above(1e9)),
        alert("Calls").when(query("q").count(hour).above(1e9)),
        alert("Peak").when(promql("max_over_time(t[1h]) > 1e9")),
        alert("Least").when(promql("min_over_time(t[1h]) > 1e9")),
        alert("Mean").when(promql("avg_over_time(t[1h]) > 1e9")),
        alert("Samples").when(promql("count_over_time(t[1h]) > 1e9")),
        alert("Sum").when(promql("sum_over_time(t[1h]) > 1e9")),
    ];
    let mut world = World::new(secs(1), rules);
    let counter = world.registry.counter("n", &Labels::empty());
    let calls = world.query("q", "");
    for second in 0..9_000_u32 {
        counter.increment(2);
        calls.record(if second < 5_000 { 0.1 } else { 1.0 });
        // A peak and a trough of one tick each, none of which is sampled.
        let value = match second {
            7_001 => 100.0,
            7_002 => -100.0,
            _ => 10.0,
        };
        world.set("t", [], value);
        world.step();
    }
    let values: Vec<_> = world.rules.status().map(|status| status.value.unwrap()).collect();
    // The hour's borders are off by at most four ticks of four seconds.
    let near = |found: f64, wanted: f64| {
        assert!((found / wanted - 1.0).abs() < 2.0 / 450.0, "{found} for {wanted}");
    };
    near(values[0], 7_200.0);
    assert!((0.97..1.03).contains(&values[1]), "{}", values[1]);
    near(values[2], 3_600.0);
    assert_eq!(values[3..5], [100.0, -100.0]);
    near(values[5], 10.0);
    near(values[6], 3_600.0);
    near(values[7], 36_000.0);
    let bytes = world.rules.stats().window_bytes;
    assert!(bytes < 100_000, "{bytes}");
}

#[test]
fn an_operator_adjusts() {
    let rule = alert("Hot")
        .when(gauge("t").above(10.0).clear_below(5.0))
        .severity(Severity::Critical)
        .adjust(&Adjust {
            threshold: Some(20.0),
            severity_cap: Some(Severity::Warning),
            ..Adjust::default()
        });
    let mut world = World::new(secs(1), [rule]);
    assert_eq!(world.run("t", &[15.0, 21.0, 11.0, 9.0]), "iFFi");
    assert_eq!(world.steps[0].rule.severity, Severity::Warning);
    let off = alert("Off").adjust(&Adjust { enabled: Some(false), ..Adjust::default() });
    assert!(World::new(secs(1), [off]).rules.status().next().is_none());
}

#[test]
fn the_presets_load_and_stay_silent_on_a_quiet_service() {
    for tick in [Duration::from_millis(100), secs(1), secs(60)] {
        let mut world = World::of(tick, preset::all(tick));
        world.set(semconv::MEMORY_UTILIZATION, [(semconv::LEVEL, "host")], 0.97);
        world.set(semconv::PROCESS_MEMORY_UTILIZATION, [], 0.1);
        world.set(semconv::PROCESS_UNIX_FILE_DESCRIPTOR_UTILIZATION, [], 0.2);
        let calls = world.query("q", "");
        for _ in 0..200 {
            calls.record(0.01);
            world.step();
        }
        assert!(world.steps.is_empty(), "{:?}", world.steps);
        assert_eq!(world.rules.errors().count(), 0);
    }
}

#[test]
fn the_memory_presets_fire_when_the_host_is_ours() {
    let mut world = World::of(secs(1), preset::all(secs(1)));
    world.set(semconv::PROCESS_MEMORY_UTILIZATION, [], 0.5);
    for second in 0..200 {
        let ratio = if second < 100 { 0.5 } else { 0.97 };
        world.set(semconv::MEMORY_UTILIZATION, [(semconv::LEVEL, "host")], ratio);
        world.step();
    }
    let fired: Vec<_> = world
        .steps
        .iter()
        .filter(|t| t.to == State::Firing)
        .map(|t| (t.rule.name.to_string(), t.at.duration_since(moment(secs(100)).wall).unwrap()))
        .collect();
    assert_eq!(
        fired,
        [("MemoryCritical".to_owned(), secs(5)), ("MemoryNearLimit".to_owned(), secs(60))]
    );
    assert!(world.steps[0].summary.starts_with("97% of the memory"), "{}", world.steps[0].summary);
}

#[test]
fn the_error_preset_needs_calls_and_failures() {
    let run = |calls: u32, failures: u32| {
        let mut world = World::of(secs(1), preset::all(secs(1)));
        let (good, bad) = (world.query("q", ""), world.query("q", "timeout"));
        for second in 0..300 {
            for call in 0..calls {
                if second >= 150 && call < failures { bad.record(0.1) } else { good.record(0.1) }
            }
            world.step();
        }
        let firing = |t: &&Arc<Transition>| t.to == State::Firing;
        world.steps.iter().filter(firing).map(|t| t.rule.severity).collect::<Vec<_>>()
    };
    assert_eq!(run(10, 0), []);
    assert_eq!(run(10, 2), [Severity::Warning]);
    assert_eq!(
        run(1, 1).len(),
        1,
        "only the warning: half of five minutes' calls are not more than half"
    );
    assert_eq!(run(0, 0), []);
}

/// What a pool's sampler and its callers would have recorded in each of these seconds.
fn pool_world(seconds: u64, each: impl Fn(&World, u64)) -> Vec<(String, u64, State)> {
    let mut world = World::of(secs(1), preset::all(secs(1)));
    for second in 0..seconds {
        each(&world, second);
        world.step();
    }
    let at = |t: &Transition| t.at.duration_since(moment(Duration::ZERO).wall).unwrap().as_secs();
    let told = |state| matches!(state, State::Firing | State::Inactive);
    let steps = world.steps.iter().filter(|t| told(t.to) && t.from != State::NoData);
    steps.map(|t| (t.rule.name.to_string(), at(t), t.to)).collect()
}

#[test]
fn the_pool_preset_fires_on_waiters_and_long_waits_and_clears_without_waiters() {
    let labels = [(semconv::DB_CLIENT_CONNECTION_POOL_NAME, "main")];
    let run = |waiters: fn(u64) -> bool, wait: f64, timeout: f64| {
        pool_world(500, |world, second| {
            let name = semconv::DB_CLIENT_CONNECTION_WAIT_TIME;
            let waits = world.registry.histogram(name, Measure::Value, &Labels::new(labels));
            let waited_for = waiters(second);
            world.set(semconv::POOL_WAITED_FOR, labels, f64::from(waited_for));
            world.set(semconv::POOL_ACQUIRE_TIMEOUT, labels, timeout);
            // Used equals max all the time: that alone says nothing.
            waits.record(if waited_for { wait } else { 0.0001 });
        })
    };
    let busy = |second| (100..300).contains(&second);
    let fired = run(busy, 0.2, 30.0);
    let names: Vec<_> = fired.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["PoolSaturated", "PoolSaturated"], "{fired:?}");
    // A window of which nine tenths are waited through, and a minute's hold.
    assert!((210..=220).contains(&fired[0].1), "{fired:?}");
    assert!((415..=425).contains(&fired[1].1), "two minutes without waiters: {fired:?}");
    assert_eq!(run(busy, 0.01, 30.0), [], "short waits");
    assert_eq!(run(busy, 0.02, 0.1).len(), 2, "a fifth of the time-out");
    assert_eq!(run(|second| second % 3 == 0, 0.2, 30.0), [], "bursts");
    assert_eq!(run(|_| false, 0.2, 30.0), []);
}

#[test]
fn the_pool_preset_fires_on_a_pool_of_which_nothing_comes_back() {
    let labels = [(semconv::DB_CLIENT_CONNECTION_POOL_NAME, "main")];
    let run = |leaks: bool| {
        pool_world(400, |world, second| {
            let name = semconv::DB_CLIENT_CONNECTION_WAIT_TIME;
            let waits = world.registry.histogram(name, Measure::Value, &Labels::new(labels));
            // All connections leaked: who waits does so for ever, and no time-out ends it.
            let leaked = leaks && second >= 100;
            world.set(semconv::POOL_WAITED_FOR, labels, f64::from(second >= 100));
            if !leaked {
                waits.record(0.0001);
            }
        })
    };
    let fired = run(true);
    assert_eq!(fired.len(), 1, "{fired:?}");
    assert_eq!((fired[0].0.as_str(), fired[0].2), ("PoolSaturated", State::Firing));
    assert!((210..=225).contains(&fired[0].1), "{fired:?}");
    assert_eq!(run(false), [], "waited for, and got at once");
}

#[test]
fn the_pool_preset_fires_on_timeouts_that_are_many_and_a_share() {
    let labels = Labels::new([(semconv::DB_CLIENT_CONNECTION_POOL_NAME, "main")]);
    let run = |got: u64, gone: u64| {
        pool_world(600, |world, second| {
            let timeouts = world.registry.counter(semconv::DB_CLIENT_CONNECTION_TIMEOUTS, &labels);
            let name = semconv::DB_CLIENT_CONNECTION_WAIT_TIME;
            let waits = world.registry.histogram(name, Measure::Value, &labels);
            (0..got).for_each(|_| waits.record(0.001));
            if (100..200).contains(&second) && second % 5 == 0 {
                timeouts.increment(gone);
            }
        })
    };
    for got in [0, 10] {
        let fired = run(got, 1);
        assert_eq!(fired.len(), 2, "{fired:?}");
        assert!((115..=130).contains(&fired[0].1), "{fired:?}");
        assert!((490..=505).contains(&fired[1].1), "none for five minutes: {fired:?}");
    }
    assert_eq!(run(500, 1), [], "less than one in a hundred");
    assert_eq!(run(10, 0), []);
}

#[test]
fn the_baseline_preset_tells_slower_from_busier() {
    let run = |usual: u32, later: u32, took: f64| {
        let mut world = World::of(secs(1), preset::all(secs(1)));
        let calls = world.query("q", "");
        for second in 0..4_000 {
            let (count, took) = if second < 2_400 { (usual, 0.04) } else { (later, took) };
            for _ in 0..count {
                calls.record(took);
            }
            world.step();
        }
        let firing = |t: &&Arc<Transition>| t.to == State::Firing;
        let fired = world.steps.iter().filter(firing);
        fired.map(|t| (t.rule.name.to_string(), t.summary.clone())).collect::<Vec<_>>()
    };
    assert_eq!(run(2, 20, 0.04), [], "more calls are no slower ones");
    assert_eq!(run(2, 2, 0.085), [], "twice as slow, but by less than 50 ms");
    let fired = run(2, 2, 0.2);
    assert_eq!(fired.len(), 1, "{fired:?}");
    assert_eq!(fired[0].0, "QuerySlowerThanBaseline");
    assert!(fired[0].1.ends_with("times what it took the hour before"), "{fired:?}");
    // In the half hour before there is a baseline, nothing is judged.
    let mut world = World::of(secs(1), preset::all(secs(1)));
    let calls = world.query("q", "");
    for second in 0..1_500 {
        for _ in 0..2 {
            calls.record(if second < 600 { 0.04 } else { 0.4 });
        }
        world.step();
    }
    assert!(world.steps.is_empty(), "{:?}", world.steps);
}

#[test]
fn the_thread_preset_fires_before_no_thread_can_be_started() {
    let mut world = World::of(secs(1), preset::all(secs(1)));
    let mut fired = 0;
    for second in 0..400 {
        // Up and down to 79% is a pool at work.
        let share = if second < 200 { 0.6 + 0.19 * f64::from(second % 2) } else { 0.81 };
        world.set(semconv::TASK_UTILIZATION, [], share);
        world.step();
        fired = world.steps.iter().filter(|t| t.to == State::Firing).count();
        assert!(second >= 260 || fired == 0, "{second}");
    }
    assert_eq!(fired, 1);
    assert_eq!(&*world.steps.last().unwrap().rule.name, "ThreadExplosion");
}

#[test]
fn the_concurrency_preset_is_off_until_asked_for() {
    let on = Adjust { enabled: Some(true), ..Adjust::default() };
    let run = |switched: bool, throughput: u32| {
        let mut rules = preset::all(secs(1));
        if switched {
            let on = |rule: Rule| match rule.name() {
                "TooManyConcurrentQueries" => rule.adjust(&on),
                _ => rule,
            };
            rules = rules.into_iter().map(on).collect();
        }
        let mut world = World::of(secs(1), rules);
        let calls = world.query("q", "");
        let labels =
            Labels::new([(semconv::DB_QUERY_SUMMARY, "q"), (semconv::DB_SYSTEM_NAME, "x")]);
        let in_flight = world.registry.up_down_counter(semconv::QUERY_IN_FLIGHT, &labels);
        in_flight.add(4);
        for second in 0..800 {
            let jammed = second >= 600;
            if second == 600 {
                in_flight.add(36);
            }
            let (count, took) = if jammed { (throughput, 0.1) } else { (10, 0.01) };
            for _ in 0..count {
                calls.record(took);
            }
            world.step();
        }
        let firing = |t: &&Arc<Transition>| {
            t.to == State::Firing && &*t.rule.name == "TooManyConcurrentQueries"
        };
        world.steps.iter().filter(firing).count()
    };
    assert_eq!(run(false, 10), 0);
    assert_eq!(run(true, 10), 1);
    assert_eq!(run(true, 100), 0, "ten times the throughput is what concurrency is for");
    let mut world = World::new(secs(1), [preset::concurrency_cap(8)]);
    let labels = Labels::new([(semconv::DB_QUERY_SUMMARY, "q")]);
    world.registry.up_down_counter(semconv::QUERY_IN_FLIGHT, &labels).add(9);
    for _ in 0..100 {
        world.step();
    }
    assert_eq!(world.state(), State::Firing);
}

#[test]
fn the_runtime_preset_tells_a_blocked_runtime_from_one_that_is_kept_off() {
    let run = |throttled: f64| {
        let mut world = World::of(secs(1), preset::all(secs(1)));
        let sum = |world: &World, name, value: f64| {
            world.registry.observed_counter(name, &Labels::empty()).set(value);
        };
        for second in 0..200_u32 {
            let stall = if (100..115).contains(&second) { f64::from(second - 99) } else { 0.001 };
            world.set(semconv::TOKIO_STALL, [(semconv::RUNTIME, "main")], stall);
            sum(&world, semconv::CPU_PERIODS, f64::from(second) * 10.0);
            sum(&world, semconv::CPU_THROTTLED_PERIODS, f64::from(second) * 10.0 * throttled);
            world.step();
        }
        let step = |t: &Arc<Transition>| {
            let at = t.at.duration_since(moment(Duration::ZERO).wall).unwrap().as_secs();
            let cause = t.labels.get("cause").unwrap_or_default().to_owned();
            (cause, t.rule.severity, at, t.to == State::Firing)
        };
        world.steps.iter().map(step).collect::<Vec<_>>()
    };
    let (warning, critical) = (Severity::Warning, Severity::Critical);
    let of = |cause: &str, severity, at, fires| (cause.to_owned(), severity, at, fires);
    let mut blocked = run(0.1);
    blocked.sort_by_key(|step| step.2);
    assert_eq!(
        blocked[..2],
        [of("blocked", warning, 101, true), of("blocked", critical, 110, true)]
    );
    assert!(
        blocked[2..].iter().all(|step| !step.3 && (119..=121).contains(&step.2)),
        "{blocked:?}"
    );
    let starved = run(0.6);
    assert_eq!(
        starved.iter().filter(|step| step.3).collect::<Vec<_>>(),
        [&of("cpu_starved", warning, 101, true)]
    );
}

#[test]
fn the_runtime_preset_sees_one_worker_that_is_held_up_though_the_heart_beats() {
    let mut world = World::of(secs(1), preset::all(secs(1)));
    for second in 0..200_u32 {
        let held_up = if (100..120).contains(&second) { f64::from(second - 99) } else { 0.001 };
        world.set(semconv::TOKIO_STALL, [(semconv::RUNTIME, "main")], 0.001);
        world.set(semconv::TOKIO_WORKER_STALL, [(semconv::RUNTIME, "main")], held_up);
        world.step();
    }
    let told: Vec<_> = world
        .steps
        .iter()
        .map(|t| {
            let at = t.at.duration_since(moment(Duration::ZERO).wall).unwrap().as_secs();
            (t.labels.get("cause").unwrap_or_default(), t.rule.severity, at, t.to)
        })
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], ("worker_blocked", Severity::Warning, 110, State::Firing));
    assert_eq!((told[1].0, told[1].3), ("worker_blocked", State::Inactive));
}

#[test]
fn expressions_print_as_promql() {
    let text = |condition: Condition| {
        let rules = alert("x").when(condition).compile(secs(1)).unwrap();
        rules.info.expression.clone()
    };
    assert_eq!(text(gauge("a_b").label("x", "\"").above(0.5)), r#"a_b{x="\""} > 0.5"#);
    assert_eq!(
        text(query("q").quantile(0.99).over(secs(90)).above(secs(1))),
        r#"histogram_quantile(0.99, sum by ("db.query.summary") (rate({"db.client.operation.duration", "db.query.summary"="q"}[1m30s]))) > 1"#
    );
    assert_eq!(
        text(all([
            (gauge("a") / (gauge("b") + gauge("c"))).below(-1.0),
            gauge("d").above(1e-9).on(["x.y"]),
        ])),
        r#"a / (b + c) < -1 and on ("x.y") d > 1e-9"#
    );
}

#[test]
fn promql_finds_series_by_the_servers_names() {
    let rules = [
        alert("Usage").when(promql("process_memory_usage_bytes > 10")),
        alert("Dotted").when(promql(r#"{"process.memory.usage"} > 10"#)),
        alert("Calls").when(promql(
            "sum by (db_query_summary) (increase(db_client_operation_duration_seconds_count[5s])) > 2",
        )),
        alert("Quick").when(promql(
            r#"sum(rate(db_client_operation_duration_seconds_bucket{le="0.25"}[5s])) > 0"#,
        )),
        alert("P50").when(promql(
            "histogram_quantile(0.5, sum by (le) (rate(db_client_operation_duration_seconds_bucket[5s]))) > 0.05",
        )),
    ];
    let mut world = World::new(secs(1), rules);
    world.registry.describe("process.memory.usage", crate::name::Unit::BYTES, "");
    world.set("process.memory.usage", [], 11.0);
    world.step();
    let calls = world.query("q", "");
    for _ in 0..10 {
        calls.record(0.1);
    }
    world.step();
    let firing: Vec<_> = world.rules.status().filter(|s| s.state == State::Firing).collect();
    let names: Vec<_> = firing.iter().map(|status| &*status.rule.name).collect();
    assert_eq!(names, ["Usage", "Dotted", "Calls", "Quick", "P50"]);
    assert_eq!(firing[2].labels.get("db_query_summary"), Some("q"));
}

#[test]
fn promql_that_cannot_be_judged_is_a_mistake() {
    for (text, wanted) in [
        (
            "x offset -5m > 1",
            "rule \"A\": \"x offset -5m > 1\": a negative offset is not supported: it looks into the future at 1:10",
        ),
        (
            r#"rate(x_bucket{le="0.3"}[5m]) > 1"#,
            "rule \"A\": le=\"0.3\" cuts a bucket: declare it with `bounds`, or take +Inf, 0 or a power of 2^(1/32), of which are 0.25, 0.5, 1, 2",
        ),
        (
            "rate(x_bucket[5m]) > 1",
            "rule \"A\": \"x_bucket\" must be selected by le=\"…\" unless it is within histogram_quantile",
        ),
    ] {
        let errors = Evaluator::new(vec![alert("A").when(promql(text))], secs(1)).unwrap_err();
        assert_eq!(errors[0].to_string(), wanted);
    }
}

#[test]
fn growth_is_against_a_baseline_that_trouble_does_not_change() {
    let minute = secs(60);
    let rule = alert("Slower")
        .when(gauge("t").mean_over(secs(10)).growth_over(minute).above(2.0).clear_below(1.5));
    let mut world = World::new(secs(1), [rule]);
    let steady = world.run("t", &[10.0; 80]);
    // No baseline before the first ten seconds are over.
    assert_eq!(steady, "n".repeat(10) + &"i".repeat(70));
    // Three times as much, for longer than the baseline's own minute: it is not forgotten.
    let states = world.run("t", &[30.0; 200]);
    assert!(states.starts_with("iiiiiF"), "{states}");
    assert_eq!(states.matches("Fi").count(), 0, "{states}");
    // A series that appears meanwhile binds the rule anew, which forgets nothing either.
    world.set("t", [("new", "one")], 1.0);
    world.step();
    let firing = |world: &World| world.rules.status().filter(|s| s.state == State::Firing).count();
    assert_eq!(firing(&world), 1);
    for _ in 0..20 {
        world.step();
    }
    assert_eq!(firing(&world), 1);
    world.set("t", [], 10.0);
    for _ in 0..20 {
        world.step();
    }
    assert_eq!(firing(&world), 0);
    let text = world.rules.status().next().unwrap().rule.expression.clone();
    assert_eq!(text, "avg_over_time(t[10s]) / avg_over_time(t[1m] offset 10s) > 2");
}

#[test]
fn a_young_baseline_is_of_the_time_that_was_seen() {
    let hour = secs(3_600);
    let rules = [
        alert("Rate").when(counter("n").rate(secs(10)).growth_over(hour).above(1e9)),
        alert("Count").when(query("q").count(secs(10)).growth_over(hour).above(1e9)),
        alert("Share").when(query("q").error_share(secs(10)).growth_over(hour).above(1e9)),
    ];
    let mut world = World::new(secs(1), rules);
    let counter = world.registry.counter("n", &Labels::empty());
    let (good, bad) = (world.query("q", ""), world.query("q", "timeout"));
    for _ in 0..200 {
        counter.increment(5);
        good.record(0.1);
        bad.record(0.1);
        world.step();
    }
    for status in world.rules.status() {
        assert!(
            (status.value.unwrap() - 1.0).abs() < 0.02,
            "{} {:?}",
            status.rule.name,
            status.value
        );
    }
}

#[test]
fn the_share_of_slow_calls_is_exact_at_a_bound() {
    let rules = [
        alert("Exact")
            .when(query("q").share_slower_than(Duration::from_millis(250), secs(10)).above(0.3)),
        alert("Near")
            .when(query("q").share_slower_than(Duration::from_millis(251), secs(10)).above(0.3)),
    ];
    let mut world = World::new(secs(1), rules);
    let calls = world.query("q", "");
    world.step();
    for at in 1..=100 {
        // 25 at the bound itself are not slower than it, 50 just above.
        calls.record(if at <= 25 {
            0.1
        } else if at <= 50 {
            0.25
        } else {
            0.2505
        });
    }
    world.step();
    let values: Vec<_> = world.rules.status().map(|status| status.value.unwrap()).collect();
    assert!((values[0] - 0.5).abs() < 1e-12, "{values:?}");
    // The cut bucket is divided on a logarithmic scale: 0.251 lies at 18.5% of it.
    assert!((values[1] - 0.5 * 0.815).abs() < 0.01, "{values:?}");
    assert_eq!(world.rules.status().next().unwrap().state, State::Firing);
}

#[test]
fn an_objective_burns_over_both_windows() {
    let objective = || query("q").succeeding(0.9);
    let rules = [
        alert("Page").when(objective().burning(secs(60), secs(5), 5.0)),
        alert("Workbook").when(objective().page()),
        alert("Ticket").when(objective().ticket()),
    ];
    let mut world = World::new(secs(1), rules);
    let (good, bad) = (world.query("q", ""), world.query("q", "timeout"));
    let mut states = String::new();
    for second in 0..120 {
        let failing = (60..90).contains(&second);
        (if failing { &bad } else { &good }).record(0.1);
        world.step();
        states.push(letter(world.rules.status().next().unwrap().state));
    }
    // Half of a minute's calls must fail, and half of the last five seconds'.
    assert_eq!(&states[..89], "n".to_owned() + &"i".repeat(88));
    assert!(states[89..].starts_with('F') || states[90..].starts_with('F'), "{states}");
    assert!(states.ends_with("iiiiiiiiiiiiiiiiiiiiiiii"), "{states}");
    let text = |at: usize| world.rules.status().nth(at).unwrap().rule.expression.clone();
    assert!(text(0).contains("/ 0.1 > 5 and "), "{}", text(0));
    for part in ["[1h]", "[5m]", "> 14.4", "[6h]", "[30m]", "> 6"] {
        assert!(text(1).contains(part), "{part} {}", text(1));
    }
    for part in ["[1d]", "[2h]", "> 3", "[3d]", "[6h]", "> 1"] {
        assert!(text(2).contains(part), "{part} {}", text(2));
    }
}

#[test]
fn absence_holds_until_there_is_something() {
    let rule = alert("Unseen").when(gauge("t").label("queue", "a").absent()).hold_for(secs(2));
    let mut world = World::new(secs(1), [rule]);
    let mut states = String::new();
    for second in 0..8 {
        if second == 4 {
            world.set("t", [("queue", "a")], 0.0);
        }
        if second == 6 {
            world.registry.gauge("t", &Labels::new([("queue", "a")])).clear();
        }
        world.step();
        states.push(letter(world.state()));
    }
    assert_eq!(states, "ppFFiipp");
    assert_eq!(world.rules.status().next().unwrap().labels.get("queue"), Some("a"));
}

#[test]
fn a_forecast_follows_the_line() {
    let rule = alert("Full").when(gauge("free").forecast(secs(60), secs(30)).below(0.0));
    let mut world = World::new(secs(1), [rule]);
    world.registry.describe("free", crate::name::Unit::BYTES, "");
    let falling: Vec<f64> = (0..60).map(|at| 100.0 - f64::from(at)).collect();
    let states = world.run("free", &falling);
    // 60 s ahead it is at zero when 60 are left.
    assert_eq!(states, "n".to_owned() + &"i".repeat(40) + &"F".repeat(19));
    assert_eq!(world.rules.status().next().unwrap().rule.unit, crate::name::Unit::BYTES);
}

#[test]
fn mistakes_of_kinds_are_told() {
    let minute = secs(60);
    let p90 = || query("q").quantile(0.9).over(minute);
    let errors = |condition| {
        let rule = alert("A").when(condition);
        Evaluator::new(vec![rule], secs(1)).map(|_| String::new()).unwrap_or_else(|errors| {
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })
    };
    assert_eq!(errors((p90() - p90().baseline(minute)).above(minute)), "");
    assert_eq!(
        errors((p90() - query("q").count(minute)).above(1.0)),
        "rule \"A\": seconds - a number have no meaning together"
    );
    assert_eq!(
        errors((p90() - p90().baseline(minute)).above(bytes(5))),
        "rule \"A\": the threshold is in bytes, the value in seconds"
    );
    assert!(errors(query("q").succeeding(1.0).page()).starts_with("rule \"A\": the goal 1 is not"));
    assert!(
        errors(query("q").faster_than(Duration::ZERO, 0.9).page())
            .contains("the limit of 0 seconds")
    );
    assert_eq!(
        errors((gauge("a") / gauge("b")).max_over(minute).above(1.0)),
        "rule \"A\": `max_over` is of a gauge, not of \"a / b\""
    );
}

proptest! {
    #[test]
    fn hysteresis_never_flaps_within_its_band(values in proptest::collection::vec(0.0..10.0_f64, 1..100)) {
        let rule = alert("Hot").when(gauge("t").above(7.0).clear_below(3.0));
        let mut world = World::new(secs(1), [rule]);
        let mut before = 'i';
        for value in values {
            let state = world.run("t", &[value]).chars().next().unwrap();
            if (3.0..=7.0).contains(&value) {
                prop_assert_eq!(state, before);
            } else {
                prop_assert_eq!(state, if value > 7.0 { 'F' } else { 'i' });
            }
            before = state;
        }
    }

    #[test]
    fn it_never_fires_without_having_held_and_never_clears_within_its_band(
        values in proptest::collection::vec(proptest::prop_oneof![
            4 => 0.0..10.0_f64, 1 => proptest::strategy::Just(GAP),
        ], 1..120),
        hold in 0_u64..6,
        keep in 0_u64..6,
    ) {
        let rule = alert("Hot")
            .when(gauge("t").above(7.0).clear_below(3.0))
            .hold_for(secs(hold))
            .keep_firing_for(secs(keep));
        let mut world = World::new(secs(1), [rule]);
        let states = world.run("t", &values).into_bytes();
        for (at, state) in states.iter().enumerate() {
            let began = *state == b'F' && (at == 0 || !b"Fn".contains(&states[at - 1]));
            if began {
                let held = &values[at.saturating_sub(hold as usize)..=at];
                prop_assert!(at as u64 >= hold && held.iter().all(|value| *value > 7.0), "{at}: {held:?}");
            }
            if *state == b'i' && at > 0 && states[at - 1] == b'F' {
                prop_assert!(values[at] < 3.0, "{at}: {}", values[at]);
            }
        }
        // Told again from nothing but data and time, it is the same.
        let again = alert("Hot")
            .when(gauge("t").above(7.0).clear_below(3.0))
            .hold_for(secs(hold))
            .keep_firing_for(secs(keep));
        let mut again = World::new(secs(1), [again]);
        prop_assert_eq!(again.run("t", &values).into_bytes(), states);
        prop_assert_eq!(again.steps, world.steps);
    }

    #[test]
    fn evaluation_is_a_function_of_data_and_time(values in proptest::collection::vec((0_u64..5, 0.0..3.0_f64), 1..60)) {
        let run = || {
            let mut world = World::new(secs(1), [
                alert("Rate").when(counter("n").rate(secs(5)).above(2.0)).hold_for(secs(2)),
                alert("P90").when(query("q").quantile(0.9).over(secs(5)).above(2.0)),
            ]);
            let (n, q) = (world.registry.counter("n", &Labels::empty()), world.query("q", ""));
            for (more, value) in &values {
                n.increment(*more);
                q.record(*value);
                world.step();
            }
            world.steps
        };
        prop_assert_eq!(run(), run());
    }
}

#[test]
fn an_offset_without_end_is_a_mistake_and_no_panic() {
    for condition in [
        gauge("x").ago(Duration::MAX).above(1.0),
        (gauge("x").ago(Duration::MAX) - gauge("x").max_over(Duration::MAX)).above(1.0),
        counter("x").rate(secs(60)).ago(Duration::MAX).baseline(secs(600)).above(1.0),
        promql("rate(x[1h] offset 1.8446744073709549e19) > 1"),
        promql("x offset 1.8446744073709549e19 > 1"),
    ] {
        let wrong = Evaluator::new(vec![alert("A").when(condition)], secs(1)).unwrap_err();
        let wrong: String = wrong.iter().map(ToString::to_string).collect();
        assert!(wrong.contains("the offset"), "{wrong}");
    }
}

#[test]
fn a_rule_of_a_file_ends_with_the_value_it_last_had() {
    let mut rule = alert("A").when(promql("t > 5")).summary("{{ $value }}");
    rule.strict = true;
    let mut world = World::new(secs(1), [rule]);
    assert_eq!(world.run("t", &[9.0, 1.0]), "Fi");
    assert_eq!((world.steps[1].value, &*world.steps[1].summary), (Some(9.0), "9"));
}

#[test]
fn over_its_limit_a_rule_of_a_file_has_no_alerts_and_one_of_ours_keeps_them() {
    for strict in [false, true] {
        let mut rule = alert("A").when(promql("t > 5")).limit(1).keep_firing_for(secs(5));
        rule.strict = strict;
        let mut world = World::new(secs(1), [rule]);
        world.set("t", [("k", "a")], 9.0);
        world.step();
        world.set("t", [("k", "b")], 9.0);
        world.step();
        assert_eq!(world.rules.fires("A"), !strict);
        let ends = strict.then_some((State::Firing, State::Inactive, Some(ResolveReason::Limit)));
        assert_eq!(world.transitions().get(1).copied(), ends);
    }
}

#[cfg(feature = "rule-files")]
#[test]
fn other_rules_take_over_the_windows_they_share_and_the_rest_is_let_go() {
    let minute = secs(60);
    let shared = || {
        [
            alert("Busy").when(counter("n").increase(minute).at_least(1.0)),
            alert("Slow").when(query("q").quantile(0.5).over(minute).above(secs(1))),
        ]
    };
    let of_day = alert("Day").when(query("q").quantile(0.9).over(secs(86_400)).above(secs(9)));
    let many = shared().into_iter().chain([of_day]).collect();
    let mut world = World::of(secs(1), many);
    let (n, q) = (world.registry.counter("n", &Labels::empty()), world.query("q", ""));
    for _ in 0..30 {
        n.increment(1);
        q.record(2.0);
        world.step();
    }
    let values = |world: &World| -> Vec<_> {
        world.rules.status().take(2).map(|status| status.value).collect()
    };
    let (held, before) = (world.rules.stats().window_bytes, values(&world));
    let fewer = Evaluator::new(shared().into(), secs(1)).unwrap();
    world.rules.replace(fewer, moment(world.now), &mut world.steps);
    n.increment(1);
    q.record(2.0);
    world.step();
    let after = values(&world);
    assert!(after[0] > before[0], "the counter's window goes on: {before:?} {after:?}");
    assert!((after[1].unwrap() - before[1].unwrap()).abs() < 1e-9);
    assert!(world.rules.stats().window_bytes < held);
    // As if nothing had happened.
    let mut undisturbed = World::of(secs(1), shared().into());
    let (n, q) = (undisturbed.registry.counter("n", &Labels::empty()), undisturbed.query("q", ""));
    for _ in 0..31 {
        n.increment(1);
        q.record(2.0);
        undisturbed.step();
    }
    assert_eq!(values(&undisturbed), after);
}

#[cfg(feature = "rule-files")]
#[test]
fn a_rule_that_comes_late_sees_what_a_histogram_has_counted_since_it_began() {
    let mut world = World::new(secs(1), [alert("Other").when(gauge("o").above(1.0))]);
    let late = [
        promql("db_client_operation_duration_count > 0"),
        promql("db_client_operation_duration_bucket{le=\"1\"} > 0"),
        promql("db_client_operation_duration_sum > 0"),
        promql("histogram_count({\"db.client.operation.duration\"}) > 0"),
    ];
    let q = world.query("q", "");
    for _ in 0..5 {
        q.record(0.5);
        q.record(1.5);
        world.step();
    }
    let rule = |(at, condition)| alert(&format!("A{at}")).when(condition);
    let rules = late.into_iter().enumerate().map(rule).collect();
    world.rules.replace(
        Evaluator::new(rules, secs(1)).unwrap(),
        moment(world.now),
        &mut world.steps,
    );
    q.record(0.5);
    world.step();
    let values: Vec<_> = world.rules.status().filter_map(|status| status.value).collect();
    assert_eq!(values.len(), 4, "{values:?}");
    for (value, wanted) in values.into_iter().zip([11.0, 6.0, 10.5, 11.0]) {
        assert!((value - wanted).abs() < 1e-6, "{value} {wanted}");
    }
}

#[test]
fn a_declared_bound_is_exact_wherever_it_is_asked_for() {
    let minute = secs(60);
    let limit = Duration::from_millis(300);
    let name = semconv::DB_CLIENT_OPERATION_DURATION;
    let mut declared = Declared::default();
    declared.add(name, &[0.3]);
    let declared = Arc::new(declared);
    let conditions = [
        query("q").share_slower_than(limit, minute).at_least(0.0),
        promql("db_client_operation_duration_bucket{le=\"0.3\"} >= 0"),
        promql("{\"db.client.operation.duration_bucket\", le=\"0.3\"} >= 0"),
        promql(
            "1 - rate(db_client_operation_duration_seconds_bucket{le=\"0.3\"}[1m]) \
                / ignoring (le) rate(db_client_operation_duration_seconds_count[1m]) >= 0",
        ),
    ];
    let rule = |(at, condition)| {
        let mut rule = alert(&format!("A{at}")).when(condition);
        rule.bounds = declared.clone();
        rule
    };
    let mut world = World::of(secs(1), conditions.into_iter().enumerate().map(rule).collect());
    world.registry.bound(name, &[0.3]);
    let q = world.query("q", "");
    world.step();
    // All four lie within one bucket, (0.2973, 0.3037]; the others are clear of it.
    let values = [0.299, 0.3, 0.3001, 0.301, 0.01, 5.0];
    for _ in 0..10 {
        // More than a series may have and stay quiet: the busy way counts too.
        for _ in 0..300 {
            values.iter().for_each(|value| q.record(*value));
        }
        world.step();
    }
    let found: Vec<_> = world.rules.status().filter_map(|status| status.value).collect();
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(found[0], 0.5);
    assert_eq!((found[1], found[2]), (9_000.0, 9_000.0));
    assert!((found[3] - 0.5).abs() < 0.01, "{found:?}");
    // Without the declaration it is an estimate, and `le` is refused.
    let plain = alert("A").when(promql("db_client_operation_duration_bucket{le=\"0.3\"} > 0"));
    let wrong = Evaluator::new(vec![plain], secs(1)).unwrap_err()[0].to_string();
    assert!(wrong.contains("declare it with `bounds`"), "{wrong}");
}

#[test]
fn rules_of_files_see_the_labels_a_server_gives() {
    let conditions = ["sum by (job) (t{instance=\"a\"}) > 5", "t{job=\"other\"} > 5"];
    for strict in [true, false] {
        let rule = |(at, text): (usize, &&str)| {
            let mut rule = alert(&format!("A{at}")).when(promql(text));
            rule.strict = strict;
            rule
        };
        let mut world = World::of(secs(1), conditions.iter().enumerate().map(rule).collect());
        let identity = Labels::new([("job", "shop"), ("instance", "a")]);
        world.rules = world.rules.identified(identity);
        world.set("t", [("k", "a")], 9.0);
        world.step();
        let fired: Vec<_> = world.steps.iter().map(|step| step.labels.to_string()).collect();
        let wanted = if strict { vec![r#"{alertname="A0", job="shop"}"#] } else { vec![] };
        assert_eq!(fired, wanted);
    }
}

#[test]
fn a_histogram_wider_than_its_budget_is_let_go_and_told_of() {
    let rule = alert("A").when(histogram("h").quantile(0.5).over(secs(60)).above(1e300));
    let mut world = World::new(secs(1), []);
    world.rules = Evaluator::with_budget(vec![rule], secs(1), 40_000).unwrap();
    let h = world.registry.histogram("h", Measure::Value, &Labels::empty());
    let mut states = String::new();
    for tick in 0..60 {
        let buckets = if tick < 5 { 10 } else { 2_000 };
        (0..buckets).for_each(|bucket| h.record((f64::from(bucket) / 32.0).exp2()));
        world.step();
        states.push(letter(world.state()));
    }
    assert!(states.starts_with("niiii") && states.ends_with('e'), "{states}");
    assert!(world.rules.errors().next().unwrap().1.contains("budget"));
}

/// Of a long window only one tick in a power of two is a sample; what the others gain is in it.
#[cfg(feature = "rule-files")]
#[test]
fn a_histogram_that_was_let_go_and_comes_back_counts_every_tick() {
    let rule = || vec![alert("A").when(histogram("h").count(secs(3_000)).above(1e300))];
    let mut world = World::new(secs(1), []);
    world.rules = Evaluator::with_budget(rule(), secs(1), 60_000).unwrap();
    let h = world.registry.histogram("h", Measure::Value, &Labels::empty());
    for tick in 0..200 {
        let buckets = if tick < 5 { 10 } else { 2_000 };
        (0..buckets).for_each(|bucket| h.record((f64::from(bucket) / 32.0).exp2()));
        world.step();
    }
    assert_eq!(world.state(), State::Error);
    let more = Evaluator::with_budget(rule(), secs(1), 1 << 20).unwrap();
    world.rules.replace(more, moment(world.now), &mut world.steps);
    for _ in 0..41 {
        h.record(1.0);
        world.step();
    }
    // 36 to 40 of them, as far as there is a sample at either end, and up to a half interval more
    // at each, which is 4 s.
    let value = world.rules.status().next().unwrap().value.unwrap();
    assert!((36.0..=44.0).contains(&value), "{value}");
}

/// One who asks and one who adds up take the same range: the one bound first is not what the other
/// gets.
#[test]
fn a_quantile_and_a_sum_share_a_range() {
    let gained = "rate(h[1m])";
    let quantile = format!("histogram_quantile(0.5, {gained})");
    let sum = format!("histogram_count(sum({gained}))");
    let both = [format!("{quantile} + {sum} > -1"), format!("{sum} + {quantile} > -1")];
    let alone = [format!("{quantile} > -1"), format!("{sum} > -1")];
    let rule = |(at, text): (usize, &String)| alert(&format!("A{at}")).when(promql(text));
    let rules = alone.iter().chain(&both).enumerate().map(rule).collect();
    let mut world = World::of(secs(1), rules);
    let h = world.registry.histogram("h", Measure::Value, &Labels::empty());
    for _ in 0..10 {
        (1..9).for_each(|value| h.record(f64::from(value)));
        world.step();
    }
    let values: Vec<_> = world.rules.status().map(|status| status.value.unwrap()).collect();
    let [quantile, sum, ..] = values[..] else { panic!("{values:?}") };
    assert!(quantile > 3.0 && quantile < 6.0 && sum > 1.0, "{values:?}");
    assert!(values[2..].iter().all(|both| (both - quantile - sum).abs() < 1e-9), "{values:?}");
}
