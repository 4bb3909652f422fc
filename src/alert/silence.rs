//! Keeping the sinks quiet: for a time, for a reason, and visibly.
//!
//! A silence never changes an alert's state: watches, series and exports go on, and a transition
//! that is silenced says so. Every silence expires.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use super::maintenance::Window;
use crate::{
    event::{Hush, Severity},
    name::Labels,
    sync::{Arc, Mutex},
};

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
        carries(labels, &self.matchers)
    }
}

/// All silences in force. Touched on transitions only, never on the record path.
#[derive(Debug, Default)]
pub(crate) struct Silences(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    called: Vec<Silence>,
    /// Those of the silence file, replaced whole when it changes.
    filed: Filed,
    maintenance: Vec<Recurring>,
    /// When each deploy is over at the latest, and its number.
    deploys: Vec<(SystemTime, u64)>,
    next_deploy: u64,
}

/// What a silence file says.
#[derive(Debug, Default)]
pub(crate) struct Filed {
    pub(crate) silences: Vec<Silence>,
    pub(crate) maintenance: Vec<Recurring>,
}

impl Filed {
    pub(crate) fn len(&self) -> usize {
        self.silences.len() + self.maintenance.len()
    }
}

/// A maintenance window.
#[derive(Debug, Clone)]
pub(crate) struct Recurring {
    pub(crate) window: Window,
    /// Those covered carry all of these; with none, all are.
    pub(crate) matchers: Labels,
    pub(crate) reason: String,
}

impl Recurring {
    /// As a silence, while it is on.
    fn on(&self, now: SystemTime) -> Option<Silence> {
        let until = self.window.end(now)?;
        Some(Silence { matchers: self.matchers.clone(), until, reason: self.reason.clone() })
    }

    fn covers(&self, labels: &Labels, now: SystemTime) -> bool {
        carries(labels, &self.matchers) && self.window.end(now).is_some()
    }
}

/// A deploy that is going on: the sinks are told of critical alerts only. It ends when this is
/// dropped, or after the time it was given. From [`Highwater::deploying`](crate::Highwater::deploying).
#[must_use = "the deploy is over when this is dropped"]
pub struct Deploying(Option<(Arc<dyn AsRef<Silences> + Send + Sync>, u64)>);

impl Deploying {
    /// Of these silences, or of none.
    pub(crate) fn new(
        silences: Option<Arc<dyn AsRef<Silences> + Send + Sync>>,
        until: SystemTime,
    ) -> Self {
        Self(silences.map(|silences| {
            let number = (*silences).as_ref().deploy(until);
            (silences, number)
        }))
    }
}

impl Drop for Deploying {
    fn drop(&mut self) {
        if let Some((silences, number)) = &self.0 {
            (**silences).as_ref().0.lock().deploys.retain(|(_, other)| other != number);
        }
    }
}

impl fmt::Debug for Deploying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deploying").finish_non_exhaustive()
    }
}

