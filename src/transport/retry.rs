//! When to try again: exponential back-off with jitter, and what `Retry-After` asks for.

use std::time::{Duration, SystemTime};

/// The first wait, before jitter.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait of our own.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait a receiver can impose: a slip of its pen must not silence us for days.
pub(crate) const LONGEST_IMPOSED: Duration = Duration::from_secs(600);

/// How long a request waits that fails while its receiver takes others, after so many failures of
/// that kind.
pub(crate) fn alone(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.min(10)).min(LONGEST_IMPOSED)
}

/// How long to wait after how many failures in a row. Between half of the exponential step and the
/// whole of it, so that a fleet that failed together does not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    /// Any seed will do that differs between processes.
    pub(crate) fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed | 1 }
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure; gives the wait, not below what the receiver `asked` for.
    pub(crate) fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let step = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let own = step.div_f64(2.0).mul_f64(1.0 + self.uniform());
        // Jitter on top of what was asked, as all of the fleet were told the same.
        asked.map_or(own, |asked| asked.min(LONGEST_IMPOSED) + FIRST.mul_f64(self.uniform()))
    }

    /// xorshift64*, in [0, 1).
    fn uniform(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// `Retry-After`, as seconds or as a date; `None` if it is neither. A date gone by is no wait.
pub(crate) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_within_their_jitter() {
        let mut backoff = Backoff::new(7);
        for step in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let wait = backoff.failed(None);
            let step = Duration::from_secs(step);
            assert!(wait >= step / 2 && wait < step, "{wait:?} of {step:?}");
        }
        backoff.succeeded();
        assert!(backoff.failed(None) < Duration::from_secs(1));
    }

    #[test]
    fn what_the_receiver_asks_for_is_the_least_wait_but_not_for_ever() {
        let asked =
            |seconds| Backoff::new(3).failed(Some(Duration::from_secs(seconds))).as_secs_f64();
        assert!((7.0..8.0).contains(&asked(7)));
        assert!((0.0..1.0).contains(&asked(0)));
        assert!((600.0..601.0).contains(&asked(u64::MAX)));
    }

    #[test]
    fn two_processes_wait_differently() {
        assert_ne!(Backoff::new(1).failed(None), Backoff::new(2).failed(None));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let parsed = |value| parse_retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(parsed("120"), Some(120));
        assert_eq!(parsed(" 0 "), Some(0));
        assert_eq!(parsed("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(parsed("Sun, 06 Nov 1983 08:49:37 GMT"), Some(0));
        assert_eq!(parsed("99999999999999999999999"), Some(u64::MAX));
        for garbage in ["", "-1", "soon", "1.5", "Sun, 99 Foo 1994"] {
            assert_eq!(parsed(garbage), None, "{garbage:?}");
        }
    }
}
