//! What an alert's transition is, for everyone above: rules make them, sinks and exporters carry
//! them.

mod evidence;
#[cfg(test)]
pub(crate) mod testing;

use std::{fmt, sync::Arc, time::SystemTime};

pub(crate) use evidence::short;
pub use evidence::{Cause, Evidence, Fact};

use crate::name::{Labels, Unit};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Nothing has failed yet: somebody should look.
    #[default]
    Warning,
    /// Work is being, or is about to be, lost.
    Critical,
}

impl Severity {
    /// Its value in the `severity` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum State {
    /// The condition does not hold.
    #[default]
    Inactive = 0,
    /// There is nothing to judge by: too few samples, or none.
    NoData = 1,
    /// The rule could not be evaluated.
    Error = 2,
    /// The condition holds, not yet for long enough.
    Pending = 3,
    /// The condition has held for long enough.
    Firing = 4,
}

impl State {
    /// Its name in labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::NoData => "no_data",
            Self::Error => "error",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a firing alert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResolveReason {
    /// The condition no longer holds.
    Cleared,
    /// What it was judged by vanished.
    NoData,
    /// Its rule was taken away.
    RuleRemoved,
    /// The instance was shut down.
    Shutdown,
    /// A rule of a file has more alerts than its group's limit: it has none then.
    Limit,
}

impl ResolveReason {
    /// Its name in labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cleared => "cleared",
            Self::NoData => "no_data",
            Self::RuleRemoved => "rule_removed",
            Self::Shutdown => "shutdown",
            Self::Limit => "limit",
        }
    }
}

/// Why the sinks are not told of a transition when it happens. It is exported all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hush {
    /// A silence covers it.
    Silence,
    /// A maintenance window does.
    Maintenance,
    /// A deploy is going on.
    Deploy,
    /// Another alert fires that says more.
    Inhibited,
    /// It fires and ends again and again: the delay between two news grows.
    Flapping,
    /// A server owns its rule, and tells people.
    Owner,
}

impl Hush {
    pub(crate) const ALL: [Self; 6] = [
        Self::Silence,
        Self::Maintenance,
        Self::Deploy,
        Self::Inhibited,
        Self::Flapping,
        Self::Owner,
    ];

    /// Its name in labels and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Maintenance => "maintenance",
            Self::Deploy => "deploy",
            Self::Inhibited => "inhibited",
            Self::Flapping => "flapping",
            Self::Owner => "owner",
        }
    }

    /// Whether somebody wants it so.
    pub(crate) fn is_silence(self) -> bool {
        matches!(self, Self::Silence | Self::Maintenance | Self::Deploy)
    }
}

/// Who tells people of a rule's alerts, so that nobody is paged twice where a server evaluates the
/// same rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Owner {
    /// This process: its sinks are told.
    #[default]
    Process,
    /// A server: here the rule is evaluated for its watches, series and exported transitions, and
    /// no sink is told.
    Server,
}

/// What of a rule travels with each of its transitions.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RuleInfo {
    /// The rule's group; empty for those of the builder.
    pub group: Arc<str>,
    /// The alert's name.
    pub name: Arc<str>,
    /// How bad it is.
    pub severity: Severity,
    /// The rule's own labels, `severity` among them.
    pub labels: Labels,
    /// What is compared, as PromQL-like text.
    pub expression: String,
    /// The unit of value and threshold.
    pub unit: Unit,
    /// The runbook's address.
    pub runbook: Option<String>,
    /// The sinks are not told of its alerts while one of these fires.
    pub inhibited_by: Vec<String>,
    /// Whether news of an alert that flaps is delayed.
    pub damped: bool,
    /// Who tells people.
    pub owner: Owner,
}

/// One step of one alert's life.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Transition {
    /// The rule it belongs to.
    pub rule: Arc<RuleInfo>,
    /// The alert's labels: those of the sample and the rule, and `alertname`.
    pub labels: Labels,
    /// Where it stood.
    pub from: State,
    /// Where it stands.
    pub to: State,
    /// Why, if it was firing and is no longer.
    pub resolved: Option<ResolveReason>,
    /// What was judged, absent without data.
    pub value: Option<f64>,
    /// What it was compared with.
    pub threshold: Option<f64>,
    /// When this step was taken.
    pub at: SystemTime,
    /// When the condition began to hold.
    pub active_since: Option<SystemTime>,
    /// What it means, with the values filled in.
    pub summary: String,
    /// More of it.
    pub description: String,
    /// Why the sinks were not told of it when it happened, if they were not.
    pub hushed: Option<Hush>,
    /// What explains it; only when it begins to hold and when it fires.
    pub evidence: Option<Arc<Evidence>>,
    /// More texts, by name; the values filled in.
    pub annotations: Labels,
}

/// The label of a test alert.
pub(crate) const TEST: &str = "highwater.test";

impl Transition {
    /// Whether both are steps of one alert.
    pub(crate) fn is_same_alert(&self, other: &Self) -> bool {
        self.labels == other.labels
            && self.rule.name == other.rule.name
            && self.rule.group == other.rule.group
    }

    /// The end of a test alert.
    pub(crate) fn resolved_drill(&self, at: SystemTime) -> Self {
        Self {
            from: State::Firing,
            to: State::Inactive,
            resolved: Some(ResolveReason::Cleared),
            at,
            ..self.clone()
        }
    }
}
