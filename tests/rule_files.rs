//! Prometheus rule files: in, run, out again, and read anew while they run.
#![cfg(all(feature = "rule-files", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/stack.rs"]
mod stack;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use highwater::{
    Highwater, alert,
    rule::{self, ExportStyle, Histograms, Names, Owner},
    testing::Kit,
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules").join(name)
}

/// A place of a test's own.
fn scratch(test: &str) -> PathBuf {
    let at = std::env::temp_dir().join(format!("highwater-{test}-{}", std::process::id()));
    fs::create_dir_all(&at).unwrap();
    at
}

/// What promtool says of rules: nothing, if they are well.
fn checked(tool: &Path, name: &str, yaml: &str) -> Result<(), String> {
    let at = scratch("check").join(name);
    fs::write(&at, yaml).unwrap();
    let output = Command::new(tool)
        .args(["check", "rules", "--lint-fatal", "--lint=all"])
        .arg(&at)
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(said + &String::from_utf8_lossy(&output.stdout) + yaml)
}

#[test]
fn real_files_load_export_and_pass_promtool() {
    let tool = stack::find("exported rules", "promtool");
    for (name, alerts) in [("documented.yml", 3), ("thirty.yml", 30)] {
        let file = rule::file(fixture(name)).all_or_nothing();
        assert_eq!(file.rules().unwrap().len(), alerts, "{name}");
        let builder = Highwater::builder("files").without_presets().rule_file(file);
        for names in [Names::Translated, Names::Own] {
            let exported = builder.export_rules(&ExportStyle::new().names(names));
            assert_eq!(exported.yaml.matches("- alert: ").count(), alerts);
            // What was theirs has its equal there.
            assert_eq!(exported.approximations, []);
            let again = rule::yaml(&exported.yaml).all_or_nothing().rules();
            assert_eq!(again.unwrap().len(), alerts, "{}", exported.yaml);
            if let Some(tool) = &tool {
                checked(tool, name, &exported.yaml).unwrap_or_else(|said| panic!("{said}"));
            }
        }
    }
}

