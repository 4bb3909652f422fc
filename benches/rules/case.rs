//! The cases: rules, what feeds them, and the bare loop beside them.

use std::{hint::black_box, time::Duration};

use highwater::{
    Gauge, Histogram,
    rule::{self, Rule, harness::Ruling},
};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Rules, or series of the one rule.
    pub(crate) size: usize,
    pub(crate) rules: Ruling,
    /// Writes to the series, once before each tick.
    pub(crate) feed: Box<dyn FnMut()>,
    /// The same judgement over plain arrays.
    pub(crate) bare: Box<dyn FnMut()>,
    /// Ticks until the windows are full.
    pub(crate) warm_up: usize,
}

pub(crate) const SIZE: usize = 1_000;
const TICK: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(300);
/// Populated buckets of each histogram in each tick.
pub(crate) const BUCKETS: usize = 40;

pub(crate) const THRESHOLDS: &str = "1,000 threshold rules";
pub(crate) const FAN: &str = "1 rule over 1,000 series";
pub(crate) const QUANTILES: &str = "1,000 quantile rules, 40 adjacent buckets";
const HOUR: &str = "1,000 quantile rules over an hour";
pub(crate) const SCATTERED: &str = "1,000 quantile rules, 40 of 128 buckets";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        thresholds(),
        fan(),
        quantiles(QUANTILES, WINDOW, 1),
        quantiles(SCATTERED, WINDOW, 3),
        quantiles(HOUR, Duration::from_secs(3_600), 1),
    ]
}

fn start(rules: Vec<Rule>) -> Ruling {
    Ruling::new(rules, TICK).unwrap_or_else(|wrong| panic!("{wrong:?}"))
}

/// Values that change from tick to tick, most of them below the threshold.
fn feed(gauges: Vec<Gauge>) -> Box<dyn FnMut()> {
    let mut state = 88_172_645_463_325_252_u64;
    Box::new(move || {
        for gauge in &gauges {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            gauge.set((state % 1_000) as f64 / 10.0);
        }
    })
}

/// Compare each value with its threshold.
fn compare() -> Box<dyn FnMut()> {
    let values: Vec<f64> = (0..SIZE).map(|at| at as f64 / 10.0).collect();
    let thresholds = vec![99.0; SIZE];
    let mut above = vec![false; SIZE];
    Box::new(move || {
        let both = black_box(&values).iter().zip(black_box(&thresholds));
        for (above, (value, threshold)) in above.iter_mut().zip(both) {
            *above = value > threshold;
        }
        black_box(&mut above);
    })
}

fn thresholds() -> Case {
    let minute = Duration::from_secs(60);
    let rule = |at| {
        let value = rule::gauge(&format!("queue_{at}"));
        rule::alert(&format!("Deep{at}")).when(value.above(99.0)).hold_for(minute)
    };
    let rules = start((0..SIZE).map(rule).collect());
    let gauges = (0..SIZE).map(|at| rules.gauge(&format!("queue_{at}"), ("a", "b"))).collect();
    Case { name: THRESHOLDS, size: SIZE, rules, feed: feed(gauges), bare: compare(), warm_up: 20 }
}

fn fan() -> Case {
    let rule = rule::alert("Deep").when(rule::gauge("queue").above(99.0));
    let rules = start(vec![rule.hold_for(Duration::from_secs(60))]);
    let gauges = (0..SIZE).map(|at| rules.gauge("queue", ("number", &at.to_string()))).collect();
    Case { name: FAN, size: SIZE, rules, feed: feed(gauges), bare: compare(), warm_up: 20 }
}

/// A value in every `step`th bucket or so: 40 of them.
pub(crate) fn bucketed(step: usize) -> Vec<f64> {
    // The middle of bucket 0, 1, … of those 1/32 of an octave wide, from 1 ms on.
    let value = |bucket: f64| 1e-3 * ((bucket + 0.5) / 32.0).exp2();
    (0..BUCKETS).map(|at| value((at * step + at % step.max(2) / 2) as f64)).collect()
}

fn quantiles(name: &'static str, window: Duration, step: usize) -> Case {
    let rule = |at| {
        let value = rule::histogram(&format!("latency_{at}")).quantile(0.95).over(window);
        rule::alert(&format!("Slow{at}")).when(value.above(Duration::from_secs(10)))
    };
    let rules = start((0..SIZE).map(rule).collect());
    let histogram = |at| rules.histogram(&format!("latency_{at}"), ("a", "b"));
    let histograms: Vec<Histogram> = (0..SIZE).map(histogram).collect();
    let values = bucketed(step);
    let feed = move || {
        for histogram in &histograms {
            values.iter().for_each(|value| histogram.record(*value));
        }
    };
    Case {
        name,
        size: SIZE,
        rules,
        feed: Box::new(feed),
        bare: walk(),
        warm_up: window.as_secs() as usize + 30,
    }
}

/// Add a tick's bucket counts to a sum, take those of the tick that leaves off it, and walk to the
/// quantile.
fn walk() -> Box<dyn FnMut()> {
    let delta = vec![[1_u64; BUCKETS]; SIZE];
    let mut sums = vec![[300_u64; BUCKETS]; SIZE];
    let mut found = vec![0; SIZE];
    Box::new(move || {
        let (came, left) = (black_box(&delta), black_box(&delta));
        for (at, sum) in sums.iter_mut().enumerate() {
            for (bucket, sum) in sum.iter_mut().enumerate() {
                *sum = sum.wrapping_add(came[at][bucket]).wrapping_sub(left[at][bucket]);
            }
            let mut above = sum.iter().sum::<u64>() / 20;
            found[at] = sum
                .iter()
                .rposition(|count| match above.checked_sub(*count) {
                    Some(rest) => {
                        above = rest;
                        false
                    }
                    None => true,
                })
                .unwrap_or(0);
        }
        black_box(&mut found);
    })
}
