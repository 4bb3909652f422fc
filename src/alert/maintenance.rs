//! Recurring windows in which the sinks are kept quiet, in UTC: `Sun 02:00-04:00`.

use std::time::{Duration, SystemTime};

const DAY: u64 = 86_400;
const NAMES: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Some days of the week, from one time of the day to another; past midnight if that is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// By day of the week, Sunday first: those on which it begins.
    days: [bool; 7],
    /// Seconds of the day.
    from: u64,
    /// Seconds.
    lasting: u64,
}

impl Window {
    /// What a window is written as.
    pub(crate) const FORM: &str = "expected days and times in UTC, such as `Sun 02:00-04:00`, \
                                   `Mon-Fri 22:00-01:30` or `daily 03:00-03:15`";

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (days, times) = (words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        let (from, until) = times.split_once('-')?;
        let (from, until) = (time(from)?, time(until)?);
        let lasting = (until + DAY - from) % DAY;
        // From midnight to midnight is a day; from any other time to itself is a slip.
        let lasting = if (from, until) == (0, DAY) { DAY } else { lasting };
        (lasting > 0 && from < DAY).then_some(Self { days: parse_days(days)?, from, lasting })
    }

    /// When it ends, if it is on.
    pub(crate) fn end(&self, now: SystemTime) -> Option<SystemTime> {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let today = since / DAY;
        // One that began yesterday may go on past midnight.
        let began = [Some(today), today.checked_sub(1)];
        began.into_iter().flatten().find_map(|day| {
            let begin = day * DAY + self.from;
            let on = self.days[weekday(day)] && (begin..begin + self.lasting).contains(&since);
            on.then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(begin + self.lasting))
        })
    }
}

/// The first day of 1970 was a Thursday.
fn weekday(day: u64) -> usize {
    ((day + 4) % 7) as usize
}

fn parse_days(text: &str) -> Option<[bool; 7]> {
    let text = text.to_ascii_lowercase();
    if text == "daily" {
        return Some([true; 7]);
    }
    let number = |name: &str| NAMES.iter().position(|known| *known == name);
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (number(first)?, number(last)?);
        days[day] = true;
        while day != last {
            day = (day + 1) % 7;
            days[day] = true;
        }
    }
    Some(days)
}

/// Seconds of the day; 24:00 is its end.
fn time(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let seconds = hours * 3_600 + minutes * 60;
    (minutes < 60 && seconds <= DAY).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time of the week that began on Sunday, 2026-11-22.
    fn at(day: u64, time_of_day: &str) -> SystemTime {
        let seconds = 1_795_305_600 + day * DAY + time(time_of_day).unwrap();
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn on(window: &str, day: u64, time_of_day: &str) -> bool {
        Window::parse(window).unwrap().end(at(day, time_of_day)).is_some()
    }

    #[test]
    fn windows_by_day_and_time() {
        assert!(on("Sun 02:00-04:00", 0, "02:00") && on("Sun 02:00-04:00", 0, "03:59"));
        assert!(!on("Sun 02:00-04:00", 0, "04:00") && !on("Sun 02:00-04:00", 1, "03:00"));
        assert!(
            on("mon-fri,SUN 00:00-24:00", 5, "23:59") && on("mon-fri,sun 00:00-24:00", 0, "00:00")
        );
        assert!(!on("mon-fri,sun 00:00-24:00", 6, "12:00"));
        assert!(on("Fri-Mon 00:00-24:00", 6, "12:00") && !on("Fri-Mon 00:00-24:00", 3, "12:00"));
        assert!((0..7).all(|day| on("daily 03:00-03:15", day, "03:07")));
    }

    #[test]
    fn a_window_goes_on_past_midnight() {
        let friday = "Fri 22:00-01:30";
        assert!(on(friday, 5, "23:00") && on(friday, 6, "01:29"));
        assert!(!on(friday, 6, "01:30") && !on(friday, 5, "01:00") && !on(friday, 6, "23:00"));
        let window = Window::parse(friday).unwrap();
        assert_eq!(window.end(at(5, "23:00")), Some(at(6, "01:30")));
    }

    #[test]
    fn what_is_no_window() {
        for text in [
            "",
            "Sun",
            "02:00-04:00",
            "Sun 2:00-4:00",
            "Sun 02:00",
            "Sunday 02:00-04:00",
            "Sun 24:00-02:00",
            "Sun 02:60-04:00",
            "Sun 02:00-25:00",
            "Sun 02:00-02:00",
            "Mon- 01:00-02:00",
            "Sun 02:00-04:00 UTC",
            "Sun +1:00-04:00",
        ] {
            assert_eq!(Window::parse(text), None, "{text}");
        }
    }
}
