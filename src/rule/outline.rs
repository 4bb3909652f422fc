//! What a rule says of itself before it runs: for dashboards and runbooks.

use super::{
    builder::Rule,
    expr::{BinaryOp, Expr},
};
#[cfg(feature = "generate")]
use crate::name::Unit;

/// A value of a metric past which a rule holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Edge {
    pub(crate) value: f64,
    /// Whether the rule holds above it.
    pub(crate) above: bool,
}

impl Rule {
    /// What is compared, as PromQL-like text.
    pub(crate) fn expression(&self) -> String {
        self.condition.as_ref().map_or_else(String::new, |condition| condition.raise().to_string())
    }

    #[cfg(feature = "generate")]
    /// The unit of its value, as far as it is known before there are samples.
    pub(crate) fn unit(&self) -> Unit {
        self.condition.as_ref().map_or(Unit::NONE, |condition| condition.quantity().unit())
    }

    /// The values this metric itself, or a quantile of it, is compared with.
    pub(crate) fn edges_of(&self, metric: &str) -> Vec<Edge> {
        let mut edges = Vec::new();
        let Some(condition) = &self.condition else { return edges };
        condition.raise().walk(&mut |expr| {
            let Expr::Binary(binary) = expr else { return };
            let above = match binary.op {
                BinaryOp::Greater | BinaryOp::GreaterEqual => true,
                BinaryOp::Less | BinaryOp::LessEqual => false,
                _ => return,
            };
            // `at_least(0.0)` asks whether there is anything at all.
            if let (Expr::Number(value), true) = (&binary.right, keeps(&binary.left, metric))
                && *value != 0.0
            {
                edges.push(Edge { value: *value, above });
            }
        });
        edges
    }
}

/// Whether the expression's value is in the metric's own measure.
fn keeps(expr: &Expr, metric: &str) -> bool {
    match expr {
        Expr::Select(selector) => selector.name.as_deref() == Some(metric),
        Expr::Aggregate(aggregate) if aggregate.op.keeps_unit() => keeps(&aggregate.of, metric),
        Expr::Binary(binary) if binary.op.is_set() => keeps(&binary.left, metric),
        _ => false,
    }
}
