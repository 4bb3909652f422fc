//! All rules of one instance, and where each of their alerts stands.
//!
//! The tick thread owns it: [`observe`](Evaluator::observe), then
//! [`evaluate`](Evaluator::evaluate), then it publishes [`status`](Evaluator::status). Time and
//! data are arguments; nothing here reads a clock. A tick on which no series appeared and no alert
//! changed its state allocates nothing for rules over plain numbers.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use super::{
    active::ActiveRule,
    builder::Rule,
    error::{Error, Mistake},
    index::Index,
    number::Scratch,
    plan::{Context, Found},
};
use crate::{
    clock::Moment,
    event::{ResolveReason, RuleInfo, State, Transition},
    name::Labels,
    registry::{Collector, SeriesId},
    sync::Arc,
    window::{DEFAULT_BUDGET, Store, estimate},
};

/// Where one alert stands, or a rule that has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Status<'a> {
    pub(crate) rule: &'a Arc<RuleInfo>,
    /// The alert's labels, or the rule's own.
    pub(crate) labels: &'a Labels,
    pub(crate) state: State,
    /// Whether it fires, or did when its samples vanished and has not ended.
    pub(crate) raised: bool,
    pub(crate) value: Option<f64>,
    pub(crate) threshold: Option<f64>,
    /// How near it is to its threshold: 1 at or past it.
    pub(crate) level: f64,
}

/// What the self-metrics say of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stats {
    /// What the windows hold.
    pub(crate) window_bytes: usize,
    /// Evaluations of single rules, since the start.
    pub(crate) evaluations: u64,
    /// Those that failed.
    pub(crate) failures: u64,
}

#[derive(Debug)]
pub(crate) struct Evaluator {
    rules: Vec<ActiveRule>,
    store: Store,
    index: Index,
    scratch: Scratch,
    found: Vec<Found>,
    tick: Duration,
    started: Option<Duration>,
    last: Option<Duration>,
    evaluations: u64,
    failures: u64,
    /// `job` and `instance`, as a server has them.
    identity: Labels,
    /// The rules are others since the last tick, and not bound yet.
    renewed: bool,
}

impl Evaluator {
    /// # Errors
    /// All mistakes of all rules.
    pub(crate) fn new(rules: Vec<Rule>, tick: Duration) -> Result<Self, Vec<Error>> {
        Self::with_budget(rules, tick, DEFAULT_BUDGET)
    }

