//! What has fired since the start: the answer to "did it pass?" after a load test.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    process::{ExitCode, Termination},
    time::SystemTime,
};

use crate::{
    event::{RuleInfo, Severity, State, Transition},
    name::Labels,
    sync::{Arc, AtomicU64, Mutex, Ordering},
};

/// How many alerts are remembered; those beyond are only counted.
const MOST: usize = 10_000;

/// An alert that fired.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fired {
    /// The rule it belongs to.
    pub rule: Arc<RuleInfo>,
    /// The alert's labels, `alertname` among them.
    pub labels: Labels,
    /// How often it began to fire.
    pub times: u64,
    /// When it first did.
    pub first: SystemTime,
    /// What was judged then.
    pub value: Option<f64>,
    /// What it was compared with.
    pub threshold: Option<f64>,
}

impl fmt::Display for Fired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, labels, times, .. } = self;
        let own = labels.filter(|key| !matches!(key, "alertname" | "severity"));
        write!(f, "{} [{}]", rule.name, rule.severity)?;
        if !own.is_empty() {
            write!(f, " {own}")?;
        }
        match times {
            1 => f.write_str(" fired"),
            times => write!(f, " fired {times} times"),
        }
    }
}

/// Which rules fired since the start; from [`Highwater::verdict`](crate::Highwater::verdict).
///
/// `main` can return it: a load test then fails when an alert fired.
///
/// | exit code | when |
/// |---|---|
/// | 0 | rules were evaluated, and none of the severity asked for fired |
/// | 1 | one did |
/// | 2 | nothing can be said: nothing was evaluated, or a rule could not be |
/// | 3 | nothing fired, but a rule of yours never saw a sample: its metric may be misspelt |
///
/// ```
/// use highwater::{Highwater, rule};
///
/// fn main() -> highwater::alert::Verdict {
///     let hw = Highwater::builder("doc")
///         .rule(rule::alert("QueueDeep").when(rule::gauge("queue.depth").above(1000.0)))
///         .start()
///         .unwrap();
///     let depth = hw.gauge("queue.depth").build();
///     depth.set(3.0);             // the load
///     hw.shutdown(std::time::Duration::from_secs(5)).unwrap();
///     hw.verdict()
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "return it from `main`, or look at what fired"]
pub struct Verdict {
    fired: Vec<Fired>,
    forgotten: u64,
    unjudged: Vec<String>,
    unseen: Vec<String>,
    evaluations: u64,
    least: Severity,
}

impl Verdict {
    /// Of an instance that is switched off.
    pub(crate) fn nothing() -> Self {
        Ledger::default().verdict()
    }

    /// The alerts that fired with at least the severity asked for, by rule and labels. Silenced
    /// ones too: a silence changes what people are told, not what happened.
    pub fn fired(&self) -> impl Iterator<Item = &Fired> {
        self.fired.iter().filter(|fired| fired.rule.severity >= self.least)
    }

    /// Rules that could not be evaluated at some tick.
    pub fn unjudged(&self) -> &[String] {
        &self.unjudged
    }

    /// Rules that never had anything to judge: no sample, or within their
    /// [`warm_up`](crate::rule::Rule::warm_up) only. [Presets](crate::rule::preset) are not among
    /// them: a service without a pool has nothing for theirs.
    pub fn unseen(&self) -> &[String] {
        &self.unseen
    }

    /// Passes rules that never saw a sample, such as those of failures that did not occur.
    pub fn allow_unseen(mut self) -> Self {
        self.unseen.clear();
        self
    }

    /// Judges alerts of this severity and worse only; [`Severity::Warning`] by default.
    pub fn at_least(mut self, severity: Severity) -> Self {
        self.least = severity;
        self
    }

    /// Whether rules were evaluated, all that should be, and nothing fired.
    pub fn is_clear(&self) -> bool {
        self.code() == 0
    }

