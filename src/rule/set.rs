//! All rules of an instance, wherever they come from: code, files, and what an operator changed of
//! them. Put together at the start, and again when files are read anew.

use std::time::Duration;

use super::{
    builder::{Adjust, Rule},
    evaluator::Evaluator,
};
#[cfg(feature = "rule-files")]
use super::{
    error::Error,
    file::{FileError, Refused, RuleFile},
};
use crate::sync::{Arc, RwLock};

/// Where an instance's rules come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct RuleSet {
    /// Presets and those in code.
    pub(crate) base: Vec<Rule>,
    #[cfg(feature = "rule-files")]
    pub(crate) files: Vec<RuleFile>,
    /// By name, what an operator changed.
    pub(crate) changes: Vec<(String, Adjust)>,
    pub(crate) tick: Duration,
    pub(crate) budget: usize,
    /// Names of rules that do not run here and are known all the same, so that code that watches
    /// them runs anywhere.
    pub(crate) also_known: Vec<String>,
}

/// The names of an instance's rules, sorted, each once.
pub(crate) type RuleNames = Arc<RwLock<Vec<String>>>;

pub(crate) fn rule_names(rules: &[Rule]) -> Vec<String> {
    let mut names: Vec<_> = rules.iter().map(|rule| rule.name().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// What they are.
#[derive(Debug, Default)]
pub(crate) struct Assembled {
    pub(crate) rules: Vec<Rule>,
    #[cfg(feature = "rule-files")]
    pub(crate) refused: Vec<Refused>,
    /// Changes that do not fit.
    pub(crate) mistakes: Vec<String>,
}

impl RuleSet {
    /// Those in code, with the changes.
    #[cfg(not(feature = "rule-files"))]
    pub(crate) fn without_files(&self) -> Assembled {
        self.changed(self.base.clone())
    }

    fn changed(&self, rules: Vec<Rule>) -> Assembled {
        let mut assembled = Assembled { rules, ..Assembled::default() };
        for (name, change) in &self.changes {
            match self.adjusted(&assembled.rules, name, change) {
                Ok(changed) => assembled.rules = changed,
                Err(why) => assembled.mistakes.push(format!("HIGHWATER_RULES: {name:?}: {why}")),
            }
        }
        assembled
    }

    /// The rules with an operator's change to all of a name; a change that does not fit is refused
    /// whole.
    fn adjusted(&self, rules: &[Rule], name: &str, change: &Adjust) -> Result<Vec<Rule>, String> {
        if !rules.iter().any(|rule| rule.name() == name) {
            return Err("no such rule".to_owned());
        }
        let named = rules.iter().filter(|rule| rule.name() == name);
        let adjustable = named.filter_map(|rule| Some(rule.condition.as_ref()?.is_adjustable()));
        let (threshold, clear) =
            adjustable.fold((false, false), |all, one| (all.0 | one.0, all.1 | one.1));
        if !threshold && (change.threshold.is_some() || change.clear.is_some()) {
            return Err("it is written in PromQL: its thresholds are in its text".to_owned());
        }
        if !clear && change.clear.is_some() {
            return Err("it has no clear threshold".to_owned());
        }
        let mut changed: Vec<Rule> = Vec::with_capacity(rules.len());
        for rule in rules {
            let rule = if rule.name() == name { rule.clone().adjust(change) } else { rule.clone() };
            // A warning and a critical rule become one when a cap makes them the same: the first,
            // which is the one that fires earlier.
            if change.severity_cap.is_none() || !changed.iter().any(|other| other.is_same(&rule)) {
                changed.push(rule);
            }
        }
        match Evaluator::with_budget(changed.clone(), self.tick, self.budget) {
            Ok(_) => Ok(changed),
            Err(wrong) => Err(wrong.first().map(ToString::to_string).unwrap_or_default()),
        }
    }
}

/// Why rules were not reloaded: those that ran go on.
#[cfg(feature = "rule-files")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// A file was refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The rules do not go together.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rules(Vec<Error>),
}

#[cfg(feature = "rule-files")]
impl RuleSet {
    /// Reads the files and puts all together.
    ///
    /// # Errors
    /// A file is refused, or all together are.
    pub(crate) fn assemble(&self) -> Result<Assembled, ReloadError> {
        self.prepare().map(|(assembled, _)| assembled)
    }

    /// The same, ready to run.
    ///
    /// # Errors
    /// As [`assemble`](Self::assemble).
    pub(crate) fn prepare(&self) -> Result<(Assembled, Evaluator), ReloadError> {
        let (mut rules, mut refused) = (self.base.clone(), Vec::new());
        for file in &self.files {
            let loaded = file.load(self.tick)?;
            refused.extend(loaded.refused);
            rules.extend(loaded.rules);
        }
        let assembled = Assembled { refused, ..self.changed(rules) };
        let evaluator = Evaluator::with_budget(assembled.rules.clone(), self.tick, self.budget)
            .map_err(ReloadError::Rules)?;
        Ok((assembled, evaluator))
    }
}
