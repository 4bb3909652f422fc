use std::collections::HashSet;

use super::*;
use crate::{handle::Highwater, rule};

/// Emphasis that names neither a panel nor a rule.
#[cfg(feature = "generate")]
const WORDS: &[&str] =
    &["no", "memory full", "full", "CPU-starved", "worker_blocked", "Instances, the worst first"];

/// What stands between asterisks, outside of code.
#[cfg(feature = "generate")]
fn emphasised(text: &str) -> Vec<&str> {
    let prose = text.split('`').step_by(2);
    prose.flat_map(|part| part.split('*').skip(1).step_by(2)).collect()
}

#[cfg(feature = "generate")]
#[test]
fn what_the_advice_points_at_is_there() {
    let builder = Highwater::builder("veltrix");
    let dashboards = crate::generate::grafana(&builder).unwrap();
    let mut titles = HashSet::new();
    for text in [dashboards.instance(), dashboards.fleet()] {
        let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            let inside = panel["panels"].as_array().into_iter().flatten();
            for one in inside.chain([panel]) {
                titles.insert(one["title"].as_str().unwrap().to_owned());
            }
        }
    }
    let mut missing = Vec::new();
    for advice in advice::all() {
        let texts = [advice.means, advice.silence];
        for text in texts.iter().chain(advice.look).chain(advice.act) {
            for name in emphasised(text) {
                let is_rule = super::advice(name).is_some();
                if !titles.contains(name) && !is_rule && !WORDS.contains(&name) {
                    missing.push(format!("{}: *{name}*", advice.rule));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn figures_are_the_rules_own() {
    let presets = runbook(&Highwater::builder("veltrix")).unwrap();
    assert!(presets.contains("More than 90% of a memory limit"), "{presets}");
    assert!(presets.contains("More than 95% of a binding memory limit"));
    assert!(presets.contains("are open (critical: 95%)"));
    assert!(!presets.contains("{warning}") && !presets.contains("{critical}"));
    let own = rule::alert("MemoryNearLimit")
        .group("highwater")
        .when(rule::gauge("highwater.memory.utilization").above(0.7));
    let changed = runbook(&Highwater::builder("veltrix").rule(own)).unwrap();
    assert!(changed.contains("More than 70% of a memory limit"), "{changed}");
}

#[test]
fn every_preset_and_every_rule_for_a_server_has_advice() {
    let outline = Outline::of(&Highwater::builder("veltrix")).unwrap();
    let server = server_rules::rules(&outline, Flavor::default());
    let mut names: HashSet<&str> = outline.rules.iter().map(Rule::name).collect();
    names.extend(server.iter().map(|rule| rule.name));
    for name in &names {
        assert!(super::advice(name).is_some(), "{name}");
    }
    for advice in advice::all() {
        assert!(names.contains(advice.rule), "{} is no rule", advice.rule);
        assert!(!advice.act.is_empty() && !advice.look.is_empty(), "{}", advice.rule);
    }
}

#[test]
fn every_link_leads_to_a_section() {
    let base = "https://runbooks.example/veltrix.md";
    let own = rule::alert("Orders & \"sons\"").when(rule::gauge("depth").above(1.0));
    let builder = Highwater::builder("veltrix").runbooks(base).rule(own);
    let text = runbook(&builder).unwrap();
    let sections: HashSet<_> = text
        .split("<a id=\"")
        .skip(1)
        .map(|rest| {
            rest[..rest.find("\"></a>").unwrap()].replace("&quot;", "\"").replace("&amp;", "&")
        })
        .collect();
    let rules = Outline::of(&builder).unwrap().rules;
    for rule in rules.iter().filter(|rule| rule.enabled) {
        let section = rule.runbook.as_ref().unwrap().strip_prefix(&format!("{base}#")).unwrap();
        assert!(sections.contains(section), "{section}");
    }
    let server = crate::generate::prometheus_rules(&builder, Flavor::default()).unwrap();
    let links =
        server.split("runbook_url: \"").skip(1).map(|rest| &rest[..rest.find('"').unwrap()]);
    let mut found = 0;
    for link in links {
        let section = link.strip_prefix(&format!("{base}#")).unwrap();
        // The label of an alert that the process passes on: a rule's name.
        assert!(sections.contains(section) || section == "{{ $labels.rule }}", "{section}");
        found += 1;
    }
    assert_eq!(found, 5);
}

#[test]
fn what_was_done_is_what_this_service_does() {
    let text = runbook(&Highwater::builder("veltrix")).unwrap();
    let section = |text: &str, name: &str| {
        let from = text.find(&format!("## {name}\n")).unwrap();
        text[from..][..text[from..].find("**Silence").unwrap()].to_owned()
    };
    let memory = section(&text, "MemoryNearLimit");
    assert!(
        memory.contains("who holds the memory") && memory.contains("It told: log."),
        "{memory}"
    );
    assert!(!memory.contains("wrote a page"));
    assert!(section(&text, "PoolSaturated").contains("who holds the pool"));
    assert!(section(&text, "QueryErrorShare").contains("how the query fares"));
    let theirs = Highwater::builder("veltrix").owner(Owner::Server).report(crate::report::to("p"));
    let text = runbook(&theirs).unwrap();
    assert!(section(&text, "MemoryNearLimit").contains("a server owns this rule"));
    let paged = Highwater::builder("veltrix").report(crate::report::to("p"));
    assert!(section(&runbook(&paged).unwrap(), "MemoryNearLimit").contains("It wrote a page"));
}
