//! The typed face: a rule as Rust writes it, and what it compiles to.

use std::{sync::Arc, time::Duration};

use super::{
    condition::Condition,
    declared::Declared,
    error::{Error, Mistake},
    expr::{Expr, Function, NAME, Selector, Type},
    index::{LE, bound_of, parse_bound},
    lifecycle::Timing,
    template::{Fill, Template},
};
use crate::{
    event::{Owner, RuleInfo, Severity},
    instrument::bucket_up_to,
    name::Labels,
};

/// An alert's name among its labels.
pub(crate) const ALERT_NAME: &str = "alertname";
/// The severity among an alert's labels.
pub(crate) const SEVERITY: &str = "severity";

/// A firing alert whose samples vanish waits this long for them, then resolves as `no_data`:
/// Prometheus' own lookback.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(300);

/// The longest window: what is older belongs on a server.
const LONGEST_WINDOW: Duration = Duration::from_secs(7 * 86_400);

/// A rule: a condition, how long it must hold, and what to tell people.
///
/// One rule makes one alert for each label set its condition yields. Setters never fail; what is
/// wrong is reported when the instance starts, all of it together.
///
/// ```
/// use std::time::Duration;
/// use highwater::{alert::Severity, rule};
///
/// let rule = rule::alert("QueueDeep")
///     .when(rule::gauge("queue.depth").above(1000.0).clear_below(500.0))
///     .hold_for(Duration::from_secs(30))
///     .severity(Severity::Critical)
///     .summary("{{ value }} jobs wait in {{ labels.queue }}")
///     .label("team", "orders");
/// ```
#[derive(Debug, Clone)]
#[must_use = "give it to the builder with `rule`"]
pub struct Rule {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) condition: Option<Condition>,
    pub(crate) hold: Duration,
    pub(crate) keep: Duration,
    pub(crate) grace: Duration,
    pub(crate) times: (u32, u32),
    pub(crate) warm_up: Duration,
    pub(crate) severity: Severity,
    pub(crate) summary: String,
    pub(crate) description: String,
    pub(crate) runbook: Option<String>,
    pub(crate) labels: Vec<(String, String)>,
    /// Where it runs by Prometheus' rules alone: a vanished sample is a condition that ceased, and
    /// no label is added.
    pub(crate) strict: bool,
    /// Of its alerts that hold at once; more are an error. Zero is none.
    pub(crate) limit: usize,
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) owner: Owner,
    pub(crate) enabled: bool,
    pub(crate) inhibited_by: Vec<String>,
    pub(crate) damped: bool,
    /// What it may ask of histograms.
    pub(crate) bounds: Arc<Declared>,
    /// How often its group is evaluated on a server.
    pub(crate) interval: Option<Duration>,
}

/// A rule of this name; it needs a condition ([`Rule::when`]).
pub fn alert(name: &str) -> Rule {
    Rule {
        group: String::new(),
        name: name.to_owned(),
        condition: None,
        hold: Duration::ZERO,
        keep: Duration::ZERO,
        grace: DEFAULT_GRACE,
        times: (1, 1),
        warm_up: Duration::ZERO,
        severity: Severity::default(),
        summary: String::new(),
        description: String::new(),
        runbook: None,
        labels: Vec::new(),
        strict: false,
        limit: 0,
        annotations: Vec::new(),
        owner: Owner::default(),
        enabled: true,
        inhibited_by: Vec::new(),
        damped: true,
        bounds: Arc::default(),
        interval: None,
    }
}

/// What an operator changes of a rule without a build.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Adjust {
    /// Instead of the rule's own threshold; a clear threshold moves in proportion.
    pub threshold: Option<f64>,
    /// Instead of the rule's own clear threshold.
    pub clear: Option<f64>,
    /// Instead of the rule's own hold.
    pub hold_for: Option<Duration>,
    /// No higher than this.
    pub severity_cap: Option<Severity>,
    /// Whether it runs.
    pub enabled: Option<bool>,
}

impl Rule {
    /// When its alerts hold. Without one the rule is a mistake.
    pub fn when(mut self, condition: Condition) -> Self {
        self.condition = Some(condition);
        self
    }

