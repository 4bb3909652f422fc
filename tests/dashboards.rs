//! Dashboards as files: what Grafana's own linter asks for, what a reader needs, and that they
//! change only when somebody means it. Golden files are written anew by
//! `HIGHWATER_BLESS=1 cargo test --all-features --test dashboards`.
#![cfg(feature = "generate")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/golden.rs"]
mod golden;
#[path = "support/promql.rs"]
mod promql;
#[path = "support/stack.rs"]
mod stack;

use std::{collections::HashSet, process::Command, time::Duration};

use highwater::{
    Builder, Highwater,
    alert::Severity,
    generate::{self, Flavor},
    rule,
};
use promql::{expressions, panels};
use serde_json::Value;

/// Of rules of its own only, so that a changed preset is no changed golden file.
fn builder() -> Builder {
    let minute = Duration::from_secs(60);
    let memory = |threshold, severity| {
        rule::alert("MemoryHigh")
            .when(rule::gauge("highwater.memory.utilization").above(threshold))
            .severity(severity)
            .summary("{{ value }} of the memory limit is in use")
            .description("Read in the evidence which component grew.")
    };
    Highwater::builder("Veltrix Orders")
        .without_presets()
        .runbooks("https://runbooks.example/veltrix.md")
        .rule(memory(0.85, Severity::Warning))
        .rule(memory(0.95, Severity::Critical))
        .rule(
            rule::alert("OrdersSlow")
                .when(
                    rule::query("orders_by_user")
                        .quantile(0.99)
                        .over(minute)
                        .above(Duration::from_millis(250)),
                )
                .runbook("https://runbooks.example/orders"),
        )
}

