//! Values against a real Prometheus: the same samples go to our evaluator and to `promtool test
//! rules`, which prints what it got; both are compared to 1e-9.
//!
//! `promtool` is looked for where the tests of the stack look (`tests/support/stack.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use super::{
    bind::Binder,
    index::Index,
    number::Scratch,
    plan::{Context, NodeId, Plan, Value},
    promql,
};
use crate::{
    clock::Moment,
    instrument::{Distribution, Measure},
    name::Labels,
    registry::{Collector, Reading, Registry},
    sync::Arc,
    window::Store,
};

const TICKS: u64 = 90;

/// Every construct the evaluator has, on windows that are full, half full, and with gaps.
const EXPRESSIONS: &[&str] = &[
    "g",
    "g{k=\"a\"}",
    "g{k!=\"a\"}",
    "g{k=~\"a|b\"}",
    "g{k!~\"a|b\"}",
    "{__name__=~\"g|o\"}",
    "g + 1",
    "1 - g",
    "g * g",
    "g / o",
    "g % 7",
    "g ^ 2",
    "-g",
    "g atan2 o",
    "2 ^ 3 ^ 2",
    "-2 ^ 2",
    "g > 5",
    "g > bool 5",
    "5 < g",
    "g == g",
    "g != g",
    "g >= o",
    "g <= bool o",
    "g < 3",
    "g and o",
    "g or o",
    "g unless o",
    "g > 5 or o > 5",
    "g and on (k) c",
    "g unless ignoring (z) w",
    "g * on (k) group_left (z) w",
    "w * on (k) group_right () g",
    "g + on (k) o",
    "w * ignoring (z) g",
    "sum(g)",
    "sum by (k) (c)",
    "sum without (k) (g)",
    "avg(g)",
    "min(g)",
    "max(g)",
    "count(g)",
    "group(g)",
    "stddev(g)",
    "stdvar(g)",
    "quantile(0.3, g)",
    "topk(2, g)",
    "bottomk(1, g)",
    "topk by (k) (1, g)",
    "sum(g > 5)",
    "count(g > 100)",
    "rate(c[10s])",
    "increase(c[7s])",
    "rate(c[2m])",
    "increase(c[3s])",
    "irate(c[10s])",
    "delta(g[10s])",
    "idelta(g[10s])",
    "deriv(g[20s])",
    "predict_linear(g[20s], 60)",
    "changes(g[20s])",
    "resets(c[1m])",
    "rate(c[10s] offset 5s)",
    "g offset 10s",
    "avg_over_time(g[10s])",
    "sum_over_time(g[10s])",
    "min_over_time(g[10s])",
    "max_over_time(g[10s])",
    "count_over_time(g[10s])",
    "last_over_time(g[10s])",
    "present_over_time(g[10s])",
    "stddev_over_time(g[10s])",
    "stdvar_over_time(g[10s])",
    "quantile_over_time(0.8, g[10s])",
    "absent(g)",
    "absent(none{a=\"b\", c!=\"d\"})",
    "absent_over_time(g[5s])",
    "absent_over_time(none{a=\"b\"}[5s])",
    "absent(g > 1000)",
    "abs(-g)",
    "ceil(g)",
    "floor(g)",
    "round(g)",
    "round(g, 0.1)",
    "clamp(g, 2, 5)",
    "clamp_min(g, 4)",
    "clamp_max(g, 4)",
    "sgn(g - 5)",
    "sqrt(g)",
    "exp(g)",
    "ln(g)",
    "log2(g)",
    "log10(g)",
    "time() * 0 + 1",
    "timestamp(g)",
    "vector(3)",
    "scalar(sum(g)) + 1",
    "scalar(g)",
    "histogram_quantile(0.9, rate(h[10s]))",
    "histogram_quantile(0.1, rate(h[10s]))",
    "histogram_quantile(0.5, sum(rate(h[10s])))",
    "histogram_quantile(1, rate(h[10s]))",
    "histogram_quantile(0, rate(h[10s]))",
    "histogram_quantile(1.1, rate(h[10s]))",
    "histogram_count(increase(h[10s]))",
    "histogram_sum(rate(h[10s]))",
    "histogram_avg(rate(h[10s]))",
    "histogram_fraction(0, 0.5, rate(h[10s]))",
    "histogram_fraction(0.2, 1.7, h)",
    "histogram_count(h)",
    "histogram_quantile(0.5, h)",
    "histogram_count(h * 2)",
    "histogram_count(sum(h))",
    "histogram_avg(avg(rate(h[20s])))",
    "histogram_quantile(0.9, rate(b[10s]))",
    "histogram_quantile(0.5, sum by (le) (b))",
    "count_over_time(h[10s])",
    "histogram_count(rate(h[10s] offset 7s))",
    "sum(rate(c[10s])) by (k) / sum(rate(c[20s])) by (k) > 0.5",
];

