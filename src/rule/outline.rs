//! What a rule says of itself before it runs: for dashboards and runbooks.

use super::{
    builder::Rule,
    expr::{BinaryOp, Expr, Function},
};
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

    /// The metrics it is about.
    #[cfg(all(test, feature = "generate"))]
    pub(crate) fn metrics(&self) -> Vec<String> {
        let mut names = Vec::new();
        let conditions = self.condition.iter();
        conditions.for_each(|condition| {
            condition.raise().walk(&mut |expr| {
                if let Expr::Select(selector) | Expr::Range(selector, _) = expr {
                    names.extend(selector.name.clone());
                }
            });
        });
        names
    }

    /// What its first comparison compares with, and in what.
    pub(crate) fn threshold(&self) -> Option<(f64, Unit)> {
        let condition = self.condition.as_ref()?;
        let value = super::export::threshold(&condition.raise())?;
        Some((value, super::export::Catalog::new().unit_of(condition)))
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
        let edge = Edge { value: *value, above };
        if !edges.contains(&edge) {
            edges.push(edge);
        }
    }
}

/// Whether the expression's value is in the metric's own measure.
fn keeps(expr: &Expr, metric: &str) -> bool {
    match expr {
        Expr::Select(selector) => selector.name.as_deref() == Some(metric),
        Expr::Aggregate(aggregate) if aggregate.op.keeps_unit() => keeps(&aggregate.of, metric),
        Expr::Binary(binary) if binary.op.is_set() => keeps(&binary.left, metric),
        // A quantile is in what was recorded, however that was counted.
        Expr::Call(Function::HistogramQuantile, arguments) => {
            arguments.get(1).is_some_and(|of| selects(of, metric))
        }
        Expr::Call(
            Function::MinOverTime
            | Function::MaxOverTime
            | Function::AvgOverTime
            | Function::LastOverTime
            | Function::QuantileOverTime,
            arguments,
        ) => arguments.last().is_some_and(|of| selects(of, metric)),
        _ => false,
    }
}

/// Whether it is about nothing but this metric.
fn selects(expr: &Expr, metric: &str) -> bool {
    let (mut found, mut only) = (false, true);
    expr.walk(&mut |expr| match expr {
        Expr::Select(selector) | Expr::Range(selector, _) => {
            found = true;
            only &= selector.name.as_deref() == Some(metric);
        }
        Expr::Recorded(_) => only = false,
        _ => {}
    });
    found && only
}
