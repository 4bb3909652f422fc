//! Who holds a pool's connections, and why they do not come back.
//!
//! A wait for a connection has three causes that look alike from where one waits: there are too few
//! connections, the database has become slow, so that each is held longer, or the process does not
//! get to run. They are told apart by what became longer: of the three only a slow database makes
//! the calls themselves slower than they were while the process runs as ever.

use super::{Course, percent, seconds, starved};
use crate::{
    event::{Evidence, short},
    history::{History, Line, Timing, TimingKind},
    name::Unit,
    semconv as s,
};

const CONNECTIONS: Unit = Unit::known("{connection}");
const KEY: &str = s::DB_CLIENT_CONNECTION_POOL_NAME;
/// How many times as long as before is longer.
pub(super) const LONGER: f64 = 1.3;

/// What is known of a pool.
pub(super) struct Figures<'a> {
    name: &'a str,
    used: Option<f64>,
    max: Option<f64>,
    pending: Option<f64>,
    wait: Option<Course>,
    hold: Option<Course>,
}

impl<'a> Figures<'a> {
    pub(super) fn of(pool: &'a str, history: &History) -> Self {
        let of = |metric: &str| history.line(metric, KEY, pool).and_then(Line::now);
        let used = |line: &&Line| {
            line.label(KEY) == pool && line.label(s::DB_CLIENT_CONNECTION_STATE) == "used"
        };
        let timing = |kind| {
            let found = history.timings.iter().find(|t| t.kind == kind && &*t.name == pool);
            found.map(|timing| Course::of(timing, history))
        };
        Self {
            name: short(pool),
            used: history.lines_of(s::DB_CLIENT_CONNECTION_COUNT).find(used).and_then(Line::now),
            max: of(s::DB_CLIENT_CONNECTION_MAX),
            pending: of(s::DB_CLIENT_CONNECTION_PENDING_REQUESTS),
            wait: timing(TimingKind::PoolWait),
            hold: timing(TimingKind::PoolUse),
        }
    }

    fn is_full(&self) -> bool {
        self.used.zip(self.max).is_some_and(|(used, max)| max > 0.0 && used >= max)
    }

    fn p95(of: &Option<Course>) -> Option<f64> {
        of.as_ref().and_then(|course| course.now.quantile(0.95))
    }

    /// Of the time callers spent on a connection in the last minute, the share they waited. Where
    /// nothing ended, by who waits and who holds one.
    fn wait_share(&self) -> Option<f64> {
        let of = |of: &Option<Course>| of.as_ref().map_or(0.0, |course| course.now.seconds());
        let (wait, hold) = (of(&self.wait), of(&self.hold));
        let (waits, holds) =
            if wait + hold > 0.0 { (wait, hold) } else { (self.pending?, self.used?) };
        (waits + holds > 0.0).then(|| waits / (waits + holds))
    }

    pub(super) fn facts(&self, evidence: &mut Evidence) {
        let name = self.name;
        if let Some((used, max)) = self.used.zip(self.max) {
            let text = format!("{used} of {max} connections of {name} are in use");
            evidence.fact("pool.used", name, used, CONNECTIONS, text);
        }
        if let Some(waiting) = self.pending {
            let text = format!("{waiting} callers wait for one");
            evidence.fact("pool.pending", name, waiting, Unit::known("{request}"), text);
        }
        if let Some(wait) = Self::p95(&self.wait) {
            let text =
                format!("a connection of {name} is waited for up to {} (p95)", seconds(wait));
            evidence.fact("pool.wait", name, wait, Unit::SECONDS, text);
        }
        if let Some(hold) = Self::p95(&self.hold) {
            let text = format!("a connection is held up to {} (p95)", seconds(hold));
            evidence.fact("pool.use", name, hold, Unit::SECONDS, text);
        }
        if let Some(share) = self.wait_share() {
            let text =
                format!("callers of {name} spend {} of their time waiting for one", percent(share));
            evidence.fact("pool.wait_share", name, share, Unit::ONE, text);
        }
    }

    /// The pool as a cause. `slower`: how many times as long as before its calls take, if that is
    /// known; `rest`: what the process' own troubles leave to explain.
    pub(super) fn causes(&self, slower: Option<f64>, rest: f64, evidence: &mut Evidence) {
        let name = self.name;
        if self.is_full() && self.hold.as_ref().is_none_or(|held| held.now.calls == 0) {
            let text = format!(
                "all connections of {name} are in use and none came back in the last minute: a leak, or callers stuck in a call"
            );
            return evidence.cause(0.7 * rest, text);
        }
        let longer = self.hold.as_ref().and_then(Course::mean_times);
        let work = longer.filter(|times| *times > LONGER && slower.is_none_or(|s| s <= LONGER));
        let hold = Self::p95(&self.hold);
        if let Some((times, hold)) = work.zip(hold) {
            let why = match slower {
                Some(_) => "though calls take no longer: work is done while holding one",
                None => "slow queries, or work done while holding one",
            };
            let text = format!(
                "connections of {name} are held {times:.1} times as long as in the hour before (up to {}): {why}",
                seconds(hold)
            );
            evidence.cause((0.4 + 0.6 * (1.0 - 1.0 / times)) * rest, text);
        }
        let wait = Self::p95(&self.wait).unwrap_or_default();
        let Some(share) = self.wait_share().filter(|share| *share > 0.1 && wait > 0.005) else {
            return;
        };
        // What longer calls and longer holds explain is not the pool's doing.
        let damp = slower.unwrap_or(1.0).max(longer.unwrap_or(1.0)).max(1.0);
        let known = slower.or(longer);
        let than_before = match known {
            Some(times) if times > LONGER => format!("{times:.1} times as long as before"),
            Some(_) => "no longer than before".to_owned(),
            None => "whether that is longer than it was is not known yet".to_owned(),
        };
        let text = format!(
            "the pool {name} is too small for the demand, or held too long: callers wait {} for one of its {} connections ({} wait now), {} of their time, and hold it {} ({than_before})",
            seconds(wait),
            self.max.map_or_else(|| "?".to_owned(), |max| max.to_string()),
            self.pending.unwrap_or_default(),
            percent(share),
            hold.map_or_else(|| "for an unknown time".to_owned(), seconds),
        );
        let certain = if known.is_some() { 1.0 } else { 0.6 };
        evidence.cause((0.2 + 0.8 * share) * certain * rest / damp, text);
    }
}

