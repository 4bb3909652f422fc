//! Rules as a Prometheus rule file: the same names, labels and meaning, and where a server has no
//! equal, the nearest rule and a word about it.

mod classic;
mod known;
mod names;
mod scope;
mod yaml;

use std::{fmt, time::Duration};

pub(crate) use known::KNOWN;
pub(crate) use names::Catalog;
pub(crate) use scope::Scope;

use super::{
    builder::{Rule, SEVERITY},
    condition::Condition,
    expr::{Expr, Function, Span, Type},
    index::LE,
    template::{self, Template},
};
use crate::event::Owner;

/// What metrics and labels are called in what is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Names {
    /// As a server has them that translates: `process_memory_usage_bytes`.
    #[default]
    Translated,
    /// As they are here, quoted: `{"process.memory.usage"}`.
    Own,
}

/// What histograms are on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Histograms {
    /// Exponential ones, as they are pushed by default.
    #[default]
    Native,
    /// Series by `le`: `_bucket`, `_count`, `_sum`.
    Classic,
    /// The same by `vmrange`: what VictoriaMetrics makes of exponential ones.
    VmRange,
}

/// How rules are exported.
///
/// ```
/// use highwater::rule::{ExportStyle, Histograms, Owner};
/// let style = ExportStyle::new().histograms(Histograms::Classic).only(Owner::Server);
/// ```
#[derive(Debug, Clone)]
#[must_use = "give it to `export_rules`"]
pub struct ExportStyle {
    names: Names,
    histograms: Histograms,
    only: Option<Owner>,
    scraped_every: Duration,
    scope: Option<Scope>,
}

impl Default for ExportStyle {
    fn default() -> Self {
        Self {
            names: Names::default(),
            histograms: Histograms::default(),
            only: None,
            scraped_every: Duration::from_secs(60),
            scope: None,
        }
    }
}

impl ExportStyle {
    /// Translated names, native histograms, all rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// What metrics and labels are called; [`Names::Translated`] by default.
    pub fn names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// What histograms are there; [`Histograms::Native`] by default.
    pub fn histograms(mut self, histograms: Histograms) -> Self {
        self.histograms = histograms;
        self
    }

    /// How often the server gets samples, by scrape or push: 60 s by default, Prometheus' own and
    /// that of a push. Rules whose windows are shorter than twice that are among the
    /// [approximations](Exported::approximations): they see nothing there.
    pub fn scraped_every(mut self, interval: Duration) -> Self {
        self.scraped_every = interval;
        self
    }

    /// Only the rules of this owner. A server that runs those of [`Owner::Process`] too tells
    /// people a second time.
    pub fn only(mut self, owner: Owner) -> Self {
        self.only = Some(owner);
        self
    }

    /// Only this service's series, instance by instance; rules of the process are marked as such.
    pub(crate) fn within(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }
}

/// The label of what the process tells people of itself.
const OWNER: &str = "highwater_owner";

/// A rule file, and what of it is not quite the same. Prints as the file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Exported {
    /// The file.
    pub yaml: String,
    /// What a server cannot do as it is done here; each is in an annotation of its rule too.
    pub approximations: Vec<Approximation>,
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.yaml)
    }
}

/// Something a server does otherwise.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Approximation {
    /// The rule's name.
    pub rule: String,
    /// What has no equal there.
    pub of: Inequality,
    /// What that means for the rule.
    pub because: String,
}

/// What has no equal in a Prometheus rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inequality {
    /// It clears at another threshold than it begins, or by fewer conditions.
    ClearThreshold,
    /// N of M evaluations.
    Times,
    /// A missing sample is not a condition that ceased.
    NoData,
    /// It waits after the start.
    WarmUp,
    /// News of an alert that flaps is delayed.
    Damping,
    /// Nobody is told of it while another one fires: that is Alertmanager's work there.
    Inhibition,
    /// It compares with what was learnt once.
    Baseline,
    /// Over its limit its alerts stay as they are.
    Limit,
    /// It is evaluated at every tick.
    Interval,
    /// It looks at windows that hold less than two samples there.
    ShortWindow,
    /// The server's buckets are coarser: [`Histograms::Classic`].
    Buckets,
}

/// The annotation that names the approximations.
const ANNOTATION: &str = "highwater_approximations";

