//! Numbers as people read them: Prometheus' `humanize*`, and Go's notation.

use std::fmt::Write as _;

use crate::{name::Unit, rule::expr::Number};

/// A number by its unit: 93.1%, 312ms, 1.2GiB.
pub(crate) fn readable(value: Option<f64>, unit: &Unit) -> String {
    let Some(value) = value else { return "no data".to_owned() };
    match unit.as_str() {
        "1" if (0.0..=2.0).contains(&value) => percentage(value),
        "s" => duration(value),
        "By" => format!("{}B", humanize_1024(value)),
        "" | "1" => significant(value),
        other => format!("{} {}", significant(value), other.trim_matches(['{', '}'])),
    }
}

/// As Go prints a float: shortest, with an exponent from 1e+06 on and below 1e-4.
pub(super) fn go(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{number:e}");
    let power = scientific.split_once('e').and_then(|(_, power)| power.parse::<i32>().ok());
    if power.is_some_and(|power| !(-4..GO_EXPONENT).contains(&power)) {
        return exponent(&scientific);
    }
    format!("{number}")
}

/// Where Go's shortest notation turns to exponents.
const GO_EXPONENT: i32 = 6;

/// Rust's `1.5e3` as C's and Go's `1.5e+03`.
pub(super) fn exponent(scientific: &str) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Four significant digits, as C's `%.4g` prints them.
pub(super) fn significant(number: f64) -> String {
    general(number, 4)
}

/// So many significant digits, as C's `%.*g`.
pub(super) fn general(number: f64, digits: usize) -> String {
    if number == 0.0 || !number.is_finite() {
        return go(number);
    }
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let trim = |digits: &str| match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => digits.to_owned(),
    };
    let digits = digits as i32;
    if !(-4..digits).contains(&power) {
        return exponent(&format!("{}e{power}", trim(mantissa)));
    }
    trim(&format!("{number:.*}", (digits - 1 - power).max(0) as usize))
}

pub(super) fn percentage(number: f64) -> String {
    format!("{}%", significant(number * 100.0))
}

pub(super) fn humanize(number: f64) -> String {
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
        (number, prefix) = small(number);
    }
    format!("{}{prefix}", significant(number))
}

fn small(mut number: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if number.abs() >= 1.0 {
            break;
        }
        (number, prefix) = (number * 1000.0, next);
    }
    (number, prefix)
}

pub(super) fn humanize_1024(number: f64) -> String {
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

pub(super) fn duration(number: f64) -> String {
    if !number.is_finite() {
        return go(number);
    }
    if number == 0.0 {
        return "0s".to_owned();
    }
    if number.abs() < 1.0 {
        let (number, prefix) = small(number);
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

/// Go's `strings.Title`: words end where there is no letter, digit or underscore.
pub(super) fn title(text: &str) -> String {
    let mut start = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match start {
            true => out.extend(c.to_uppercase()),
            false => out.push(c),
        }
        start = match c.is_ascii() {
            true => !c.is_ascii_alphanumeric() && c != '_',
            false => c.is_whitespace(),
        };
    }
    out
}

/// A threshold in a text for people elsewhere: the same number without our units.
pub(super) fn plain(number: f64) -> String {
    Number(number).to_string()
}
