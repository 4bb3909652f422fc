//! Kernel text to numbers: pure functions, no allocation, no panic.
//!
//! What the kernel writes is trusted no more than any other input: it is cut by a short read,
//! rewritten by container runtimes (lxcfs, gVisor), and differs between versions. So: a line
//! without its end is not read (a number cut in half is a smaller number), a number too large
//! saturates, anything else that is no number is refused, and what a file may lack is an `Option`.

pub(super) mod cgroup;
pub(super) mod pressure;
mod process;
mod system;

pub(super) use process::{ProcessLimits, ProcessStat, ProcessStatus, virtual_pages};
pub(super) use system::{LoadAverage, MemInfo, VmStat};

/// Text that is not what its manual page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// The complete lines of `text`, without their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let complete = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    text[..complete].split(|byte| *byte == b'\n')
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// Digits only; what does not fit is the largest number.
fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(sum.saturating_mul(10).saturating_add(digit))
    })
}

/// Digits, and perhaps a point among them: no sign, no exponent, no "inf".
fn decimal(word: &[u8]) -> Option<f64> {
    let point = word.iter().position(|byte| *byte == b'.').unwrap_or(word.len());
    let (whole, rest) = word.split_at(point);
    let places = rest.get(1..).unwrap_or_default();
    // Both exact, so their quotient is what the text says.
    const EXACT: [f64; 5] = [1.0, 1e1, 1e2, 1e3, 1e4];
    if let Some(scale) = EXACT.get(places.len()).filter(|_| (1..=11).contains(&whole.len())) {
        let places = if rest.is_empty() { 0 } else { number(places)? };
        return Some((number(whole)? as f64 * scale + places as f64) / scale);
    }
    let plain = word.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let text = std::str::from_utf8(word).ok()?;
    text.parse().ok().filter(|value: &f64| plain && value.is_finite())
}

/// `123 kB`, in bytes.
fn kibibytes(value: &[u8]) -> Option<u64> {
    let mut words = words(value);
    let kib = number(words.next()?)?;
    (words.next()? == b"kB").then(|| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_saturate_or_are_refused() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b"18446744073709551616"), Some(u64::MAX));
        assert_eq!(number(b"99999999999999999999999999"), Some(u64::MAX));
        for bad in [&b""[..], b"-1", b"+1", b"0x10", b"1.5", b"1e3", b"\xff", b"1 "] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
        assert_eq!(kibibytes(b"  2 kB"), Some(2048));
        assert_eq!(kibibytes(b"18446744073709551615 kB"), Some(u64::MAX));
        assert_eq!(kibibytes(b"2"), None);
        assert_eq!(kibibytes(b"2 MB"), None);
    }

    #[test]
    fn decimals_are_finite_and_unsigned() {
        assert_eq!(decimal(b"0.25"), Some(0.25));
        assert_eq!(decimal(b"7"), Some(7.0));
        let long = [b'9'; 400];
        for bad in [&b""[..], b".", b"1.2.3", b"-1", b"inf", b"nan", b"1e3", &long, b"\xff\xfe"] {
            assert_eq!(decimal(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_line_without_its_end_is_not_read() {
        assert_eq!(lines(b"a\nb\nc").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(lines(b"a\n").collect::<Vec<_>>(), [b"a"]);
        assert_eq!(lines(b"a").collect::<Vec<_>>(), [b""]);
        assert_eq!(lines(b"").collect::<Vec<_>>(), [b""]);
    }
}
