//! What a server calls our metrics and labels: that depends on a metric's unit and kind.

use std::collections::HashMap;

use super::known::KNOWN;
use crate::{
    instrument::Measure,
    name::Unit,
    registry::{Kind, Series},
    rule::{
        condition::Condition,
        expr::{AggregateOp, Expr, Function, Group, Selector, is_plain},
        naming,
        value::Quantity,
    },
    sync::Arc,
};

/// What is known of metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog(HashMap<String, (Unit, Option<Kind>)>);

impl Catalog {
    /// With what this crate's own metrics are.
    pub(crate) fn new() -> Self {
        let known = KNOWN
            .iter()
            .map(|(name, kind, unit)| ((*name).to_owned(), (Unit::known(unit), Some(*kind))));
        Self(known.collect())
    }

    /// What was said of a metric.
    pub(crate) fn describe(&mut self, name: &str, unit: Unit) {
        self.0.entry(name.to_owned()).or_insert((unit, None));
    }

    /// What there is.
    pub(crate) fn learn(&mut self, series: &[Arc<Series>]) {
        for one in series {
            let metric = &one.metric;
            self.0.insert(metric.name.to_string(), (metric.unit(), Some(metric.kind)));
        }
    }

    fn get(&self, name: &str) -> (Unit, Option<Kind>) {
        self.0.get(name).cloned().unwrap_or((Unit::NONE, None))
    }

    pub(super) fn is_histogram(&self, name: &str) -> bool {
        matches!(self.get(name).1, Some(Kind::Histogram(_)))
    }

    /// What a condition's value is in.
    pub(in crate::rule) fn unit_of(&self, condition: &Condition) -> Unit {
        let known = condition.quantity();
        if known != Quantity::OfMetric {
            return known.unit();
        }
        let value = condition.value();
        let mut of = &value;
        loop {
            of = match of {
                Expr::Select(selector) => {
                    return selector.name.as_deref().map_or(Unit::NONE, |name| self.get(name).0);
                }
                Expr::Aggregate(aggregate) if aggregate.op.keeps_unit() => &aggregate.of,
                Expr::Binary(binary) if binary.op.is_set() => &binary.left,
                _ => return Unit::NONE,
            };
        }
    }
}

/// Puts the server's names for ours, and its labels. `theirs` is what came in from a file: what is
/// not known of it by its own name has the server's name already.
pub(super) fn translate(expr: &mut Expr, theirs: bool, catalog: &Catalog) {
    Translation { theirs, catalog }.walk(expr, None);
}

struct Translation<'a> {
    theirs: bool,
    catalog: &'a Catalog,
}

impl Translation<'_> {
    /// `kind` is what the function around it takes.
    fn walk(&self, expr: &mut Expr, kind: Option<Kind>) {
        match expr {
            Expr::Number(_) => {}
            Expr::Select(selector) | Expr::Range(selector, _) => self.rename(selector, kind),
            Expr::Negate(of) | Expr::Frozen(of) => self.walk(of, kind),
            Expr::Binary(binary) => {
                self.walk(&mut binary.left, kind);
                self.walk(&mut binary.right, kind);
                all(&mut binary.matching.labels);
                match &mut binary.matching.group {
                    Group::None => {}
                    Group::Left(labels) | Group::Right(labels) => all(labels),
                }
            }
            Expr::Aggregate(aggregate) => {
                if let Some(parameter) = &mut aggregate.parameter {
                    self.walk(parameter, None);
                }
                all(&mut aggregate.labels);
                self.walk(&mut aggregate.of, kind);
            }
            Expr::Call(function, arguments) => {
                let kind = match function {
                    Function::Rate | Function::Increase | Function::Irate | Function::Resets => {
                        kind.or(Some(Kind::Counter))
                    }
                    function if function.as_str().starts_with("histogram_") => {
                        Some(Kind::Histogram(Measure::Value))
                    }
                    _ => None,
                };
                arguments.iter_mut().for_each(|argument| self.walk(argument, kind));
            }
            // Names of recording rules are the file's own; matchers are about labels.
            Expr::Recorded(recorded) => {
                for matcher in &mut recorded.selector.matchers {
                    matcher.key = naming::label(&matcher.key).into_owned();
                }
            }
        }
    }

    fn rename(&self, selector: &mut Selector, around: Option<Kind>) {
        let catalog = self.catalog;
        for matcher in &mut selector.matchers {
            matcher.key = naming::label(&matcher.key).into_owned();
        }
        let Some(name) = &selector.name else { return };
        // A view of a histogram is called after it.
        let of_histogram =
            |view: &&str| name.strip_suffix(*view).is_some_and(|base| catalog.is_histogram(base));
        let view = VIEWS.into_iter().find(|view| of_histogram(view)).unwrap_or_default();
        let base = &name[..name.len() - view.len()];
        let (unit, kind) = catalog.get(base);
        let kind = match (kind, around) {
            (Some(kind), _) => kind,
            (None, _) if self.theirs && is_plain(name, true) => return,
            // What is unknown and has a server's name keeps it.
            (None, Some(Kind::Counter)) if !VIEWS.iter().any(|view| name.ends_with(view)) => {
                Kind::Counter
            }
            (None, Some(histogram @ Kind::Histogram(_))) => histogram,
            (None, _) => {
                selector.name = Some(naming::metric(base, &unit, Kind::UpDownCounter) + view);
                return;
            }
        };
        selector.name = Some(naming::metric(base, &unit, kind) + view);
    }
}

fn all(labels: &mut [String]) {
    for label in labels {
        *label = naming::label(label).into_owned();
    }
}

/// What a classic histogram's series end in, after the metric's own suffixes.
const VIEWS: [&str; 3] = ["_bucket", "_count", "_sum"];

/// Whether a parameterless aggregation would lose `le`.
pub(super) fn merges(op: AggregateOp) -> bool {
    matches!(op, AggregateOp::Sum | AggregateOp::Avg)
}
