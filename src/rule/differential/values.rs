//! Values, to 1e-9: every construct by itself, then expressions and series that are made up.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{Answers, Numbers, Sample, ask, generate, promtool};
use crate::rule::{
    bind::Binder,
    index::Index,
    number::Scratch,
    plan::{Context, NodeId, Plan, Value},
    promql,
};
use crate::{
    clock::Moment,
    instrument::{Distribution, Measure, upper_bound},
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
    "timestamp(g offset 10s)",
    "timestamp(g + 1)",
    "timestamp(sum by (k) (c))",
    "timestamp(rate(c[10s]))",
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
    // Views of ours; there they are series of their own.
    "h_count",
    "h_sum",
    "h_bucket{le=\"1\"}",
    "h_count offset 5s",
    "rate(h_count[10s])",
    "increase(h_sum[7s])",
    "rate(h_bucket{le=\"0.5\"}[10s]) / ignoring (le) rate(h_count[10s])",
    "sum by (k) (h_bucket{le=\"0.5\", k=\"a\"})",
    "changes(h_count[20s])",
    "sum(rate(c[10s])) by (k) / sum(rate(c[20s])) by (k) > 0.5",
];

/// Labels as promtool prints them.
fn shown(name: Option<&str>, labels: &Labels) -> String {
    let name = name.map(|name| ("__name__", name));
    let pairs = name.into_iter().chain(labels.iter());
    let pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// What a histogram's classic series hold.
fn views(all: &Distribution) -> [(&'static str, Option<&'static str>, f64); 4] {
    let up_to = |bound: f64| {
        let positive = all.positive.iter().filter(|(index, _)| upper_bound(*index) <= bound);
        let below = all.negative.iter().chain(positive).map(|(_, count)| count).sum::<u64>();
        (below + all.zero) as f64
    };
    [
        ("h_count", None, all.count as f64),
        ("h_sum", None, all.sum),
        ("h_bucket", Some("0.5"), up_to(0.5)),
        ("h_bucket", Some("1"), up_to(1.0)),
    ]
}

/// Our side: every expression at every tick, or that it failed, and the samples in promtool's
/// notation.
type Ours = (Vec<Vec<Result<Sample, ()>>>, BTreeMap<String, String>);

fn ours(expressions: &[String], seed: u64, ticks: u64) -> Ours {
    let origin = SystemTime::UNIX_EPOCH;
    let moment = |tick: u64| {
        let mono = Duration::from_secs(tick);
        Moment { mono, wall: origin + mono }
    };
    let registry = Arc::new(Registry::new(1000));
    let mut collector = Collector::new(registry.clone(), moment(0));
    let (mut store, mut index) = (Store::new(Duration::from_secs(1), 1 << 30), Index::default());
    let mut numbers = Numbers(seed);
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
    let none = Labels::empty();
    let mut totals = [0.0_f64; 6];
    for tick in 0..ticks {
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
        // One of zeros and what is above, one of both sides; coarsely, as promtool refuses windows of
        // too many buckets.
        for (key, step, lowest) in [("a", 0.01, 0.0), ("b", 0.25, -1.0)] {
            let handle = registry.histogram("h", Measure::Value, &Labels::new([("k", key)]));
            handle.record(1.0);
            for _ in 0..numbers.below(5) {
                handle.record(numbers.below((4.0 / step) as u64) as f64 * step + lowest);
            }
        }
        collector.collect(moment(tick));
        let (series, frame) = (collector.series(), collector.frame());
        if !index.catch_up(series).is_empty() {
            bound = expressions
                .iter()
                .map(|text| {
                    let mut binder = Binder::new(&mut store, series, &index, &none);
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
                    let buckets = |counts: &[u64]| {
                        counts.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
                    };
                    write!(
                        text,
                        "{{{{schema:5 count:{} sum:{} z_bucket:{} z_bucket_w:1e-128 ",
                        all.count, all.sum, all.zero
                    )
                    .unwrap();
                    let Distribution { positive, negative, .. } = &*all;
                    if !negative.counts.is_empty() {
                        let counts = buckets(&negative.counts);
                        write!(text, "n_offset:{} n_buckets:[{counts}] ", negative.offset + 1)
                            .unwrap();
                    }
                    let counts = buckets(&positive.counts);
                    write!(text, "offset:{} buckets:[{counts}]}}}} ", positive.offset + 1).unwrap();
                }
            }
            *alive = frame.readings[at] != Reading::Absent;
            if &*one.metric.name == "h"
                && let Some(all) = cumulative.get(&at)
            {
                for (name, le, value) in views(all) {
                    let labels = le.map_or(one.labels.clone(), |le| one.labels.with("le", le));
                    let text = texts.entry(shown(Some(name), &labels));
                    let text = text.or_insert_with(|| "_ ".repeat(tick as usize));
                    write!(text, "{value} ").unwrap();
                }
            }
        }
        let mut scratch = Scratch::default();
        let row = bound.iter_mut().map(|(plan, node, shown)| {
            scratch.clear();
            let (scratch, found) = (&mut scratch, &mut Vec::new());
            let mut cx = Context { store: &store, wall: tick as f64, scratch, found };
            plan.evaluate(&mut cx).map_err(drop)?;
            let values = plan.out(*node).iter().zip(shown);
            Ok(values
                .filter_map(|(value, shown)| match value {
                    Value::Float(value) => Some((shown.clone(), *value)),
                    _ => None,
                })
                .collect())
        });
        results.push(row.collect());
    }
    (results, texts)
}

const AT: &[u64] = &[1, 4, 12, 33, 60, 89];

fn theirs(
    tool: &Path,
    expressions: &[String],
    seed: u64,
    times: &[u64],
    texts: &BTreeMap<String, String>,
) -> Answers {
    let mut yaml = "evaluation_interval: 1s\ntests:\n- interval: 1s\n  input_series:\n".to_owned();
    for (series, values) in texts {
        writeln!(yaml, "  - series: '{series}'\n    values: '{}'", values.trim()).unwrap();
    }
    yaml.push_str("  promql_expr_test:\n");
    for text in expressions {
        for at in times {
            writeln!(
                yaml,
                "  - expr: '{text}'\n    eval_time: {at}s\n    exp_samples: [{{labels: never, value: 1}}]"
            )
            .unwrap();
        }
    }
    let found = ask(tool, &format!("values-{seed}-{}.yml", times.len()), &yaml);
    assert_eq!(found.len(), expressions.len() * times.len());
    found
}

fn same(ours: f64, theirs: f64, within: f64) -> bool {
    let scale = ours.abs().max(theirs.abs());
    ours == theirs
        || (ours.is_nan() && theirs.is_nan())
        // Sums of what cancels keep no relative precision.
        || (ours - theirs).abs() <= within * scale.max(1e-6)
}

/// How many expressions failed on both sides, yielded nothing, and yielded something.
#[derive(Debug, Default)]
struct Compared {
    failed: usize,
    empty: usize,
    full: usize,
}

fn compare(tool: &Path, expressions: &[String], seed: u64) -> Compared {
    compare_at(tool, expressions, seed, AT, 1e-9)
}

/// Compares at these seconds, to within so much.
fn compare_at(
    tool: &Path,
    expressions: &[String],
    seed: u64,
    times: &[u64],
    within: f64,
) -> Compared {
    let ticks = times.last().map_or(TICKS, |last| TICKS.max(last + 1));
    let (ours, texts) = ours(expressions, seed, ticks);
    let theirs = theirs(tool, expressions, seed, times, &texts);
    let (mut wrong, mut compared) = (Vec::new(), Compared::default());
    for (number, text) in expressions.iter().enumerate() {
        for &at in times {
            let ours = &ours[at as usize][number];
            let theirs = &theirs[&(text.clone(), at)];
            let equal = match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    *(if theirs.is_empty() { &mut compared.empty } else { &mut compared.full }) +=
                        1;
                    ours.len() == theirs.len()
                        && ours
                            .iter()
                            .zip(theirs)
                            .all(|(a, b)| a.0 == b.0 && same(*a.1, *b.1, within))
                }
                (Err(()), Err(_)) => {
                    compared.failed += 1;
                    true
                }
                _ => false,
            };
            if !equal {
                wrong.push(format!("{text} at {at}s\n  ours:   {ours:?}\n  theirs: {theirs:?}"));
            }
        }
    }
    let shown = wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "seed {seed}: {} differ:\n{shown}", wrong.len());
    compared
}

