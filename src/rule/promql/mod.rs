//! The PromQL face: text to [`Expr`](super::expr::Expr).
//!
//! Our own parser, because a refusal must name the construct and where it stands, and hostile text
//! must end in an error: its length and its nesting are capped, and time grows with its length.
//! What is understood is what the evaluator can do; all else of PromQL is known by name and
//! refused.

mod check;
mod lex;
mod parse;

#[cfg(any(test, feature = "rule-files"))]
pub(crate) use lex::duration;
pub(crate) use parse::parse;

/// The longest text that is looked at.
pub(crate) const LONGEST: usize = 8 << 10;

/// How deep expressions may nest.
pub(crate) const DEEPEST: usize = 64;

/// Why a text is no expression we can evaluate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at {}:{}", .position.0, .position.1)]
pub struct Refusal {
    /// What is wrong, with the construct's name.
    pub reason: String,
    /// Line and column, both from one; columns count characters.
    pub position: (usize, usize),
}

impl Refusal {
    fn at(text: &str, byte: usize, reason: impl Into<String>) -> Self {
        let before = text.get(..byte.min(text.len())).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { reason: reason.into(), position: (line, column) }
    }
}

#[cfg(test)]
mod tests;
