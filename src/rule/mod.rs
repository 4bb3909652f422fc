//! stub
use crate::{clock::Moment, event::*, name::Labels, registry::*, sync::Arc};
use std::time::Duration;
pub mod preset {
    pub fn all() -> Vec<super::Rule> {
        vec![]
    }
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct Error;
#[derive(Clone, Debug)]
pub struct Rule;
impl Rule {
    pub fn name(&self) -> &str {
        ""
    }
    pub fn is_same(&self, _: &Rule) -> bool {
        false
    }
    pub fn with_threshold(self, _: f64) -> Self {
        self
    }
    pub fn with_clear(self, _: f64) -> Self {
        self
    }
    pub fn with_severity_cap(self, _: Severity) -> Self {
        self
    }
    pub fn hold_for(self, _: Duration) -> Self {
        self
    }
}
pub(crate) fn check(_: &[Rule]) -> Vec<Error> {
    vec![]
}
pub(crate) struct Evaluator;
pub(crate) struct Status<'a> {
    pub rule: &'a Arc<RuleInfo>,
    pub labels: &'a Labels,
    pub state: State,
    pub value: Option<f64>,
    pub threshold: Option<f64>,
    pub level: f64,
}
impl Evaluator {
    pub fn new(_: Vec<Rule>, _: Duration) -> Result<Self, Vec<Error>> {
        Ok(Self)
    }
    pub fn observe(&mut self, _: &[Arc<Series>], _: &Frame) {}
    pub fn evaluate(&mut self, _: Moment, _: &mut Vec<Arc<Transition>>) {}
    pub fn status(&self) -> impl Iterator<Item = Status<'_>> {
        std::iter::empty()
    }
    pub fn resolve_all(&mut self, _: Moment, _: ResolveReason, _: &mut Vec<Arc<Transition>>) {}
    pub fn discontinuity(&mut self, _: Moment) {}
}