/// A small generator: the same numbers on every machine.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn promtool() -> Option<PathBuf> {
    let roots = match std::env::var_os("HIGHWATER_STACK").map(PathBuf::from) {
        Some(root) => vec![root.clone(), root.join("bin")],
        None => vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin")],
    };
    let found = roots.iter().map(|root| root.join("promtool")).find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("HIGHWATER_STACK_REQUIRED").is_none(),
            "promtool is required: run tests/stack/fetch.sh"
        );
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: values against Prometheus: there is no promtool; tests/stack/fetch.sh fetches it"
        );
    }
    found
}

type Sample = BTreeMap<String, f64>;

/// Labels as promtool prints them.
fn shown(name: Option<&str>, labels: &Labels) -> String {
    let name = name.map(|name| ("__name__", name));
    let pairs = name.into_iter().chain(labels.iter());
    let pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// Our side: every expression at every tick, and the samples in promtool's notation.
fn ours() -> (Vec<Vec<Sample>>, BTreeMap<String, String>) {
    let origin = SystemTime::UNIX_EPOCH;
    let moment = |tick: u64| {
        let mono = Duration::from_secs(tick);
        Moment { mono, wall: origin + mono }
    };
    let registry = Arc::new(Registry::new(1000));
    let mut collector = Collector::new(registry.clone(), moment(0));
    let (mut store, mut index) = (Store::new(Duration::from_secs(1), 1 << 30), Index::default());
    let mut numbers = Numbers(7);
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut before: BTreeMap<String, bool> = BTreeMap::new();
    let mut cumulative: BTreeMap<usize, Distribution> = BTreeMap::new();
    let mut results = Vec::new();
    let mut bound: Vec<(Plan, NodeId, Vec<String>)> = Vec::new();
    let counter = |name: &str, pairs: &[(&str, &str)]| {
        registry.observed_counter(name, &Labels::new(pairs.iter().copied()))
    };
    let gauge = |name: &str, pairs: &[(&str, &str)]| {
        registry.gauge(name, &Labels::new(pairs.iter().copied()))
    };
    let mut totals = [0.0_f64; 6];
    for tick in 0..TICKS {
        for (at, (name, key)) in
            [("g", "a"), ("g", "b"), ("g", "c"), ("o", "a"), ("o", "b")].into_iter().enumerate()
        {
            let gauge = gauge(name, &[("k", key)]);
            if numbers.below(8) == 0 && at != 0 {
                gauge.clear();
            } else if numbers.below(3) > 0 {
                gauge.set(numbers.below(1000) as f64 / 97.0);
            }
        }
        gauge("w", &[("k", "a"), ("z", "y")]).set(3.0);
        for (at, key) in ["a", "b", "d"].into_iter().enumerate() {
            let handle = counter("c", &[("k", key)]);
            totals[at] =
                if numbers.below(15) == 0 { 0.5 } else { totals[at] + numbers.below(9) as f64 };
            if numbers.below(10) == 0 { handle.clear() } else { handle.set(totals[at]) }
        }
        for (at, le) in ["0.1", "1", "+Inf"].into_iter().enumerate() {
            totals[3 + at] +=
                (0..=at).map(|_| numbers.below(2) as f64).sum::<f64>() + 2.0 * at as f64;
            counter("b", &[("le", le)]).set(totals[3 + at]);
        }
        for key in ["a", "b"] {
            let handle = registry.histogram("h", Measure::Value, &Labels::new([("k", key)]));
            handle.record(1.0);
            for _ in 0..numbers.below(5) {
                handle.record(numbers.below(400) as f64 / 100.0);
            }
        }
        collector.collect(moment(tick));
        let (series, frame) = (collector.series(), collector.frame());
        if !index.catch_up(series).is_empty() {
            bound = EXPRESSIONS
                .iter()
                .map(|text| {
                    let mut binder = Binder::new(&mut store, series, &index);
                    let expr = promql::parse(text).unwrap_or_else(|no| panic!("{text}: {no}"));
                    let node = binder.bind(&expr).unwrap();
                    let slots = binder.slots[node].iter();
                    let shown =
                        slots.map(|slot| shown(slot.name.as_deref(), &slot.labels)).collect();
                    (binder.plan, node, shown)
                })
                .collect();
        }
        store.push(frame);
        for (at, one) in series.iter().enumerate() {
            let name = shown(Some(&one.metric.name), &one.labels);
            let alive = before.entry(name.clone()).or_insert(false);
            let text = texts.entry(name).or_insert_with(|| "_ ".repeat(tick as usize));
            match frame.readings[at] {
                Reading::Absent | Reading::Unread => {
                    text.push_str(if *alive { "stale " } else { "_ " })
                }
                Reading::Value(value) => write!(text, "{value} ").unwrap(),
                Reading::Histogram(delta) => {
                    let all = cumulative.entry(at).or_default();
                    all.add(frame.delta(delta));
                    let buckets: Vec<_> = all.positive.counts.iter().map(u64::to_string).collect();
                    write!(
                        text,
                        "{{{{schema:5 count:{} sum:{} z_bucket:{} z_bucket_w:1e-128 offset:{} buckets:[{}]}}}} ",
                        all.count, all.sum, all.zero, all.positive.offset + 1, buckets.join(" ")
                    )
                    .unwrap();
                }
            }
            *alive = frame.readings[at] != Reading::Absent;
        }
        let mut scratch = Scratch::default();
        let row = bound.iter_mut().map(|(plan, node, shown)| {
            scratch.clear();
            let mut cx = Context { store: &store, wall: tick as f64, scratch: &mut scratch };
            plan.evaluate(&mut cx).unwrap();
            let values = plan.out(*node).iter().zip(shown);
            values
                .filter_map(|(value, shown)| match value {
                    Value::Float(value) => Some((shown.clone(), *value)),
                    _ => None,
                })
                .collect()
        });
        results.push(row.collect());
    }
    (results, texts)
}

const AT: [u64; 6] = [1, 4, 12, 33, 60, 89];

/// What promtool says it got, by expression and time; what is not there was empty.
fn theirs(tool: &Path, texts: &BTreeMap<String, String>) -> BTreeMap<(String, u64), Sample> {
    let mut yaml = "evaluation_interval: 1s\ntests:\n- interval: 1s\n  input_series:\n".to_owned();
    for (series, values) in texts {
        writeln!(yaml, "  - series: '{series}'\n    values: '{}'", values.trim()).unwrap();
    }
    yaml.push_str("  promql_expr_test:\n");
    for text in EXPRESSIONS {
        for at in AT {
            writeln!(
                yaml,
                "  - expr: '{text}'\n    eval_time: {at}s\n    exp_samples: [{{labels: never, value: 1}}]"
            )
            .unwrap();
        }
    }
    let file =
        std::env::temp_dir().join(format!("highwater-differential-{}.yml", std::process::id()));
    std::fs::write(&file, yaml).unwrap();
    let output = Command::new(tool).args(["test", "rules"]).arg(&file).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    let said =
        String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
    let mut found = BTreeMap::new();
    let mut asked: Option<(String, u64)> = None;
    for line in said.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("expr: ") {
            let (text, time) = rest.rsplit_once(", time: ").unwrap_or_else(|| panic!("{line}"));
            let text = text.trim_matches('"').replace("\\\"", "\"");
            let time =
                promql::duration(time.split(&[',', ' '][..]).next().unwrap().trim_end_matches(':'))
                    .unwrap_or_else(|| panic!("{line}"));
            assert!(!line.contains("err"), "promtool refuses {line}");
            asked = Some((text, time.as_secs()));
        } else if let Some(rest) = line.strip_prefix("got:") {
            found.insert(asked.take().unwrap(), samples(rest.trim()));
        }
    }
    assert_eq!(found.len(), EXPRESSIONS.len() * AT.len(), "{said}");
    found
}