fn carries(labels: &Labels, matchers: &Labels) -> bool {
    matchers.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl Silences {
    pub(crate) fn add(&self, silence: Silence) {
        self.0.lock().called.push(silence);
    }

    pub(crate) fn replace_filed(&self, filed: Filed) {
        self.0.lock().filed = filed;
    }

    pub(crate) fn maintain(&self, recurring: Vec<Recurring>) {
        self.0.lock().maintenance = recurring;
    }

    fn deploy(&self, until: SystemTime) -> u64 {
        let mut state = self.0.lock();
        state.next_deploy += 1;
        let number = state.next_deploy;
        state.deploys.push((until, number));
        number
    }

    /// Why nobody is to be told of such an alert, if so.
    pub(crate) fn covers(&self, labels: &Labels, of: Severity, now: SystemTime) -> Option<Hush> {
        let state = self.0.lock();
        // A deploy can be what breaks things.
        let deploys = || of < Severity::Critical && state.deploys.iter().any(|(end, _)| *end > now);
        if state.all().any(|silence| silence.until > now && silence.covers(labels)) {
            Some(Hush::Silence)
        } else if state.recurring().any(|recurring| recurring.covers(labels, now)) {
            Some(Hush::Maintenance)
        } else {
            deploys().then_some(Hush::Deploy)
        }
    }

    /// Forgets those that are over and says how many are left.
    pub(crate) fn expire(&self, now: SystemTime) -> usize {
        let mut state = self.0.lock();
        state.called.retain(|silence| silence.until > now);
        state.filed.silences.retain(|silence| silence.until > now);
        state.deploys.retain(|(end, _)| *end > now);
        let on = state.recurring().filter(|recurring| recurring.window.end(now).is_some()).count();
        state.called.len() + state.filed.silences.len() + state.deploys.len() + on
    }

    pub(crate) fn list(&self, now: SystemTime) -> Vec<Silence> {
        let state = self.0.lock();
        let deploy = |(until, _): &(SystemTime, u64)| Silence {
            matchers: Labels::empty(),
            until: *until,
            reason: "deploying".to_owned(),
        };
        let all = state.all().cloned().chain(state.deploys.iter().map(deploy));
        let lasting = all.filter(|silence| silence.until > now);
        lasting.chain(state.recurring().filter_map(|recurring| recurring.on(now))).collect()
    }
}

impl State {
    fn all(&self) -> impl Iterator<Item = &Silence> {
        self.called.iter().chain(&self.filed.silences)
    }

    fn recurring(&self) -> impl Iterator<Item = &Recurring> {
        self.maintenance.iter().chain(&self.filed.maintenance)
    }
}

/// Reads a silence file: a line each, `UNTIL LABEL=VALUE… # REASON`, where `UNTIL` is an RFC 3339
/// time in UTC (`2026-11-24T03:00:00Z`) or seconds since 1970, or `every DAYS TIMES
/// LABEL=VALUE… # REASON` for a recurring window (`every Sun 02:00-04:00`). Empty lines and lines that start
/// with `#` are skipped. What cannot be read is returned beside the silences, a message a line.
pub(crate) fn parse_file(text: &str) -> (Filed, Vec<String>) {
    let (mut filed, mut mistakes) = (Filed::default(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Err(why) = parse_line(line, &mut filed) {
            mistakes.push(format!("line {}: {why}", at + 1));
        }
    }
    (filed, mistakes)
}

fn parse_line(line: &str, into: &mut Filed) -> Result<(), String> {
    let (rest, reason) = line.split_once('#').unwrap_or((line, ""));
    let reason = reason.trim().to_owned();
    let mut words = rest.split_whitespace();
    let first = words.next().unwrap_or_default();
    if first == "every" {
        let (days, times) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let when = format!("{days} {times}");
        let window = Window::parse(&when).ok_or_else(|| format!("{when:?}: {}", Window::FORM))?;
        let matchers = parse_matchers(words)?;
        into.maintenance.push(Recurring { window, matchers, reason });
        return Ok(());
    }
    let until = parse_time(first).ok_or_else(|| {
        format!("{first:?} is no time: expected 2026-11-24T03:00:00Z or seconds since 1970")
    })?;
    let matchers = parse_matchers(words)?;
    into.silences.push(Silence { matchers, until, reason });
    Ok(())
}

fn parse_matchers<'a>(words: impl Iterator<Item = &'a str>) -> Result<Labels, String> {
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
    Ok(Labels::new(matchers))
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
        let covers = |labels: &Labels, now| silences.covers(labels, Severity::Critical, now);
        assert_eq!(covers(&a, at(99)), Some(Hush::Silence));
        assert_eq!(covers(&a, at(100)), None);
        assert_eq!(covers(&Labels::new([("alertname", "B")]), at(99)), None);
        assert_eq!((silences.expire(at(99)), silences.expire(at(100))), (1, 0));
    }

    #[test]
    fn a_file_gives_its_silences_and_its_mistakes() {
        let (Filed { silences, maintenance }, mistakes) = parse_file(
            "# maintenance\n\
             2026-11-24T03:00:00Z alertname=MemoryNearLimit severity=warning # resize\n\
             1795489200 alertname=\"Slow\"\n\n\
             tomorrow alertname=A\n\
             1795489200\n\
             1795489200 alertname\n\
             2026-13-24T03:00:00Z alertname=A\n\
             every Sun 02:00-04:00 alertname=A # backup\n\
             every Sun alertname=A\n",
        );
        assert_eq!(maintenance.len(), 1);
        assert_eq!(maintenance[0].reason, "backup");
        assert_eq!(silences.len(), 2);
        assert_eq!(silences[0].until, at(1_795_489_200));
        assert_eq!(silences[0].until, silences[1].until);
        assert_eq!(silences[0].reason, "resize");
        assert_eq!(silences[1].matchers.get("alertname"), Some("Slow"));
        let lines: Vec<_> = mistakes.iter().map(|m| m.split(':').next().unwrap()).collect();
        assert_eq!(lines, ["line 5", "line 6", "line 7", "line 8", "line 10"]);
    }

    #[test]
    fn a_maintenance_window_comes_again_and_shows_while_it_is_on() {
        let silences = Silences::default();
        // 1970-01-01 was a Thursday.
        let recurring = |window, matchers| Recurring {
            window: Window::parse(window).unwrap(),
            matchers,
            reason: "backup".into(),
        };
        let a = Labels::new([("alertname", "A")]);
        silences.maintain(vec![
            recurring("Thu 00:00-01:00", a.clone()),
            recurring("Fri 00:00-01:00", Labels::empty()),
        ]);
        let day = 86_400;
        let covers = |labels: &Labels, now| silences.covers(labels, Severity::Critical, at(now));
        for week in 0..3 {
            assert_eq!(covers(&a, 7 * week * day + 3_599), Some(Hush::Maintenance));
            assert_eq!(covers(&a, 7 * week * day + 3_600), None);
            assert_eq!(covers(&Labels::empty(), 7 * week * day), None);
            assert_eq!(covers(&Labels::empty(), (7 * week + 1) * day), Some(Hush::Maintenance));
        }
        assert_eq!((silences.expire(at(0)), silences.expire(at(3_600))), (1, 0));
        assert_eq!(silences.list(at(0))[0].until, at(3_600));
    }

    #[test]
    fn a_deploy_is_quiet_but_for_what_is_critical_and_ends_with_its_guard_or_its_time() {
        struct Holder(Silences);
        impl AsRef<Silences> for Holder {
            fn as_ref(&self) -> &Silences {
                &self.0
            }
        }
        let holder = Arc::new(Holder(Silences::default()));
        let silences = &holder.0;
        let covers = |of, now| silences.covers(&Labels::empty(), of, at(now));
        let guard = Deploying::new(Some(holder.clone()), at(100));
        let other = Deploying::new(Some(holder.clone()), at(50));
        assert_eq!(covers(Severity::Warning, 99), Some(Hush::Deploy));
        assert_eq!(covers(Severity::Critical, 99), None);
        assert_eq!(covers(Severity::Warning, 100), None, "it expires");
        assert_eq!(silences.list(at(60)).len(), 1);
        drop(other);
        assert_eq!(covers(Severity::Info, 1), Some(Hush::Deploy), "the other one goes on");
        drop(guard);
        assert_eq!(covers(Severity::Warning, 1), None);
        drop(Deploying::new(None, at(1)));
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
            let (filed, mistakes) = parse_file(text);
            assert!(filed.len() == 0 && mistakes.len() == 1, "{text}");
        }
    }
}
