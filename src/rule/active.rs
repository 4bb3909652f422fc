//! One rule at work: its bound plan and its alerts.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use smallvec::SmallVec;

use super::{
    bind::{Binder, Limit, Slot},
    builder::{ALERT_NAME, Compiled, Judging},
    evaluator::Status,
    expr::Selector,
    frozen::Baselines,
    index::{Index, may_take},
    lifecycle::{Life, Seen, Step},
    plan::{Context, Failure, Found, NodeId, Plan, Value},
    template::Fill,
};
use crate::{
    event::{ResolveReason, RuleInfo, State, TEST, Transition},
    name::{Labels, Unit},
    registry::Series,
    sync::Arc,
    window::Store,
};

/// One alert: a label set of a rule, on whatever stage of its life.
#[derive(Debug)]
struct Alert {
    /// Those of the sample, the rule's, and `alertname`.
    labels: Labels,
    /// Those of the sample, for the texts.
    sample: Labels,
    limit: Option<Limit>,
    life: Life,
    /// When the condition began to hold, for people.
    since: Option<SystemTime>,
}

/// One of a rule's expressions once bound.
#[derive(Debug)]
struct Root {
    node: NodeId,
    /// Which alert each slot belongs to, unless to that of its own number.
    alerts: Option<Box<[u32]>>,
}

/// A rule's expressions once bound.
#[derive(Debug)]
struct Bound {
    plan: Plan,
    raise: Root,
    hold: Option<Root>,
    /// Absent if what is judged is whether there is anything at all.
    value: Option<Root>,
    baselines: Baselines,
}

#[derive(Debug)]
pub(crate) struct ActiveRule {
    judging: Judging,
    /// Apart from what each tick reads, which is to take few cache lines.
    compiled: Box<Compiled>,
    /// The rule's own labels and its name: what stands for it while it has no alert.
    labels: Labels,
    /// Or why not; kept until it is bound anew.
    bound: Option<Result<Bound, Failure>>,
    alerts: SmallVec<[Alert; 1]>,
    error: Option<Failure>,
    /// Whether there ever was anything to judge.
    judged: bool,
}

impl ActiveRule {
    pub(crate) fn new(compiled: Compiled) -> Self {
        let labels = compiled.info.labels.with(ALERT_NAME, &compiled.info.name);
        Self {
            judging: compiled.judging,
            compiled: compiled.into(),
            labels,
            bound: None,
            alerts: SmallVec::new(),
            error: None,
            judged: false,
        }
    }

