//! What can be wrong with a rule, found before it runs.

use std::time::Duration;

use super::{expr::Number, promql::Refusal};

/// A mistake in a rule. All mistakes of all rules are reported together.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}: {mistake}", Subject(.rule))]
#[non_exhaustive]
pub struct Error {
    /// The rule's name; empty if that is what is missing.
    pub rule: String,
    /// What is wrong with it.
    pub mistake: Mistake,
}

struct Subject<'a>(&'a str);

impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { f.write_str("a rule") } else { write!(f, "rule {:?}", self.0) }
    }
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// Alerts are told apart by it.
    #[error("its name is empty")]
    EmptyName,
    /// It would never do anything.
    #[error("it has no condition: give it one with `when`")]
    NoCondition,
    /// Group, name and labels are a rule's identity.
    #[error("there is another rule of the same group {group:?}, name and labels {labels}")]
    Duplicate {
        /// The group both are in.
        group: String,
        /// The labels both have.
        labels: crate::name::Labels,
    },
    /// NaN or an infinity.
    #[error("the threshold {} is not finite", Number(*.0))]
    Threshold(f64),
    /// The alert would clear at once, or never.
    #[error("the clear threshold {} must be at {side} the threshold {}", Number(*.clear), Number(*.threshold))]
    ClearThreshold {
        /// What was given.
        clear: f64,
        /// The threshold it goes with.
        threshold: f64,
        /// `most` or `least`.
        side: &'static str,
    },
    /// `clear_below` goes with `above`, `clear_above` with `below`.
    #[error("`{given}` does not go with a condition of {op:?}")]
    ClearDirection {
        /// The method that was called.
        given: &'static str,
        /// The comparison it was called on.
        op: &'static str,
    },
    /// Too short to hold two samples, or too long.
    #[error("the window {window:?} must be from {least:?} (two ticks) to {most:?}")]
    Window {
        /// What was given.
        window: Duration,
        /// The shortest that can hold two samples.
        least: Duration,
        /// The longest.
        most: Duration,
    },
    /// It looks further back than anything is kept.
    #[error("the offset {offset:?} must be at most {most:?}")]
    Offset {
        /// What was given.
        offset: Duration,
        /// The furthest.
        most: Duration,
    },
    /// A quantile is a share.
    #[error("the quantile {} is not within 0..=1", Number(*.0))]
    Quantile(f64),
    /// Of a limit, how much is in use.
    #[error("the share {} is not within 0..=1", Number(*.0))]
    Ratio(f64),
    /// N of M.
    #[error("{least} of {of} evaluations: allowed are 1 ≤ N ≤ M ≤ 64")]
    Times {
        /// N.
        least: u32,
        /// M.
        of: u32,
    },
    /// A duration against bytes, or the like.
    #[error("the threshold is in {threshold}, the value in {value}")]
    Unit {
        /// What is compared.
        value: &'static str,
        /// What it is compared with.
        threshold: &'static str,
    },
    /// Seconds and bytes are added, or the like.
    #[error("{left} {op} {right} have no meaning together")]
    Kinds {
        /// What is on the left.
        left: &'static str,
        /// `+`, `-` or `or`.
        op: &'static str,
        /// What is on the right.
        right: &'static str,
    },
    /// An objective that nothing or everything meets.
    #[error("the goal {} is not between 0 and 1", Number(*.0))]
    Goal(f64),
    /// Nothing takes no time.
    #[error("the limit of {} seconds is not above zero", Number(*.0))]
    Limit(f64),
    /// Only a plain gauge has samples to look at over a window.
    #[error("`{method}` is of a gauge, not of {of:?}")]
    NotAGauge {
        /// The method that was called.
        method: &'static str,
        /// What it was called on.
        of: String,
    },
    /// A metric or label is selected by an empty name.
    #[error("it selects a {0} with an empty name")]
    EmptySelector(&'static str),
    /// It would be hushed by nothing, or for ever.
    #[error("it cannot be inhibited by {name:?}: {reason}")]
    Inhibitor {
        /// What was given.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A label's name no server would take.
    #[error("{0:?} cannot be the name of a label: {1}")]
    Label(String, &'static str),
    /// The pattern of a label matcher.
    #[error("the pattern {pattern:?}: {reason}")]
    Pattern {
        /// What was given.
        pattern: String,
        /// What the parser says.
        reason: String,
    },
    /// A text has a placeholder that nothing fills.
    #[error("the text {text:?}: {reason}")]
    Template {
        /// What was given.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// A text in Prometheus' language.
    #[error("{text:?}: {refusal}")]
    Promql {
        /// What was given.
        text: String,
        /// What is wrong, and where.
        refusal: Refusal,
    },
    /// A selected bucket's bound is not one of those this crate's histograms have, and was not
    /// declared.
    #[error(
        "le={0:?} cuts a bucket: declare it with `bounds`, or take +Inf, 0 or a power of 2^(1/32), of which are 0.25, 0.5, 1, 2"
    )]
    Bound(String),
    /// A classic bucket is selected by no bound of its own.
    #[error("{0:?} must be selected by le=\"…\" unless it is within histogram_quantile")]
    Buckets(String),
    /// All windows together have a budget; of the rules that are over it, those that need most are
    /// told.
    #[error(
        "its windows take at least {needed} bytes, those of all rules {all}; allowed are {budget}"
    )]
    Budget {
        /// What this rule needs, with one series for each of its selectors.
        needed: usize,
        /// What all need.
        all: usize,
        /// What all may take.
        budget: usize,
    },
}
