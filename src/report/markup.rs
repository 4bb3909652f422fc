//! Text that cannot become markup, and numbers for people.

use std::fmt::{self, Write as _};

use crate::{name::Unit, rule::readable};

/// Longer names are cut: a page is read on a phone.
const LONGEST: usize = 160;

/// Somebody else's text within HTML: no markup, no control or direction characters, no end.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, c) in self.0.chars().enumerate() {
            if at == LONGEST {
                return f.write_char('…');
            }
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Overrides and isolates would turn the page's own words around.
                '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    f.write_char('\u{fffd}')?;
                }
                c if c.is_control() => f.write_char(' ')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A name in a direction of its own.
pub(super) struct Name<'a>(pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<bdi>{}</bdi>", Text(self.0))
    }
}

/// A little Markdown of our own runbook: `code` and *emphasis*.
pub(super) struct Prose<'a>(pub(super) &'a str);

impl fmt::Display for Prose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut code, mut strong) = (false, false);
        for c in self.0.chars() {
            match c {
                '`' => {
                    f.write_str(if code { "</code>" } else { "<code>" })?;
                    code = !code;
                }
                '*' if !code => {
                    f.write_str(if strong { "</em>" } else { "<em>" })?;
                    strong = !strong;
                }
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                c => f.write_char(c)?,
            }
        }
        if code {
            f.write_str("</code>")?;
        }
        if strong {
            f.write_str("</em>")?;
        }
        Ok(())
    }
}

pub(super) fn bytes(value: f64) -> String {
    readable(Some(value), &Unit::BYTES)
}

pub(super) fn seconds(value: f64) -> String {
    readable(Some(value), &Unit::SECONDS)
}

pub(super) fn percent(value: f64) -> String {
    format!("{:.1}%", value * 100.0)
}

pub(super) fn number(value: f64) -> String {
    readable(Some(value), &Unit::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out() {
        let hostile = "</style><script>alert('x')</script>\" onload=\"\u{202e}\u{0}";
        let shown = Text(hostile).to_string();
        assert!(!shown.contains(['<', '>', '"', '\'', '\u{202e}', '\u{0}']), "{shown}");
        let long = Text(&"x".repeat(10_000)).to_string();
        assert_eq!(long.chars().count(), LONGEST + 1);
    }

    #[test]
    fn prose_is_ours_and_closes_what_it_opens() {
        assert_eq!(Prose("a `b<c` *d*").to_string(), "a <code>b&lt;c</code> <em>d</em>");
        assert_eq!(Prose("`a").to_string(), "<code>a</code>");
    }
}
