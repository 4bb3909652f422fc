//! Recording rules within the alerts that use them: computed in the same evaluation, as a server
//! does with a group's rules in their order, and no series of their own.

use std::sync::Arc;

use super::{
    bind::{Binder, Slot},
    expr::{Expr, Matcher, Selector},
    index::find,
    plan::{NodeId, Op},
};
use crate::window::OverBudget;

/// A recording rule.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recording {
    pub(crate) expr: Expr,
    /// Those it adds, or takes away by an empty value.
    pub(crate) labels: Vec<(String, String)>,
}

/// What an alert selects of what is recorded under a name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recorded {
    pub(crate) selector: Selector,
    /// All that are recorded under that name.
    pub(crate) recordings: Arc<[Recording]>,
}

impl Recorded {
    /// What is recorded, where it is selected whole and unchanged.
    pub(crate) fn whole(&self) -> Option<&Expr> {
        match &*self.recordings {
            [one] if one.labels.is_empty() && self.selector.matchers.is_empty() => Some(&one.expr),
            _ => None,
        }
    }
}

impl Binder<'_> {
    pub(super) fn recorded(&mut self, recorded: &Recorded) -> Result<NodeId, OverBudget> {
        let (mut from, mut slots) = (Vec::new(), Vec::new());
        let name: Option<Arc<str>> = recorded.selector.name.as_deref().map(Arc::from);
        for recording in &*recorded.recordings {
            let node = self.bind(&recording.expr)?;
            for (at, slot) in self.slots[node].clone().into_iter().enumerate() {
                let add = recording.labels.iter();
                let labels =
                    add.fold(slot.labels.clone(), |all, (key, value)| all.with(key, value));
                let takes = |matcher: &Matcher| matcher.test.accepts(find(&labels, &matcher.key));
                if recorded.selector.matchers.iter().all(takes) {
                    from.push((node, at as u32));
                    slots.push(Slot { name: name.clone(), labels, limit: None, ..slot });
                }
            }
        }
        Ok(self.add(Op::Pick(from), slots))
    }
}
