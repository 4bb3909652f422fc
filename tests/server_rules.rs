//! The rules for a server are checked by Prometheus itself, and do what they say: `promtool test
//! rules` plays minutes against them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/golden.rs"]
mod golden;
#[path = "support/stack.rs"]
mod stack;

use std::{fs, process::Command};

use highwater::{Highwater, generate};

const RUNBOOK: &str = "https://runbooks.example/veltrix.md";

fn rules() -> String {
    generate::prometheus_rules(&Highwater::builder("veltrix").runbooks(RUNBOOK)).unwrap()
}

#[test]
fn golden() {
    golden::check("server-rules.yaml", &rules());
}

#[test]
fn prometheus_takes_them_without_a_remark() {
    let test = "prometheus_takes_them_without_a_remark";
    let Some(promtool) = stack::find(test, "promtool") else { return };
    let directory = stack::Directory::new("server-rules");
    let hostile =
        generate::prometheus_rules(&Highwater::builder("a\"} or\nvector(1) {{ $x }} #\\"));
    for (name, text) in [("rules.yaml", rules()), ("hostile.yaml", hostile.unwrap())] {
        let path = directory.0.join(name);
        fs::write(&path, text).unwrap();
        let run = Command::new(&promtool)
            .args(["check", "rules", "--lint-fatal", "--lint=all"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && said.contains("SUCCESS: 5 rules"), "{said}");
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
        values: '0+30x10 _x40'
      - series: 'process_uptime_seconds{job="veltrix",instance="b"}'
        values: '0+30x30 _x40'
      - series: 'process_uptime_seconds{job="other",instance="c"}'
        values: '0+30x100'
    promql_expr_test:
      - expr: count(ALERTS{alertname="HighwaterDeadMan",alertstate="firing"})
        eval_time: 5m
        exp_samples: [{labels: '{}', value: 1}]
      - expr: count by (instance) (ALERTS{alertname="HighwaterInstanceSilent",alertstate="firing"})
        eval_time: 6m
        exp_samples: []
      - expr: count by (instance) (ALERTS{alertname="HighwaterInstanceSilent",alertstate="firing"})
        eval_time: 9m
        exp_samples: [{labels: '{instance="a"}', value: 1}]
      - expr: count by (instance) (ALERTS{alertname="HighwaterAbsent",alertstate="firing"})
        eval_time: 15m
        exp_samples: []
    alert_rule_test:
      - alertname: HighwaterAbsent
        eval_time: 19m
        exp_alerts:
          - exp_labels: {job: veltrix, service: veltrix, severity: critical}
            exp_annotations:
              summary: no instance of veltrix reports
              description: "Nothing of the service has arrived for three minutes: all of it is down, or none of it can deliver. Look whether it answers its callers before looking at monitoring."
              runbook_url: https://runbooks.example/veltrix.md#HighwaterAbsent
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
    promql_expr_test:
      - expr: count by (rule, instance, level) (ALERTS{alertname="HighwaterAlertFiring",alertstate="firing"})
        eval_time: 4m
        exp_samples: [{labels: '{rule="MemoryCritical",instance="a",level="cgroup"}', value: 1}]
      - expr: count by (rule) (ALERTS{alertname="HighwaterFleetAlerting"})
        eval_time: 4m
        exp_samples: []
      - expr: count by (rule) (ALERTS{alertname="HighwaterFleetAlerting",alertstate="firing"})
        eval_time: 7m
        exp_samples: [{labels: '{rule="MemoryCritical"}', value: 1}]
"#;