    /// For `std::process::exit`; see the table above.
    pub fn code(&self) -> u8 {
        if self.forgotten > 0 || self.fired().next().is_some() {
            1
        } else {
            match self.evaluations == 0 || !self.unjudged.is_empty() {
                true => 2,
                false => 3 * u8::from(!self.unseen.is_empty()),
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            0 => write!(f, "no alert fired in {} evaluations of rules", self.evaluations),
            1 => {
                let all: Vec<_> = self.fired().map(ToString::to_string).collect();
                f.write_str(&all.join("; "))?;
                match self.forgotten {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
            3 => write!(f, "no alert fired, but rules saw no sample: {}", self.unseen.join(", ")),
            _ if self.evaluations == 0 => f.write_str("no rule was evaluated"),
            _ => write!(f, "rules could not be evaluated: {}", self.unjudged.join(", ")),
        }
    }
}

impl Termination for Verdict {
    fn report(self) -> ExitCode {
        // As `Result` does for an error: what is wrong belongs on the terminal.
        if !self.is_clear() {
            eprintln!("{self}");
        }
        self.code().into()
    }
}

/// What the tick thread writes down for a verdict.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    evaluations: AtomicU64,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    fired: BTreeMap<(Arc<str>, Labels), Fired>,
    forgotten: u64,
    unjudged: Vec<String>,
    unseen: Vec<String>,
}

impl Ledger {
    /// Notes those that began to fire.
    pub(crate) fn note(&self, transitions: &[Arc<Transition>]) {
        for transition in transitions {
            // One whose data came back had not ceased.
            let begins = transition.to == State::Firing
                && matches!(transition.from, State::Pending | State::Inactive);
            let begins = begins || (transition.from == State::NoData && is_new(transition));
            if transition.to == State::Firing && begins {
                self.fired(transition);
            }
        }
    }

    fn fired(&self, transition: &Transition) {
        let mut pages = self.pages.lock();
        let full = pages.fired.len() >= MOST;
        let key = (transition.rule.name.clone(), transition.labels.clone());
        match pages.fired.entry(key) {
            Entry::Occupied(mut known) => known.get_mut().times += 1,
            Entry::Vacant(_) if full => pages.forgotten += 1,
            Entry::Vacant(free) => {
                free.insert(Fired {
                    rule: transition.rule.clone(),
                    labels: transition.labels.clone(),
                    times: 1,
                    first: transition.at,
                    value: transition.value,
                    threshold: transition.threshold,
                });
            }
        }
    }

    /// How many evaluations there were in all.
    pub(crate) fn evaluated(&self, evaluations: u64) {
        self.evaluations.store(evaluations, Ordering::Relaxed);
    }

    /// A rule could not be evaluated.
    pub(crate) fn unjudged(&self, rule: &str) {
        let mut pages = self.pages.lock();
        if pages.unjudged.len() < MOST && !pages.unjudged.iter().any(|known| known == rule) {
            pages.unjudged.push(rule.to_owned());
        }
    }

    /// The rules that have had nothing to judge so far.
    pub(crate) fn unseen<'a>(&self, rules: impl Iterator<Item = &'a Arc<str>> + Clone) {
        let mut pages = self.pages.lock();
        // Once all have, that is so for good, and mostly nothing has changed.
        if !pages.unseen.iter().eq(rules.clone().map(|rule| &**rule)) {
            pages.unseen = rules.map(|rule| rule.to_string()).collect();
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let pages = self.pages.lock();
        Verdict {
            fired: pages.fired.values().cloned().collect(),
            forgotten: pages.forgotten,
            unjudged: pages.unjudged.clone(),
            unseen: pages.unseen.clone(),
            evaluations: self.evaluations.load(Ordering::Relaxed),
            least: Severity::Warning,
        }
    }
}

/// Whether an alert that comes from "no data" has only begun: with a hold of zero it skips pending.
fn is_new(transition: &Transition) -> bool {
    transition.active_since == Some(transition.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::testing::transition;

    fn step(name: &str, from: State, to: State) -> Arc<Transition> {
        Arc::new(Transition { from, to, ..Transition::clone(&transition(name)) })
    }

    fn fires(name: &str) -> Arc<Transition> {
        step(name, State::Pending, State::Firing)
    }

    #[test]
    fn nothing_evaluated_proves_nothing() {
        let ledger = Ledger::default();
        assert_eq!(ledger.verdict().code(), 2);
        ledger.evaluated(3);
        let verdict = ledger.verdict();
        assert!(verdict.is_clear());
        assert_eq!(verdict.to_string(), "no alert fired in 3 evaluations of rules");
        let rules = [Arc::from("B"), Arc::from("C")];
        ledger.unseen(rules.iter());
        assert_eq!((ledger.verdict().code(), ledger.verdict().allow_unseen().code()), (3, 0));
        assert_eq!(ledger.verdict().to_string(), "no alert fired, but rules saw no sample: B, C");
        ledger.unseen(rules[..0].iter());
        assert!(ledger.verdict().is_clear());
        ledger.unjudged("A");
        ledger.unjudged("A");
        assert_eq!(ledger.verdict().code(), 2);
        assert_eq!(ledger.verdict().to_string(), "rules could not be evaluated: A");
    }

    #[test]
    fn what_fired_is_counted_once_by_rule_and_labels() {
        let ledger = Ledger::default();
        ledger.evaluated(1);
        ledger.note(&[fires("A"), fires("A"), step("B", State::Inactive, State::Pending)]);
        ledger.note(&[step("C", State::NoData, State::Firing)]);
        let verdict = ledger.verdict();
        assert_eq!(verdict.code(), 1);
        let told: Vec<_> = verdict.fired().map(|fired| (&*fired.rule.name, fired.times)).collect();
        assert_eq!(told, [("A", 2)]);
        assert!(verdict.to_string().contains("fired 2 times"), "{verdict}");
        assert_eq!(verdict.fired[0].rule.severity, Severity::Warning);
        assert!(verdict.at_least(Severity::Critical).is_clear());
    }

    #[test]
    fn a_flood_is_counted_and_not_kept() {
        let ledger = Ledger::default();
        for number in 0..MOST + 5 {
            ledger.note(&[fires(&format!("A{number}"))]);
        }
        let verdict = ledger.verdict();
        assert_eq!((verdict.fired.len(), verdict.forgotten), (MOST, 5));
        assert!(verdict.at_least(Severity::Critical).code() == 1, "what is forgotten may be bad");
    }
}
