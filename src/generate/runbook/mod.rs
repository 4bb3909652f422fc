//! A runbook in Markdown: a section for each rule that runs, found by the rule's name.

mod advice;

use std::fmt::Write as _;

pub(crate) use self::advice::{Advice, advice};
use super::outline::Outline;
use crate::{builder::Builder, error::Error, rule::Rule};

/// A runbook for what this builder would run, in Markdown: a section for each rule, under its
/// name. Put it where [`Builder::runbooks`] points, and every alert links to its section.
///
/// ```
/// use highwater::{Highwater, generate};
///
/// let runbook = generate::runbook(&Highwater::builder("veltrix"))?;
/// assert!(runbook.contains("## MemoryNearLimit"));
/// # Ok::<(), highwater::Error>(())
/// ```
///
/// # Errors
/// Every mistake in the builder, as when it is started.
pub fn runbook(builder: &Builder) -> Result<String, Error> {
    let outline = Outline::of(builder)?;
    let mut text = format!(
        "# What to do when an alert of {} fires\n\n{}\n",
        plain(&outline.service),
        "Written by highwater from the rules that run in the service. Panels are those of the generated dashboard; the *evidence* is in the alert itself, in its log record and on the service's own page."
    );
    let names = outline.by_name();
    for (name, _) in &names {
        // Writing to a string cannot fail, here and below.
        _ = write!(text, "\n- [{}](#{name})", plain(name));
    }
    text.push('\n');
    for (name, rules) in names {
        section(&mut text, name, &rules);
    }
    text.push_str(SILENCING);
    Ok(text)
}

fn section(text: &mut String, name: &str, rules: &[&Rule]) {
    _ = write!(text, "\n<a id=\"{}\"></a>\n\n## {}\n\n", attribute(name), plain(name));
    let advice = advice(name);
    let mut described: Vec<&str> = Vec::new();
    for rule in rules {
        let hold = match rule.hold.as_secs() {
            0 => "at once".to_owned(),
            seconds => format!("for {seconds} s"),
        };
        _ = writeln!(
            text,
            "- **{}**, {hold}: `{}`",
            rule.severity_level(),
            code(&rule.expression())
        );
        if !rule.description.is_empty() && !described.contains(&rule.description.as_str()) {
            described.push(&rule.description);
        }
    }
    match advice {
        Some(Advice { means, look, act, silence, .. }) => {
            _ = write!(text, "\n**What it means.** {means}\n");
            list(text, "What to look at", "- ", look);
            list(text, "What to do now", "1. ", act);
            already(text, rules);
            _ = write!(text, "\n**Silence it honestly.** {silence}\n");
        }
        None => {
            if !described.is_empty() {
                _ = write!(text, "\n**What it means.** {}\n", plain(&described.join(" ")));
            }
            list(
                text,
                "What to look at",
                "- ",
                &[
                    "The panel *Rule: …* of this name: the value against its threshold.",
                    "The evidence in the alert.",
                ],
            );
            already(text, rules);
            text.push_str(
                "\n**Silence it honestly.** For a reason and until a time; see the end of this page.\n",
            );
        }
    }
    // Those that lead here would lead in a circle.
    let elsewhere = rules.iter().filter_map(|rule| rule.runbook.as_deref());
    let mut elsewhere: Vec<_> =
        elsewhere.filter(|address| !address.ends_with(&format!("#{name}"))).collect();
    elsewhere.dedup();
    for address in elsewhere {
        _ = write!(text, "\n**More:** <{}>\n", address.replace(['<', '>', ' '], ""));
    }
}

fn list(text: &mut String, title: &str, bullet: &str, items: &[&str]) {
    _ = write!(text, "\n**{title}.**\n\n");
    for item in items {
        _ = writeln!(text, "{bullet}{item}");
    }
}

/// What happened before anybody was woken: the same for every rule, but for its own words.
fn already(text: &mut String, rules: &[&Rule]) {
    text.push_str(
        "\n**What highwater already did.** It set the alert's state for every handler in the process that watches it, gathered the evidence, told the sinks and sent a log record; the record waits on disk if there is a spool.",
    );
    if rules.iter().any(|rule| !rule.keep.is_zero()) {
        let keep = rules.iter().map(|rule| rule.keep.as_secs()).max().unwrap_or(0);
        _ = write!(
            text,
            " It goes on firing for up to {keep} s after the condition ceased, so that it does not flap."
        );
    }
    text.push('\n');
}

const SILENCING: &str = "
## To keep an alert quiet

A silence keeps the *sinks* quiet; states, series and exports go on. It always ends by itself.

- from the code: `hw.silence([(\"alertname\", \"NAME\")], duration, \"why\")`
- without a build: a line in `HIGHWATER_SILENCE_FILE`, such as
  `2026-11-24T03:00:00Z alertname=NAME # why`
- for good, where a rule is wrong for this service: `HIGHWATER_RULES=NAME.threshold=…`, or
  `NAME=off`. Say why where the next person looks.
";

/// Without what Markdown or HTML would take for its own.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn attribute(text: &str) -> String {
    plain(text).replace('\\', "").replace('"', "&quot;")
}

/// Within backquotes.
fn code(text: &str) -> String {
    text.chars().map(|c| if c == '`' || c.is_control() { ' ' } else { c }).collect()
}
