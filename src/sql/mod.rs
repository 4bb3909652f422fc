//! From a query's text to what may be told of it: a name of low cardinality, and a text without
//! literals. Pure functions.
//!
//! Not a parser: a lexer, and the few rules by which operations and collections are found among its
//! tokens. What matters is what it must never do: let a value through. So whatever is between
//! quotes where a value can be, every number and every comment is dropped by the lexer already; a
//! text whose quoting depends on settings nobody told us, or on whose dialect it is, ends where the
//! doubt begins.

mod lex;
mod sanitize;
mod summary;

pub(crate) use sanitize::sanitize;
pub(crate) use summary::summarize;

/// What a text without any operation we know is called.
pub(crate) const OTHER: &str = "_OTHER";

/// How much of a text is looked at. What follows is as if it were not there.
pub(crate) const MOST_READ: usize = 8 * 1024;

/// Whose SQL it is, as far as quoting differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    PostgreSql,
    /// MySQL and its kin: `#` begins a comment, and double quotes may hold values.
    MySql,
    /// Brackets hold identifiers.
    SqlServer,
    /// So they do here; comments do not nest.
    Sqlite,
    /// Anything else.
    Other,
}

impl Dialect {
    /// By `db.system.name`.
    pub(crate) fn of(system: &str) -> Self {
        match system {
            "postgresql" | "cockroachdb" => Self::PostgreSql,
            "mysql" | "mariadb" => Self::MySql,
            "microsoft.sql_server" => Self::SqlServer,
            "sqlite" => Self::Sqlite,
            _ => Self::Other,
        }
    }
}

/// The beginning of a text that is looked at. Some servers read no further than to a zero, others
/// do.
fn read(text: &str) -> &str {
    let mut end = text.len().min(MOST_READ);
    if let Some(zero) = text.as_bytes()[..end].iter().position(|byte| *byte == 0) {
        end = zero;
    }
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
