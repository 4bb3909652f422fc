//! Rules that only a server can have: who is dead says nothing, and one instance knows nothing of
//! the others.

use std::fmt::Write as _;

use super::{outline::Outline, series::server_name};
use crate::{builder::Builder, error::Error, semconv as s};

/// Rules for a Prometheus server (or vmalert) beside those that run in the process: that the
/// service still reports, that its instances do, that half of them share a trouble, that an alert
/// fires in one of them, and a dead man's switch for the server itself.
///
/// The rules that run in the process are not repeated, so nobody is told twice:
/// `HighwaterAlertFiring` passes their state on, for whoever routes with Alertmanager.
///
/// ```
/// use highwater::{Highwater, generate};
///
/// let rules = generate::prometheus_rules(&Highwater::builder("veltrix"))?;
/// assert!(rules.contains("no instance of veltrix reports"));
/// # Ok::<(), highwater::Error>(())
/// ```
///
/// # Errors
/// Every mistake in the builder, as when it is started.
pub fn prometheus_rules(builder: &Builder) -> Result<String, Error> {
    let outline = Outline::of(builder)?;
    let job = format!("job=\"{}\"", escaped(&outline.service));
    let uptime = format!("{}{{{job}}}", server_name(s::PROCESS_UPTIME));
    let state = format!("{}{{{job}}}", server_name(s::ALERT_STATE));
    let instances = format!("count by (job) (max by (job, instance) ({uptime}))");
    let service = &outline.service;
    let rules = [
        Rule {
            name: "HighwaterAbsent",
            expr: format!("absent_over_time({uptime}[2m])"),
            hold: "1m",
            severity: "critical",
            summary: format!("no instance of {} reports", template_safe(service)),
            description: "Nothing of the service has arrived for three minutes: all of it is down, or none of it can deliver. Look whether it answers its callers before looking at monitoring.",
        },
        Rule {
            name: "HighwaterInstanceSilent",
            expr: format!(
                "max by (job, instance) (last_over_time({uptime}[10m])) unless max by (job, instance) (last_over_time({uptime}[2m]))"
            ),
            hold: "1m",
            severity: "warning",
            summary: "instance {{ $labels.instance }} has stopped reporting".to_owned(),
            description: "It reported within the last ten minutes and no longer does. After a deploy or a scale-down that is as it should be; otherwise it was killed: see whether OomKillSeen fired in another instance, and the kernel's log.",
        },
        Rule {
            name: "HighwaterAlertFiring",
            expr: format!(
                "max by (job, instance, rule, level) (label_replace({state}, \"rule\", \"$1\", \"alertname\", \"(.+)\")) == 4"
            ),
            hold: "0s",
            severity: "warning",
            summary: "{{ $labels.rule }} fires in {{ $labels.instance }}".to_owned(),
            description: "The process itself judged so; its own severity and evidence are in its log record, what to do is in the runbook under the rule's name.",
        },
        Rule {
            name: "HighwaterFleetAlerting",
            expr: format!(
                "count by (job, rule) (max by (job, instance, rule) (label_replace({state}, \"rule\", \"$1\", \"alertname\", \"(.+)\")) == 4) / on (job) group_left () {instances} > 0.5 and on (job) {instances} >= 3"
            ),
            hold: "1m",
            severity: "critical",
            summary:
                "{{ $labels.rule }} fires in {{ $value | humanizePercentage }} of the instances"
                    .to_owned(),
            description: "Not the instances are the cause but what they share: a deploy, the database, the load. Restarting them one by one will not help; look at what changed for all.",
        },
        Rule {
            name: "HighwaterDeadMan",
            expr: "vector(1)".to_owned(),
            hold: "0s",
            severity: "info",
            summary: "the server evaluates rules".to_owned(),
            description: "Always fires. Route it to something that tells you when it no longer does: then this server, its Alertmanager or the way between is down.",
        },
    ];
    let mut text = String::from(
        "# Written by highwater: what a server must watch, beside the rules that run in the process.\ngroups:\n",
    );
    // Writing to a string cannot fail, here and below.
    _ = write!(
        text,
        "  - name: {}\n    rules:\n",
        quoted(&format!("highwater-{}", outline.slug()))
    );
    for rule in rules {
        rule.write(&outline, &mut text);
    }
    Ok(text)
}

struct Rule {
    name: &'static str,
    expr: String,
    hold: &'static str,
    severity: &'static str,
    summary: String,
    description: &'static str,
}

impl Rule {
    fn write(&self, outline: &Outline, text: &mut String) {
        let mut line = |indent: usize, key: &str, value: &str| {
            _ = writeln!(text, "{}{key}: {}", " ".repeat(indent), quoted(value));
        };
        line(6, "- alert", self.name);
        line(8, "expr", &self.expr);
        if self.hold != "0s" {
            line(8, "for", self.hold);
        }
        _ = writeln!(text, "        labels:");
        let mut line = |key: &str, value: &str| {
            _ = writeln!(text, "          {key}: {}", quoted(value));
        };
        line("severity", self.severity);
        line("service", &template_safe(&outline.service));
        _ = writeln!(text, "        annotations:");
        let mut line = |key: &str, value: &str| {
            _ = writeln!(text, "          {key}: {}", quoted(value));
        };
        line("summary", &self.summary);
        line("description", self.description);
        if let Some(base) = &outline.runbooks {
            let section =
                if self.name == "HighwaterAlertFiring" || self.name == "HighwaterFleetAlerting" {
                    "{{ $labels.rule }}"
                } else {
                    self.name
                };
            line("runbook_url", &format!("{}#{section}", template_safe(base)));
        }
    }
}

/// A YAML string in double quotes.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Within a string of PromQL.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What is no template stays none.
fn template_safe(text: &str) -> String {
    text.replace("{{", "{ {")
}
