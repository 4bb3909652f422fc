//! A scenario's file: what a machine says over time, and which alerts that must raise. The format
//! is in `tests/scenarios/README.md`.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use highwater::{
    Rehearsal,
    alert::Severity,
    rule::preset,
    sample::harness::{Machine, Told},
};

/// What must be of one alert.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) alert: String,
    /// `None`: it may stay away.
    pub(crate) before: Option<Before>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Before {
    TheEnd,
    /// So long before the limit is reached.
    TheWall(f64),
    /// After so long from the start at the latest.
    Time(f64),
}

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) expected: Vec<Expected>,
    tick: f64,
    noise: f64,
    repeat: usize,
    /// Whether the kernel tells of pressure.
    pressure: bool,
    limit: Option<f64>,
    columns: Vec<String>,
    rows: Vec<Vec<f64>>,
}

/// Something an alert did.
#[derive(Debug, Clone)]
pub(crate) struct Fired {
    pub(crate) alert: String,
    pub(crate) from: f64,
    pub(crate) until: Option<f64>,
}

#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) fired: Vec<Fired>,
    /// When the limit was reached.
    pub(crate) wall: Option<f64>,
}

const COLUMNS: [&str; 18] = [
    "time",
    "anonymous",
    "cache",
    "shared",
    "freed",
    "limit",
    "host",
    "others",
    "some10",
    "some60",
    "full10",
    "full60",
    "faults",
    "swap_in",
    "swap_out",
    "kills",
    "noise",
    "comment",
];

