//! Charts as SVG without a word in it: words are HTML around it, so that they keep their size
//! whatever the width. Nothing here is a script.

use std::fmt::Write as _;

use super::markup::Text;

/// The coordinates a chart is drawn in; the page stretches it.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 160.0;

pub(super) struct Series {
    pub(super) name: String,
    /// Seconds since the origin, value; NaN is a gap.
    pub(super) points: Vec<(f64, f64)>,
    pub(super) dashed: bool,
}

impl Series {
    pub(super) fn last(&self) -> Option<f64> {
        self.points.iter().rev().map(|(_, value)| *value).find(|value| value.is_finite())
    }

    fn most(&self) -> f64 {
        self.points.iter().map(|(_, value)| *value).filter(|v| v.is_finite()).fold(0.0, f64::max)
    }
}

/// A horizontal line at which a rule holds.
pub(super) struct Mark {
    pub(super) at: f64,
    pub(super) severity: &'static str,
    pub(super) name: String,
}

/// One state of an alert over time.
pub(super) struct Span {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) class: &'static str,
    pub(super) words: String,
}

/// What is beside each other in time.
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) spans: Vec<Span>,
}

pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) note: &'a str,
    pub(super) format: fn(f64) -> String,
    /// From when to when.
    pub(super) time: (f64, f64),
    pub(super) most: Option<f64>,
    pub(super) marks: Vec<Mark>,
    pub(super) stacked: bool,
}

