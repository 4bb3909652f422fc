//! Texts with placeholders: `{{ value }}`, `{{ labels.pool }}`, and as Prometheus writes them,
//! `{{ $value | humanize }}`, `{{ $labels.pool }}`.
//!
//! Parsed when a rule is loaded, so that a misspelt placeholder is an error then and not a hole in
//! a page at night. Filled only when an alert changes its state.

use std::fmt::Write as _;

use super::expr::Number;
use crate::name::{Labels, Unit};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Pipeline(Subject, Vec<Filter>),
}

#[derive(Debug, Clone, PartialEq)]
enum Subject {
    /// `{{ value }}`: as people write such a number, by its unit.
    Readable,
    /// `{{ threshold }}`, the same way.
    Threshold,
    /// `{{ $value }}`: the bare number.
    Value,
    Label(String),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Filter {
    Humanize,
    Humanize1024,
    HumanizeDuration,
    HumanizePercentage,
    Title,
    ToUpper,
    ToLower,
}

const FILTERS: [(&str, Filter); 7] = [
    ("humanize", Filter::Humanize),
    ("humanize1024", Filter::Humanize1024),
    ("humanizeDuration", Filter::HumanizeDuration),
    ("humanizePercentage", Filter::HumanizePercentage),
    ("title", Filter::Title),
    ("toUpper", Filter::ToUpper),
    ("toLower", Filter::ToLower),
];

/// What fills a template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fill<'a> {
    pub(crate) value: Option<f64>,
    pub(crate) threshold: Option<f64>,
    pub(crate) unit: &'a Unit,
    pub(crate) labels: &'a Labels,
}

impl Template {
    /// The reason, if it cannot be filled.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((inside, after)) = after.split_once("}}") else {
                return Err("`{{` without `}}`".to_owned());
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(pipeline(inside)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Whether it depends on the value, and not only on labels.
    pub(crate) fn uses_value(&self) -> bool {
        self.parts.iter().any(
            |part| matches!(part, Part::Pipeline(subject, _) if !matches!(subject, Subject::Label(_))),
        )
    }

    pub(crate) fn fill(&self, fill: &Fill<'_>) -> String {
        let mut out = String::with_capacity(self.text.len() + 16);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Pipeline(subject, filters) => {
                    let start = match subject {
                        Subject::Readable => Datum::Text(readable(fill.value, fill.unit)),
                        Subject::Threshold => Datum::Text(readable(fill.threshold, fill.unit)),
                        Subject::Value => fill.value.map_or(Datum::none(), Datum::Number),
                        Subject::Label(key) => {
                            Datum::Text(fill.labels.get(key).unwrap_or_default().to_owned())
                        }
                    };
                    let end = filters.iter().fold(start, |datum, filter| filter.apply(datum));
                    out.push_str(&end.into_text());
                }
            }
        }
        out
    }
}

fn pipeline(inside: &str) -> Result<Part, String> {
    let mut stages = inside.split('|').map(str::trim);
    let subject = match stages.next().unwrap_or_default() {
        "value" => Subject::Readable,
        "threshold" => Subject::Threshold,
        "$value" => Subject::Value,
        other => {
            let label = other.strip_prefix('$').unwrap_or(other).strip_prefix("labels.");
            match label.filter(|label| !label.is_empty() && !label.contains(char::is_whitespace)) {
                Some(label) => Subject::Label(label.to_owned()),
                None => {
                    return Err(format!(
                        "{other:?} is none of `value`, `threshold`, `labels.NAME`, `$value`, `$labels.NAME`"
                    ));
                }
            }
        }
    };
    let filters = stages.map(|stage| {
        let known = FILTERS.iter().find(|(name, _)| *name == stage);
        known.map(|(_, filter)| *filter).ok_or_else(|| format!("unknown function {stage:?}"))
    });
    Ok(Part::Pipeline(subject, filters.collect::<Result<_, _>>()?))
}

enum Datum {
    Number(f64),
    Text(String),
}

impl Datum {
    fn none() -> Self {
        Self::Text("no data".to_owned())
    }

    fn into_text(self) -> String {
        match self {
            Self::Number(number) => Number(number).to_string(),
            Self::Text(text) => text,
        }
    }
}

impl Filter {
    fn apply(self, datum: Datum) -> Datum {
        let number = match &datum {
            Datum::Number(number) => Some(*number),
            Datum::Text(text) => text.parse().ok(),
        };
        Datum::Text(match (self, number) {
            (Self::Humanize, Some(number)) => humanize(number),
            (Self::Humanize1024, Some(number)) => humanize_1024(number),
            (Self::HumanizeDuration, Some(number)) => humanize_duration(number),
            (Self::HumanizePercentage, Some(number)) => format!("{}%", significant(number * 100.0)),
            (Self::Title, _) => title(&datum.into_text()),
            (Self::ToUpper, _) => datum.into_text().to_uppercase(),
            (Self::ToLower, _) => datum.into_text().to_lowercase(),
            (_, None) => datum.into_text(),
        })
    }
}