    pub(crate) fn info(&self) -> &Arc<RuleInfo> {
        &self.compiled.info
    }

    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_ref().map(|failure| &*failure.0)
    }

    /// Whether there ever was anything to judge: a sample, or for a rule of a file a series.
    pub(crate) fn was_judged(&self) -> bool {
        self.judged
    }

    pub(crate) fn is_preset(&self) -> bool {
        self.compiled.preset
    }

    /// Whether a metric of this name may have series for this rule.
    pub(crate) fn may_select(&self, name: &str) -> bool {
        self.compiled.selectors().any(|selector| may_take(selector, name))
    }

    /// Calls `each` with every window it looks through: of what, how far back, whether surely of
    /// histograms.
    pub(crate) fn windows(&self, each: &mut impl FnMut(&Selector, Duration, bool)) {
        let Compiled { raise, hold, value, .. } = &*self.compiled;
        for expr in [raise, value].into_iter().chain(hold) {
            expr.windows(false, each);
        }
    }

    /// Resolves its expressions; its alerts live on.
    ///
    /// `identity` is what a server calls this instance: for rules of files its labels are those of
    /// all series, as they are there.
    pub(crate) fn bind(
        &mut self,
        store: &mut Store,
        series: &[Arc<Series>],
        index: &Index,
        identity: &Labels,
    ) {
        let none = Labels::empty();
        let given = if self.judging.strict { identity } else { &none };
        let bound = self
            .find_unit(series, index)
            .and_then(|()| self.try_bind(Binder::new(store, series, index, given)));
        if let Err(failure) = &bound {
            let RuleInfo { name, .. } = &*self.compiled.info;
            log::warn!("highwater: rule {name:?} cannot be evaluated: {}", failure.0);
        }
        self.bound = Some(bound);
    }

    fn try_bind(&mut self, mut binder: Binder<'_>) -> Result<Bound, Failure> {
        let mut bind = |expr| binder.bind(expr).map_err(|over| Failure(over.to_string().into()));
        let compiled = &self.compiled;
        let raise = bind(&compiled.raise)?;
        let hold = compiled.hold.as_ref().map(&mut bind).transpose()?;
        let value =
            (compiled.value != compiled.raise).then(|| bind(&compiled.value)).transpose()?;
        let slots = binder.slots;
        let mut known: HashMap<Labels, u32> = HashMap::new();
        let old = std::mem::take(&mut self.alerts);
        let mut old: HashMap<Labels, Alert> =
            old.into_iter().map(|alert| (alert.labels.clone(), alert)).collect();
        let mut alerts = SmallVec::<[Alert; 1]>::new();
        let mut root = |node: NodeId, of_limits: bool| {
            let alert_of = |slot: &Slot| {
                let labels = self.final_labels(&slot.labels);
                let next = alerts.len() as u32;
                let at = *known.entry(labels.clone()).or_insert(next);
                if at == next {
                    alerts.push(old.remove(&labels).unwrap_or_else(|| Alert::new(labels, slot)));
                }
                if of_limits {
                    alerts[at as usize].limit = slot.limit;
                }
                at
            };
            let alerts: Box<[u32]> = slots[node].iter().map(alert_of).collect();
            let in_order = alerts.iter().enumerate().all(|(slot, alert)| slot == *alert as usize);
            Root { node, alerts: (!in_order).then_some(alerts) }
        };
        let raise = root(raise, true);
        let hold = hold.map(|node| root(node, false));
        let value = value.map(|node| root(node, false));
        alerts.extend(old.into_values().filter(|alert| alert.life.is_active()));
        self.alerts = alerts;
        let mut plan = binder.plan;
        let samples = self.alerts.iter().map(|alert| &alert.sample);
        let baselines = Baselines::find(&plan, &slots, samples);
        if let Some(Ok(old)) = &self.bound {
            baselines.carry_over(&mut plan, &old.baselines, &old.plan);
        }
        Ok(Bound { plan, raise, hold, value, baselines })
    }

    /// The labels an alert goes by.
    fn final_labels(&self, sample: &Labels) -> Labels {
        let fill = Fill { value: None, threshold: None, unit: &Unit::NONE, labels: sample };
        let mut labels = sample.clone();
        for (key, template) in &self.compiled.labels {
            labels = labels.with(key, &template.fill(&fill));
        }
        labels.with(ALERT_NAME, &self.compiled.info.name)
    }

    /// A value's unit is its metric's, where the rule does not give it; where it does, they must
    /// agree.
    fn find_unit(&mut self, series: &[Arc<Series>], index: &Index) -> Result<(), Failure> {
        let Some(metric) = self.compiled.metric() else { return Ok(()) };
        let Some(first) = index.first(metric).and_then(|at| series.get(at)) else { return Ok(()) };
        let unit = first.metric.unit();
        let known = &self.compiled.info.unit;
        if unit == Unit::NONE || unit == *known {
            return Ok(());
        }
        if *known != Unit::NONE {
            return Err(Failure(
                format!(
                    "the threshold is in {known:?}, {metric:?} in {unit:?}",
                    known = known.as_str(),
                    unit = unit.as_str()
                )
                .into(),
            ));
        }
        self.compiled.info = Arc::new(RuleInfo { unit, ..(*self.compiled.info).clone() });
        Ok(())
    }

    /// Whether it could be evaluated; if not, all its alerts stay as they are.
    pub(crate) fn evaluate(
        &mut self,
        now: u64,
        age: u64,
        wall: SystemTime,
        cx: &mut Context<'_>,
        out: &mut Vec<Arc<Transition>>,
    ) -> bool {
        self.error = None;
        let bound = match &mut self.bound {
            None => return true,
            Some(Ok(bound)) => bound,
            Some(Err(failure)) => {
                self.error = Some(failure.clone());
                return false;
            }
        };
        let alerts = &self.alerts;
        bound.baselines.freeze(&mut bound.plan, |alert| alerts[alert as usize].life.is_active());
        cx.found.clear();
        cx.found.resize(self.alerts.len(), Found::default());
        if let Err(failure) = bound.plan.evaluate(cx).and_then(|()| bound.gather(cx.found)) {
            self.error = Some(failure);
            return false;
        }
        let Judging { timing, warm_up, limit, strict } = self.judging;
        // Those that are kept firing count there too.
        let is_alert = |(alert, found): &(&Alert, &Found)| {
            found.raise.is_some() || strict && alert.life.is_kept(now, &timing)
        };
        let raised = match limit {
            0 => 0,
            _ => self.alerts.iter().zip(&*cx.found).filter(is_alert).count(),
        };
        if limit > 0 && raised > limit {
            self.error = Some(Failure(format!("{raised} alerts, its limit is {limit}").into()));
            if strict {
                // As Prometheus does; nothing it had is left.
                self.resolve_all(now, wall, ResolveReason::Limit, out);
            }
            return false;
        }
        let warm = age >= warm_up;
        let (has_hold, has_value) = (bound.hold.is_some(), bound.value.is_some());
        for (alert, found) in self.alerts.iter_mut().zip(&*cx.found) {
            let Found { raise, hold, value } = *found;
            let holding = if has_hold && alert.life.is_raised() { hold } else { raise };
            let seen = Seen {
                data: warm && (!has_value || value.is_some_and(|value| !value.is_nan())),
                holds: holding.is_some(),
                value: holding.or(value),
            };
            self.judged |= seen.data;
            if let Some(step) = alert.life.step(now, seen, &timing) {
                out.push(alert.transition(step, wall, &self.compiled));
            }
        }
        true
    }

    pub(crate) fn resolve_all(
        &mut self,
        now: u64,
        wall: SystemTime,
        reason: ResolveReason,
        out: &mut Vec<Arc<Transition>>,
    ) {
        for alert in &mut self.alerts {
            let value = alert.life.value;
            if let Some(step) = alert.life.resolve(now, reason) {
                alert.life.value = value;
                out.push(alert.transition(step, wall, &self.compiled));
            }
        }
    }

    /// Each alert's labels, state, and since when its condition holds.
    #[cfg(test)]
    pub(crate) fn lives(&self) -> impl Iterator<Item = (&Labels, State, Duration)> + '_ {
        self.alerts.iter().map(|alert| {
            let since = Duration::from_nanos(alert.life.active_at);
            (&alert.labels, alert.life.state, since)
        })
    }

    /// A test alert: labelled as one, with the value and the words of the first alert there is.
    pub(crate) fn drill(&self, wall: SystemTime) -> Transition {
        let none = Labels::empty();
        let first = self.alerts.first();
        let sample = first.map_or(&none, |alert| &alert.sample);
        let value = first.and_then(|alert| alert.life.value);
        let threshold = first.and_then(|alert| alert.limit).map(|limit| limit.value);
        let unit = &self.compiled.info.unit;
        let fill = Fill { value, threshold, unit, labels: sample };
        Transition {
            rule: self.compiled.info.clone(),
            labels: self.final_labels(sample).with(TEST, "true"),
            from: State::Inactive,
            to: State::Firing,
            resolved: None,
            value,
            threshold,
            at: wall,
            active_since: Some(wall),
            summary: format!("[test] {}", self.compiled.summary.fill(&fill)),
            description: self.compiled.description.fill(&fill),
            evidence: None,
            annotations: self.compiled.annotate(&fill),
            hushed: None,
        }
    }

    /// Group, name and labels.
    #[cfg(feature = "rule-files")]
    pub(crate) fn identity(&self) -> (Arc<str>, Arc<str>, Labels) {
        let info = &self.compiled.info;
        (info.group.clone(), info.name.clone(), info.labels.clone())
    }

    /// After a reload: as it was if nothing of it changed, else the new rule with these alerts.
    #[cfg(feature = "rule-files")]
    pub(crate) fn becomes(self, new: Self) -> Self {
        if self.compiled.is(&new.compiled) {
            return self;
        }
        Self { alerts: self.alerts, judged: self.judged, ..new }
    }

    pub(crate) fn postpone(&mut self, by: u64) {
        for alert in &mut self.alerts {
            alert.life.postpone(by);
        }
    }

    pub(crate) fn status(&self) -> impl Iterator<Item = Status<'_>> + '_ {
        let alone = self.alerts.is_empty().then(|| Status {
            rule: &self.compiled.info,
            labels: &self.labels,
            state: if self.error.is_some() { State::Error } else { State::NoData },
            raised: false,
            value: None,
            threshold: None,
            level: 0.0,
        });
        self.alerts.iter().map(|alert| self.status_of(alert)).chain(alone)
    }

    fn status_of<'a>(&'a self, alert: &'a Alert) -> Status<'a> {
        let Life { state, value, .. } = alert.life;
        let failed = self.error.is_some() && !alert.life.is_active();
        let raised = alert.life.is_raised();
        let level = match (alert.limit, value) {
            _ if raised => 1.0,
            (Some(limit), Some(value)) => limit.nearness(value),
            _ => f64::from(u8::from(state == State::Pending)),
        };
        Status {
            rule: &self.compiled.info,
            labels: &alert.labels,
            state: if failed { State::Error } else { state },
            raised,
            value,
            threshold: alert.limit.map(|limit| limit.value),
            level,
        }
    }
}