#[test]
fn presets_and_rules_in_code_pass_promtool_and_say_what_differs() {
    let tool = stack::find("exported presets", "promtool");
    let hw = Highwater::builder("files")
        .rule(
            rule::alert("Deep")
                .when(
                    rule::gauge("queue.depth").label("queue.name", "a").above(5.0).clear_below(2.0),
                )
                .times(3, 5)
                .warm_up(seconds(60))
                .summary("{{ value }} of {{ threshold }} in {{ labels.queue.name }}"),
        )
        .start()
        .unwrap();
    for names in [Names::Translated, Names::Own] {
        for histograms in [Histograms::Native, Histograms::Classic] {
            let style = ExportStyle::new().names(names).histograms(histograms);
            let exported = hw.export_rules(&style);
            let kinds: Vec<_> =
                exported.approximations.iter().filter(|a| a.rule == "Deep").map(|a| a.of).collect();
            assert_eq!(
                kinds,
                [
                    rule::Inequality::ClearThreshold,
                    rule::Inequality::Times,
                    rule::Inequality::WarmUp,
                    rule::Inequality::NoData,
                    rule::Inequality::Damping,
                    rule::Inequality::Interval
                ]
            );
            assert!(exported.yaml.contains("highwater_approximations"));
            if names == Names::Translated {
                let yaml = &exported.yaml;
                assert!(yaml.contains(r#"expr: "queue_depth{queue_name=\"a\"} > 5""#), "{yaml}");
                assert!(yaml.contains("{{ $labels.queue_name }}"), "{yaml}");
                assert!(!yaml.contains("memory.utilization"), "{yaml}");
            }
            if let Some(tool) = &tool {
                checked(tool, "presets.yml", &exported.yaml)
                    .unwrap_or_else(|said| panic!("{said}"));
            }
        }
    }
}

const DEEP: &str = r#"
groups:
  - name: queue
    rules:
      - alert: Deep
        expr: queue_depth > 5
        labels: { severity: critical }
        annotations: { summary: "{{ $value }} wait", dashboard: "https://x/{{ $labels.queue }}" }
"#;

#[test]
fn a_file_s_rule_runs_on_metrics_by_either_name() {
    for name in ["queue.depth", "queue_depth"] {
        let mut kit = Kit::new(rule::yaml(DEEP).rules().unwrap());
        kit.gauge(name).label("queue", "a").build().set(9.0);
        kit.run(seconds(1));
        let fired = kit.take_transitions().pop().unwrap();
        assert_eq!(fired.to, alert::State::Firing);
        assert_eq!(fired.rule.severity, alert::Severity::Critical);
        assert_eq!(fired.summary, "9 wait");
        assert_eq!(fired.annotations.get("dashboard"), Some("https://x/a"));
        assert_eq!(fired.labels.get("severity"), Some("critical"));
    }
}

#[test]
fn recording_rules_are_computed_where_they_are_used() {
    let text = r#"
groups:
  - name: g
    rules:
      - record: queue:depth:sum
        expr: sum by (queue) (depth)
        labels: { by: us }
      - record: queue:depth:double
        expr: queue:depth:sum * 2
      - alert: Deep
        expr: queue:depth:double{queue="a",by="us"} > 5
"#;
    let mut kit = Kit::new(rule::yaml(text).rules().unwrap());
    for (queue, shard, depth) in [("a", "1", 1.0), ("a", "2", 2.0), ("b", "1", 9.0)] {
        kit.gauge("depth").label("queue", queue).label("shard", shard).build().set(depth);
    }
    kit.run(seconds(1));
    assert_eq!(kit.take_story(), ["0s Deep{by=\"us\", queue=\"a\"} inactive → firing"]);
}

#[test]
fn over_a_group_s_limit_there_are_no_alerts() {
    let text = "groups: [{name: g, limit: 1, rules: [{alert: A, expr: depth > 5}]}]";
    let mut kit = Kit::new(rule::yaml(text).rules().unwrap());
    let a = kit.gauge("depth").label("queue", "a").build();
    a.set(9.0);
    kit.run(seconds(1));
    assert_eq!(kit.state("A"), alert::State::Firing);
    kit.gauge("depth").label("queue", "b").build().set(9.0);
    kit.run(seconds(1));
    assert!(kit.error("A").unwrap().contains("its limit is 1"));
    assert_eq!(kit.take_story().last().unwrap(), "2s A{queue=\"a\"} firing → inactive (limit)");
}

#[test]
fn what_came_by_a_server_s_names_leaves_by_them() {
    let expr = "rate(jobs_failed{a__b=\"c\"}[5m]) > 1 and on (a__b) x__y > 2";
    let text = format!("groups: [{{name: g, rules: [{{alert: A, expr: '{expr}'}}]}}]");
    let builder = Highwater::builder("files").without_presets().rule_file(rule::yaml(&text));
    let exported = builder.export_rules(&ExportStyle::new());
    assert!(exported.yaml.replace('\\', "").contains(expr), "{exported}");
}

#[test]
fn rules_of_one_group_with_other_limits_are_groups_of_their_own() {
    let rule =
        |name, limit| rule::alert(name).group("g").limit(limit).when(rule::gauge("x").above(1.0));
    let builder = Highwater::builder("files").without_presets();
    let builder = builder.rule(rule("A", 0)).rule(rule("B", 5)).rule(rule("C", 0));
    let exported = builder.export_rules(&ExportStyle::new());
    let yaml = &exported.yaml;
    assert_eq!(yaml.matches("- name:").count(), 2, "{yaml}");
    assert!(yaml.find("\"C\"") < yaml.find("limit: 5"), "{yaml}");
    assert!(exported.approximations.iter().any(|one| one.of == rule::Inequality::Limit));
    if let Some(tool) = stack::find("exported limits", "promtool") {
        checked(&tool, "limits.yml", yaml).unwrap_or_else(|said| panic!("{said}"));
    }
}

#[test]
fn one_bad_rule_takes_no_other_down_and_names_itself() {
    let text =
        format!("{DEEP}      - alert: Odd\n        expr: max_over_time(rate(x[1m])[5m:1m]) > 1\n");
    let hw = Highwater::builder("files").rule_file(rule::yaml(&text)).start().unwrap();
    assert!(hw.alert("Deep").is_ok());
    assert!(hw.alert("Odd").is_err());
    let refused = hw.reload_rules().unwrap();
    assert_eq!(
        refused[0].to_string(),
        "text:10:40: group \"queue\", rule \"Odd\": expr: a subquery is not supported (at 1:26 of it)"
    );
    let error = Highwater::builder("files").rule_file(rule::yaml(&text).all_or_nothing()).start();
    assert!(error.unwrap_err().to_string().contains("a subquery is not supported"));
    let missing = Highwater::builder("files").rule_file("/nowhere/rules.yml").start();
    assert!(missing.unwrap_err().to_string().contains("/nowhere/rules.yml"));
}

#[test]
fn what_depends_on_how_a_server_sees_it_is_said() {
    let slow = rule::query("q").quantile(0.9).over(seconds(60)).above(1.0);
    let builder = Highwater::builder("files").without_presets();
    let builder = builder.rule(rule::alert("Slow").when(slow));
    let kinds = |style: &ExportStyle| -> Vec<_> {
        builder.export_rules(style).approximations.iter().map(|one| one.of).collect()
    };
    use rule::Inequality::{Buckets, Interval, ShortWindow};
    let found = kinds(&ExportStyle::new().histograms(Histograms::Classic));
    assert!(found.contains(&ShortWindow) && found.contains(&Buckets), "{found:?}");
    let found = kinds(&ExportStyle::new().scraped_every(seconds(15)));
    assert!(found.contains(&Interval) && !found.contains(&ShortWindow), "{found:?}");
    let text = "groups: [{name: g, interval: 30s, rules: [{alert: A, expr: 'x > 1'}]}]";
    let builder = Highwater::builder("files").without_presets().rule_file(rule::yaml(text));
    assert!(builder.export_rules(&ExportStyle::new()).yaml.contains("interval: 30s"));
}

/// As a service does it: who waits for the signal reads the files anew.
#[cfg(unix)]
#[test]
fn a_hangup_reads_the_files_again() {
    use tokio::signal::unix::{SignalKind, signal};
    let path = scratch("hangup").join("rules.yml");
    fs::write(&path, DEEP).unwrap();
    let hw = Highwater::builder("files").rule_file(path.as_path()).start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut hangup = signal(SignalKind::hangup()).unwrap();
        fs::write(&path, DEEP.replace("Deep", "Deeper")).unwrap();
        let me = std::process::id().to_string();
        assert!(Command::new("kill").args(["-HUP", &me]).status().unwrap().success());
        hangup.recv().await.unwrap();
        assert!(hw.reload_rules().unwrap().is_empty());
    });
    assert!(hw.alert("Deeper").is_ok() && hw.alert("Deep").is_err());
}

fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..200 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("waited in vain: {what}");
}

#[test]
fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
    let path = scratch("reload").join("rules.yml");
    fs::write(&path, DEEP.replace("queue_depth > 5", "queue_depth > 5 or gone > 1")).unwrap();
    let extra = "      - alert: Gone\n        expr: gone > 1\n";
    fs::write(&path, format!("{DEEP}{extra}")).unwrap();
    let (sink, mut alerts) = alert::channel(64);
    let hw = Highwater::builder("files")
        .without_presets()
        .tick(Duration::from_millis(100))
        .sink(sink)
        .rule_file(path.as_path())
        .start()
        .unwrap();
    hw.gauge("queue.depth").label("queue", "a").build().set(9.0);
    hw.gauge("gone").build().set(9.0);
    let (deep, gone) = (hw.alert("Deep").unwrap(), hw.alert("Gone").unwrap());
    wait_for("both fire", || deep.is_firing() && gone.is_firing());

    // Broken: nothing changes, and it is said.
    fs::write(&path, "groups: [").unwrap();
    assert!(hw.reload_rules().unwrap_err().to_string().contains("rules.yml"));
    assert!(deep.is_firing() && gone.is_firing());

    // One rule goes, the other keeps its state, a third one comes.
    let more = "      - alert: Deeper\n        expr: queue_depth > 8\n";
    fs::write(&path, format!("{DEEP}{more}")).unwrap();
    wait_for("the new rule is known", || hw.alert("Deeper").is_ok_and(|it| it.is_firing()));
    assert!(deep.is_firing() && !gone.is_firing());
    assert!(hw.alert("Gone").is_err());
    assert!(hw.export_rules(&ExportStyle::new()).yaml.contains("\"Deeper\""));
    hw.shutdown(seconds(5)).unwrap();
    let mut told = Vec::new();
    while let Some(one) = alerts.recv() {
        told.push((one.rule.name.to_string(), one.to, one.resolved));
    }
    let of = |name: &str| {
        let of_it = told.iter().filter(|(rule, ..)| rule == name);
        of_it.map(|(_, to, why)| (*to, *why)).collect::<Vec<_>>()
    };
    use alert::{ResolveReason::*, State::*};
    assert_eq!(of("Gone"), [(Firing, None), (Inactive, Some(RuleRemoved))]);
    assert_eq!(of("Deep"), [(Firing, None), (Inactive, Some(Shutdown))]);
    assert_eq!(hw.verdict().fired().find(|one| &*one.rule.name == "Deep").unwrap().times, 1);
}

#[test]
fn what_a_server_owns_pages_nobody_here() {
    let (sink, mut alerts) = alert::channel(64);
    let hw = Highwater::builder("files")
        .without_presets()
        .tick(Duration::from_millis(100))
        .sink(sink)
        .rule_file(rule::yaml(DEEP).owner(Owner::Server))
        .rule(rule::alert("Ours").when(rule::gauge("queue.depth").above(5.0)))
        .start()
        .unwrap();
    hw.gauge("queue.depth").build().set(9.0);
    let deep = hw.alert("Deep").unwrap();
    wait_for("it fires", || deep.is_firing());
    let theirs = hw.export_rules(&ExportStyle::new().only(Owner::Server)).yaml;
    assert!(theirs.contains("\"Deep\"") && !theirs.contains("\"Ours\""), "{theirs}");
    hw.shutdown(seconds(5)).unwrap();
    let mut told = Vec::new();
    while let Some(one) = alerts.recv() {
        told.push(one.rule.name.to_string());
    }
    assert_eq!(told, ["Ours", "Ours"]);
}
