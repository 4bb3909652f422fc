//! What a template may call, with Go's and Prometheus' meaning.

use std::fmt::Write as _;

use super::humanize::{self, go};
use crate::rule::expr::{Pattern, regex};

/// How long a term's text may be; the rest is cut off. A text that doubles itself line by line must
/// end somewhere, and it is the tick thread that fills it.
pub(super) const LONGEST_DATUM: usize = 4 << 10;

/// What a term or a call yields.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Datum {
    Number(f64),
    Text(String),
    Bool(bool),
    /// `$labels`, to be indexed.
    Labels,
    /// There was no sample.
    Nothing,
}

impl Datum {
    pub(super) fn cut(mut self) -> Self {
        if let Self::Text(text) = &mut self {
            super::cut(text, LONGEST_DATUM);
        }
        self
    }

    pub(super) fn into_text(self) -> String {
        match self {
            Self::Number(number) => go(number),
            Self::Text(text) => text,
            Self::Bool(truth) => truth.to_string(),
            Self::Labels => String::new(),
            Self::Nothing => "no data".to_owned(),
        }
    }

    /// Go's notion of it.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Number(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Bool(truth) => *truth,
            Self::Labels => true,
            Self::Nothing => false,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

macro_rules! functions {
    ($($variant:ident $name:literal $least:literal $most:expr;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Function { $($variant),* }

        impl Function {
            pub(super) fn find(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            pub(super) fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            fn arity(self) -> (usize, usize) {
                match self { $(Self::$variant => ($least, $most)),* }
            }
        }
    };
}

const MANY: usize = 16;

functions! {
    Humanize "humanize" 1 1;
    Humanize1024 "humanize1024" 1 1;
    HumanizeDuration "humanizeDuration" 1 1;
    HumanizePercentage "humanizePercentage" 1 1;
    Title "title" 1 1;
    ToUpper "toUpper" 1 1;
    ToLower "toLower" 1 1;
    StripPort "stripPort" 1 1;
    StripDomain "stripDomain" 1 1;
    Match "match" 2 2;
    ReReplaceAll "reReplaceAll" 3 3;
    Printf "printf" 1 MANY;
    Print "print" 0 MANY;
    Println "println" 0 MANY;
    Equal "eq" 2 MANY;
    NotEqual "ne" 2 2;
    Less "lt" 2 2;
    LessEqual "le" 2 2;
    Greater "gt" 2 2;
    GreaterEqual "ge" 2 2;
    And "and" 1 MANY;
    Or "or" 1 MANY;
    Not "not" 1 1;
    Len "len" 1 1;
    Index "index" 2 2;
}

impl Function {
    pub(super) fn check(self, given: usize) -> Result<(), String> {
        let (least, most) = self.arity();
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
        Err(format!("{} takes {wanted} arguments, found {given}", self.as_str()))
    }

    /// Of checked arguments; `label` looks one up.
    pub(super) fn apply<'a>(self, mut of: Vec<Datum>, label: impl Fn(&str) -> &'a str) -> Datum {
        let Some(last) = of.last().cloned() else { return Datum::Text(String::new()) };
        let first = of.first().cloned().unwrap_or(Datum::Nothing);
        let text = |datum: Datum| datum.into_text();
        let number = |how: fn(f64) -> String| match last.number() {
            Some(number) => Datum::Text(how(number)),
            None => Datum::Text(last.clone().into_text()),
        };
        let ordered = |holds: fn(std::cmp::Ordering) -> bool| {
            let order = match (&first, &last) {
                (Datum::Text(a), Datum::Text(b)) => Some(a.cmp(b)),
                (a, b) => a.number().zip(b.number()).and_then(|(a, b)| a.partial_cmp(&b)),
            };
            Datum::Bool(order.is_some_and(holds))
        };
        match self {
            Self::Humanize => number(humanize::humanize),
            Self::Humanize1024 => number(humanize::humanize_1024),
            Self::HumanizeDuration => number(humanize::duration),
            Self::HumanizePercentage => number(humanize::percentage),
            Self::Title => Datum::Text(humanize::title(&text(last))),
            Self::ToUpper => Datum::Text(text(last).to_uppercase()),
            Self::ToLower => Datum::Text(text(last).to_lowercase()),
            Self::StripPort => Datum::Text(strip_port(&text(last)).to_owned()),
            Self::StripDomain => Datum::Text(strip_domain(&text(last))),
            Self::Match => {
                let found = regex(&text(first));
                Datum::Bool(found.is_ok_and(|pattern| pattern.is_match(&text(last))))
            }
            Self::ReReplaceAll => {
                let with = of.get(1).cloned().map(text).unwrap_or_default();
                let subject = text(last);
                Datum::Text(match regex(&text(first)) {
                    Ok(pattern) => replaced(&pattern, &subject, &with),
                    Err(_) => subject,
                })
            }
            Self::Printf => {
                let rest = of.split_off(1);
                Datum::Text(printf(&text(first), rest))
            }
            Self::Print => Datum::Text(print(of)),
            Self::Println => {
                let words: Vec<_> = of.into_iter().map(text).collect();
                Datum::Text(words.join(" ") + "\n")
            }
            Self::Equal => Datum::Bool(of.iter().skip(1).any(|other| same(&first, other))),
            Self::NotEqual => Datum::Bool(!same(&first, &last)),
            Self::Less => ordered(std::cmp::Ordering::is_lt),
            Self::LessEqual => ordered(std::cmp::Ordering::is_le),
            Self::Greater => ordered(std::cmp::Ordering::is_gt),
            Self::GreaterEqual => ordered(std::cmp::Ordering::is_ge),
            Self::And => of.into_iter().find(|datum| !datum.is_true()).unwrap_or(last),
            Self::Or => of.into_iter().find(Datum::is_true).unwrap_or(last),
            Self::Not => Datum::Bool(!last.is_true()),
            Self::Len => Datum::Number(text(last).len() as f64),
            Self::Index => match first {
                Datum::Labels => Datum::Text(label(&text(last)).to_owned()),
                _ => Datum::Text(String::new()),
            },
        }
    }

    /// What can be wrong with an argument that is known beforehand.
    pub(super) fn check_pattern(self, first: &str) -> Result<(), String> {
        if matches!(self, Self::Match | Self::ReReplaceAll) {
            Pattern::new(first).map_err(|error| format!("pattern {first:?}: {error}"))?;
        }
        Ok(())
    }
}

/// As `Regex::replace_all`, but no further than a text may go.
fn replaced(pattern: &regex_lite::Regex, subject: &str, with: &str) -> String {
    let (mut out, mut done) = (String::new(), 0);
    for found in pattern.captures_iter(subject) {
        let Some(whole) = found.get(0) else { continue };
        out.push_str(&subject[done..whole.start()]);
        found.expand(with, &mut out);
        done = whole.end();
        if out.len() > LONGEST_DATUM {
            return out;
        }
    }
    out.push_str(&subject[done..]);
    out
}

fn same(a: &Datum, b: &Datum) -> bool {
    match (a, b) {
        (Datum::Number(a), Datum::Number(b)) => a == b,
        (Datum::Bool(a), Datum::Bool(b)) => a == b,
        (Datum::Text(a), Datum::Text(b)) => a == b,
        _ => false,
    }
}

/// As Go's `Sprint`: a space between two that are both no strings.
fn print(of: Vec<Datum>) -> String {
    let (mut out, mut was_text) = (String::new(), true);
    for datum in of {
        let is_text = matches!(datum, Datum::Text(_));
        if !out.is_empty() && !was_text && !is_text {
            out.push(' ');
        }
        was_text = is_text;
        out.push_str(&datum.into_text());
    }
    out
}

fn strip_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => {
            host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
        }
        _ => host,
    }
}

