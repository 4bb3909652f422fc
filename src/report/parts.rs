//! The sections with charts.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    chart::{Chart, Lane, Mark, Series, Span},
    markup::{Name, bytes, number, percent, seconds},
    page::Page,
};
use crate::{
    event::{State, Transition},
    history::{COLUMNS, Counts, Line, SPAN, Timing, TimingKind, upper_bound},
    semconv as s,
};

/// Heatmaps on the page: of the slowest.
const HEATMAPS: usize = 3;
/// Components drawn by themselves.
const COMPONENTS: usize = 7;

impl Page<'_> {
    fn chart<'t>(&self, title: &'t str, note: &'t str, format: fn(f64) -> String) -> Chart<'t> {
        Chart {
            title,
            note,
            format,
            time: self.time,
            most: None,
            marks: Vec::new(),
            stacked: false,
        }
    }

    fn series(&self, line: &Line, name: String) -> Series {
        self.scaled(line, name, 1.0)
    }

    fn scaled(&self, line: &Line, name: String, factor: f64) -> Series {
        let columns = &self.history.columns;
        let point = |at| (columns.time(at), f64::from(line.at(at)) * factor);
        Series { name, points: (0..columns.len()).map(point).collect(), dashed: false }
    }

    pub(super) fn memory(&self, out: &mut String) {
        out.push_str("<h2 id=\"memory\">Memory</h2><div class=\"grid\">");
        // The wall that is nearest first.
        let share = |line: &Line| {
            let level = line.label(s::LEVEL);
            let share = self.history.line(s::MEMORY_UTILIZATION, s::LEVEL, level);
            share.and_then(Line::now).unwrap_or(0.0)
        };
        let mut walls: Vec<_> = self.history.lines_of(s::MEMORY_LIMIT).collect();
        walls.sort_by(|a, b| share(b).total_cmp(&share(a)));
        for limit in walls {
            let level = limit.label(s::LEVEL);
            // A level without a limit any more has no wall to draw.
            let (Some(usage), Some(wall)) =
                (self.history.line(s::MEMORY_USAGE, s::LEVEL, level), limit.now())
            else {
                continue;
            };
            let mut chart = self.chart("In use", level, bytes);
            chart.most = Some(wall * 1.05);
            for rule in self.report.rules.iter() {
                for edge in rule.edges_of(s::MEMORY_UTILIZATION).iter().filter(|edge| edge.above) {
                    chart.marks.push(Mark {
                        at: edge.value * wall,
                        severity: rule.severity_level().as_str(),
                        name: format!("{} above {}", rule.name(), percent(edge.value)),
                    });
                }
            }
            let mut dashed = self.series(limit, "limit".to_owned());
            dashed.dashed = true;
            out.push_str(&chart.lines(&[self.series(usage, "in use".to_owned()), dashed]));
        }
        let mut held: Vec<_> = self.history.lines_of(s::COMPONENT_MEMORY_USAGE).collect();
        held.sort_by(|a, b| b.now().unwrap_or(0.0).total_cmp(&a.now().unwrap_or(0.0)));
        let components: Vec<_> = held
            .iter()
            .take(COMPONENTS)
            .map(|line| self.series(line, line.label(s::COMPONENT_NAME).to_owned()))
            .collect();
        let mut chart = self.chart("By component", "what each says it holds", bytes);
        chart.stacked = true;
        out.push_str(&chart.lines(&components));
        let process: Vec<_> =
            [(s::PROCESS_MEMORY_USAGE, "resident"), (s::PROCESS_MEMORY_SWAP, "in swap")]
                .iter()
                .filter_map(|(metric, name)| {
                    Some(self.series(self.history.lines_of(metric).next()?, (*name).to_owned()))
                })
                .collect();
        out.push_str(&self.chart("This process", "", bytes).lines(&process));
        let stalls: Vec<_> = self
            .history
            .lines_of(s::PRESSURE_AVG10)
            .map(|line| {
                let name = format!("{} {}", line.label(s::RESOURCE), line.label(s::STALL));
                let level = line.label(s::LEVEL);
                let name = if level.is_empty() { name } else { format!("{name} ({level})") };
                self.series(line, name)
            })
            .filter(|series| series.points.iter().any(|(_, value)| *value > 0.0))
            .take(8)
            .collect();
        let note = "share of the time some or all tasks waited";
        out.push_str(&self.chart("Pressure", note, percent).lines(&stalls));
        out.push_str("</div>");
    }

    /// Timed queries, the slowest of the last minute first.
    fn by_slowness(&self, kinds: &[TimingKind]) -> Vec<(&Timing, Counts)> {
        let mut all: Vec<_> = self
            .history
            .timings
            .iter()
            .filter(|timing| kinds.contains(&timing.kind))
            .map(|timing| (timing, timing.sum(self.last_minute())))
            .collect();
        let p99 = |counts: &Counts| counts.quantile(0.99).unwrap_or(0.0);
        all.sort_by(|(_, a), (_, b)| p99(b).total_cmp(&p99(a)));
        all
    }

    /// The columns of heatmaps that make it up.
    fn last_minute(&self) -> std::ops::Range<usize> {
        let columns = &self.history.columns;
        let from = (0..columns.len()).find(|at| self.time.1 - columns.time(*at) <= 60.0);
        from.unwrap_or(0) / SPAN..columns.len().div_ceil(SPAN)
    }

    pub(super) fn slowest(&self) -> Option<(String, f64)> {
        let all = self.by_slowness(&[TimingKind::Query]);
        let (timing, counts) = all.first()?;
        Some((timing.name.to_string(), counts.quantile(0.99)?))
    }

    pub(super) fn queries(&self, out: &mut String) {
        let all = self.by_slowness(&[TimingKind::Query, TimingKind::Timer]);
        if all.is_empty() {
            return;
        }
        out.push_str("<h2 id=\"queries\">Queries</h2><div class=\"scroll\"><table><tr><th>query</th><th>p99, last minute</th><th>the hour before</th><th>p50</th><th>calls</th><th>failed</th><th>in flight</th></tr>");
        for (timing, now) in all.iter().take(20) {
            let or_none = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), seconds);
            let in_flight = self
                .history
                .lines_of(s::QUERY_IN_FLIGHT)
                .filter(|line| line.label(s::DB_QUERY_SUMMARY) == &*timing.name)
                .filter_map(Line::now)
                .reduce(|sum, count| sum + count);
            _ = write!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                Name(&timing.name),
                or_none(now.quantile(0.99)),
                or_none(timing.before().quantile(0.99)),
                or_none(now.quantile(0.5)),
                now.calls,
                now.errors,
                in_flight.map_or_else(|| "–".to_owned(), number)
            );
        }
        out.push_str("</table></div>");
        if all.len() > 20 {
            _ = write!(out, "<p class=\"dim\">and {} more</p>", all.len() - 20);
        }
        out.push_str("<div class=\"grid\">");
        for (timing, _) in all.iter().take(HEATMAPS) {
            out.push_str(&self.heatmap(timing));
        }
        let flying: Vec<_> = self
            .history
            .lines_of(s::QUERY_IN_FLIGHT)
            .map(|line| {
                let name = line.label(s::DB_QUERY_SUMMARY);
                let of = match line.label(s::DB_CLIENT_CONNECTION_POOL_NAME) {
                    "" => name.to_owned(),
                    pool => format!("{name} ({pool})"),
                };
                self.series(line, of)
            })
            .take(8)
            .collect();
        out.push_str(&self.chart("In flight", "calls begun and not ended", number).lines(&flying));
        out.push_str("</div>");
    }

    fn heatmap(&self, timing: &Timing) -> String {
        let columns = &self.history.columns;
        let mut cells = Vec::new();
        let (mut low, mut high) = (usize::MAX, 0);
        let mut lines = [(0.5, "p50"), (0.99, "p99")].map(|(q, name)| {
            (q, Series { name: name.to_owned(), points: Vec::new(), dashed: false })
        });
        for column in 0..columns.len().div_ceil(SPAN).min(COLUMNS / SPAN) {
            let counts = timing.column(column);
            let from = columns.time(column * SPAN);
            let next = (column + 1) * SPAN;
            let to = if next < columns.len() { columns.time(next) } else { self.time.1 };
            for (row, calls) in counts.buckets.iter().enumerate().filter(|(_, calls)| **calls > 0) {
                (low, high) = (low.min(row), high.max(row));
                cells.push((from, to, row, *calls));
            }
            for (q, series) in &mut lines {
                // Rows are quarters of octaves; a value lies within its row.
                let row = counts
                    .quantile(*q)
                    .map_or(f64::NAN, |value| 4.0 * (value / upper_bound(0)).log2());
                series.points.push(((from + to) / 2.0, row));
            }
        }
        if cells.is_empty() {
            return String::new();
        }
        let title = timing.name.to_string();
        let chart = self.chart(&title, "how many calls took how long", seconds);
        let lines = lines.map(|(_, series)| series);
        chart.heatmap(&cells, (low, high), |row| seconds(upper_bound(row)), &lines)
    }

    pub(super) fn pools(&self, out: &mut String) {
        let key = s::DB_CLIENT_CONNECTION_POOL_NAME;
        let mut pools: BTreeMap<&str, Vec<Series>> = BTreeMap::new();
        for line in self.history.lines_of(s::DB_CLIENT_CONNECTION_COUNT) {
            let state = line.label(s::DB_CLIENT_CONNECTION_STATE).to_owned();
            pools.entry(line.label(key)).or_default().push(self.series(line, state));
        }
        if pools.is_empty() {
            return;
        }
        let more = [
            (s::DB_CLIENT_CONNECTION_PENDING_REQUESTS, "waiting", false),
            (s::DB_CLIENT_CONNECTION_MAX, "most", true),
        ];
        for (metric, name, dashed) in more {
            for line in self.history.lines_of(metric) {
                if let Some(series) = pools.get_mut(line.label(key)) {
                    series.push(Series { dashed, ..self.series(line, name.to_owned()) });
                }
            }
        }
        out.push_str("<h2 id=\"pools\">Pools</h2><div class=\"grid\">");
        for (name, series) in pools.iter().take(6) {
            let title = format!("Connections of {name}");
            out.push_str(&self.chart(&title, "", number).lines(series));
        }
        for (timing, _) in self.by_slowness(&[TimingKind::PoolWait]).iter().take(2) {
            let title = format!("Waits for {}", timing.name);
            let figure = self.heatmap(timing);
            // Its own name is that of the pool.
            let plain = format!("<figcaption><b>{}</b>", super::markup::Text(&timing.name));
            let named = format!("<figcaption><b>{}</b>", super::markup::Text(&title));
            out.push_str(&figure.replacen(&plain, &named, 1));
        }
        out.push_str("</div>");
    }

    /// Where each alert stood, as far as transitions are remembered.
    pub(super) fn timeline(&self, out: &mut String) {
        let transitions = &self.history.transitions;
        /// An alert's lane in the making, and the state it is in since when.
        struct Row<'t> {
            of: &'t Transition,
            lane: Lane,
            open: Option<(f64, State)>,
        }
        let mut rows: Vec<Row<'_>> = Vec::new();
        for transition in transitions {
            let at = self.mono_of(transition.at);
            let known = rows.iter().position(|row| row.of.is_same_alert(transition));
            let known = known.unwrap_or_else(|| {
                let lane = Lane { name: row_name(transition), spans: Vec::new() };
                rows.push(Row { of: transition, lane, open: None });
                rows.len() - 1
            });
            let Row { lane, open, .. } = &mut rows[known];
            if let Some((since, state)) = open.take() {
                lane.spans.push(span(since, at, state));
            } else if matches!(transition.from, State::Pending | State::Firing)
                && lane.spans.is_empty()
            {
                // It began before what is remembered.
                lane.spans.push(span(self.time.0, at, transition.from));
            }
            if matches!(transition.to, State::Pending | State::Firing) {
                *open = Some((at, transition.to));
            }
        }
        // What began before what is remembered, and still fires, stands first.
        let long = self.history.firing.iter().filter(|firing| {
            !transitions.iter().any(|transition| transition.is_same_alert(firing))
        });
        let long = long.map(|firing| Lane {
            name: row_name(firing),
            spans: vec![span(self.mono_of(firing.at), self.time.1, State::Firing)],
        });
        let recent = rows
            .into_iter()
            .map(|Row { mut lane, open, .. }| {
                lane.spans.extend(open.map(|(since, state)| span(since, self.time.1, state)));
                lane
            })
            .filter(|lane| !lane.spans.is_empty());
        let rows: Vec<_> = long.chain(recent).collect();
        if rows.is_empty() {
            return;
        }
        out.push_str("<h2 id=\"timeline\">Alerts over time</h2>");
        out.push_str(&self.chart("", "", seconds).timeline(&rows));
        out.push_str("<ul class=\"legend\"><li><i style=\"color:var(--amber)\"></i>pending</li><li><i style=\"color:var(--red)\"></i>firing</li></ul>");
    }
}

fn span(from: f64, to: f64, state: State) -> Span {
    let class = if state == State::Firing { "firing" } else { "pending" };
    let words = format!("{state} for {}", seconds((to - from).max(0.0).round()));
    Span { from, to, class, words }
}

/// The alert's name and what tells it from others of that name.
fn row_name(transition: &Transition) -> String {
    let mut name = format!("{} {}", transition.rule.name, transition.rule.severity);
    for (key, value) in transition.labels.iter() {
        if key != "alertname" && transition.rule.labels.get(key).is_none() {
            name += &format!(" {value}");
        }
    }
    name
}