impl Bound {
    /// The values of the slots that are present, each with its alert.
    fn present<'a>(&'a self, root: &'a Root) -> impl Iterator<Item = (usize, f64)> + 'a {
        self.plan.out(root.node).iter().enumerate().filter_map(|(slot, value)| {
            let value = match value {
                Value::Absent => return None,
                Value::Float(value) => *value,
                // That it is there is all a rule can say of a histogram.
                Value::Histogram(_) | Value::Gained(_) => f64::NAN,
            };
            let alert = root.alerts.as_ref().map_or(slot, |alerts| alerts[slot] as usize);
            Some((alert, value))
        })
    }

    /// Hands each slot's value to its alert.
    fn gather(&self, found: &mut [Found]) -> Result<(), Failure> {
        for (alert, value) in self.present(&self.raise) {
            if found[alert].raise.replace(value).is_some() {
                return Err(Failure("two samples give alerts with the same labels".into()));
            }
        }
        for (alert, value) in self.hold.iter().flat_map(|root| self.present(root)) {
            found[alert].hold.get_or_insert(value);
        }
        for (alert, value) in self.value.iter().flat_map(|root| self.present(root)) {
            found[alert].value.get_or_insert(value);
        }
        Ok(())
    }
}

impl Alert {
    fn new(labels: Labels, slot: &Slot) -> Self {
        Self {
            labels,
            sample: slot.labels.clone(),
            limit: None,
            life: Life::default(),
            since: None,
        }
    }

    fn transition(&mut self, step: Step, wall: SystemTime, rule: &Compiled) -> Arc<Transition> {
        let begins = !matches!(step.from, State::Pending | State::Firing | State::NoData);
        let falls_back = step.resolved.is_some();
        if begins || self.since.is_none() || (step.to == State::Pending && !falls_back) {
            self.since = Some(wall);
        }
        let since = self.since;
        if step.to == State::Inactive {
            self.since = None;
        }
        let threshold = self.limit.map(|limit| limit.value);
        let fill =
            Fill { value: self.life.value, threshold, unit: &rule.info.unit, labels: &self.sample };
        Arc::new(Transition {
            rule: rule.info.clone(),
            labels: self.labels.clone(),
            from: step.from,
            to: step.to,
            resolved: step.resolved,
            value: self.life.value,
            threshold,
            at: wall,
            active_since: since,
            summary: rule.summary.fill(&fill),
            description: rule.description.fill(&fill),
            hushed: None,
            evidence: None,
            annotations: rule.annotate(&fill),
        })
    }
}