    /// With this many bytes for the windows of all rules.
    pub(crate) fn with_budget(
        rules: Vec<Rule>,
        tick: Duration,
        budget: usize,
    ) -> Result<Self, Vec<Error>> {
        let (mut active, mut errors) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for rule in rules.iter().filter(|rule| rule.enabled) {
            let labels = rule.identity();
            if !seen.insert((rule.group.clone(), rule.name.clone(), labels.clone())) {
                let mistake = Mistake::Duplicate { group: rule.group.clone(), labels };
                errors.push(Error { rule: rule.name.clone(), mistake });
            }
            match rule.compile(tick) {
                Ok(compiled) => active.push(ActiveRule::new(compiled)),
                Err(more) => errors.extend(more),
            }
        }
        errors.extend(inhibitors(&rules));
        errors.extend(over_budget(&active, tick, budget));
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            rules: active,
            store: Store::new(tick, budget),
            index: Index::default(),
            scratch: Scratch::default(),
            found: Vec::new(),
            tick,
            started: None,
            last: None,
            evaluations: 0,
            failures: 0,
            identity: Labels::empty(),
            renewed: true,
        })
    }

    /// What a server calls this instance; nothing by default.
    pub(crate) fn identified(mut self, identity: Labels) -> Self {
        self.identity = identity;
        self
    }

    /// Whether [`observe`](Self::observe) needs what this histogram gains.
    pub(crate) fn wants(&self, series: SeriesId) -> bool {
        self.store.wants(series)
    }

    /// Puts other rules in these ones' place, before a tick is taken in. Alerts of a rule that is the
    /// same, by group, name and labels, live on; those of rules that are gone resolve. What windows
    /// the new rules share with the old ones goes on, the others are let go of.
    #[cfg(feature = "rule-files")]
    pub(crate) fn replace(&mut self, fresh: Self, at: Moment, out: &mut Vec<Arc<Transition>>) {
        let mut old: Vec<_> = std::mem::take(&mut self.rules).into_iter().map(Some).collect();
        let known: std::collections::HashMap<_, _> = old
            .iter()
            .enumerate()
            .filter_map(|(at, rule)| Some((rule.as_ref()?.identity(), at)))
            .collect();
        for new in fresh.rules {
            let known = known.get(&new.identity()).and_then(|at| old[*at].take());
            self.rules.push(match known {
                Some(old) => old.becomes(new),
                None => new,
            });
        }
        for mut gone in old.into_iter().flatten() {
            gone.resolve_all(nanos(at.mono), at.wall, ResolveReason::RuleRemoved, out);
        }
        self.store.renew(fresh.store.budget());
        self.renewed = true;
    }

    /// Takes in what was read at a tick. Rules are bound anew if a series they may select has
    /// appeared.
    pub(crate) fn observe(&mut self, collector: &Collector) {
        let (series, frame) = (collector.series(), collector.frame());
        let touched = self.index.catch_up(series);
        let renewed = std::mem::take(&mut self.renewed);
        // Most ticks have neither, and then no rule is looked at.
        if renewed || !touched.is_empty() {
            for rule in &mut self.rules {
                if renewed || touched.iter().any(|name| rule.may_select(name)) {
                    rule.bind(&mut self.store, series, &self.index, &self.identity);
                }
            }
        }
        if renewed {
            self.store.settle();
        }
        self.store.seed(frame, |series| collector.cumulative(series));
        self.store.push(frame);
    }

    /// Evaluates every rule and appends what changed.
    pub(crate) fn evaluate(&mut self, at: Moment, out: &mut Vec<Arc<Transition>>) {
        let started = *self.started.get_or_insert(at.mono);
        self.last = Some(at.mono);
        let now = nanos(at.mono);
        let age = nanos(at.mono.saturating_sub(started));
        let wall = at.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut cx = Context {
            store: &self.store,
            wall: wall.as_secs_f64(),
            scratch: &mut self.scratch,
            found: &mut self.found,
        };
        for rule in &mut self.rules {
            cx.scratch.clear();
            self.evaluations += 1;
            if !rule.evaluate(now, age, at.wall, &mut cx, out) {
                self.failures += 1;
            }
        }
    }

    /// Each alert's labels, state, and since when its condition holds.
    #[cfg(test)]
    pub(crate) fn lives(&self) -> impl Iterator<Item = (&Labels, State, Duration)> + '_ {
        self.rules.iter().flat_map(ActiveRule::lives)
    }

    /// Where every alert stands; a rule without one is there once, by itself.
    pub(crate) fn status(&self) -> impl Iterator<Item = Status<'_>> + '_ {
        self.rules.iter().flat_map(ActiveRule::status)
    }

    /// Whether an alert of this name fires, be it that its samples are missing since.
    pub(crate) fn fires(&self, name: &str) -> bool {
        let mut named = self.rules.iter().filter(|rule| &*rule.info().name == name);
        named.any(|rule| rule.status().any(|status| status.raised))
    }

    /// Why each rule that could not be evaluated at the last tick could not.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (&Arc<RuleInfo>, &str)> + '_ {
        self.rules.iter().filter_map(|rule| Some((rule.info(), rule.error()?)))
    }

    /// The rules, presets left out, that never had anything to judge.
    pub(crate) fn unseen(&self) -> impl Iterator<Item = &Arc<RuleInfo>> + Clone + '_ {
        let unseen = self.rules.iter().filter(|rule| !rule.was_judged() && !rule.is_preset());
        unseen.map(ActiveRule::info)
    }

    /// A test alert of each rule of this name; no state changes.
    pub(crate) fn drill(&self, name: &str, wall: SystemTime) -> impl Iterator<Item = Transition> {
        let named = self.rules.iter().filter(move |rule| &*rule.info().name == name);
        named.map(move |rule| rule.drill(wall))
    }

    /// Ends every alert that is pending or firing.
    pub(crate) fn resolve_all(
        &mut self,
        at: Moment,
        reason: ResolveReason,
        out: &mut Vec<Arc<Transition>>,
    ) {
        for rule in &mut self.rules {
            rule.resolve_all(nanos(at.mono), at.wall, reason, out);
        }
    }

    /// The clock has jumped, or the machine was suspended: what lies before cannot be compared
    /// with what comes. Windows begin anew and the time in between counts for no hold.
    pub(crate) fn discontinuity(&mut self, at: Moment) {
        self.store.clear();
        let Some(last) = self.last else { return };
        let lost = at.mono.saturating_sub(last).saturating_sub(self.tick);
        for rule in &mut self.rules {
            rule.postpone(nanos(lost));
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            window_bytes: self.store.bytes() + self.scratch.bytes(),
            evaluations: self.evaluations,
            failures: self.failures,
        }
    }
}