pub(super) fn gather(pool: &str, history: &History, evidence: &mut Evidence) {
    let figures = Figures::of(pool, history);
    figures.facts(evidence);
    let rest = 1.0 - starved::gather(history, evidence);
    let slower = slower(pool, history);
    if let Some((times, mean)) = slower.filter(|(times, _)| *times > LONGER) {
        let hold = Figures::p95(&figures.hold).map_or_else(String::new, |hold| {
            format!(", so that each connection is held up to {}", seconds(hold))
        });
        let text = format!(
            "the database is slow: calls on {} take {times:.1} times as long as in the hour before ({} on average){hold}",
            figures.name,
            seconds(mean)
        );
        evidence.cause((0.3 + 0.7 * (1.0 - 1.0 / times)) * rest, text);
    }
    figures.causes(slower.map(|(times, _)| times), rest, evidence);
    // Somebody always has the most; where nothing comes back that is the best clue there is.
    let stuck = figures.hold.as_ref().is_none_or(|held| held.now.calls == 0);
    let (least, by_share) = if stuck { (0.3, 0.5) } else { (0.2, 0.3) };
    holders(pool, history, figures.used, (least * rest, by_share * rest), evidence);
}

/// How many times as long as before the pool's calls take at the present mix of them, and how long
/// one takes on average.
fn slower(pool: &str, history: &History) -> Option<(f64, f64)> {
    let (mut now, mut calls, mut then) = (0.0, 0.0, 0.0);
    for timing in history.timings.iter().filter(|timing| timing.kind == TimingKind::Query) {
        if !uses(timing, pool, history) {
            continue;
        }
        let course = Course::of(timing, history);
        if let Some(times) = course.mean_times() {
            now += course.now.seconds();
            then += course.now.seconds() / times;
            calls += course.now.calls as f64;
        }
    }
    (then > 0.0).then(|| (now / then, now / calls))
}

/// Whether a query's connections come from this pool: it says so, or nobody does and there is no
/// other pool.
fn uses(timing: &Timing, pool: &str, history: &History) -> bool {
    let mut said = false;
    for line in flying(history).filter(|line| line.label(s::DB_QUERY_SUMMARY) == &*timing.name) {
        match line.label(KEY) {
            "" => {}
            of if of == pool => return true,
            _ => said = true,
        }
    }
    !said && pools(history).eq([pool])
}

fn flying(history: &History) -> impl Iterator<Item = &Line> {
    history.lines_of(s::QUERY_IN_FLIGHT)
}

fn pools(history: &History) -> impl Iterator<Item = &str> {
    let waits = history.timings.iter().filter(|timing| timing.kind == TimingKind::PoolWait);
    waits.map(|timing| &*timing.name)
}

/// The pools a query's connections come from.
pub(super) fn pools_of<'a>(timing: &Timing, history: &'a History) -> impl Iterator<Item = &'a str> {
    pools(history).filter(move |pool| uses(timing, pool, history))
}

/// Queries under way are who holds connections.
fn holders(
    pool: &str,
    history: &History,
    used: Option<f64>,
    (least, by_share): (f64, f64),
    evidence: &mut Evidence,
) {
    let alone = pools(history).all(|other| other == pool);
    let mut flying: Vec<_> = flying(history)
        .filter(|line| line.label(KEY) == pool || (alone && line.label(KEY).is_empty()))
        .filter_map(|line| Some((line.label(s::DB_QUERY_SUMMARY), line.now()?)))
        .filter(|(_, count)| *count > 0.0)
        .collect();
    flying.sort_by(|a, b| b.1.total_cmp(&a.1));
    let all: f64 = flying.iter().map(|(_, count)| count).sum();
    for (at, (query, count)) in flying.iter().take(5).enumerate() {
        let name = short(query);
        let text = format!("{count} calls of {name} are under way");
        evidence.fact("query.in_flight", name, *count, Unit::known("{call}"), text);
        if at == 0 && *count >= 2.0 {
            let share = count / all.max(used.unwrap_or(0.0)).max(1.0);
            let text = format!(
                "{name} has {count} of the {all} calls under way ({}): it holds most connections",
                percent(count / all)
            );
            evidence.cause(least + by_share * share.min(1.0), text);
        }
    }
}