fn strip_domain(host: &str) -> String {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    };
    if name.parse::<std::net::IpAddr>().is_ok() {
        return host.to_owned();
    }
    let short = name.split('.').next().unwrap_or(name);
    port.map_or_else(|| short.to_owned(), |port| format!("{short}:{port}"))
}

/// Width and precision beyond these are the text's mistake.
const WIDEST: usize = 256;

/// Go's `Sprintf`, as far as numbers and strings go.
fn printf(format: &str, of: Vec<Datum>) -> String {
    let mut out = String::with_capacity(format.len() + 16);
    let mut of = of.into_iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (mut minus, mut zero, mut plus) = (false, false, false);
        while let Some(flag) = chars.next_if(|c| "-0+ #".contains(*c)) {
            minus |= flag == '-';
            zero |= flag == '0';
            plus |= flag == '+';
        }
        let mut digits = || {
            let mut number = None;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                let digit = digit.to_digit(10).unwrap_or(0) as usize;
                number = Some((number.unwrap_or(0) * 10 + digit).min(WIDEST));
            }
            number
        };
        let width = digits().unwrap_or(0);
        let precision = chars.next_if_eq(&'.').map(|_| {
            let mut number = 0;
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                number = (number * 10 + digit.to_digit(10).unwrap_or(0) as usize).min(WIDEST);
            }
            number
        });
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(datum) = of.next() else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%!{verb}(MISSING)");
            continue;
        };
        let mut text = formatted(verb, precision, datum);
        if plus && text.starts_with(|c: char| c.is_ascii_digit()) {
            text.insert(0, '+');
        }
        let padding = width.saturating_sub(text.chars().count());
        if minus {
            text.extend(std::iter::repeat_n(' ', padding));
        } else if zero && text.starts_with(|c: char| c.is_ascii_digit()) {
            text.insert_str(0, &"0".repeat(padding));
        } else {
            text.insert_str(0, &" ".repeat(padding));
        }
        out.push_str(&text);
        if out.len() > LONGEST_DATUM {
            break;
        }
    }
    out
}