/// Those that inhibit nothing, or themselves.
fn inhibitors(rules: &[Rule]) -> Vec<Error> {
    let by = |name: &str| -> Vec<&str> {
        let named = rules.iter().filter(|rule| rule.name == name);
        named.flat_map(|rule| rule.inhibited_by.iter().map(String::as_str)).collect()
    };
    let mut errors = Vec::new();
    for rule in rules {
        for name in &rule.inhibited_by {
            // A preset's may have been left out.
            let known = rules.iter().any(|other| other.name == *name);
            let reason = if !known && !super::preset::is_one(rule) {
                "there is no such rule"
            } else if reaches(&by, name, &rule.name) {
                "it is inhibited by this rule itself"
            } else {
                continue;
            };
            let mistake = Mistake::Inhibitor { name: name.clone(), reason };
            errors.push(Error { rule: rule.name.clone(), mistake });
        }
    }
    errors
}

/// Whether `from` is inhibited by `to`, be it by way of others.
fn reaches<'a>(by: &impl Fn(&str) -> Vec<&'a str>, from: &'a str, to: &str) -> bool {
    let (mut seen, mut open) = (HashSet::new(), vec![from]);
    while let Some(name) = open.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            open.extend(by(name));
        }
    }
    false
}

/// How many rules are told that they are over the budget.
const TOLD: usize = 10;

/// The greediest rules, if all together need more than there is even with one series each.
fn over_budget(rules: &[ActiveRule], tick: Duration, budget: usize) -> Vec<Error> {
    let mut known = HashSet::new();
    let mut all = 0_usize;
    let mut needs: Vec<(usize, &ActiveRule)> = Vec::new();
    for rule in rules {
        let (mut own, mut needed) = (HashSet::new(), 0_usize);
        rule.windows(&mut |selector, reach, histogram| {
            let bytes = estimate(reach, tick, histogram);
            let window = (selector.to_string(), reach);
            if own.insert(window.clone()) {
                needed = needed.saturating_add(bytes);
            }
            if known.insert(window) {
                all = all.saturating_add(bytes);
            }
        });
        needs.push((needed, rule));
    }
    if all <= budget {
        return Vec::new();
    }
    needs.sort_by_key(|(needed, _)| std::cmp::Reverse(*needed));
    let error = |(needed, rule): (usize, &ActiveRule)| Error {
        rule: rule.info().name.to_string(),
        mistake: Mistake::Budget { needed, all, budget },
    };
    needs.into_iter().take(TOLD).map(error).collect()
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
