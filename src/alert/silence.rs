//! Keeping the sinks quiet: for a time, for a reason, and visibly.
//!
//! A silence never changes an alert's state: watches, series and exports go on, and a transition
//! that is silenced says so. Every silence expires.

use std::time::{Duration, SystemTime};

use crate::{name::Labels, sync::Mutex};

/// One silence: what it covers, until when, and why.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Silence {
    /// An alert is covered if it carries all of these; `alertname` is its rule's name.
    pub matchers: Labels,
    /// When it ends.
    pub until: SystemTime,
    /// For those who wonder why it is quiet.
    pub reason: String,
}

impl Silence {
    pub(crate) fn covers(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// All silences in force. Touched on transitions only, never on the record path.
#[derive(Debug, Default)]
pub(crate) struct Silences(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    called: Vec<Silence>,
    /// Those of the silence file, replaced whole when it changes.
    filed: Vec<Silence>,
}

impl Silences {
    pub(crate) fn add(&self, silence: Silence) {
        self.0.lock().called.push(silence);
    }

    pub(crate) fn replace_filed(&self, silences: Vec<Silence>) {
        self.0.lock().filed = silences;
    }

    pub(crate) fn covers(&self, labels: &Labels, now: SystemTime) -> bool {
        let state = self.0.lock();
        state.all().any(|silence| silence.until > now && silence.covers(labels))
    }

    /// Forgets those that are over and says how many are left.
    pub(crate) fn expire(&self, now: SystemTime) -> usize {
        let mut state = self.0.lock();
        state.called.retain(|silence| silence.until > now);
        state.filed.retain(|silence| silence.until > now);
        state.called.len() + state.filed.len()
    }

    pub(crate) fn list(&self, now: SystemTime) -> Vec<Silence> {
        self.0.lock().all().filter(|silence| silence.until > now).cloned().collect()
    }
}

impl State {
    fn all(&self) -> impl Iterator<Item = &Silence> {
        self.called.iter().chain(&self.filed)
    }
}

/// Reads a silence file: a line each, `UNTIL LABEL=VALUE… # REASON`, where `UNTIL` is an RFC 3339
/// time in UTC (`2026-11-24T03:00:00Z`) or seconds since 1970. Empty lines and lines that start
/// with `#` are skipped. What cannot be read is returned beside the silences, a message a line.
pub(crate) fn parse_file(text: &str) -> (Vec<Silence>, Vec<String>) {
    let (mut silences, mut mistakes) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line) {
            Ok(silence) => silences.push(silence),
            Err(why) => mistakes.push(format!("line {}: {why}", at + 1)),
        }
    }
    (silences, mistakes)
}

fn parse_line(line: &str) -> Result<Silence, String> {
    let (rest, reason) = line.split_once('#').unwrap_or((line, ""));
    let mut words = rest.split_whitespace();
    let until = words.next().unwrap_or_default();
    let until = parse_time(until).ok_or_else(|| {
        format!("{until:?} is no time: expected 2026-11-24T03:00:00Z or seconds since 1970")
    })?;
    let matchers = words
        .map(|word| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                Ok((key, value.trim_matches('"')))
            }
            _ => Err(format!("{word:?} is no matcher: expected label=value")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if matchers.is_empty() {
        return Err("no matcher: expected label=value after the time".to_owned());
    }
    Ok(Silence { matchers: Labels::new(matchers), until, reason: reason.trim().to_owned() })
}

/// `YYYY-MM-DDTHH:MM:SSZ`, or whole seconds since 1970.
fn parse_time(text: &str) -> Option<SystemTime> {
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
            let [year, month, day] = numbers(date, '-')?;
            let [hour, minute, second] = numbers(time, ':')?;
            let valid = (1970..=9999).contains(&year)
                && (1..=12).contains(&month)
                && (1..=31).contains(&day)
                && hour < 24
                && minute < 60
                && second < 61;
            if !valid {
                return None;
            }
            days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second
        }
    };
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let mut parts = text.split(separator).map(|part| {
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u64>().ok()).flatten()
    });
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

/// Howard Hinnant's `days_from_civil`, for years from 1970 on
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_silence_covers_by_labels_until_it_ends() {
        let silences = Silences::default();
        silences.add(Silence {
            matchers: Labels::new([("alertname", "A")]),
            until: at(100),
            reason: String::new(),
        });
        let a = Labels::new([("alertname", "A"), ("pool", "x")]);
        assert!(silences.covers(&a, at(99)));
        assert!(!silences.covers(&a, at(100)));
        assert!(!silences.covers(&Labels::new([("alertname", "B")]), at(99)));
        assert_eq!((silences.expire(at(99)), silences.expire(at(100))), (1, 0));
    }

    #[test]
    fn a_file_gives_its_silences_and_its_mistakes() {
        let (silences, mistakes) = parse_file(
            "# maintenance\n\
             2026-11-24T03:00:00Z alertname=MemoryNearLimit severity=warning # resize\n\
             1795489200 alertname=\"Slow\"\n\n\
             tomorrow alertname=A\n\
             1795489200\n\
             1795489200 alertname\n\
             2026-13-24T03:00:00Z alertname=A\n",
        );
        assert_eq!(silences.len(), 2);
        assert_eq!(silences[0].until, at(1_795_489_200));
        assert_eq!(silences[0].until, silences[1].until);
        assert_eq!(silences[0].reason, "resize");
        assert_eq!(silences[1].matchers.get("alertname"), Some("Slow"));
        let lines: Vec<_> = mistakes.iter().map(|m| m.split(':').next().unwrap()).collect();
        assert_eq!(lines, ["line 5", "line 6", "line 7", "line 8"]);
    }

    #[test]
    fn dates_are_days_since_1970() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 2, 29), 11_016);
        assert_eq!(days_since_1970(2000, 3, 1), 11_017);
    }

    #[test]
    fn no_text_makes_the_reader_panic() {
        for text in [
            "Z",
            "T",
            "2026-11-24T03:00:00",
            "99999999999999999999 a=b",
            "-1 a=b",
            "é=é",
            "1970-00-00T00:00:00Z a=b",
        ] {
            let (silences, mistakes) = parse_file(text);
            assert!(silences.is_empty() && mistakes.len() == 1, "{text}");
        }
    }
}
