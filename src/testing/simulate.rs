use std::{fmt, time::Duration};

use super::kit::{Kit, line};
use crate::{
    event::Transition,
    instrument::{Gauge, Histogram, Measure},
    name::Labels,
    rule::Rule,
    sync::Arc,
};

/// Samples that were recorded, by series.
///
/// ```
/// use highwater::testing::Recording;
/// let recording = Recording::from_csv(
///     "seconds, queue_depth{queue=\"a\"}, counter jobs_failed_total\n\
///      0, 10, 0\n\
///      15, 2000, 3\n\
///      30, , 3\n",
/// )?;
/// # Ok::<(), highwater::testing::RecordingError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Recording {
    series: Vec<Series>,
}

#[derive(Debug, Clone)]
struct Series {
    name: String,
    labels: Labels,
    kind: Kind,
    /// In order; `None` where it vanished. Of a histogram the values that were recorded.
    samples: Vec<(Duration, Option<f64>)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Gauge,
    Counter,
    Histogram,
}

/// What is wrong with a recording's text.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct RecordingError {
    line: usize,
    reason: String,
}

impl Recording {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a series of values that are set, by time since the beginning.
    pub fn gauge<const N: usize>(
        self,
        name: &str,
        labels: [(&str, &str); N],
        samples: impl IntoIterator<Item = (Duration, f64)>,
    ) -> Self {
        self.add(name, Labels::new(labels), Kind::Gauge, samples)
    }

    /// Adds a series of totals that only grow, but for resets.
    pub fn counter<const N: usize>(
        self,
        name: &str,
        labels: [(&str, &str); N],
        samples: impl IntoIterator<Item = (Duration, f64)>,
    ) -> Self {
        self.add(name, Labels::new(labels), Kind::Counter, samples)
    }

    /// Adds a histogram: the values that were recorded, each with its time. Calls of a query are
    /// `db.client.operation.duration` in seconds, labelled `db.query.summary`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::{rule, testing::{Recording, simulate}};
    ///
    /// let calls = (0..100).map(|n| (Duration::from_millis(600 * n), if n < 50 { 0.01 } else { 2.0 }));
    /// let orders = [("db.query.summary", "orders")];
    /// let recording = Recording::new().histogram("db.client.operation.duration", orders, calls);
    /// let slow = rule::query("orders").quantile(0.9).over(Duration::from_secs(20));
    /// let rule = rule::alert("OrdersSlow").when(slow.above(Duration::from_secs(1)));
    /// assert_eq!(simulate([rule], &recording, Duration::from_secs(1)).transitions().count(), 1);
    /// ```
    pub fn histogram<const N: usize>(
        self,
        name: &str,
        labels: [(&str, &str); N],
        values: impl IntoIterator<Item = (Duration, f64)>,
    ) -> Self {
        self.add(name, Labels::new(labels), Kind::Histogram, values)
    }

    fn add(
        mut self,
        name: &str,
        labels: Labels,
        kind: Kind,
        samples: impl IntoIterator<Item = (Duration, f64)>,
    ) -> Self {
        let mut samples: Vec<_> =
            samples.into_iter().map(|(at, value)| (at, Some(value))).collect();
        samples.sort_by_key(|(at, _)| *at);
        self.series.push(Series { name: name.to_owned(), labels, kind, samples });
        self
    }

    /// Reads comma-separated text: a first column of seconds, then one of each series, headed
    /// `name{label="value"}`, `counter name{…}` for totals, or `histogram name{…}`. A value stands
    /// until the next row; an empty cell says that the series was not there. A histogram's cell has
    /// the values that were recorded then, separated by spaces.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn from_csv(text: &str) -> Result<Self, RecordingError> {
        let wrong = |line: usize, reason: String| RecordingError { line: line + 1, reason };
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let Some((first, head)) = lines.next() else { return Ok(Self::default()) };
        let mut series = Vec::new();
        for cell in cells(head).into_iter().skip(1) {
            series.push(headed(cell).map_err(|reason| wrong(first, reason))?);
        }
        for (number, line) in lines {
            let row = cells(line);
            if row.len() != series.len() + 1 {
                let reason = format!("{} cells, expected {}", row.len(), series.len() + 1);
                return Err(wrong(number, reason));
            }
            let at = row[0].parse().ok().and_then(|at| Duration::try_from_secs_f64(at).ok());
            let at = at.ok_or_else(|| wrong(number, format!("{:?} is no time", row[0])))?;
            for (one, cell) in series.iter_mut().zip(&row[1..]) {
                if one.samples.last().is_some_and(|(last, _)| *last >= at) {
                    return Err(wrong(number, "its time is not after the last one's".to_owned()));
                }
                let parse = |cell: &str| {
                    cell.parse().map_err(|_| wrong(number, format!("{cell:?} is no number")))
                };
                match (one.kind, *cell) {
                    (Kind::Histogram, cell) => {
                        for value in cell.split_whitespace() {
                            one.samples.push((at, Some(parse(value)?)));
                        }
                    }
                    (_, "") => one.samples.push((at, None)),
                    (_, cell) => one.samples.push((at, Some(parse(cell)?))),
                }
            }
        }
        Ok(Self { series })
    }

    fn end(&self) -> Duration {
        let last = self.series.iter().filter_map(|one| one.samples.last());
        last.map(|(at, _)| *at).max().unwrap_or_default()
    }
}

