//! A runbook in Markdown: a section for each rule that runs, found by the rule's name.

mod advice;
mod server;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

pub(crate) use self::advice::{Advice, advice};
use super::{Flavor, outline::Outline, server_rules};
use crate::{builder::Builder, error::Error, event::Owner, rule::Rule};

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
    let server = server_rules::rules(&outline, Flavor::default());
    for name in names.iter().map(|(name, _)| *name).chain(server.iter().map(|rule| rule.name)) {
        // Writing to a string cannot fail, here and below.
        _ = write!(text, "\n- [{}](#{})", plain(name), anchor(name));
    }
    text.push('\n');
    for (name, rules) in names {
        section(&mut text, name, &rules, &outline);
    }
    for rule in &server {
        server_section(&mut text, rule);
    }
    text.push_str(SILENCING);
    Ok(text)
}

fn section(text: &mut String, name: &str, rules: &[&Rule], outline: &Outline) {
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
        Some(advice) => {
            _ = write!(text, "\n**What it means.** {}\n", advice.means_with(rules));
            list(text, "What to look at", "- ", advice.look);
            list(text, "What to do now", "1. ", advice.act);
            already(text, rules, outline);
            _ = write!(text, "\n**Silence it honestly.** {}\n", advice.silence);
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
            already(text, rules, outline);
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

/// One of those for a server, written beside: nothing in the process knows of it.
fn server_section(text: &mut String, rule: &server_rules::Rule) {
    _ = write!(text, "\n<a id=\"{0}\"></a>\n\n## {0}\n\nEvaluated by the server.\n", rule.name);
    if let Some(advice) = advice(rule.name) {
        _ = write!(text, "\n**What it means.** {}\n", advice.means_with(&[]));
        list(text, "What to look at", "- ", advice.look);
        list(text, "What to do now", "1. ", advice.act);
        text.push_str("\n**What highwater already did.** Nothing: it is the server that speaks.\n");
        _ = write!(text, "\n**Silence it honestly.** {}\n", advice.silence);
    }
}

/// What happened before anybody was woken.
fn already(text: &mut String, rules: &[&Rule], outline: &Outline) {
    let expressions: Vec<_> = rules.iter().map(|rule| rule.expression()).collect();
    let about = |words: &[&str]| {
        expressions.iter().any(|text| words.iter().any(|word| text.contains(word)))
    };
    text.push_str("\n**What highwater already did.**\n\n");
    let mut line = |words: &str| _ = writeln!(text, "- {words}");
    line(
        "It set the alert's state for every handler in the process that watches it, and exported it.",
    );
    // As the evidence is chosen.
    line(if about(&["connection", "highwater.pool"]) {
        "It kept who holds the pool: connections in use and the most there may be, who waits and for how long, the queries with most calls under way."
    } else if about(&["operation.duration", "query"]) {
        "It kept how the query fares: its calls and failures, how many are under way, p50 and p99 against the hour before, the waits for a connection, and the likeliest causes."
    } else if about(&["memory", "pressure", "paging", "oom"]) {
        "It kept who holds the memory: usage and limit, the five largest components and what each gained in a minute, the time left, pressure, and the likeliest causes."
    } else {
        "It kept what else was going on: the slowest query, how full memory is, which alerts fired before."
    });
    if about(&["highwater.memory"]) {
        line("It looked more often the nearer the limit came: up to ten times a second.");
    }
    let server = rules.iter().all(|rule| rule.owner == Owner::Server);
    if server {
        line("It told nobody: a server owns this rule and tells people.");
    } else {
        line(&format!("It told: {}.", outline.sinks.join(", ")));
    }
    line(
        "It sent a log record with the evidence where it pushes to; that waits on disk if there is a spool.",
    );
    if outline.pages && !server {
        line("It wrote a page with all of this, unless it wrote one within the minute.");
    }
    let keep = rules.iter().map(|rule| rule.keep.as_secs()).max().unwrap_or(0);
    if keep > 0 {
        line(&format!(
            "It goes on firing for {keep} s after the condition ceased, so that it does not flap."
        ));
    }
    let mut quiet: Vec<_> =
        rules.iter().flat_map(|rule| &rule.inhibited_by).map(|name| plain(name)).collect();
    quiet.dedup();
    if !quiet.is_empty() {
        line(&format!("It keeps quiet while this fires: {}.", quiet.join(", ")));
    }
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

/// Within a link's target.
fn anchor(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.~".contains(c);
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            c if plain(c) => out.push(c),
            c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| _ = write!(out, "%{byte:02X}")),
        }
        out
    })
}

/// Within backquotes.
fn code(text: &str) -> String {
    text.chars().map(|c| if c == '`' || c.is_control() { ' ' } else { c }).collect()
}