/// Rules as one file.
pub(crate) fn export<'a>(
    rules: impl IntoIterator<Item = &'a Rule>,
    catalog: &Catalog,
    style: &ExportStyle,
) -> Exported {
    let mut groups: Vec<yaml::Group> = Vec::new();
    let mut approximations = Vec::new();
    let wanted = |rule: &&Rule| rule.enabled && style.only.is_none_or(|only| only == rule.owner);
    for rule in rules.into_iter().filter(wanted) {
        let Some(condition) = &rule.condition else { continue };
        let name = if rule.group.is_empty() { "highwater" } else { &rule.group };
        let group = group_of(&mut groups, name, rule);
        let translated = |expr| translated(expr, rule.strict, catalog, style);
        let found = compare(rule, condition, style, translated);
        let raise = condition.raise();
        record(&raise, group, &translated);
        group.rules.push(yaml::Rule {
            key: "alert",
            name: rule.name.clone(),
            expr: translated(raise).to_string(),
            hold: rule.hold,
            keep: rule.keep,
            labels: labels(rule, style),
            annotations: annotations(rule, condition, &found, catalog, style),
        });
        approximations.extend(found);
    }
    Exported { yaml: yaml::write(&groups), approximations }
}

/// The group of this name for rules of this limit and interval. Those are a group's there, so rules
/// of one group that differ in them are in several.
fn group_of<'a>(groups: &'a mut Vec<yaml::Group>, of: &str, rule: &Rule) -> &'a mut yaml::Group {
    let (limit, interval) = (rule.limit, rule.interval);
    let same = |g: &yaml::Group| g.of == of && (g.limit, g.interval) == (limit, interval);
    let at = groups.iter().position(same).unwrap_or_else(|| {
        let taken = |name: &str| groups.iter().any(|group| group.name == name);
        let mut name = of.to_owned();
        while taken(&name) {
            let every = interval.map_or(String::new(), |every| format!(", every {}", Span(every)));
            name = format!("{name}, limit {limit}{every}");
        }
        let of = of.to_owned();
        groups.push(yaml::Group { name, of, limit, interval, rules: Vec::new() });
        groups.len() - 1
    });
    &mut groups[at]
}

/// `theirs`: it came in from a file.
fn translated(mut expr: Expr, theirs: bool, catalog: &Catalog, style: &ExportStyle) -> Expr {
    match style.histograms {
        Histograms::Native => {}
        Histograms::Classic => expr = classic::rewrite(expr, catalog, LE),
        Histograms::VmRange => expr = classic::rewrite(expr, catalog, "vmrange"),
    }
    if style.names == Names::Translated {
        names::translate(&mut expr, theirs, catalog);
    }
    if let Some(scope) = &style.scope {
        scope.narrow(&mut expr);
    }
    expr
}

/// The recording rules an expression uses, those it leans on first.
fn record(expr: &Expr, group: &mut yaml::Group, translated: &impl Fn(Expr) -> Expr) {
    let mut found = Vec::new();
    expr.walk(&mut |expr| {
        if let Expr::Recorded(recorded) = expr {
            found.push(recorded);
        }
    });
    for recorded in found.into_iter().rev() {
        for recording in &*recorded.recordings {
            let rule = yaml::Rule {
                key: "record",
                name: recorded.selector.name.clone().unwrap_or_default(),
                expr: translated(recording.expr.clone()).to_string(),
                labels: recording.labels.clone(),
                ..yaml::Rule::default()
            };
            if !group.rules.contains(&rule) {
                group.rules.push(rule);
            }
        }
    }
}

fn compare(
    rule: &Rule,
    condition: &Condition,
    style: &ExportStyle,
    there: impl Fn(Expr) -> Expr,
) -> Vec<Approximation> {
    let mut found = Vec::new();
    let mut add = |of, because: String| {
        found.push(Approximation { rule: rule.name.clone(), of, because });
    };
    if let Some(hold) = condition.hold() {
        let hold = there(hold);
        let because = format!("once begun it holds while `{hold}`, there as it begins");
        add(Inequality::ClearThreshold, because);
    }
    let (least, of) = rule.times;
    if of > 1 {
        add(
            Inequality::Times,
            format!("it holds by {least} of {of} evaluations; there by each one"),
        );
    }
    if !rule.warm_up.is_zero() {
        let because = format!("it waits {} after the start; there it does not", Span(rule.warm_up));
        add(Inequality::WarmUp, because);
    }
    if !rule.strict {
        let because = format!(
            "without samples it waits {} and resolves as no_data; there it resolves at once",
            Span(rule.grace)
        );
        add(Inequality::NoData, because);
    }
    if rule.damped {
        let because = "news of an alert that flaps is delayed; there it is not".to_owned();
        add(Inequality::Damping, because);
    }
    if !rule.inhibited_by.is_empty() {
        let others = rule.inhibited_by.join(", ");
        add(Inequality::Inhibition, format!("nobody is told of it while {others} fires"));
    }
    if rule.limit > 0 && !rule.strict {
        let because = "over its limit its alerts stay as they are; there they end".to_owned();
        add(Inequality::Limit, because);
    }
    let mut frozen = false;
    condition.raise().walk(&mut |expr| frozen |= matches!(expr, Expr::Frozen(_)));
    if !rule.strict {
        let because = "it is evaluated at every tick; there at its group's interval".to_owned();
        add(Inequality::Interval, because);
        let every = style.scraped_every;
        let short = shortest(&condition.raise()).filter(|window| *window < every * 2);
        if let Some(window) = short {
            let (window, every) = (Span(window), Span(every));
            let because = format!("a window of {window} holds less than two samples {every} apart");
            add(Inequality::ShortWindow, because);
        }
    }
    if !rule.strict && style.histograms == Histograms::Classic && asks_buckets(&condition.raise()) {
        let because = "buckets are 2.2% wide here, as wide as their bounds are apart there";
        add(Inequality::Buckets, because.to_owned());
    }
    if frozen {
        let because = "its baseline is learnt once; there it moves along".to_owned();
        add(Inequality::Baseline, because);
    }
    found
}