impl Chart<'_> {
    fn x(&self, at: f64) -> f64 {
        let (from, to) = self.time;
        ((at - from) / (to - from).max(1e-9)).clamp(0.0, 1.0) * WIDTH
    }

    /// A figure with lines; nothing where there is nothing to draw.
    pub(super) fn lines(&self, series: &[Series]) -> String {
        let drawn: Vec<_> = series.iter().filter(|series| series.last().is_some()).collect();
        if drawn.is_empty() {
            return String::new();
        }
        let tallest = if self.stacked {
            stack_height(&drawn)
        } else {
            drawn.iter().map(|series| series.most()).fold(0.0, f64::max)
        };
        let marks = self.marks.iter().map(|mark| mark.at).fold(0.0, f64::max);
        let most = self.most.unwrap_or(tallest.max(marks) * 1.05).max(1e-9);
        let y = |value: f64| HEIGHT - (value / most).clamp(0.0, 1.0) * HEIGHT;
        let mut svg = String::new();
        for mark in self.marks.iter().filter(|mark| mark.at <= most) {
            _ = write!(
                svg,
                r#"<line class="mark {}" x1="0" x2="{WIDTH}" y1="{2:.1}" y2="{2:.1}"><title>{1}</title></line>"#,
                mark.severity,
                Text(&mark.name),
                y(mark.at)
            );
        }
        if self.stacked {
            self.stack(&drawn, y, &mut svg);
        } else {
            for (at, series) in drawn.iter().enumerate() {
                let mut path = String::new();
                let mut pen = false;
                for (x, value) in &series.points {
                    if value.is_finite() {
                        let verb = if pen { 'L' } else { 'M' };
                        _ = write!(path, "{verb}{:.1} {:.1}", self.x(*x), y(*value));
                    }
                    pen = value.is_finite();
                }
                let dashed = if series.dashed { " dashed" } else { "" };
                _ = write!(
                    svg,
                    r#"<path class="c{}{dashed}" d="{path}" data-name="{}" data-last="{}"/>"#,
                    at % 8,
                    Text(&series.name),
                    series.last().unwrap_or_default()
                );
            }
        }
        self.figure(most, &svg, &legend(&drawn, self.format), HEIGHT)
    }

    /// Areas, the first at the bottom.
    fn stack(&self, drawn: &[&Series], y: impl Fn(f64) -> f64, svg: &mut String) {
        let columns = drawn.first().map_or(0, |series| series.points.len());
        let mut below = vec![0.0; columns];
        for (at, series) in drawn.iter().enumerate() {
            let mut path = String::new();
            let mut tops = below.clone();
            for (column, (x, value)) in series.points.iter().enumerate() {
                if let Some(top) = tops.get_mut(column) {
                    *top += if value.is_finite() { *value } else { 0.0 };
                    let verb = if column == 0 { 'M' } else { 'L' };
                    _ = write!(path, "{verb}{:.1} {:.1}", self.x(*x), y(*top));
                }
            }
            for (column, (x, _)) in series.points.iter().enumerate().rev() {
                let bottom = below.get(column).copied().unwrap_or(0.0);
                _ = write!(path, "L{:.1} {:.1}", self.x(*x), y(bottom));
            }
            below = tops;
            _ = write!(
                svg,
                r#"<path class="a{}" d="{path}Z" data-name="{}" data-last="{}"/>"#,
                at % 8,
                Text(&series.name),
                series.last().unwrap_or_default()
            );
        }
    }

    fn figure(&self, most: f64, svg: &str, legend: &str, height: f64) -> String {
        let (from, to) = self.time;
        let ago = (to - from).round();
        let ago = if ago >= 120.0 {
            format!("{:.0} min ago", ago / 60.0)
        } else {
            format!("{ago:.0} s ago")
        };
        // What the top stands for, so that a test can tell that lines are where their data is.
        let scale = if most > 0.0 { format!(r#" data-most="{most}""#) } else { String::new() };
        let most = if most > 0.0 { (self.format)(most) } else { String::new() };
        format!(
            r#"<figure><figcaption><b>{}</b> <span>{}</span></figcaption><div class="plot"><span class="most">{most}</span><svg viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" role="img" aria-label="{}"{scale}>{svg}</svg></div><div class="axis"><span>{ago}</span><span>now</span></div>{legend}</figure>"#,
            Text(self.title),
            Text(self.note),
            Text(self.title)
        )
    }

    /// Cells of a heatmap (column's begin and end, row, count) over rows named at both ends, with
    /// lines over it in rows.
    pub(super) fn heatmap(
        &self,
        cells: &[(f64, f64, usize, u64)],
        rows: (usize, usize),
        names: impl Fn(usize) -> String,
        over: &[Series],
    ) -> String {
        let (low, high) = rows;
        let count = (high + 1).saturating_sub(low).max(1) as f64;
        let most = cells.iter().map(|(.., count)| *count).max().unwrap_or(1).max(1) as f64;
        let height = HEIGHT / count;
        let mut svg = String::new();
        for (from, to, row, calls) in cells {
            let (x, end) = (self.x(*from), self.x(*to));
            let top = HEIGHT - (row.saturating_sub(low) as f64 + 1.0) * height;
            // The root, so that the few slow ones are seen beside the many.
            let opacity = 0.12 + 0.88 * (*calls as f64 / most).sqrt();
            _ = write!(
                svg,
                r#"<rect class="heat" x="{x:.1}" y="{top:.1}" width="{:.1}" height="{height:.1}" opacity="{opacity:.2}"><title>{calls} calls, up to {}</title></rect>"#,
                (end - x).max(1.0),
                names(*row)
            );
        }
        for (at, series) in over.iter().enumerate() {
            let mut path = String::new();
            let mut pen = false;
            for (x, row) in &series.points {
                if row.is_finite() {
                    let y = HEIGHT - (row - low as f64 + 1.0) * height;
                    let verb = if pen { 'L' } else { 'M' };
                    _ = write!(path, "{verb}{:.1} {:.1}", self.x(*x), y.clamp(0.0, HEIGHT));
                }
                pen = row.is_finite();
            }
            _ = write!(
                svg,
                r#"<path class="q{at}" d="{path}" data-name="{}"/>"#,
                Text(&series.name)
            );
        }
        let legend: String = over
            .iter()
            .enumerate()
            .map(|(at, series)| format!(r#"<li><i class="q{at}"></i>{}</li>"#, Text(&series.name)))
            .collect();
        let figure = self.figure(0.0, &svg, &format!("<ul class=\"legend\">{legend}</ul>"), HEIGHT);
        let ends = format!(
            r#"<span class="most">{}</span><span class="least">{}</span>"#,
            names(high),
            names(low)
        );
        figure.replacen(r#"<span class="most"></span>"#, &ends, 1)
    }

    /// One row for each lane.
    pub(super) fn timeline(&self, lanes: &[Lane]) -> String {
        let mut html = String::new();
        for Lane { name, spans } in lanes {
            let mut svg = String::new();
            for Span { from, to, class, words } in spans {
                let (x, end) = (self.x(*from), self.x(*to));
                _ = write!(
                    svg,
                    r#"<rect class="{class}" x="{x:.1}" y="0" width="{:.1}" height="20"><title>{}</title></rect>"#,
                    (end - x).max(2.0),
                    Text(words)
                );
            }
            _ = write!(
                html,
                r#"<div class="lane"><span>{}</span><svg viewBox="0 0 {WIDTH} 20" preserveAspectRatio="none" role="img" aria-label="{}">{svg}</svg></div>"#,
                super::markup::Name(name),
                Text(name)
            );
        }
        html
    }
}

fn stack_height(drawn: &[&Series]) -> f64 {
    let columns = drawn.iter().map(|series| series.points.len()).max().unwrap_or(0);
    let at = |series: &Series, column: usize| {
        series.points.get(column).map(|(_, value)| *value).filter(|v| v.is_finite()).unwrap_or(0.0)
    };
    (0..columns)
        .map(|column| drawn.iter().map(|series| at(series, column)).sum::<f64>())
        .fold(0.0, f64::max)
}

fn legend(drawn: &[&Series], format: fn(f64) -> String) -> String {
    let mut html = String::from("<ul class=\"legend\">");
    for (at, series) in drawn.iter().enumerate() {
        let dashed = if series.dashed { " dashed" } else { "" };
        _ = write!(
            html,
            r#"<li><i class="c{}{dashed}"></i>{} <b>{}</b></li>"#,
            at % 8,
            super::markup::Name(&series.name),
            series.last().map_or_else(String::new, format)
        );
    }
    html + "</ul>"
}
