//! Whole files: recording rules and the words of alerts, as `promtool test rules` has them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use super::{promtool, run, scratch};
use crate::{
    clock::Moment,
    event::State,
    name::Labels,
    registry::{Collector, Registry},
    rule::{Evaluator, expr::Quoted, yaml},
    sync::Arc,
};

const RULES: &str = r#"
groups:
- name: recorded
  interval: 1s
  labels: { tier: one }
  rules:
  - record: queue:depth:sum
    expr: sum by (queue) (depth)
    labels: { by: us }
  - record: queue:depth:share
    expr: queue:depth:sum / on () group_left () sum(depth)
  - alert: Recorded
    expr: queue:depth:share{queue!="none"} > 0.1
    labels: { severity: page, of: "{{ $labels.queue }}/{{ $labels.by }}" }
    annotations: { summary: "{{ $value | humanizePercentage }} of all in {{ $labels.queue }}" }
- name: words
  interval: 1s
  rules:
  - alert: Words
    expr: depth > 0
    annotations:
      summary: "{{ $value }} {{ $labels.queue }} {{ .Value }} {{ .Labels.shard }}"
      description: '{{ printf "%.2f|%8.1f|%-8.3f|%e|%g|%s" $value $value $value $value $value $labels.queue }}'
      runbook_url: https://runbooks.example/words
      human: "{{ $value | humanize }} {{ humanize1024 $value }} {{ $value | humanizeDuration }} {{ $value | humanizePercentage }}"
      cases: "{{ $labels.words | title }} {{ $labels.words | toUpper }} {{ toLower $labels.words }}"
      hosts: "{{ stripPort $labels.host }} {{ stripDomain $labels.host }}"
      found: '{{ if match "^a.*" $labels.queue }}a{{ else if match "b" $labels.queue }}b{{ else }}neither{{ end }}'
      replaced: 'r{{ reReplaceAll "(.)a" "$1-" $labels.words }}'
      let: '{{ $q := $labels.queue }}{{ $d := printf "%s!" $q }}{{ $d | toUpper }}{{- " trimmed " -}} end'
      logic: '{{ if and (gt $value 1.0) (lt $value 100.0) }}some{{ end }}{{ if or (eq $labels.queue "a") (not true) }}A{{ end }}{{ len $labels.queue }}'
      missing: "[{{ $labels.nothing }}]"
      index: '{{ index $labels "queue" }}'
"#;

/// One world of series, each by its labels and value.
type Scene = [(&'static [(&'static str, &'static str)], f64)];

const SCENES: [&Scene; 3] = [
    &[
        (&[("queue", "a"), ("shard", "1"), ("words", "some words-here_too")], 12.345),
        (&[("queue", "a"), ("shard", "2"), ("host", "db1.example.com:9100")], 0.25),
        (&[("queue", "b"), ("shard", "1"), ("host", "10.0.0.1:80")], 3.0),
    ],
    &[
        (&[("queue", "banana"), ("words", "banana split")], 1_234_567.0),
        (&[("queue", "c"), ("host", "[::1]:80"), ("words", "ÄRGER über öl")], 0.000_012_3),
    ],
    &[(&[("queue", "a\"b\\c")], 86_461.5), (&[("queue", "none"), ("shard", "9")], 5e9)],
];

/// A promtool test of one scene: what fires here must fire there, with the same words.
fn scene(scene: &Scene) -> String {
    let moment = |second: u64| {
        let mono = Duration::from_secs(second);
        Moment { mono, wall: SystemTime::UNIX_EPOCH + mono }
    };
    let registry = Arc::new(Registry::new(1000));
    let mut collector = Collector::new(registry.clone(), moment(0));
    let mut rules = Evaluator::new(yaml(RULES).rules().unwrap(), Duration::from_secs(1)).unwrap();
    let mut test = "- interval: 1s\n  input_series:\n".to_owned();
    for (labels, value) in scene {
        let labels = Labels::new(labels.iter().copied());
        registry.gauge("depth", &labels).set(*value);
        let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        let series = format!("depth{{{}}}", pairs.join(","));
        writeln!(test, "  - series: {}\n    values: '{value}'", Quoted(&series)).unwrap();
    }
    collector.collect(moment(0));
    rules.observe(&collector);
    let mut steps = Vec::new();
    rules.evaluate(moment(0), &mut steps);
    let mut fired: BTreeMap<String, String> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.to == State::Firing) {
        let alerts = fired.entry(step.rule.name.to_string()).or_default();
        alerts.push_str("    - exp_labels:\n");
        for (key, value) in step.labels.iter().filter(|(key, _)| *key != "alertname") {
            writeln!(alerts, "        {key}: {}", Quoted(value)).unwrap();
        }
        alerts.push_str("      exp_annotations:\n");
        let words = [("summary", &*step.summary), ("description", &*step.description)];
        let runbook = step.rule.runbook.as_deref().map(|runbook| ("runbook_url", runbook));
        let words = words.into_iter().chain(runbook).chain(step.annotations.iter());
        for (key, value) in words.filter(|(_, value)| !value.is_empty()) {
            writeln!(alerts, "        {key}: {}", Quoted(value)).unwrap();
        }
    }
    assert!(!fired.is_empty());
    test.push_str("  alert_rule_test:\n");
    for (name, alerts) in fired {
        write!(test, "  - alertname: {name}\n    eval_time: 0s\n    exp_alerts:\n{alerts}")
            .unwrap();
    }
    test
}

#[test]
fn the_alerts_of_a_file_say_what_prometheus_says() {
    let Some(tool) = promtool("whole files against Prometheus") else { return };
    let file = scratch("files-rules.yml");
    std::fs::write(&file, RULES).unwrap();
    let tests: String = SCENES.into_iter().map(scene).collect();
    let yaml =
        format!("rule_files: ['{}']\nevaluation_interval: 1s\ntests:\n{tests}", file.display());
    let (fine, said) = run(&tool, &["test", "rules"], "files.yml", &yaml);
    std::fs::remove_file(&file).unwrap();
    assert!(fine, "{said}\n{yaml}");
}