    /// How long the condition must hold before an alert fires; zero by default: in the same tick.
    pub fn hold_for(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// How long an alert goes on firing after its condition ceased to hold; zero by default.
    pub fn keep_firing_for(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// The condition counts as holding when it did in `least` of the last `of` evaluations that
    /// had data; 1 of 1 by default, at most 64.
    pub fn times(mut self, least: u32, of: u32) -> Self {
        self.times = (least, of);
        self
    }

    /// How long a firing alert whose samples vanish waits for them before it resolves with the
    /// reason `no_data`; five minutes by default.
    pub fn no_data_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long after the start the rule sees no data; zero by default.
    pub fn warm_up(mut self, warm_up: Duration) -> Self {
        self.warm_up = warm_up;
        self
    }

    /// No less than this long.
    pub(crate) fn warm_up_at_least(self, warm_up: Duration) -> Self {
        let longest = self.warm_up.max(warm_up);
        self.warm_up(longest)
    }

    /// How bad it is; also the label `severity`. [`Severity::Warning`] by default.
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// What has happened, in a line; `{{ value }}`, `{{ threshold }}` and `{{ labels.NAME }}` are
    /// filled in.
    pub fn summary(mut self, summary: &str) -> Self {
        summary.clone_into(&mut self.summary);
        self
    }

    /// More of it, with the same placeholders.
    pub fn description(mut self, description: &str) -> Self {
        description.clone_into(&mut self.description);
        self
    }

    /// Where it says what to do.
    pub fn runbook(mut self, address: &str) -> Self {
        self.runbook = Some(address.to_owned());
        self
    }

    /// The sinks are not told of its alerts while an alert of the rule `name` fires, which says
    /// more. State, series and export go on. What still fires afterwards is told then, and the end
    /// of what was told before is told all the same.
    ///
    /// ```
    /// use highwater::rule;
    /// let slow = rule::alert("QueueSlow")
    ///     .when(rule::gauge("queue.wait").above(5.0))
    ///     .inhibited_by("MemoryCritical");
    /// ```
    pub fn inhibited_by(mut self, name: &str) -> Self {
        self.inhibited_by.push(name.to_owned());
        self
    }

    /// Tells the sinks of its alerts at once however often they come and go. Otherwise news of an
    /// alert that fires again within ten minutes of its end waits for a minute after the last one,
    /// doubled each time up to an hour.
    pub fn undamped(mut self) -> Self {
        self.damped = false;
        self
    }

    /// Adds a label to every alert of this rule; `{{ labels.NAME }}` is filled in. Rules of one
    /// name are told apart by these.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Adds a text of any other name to what people are told, such as `dashboard`; with the same
    /// placeholders as [`summary`](Self::summary).
    pub fn annotation(mut self, key: &str, text: &str) -> Self {
        self.annotations.push((key.to_owned(), text.to_owned()));
        self
    }

    /// How many of its alerts may be pending or firing at once; where there would be more, the
    /// evaluation fails and nothing changes. Without end by default. (The alerts of a rule from a
    /// file end then, as in Prometheus.)
    pub fn limit(mut self, most: usize) -> Self {
        self.limit = most;
        self
    }

    /// Who tells people of its alerts; [`Owner::Process`] by default.
    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    /// The group it belongs to; none by default.
    pub fn group(mut self, group: &str) -> Self {
        group.clone_into(&mut self.group);
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its severity.
    pub fn severity_level(&self) -> Severity {
        self.severity
    }

    /// Applies what an operator changed.
    pub fn adjust(mut self, adjust: &Adjust) -> Self {
        if let Some(condition) = &mut self.condition {
            condition.adjust(adjust.threshold, adjust.clear);
        }
        if let Some(hold) = adjust.hold_for {
            self.hold = hold;
        }
        if let Some(cap) = adjust.severity_cap {
            self.severity = self.severity.min(cap);
        }
        if let Some(enabled) = adjust.enabled {
            self.enabled = enabled;
        }
        self
    }

    /// Whether both have one identity: group, name and labels.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (&self.group, &self.name, self.identity()) == (&other.group, &other.name, other.identity())
    }

    pub(crate) fn compile(&self, tick: Duration) -> Result<Compiled, Vec<Error>> {
        let mut mistakes = Vec::new();
        if self.name.trim().is_empty() {
            mistakes.push(Mistake::EmptyName);
        }
        let (least, of) = self.times;
        if least == 0 || least > of || of > 64 {
            mistakes.push(Mistake::Times { least, of });
        }
        let labels = self.check_labels(&mut mistakes);
        let mut text = |text: &str| {
            Template::parse(text).map_err(|reason| {
                mistakes.push(Mistake::Template { text: text.to_owned(), reason });
            })
        };
        let (summary, description) = (text(&self.summary), text(&self.description));
        let annotations: Vec<_> = self
            .annotations
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), text(value).ok()?)))
            .collect();
        match &self.condition {
            None => mistakes.push(Mistake::NoCondition),
            Some(condition) => {
                condition.check(&mut mistakes);
                let raise = condition.raise();
                check_expr(&raise, tick, &self.bounds, &mut mistakes);
            }
        }
        if let (true, Some(condition), Ok(summary), Ok(description)) =
            (mistakes.is_empty(), &self.condition, summary, description)
        {
            let compiled = self.build(condition, labels, summary, description);
            return Ok(Compiled { annotations, ..compiled });
        }
        let error = |mistake| Error { rule: self.name.clone(), mistake };
        Err(mistakes.into_iter().map(error).collect())
    }

    fn build(
        &self,
        condition: &Condition,
        labels: Vec<(String, Template)>,
        summary: Template,
        description: Template,
    ) -> Compiled {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let raise = condition.raise();
        let info = RuleInfo {
            group: Arc::from(self.group.as_str()),
            name: Arc::from(self.name.as_str()),
            severity: self.severity,
            labels: self.identity(),
            expression: raise.to_string(),
            unit: condition.quantity().unit(),
            runbook: self.runbook.clone(),
            inhibited_by: self.inhibited_by.clone(),
            damped: self.damped,
            owner: self.owner,
        };
        Compiled {
            info: Arc::new(info),
            hold: condition.hold(),
            // With nothing else to judge, what is judged is whether there is a sample.
            value: if self.strict { raise.clone() } else { condition.value() },
            raise,
            judging: Judging {
                timing: Timing {
                    hold: nanos(self.hold),
                    keep: nanos(self.keep),
                    grace: nanos(self.grace),
                    least: self.times.0,
                    of: self.times.1,
                },
                warm_up: nanos(self.warm_up),
                limit: self.limit,
                strict: self.strict,
            },
            summary,
            description,
            annotations: Vec::new(),
            preset: super::preset::is_one(self),
            labels,
        }
    }

    /// The rule's own labels, as they are written.
    pub(crate) fn identity(&self) -> Labels {
        let severity = (!self.strict).then_some((SEVERITY, self.severity.as_str()));
        let own = self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        Labels::new(severity.into_iter().chain(own))
    }

    fn check_labels(&self, mistakes: &mut Vec<Mistake>) -> Vec<(String, Template)> {
        let mut labels = Vec::new();
        let severity = (SEVERITY.to_owned(), self.severity.as_str().to_owned());
        let severity = (!self.strict).then_some(&severity);
        for (key, value) in severity.into_iter().chain(&self.labels) {
            let reserved = [ALERT_NAME, NAME, LE].contains(&key.as_str());
            if key.is_empty() {
                mistakes.push(Mistake::Label(key.clone(), "it is empty"));
            } else if reserved || key.starts_with("__") {
                mistakes.push(Mistake::Label(key.clone(), "it is reserved"));
            }
            match Template::parse(value) {
                Ok(template) if template.uses_value() => mistakes.push(Mistake::Template {
                    text: value.clone(),
                    reason: "the value in a label would make each value an alert of its own".into(),
                }),
                Ok(template) => labels.push((key.clone(), template)),
                Err(reason) => mistakes.push(Mistake::Template { text: value.clone(), reason }),
            }
        }
        labels
    }
}

