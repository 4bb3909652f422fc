//! The page from top to bottom. What stands first is for someone who was just woken: what fires,
//! what is behind it, how long there is, and what to do first.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use super::{
    Report,
    markup::{Name, Prose, Text, bytes, percent, seconds},
};
use crate::{
    clock::rfc3339,
    event::{State, Transition},
    generate::{Advice, advice},
    history::{History, Line},
    rule::{Rule, readable},
    semconv as s,
    sync::Arc,
};

const STYLE: &str = include_str!("style.css");

pub(super) struct Page<'a> {
    pub(super) report: &'a Report,
    pub(super) history: &'a History,
    /// From when to when charts are drawn, seconds since the clock's origin.
    pub(super) time: (f64, f64),
}

impl<'a> Page<'a> {
    pub(super) fn new(report: &'a Report) -> Self {
        let history = &report.history;
        let end = history.at.mono.as_secs_f64();
        let begin = if history.columns.len() == 0 { end } else { history.columns.time(0) };
        // A page of the first second still has a width.
        Self { report, history, time: (begin.min(end - 1.0), end) }
    }

    pub(super) fn html(&self) -> String {
        let mut out = String::with_capacity(64 << 10);
        let service = Text(&self.report.service);
        // No source of anything is allowed: the page cannot ask anybody for anything.
        _ = write!(
            out,
            r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="referrer" content="no-referrer"><title>{service} · highwater</title><style>{STYLE}</style></head><body>"#
        );
        _ = write!(
            out,
            "<header><b>{}</b><span>as of <time>{}</time></span><span>the last {}</span></header><main>",
            Name(&self.report.service),
            utc(self.report.at),
            seconds((self.time.1 - self.time.0).round())
        );
        self.lead(&mut out);
        self.others(&mut out);
        self.tiles(&mut out);
        self.memory(&mut out);
        self.queries(&mut out);
        self.pools(&mut out);
        self.timeline(&mut out);
        self.evidence(&mut out);
        self.runbook(&mut out);
        out.push_str("</main><footer>Written by highwater ");
        out.push_str(env!("CARGO_PKG_VERSION"));
        out.push_str(" from what the process had in memory. Quantiles here are at most 9% off; what is exported is finer.");
        if self.history.left_out > 0 {
            _ = write!(out, " {} further series found no room on it.", self.history.left_out);
        }
        out.push_str("</footer></body></html>\n");
        out
    }