/// A number by its unit: 93.1%, 312ms, 1.2GiB.
pub(crate) fn readable(value: Option<f64>, unit: &Unit) -> String {
    let Some(value) = value else { return "no data".to_owned() };
    match unit.as_str() {
        "1" if (0.0..=2.0).contains(&value) => format!("{}%", significant(value * 100.0)),
        "s" => humanize_duration(value),
        "By" => format!("{}B", humanize_1024(value)),
        "" | "1" => significant(value),
        other => format!("{} {}", significant(value), other.trim_matches(['{', '}'])),
    }
}

/// Four significant digits, as C's `%.4g` prints them.
fn significant(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return Number(number).to_string();
    }
    let scientific = format!("{number:.3e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |digits: &str| match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => digits.to_owned(),
    };
    if !(-4..4).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    trim(&format!("{number:.*}", (3 - exponent).max(0) as usize))
}

fn humanize(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return significant(number);
    }
    let (mut number, mut prefix) = (number, "");
    if number.abs() >= 1.0 {
        for next in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            if number.abs() < 1000.0 {
                break;
            }
            (number, prefix) = (number / 1000.0, next);
        }
    } else {
        for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
            if number.abs() >= 1.0 {
                break;
            }
            (number, prefix) = (number * 1000.0, next);
        }
    }
    format!("{}{prefix}", significant(number))
}

fn humanize_1024(number: f64) -> String {
    if number.abs() <= 1.0 || !number.is_finite() {
        return significant(number);
    }
    let (mut number, mut prefix) = (number, "");
    for next in ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
        if number.abs() < 1024.0 {
            break;
        }
        (number, prefix) = (number / 1024.0, next);
    }
    format!("{}{prefix}", significant(number))
}

fn humanize_duration(number: f64) -> String {
    if !number.is_finite() {
        return Number(number).to_string();
    }
    if number == 0.0 {
        return "0s".to_owned();
    }
    if number.abs() < 1.0 {
        let (mut number, mut prefix) = (number, "");
        for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
            if number.abs() >= 1.0 {
                break;
            }
            (number, prefix) = (number * 1000.0, next);
        }
        return format!("{}{prefix}s", significant(number));
    }
    let (sign, number) = if number < 0.0 { ("-", -number) } else { ("", number) };
    let whole = number as u64;
    let (days, hours, minutes, seconds) =
        (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    let mut out = sign.to_owned();
    // Writing to a string cannot fail.
    let _ = if days > 0 {
        write!(out, "{days}d {hours}h {minutes}m {seconds}s")
    } else if hours > 0 {
        write!(out, "{hours}h {minutes}m {seconds}s")
    } else if minutes > 0 {
        write!(out, "{minutes}m {seconds}s")
    } else {
        write!(out, "{}s", significant(number))
    };
    out
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let c = if start { c.to_ascii_uppercase() } else { c };
            start = c.is_whitespace();
            c
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str, value: f64, unit: Unit) -> String {
        let labels = Labels::new([("pool", "main db"), ("db.system.name", "sqlite")]);
        let fill = Fill { value: Some(value), threshold: Some(0.5), unit: &unit, labels: &labels };
        Template::parse(text).map(|t| t.fill(&fill)).unwrap_or_else(|reason| reason)
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(fill("{{ value }} of {{ threshold }}", 0.9312, Unit::ONE), "93.12% of 50%");
        assert_eq!(fill("{{value}}", 0.3124, Unit::SECONDS), "312.4ms");
        assert_eq!(fill("{{ value }}", 90.0, Unit::SECONDS), "1m 30s");
        assert_eq!(fill("{{ value }}", 1.25 * 1024.0 * 1024.0, Unit::BYTES), "1.25MiB");
        assert_eq!(fill("{{ value }}", 12.0, Unit::known("{thread}")), "12 thread");
        assert_eq!(fill("{{ $value }}", 0.25, Unit::ONE), "0.25");
    }

    #[test]
    fn labels_and_filters() {
        assert_eq!(
            fill("{{ labels.pool | title }}/{{$labels.db.system.name|toUpper}}", 0.0, Unit::NONE),
            "Main Db/SQLITE"
        );
        assert_eq!(fill("{{ $value | humanize }}", 1_234_567.0, Unit::NONE), "1.235M");
        assert_eq!(fill("{{ $value | humanizePercentage }}", 0.123_45, Unit::NONE), "12.35%");
        assert_eq!(fill("{{ labels.none }}.", 0.0, Unit::NONE), ".");
    }

    #[test]
    fn what_nothing_fills_is_refused() {
        assert!(Template::parse("{{ valeu }}").is_err());
        assert!(Template::parse("{{ value").is_err());
        assert!(Template::parse("{{ $value | humanise }}").is_err());
        assert!(Template::parse("{{ labels. }}").is_err());
        assert!(Template::parse("plain } } { {").is_ok());
    }
}
