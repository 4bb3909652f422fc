//! Expressions about whole histograms, as they are asked of series by `le`.

use super::names::{Catalog, merges};
use crate::rule::{
    expr::{Aggregate, Binary, BinaryOp, Expr, Function, Selector},
    index::LE,
};

/// Which of a histogram's series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Bucket,
    Count,
    Sum,
}

impl Part {
    fn suffix(self) -> &'static str {
        match self {
            Self::Bucket => "_bucket",
            Self::Count => "_count",
            Self::Sum => "_sum",
        }
    }
}

/// `bucket` is the label that tells a histogram's buckets apart.
pub(super) fn rewrite(expr: Expr, catalog: &Catalog, bucket: &str) -> Expr {
    let go = |expr| rewrite(expr, catalog, bucket);
    let take = |expr, part, catalog| take(expr, part, catalog, bucket);
    match expr {
        Expr::Call(function, mut arguments) => {
            let part = match function {
                Function::HistogramQuantile | Function::HistogramFraction => Part::Bucket,
                Function::HistogramCount => Part::Count,
                Function::HistogramSum | Function::HistogramAvg => Part::Sum,
                _ => {
                    let arguments = arguments.into_iter().map(go).collect();
                    return Expr::Call(function, arguments);
                }
            };
            let Some(of) = arguments.pop() else { return Expr::Call(function, arguments) };
            // Written about `le` already.
            if mentions_le(&of) {
                arguments.push(of);
                return Expr::Call(function, arguments);
            }
            match function {
                Function::HistogramCount | Function::HistogramSum => take(of, part, catalog),
                Function::HistogramAvg => {
                    let count = take(of.clone(), Part::Count, catalog);
                    Expr::binary(BinaryOp::Divide, take(of, Part::Sum, catalog), count)
                }
                function => {
                    arguments.push(take(of, part, catalog));
                    Expr::Call(function, arguments)
                }
            }
        }
        Expr::Negate(of) => Expr::Negate(Box::new(go(*of))),
        Expr::Frozen(of) => Expr::Frozen(Box::new(go(*of))),
        Expr::Binary(binary) => {
            let Binary { op, left, right, yields_bool, matching } = *binary;
            let (left, right) = (go(left), go(right));
            Expr::Binary(Box::new(Binary { op, left, right, yields_bool, matching }))
        }
        Expr::Aggregate(aggregate) => {
            let of = go(aggregate.of.clone());
            Expr::Aggregate(Box::new(Aggregate { of, ..*aggregate }))
        }
        // That there is a histogram is that there is its count.
        Expr::Select(selector) if whole(&selector, catalog) => {
            take(Expr::Select(selector), Part::Count, catalog)
        }
        Expr::Range(selector, range) if whole(&selector, catalog) => {
            take(Expr::Range(selector, range), Part::Count, catalog)
        }
        other => other,
    }
}

fn whole(selector: &Selector, catalog: &Catalog) -> bool {
    selector.name.as_deref().is_some_and(|name| catalog.is_histogram(name))
}

fn mentions_le(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |expr| {
        found |= match expr {
            Expr::Select(selector) | Expr::Range(selector, _) => {
                selector.name.as_deref().is_some_and(|name| name.ends_with("_bucket"))
            }
            Expr::Aggregate(aggregate) => aggregate.labels.iter().any(|label| label == LE),
            _ => false,
        };
    });
    found
}

/// One of its series in place of every histogram in it.
fn take(expr: Expr, part: Part, catalog: &Catalog, bucket: &str) -> Expr {
    let go = |expr| take(expr, part, catalog, bucket);
    let named = |mut selector: Selector| {
        if let Some(name) = &mut selector.name {
            name.push_str(part.suffix());
        }
        selector
    };
    match expr {
        Expr::Select(selector) => Expr::Select(named(selector)),
        Expr::Range(selector, range) => Expr::Range(named(selector), range),
        Expr::Call(function, arguments) => {
            let arguments = arguments.into_iter().map(go).collect();
            Expr::Call(function, arguments)
        }
        Expr::Negate(of) => Expr::Negate(Box::new(go(*of))),
        Expr::Frozen(of) => Expr::Frozen(Box::new(go(*of))),
        Expr::Aggregate(aggregate) => {
            let of = go(aggregate.of.clone());
            let mut labels = aggregate.labels.clone();
            if part == Part::Bucket && !aggregate.without && merges(aggregate.op) {
                labels.insert(0, bucket.to_owned());
            }
            Expr::Aggregate(Box::new(Aggregate { of, labels, ..*aggregate }))
        }
        Expr::Binary(binary) if binary.op.is_set() => {
            // What only filters stays what it is.
            let Binary { op, left, right, yields_bool, matching } = *binary;
            let (left, right) = (go(left), rewrite(right, catalog, bucket));
            Expr::Binary(Box::new(Binary { op, left, right, yields_bool, matching }))
        }
        Expr::Binary(binary) => {
            let Binary { op, left, right, yields_bool, matching } = *binary;
            let (left, right) = (go(left), go(right));
            Expr::Binary(Box::new(Binary { op, left, right, yields_bool, matching }))
        }
        other @ (Expr::Number(_) | Expr::Recorded(_)) => other,
    }
}