#[test]
fn every_construct_yields_what_prometheus_yields() {
    let Some(tool) = promtool("values against Prometheus") else { return };
    let expressions: Vec<_> = EXPRESSIONS.iter().map(|text| (*text).to_owned()).collect();
    let compared = compare(&tool, &expressions, 7);
    assert_eq!(compared.failed, 0, "{compared:?}");
    assert!(compared.full > compared.empty, "hardly anything was compared: {compared:?}");
}

#[test]
fn made_up_expressions_over_made_up_series_yield_what_prometheus_yields() {
    let Some(tool) = promtool("made-up values against Prometheus") else { return };
    for seed in 1..=4 {
        let mut numbers = Numbers(seed * 7919);
        let mut all = BTreeSet::new();
        while all.len() < 200 {
            let text = generate::vector(&mut numbers, 3);
            assert!(promql::parse(&text).is_ok(), "{text}: {:?}", promql::parse(&text));
            all.insert(text);
        }
        let compared = compare(&tool, &all.into_iter().collect::<Vec<_>>(), seed);
        assert!(compared.full > 400, "hardly anything was compared: {compared:?}");
    }
}

/// Windows of more than 900 ticks see one tick in two here. What is taken over their samples is the
/// same where both begin and end together; the borders of what was gained lie a tick apart. (Of whole
/// histograms promtool refuses windows as long as these.)
#[test]
fn long_windows_yield_what_prometheus_yields() {
    let Some(tool) = promtool("long windows against Prometheus") else { return };
    let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let times = [600, 1_400, 1_800];
    let exact = all(&[
        "max_over_time(g[20m])",
        "min_over_time(g[20m])",
        "sum_over_time(g[20m])",
        "count_over_time(g[20m])",
        "present_over_time(g[20m])",
        "absent_over_time(none[20m])",
        "avg_over_time(w[20m])",
    ]);
    let compared = compare_at(&tool, &exact, 21, &times, 1e-9);
    assert_eq!((compared.failed, compared.empty), (0, 0), "{compared:?}");
    let near = all(&[
        "rate(b[20m])",
        "increase(h_count[20m])",
        "rate(h_sum{k=\"a\"}[20m])",
        "rate(h_bucket{le=\"0.5\"}[20m]) / ignoring (le) rate(h_count[20m])",
        "rate(b[16m] offset 2m)",
    ]);
    let compared = compare_at(&tool, &near, 21, &times, 0.02);
    assert_eq!((compared.failed, compared.empty), (0, 0), "{compared:?}");
}