/// A line's cells; commas within braces and quotes belong to a cell.
fn cells(line: &str) -> Vec<&str> {
    let (mut cells, mut start, mut braces, mut quoted) = (Vec::new(), 0, false, false);
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '{' if !quoted => braces = true,
            '}' if !quoted => braces = false,
            ',' if !quoted && !braces => {
                cells.push(line[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    cells.push(line[start..].trim());
    cells
}

fn headed(cell: &str) -> Result<Series, String> {
    let kinds = [("counter ", Kind::Counter), ("histogram ", Kind::Histogram)];
    let headed = kinds.into_iter().find_map(|(word, kind)| Some((kind, cell.strip_prefix(word)?)));
    let (kind, cell) = headed.map_or((Kind::Gauge, cell), |(kind, rest)| (kind, rest.trim()));
    let (name, labels) = cell.split_once('{').unwrap_or((cell, "}"));
    let labels = labels.strip_suffix('}').ok_or_else(|| format!("{cell:?} has no `}}`"))?;
    if name.trim().is_empty() {
        return Err(format!("{cell:?} has no name"));
    }
    let mut pairs = Vec::new();
    for pair in cells(labels).into_iter().filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is no label"))?;
        let value = value.trim().strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        pairs.push((key.trim(), value.ok_or_else(|| format!("{pair:?} has no quotes"))?));
    }
    let labels = Labels::new(pairs);
    Ok(Series { name: name.trim().to_owned(), labels, kind, samples: Vec::new() })
}

/// What rules would have done; prints one line for each transition.
#[derive(Debug, Clone)]
pub struct Simulation {
    history: Vec<(Duration, Arc<Transition>)>,
}

impl Simulation {
    /// Each transition and when it would have been, since the recording's beginning.
    pub fn transitions(&self) -> impl Iterator<Item = (Duration, &Transition)> {
        self.history.iter().map(|(at, step)| (*at, &**step))
    }
}

impl fmt::Display for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in &self.history {
            let value = step.value.map_or(String::new(), |value| format!(", value {value}"));
            writeln!(f, "{}{value}", line(*at, step))?;
        }
        Ok(())
    }
}

enum Handle {
    Set(Gauge),
    Record(Histogram),
}

/// Runs rules over what was recorded, at this tick, and one tick beyond its end.
///
/// ```
/// use std::time::Duration;
/// use highwater::{rule, testing::{Recording, simulate}};
///
/// let minute = |count: u64| Duration::from_secs(60 * count);
/// let depth = [(minute(0), 10.0), (minute(1), 2000.0), (minute(3), 10.0)];
/// let recording = Recording::new().gauge("queue.depth", [], depth);
/// let rule = rule::alert("QueueDeep")
///     .when(rule::gauge("queue.depth").above(1000.0))
///     .hold_for(minute(1));
/// let told = simulate([rule], &recording, Duration::from_secs(10));
/// assert_eq!(
///     told.to_string(),
///     "60s QueueDeep inactive → pending, value 2000\n\
///      120s QueueDeep pending → firing, value 2000\n\
///      180s QueueDeep firing → inactive (cleared), value 10\n"
/// );
/// ```
///
/// # Panics
/// With every mistake in the rules, and at a tick of zero.
#[track_caller]
pub fn simulate(
    rules: impl IntoIterator<Item = Rule>,
    recording: &Recording,
    tick: Duration,
) -> Simulation {
    let mut kit = Kit::with_tick(rules, tick);
    let handle = |Series { name, labels, kind, .. }: &Series| match kind {
        Kind::Counter => Handle::Set(kit.registry.observed_counter(name, labels)),
        Kind::Gauge => Handle::Set(kit.registry.gauge(name, labels)),
        Kind::Histogram => Handle::Record(kit.registry.histogram(name, Measure::Value, labels)),
    };
    let handles: Vec<Handle> = recording.series.iter().map(handle).collect();
    let mut next = vec![0; handles.len()];
    let end = recording.end() + tick;
    let mut at = Duration::ZERO;
    while at <= end {
        for ((one, handle), next) in recording.series.iter().zip(&handles).zip(&mut next) {
            while let Some((_, value)) = one.samples.get(*next).filter(|(time, _)| *time <= at) {
                match (handle, value) {
                    (Handle::Set(gauge), Some(value)) => gauge.set(*value),
                    (Handle::Set(gauge), None) => gauge.clear(),
                    (Handle::Record(histogram), value) => {
                        value.iter().for_each(|value| histogram.record(*value));
                    }
                }
                *next += 1;
            }
        }
        // The first call evaluates the present, every other one the next tick.
        kit.run(if at.is_zero() { Duration::ZERO } else { tick });
        at += tick;
    }
    Simulation { history: kit.into_history() }
}