/// `{labels} value, {labels} value`; no label value here holds a brace.
fn samples(said: &str) -> Sample {
    let mut samples = Sample::new();
    for one in said.split('{').skip(1) {
        let (labels, value) = one.split_once('}').unwrap_or_else(|| panic!("{said}"));
        let value =
            value.trim().trim_end_matches(',').replace("+Inf", "inf").replace("-Inf", "-inf");
        samples.insert(format!("{{{labels}}}"), value.parse().unwrap_or_else(|_| panic!("{said}")));
    }
    samples
}

fn same(ours: f64, theirs: f64) -> bool {
    let scale = ours.abs().max(theirs.abs());
    ours == theirs
        || (ours.is_nan() && theirs.is_nan())
        // Sums of what cancels keep no relative precision.
        || (ours - theirs).abs() <= 1e-9 * scale.max(1e-6)
}

#[test]
fn every_construct_yields_what_prometheus_yields() {
    let Some(tool) = promtool() else { return };
    let (ours, texts) = ours();
    let theirs = theirs(&tool, &texts);
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (number, text) in EXPRESSIONS.iter().enumerate() {
        for at in AT {
            let (ours, theirs) = (&ours[at as usize][number], &theirs[&((*text).to_owned(), at)]);
            let equal = ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(a, b)| a.0 == b.0 && same(*a.1, *b.1));
            compared += theirs.len();
            if !equal {
                wrong.push(format!("{text} at {at}s\n  ours:   {ours:?}\n  theirs: {theirs:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > EXPRESSIONS.len() * AT.len(), "hardly anything was compared: {compared}");
}
