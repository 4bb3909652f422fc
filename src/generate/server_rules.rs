//! Rules that only a server can have: who is dead says nothing, and one instance knows nothing of
//! the others.

use std::fmt::Write as _;

use super::{Flavor, outline::Outline, series::server_name};
use crate::{builder::Builder, error::Error, event::Owner, semconv as s};

/// Rules for a Prometheus server (or vmalert) beside those that run in the process: that the
/// service still reports, that its instances do, that half of them share a trouble, that an alert
/// fires in one of them, and a dead man's switch for the server itself.
///
/// `HighwaterAlertFiring` passes on what the process decided, with its severity and labels, for
/// whoever routes with Alertmanager. Rules that a [server owns](crate::Builder::owner) are left out
/// of it: [`process_rules`](super::process_rules) writes them for the server, and nobody is told
/// twice.
///
/// The service is found by the label that this kind of server has for it (`job`, or
/// `service_name`), with the `service.namespace` the builder names.
///
/// ```
/// use highwater::{Highwater, generate::{self, Flavor}};
///
/// let builder = Highwater::builder("veltrix");
/// let rules = generate::prometheus_rules(&builder, Flavor::PrometheusNative)?;
/// assert!(rules.contains("no instance of veltrix reports"));
/// # Ok::<(), highwater::Error>(())
/// ```
///
/// # Errors
/// Every mistake in the builder, as when it is started.
pub fn prometheus_rules(builder: &Builder, flavor: Flavor) -> Result<String, Error> {
    let outline = Outline::of(builder)?;
    let rules = rules(&outline, flavor);
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

pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) expr: String,
    hold: &'static str,
    pub(super) severity: &'static str,
    summary: String,
    pub(super) description: &'static str,
}

/// The state's own severity, where it has one.
const PASSED_ON: &str = "{{ if $labels.severity }}{{ $labels.severity }}{{ else }}warning{{ end }}";

pub(super) fn rules(outline: &Outline, flavor: Flavor) -> [Rule; 5] {
    let (job, instance) = (flavor.job(), flavor.instance());
    let mut service = format!("{job}=\"{}\"", escaped(&outline.job(flavor)));
    if let (Flavor::VictoriaMetrics, Some(namespace)) = (flavor, &outline.namespace) {
        _ = write!(service, ",service_namespace=\"{}\"", escaped(namespace));
    }
    let uptime = format!("{}{{{service}}}", server_name(s::PROCESS_UPTIME));
    let there =
        |when: &str| format!("max by ({job}, {instance}) (last_over_time({uptime}[{when}]))");
    let instances = format!("count by ({job}) ({})", there("2m"));
    // The fewest of a while before: in a rolling deploy, old and new stand side by side.
    let before = format!("min_over_time(({instances})[10m:1m] offset 10m)");
    // By the rule's name under another label: `alertname` is this rule's own.
    let firing = |more: &str| {
        let state = server_name(s::ALERT_STATE);
        format!(
            "label_replace({state}{{{service}{more}}} == 4, \"rule\", \"$1\", \"alertname\", \"(.+)\")"
        )
    };
    let mut theirs: Vec<_> = outline
        .rules
        .iter()
        .filter(|rule| rule.owner == Owner::Server)
        .map(|rule| regex_escaped(rule.name()))
        .collect();
    theirs.dedup();
    let not_theirs = match theirs.as_slice() {
        [] => String::new(),
        theirs => format!(",alertname!~\"{}\"", escaped(&theirs.join("|"))),
    };
    [
        Rule {
            name: "HighwaterAbsent",
            expr: format!("absent_over_time({uptime}[2m])"),
            hold: "1m",
            severity: "critical",
            summary: format!("no instance of {} reports", template_safe(&outline.service)),
            description: "Nothing of the service has arrived for three minutes: all of it is down, or none of it can deliver. Look whether it answers its callers before looking at monitoring.",
        },
        Rule {
            name: "HighwaterInstanceSilent",
            expr: format!(
                "({} unless {}) and on ({job}) ({instances} < {before})",
                there("10m"),
                there("2m"),
            ),
            hold: "1m",
            severity: "warning",
            summary: format!("instance {{{{ $labels.{instance} }}}} has stopped reporting"),
            description: "It reported within the last ten minutes and no longer does, and there are fewer instances than there were before. After a scale-down that is as it should be; otherwise it was killed: see whether OomKillSeen fired in another instance, and the kernel's log.",
        },
        Rule {
            name: "HighwaterAlertFiring",
            expr: firing(&not_theirs),
            hold: "0s",
            severity: PASSED_ON,
            summary: format!("{{{{ $labels.rule }}}} fires in {{{{ $labels.{instance} }}}}"),
            description: "The process itself judged so, and this is its severity; its evidence is in its log record, what to do is in the runbook under the rule's name. A silence given in the process does not reach here.",
        },
        Rule {
            name: "HighwaterFleetAlerting",
            expr: format!(
                "count by ({job}, rule) (max by ({job}, {instance}, rule) ({})) / on ({job}) group_left () {instances} > 0.5 and on ({job}) {instances} >= 3",
                firing(",severity!=\"info\"")
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
    ]
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
            let section = match self.name {
                "HighwaterAlertFiring" => "{{ $labels.rule }}",
                own => own,
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

/// Within a regular expression.
fn regex_escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if !c.is_alphanumeric() && c.is_ascii() {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

/// Within a string of PromQL.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What is no template stays none.
fn template_safe(text: &str) -> String {
    text.replace("{{", "{ {")
}