    /// The worst that fires; of equals the one that fired first, as it is nearer to the cause.
    fn worst(&self) -> Option<&'a Arc<Transition>> {
        let firing = self.history.firing.iter();
        firing.min_by_key(|transition| (std::cmp::Reverse(transition.rule.severity), transition.at))
    }

    /// The last that fired, where nothing does any more.
    fn latest(&self) -> Option<&'a Arc<Transition>> {
        self.history.transitions.iter().rev().find(|transition| transition.to == State::Firing)
    }

    fn lead(&self, out: &mut String) {
        let (transition, over) = match (self.worst(), self.latest()) {
            (Some(worst), _) => (worst, false),
            (None, Some(latest)) => (latest, true),
            (None, None) => {
                out.push_str("<section class=\"lead well\" id=\"lead\"><p class=\"word\">all is well</p><h1>No alert has fired.</h1></section>");
                return;
            }
        };
        let class = if over { "well" } else { transition.rule.severity.as_str() };
        _ = write!(
            out,
            r#"<section class="lead {class}" id="lead"><p class="word">{} · {}</p><h1 id="rule">{}</h1><p id="summary">{}</p>"#,
            transition.rule.severity,
            if over { self.ended(transition) } else { self.since(transition) },
            Name(&transition.rule.name),
            Text(&transition.summary)
        );
        if let Some(cause) = transition.evidence.as_ref().and_then(|evidence| evidence.likeliest())
        {
            _ = write!(out, r#"<p id="cause"><b>Likely:</b> {}</p>"#, Text(&cause.text));
        }
        self.key_figures(out);
        if let Some(first) = advice(&transition.rule.name).and_then(|advice| advice.act.first()) {
            _ = write!(
                out,
                r#"<p class="do" id="first"><b>Do this first:</b> {}</p>"#,
                Prose(first)
            );
        } else if !transition.description.is_empty() {
            let text = Text(&transition.description);
            _ = write!(out, r#"<p class="do" id="first">{text}</p>"#);
        } else {
            out.push_str(r#"<p class="do" id="first"><b>Do this first:</b> read the likely causes and the evidence below. Whoever wrote this rule left no word of what to do: its <code>description</code> would stand here.</p>"#);
        }
        if let Some(runbook) = &transition.rule.runbook {
            _ = write!(out, r#"<p class="dim">Runbook: {}</p>"#, Text(runbook));
        }
        out.push_str("</section>");
    }

    /// Who eats the memory, how long there is, how full it is.
    fn key_figures(&self, out: &mut String) {
        out.push_str("<div class=\"facts\">");
        let mut fact = |id: &str, what: &str, name: &str, value: String| {
            let name = if name.is_empty() { String::new() } else { Name(name).to_string() };
            _ = write!(out, r#"<div id="{id}"><span>{what} {name}</span><b>{value}</b></div>"#);
        };
        let eater = self
            .history
            .lines_of(s::COMPONENT_MEMORY_USAGE)
            .filter_map(|line| Some((line, line.now()?)))
            .max_by(|(_, a), (_, b)| a.total_cmp(b));
        if let Some((line, held)) = eater {
            fact("eater", "most memory:", line.label(s::COMPONENT_NAME), bytes(held));
        }
        let left = self.history.lines_of(s::MEMORY_TIME_TO_LIMIT).filter_map(Line::now);
        let left = left.min_by(f64::total_cmp);
        let limited = self.history.lines_of(s::MEMORY_LIMIT).any(|line| line.now().is_some());
        // What rises within seconds is no trend yet, and no less near.
        match (left, self.history.runway()) {
            (Some(left), _) => fact("left", "memory limit reached in", "", tenths(left)),
            (None, Some(left)) => {
                fact("left", "at this moment's growth, memory limit reached in", "", tenths(left));
            }
            (None, None) if limited => {
                fact("left", "memory limit", "", "not in sight".to_owned());
            }
            (None, None) => {}
        }
        if let Some(share) = self.history.now(s::MEMORY_BINDING_UTILIZATION) {
            fact("share", "of the memory limit in use", "", percent(share));
        }
        if let Some((name, p99)) = self.slowest() {
            fact("slowest", "slowest query, p99:", &name, seconds(p99));
        }
        out.push_str("</div>");
    }

    /// For how long it has been firing, what it was pending before left out.
    fn since(&self, fired: &Transition) -> String {
        let ago = self.report.at.duration_since(fired.at).unwrap_or_default();
        if ago.as_secs() == 0 {
            return "firing since just now".to_owned();
        }
        format!("firing for {}", seconds(ago.as_secs_f64().round()))
    }

    /// When it ended, and how long it fired.
    fn ended(&self, fired: &Transition) -> String {
        let ends = |other: &&Arc<Transition>| {
            other.from == State::Firing && other.at >= fired.at && other.is_same_alert(fired)
        };
        let Some(end) = self.history.transitions.iter().find(ends) else {
            return "over".to_owned();
        };
        let whole = |from: SystemTime, to: SystemTime| {
            seconds(to.duration_since(from).unwrap_or_default().as_secs_f64().round())
        };
        format!(
            "over since {} ago, fired for {}",
            whole(end.at, self.report.at),
            whole(fired.at, end.at)
        )
    }

    /// What else fires.
    fn others(&self, out: &mut String) {
        let worst = self.worst();
        let others: Vec<_> = self
            .history
            .firing
            .iter()
            .filter(|transition| worst.is_none_or(|worst| !Arc::ptr_eq(worst, transition)))
            .collect();
        if others.is_empty() {
            return;
        }
        out.push_str("<h2>Also firing</h2><ul>");
        for transition in others {
            let severity = transition.rule.severity;
            _ = write!(
                out,
                r#"<li><span class="word {severity}">{severity}</span> <b>{}</b> {} <span class="dim">{}</span></li>"#,
                Name(&transition.rule.name),
                Text(&transition.summary),
                self.since(transition)
            );
        }
        out.push_str("</ul>");
    }

    /// The figures of the first row, for when nothing fires.
    fn tiles(&self, out: &mut String) {
        if self.worst().is_none() && self.latest().is_none() {
            self.key_figures(out);
        }
    }

    /// What each alert carried, the latest first.
    fn evidence(&self, out: &mut String) {
        let carried: Vec<_> = self
            .history
            .transitions
            .iter()
            .rev()
            .filter(|transition| transition.to == State::Firing)
            .filter_map(|transition| Some((transition, transition.evidence.as_ref()?)))
            .take(12)
            .collect();
        if carried.is_empty() {
            return;
        }
        out.push_str(
            "<h2>Evidence</h2><p class=\"dim\">As it was the moment each alert fired.</p>",
        );
        for (at, (transition, evidence)) in carried.iter().enumerate() {
            let open = if at == 0 { " open" } else { "" };
            _ = write!(
                out,
                "<details{open}><summary>{} <span class=\"dim\">{}</span></summary>",
                Name(&transition.rule.name),
                utc(transition.at)
            );
            let unit = &transition.rule.unit;
            if let (Some(value), Some(threshold)) = (transition.value, transition.threshold) {
                let (value, threshold) =
                    (readable(Some(value), unit), readable(Some(threshold), unit));
                _ = write!(
                    out,
                    "<p>{} against a threshold of {}</p>",
                    Text(&value),
                    Text(&threshold)
                );
            }
            if !evidence.causes.is_empty() {
                out.push_str("<p><b>Likely causes</b>, the likeliest first; hypotheses:</p><ol>");
                for cause in &evidence.causes {
                    _ = write!(out, "<li>{}</li>", Text(&cause.text));
                }
                out.push_str("</ol>");
            }
            out.push_str("<ul>");
            for fact in &evidence.facts {
                _ = write!(out, "<li>{}</li>", Text(&fact.text));
            }
            _ = write!(
                out,
                "</ul><p><code>{}</code></p></details>",
                Text(&transition.rule.expression)
            );
        }
    }

    /// The sections of what fires or fired.
    fn runbook(&self, out: &mut String) {
        let mut names: Vec<&str> = Vec::new();
        let firing = self.worst().into_iter().chain(self.history.firing.iter());
        let fired = self.history.transitions.iter().rev().filter(|t| t.to == State::Firing);
        for transition in firing.chain(fired) {
            if !names.contains(&&*transition.rule.name) {
                names.push(&transition.rule.name);
            }
        }
        if names.is_empty() {
            return;
        }
        out.push_str("<h2>What to do</h2>");
        for (at, name) in names.iter().enumerate() {
            let open = if at == 0 { " open" } else { "" };
            _ = write!(out, "<details{open}><summary>{}</summary>", Name(name));
            match advice(name) {
                Some(advice) => {
                    let Advice { look, act, silence, .. } = advice;
                    let rules: Vec<_> =
                        self.report.rules.iter().filter(|rule| rule.name() == *name).collect();
                    let means = advice.means_with(&rules);
                    _ = write!(out, "<p>{}</p><h3>Now</h3><ol>", Prose(&means));
                    act.iter().for_each(|step| _ = write!(out, "<li>{}</li>", Prose(step)));
                    out.push_str("</ol><h3>Look at</h3><ul>");
                    look.iter().for_each(|step| _ = write!(out, "<li>{}</li>", Prose(step)));
                    _ = write!(out, "</ul><h3>Silence it honestly</h3><p>{}</p>", Prose(silence));
                }
                None => self.own_words(name, out),
            }
            out.push_str("</details>");
        }
    }

    /// What a rule of the service says of itself.
    fn own_words(&self, name: &str, out: &mut String) {
        let rules: Vec<&Rule> = self.report.rules.iter().filter(|r| r.name() == name).collect();
        for rule in rules {
            if !rule.description.is_empty() {
                _ = write!(out, "<p>{}</p>", Text(&rule.description));
            }
            if let Some(address) = &rule.runbook {
                _ = write!(out, "<p>Runbook: {}</p>", Text(address));
            }
            _ = write!(out, "<p><code>{}</code></p>", Text(&rule.expression()));
        }
    }

    /// When a wall clock's time was, on the charts' axis.
    pub(super) fn mono_of(&self, at: SystemTime) -> f64 {
        let now = self.history.at;
        let ago = now.wall.duration_since(at).map_or(0.0, |ago: Duration| ago.as_secs_f64());
        now.mono.as_secs_f64() - ago
    }
}

/// To the second, or below ten to a tenth.
fn tenths(left: f64) -> String {
    seconds(if left < 10.0 { (left * 10.0).round() / 10.0 } else { left.round() })
}

fn utc(at: SystemTime) -> String {
    let text = rfc3339(at);
    // Milliseconds say nothing to people.
    text.split('.').next().unwrap_or_default().replace('T', " ") + " UTC"
}
