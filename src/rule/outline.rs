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

    /// The values this metric itself is compared with where the rule holds. What is only asked
    /// beside that (`and`, `unless`) is a gate, not a threshold.
    pub(crate) fn edges_of(&self, metric: &str) -> Vec<Edge> {
        let mut edges = Vec::new();
        if let Some(condition) = &self.condition {
            gather(&condition.raise(), metric, &mut edges);
        }
        edges
    }
}

fn gather(expr: &Expr, metric: &str, edges: &mut Vec<Edge>) {
    let Expr::Binary(binary) = expr else { return };
    let above = match binary.op {
        BinaryOp::Greater | BinaryOp::GreaterEqual => true,
        BinaryOp::Less | BinaryOp::LessEqual => false,
        BinaryOp::And | BinaryOp::Unless => return gather(&binary.left, metric, edges),
        BinaryOp::Or => {
            gather(&binary.left, metric, edges);
            return gather(&binary.right, metric, edges);
        }
        _ => return,
    };
    if let (Expr::Number(value), true) = (&binary.right, keeps(&binary.left, metric)) {
        edges.push(Edge { value: *value, above });
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