fn check_expr(expr: &Expr, tick: Duration, bounds: &Declared, mistakes: &mut Vec<Mistake>) {
    let mut quantiles: Vec<&Expr> = Vec::new();
    expr.walk(&mut |expr| {
        if let Expr::Call(Function::HistogramQuantile, arguments) = expr {
            arguments.iter().for_each(|argument| argument.walk(&mut |inner| quantiles.push(inner)));
        }
    });
    expr.walk(&mut |expr| {
        let (Expr::Select(selector) | Expr::Range(selector, _)) = expr else { return };
        let Some(name) = selector.name.as_deref().filter(|name| name.ends_with("_bucket")) else {
            return;
        };
        let histogram = name.strip_suffix("_bucket").unwrap_or(name);
        let is_known = |le: f64| bucket_up_to(le).is_some() || bounds.has(histogram, le);
        match bound_of(selector) {
            Some(le) if !parse_bound(le).is_some_and(is_known) => {
                mistakes.push(Mistake::Bound(le.to_owned()));
            }
            None if !quantiles.iter().any(|inner| std::ptr::eq(*inner, expr)) => {
                mistakes.push(Mistake::Buckets(name.to_owned()));
            }
            _ => {}
        }
    });
    expr.walk(&mut |expr| {
        if let Expr::Select(selector) | Expr::Range(selector, _) = expr
            && selector.offset > LONGEST_WINDOW
        {
            mistakes.push(Mistake::Offset { offset: selector.offset, most: LONGEST_WINDOW });
        }
    });
    let mut check = |expr: &Expr| match expr {
        Expr::Select(selector) | Expr::Range(selector, _)
            if selector.name.as_deref() == Some("")
                || selector.matchers.iter().any(|matcher| matcher.key.is_empty()) =>
        {
            let what = if selector.name.as_deref() == Some("") { "metric" } else { "label" };
            mistakes.push(Mistake::EmptySelector(what));
        }
        _ => {}
    };
    expr.walk(&mut check);
    // Those that compare samples need two of them, the others one.
    let mut windows = |expr: &Expr| {
        let Expr::Call(function, arguments) = expr else { return };
        let one_is_enough = function.as_str().ends_with("_over_time");
        let least = if one_is_enough { tick } else { tick * 2 };
        for argument in arguments {
            if let Expr::Range(_, window) = argument
                && !(least..=LONGEST_WINDOW).contains(window)
            {
                mistakes.push(Mistake::Window { window: *window, least, most: LONGEST_WINDOW });
            }
        }
    };
    expr.walk(&mut windows);
    mistakes.dedup();
}

