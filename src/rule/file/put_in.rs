//! Putting recording rules in where they are used, within bounds.

use crate::rule::expr::Expr;

impl Expr {
    /// Calls `change` with every selector, ranges too, outside recording rules.
    pub(super) fn change_selects(&mut self, change: &mut impl FnMut(&mut Self)) {
        match self {
            Self::Number(_) | Self::Recorded(_) => {}
            Self::Select(_) | Self::Range(..) => change(self),
            Self::Negate(of) | Self::Frozen(of) => of.change_selects(change),
            Self::Binary(binary) => {
                binary.left.change_selects(change);
                binary.right.change_selects(change);
            }
            Self::Aggregate(aggregate) => {
                if let Some(parameter) = &mut aggregate.parameter {
                    parameter.change_selects(change);
                }
                aggregate.of.change_selects(change);
            }
            Self::Call(_, arguments) => {
                arguments.iter_mut().for_each(|argument| argument.change_selects(change));
            }
        }
    }

    /// How many parts it has, those of recording rules counted each time.
    pub(super) fn size(&self) -> usize {
        let mut parts = 0;
        self.walk(&mut |_| parts += 1);
        parts
    }

    /// How many of its parts stand on top of each other, those of recording rules too.
    pub(super) fn height(&self) -> usize {
        1 + match self {
            Self::Number(_) | Self::Select(_) | Self::Range(..) => 0,
            Self::Negate(of) | Self::Frozen(of) => of.height(),
            Self::Binary(binary) => binary.left.height().max(binary.right.height()),
            Self::Aggregate(aggregate) => {
                let parameter = aggregate.parameter.as_ref().map_or(0, Self::height);
                aggregate.of.height().max(parameter)
            }
            Self::Call(_, arguments) => arguments.iter().map(Self::height).max().unwrap_or(0),
            Self::Recorded(recorded) => {
                recorded.recordings.iter().map(|one| one.expr.height()).max().unwrap_or(0)
            }
        }
    }
}
