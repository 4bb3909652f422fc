//! A rule as one process judges it, on a server that has the series of many.

use crate::rule::expr::{Expr, Group, Matcher, Selector, Test};

/// Whose series a rule is about, in the server's labels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scope {
    /// What tells the service from others.
    pub(crate) service: Vec<(String, String)>,
    /// The label that tells its instances apart.
    pub(crate) instance: String,
}

impl Scope {
    /// Selects this service only, and keeps its instances apart wherever labels are merged or
    /// matched.
    pub(super) fn narrow(&self, expr: &mut Expr) {
        match expr {
            Expr::Number(_) => {}
            Expr::Select(selector) | Expr::Range(selector, _) => self.select(selector),
            Expr::Recorded(recorded) => self.select(&mut recorded.selector),
            Expr::Negate(of) | Expr::Frozen(of) => self.narrow(of),
            Expr::Call(_, arguments) => arguments.iter_mut().for_each(|one| self.narrow(one)),
            Expr::Aggregate(aggregate) => {
                if let Some(parameter) = &mut aggregate.parameter {
                    self.narrow(parameter);
                }
                if !aggregate.without {
                    self.keep(&mut aggregate.labels);
                }
                self.narrow(&mut aggregate.of);
            }
            Expr::Binary(binary) => {
                if binary.matching.on {
                    self.keep(&mut binary.matching.labels);
                }
                if let Group::Left(taken) | Group::Right(taken) = &mut binary.matching.group {
                    // They are matched on, and so there already.
                    taken.retain(|label| !self.labels().any(|own| own == label));
                }
                self.narrow(&mut binary.left);
                self.narrow(&mut binary.right);
            }
        }
    }

    fn labels(&self) -> impl Iterator<Item = &String> {
        self.service.iter().map(|(label, _)| label).chain([&self.instance])
    }

    fn select(&self, selector: &mut Selector) {
        for (key, value) in &self.service {
            if selector.matchers.iter().all(|matcher| matcher.key != *key) {
                selector
                    .matchers
                    .push(Matcher { key: key.clone(), test: Test::Equal(value.clone()) });
            }
        }
    }

    fn keep(&self, labels: &mut Vec<String>) {
        for own in self.labels() {
            if !labels.contains(own) {
                labels.push(own.clone());
            }
        }
    }
}
