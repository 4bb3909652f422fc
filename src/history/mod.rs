//! The last minutes, and in outline the last hour, of what people ask about first: kept so that an
//! alert can say what explains it and a page can show what happened, when nothing else is at hand.
//!
//! Not the rules' windows, which hold what rules select and no more. Here are a few known series,
//! at [`COLUMNS`] points: a tick each at first, and wider as time goes, up to [`WIDEST`], after
//! which the oldest are dropped. Bounded: [`MOST_LINES`] lines and [`MOST_TIMINGS`] timed things,
//! what comes later is counted as left out.
//!
//! The tick thread is the only one that writes, and allocates only when a series is first seen.
//! Whoever reads takes a [`Clone`] of it under the lock. That holds up what the tick writes, for no
//! longer than [`PATIENCE`], but not the evidence it reads: a round's figures may be left out,
//! what an alert carries is not, and what happened is written down at the next round.

mod columns;
mod line;
mod timing;

use std::{collections::VecDeque, time::Duration};

pub(crate) use self::{
    columns::{COLUMNS, Columns},
    line::Line,
    timing::{Counts, Kind as TimingKind, SPAN, Timing, upper_bound},
};
use crate::{
    clock::Moment,
    event::{State, Transition},
    registry::{Frame, Reading, Series, SeriesId},
    semconv as s,
    sync::{Arc, RwLock},
};

/// How long a column becomes at most: an hour is not seen here, sixteen minutes are.
const WIDEST: Duration = Duration::from_secs(4);
const MOST_LINES: usize = 256;
const MOST_TIMINGS: usize = 64;
/// Transitions kept, and alerts known to fire.
const MOST_TRANSITIONS: usize = 64;
/// How long the tick waits for a reader.
const PATIENCE: Duration = Duration::from_millis(10);

/// Shared by the tick thread, which writes, and whoever asks.
pub(crate) type Shared = Arc<RwLock<History>>;

#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) at: Moment,
    pub(crate) columns: Columns,
    pub(crate) lines: Vec<Line>,
    pub(crate) timings: Vec<Timing>,
    /// Oldest first.
    pub(crate) transitions: VecDeque<Arc<Transition>>,
    /// The transition each firing alert began with.
    pub(crate) firing: Vec<Arc<Transition>>,
    /// Series that found no room.
    pub(crate) left_out: usize,
}

/// The tick thread's hold on it.
#[derive(Debug)]
pub(crate) struct Scribe {
    shared: Shared,
    /// By series: whether it is a histogram that is followed.
    wanted: Vec<bool>,
    /// What happened while a reader held it up; the oldest first.
    unnoted: VecDeque<Arc<Transition>>,
}

impl Scribe {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared, wanted: Vec::new(), unnoted: VecDeque::new() }
    }

    /// Whether a histogram's delta should be in the next frame.
    pub(crate) fn wants(&self, series: SeriesId) -> bool {
        self.wanted.get(series.index()).copied().unwrap_or(false)
    }

    /// Takes a tick in; one that a reader holds up for too long is left out.
    pub(crate) fn observe(&mut self, at: Moment, series: &[Arc<Series>], frame: &Frame) {
        let (wanted, unnoted) = (&mut self.wanted, &mut self.unnoted);
        History::with(&self.shared, |history| {
            unnoted.drain(..).for_each(|late| history.note(&late));
            for new in series.get(wanted.len()..).unwrap_or_default() {
                wanted.push(history.meet(new));
            }
            history.observe(at, frame);
        });
    }

    /// Takes in what happened: now, or with the next tick if a reader holds it up.
    pub(crate) fn note(&mut self, transitions: &[Arc<Transition>]) {
        let unnoted = &mut self.unnoted;
        for transition in transitions {
            if unnoted.len() == MOST_TRANSITIONS {
                unnoted.pop_front();
            }
            unnoted.push_back(transition.clone());
        }
        History::with(&self.shared, |history| {
            unnoted.drain(..).for_each(|transition| history.note(&transition));
        });
    }

    /// Reads what is kept: other readers do not hold that up.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&History) -> T) -> T {
        work(&self.shared.read())
    }

    /// The clock jumped; see [`History::discontinuity`].
    pub(crate) fn discontinuity(&self) {
        History::with(&self.shared, History::discontinuity);
    }
}

impl History {
    pub(crate) fn new(tick: Duration, at: Moment) -> Self {
        Self {
            at,
            columns: Columns::new(tick, WIDEST),
            lines: Vec::new(),
            timings: Vec::new(),
            transitions: VecDeque::with_capacity(MOST_TRANSITIONS),
            firing: Vec::with_capacity(MOST_TRANSITIONS),
            left_out: 0,
        }
    }

    pub(crate) fn shared(tick: Duration, at: Moment) -> Shared {
        Arc::new(RwLock::new(Self::new(tick, at)))
    }

    /// Works on it if no reader keeps it for longer than it may.
    fn with<T>(shared: &Shared, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        Some(work(&mut *shared.try_write_for(PATIENCE)?))
    }

    /// The clock jumped: what was before is no past of what comes.
    fn discontinuity(&mut self) {
        self.columns.clear();
        self.lines.iter_mut().for_each(Line::clear);
        self.timings.iter_mut().for_each(Timing::clear);
    }

