//! Rule files as text. Every string is double-quoted, with escapes that YAML and PromQL share.

use std::{fmt::Write as _, time::Duration};

use crate::rule::expr::{Quoted, Span};

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) name: String,
    /// What its rules call it: another group may have that name.
    pub(super) of: String,
    pub(super) limit: usize,
    pub(super) interval: Option<Duration>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Rule {
    /// `alert` or `record`.
    pub(super) key: &'static str,
    pub(super) name: String,
    pub(super) expr: String,
    pub(super) hold: Duration,
    pub(super) keep: Duration,
    pub(super) labels: Vec<(String, String)>,
    pub(super) annotations: Vec<(String, String)>,
}

pub(super) fn write(groups: &[Group]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = try_write(&mut out, groups);
    out
}

fn try_write(out: &mut String, groups: &[Group]) -> std::fmt::Result {
    if groups.is_empty() {
        return out.write_str("groups: []\n");
    }
    out.write_str("groups:\n")?;
    for group in groups {
        writeln!(out, "  - name: {}", Quoted(&group.name))?;
        if let Some(interval) = group.interval {
            writeln!(out, "    interval: {}", Span(interval))?;
        }
        if group.limit > 0 {
            writeln!(out, "    limit: {}", group.limit)?;
        }
        out.write_str("    rules:\n")?;
        for rule in &group.rules {
            writeln!(out, "      - {}: {}", rule.key, Quoted(&rule.name))?;
            writeln!(out, "        expr: {}", Quoted(&rule.expr))?;
            for (key, span) in [("for", rule.hold), ("keep_firing_for", rule.keep)] {
                if !span.is_zero() {
                    writeln!(out, "        {key}: {}", Span(span))?;
                }
            }
            for (key, pairs) in [("labels", &rule.labels), ("annotations", &rule.annotations)] {
                if !pairs.is_empty() {
                    writeln!(out, "        {key}:")?;
                }
                for (name, text) in pairs {
                    writeln!(out, "          {}: {}", Quoted(name), Quoted(text))?;
                }
            }
        }
    }
    Ok(())
}