/// The shortest window of a function that compares samples.
fn shortest(expr: &Expr) -> Option<Duration> {
    let mut found = None;
    expr.walk(&mut |expr| {
        if let Expr::Call(function, arguments) = expr
            && !function.as_str().ends_with("_over_time")
        {
            let windows = arguments.iter().filter_map(|argument| match argument {
                Expr::Range(_, window) => Some(*window),
                _ => None,
            });
            found = windows.chain(found).min();
        }
    });
    found
}

fn asks_buckets(expr: &Expr) -> bool {
    let mut asks = false;
    expr.walk(&mut |expr| {
        let of = [Function::HistogramQuantile, Function::HistogramFraction];
        asks |= matches!(expr, Expr::Call(function, _) if of.contains(function));
    });
    asks
}

fn label(key: &str, style: &ExportStyle) -> String {
    match style.names {
        Names::Translated => super::naming::label(key).into_owned(),
        Names::Own => key.to_owned(),
    }
}

fn labels(rule: &Rule, style: &ExportStyle) -> Vec<(String, String)> {
    let severity = (SEVERITY.to_owned(), rule.severity.as_str().to_owned());
    let severity = (!rule.strict).then_some(severity);
    let is_ours = style.scope.is_some() && rule.owner == Owner::Process;
    let owner = is_ours.then(|| (OWNER.to_owned(), "process".to_owned()));
    let text = |text: &str| {
        let style = template::Style {
            unit: &crate::name::Unit::NONE,
            threshold: None,
            label: &|key| label(key, style),
        };
        Template::parse(text).map_or_else(|_| text.to_owned(), |t| t.to_prometheus(&style))
    };
    let own = rule.labels.iter().map(|(key, value)| (label(key, style), text(value)));
    // What is given last stands.
    let mut all: Vec<(String, String)> = Vec::new();
    for (key, value) in severity.into_iter().chain(own).chain(owner) {
        all.retain(|(known, _)| *known != key);
        all.push((key, value));
    }
    all
}

fn annotations(
    rule: &Rule,
    condition: &Condition,
    approximations: &[Approximation],
    catalog: &Catalog,
    style: &ExportStyle,
) -> Vec<(String, String)> {
    let unit = catalog.unit_of(condition);
    let fill = template::Style {
        unit: &unit,
        threshold: threshold(&condition.raise()),
        label: &|key| label(key, style),
    };
    let text = |text: &str| {
        Template::parse(text).map_or_else(|_| text.to_owned(), |t| t.to_prometheus(&fill))
    };
    let mut all = Vec::new();
    let mut add = |key: &str, value: String| {
        let key = super::naming::label(key).into_owned();
        if !value.is_empty() && !all.iter().any(|(known, _)| *known == key) {
            all.push((key, value));
        }
    };
    add("summary", text(&rule.summary));
    add("description", text(&rule.description));
    add("runbook_url", rule.runbook.clone().unwrap_or_default());
    for (key, value) in &rule.annotations {
        add(key, text(value));
    }
    let because: Vec<_> = approximations.iter().map(|one| one.because.as_str()).collect();
    // Braces would be taken for a template.
    add(ANNOTATION, because.join("; ").replace("{{", "{ {"));
    all
}

/// What the first comparison compares with.
pub(super) fn threshold(expr: &Expr) -> Option<f64> {
    let mut found = None;
    expr.walk(&mut |expr| {
        if let Expr::Binary(binary) = expr
            && binary.op.is_comparison()
            && found.is_none()
            && binary.left.kind() == Type::Vector
            && let Expr::Number(number) = binary.right
        {
            found = Some(number);
        }
    });
    found
}