    /// Takes a tick in.
    fn observe(&mut self, at: Moment, frame: &Frame) {
        self.at = at;
        let change = self.columns.push(at.mono);
        for line in &mut self.lines {
            line.shift(change);
            let value = match frame.readings.get(line.series.id.index()) {
                Some(Reading::Value(value)) => *value,
                _ => f64::NAN,
            };
            line.push(self.columns.last(), value);
        }
        let column = self.columns.last() / SPAN;
        for timing in &mut self.timings {
            timing.shift(change);
            timing.turn(at.mono);
            timing.push(column, frame);
        }
    }

    /// Takes in what changed.
    pub(crate) fn note(&mut self, transition: &Arc<Transition>) {
        self.firing.retain(|other| !other.is_same_alert(transition));
        if transition.to == State::Firing && self.firing.len() < MOST_TRANSITIONS {
            self.firing.push(transition.clone());
        }
        if self.transitions.len() == MOST_TRANSITIONS {
            self.transitions.pop_front();
        }
        self.transitions.push_back(transition.clone());
    }

    /// Takes it in, if it is not known.
    pub(crate) fn note_once(&mut self, transition: &Transition) {
        let same = |known: &Arc<Transition>| {
            known.is_same_alert(transition)
                && (known.to, known.at) == (transition.to, transition.at)
        };
        if !self.transitions.iter().any(same) {
            self.note(&Arc::new(transition.clone()));
        }
    }

    /// Whether it is a histogram that is followed from now on.
    fn meet(&mut self, series: &Arc<Series>) -> bool {
        if let Some(adds_up) = line::is_followed(&series.metric.name) {
            if self.lines.len() < MOST_LINES {
                self.lines.push(Line::new(series.clone(), adds_up));
            } else {
                self.left_out += 1;
            }
        }
        let Some((kind, name)) = timing::is_followed(series) else { return false };
        let known =
            self.timings.iter().position(|timing| timing.kind == kind && *timing.name == *name);
        let at = known.unwrap_or(self.timings.len());
        if at == MOST_TIMINGS {
            self.left_out += 1;
            return false;
        }
        if known.is_none() {
            self.timings.push(Timing::new(kind, name));
        }
        self.timings[at].meet(series);
        true
    }

    /// The lines of a metric.
    pub(crate) fn lines_of<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| &*line.series.metric.name == metric)
    }

    /// The line of a metric whose label has this value.
    pub(crate) fn line(&self, metric: &str, key: &str, value: &str) -> Option<&Line> {
        self.lines.iter().find(|line| {
            &*line.series.metric.name == metric
                && line.series.labels.get(key).unwrap_or_default() == value
        })
    }

    /// The present value of a metric without labels, or of its first series.
    pub(crate) fn now(&self, metric: &str) -> Option<f64> {
        self.lines_of(metric).find_map(Line::now)
    }

    /// What a line's columns of the last so many seconds hold.
    fn lately(&self, line: &Line, within: f64) -> impl Iterator<Item = f64> {
        let end = self.at.mono.as_secs_f64();
        let lately =
            (0..self.columns.len()).filter(move |at| end - self.columns.time(*at) <= within);
        lately.map(move |at| f64::from(line.at(at))).filter(|value| !value.is_nan())
    }

    /// What a line that adds up has gained within the last so many seconds.
    pub(crate) fn gained(&self, line: &Line, within: f64) -> Option<f64> {
        self.lately(line, within).reduce(|sum, gained| sum + gained)
    }

    /// The greatest value of a line within the last so many seconds.
    pub(crate) fn most(&self, line: &Line, within: f64) -> Option<f64> {
        self.lately(line, within).max_by(f64::total_cmp)
    }

    /// The mean of a line within the last so many seconds.
    pub(crate) fn mean(&self, line: &Line, within: f64) -> Option<f64> {
        let (sum, count) =
            self.lately(line, within).fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
        (count > 0.0).then(|| sum / count)
    }

    /// How long until a memory limit is reached if the growth of this moment goes on: what there is
    /// before there is a trend. It comes and goes from round to round, so the last of three seconds
    /// stands; not told beyond ten minutes, when a moment says nothing.
    pub(crate) fn runway(&self) -> Option<f64> {
        let line = self.lines_of(s::MEMORY_RUNWAY).next()?;
        let left = line.now().or_else(|| self.lately(line, 3.0).last())?;
        (left <= 600.0).then_some(left)
    }

    /// How much a line has risen within the last so many seconds, or since it is known, and how
    /// long that is.
    pub(crate) fn rise(&self, line: &Line, within: f64) -> Option<(f64, f64)> {
        let now = line.now()?;
        let end = self.at.mono.as_secs_f64();
        let first = (0..self.columns.len())
            .filter(|at| end - self.columns.time(*at) <= within)
            .find(|at| !line.at(*at).is_nan())?;
        // A column holds its greatest value; of a line that rises, its last.
        let time = end - self.columns.end(first);
        (time > 0.5).then(|| (now - f64::from(line.at(first)), time))
    }
}

#[cfg(test)]
mod tests;
