//! PromQL's tokens.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name, a keyword or a function; metric names may hold colons.
    Word(String),
    Number(f64),
    Duration(Duration),
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// The longer ones first.
const SIGNS: [&str; 26] = [
    "==", "!=", ">=", "<=", "=~", "!~", "=", ">", "<", "+", "-", "*", "/", "%", "^", "(", ")", "{",
    "}", "[", "]", ",", ":", "@", "!", "~",
];

/// The tokens with the byte each begins at; an error with its byte.
pub(super) fn lex(text: &str) -> Result<Vec<(usize, Token)>, (usize, String)> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if first == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if first.is_ascii_digit()
            || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            let (token, length) = number(rest).map_err(|reason| (at, reason))?;
            tokens.push((at, token));
            at += length;
        } else if first.is_alphabetic() || first == '_' || (first == ':' && is_name(tokens.last()))
        {
            let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
            tokens.push((at, Token::Word(rest[..length].to_owned())));
            at += length;
        } else if matches!(first, '"' | '\'' | '`') {
            let (string, length) = quoted(rest, first).map_err(|(off, why)| (at + off, why))?;
            tokens.push((at, Token::Text(string)));
            at += length;
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push((at, Token::Sign(sign)));
            at += sign.len();
        } else {
            return Err((at, format!("unexpected character {first:?}")));
        }
    }
    tokens.push((text.len(), Token::End));
    Ok(tokens)
}

/// A colon begins a name but within brackets, where it makes a subquery.
fn is_name(before: Option<&(usize, Token)>) -> bool {
    !matches!(before, Some((_, Token::Duration(_) | Token::Number(_))))
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let mut length = 0;
    let bytes = rest.as_bytes();
    let hex = rest.starts_with("0x") || rest.starts_with("0X");
    while let Some(byte) = bytes.get(length) {
        let signed = matches!(byte, b'+' | b'-')
            && !hex
            && length > 0
            && matches!(bytes[length - 1], b'e' | b'E')
            && bytes.get(length + 1).is_some_and(u8::is_ascii_digit);
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || signed {
            length += 1;
        } else {
            break;
        }
    }
    let word = &rest[..length];
    if let Some(duration) = duration(word) {
        return Ok((Token::Duration(duration), length));
    }
    let number = if hex {
        u64::from_str_radix(&word[2..], 16).ok().map(|number| number as f64)
    } else {
        word.parse().ok()
    };
    match number {
        Some(number) => Ok((Token::Number(number), length)),
        None => Err(format!("bad number or duration {word:?}")),
    }
}

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// `1h30m`: whole numbers with units, the larger ones first, none twice.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut millis, mut next_unit) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let length = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = UNITS.iter().position(|(unit, _)| *unit == &rest[..length])?;
        if unit < next_unit {
            return None;
        }
        next_unit = unit + 1;
        millis = millis.checked_add(number.checked_mul(UNITS[unit].1)?)?;
        rest = &rest[length..];
    }
    (!text.is_empty()).then(|| Duration::from_millis(millis))
}

/// A quoted string with Go's escapes, none between backticks.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), (usize, String)> {
    let mut out = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((out, at + 1)),
            '\\' if quote != '`' => {
                let (_, escape) = chars.next().ok_or((at, "unterminated string".to_owned()))?;
                let digits = match escape {
                    'x' => Some((2, 16)),
                    'u' => Some((4, 16)),
                    'U' => Some((8, 16)),
                    '0'..='7' => Some((2, 8)),
                    _ => None,
                };
                let plain = match escape {
                    'a' => '\x07',
                    'b' => '\x08',
                    'f' => '\x0c',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\x0b',
                    '\\' | '\'' | '"' => escape,
                    _ => match digits {
                        Some((count, radix)) => {
                            let mut code =
                                if radix == 8 { escape.to_digit(8).unwrap_or(0) } else { 0 };
                            for _ in 0..count {
                                let digit = chars.next().and_then(|(_, c)| c.to_digit(radix));
                                let digit =
                                    digit.ok_or((at, "bad escape in a string".to_owned()))?;
                                code = code.wrapping_mul(radix).wrapping_add(digit);
                            }
                            char::from_u32(code).ok_or((at, "bad escape in a string".to_owned()))?
                        }
                        None => return Err((at, format!("unknown escape \\{escape} in a string"))),
                    },
                };
                out.push(plain);
            }
            '\n' if quote != '`' => break,
            c => out.push(c),
        }
    }
    Err((0, "unterminated string".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let seconds = |text| duration(text).map(|d| d.as_secs_f64());
        assert_eq!(seconds("5m"), Some(300.0));
        assert_eq!(seconds("1h30m"), Some(5400.0));
        assert_eq!(seconds("1s500ms"), Some(1.5));
        for bad in ["", "5", "m", "1m1h", "1m1m", "1.5m", "5x", "99999999999999999999y"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn strings() {
        let text = |text: &str| match lex(text) {
            Ok(tokens) => tokens.into_iter().next().map(|(_, token)| token),
            Err(_) => None,
        };
        assert_eq!(text(r#""a\n\"\x41\u00e9\101""#), Some(Token::Text("a\n\"AéA".into())));
        assert_eq!(text(r"`a\n`"), Some(Token::Text("a\\n".into())));
        for bad in [r#""a"#, "\"a\n\"", r#""\q""#, r#""\x4""#, "'"] {
            assert!(lex(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers() {
        let number = |text: &str| {
            lex(text).ok().and_then(|t| match t.first() {
                Some((_, Token::Number(number))) => Some(*number),
                _ => None,
            })
        };
        assert_eq!(number("1e-3"), Some(1e-3));
        assert_eq!(number(".5"), Some(0.5));
        assert_eq!(number("0x1F"), Some(31.0));
        assert_eq!(number("1e"), None);
    }
}