impl Scenario {
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Self::parse(&name.unwrap_or_default(), &text)
    }

    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut scenario = Self {
            name: name.to_owned(),
            about: String::new(),
            expected: Vec::new(),
            tick: 1.0,
            noise: 0.0,
            repeat: 1,
            pressure: true,
            limit: Told::default().limit,
            columns: Vec::new(),
            rows: Vec::new(),
        };
        let mut told = false;
        for (at, line) in text.lines().enumerate() {
            let wrong = |why: String| format!("{name}, line {}: {line:?}: {why}", at + 1);
            let line = line.trim();
            if let Some(comment) = line.strip_prefix('#') {
                told |= scenario.directive(comment.trim()).map_err(wrong)?;
            } else if line.is_empty() {
            } else if scenario.columns.is_empty() {
                scenario.columns = line.split(',').map(|column| column.trim().to_owned()).collect();
                let unknown =
                    scenario.columns.iter().find(|column| !COLUMNS.contains(&column.as_str()));
                if let Some(unknown) = unknown {
                    return Err(wrong(format!(
                        "no column {unknown:?}, but {}",
                        COLUMNS.join(", ")
                    )));
                }
                if scenario.columns.first().is_none_or(|first| first != "time") {
                    return Err(wrong("the first column must be `time`".to_owned()));
                }
            } else {
                let row: Result<Vec<f64>, String> = line
                    .split(',')
                    .zip(&scenario.columns)
                    .map(|(field, column)| match column.as_str() {
                        "comment" => Ok(0.0),
                        "limit" if field.trim() == "none" => Ok(0.0),
                        _ => quantity(field, scenario.limit),
                    })
                    .collect();
                let row = row.map_err(wrong)?;
                if row.len() != scenario.columns.len() {
                    return Err(wrong(format!("{} fields are wanted", scenario.columns.len())));
                }
                if scenario.rows.last().is_some_and(|last| row[0] < last[0]) {
                    return Err(wrong("time steps back".to_owned()));
                }
                scenario.rows.push(row);
            }
        }
        if !told {
            return Err(format!("{name}: no `# expect:` line"));
        }
        if scenario.rows.len() < 2 {
            return Err(format!("{name}: fewer than two rows"));
        }
        Ok(scenario)
    }

    /// Whether it says what is expected.
    fn directive(&mut self, line: &str) -> Result<bool, String> {
        let Some((key, value)) = line.split_once(':') else {
            self.about = format!("{} {line}", self.about).trim().to_owned();
            return Ok(false);
        };
        let value = value.trim();
        match key.trim() {
            "psi" if value == "none" => self.pressure = false,
            "psi" => return Err("`psi: none`, or no such line".to_owned()),
            "limit" if value == "none" => self.limit = None,
            "limit" => self.limit = Some(quantity(value, None)?),
            "noise" => self.noise = quantity(value, self.limit)?,
            "tick" => self.tick = quantity(value, None)?,
            "repeat" => self.repeat = value.parse().map_err(|_| "a number is wanted")?,
            "expect" if value == "silence" => return Ok(true),
            "expect" => {
                let mut words = value.split_whitespace();
                let alert = words.next().unwrap_or_default().to_owned();
                let before = match (words.next(), words.next(), words.next()) {
                    (None, ..) => Before::TheEnd,
                    (Some(time), Some("before"), Some("wall")) => {
                        Before::TheWall(quantity(time, None)?)
                    }
                    (Some("by"), Some(time), None) => Before::Time(quantity(time, None)?),
                    _ => return Err("`NAME`, `NAME 30s before wall` or `NAME by 60s`".to_owned()),
                };
                self.expected.push(Expected { alert, before: Some(before) });
                return Ok(true);
            }
            "allow" => {
                let alert = value.to_owned();
                self.expected.push(Expected { alert, before: None });
            }
            _ => self.about = format!("{} {line}", self.about).trim().to_owned(),
        }
        Ok(false)
    }

    /// How long it lasts, in seconds.
    pub(crate) fn length(&self) -> f64 {
        self.span() * self.repeat as f64
    }

    fn span(&self) -> f64 {
        self.rows.last().map_or(0.0, |row| row[0])
    }

    /// Between two rows in proportion; of two rows at one time the later holds from then on.
    fn at(&self, time: f64, column: &str) -> Option<f64> {
        let column = self.columns.iter().position(|known| known == column)?;
        let time = match self.span() {
            span if span > 0.0 && time < self.length() => time % span,
            span => span,
        };
        let next = self.rows.partition_point(|row| row[0] <= time);
        let before = self.rows.get(next.saturating_sub(1))?;
        let Some(after) = self.rows.get(next) else { return Some(before[column]) };
        let share = ((time - before[0]) / (after[0] - before[0])).clamp(0.0, 1.0);
        Some(before[column] + share * (after[column] - before[column]))
    }

    fn told(&self, time: f64, totals: &mut Totals) -> Told {
        let mut told = Told::default();
        told.limit = match self.at(time, "limit") {
            Some(limit) => Some(limit).filter(|limit| *limit > 0.0),
            None => self.limit,
        };
        let value = |column| self.at(time, column);
        let noise = value("noise").unwrap_or(self.noise) * noise(time as u64);
        told.anonymous = (value("anonymous").unwrap_or(0.0) + noise).max(0.0);
        told.cache = value("cache").unwrap_or(0.0);
        told.shared = value("shared").unwrap_or(0.0);
        told.freed = value("freed").unwrap_or(0.0);
        told.host = value("host").unwrap_or(told.host);
        told.others = value("others").unwrap_or(told.others);
        told.some = ["some10", "some60"].map(|column| value(column).unwrap_or(0.0));
        told.full = ["full10", "full60"].map(|column| value(column).unwrap_or(0.0));
        told.kills = value("kills").unwrap_or(0.0);
        let rate = |column| value(column).unwrap_or(0.0) * self.tick;
        totals.faults += rate("faults");
        totals.swapped[0] += rate("swap_in");
        totals.swapped[1] += rate("swap_out");
        (told.faults, told.swapped) = (totals.faults, totals.swapped);
        told
    }

    pub(crate) fn play(&self) -> Played {
        let mut machine = Machine::new().unwrap();
        if !self.pressure {
            machine = machine.without_pressure().unwrap();
        }
        let tick = Duration::from_secs_f64(self.tick);
        let mut stage = Rehearsal::new(machine.samplers(), preset::all(tick), tick).unwrap();
        let (mut totals, mut wall) = (Totals::default(), None);
        let mut fired: Vec<Fired> = Vec::new();
        for step in 0..=(self.length() / self.tick) as u64 {
            let time = step as f64 * self.tick;
            let told = self.told(time, &mut totals);
            let used = told.anonymous - told.freed + told.shared;
            let (used, limit) = match told.limit {
                Some(limit) => (used, limit),
                None => (used + told.others, told.host),
            };
            if used >= limit {
                wall = Some(time);
            }
            machine.tell(&told).unwrap();
            stage.tick();
            let firing: BTreeSet<String> = stage
                .firing()
                .map(|of| match of.severity {
                    Severity::Critical => format!("{}/critical", of.name),
                    _ => of.name,
                })
                .collect();
            for of in &mut fired {
                if of.until.is_none() && !firing.contains(&of.alert) {
                    of.until = Some(time);
                }
            }
            for alert in firing {
                if !fired.iter().any(|of| of.alert == alert && of.until.is_none()) {
                    fired.push(Fired { alert, from: time, until: None });
                }
            }
            if wall.is_some() {
                // What is at the wall is killed: nothing it says afterwards counts.
                break;
            }
        }
        Played { fired, wall }
    }

    /// What is not as expected.
    pub(crate) fn judge(&self, played: &Played) -> Vec<String> {
        let mut wrong = Vec::new();
        let name = |alert: &str| alert.trim_end_matches("/critical").to_owned();
        for Expected { alert, before } in &self.expected {
            let Some(before) = before else { continue };
            let first =
                played.fired.iter().find(|of| of.alert == *alert || name(&of.alert) == *alert);
            match (first, before) {
                (None, _) => wrong.push(format!("{alert} did not fire")),
                (Some(_), Before::TheEnd) => {}
                (Some(first), Before::Time(time)) if first.from > *time => {
                    wrong.push(format!("{alert} fired at {}, not by {time}", first.from));
                }
                (Some(_), Before::Time(_)) => {}
                (Some(first), Before::TheWall(lead)) => match played.wall {
                    None => wrong.push("the limit is never reached".to_owned()),
                    Some(wall) if wall - first.from < *lead => {
                        wrong
                            .push(format!("{alert} fired {} s before the wall", wall - first.from));
                    }
                    Some(_) => {}
                },
            }
        }
        for Fired { alert, from, .. } in &played.fired {
            let known =
                self.expected.iter().any(|of| of.alert == *alert || of.alert == name(alert));
            if !known {
                wrong.push(format!("{alert} fired at {from}"));
            }
        }
        wrong
    }
}

#[derive(Debug, Default)]
struct Totals {
    faults: f64,
    swapped: [f64; 2],
}

/// `12`, `12s`, `3min`, `64KiB`, `1.5GiB`, and `40%` of the limit.
fn quantity(text: &str, limit: Option<f64>) -> Result<f64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 =
        text[..digits].parse().map_err(|_| format!("{text:?} does not begin with a number"))?;
    let factor = match text[digits..].trim() {
        "" | "s" | "B" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "%" => limit.ok_or("a share of no limit")? / 100.0,
        unit => return Err(format!("{unit:?} is none of s, min, h, B, KiB, MiB, GiB, %")),
    };
    Ok(number * factor)
}

/// The same every time, within ±1.
fn noise(at: u64) -> f64 {
    let mixed = (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17).wrapping_mul(0x2545_f491);
    (mixed % 2_001) as f64 / 1_000.0 - 1.0
}