fn formatted(verb: char, precision: Option<usize>, datum: Datum) -> String {
    let wrong = |kind: &str, shown: String| format!("%!{verb}({kind}={shown})");
    match (verb, datum) {
        ('v', datum) => datum.into_text(),
        ('f' | 'F' | 'e' | 'g', Datum::Number(number)) if !number.is_finite() => go(number),
        ('f' | 'F', Datum::Number(number)) => format!("{number:.*}", precision.unwrap_or(6)),
        ('e', Datum::Number(number)) => {
            humanize::exponent(&format!("{number:.*e}", precision.unwrap_or(6)))
        }
        ('g', Datum::Number(number)) => match precision {
            Some(digits) => humanize::general(number, digits.max(1)),
            None => go(number),
        },
        ('s', Datum::Text(text)) => match precision {
            Some(most) => text.chars().take(most).collect(),
            None => text,
        },
        ('q', Datum::Text(text)) => format!("{text:?}"),
        ('t', Datum::Bool(truth)) => truth.to_string(),
        (_, Datum::Number(number)) => wrong("float64", go(number)),
        (_, Datum::Text(text)) => wrong("string", text),
        (_, Datum::Bool(truth)) => wrong("bool", truth.to_string()),
        (_, nothing) => nothing.into_text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: &str, of: f64) -> String {
        printf(format, vec![Datum::Number(of)])
    }

    #[test]
    fn printf_is_go_s() {
        assert_eq!(printed("%.2f%%", 12.345), "12.35%");
        assert_eq!(printed("%f", 1.5), "1.500000");
        assert_eq!(printed("%6.1f|", 1.25), "   1.2|");
        assert_eq!(printed("%-6.1f|", 1.25), "1.2   |");
        assert_eq!(printed("%06.1f|", 1.25), "0001.2|");
        assert_eq!(printed("%e", 1234.5), "1.234500e+03");
        assert_eq!(printed("%.3g", 1234.5), "1.23e+03");
        assert_eq!(printed("%g", 1e6), "1e+06");
        assert_eq!(printed("%v", 0.25), "0.25");
        assert_eq!(printed("%d", 3.0), "%!d(float64=3)");
        assert_eq!(printed("%s %s", 3.0), "%!s(float64=3) %!s(MISSING)");
        assert_eq!(printf("%s|%5s|%.2s", vec![Datum::Text("abc".into()); 3]), "abc|  abc|ab");
        assert_eq!(printed("%999999999999999999.1f", 1.0).len(), WIDEST);
        assert_eq!(printed("%", 1.0), "%!(NOVERB)");
    }

    #[test]
    fn hosts_are_stripped() {
        assert_eq!(strip_port("db1.example:9100"), "db1.example");
        assert_eq!(strip_port("[::1]:80"), "::1");
        assert_eq!(strip_domain("db1.example.com:9100"), "db1:9100");
        assert_eq!(strip_domain("10.0.0.1:9100"), "10.0.0.1:9100");
    }
}
