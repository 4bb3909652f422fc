//! Lifecycles, tick by tick: `ALERTS` and `ALERTS_FOR_STATE` of random holds, keeps and gaps.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{Numbers, Sample, ask, promtool, run, scratch};
use crate::{
    clock::Moment,
    event::State,
    name::Labels,
    registry::{Collector, Registry},
    rule::{Evaluator, Rule, alert, promql as condition},
    sync::Arc,
};

const TICKS: u64 = 120;

#[derive(Debug)]
struct Case {
    name: String,
    expr: &'static str,
    hold: u64,
    keep: u64,
    limit: usize,
}

impl Case {
    fn rule(&self) -> Rule {
        let mut rule = alert(&self.name)
            .when(condition(self.expr))
            .hold_for(Duration::from_secs(self.hold))
            .keep_firing_for(Duration::from_secs(self.keep))
            .limit(self.limit)
            .label("team", "of {{ $labels.k }}");
        rule.strict = true;
        rule
    }

    fn yaml(&self) -> String {
        let Self { name, expr, hold, keep, limit } = self;
        format!(
            "- name: {name}\n  interval: 1s\n  limit: {limit}\n  rules:\n  - alert: {name}\n    expr: {expr}\n    for: {hold}s\n    keep_firing_for: {keep}s\n    labels: {{team: 'of {{{{ $labels.k }}}}'}}\n"
        )
    }
}

/// Both synthetic series of every alert at a tick, as Prometheus has them.
fn synthetic(rules: &Evaluator) -> Sample {
    let mut samples = Sample::new();
    for (labels, state, active_at) in rules.lives() {
        let state = match state {
            State::Pending => "pending",
            State::Firing => "firing",
            _ => continue,
        };
        let shown = |name, more: Option<(&str, &str)>| {
            let all = labels.iter().chain(more).chain([("__name__", name)]);
            let all: BTreeMap<_, _> = all.collect();
            let all: Vec<_> = all.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
            format!("{{{}}}", all.join(", "))
        };
        samples.insert(shown("ALERTS", Some(("alertstate", state))), 1.0);
        samples.insert(shown("ALERTS_FOR_STATE", None), active_at.as_secs_f64());
    }
    samples
}