/// What a tick needs to know of a rule besides its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judging {
    pub(crate) timing: Timing,
    pub(crate) warm_up: u64,
    /// How many alerts it may have; 0 is any number.
    pub(crate) limit: usize,
    /// See [`Rule::strict`].
    pub(crate) strict: bool,
}

/// A rule that has been checked.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) info: Arc<RuleInfo>,
    /// When an alert begins.
    pub(crate) raise: Expr,
    /// While it goes on, if that differs.
    pub(crate) hold: Option<Expr>,
    /// What is judged.
    pub(crate) value: Expr,
    pub(crate) judging: Judging,
    pub(crate) summary: Template,
    pub(crate) description: Template,
    pub(crate) annotations: Vec<(String, Template)>,
    /// One that is on by default: of its kind of data there may be none.
    pub(crate) preset: bool,
    pub(crate) labels: Vec<(String, Template)>,
}

impl Compiled {
    /// Whether nothing differs but what was learnt while it ran.
    #[cfg(feature = "rule-files")]
    pub(crate) fn is(&self, other: &Self) -> bool {
        let unit = other.info.unit.clone();
        let info = RuleInfo { unit, ..(*self.info).clone() };
        let learnt = |compiled: &Self| {
            (compiled.raise.clone(), compiled.hold.clone(), compiled.value.clone())
        };
        let words = |compiled: &Self| {
            let texts = (compiled.summary.clone(), compiled.description.clone());
            (texts, compiled.annotations.clone(), compiled.labels.clone())
        };
        info == *other.info
            && learnt(self) == learnt(other)
            && words(self) == words(other)
            && self.judging == other.judging
    }

    pub(crate) fn annotate(&self, fill: &Fill<'_>) -> Labels {
        Labels::new(self.annotations.iter().map(|(key, text)| (key, text.fill(fill))))
    }

    /// The metric whose unit the value has.
    pub(crate) fn metric(&self) -> Option<&str> {
        let mut value = &self.value;
        loop {
            match value {
                Expr::Select(selector) | Expr::Range(selector, _) => {
                    return selector.name.as_deref();
                }
                Expr::Frozen(of) => value = of,
                Expr::Call(function, arguments) if function.keeps_unit() => {
                    value = arguments.iter().find(|argument| argument.kind() != Type::Scalar)?;
                }
                Expr::Aggregate(aggregate) if aggregate.op.keeps_unit() => value = &aggregate.of,
                Expr::Binary(binary) if binary.op.is_set() => value = &binary.left,
                _ => return None,
            }
        }
    }

    pub(crate) fn selectors(&self) -> impl Iterator<Item = &Selector> {
        let all = [&self.raise, &self.value].into_iter().chain(&self.hold);
        all.flat_map(Expr::selectors)
    }
}