fn dashboards(flavor: Flavor) -> [(&'static str, Value); 2] {
    let all = generate::grafana(&builder()).unwrap().flavor(flavor);
    [("instance", all.instance()), ("fleet", all.fleet())]
        .map(|(name, text)| (name, serde_json::from_str(&text).unwrap()))
}

#[test]
fn golden() {
    let all = generate::grafana(&builder()).unwrap();
    golden::check("dashboard.json", &all.instance());
    golden::check("dashboard-fleet.json", &all.fleet());
    let mut text = String::new();
    for flavor in Flavor::ALL {
        for (name, dashboard) in dashboards(flavor) {
            for (title, expr) in expressions(&dashboard) {
                text += &format!("{} {name}: {title}\n    {expr}\n", flavor.as_str());
            }
        }
    }
    golden::check("dashboard-expressions.txt", &text);
    golden::check("runbook.md", &generate::runbook(&builder()).unwrap());
    for flavor in Flavor::ALL {
        let files = generate::grafana(&builder()).unwrap().flavor(flavor).files();
        let mut text = String::new();
        for file in &files {
            // The dashboards are golden above.
            let shown = if file.path.ends_with(".json") { "…\n" } else { &file.text };
            text += &format!("--- {}\n{shown}", file.path);
        }
        golden::check(&format!("provisioning-{}.txt", flavor.as_str()), &text);
    }
}

#[test]
fn every_panel_has_what_the_linter_asks_for() {
    for flavor in Flavor::ALL {
        for (name, dashboard) in dashboards(flavor) {
            let mut ids = HashSet::new();
            for panel in panels(&dashboard) {
                let title = panel["title"].as_str().unwrap();
                let at = format!("{} {name} {title:?}", flavor.as_str());
                assert!(ids.insert(panel["id"].as_u64().unwrap()), "{at}: an id twice");
                assert!(!title.is_empty(), "{at}: no title");
                let description = panel["description"].as_str().unwrap();
                assert!(!description.is_empty(), "{at}: no description");
                let defaults = &panel["fieldConfig"]["defaults"];
                assert!(!defaults["unit"].as_str().unwrap().is_empty(), "{at}: no unit");
                let steps = defaults["thresholds"]["steps"].as_array().unwrap();
                assert!(steps[0]["value"].is_null(), "{at}: the first step has no value");
                assert_eq!(panel["datasource"]["uid"], "${datasource}", "{at}");
                let targets = panel["targets"].as_array().unwrap();
                assert!(!targets.is_empty(), "{at}: no query");
                for target in targets {
                    assert_eq!(target["datasource"]["uid"], "${datasource}", "{at}");
                    check_expression(&at, target["expr"].as_str().unwrap(), flavor, name);
                }
            }
            assert_eq!(dashboard["schemaVersion"], 42);
            assert_eq!(dashboard["editable"], false);
            let uid = dashboard["uid"].as_str().unwrap();
            assert!(uid.starts_with("highwater-veltrix-orders") && uid.len() <= 40, "{uid}");
        }
    }
}

/// Counters directly under `rate` or `increase`, over `$__rate_interval`, of the chosen job and
/// instance.
fn check_expression(at: &str, expr: &str, flavor: Flavor, dashboard: &str) {
    let (job, instance) = match flavor {
        Flavor::VictoriaMetrics => ("service_name", "service_instance_id"),
        _ => ("job", "instance"),
    };
    for (start, _) in expr.match_indices('{') {
        let inside = &expr[start..start + expr[start..].find('}').unwrap()];
        assert!(inside.contains(&format!(r#"{job}=~"$job""#)), "{at}: {expr}");
        let narrowed = inside.contains(&format!(r#"{instance}=~"$instance""#));
        assert_eq!(narrowed, dashboard == "instance", "{at}: {expr}");
        let name = expr[..start].rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
        if name.ends_with("_total") || name.ends_with("_count") && name.contains("duration") {
            let before = &expr[..start - name.len()];
            assert!(
                before.ends_with("rate(") || before.ends_with("increase("),
                "{at}: a bare counter in {expr}"
            );
        }
    }
    for (start, _) in expr.match_indices('[') {
        assert!(expr[start..].starts_with("[$__rate_interval]"), "{at}: {expr}");
    }
}

#[test]
fn variables_are_named_as_everywhere() {
    for flavor in Flavor::ALL {
        for (name, dashboard) in dashboards(flavor) {
            let list = dashboard["templating"]["list"].as_array().unwrap().clone();
            let find = |name: &str| list.iter().find(|v| v["name"] == name).cloned();
            assert_eq!(find("datasource").unwrap()["type"], "datasource");
            for wanted in ["job", "instance"] {
                let Some(variable) = find(wanted) else {
                    assert_eq!((name, wanted), ("fleet", "instance"));
                    continue;
                };
                assert_eq!(variable["label"], wanted);
                assert_eq!(variable["multi"], true);
                assert_eq!(variable["allValue"], ".+");
                let query = variable["query"]["query"].as_str().unwrap();
                assert!(query.starts_with("label_values("), "{query}");
            }
        }
    }
}

#[test]
fn panels_neither_overlap_nor_leave_the_grid() {
    for (_, dashboard) in dashboards(Flavor::default()) {
        let top: Vec<_> = dashboard["panels"].as_array().unwrap().clone();
        let rows = top.iter().filter(|p| p["type"] == "row");
        let inside = rows.filter_map(|row| row["panels"].as_array().cloned());
        for group in [top.clone()].into_iter().chain(inside) {
            let mut taken = HashSet::new();
            for panel in &group {
                let of = |key: &str| panel["gridPos"][key].as_u64().unwrap();
                assert!(of("x") + of("w") <= 24, "{}", panel["title"]);
                for x in of("x")..of("x") + of("w") {
                    for y in of("y")..of("y") + of("h") {
                        assert!(taken.insert((x, y)), "{} overlaps", panel["title"]);
                    }
                }
            }
        }
    }
}

/// Names that look alike as an address are different services all the same.
#[test]
fn services_never_share_a_dashboard() {
    let names = [
        "veltrix",
        "Veltrix",
        "veltrix-orders-and-invoices-eu",
        "veltrix-orders-and-invoices-us",
        "\u{6ce8}\u{6587}",
        "\u{8acb}\u{6c42}",
        "a b",
        "a-b",
    ];
    let mut uids = HashSet::new();
    for name in names {
        let all = generate::grafana(&Highwater::builder(name).without_presets()).unwrap();
        for text in [all.instance(), all.fleet()] {
            let dashboard: Value = serde_json::from_str(&text).unwrap();
            let uid = dashboard["uid"].as_str().unwrap().to_owned();
            assert!(uid.len() <= 40 && uid.is_ascii(), "{uid}");
            assert!(uids.insert(uid), "{name:?}");
        }
    }
}

/// A Prometheus server puts the namespace before the service's name, VictoriaMetrics does not.
#[test]
fn the_job_that_is_chosen_first_is_the_servers_own() {
    let builder = builder().resource("service.namespace", "shop");
    for flavor in Flavor::ALL {
        let all = generate::grafana(&builder).unwrap().flavor(flavor);
        let dashboard: Value = serde_json::from_str(&all.instance()).unwrap();
        let list = dashboard["templating"]["list"].as_array().unwrap();
        let job = list.iter().find(|variable| variable["name"] == "job").unwrap();
        let expected = match flavor {
            Flavor::VictoriaMetrics => "Veltrix Orders",
            _ => "shop/Veltrix Orders",
        };
        assert_eq!(job["current"]["value"][0], expected);
    }
}

/// Over a range a tile shows the last value there was: what has ended looks like what is.
#[test]
fn tiles_and_tables_show_what_is() {
    for (name, dashboard) in dashboards(Flavor::default()) {
        for panel in panels(&dashboard) {
            let now = panel["type"] == "stat" || panel["type"] == "table";
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["instant"], now, "{name}: {}", panel["title"]);
                assert_eq!(target["range"], !now, "{name}: {}", panel["title"]);
            }
        }
    }
}

#[test]
fn a_querys_threshold_is_drawn_over_its_quantiles() {
    let [(_, dashboard), _] = dashboards(Flavor::default());
    let panels = panels(&dashboard);
    let panel = panels.iter().find(|p| p["title"] == "p99 by query").unwrap();
    let defaults = &panel["fieldConfig"]["defaults"];
    assert_eq!(defaults["custom"]["thresholdsStyle"]["mode"], "line+area");
    assert_eq!(defaults["thresholds"]["steps"][1]["value"], 0.25);
}

#[test]
fn thresholds_are_the_rules_own() {
    let [(_, dashboard), _] = dashboards(Flavor::default());
    let panels = panels(&dashboard);
    let panel = panels.iter().find(|p| p["title"] == "Share of the limit in use").unwrap();
    let defaults = &panel["fieldConfig"]["defaults"];
    assert_eq!(defaults["custom"]["thresholdsStyle"]["mode"], "line+area");
    let steps: Vec<_> = defaults["thresholds"]["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["color"].as_str().unwrap().to_owned(), step["value"].as_f64()))
        .collect();
    let expected = [("green", None), ("orange", Some(0.85)), ("red", Some(0.95))];
    assert_eq!(steps, expected.map(|(color, value)| (color.to_owned(), value)));
}

#[test]
fn an_alert_leads_to_its_panel_and_its_runbook() {
    let [(_, dashboard), _] = dashboards(Flavor::default());
    let panels = panels(&dashboard);
    let table = panels.iter().find(|p| p["type"] == "table").unwrap().to_string();
    let focus =
        panels.iter().find(|p| p["title"] == "Value against threshold: $alert").unwrap()["id"]
            .as_u64()
            .unwrap();
    assert!(table.contains(&format!("viewPanel={focus}&")), "{table}");
    assert!(table.contains("https://runbooks.example/veltrix.md#${__data.fields.alertname}"));
    let links = |title: &str| {
        panels.iter().find(|p| p["title"] == title).unwrap()["links"][0]["url"].clone()
    };
    assert_eq!(links("Rule: MemoryHigh"), "https://runbooks.example/veltrix.md#MemoryHigh");
    assert_eq!(links("Rule: OrdersSlow"), "https://runbooks.example/orders");
    assert_eq!(panels.iter().filter(|p| p["title"] == "Rule: MemoryHigh").count(), 1);
}

/// With a fixed offset, what happened between two steps would vanish as one zooms out.
#[test]
fn annotations_look_back_to_the_last_step() {
    for flavor in Flavor::ALL {
        for (name, dashboard) in dashboards(flavor) {
            let list = dashboard["annotations"]["list"].as_array().unwrap();
            for expr in list.iter().filter_map(|annotation| annotation["expr"].as_str()) {
                assert!(expr.contains("$__interval"), "{name}: {expr}");
                assert!(!expr.contains("15s"), "{name}: {expr}");
            }
        }
    }
}

#[test]
fn hostile_names_stay_strings() {
    let name = "a\"}) or vector(1) #\\";
    let builder = Highwater::builder("</script> ${job} \u{202e}")
        .without_presets()
        .rule(rule::alert(name).when(rule::gauge("depth").above(1.0)));
    let all = generate::grafana(&builder).unwrap();
    let dashboard: Value = serde_json::from_str(&all.instance()).unwrap();
    let uid = dashboard["uid"].as_str().unwrap();
    assert!(uid.starts_with("highwater-script-job-") && uid.len() <= 40, "{uid}");
    let title = format!("Rule: {name}");
    let panels = panels(&dashboard);
    let expr = panels.iter().find(|p| p["title"] == title.as_str()).unwrap()["targets"][0]["expr"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(expr.contains(r#"alertname="a\"}) or vector(1) #\\""#), "{expr}");
    assert!(generate::grafana(&Highwater::builder(" ")).is_err(), "mistakes are told");
}

/// `promtool promql format` parses with Prometheus' own parser.
#[test]
fn prometheus_parses_every_expression() {
    let Some(promtool) = stack::find("prometheus_parses_every_expression", "promtool") else {
        return;
    };
    let presets = generate::grafana(&Highwater::builder("veltrix")).unwrap();
    for flavor in [Flavor::PrometheusNative, Flavor::PrometheusClassic] {
        let all = presets.clone().flavor(flavor);
        for text in [all.instance(), all.fleet()] {
            let dashboard: Value = serde_json::from_str(&text).unwrap();
            let mut seen = HashSet::new();
            for (title, expr) in expressions(&dashboard) {
                let expr = promql::filled(&expr, 300);
                if !seen.insert(expr.clone()) {
                    continue;
                }
                let run = Command::new(&promtool)
                    .args(["--experimental", "promql", "format", &expr])
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&run.stderr);
                assert!(run.status.success(), "{title}: {expr}: {said}");
            }
        }
    }
}
