//! Baselines that stand still while an alert of their rule is on its way or there.

use super::{
    bind::Slot,
    plan::{NodeId, Op, Plan, Value},
};
use crate::name::Labels;

/// The slots of one frozen expression of a rule.
#[derive(Debug)]
struct Baseline {
    node: NodeId,
    labels: Vec<Labels>,
    /// Which alerts freeze each slot: those whose labels do not differ from its own.
    alerts: Vec<Vec<u32>>,
}

/// All of a rule, in the order its expressions name them.
#[derive(Debug, Default)]
pub(crate) struct Baselines(Vec<Baseline>);

impl Baselines {
    /// Finds them in a bound plan. `alerts` are the labels of the samples that made each.
    pub(crate) fn find<'a>(
        plan: &Plan,
        slots: &[Vec<Slot>],
        alerts: impl Iterator<Item = &'a Labels> + Clone,
    ) -> Self {
        let frozen = plan.ops().enumerate().filter(|(_, op)| matches!(op, Op::Frozen { .. }));
        let baseline = |(node, _): (NodeId, _)| {
            let labels: Vec<_> =
                slots[node].iter().map(|slot: &Slot| slot.labels.clone()).collect();
            let of = |slot: &Labels| {
                let belong =
                    |(at, alert): (usize, &Labels)| agree(slot, alert).then_some(at as u32);
                alerts.clone().enumerate().filter_map(belong).collect()
            };
            Baseline { node, alerts: labels.iter().map(of).collect(), labels }
        };
        Self(frozen.map(baseline).collect())
    }

    /// Goes on with what the same rule had frozen before it was bound anew.
    pub(crate) fn carry_over(&self, plan: &mut Plan, old: &Self, old_plan: &Plan) {
        for (new, old) in self.0.iter().zip(&old.0) {
            for (slot, labels) in new.labels.iter().enumerate() {
                if let Some(before) = old.labels.iter().position(|old| old == labels) {
                    plan.parts(new.node).1[slot] = old_plan.out(old.node)[before];
                }
            }
        }
    }

    /// Freezes what alerts stand on, and thaws the rest.
    #[inline]
    pub(crate) fn freeze(&self, plan: &mut Plan, active: impl Fn(u32) -> bool) {
        for baseline in &self.0 {
            let (Op::Frozen { frozen, .. }, out) = plan.parts(baseline.node) else { continue };
            for ((frozen, alerts), value) in frozen.iter_mut().zip(&baseline.alerts).zip(out) {
                // What is not there yet cannot be kept.
                *frozen = *value != Value::Absent && alerts.iter().any(|alert| active(*alert));
            }
        }
    }
}

/// Whether two label sets have no label with different values.
fn agree(a: &Labels, b: &Labels) -> bool {
    a.iter().all(|(key, value)| b.get(key).is_none_or(|other| other == value))
}
