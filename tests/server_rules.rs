//! The rules for a server are checked by Prometheus itself, and do what they say: `promtool test
//! rules` plays minutes against them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/golden.rs"]
mod golden;
#[path = "support/stack.rs"]
mod stack;

use std::{fs, process::Command, time::Duration};

use highwater::{
    Builder, Highwater,
    generate::{self, Flavor},
    rule::{self, Owner},
};

const RUNBOOK: &str = "https://runbooks.example/veltrix.md";

fn builder() -> Builder {
    Highwater::builder("veltrix").runbooks(RUNBOOK)
}

fn rules() -> String {
    generate::prometheus_rules(&builder(), Flavor::PrometheusNative).unwrap()
}

fn victoria() -> String {
    let builder = builder().resource("service.namespace", "shop");
    generate::prometheus_rules(&builder, Flavor::VictoriaMetrics).unwrap()
}

#[test]
fn golden() {
    golden::check("server-rules.yaml", &rules());
    golden::check("server-rules-victoriametrics.yaml", &victoria());
    // Of one rule of its own, so that a changed preset is no changed golden file.
    let own = rule::alert("Deep \"$x\"").when(rule::gauge("queue.depth").above(5.0));
    let slow = rule::alert("Slow").when(
        rule::query("orders")
            .quantile(0.99)
            .over(Duration::from_secs(60))
            .above(Duration::from_secs(1)),
    );
    let builder = builder().without_presets().rule(own.owner(Owner::Server)).rule(slow);
    for flavor in Flavor::ALL {
        let text = generate::process_rules(&builder, flavor).unwrap();
        golden::check(&format!("process-rules-{}.yaml", flavor.as_str()), &text);
    }
}