/// How many samples there were to compare.
fn compare(tool: &Path, seed: u64, limit: usize) -> usize {
    let mut numbers = Numbers(seed);
    let cases: Vec<_> = (0..12)
        .map(|number| Case {
            name: format!("A{number}"),
            expr: numbers.one_of(&[
                "x > 5",
                "x > 5 or y > 7",
                "x > 5 unless y > 7",
                "absent(x{k=\"a\"})",
            ]),
            hold: numbers.one_of(&[&0, &1, &3, &7, &20]).to_owned(),
            keep: numbers.one_of(&[&0, &0, &1, &4, &15]).to_owned(),
            limit,
        })
        .collect();

    let moment = |second: u64| {
        let mono = Duration::from_secs(second);
        Moment { mono, wall: SystemTime::UNIX_EPOCH + mono }
    };
    let registry = Arc::new(Registry::new(1000));
    let mut collector = Collector::new(registry.clone(), moment(0));
    let mut rules =
        Evaluator::new(cases.iter().map(Case::rule).collect(), Duration::from_secs(1)).unwrap();
    let series = [("x", "a"), ("x", "b"), ("y", "a"), ("y", "b")];
    let mut texts = vec![String::new(); series.len()];
    let mut values = [Some(0_u64); 4];
    let (mut ours, mut failed) = (Vec::new(), Vec::new());
    for second in 0..TICKS {
        for (at, (name, key)) in series.into_iter().enumerate() {
            let gauge = registry.gauge(name, &Labels::new([("k", key)]));
            let before = values[at];
            // They stay for a while, so that holds are held and keeps are kept.
            match numbers.below(10) {
                0 => values[at] = None,
                1..=3 => values[at] = Some(numbers.below(10)),
                _ => {}
            }
            match values[at] {
                Some(value) => {
                    gauge.set(value as f64);
                    write!(texts[at], "{value} ").unwrap();
                }
                None => {
                    gauge.clear();
                    texts[at].push_str(if before.is_some() && second > 0 {
                        "stale "
                    } else {
                        "_ "
                    });
                }
            }
        }
        collector.collect(moment(second));
        rules.observe(&collector);
        rules.evaluate(moment(second), &mut Vec::new());
        ours.push(synthetic(&rules));
        failed.extend(
            rules.errors().map(|(rule, why)| (second, rule.name.to_string(), why.to_owned())),
        );
    }

    let rule_file = scratch(&format!("lifecycle-rules-{seed}.yml"));
    let yaml: String = cases.iter().map(Case::yaml).collect();
    std::fs::write(&rule_file, format!("groups:\n{yaml}")).unwrap();
    let mut yaml = format!(
        "rule_files: ['{}']\nevaluation_interval: 1s\ntests:\n- interval: 1s\n  input_series:\n",
        rule_file.display()
    );
    for ((name, key), text) in series.iter().zip(&texts) {
        writeln!(yaml, "  - series: '{name}{{k=\"{key}\"}}'\n    values: '{}'", text.trim())
            .unwrap();
    }
    yaml.push_str("  promql_expr_test:\n");
    const ASKED: &str = "{__name__=~\"ALERTS.*\"}";
    for second in 0..TICKS {
        writeln!(
            yaml,
            "  - expr: '{ASKED}'\n    eval_time: {second}s\n    exp_samples: [{{labels: never, value: 1}}]"
        )
        .unwrap();
    }
    if limit > 0 {
        // It stops at the first moment a rule fails, with one that does.
        let name = format!("limits-{seed}.yml");
        let (_, said) = run(tool, &["test", "rules"], &name, &yaml);
        std::fs::remove_file(&rule_file).unwrap();
        let first = failed.first().map(|(second, ..)| *second).unwrap();
        let at_once = failed.iter().filter(|(second, ..)| *second == first);
        let mut lines = at_once.map(|(second, rule, why)| {
            let alerts = why.split(' ').next().unwrap_or_default();
            format!(
                "rule: {rule}, time: {second}s, err: exceeded limit of {limit} with {alerts} alerts"
            )
        });
        assert!(lines.any(|line| said.contains(&line)), "seed {seed}: {failed:?}\n{said}");
        return failed.len();
    }
    let theirs = ask(tool, &format!("lifecycle-{seed}.yml"), &yaml);
    std::fs::remove_file(&rule_file).unwrap();
    let normal = |sample: &Sample| -> Sample {
        // Labels in one order, whatever theirs is.
        let sorted = |labels: &str| {
            let mut all: Vec<_> = labels.trim_matches(['{', '}']).split(", ").collect();
            all.sort_unstable();
            all.join(", ")
        };
        sample.iter().map(|(labels, value)| (sorted(labels), *value)).collect()
    };
    let mut compared = 0;
    for second in 0..TICKS {
        let theirs = normal(theirs[&(ASKED.to_owned(), second)].as_ref().unwrap());
        let ours = normal(&ours[second as usize]);
        assert_eq!(ours, theirs, "seed {seed} at {second}s: {cases:#?}\n{texts:#?}");
        compared += theirs.len();
    }
    compared
}

#[test]
fn alerts_live_tick_by_tick_as_prometheus_has_them() {
    let Some(tool) = promtool("lifecycles against Prometheus") else { return };
    for seed in 1..=8 {
        let compared = compare(&tool, seed, 0);
        assert!(compared > 200, "hardly anything was compared: {compared}");
    }
}

#[test]
fn over_a_limit_rules_fail_when_those_of_prometheus_do() {
    let Some(tool) = promtool("limits against Prometheus") else { return };
    for seed in 11..=14 {
        assert!(compare(&tool, seed, 1) > 0);
    }
}