/// What the server has as labels decides whether `HighwaterAbsent` fires for ever.
#[test]
fn a_service_is_looked_for_where_its_server_has_it() {
    let namespaced = || builder().resource("service.namespace", "shop");
    let prometheus = generate::prometheus_rules(&namespaced(), Flavor::PrometheusClassic).unwrap();
    assert!(prometheus.contains(r#"{job=\"shop/veltrix\"}"#), "{prometheus}");
    let victoria = victoria();
    let wanted = r#"{service_name=\"veltrix\",service_namespace=\"shop\"}"#;
    assert!(victoria.contains(wanted) && !victoria.contains("job"), "{victoria}");
}

/// Nobody is told twice: what a server owns, the process' state does not page for as well.
#[test]
fn what_a_server_owns_is_told_by_its_own_rule_only() {
    let ours = rule::alert("Ours").when(rule::gauge("a").above(1.0));
    let theirs = rule::alert("Their's").when(rule::gauge("b").above(1.0)).owner(Owner::Server);
    let builder = builder().rule(ours).rule(theirs);
    let server = generate::prometheus_rules(&builder, Flavor::PrometheusNative).unwrap();
    assert!(server.contains(r#"alertname!~\"Their\\\\'s\""#), "{server}");
    let process = generate::process_rules(&builder, Flavor::PrometheusNative).unwrap();
    let section = |name: &str| {
        let from = process.find(&format!("- alert: \"{name}\"")).unwrap();
        let rest = &process[from..];
        rest[..rest[1..].find("- alert").map_or(rest.len(), |at| at + 1)].to_owned()
    };
    assert!(section("Ours").contains(r#""highwater_owner": "process""#), "{process}");
    assert!(!section("Their's").contains("highwater_owner"), "{process}");
}

/// One process sees itself only; on a server the same rule must keep instances and services apart.
#[test]
fn a_process_rule_judges_each_instance_by_itself() {
    let rules = generate::process_rules(&builder(), Flavor::PrometheusNative).unwrap();
    for line in rules.lines().filter(|line| line.trim_start().starts_with("expr:")) {
        for (at, _) in line.match_indices('{') {
            let inside = &line[at..at + line[at..].find('}').unwrap()];
            assert!(inside.contains(r#"job=\"veltrix\""#), "{line}");
        }
        for words in ["by (", "on ("] {
            for (at, _) in line.match_indices(words) {
                let inside = &line[at..at + line[at..].find(')').unwrap()];
                assert!(inside.contains("job") && inside.contains("instance"), "{line}");
            }
        }
        assert!(!line.contains("sum(") && !line.contains("max("), "{line}");
    }
}

#[test]
fn vmalert_takes_them_without_a_remark() {
    let test = "vmalert_takes_them_without_a_remark";
    let Some(vmalert) = stack::find(test, "vmalert") else { return };
    let directory = stack::Directory::new("vmalert-rules");
    fs::write(directory.0.join("rules.yaml"), victoria()).unwrap();
    let process = generate::process_rules(&builder(), Flavor::VictoriaMetrics).unwrap();
    fs::write(directory.0.join("rules-process.yaml"), process).unwrap();
    let run = Command::new(&vmalert)
        .args(["-dryRun", "-datasource.url=http://127.0.0.1:1", "-notifier.blackhole"])
        .arg(format!("-rule={}", directory.0.join("*.yaml").display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
}

#[test]
fn prometheus_takes_them_without_a_remark() {
    let test = "prometheus_takes_them_without_a_remark";
    let Some(promtool) = stack::find(test, "promtool") else { return };
    let directory = stack::Directory::new("server-rules");
    let hostile = Highwater::builder("a\"} or\nvector(1) {{ $x }} #\\");
    let hostile = generate::prometheus_rules(&hostile, Flavor::PrometheusNative).unwrap();
    let process = [Flavor::PrometheusNative, Flavor::PrometheusClassic]
        .map(|flavor| (flavor.as_str(), generate::process_rules(&builder(), flavor).unwrap()));
    let server = [("rules.yaml", rules()), ("hostile.yaml", hostile)];
    for (name, text) in server.into_iter().chain(process) {
        let path = directory.0.join(name);
        fs::write(&path, &text).unwrap();
        let run = Command::new(&promtool)
            .args(["check", "rules", "--lint-fatal", "--lint=all"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        let count = text.matches("- alert: ").count();
        let found = format!("SUCCESS: {count} rules");
        assert!(count >= 5 && run.status.success() && said.contains(&found), "{name}: {said}");
    }
}

/// Three instances, of which one stops; then all; then two of three share an alert.
#[test]
fn prometheus_plays_them() {
    let Some(promtool) = stack::find("prometheus_plays_them", "promtool") else { return };
    let directory = stack::Directory::new("server-rules-played");
    fs::write(directory.0.join("rules.yaml"), rules()).unwrap();
    fs::write(directory.0.join("test.yaml"), PLAY).unwrap();
    let run = Command::new(&promtool)
        .args(["test", "rules", "test.yaml"])
        .current_dir(&directory.0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
}

const PLAY: &str = r#"
rule_files: [rules.yaml]
evaluation_interval: 30s
tests:
  - name: one instance falls silent, then all
    interval: 30s
    input_series:
      - series: 'process_uptime_seconds{job="veltrix",instance="a"}'
        values: '0+30x40 _x40'
      - series: 'process_uptime_seconds{job="veltrix",instance="b"}'
        values: '0+30x60 _x40'
      - series: 'process_uptime_seconds{job="other",instance="c"}'
        values: '0+30x120'
    promql_expr_test:
      - expr: count(ALERTS{alertname="HighwaterDeadMan",alertstate="firing"})
        eval_time: 5m
        exp_samples: [{labels: '{}', value: 1}]
      - expr: count by (instance) (ALERTS{alertname="HighwaterInstanceSilent",alertstate="firing"})
        eval_time: 21m
        exp_samples: []
      - expr: count by (instance) (ALERTS{alertname="HighwaterInstanceSilent",alertstate="firing"})
        eval_time: 24m
        exp_samples: [{labels: '{instance="a"}', value: 1}]
      - expr: count by (instance) (ALERTS{alertname="HighwaterAbsent",alertstate="firing"})
        eval_time: 30m
        exp_samples: []
    alert_rule_test:
      - alertname: HighwaterAbsent
        eval_time: 34m
        exp_alerts:
          - exp_labels: {job: veltrix, service: veltrix, severity: critical}
            exp_annotations:
              summary: no instance of veltrix reports
              description: "Nothing of the service has arrived for three minutes: all of it is down, or none of it can deliver. Look whether it answers its callers before looking at monitoring."
              runbook_url: https://runbooks.example/veltrix.md#HighwaterAbsent
  - name: a rolling deploy replaces both instances
    interval: 30s
    input_series:
      - series: 'process_uptime_seconds{job="veltrix",instance="old-a"}'
        values: '0+30x40 _x40'
      - series: 'process_uptime_seconds{job="veltrix",instance="old-b"}'
        values: '0+30x44 _x40'
      - series: 'process_uptime_seconds{job="veltrix",instance="new-a"}'
        values: '_x39 0+30x60'
      - series: 'process_uptime_seconds{job="veltrix",instance="new-b"}'
        values: '_x43 0+30x60'
    promql_expr_test:
      - expr: count_over_time((count(ALERTS{alertname="HighwaterInstanceSilent"}))[40m:30s])
        eval_time: 40m
        exp_samples: []
  - name: two of three share an alert
    interval: 30s
    input_series:
      - series: 'process_uptime_seconds{job="veltrix",instance="a"}'
        values: '0+30x40'
      - series: 'process_uptime_seconds{job="veltrix",instance="b"}'
        values: '0+30x40'
      - series: 'process_uptime_seconds{job="veltrix",instance="c"}'
        values: '0+30x40'
      - series: 'highwater_alert_state{job="veltrix",instance="a",alertname="MemoryCritical",severity="critical",level="cgroup"}'
        values: '0x5 4x40'
      - series: 'highwater_alert_state{job="veltrix",instance="b",alertname="MemoryCritical",severity="critical",level="cgroup"}'
        values: '0x9 4x40'
      - series: 'highwater_alert_state{job="veltrix",instance="c",alertname="MemoryCritical",severity="critical",level="cgroup"}'
        values: '0x40'
      - series: 'highwater_alert_state{job="veltrix",instance="a",alertname="QuerySlower",severity="info",db_query_summary="orders"}'
        values: '4x40'
      - series: 'highwater_alert_state{job="veltrix",instance="b",alertname="QuerySlower",severity="info",db_query_summary="orders"}'
        values: '4x40'
    promql_expr_test:
      - expr: count by (rule, instance, level, severity) (ALERTS{alertname="HighwaterAlertFiring",alertstate="firing",rule="MemoryCritical"})
        eval_time: 4m
        exp_samples: [{labels: '{rule="MemoryCritical",instance="a",level="cgroup",severity="critical"}', value: 1}]
      - expr: count by (rule, severity, db_query_summary) (ALERTS{alertname="HighwaterAlertFiring",alertstate="firing",rule="QuerySlower"})
        eval_time: 4m
        exp_samples: [{labels: '{rule="QuerySlower",severity="info",db_query_summary="orders"}', value: 2}]
      - expr: count by (rule) (ALERTS{alertname="HighwaterFleetAlerting"})
        eval_time: 4m
        exp_samples: []
      - expr: count by (rule) (ALERTS{alertname="HighwaterFleetAlerting",alertstate="firing"})
        eval_time: 7m
        exp_samples: [{labels: '{rule="MemoryCritical"}', value: 1}]
"#;
