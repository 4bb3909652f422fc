//! Who holds the memory, who takes more of it, and how long that can go on.

use super::{NOW, bytes, percent, seconds};
use crate::{
    event::{Evidence, short},
    history::{History, Line},
    name::Unit,
    semconv as s,
};

/// Components named one by one.
const TOP: usize = 5;

pub(super) fn gather(level: Option<&str>, history: &History, evidence: &mut Evidence) {
    let level = level.or_else(|| binding(history)).unwrap_or_default().to_owned();
    let of_level = |metric: &str| history.line(metric, s::LEVEL, &level).and_then(Line::now);
    let (usage, limit) = (of_level(s::MEMORY_USAGE), of_level(s::MEMORY_LIMIT));
    if let Some((usage, limit)) = usage.zip(limit) {
        let text = format!(
            "{} of {} in use at {level} ({})",
            bytes(usage),
            bytes(limit),
            percent(usage / limit)
        );
        evidence.fact("memory.usage", &level, usage, Unit::BYTES, text);
    }
    if let Some(left) = of_level(s::MEMORY_TIME_TO_LIMIT) {
        let text = format!("the limit is reached in {} at this rate", seconds(left));
        evidence.fact("memory.time_to_limit", &level, left, Unit::SECONDS, text);
    } else if let Some(left) = history.runway() {
        let text = format!("a limit is reached in {} at the growth of this moment", seconds(left));
        evidence.fact("memory.runway", "", left, Unit::SECONDS, text);
    }
    let process = history.line(s::PROCESS_MEMORY_USAGE, "", "");
    let resident = process.and_then(Line::now);
    let growth = process.and_then(|line| history.rise(line, NOW));
    if let Some((rise, time)) = growth {
        let text = format!(
            "this process {} {} in {}",
            if rise < 0.0 { "gave back" } else { "grew by" },
            bytes(rise.abs()),
            seconds(time.round())
        );
        evidence.fact("memory.growth", "", rise / time, Unit::known("By/s"), text);
    }
    components(history, resident, growth, evidence);
    profile(history, evidence);
    neighbours(&level, usage, resident, evidence);
    pressure(history, evidence);
}

/// The level that binds.
fn binding(history: &History) -> Option<&str> {
    history
        .lines_of(s::MEMORY_BINDING)
        .find(|line| line.now() == Some(1.0))
        .map(|l| l.label(s::LEVEL))
}

fn components(
    history: &History,
    resident: Option<f64>,
    growth: Option<(f64, f64)>,
    evidence: &mut Evidence,
) {
    let mut held: Vec<_> = history
        .lines_of(s::COMPONENT_MEMORY_USAGE)
        .filter_map(|line| Some((line, line.now()?, history.rise(line, NOW))))
        .collect();
    held.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (line, usage, rise) in held.iter().take(TOP).filter(|(_, usage, _)| *usage > 0.0) {
        let name = short(line.label(s::COMPONENT_NAME));
        let mut text = format!("{name} holds {}", bytes(*usage));
        if let Some(share) = resident.map(|resident| usage / resident).filter(|share| *share <= 1.0)
        {
            text += &format!(" ({} of this process)", percent(share));
        }
        if let Some((rise, time)) = rise.filter(|(rise, _)| *rise > 0.0) {
            text += &format!(", {} more than {} ago", bytes(rise), seconds(time.round()));
        }
        evidence.fact("memory.component", name, *usage, Unit::BYTES, text);
    }
    // What grew explains a growth; what is large explains a level.
    let total = growth.filter(|(rise, _)| *rise > 0.0);
    let grown: f64 = held.iter().filter_map(|(.., rise)| Some(rise.as_ref()?.0.max(0.0))).sum();
    for (line, usage, rise) in &held {
        let name = short(line.label(s::COMPONENT_NAME));
        let of_it = |metric: &str| {
            let name = line.label(s::COMPONENT_NAME);
            history.line(metric, s::COMPONENT_NAME, name).and_then(Line::now)
        };
        let requests = of_it(s::COMPONENT_REQUESTS).filter(|count| *count >= 1.0);
        // Not what it holds by their number: it may hold more than their state.
        let per_request = requests.zip(of_it(s::COMPONENT_MEMORY_PER_REQUEST)).map_or_else(
            String::new,
            |(count, each)| {
                let all = count * each;
                let what = if all >= 0.9 * usage { "the state of" } else { "of it the state of" };
                format!(": {what} {count} requests in flight, {} each", bytes(each))
            },
        );
        if let (Some((rise, time)), Some((whole, _))) = (rise, total)
            && *rise > 0.0
        {
            let share = (rise / whole.max(grown)).min(1.0);
            let text = format!(
                "{name} grew by {} in {}, {} of what this process gained{per_request}",
                bytes(*rise),
                seconds(time.round()),
                percent(share),
            );
            evidence.cause(share, text);
        } else if let Some(resident) = resident.filter(|resident| *resident > 0.0) {
            let share = (usage / resident).min(1.0);
            let text = format!(
                "{name} holds {} of this process' memory and does not grow{per_request}",
                percent(share)
            );
            evidence.cause(share * 0.6, text);
        }
    }
    if let Some((whole, time)) = total.filter(|(whole, _)| *whole > 0.0) {
        let unknown = ((whole - grown) / whole).max(0.0);
        if unknown > 0.5 && resident.is_some_and(|resident| whole > resident * 0.02) {
            let text = format!(
                "no component accounts for {} of the {} gained in {}: something that is not measured, or what the allocator keeps",
                percent(unknown),
                bytes(whole),
                seconds(time.round())
            );
            evidence.cause(unknown * 0.8, text);
        }
    }
}

/// Where the newest heap profile is, if any was written within the hour.
fn profile(history: &History, evidence: &mut Evidence) {
    let written = history.lines_of(s::ALLOCATOR_PROFILE_TIME);
    let newest = written
        .filter_map(|line| Some((line, line.now()?)))
        .max_by(|(_, a), (_, b)| a.total_cmp(b));
    let now = history.at.wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    if let Some((line, at)) = newest
        && now.as_secs_f64() - at < 3_600.0
    {
        let path = line.label(s::FILE_PATH);
        let text = format!("a heap profile of this is in {path}");
        evidence.fact("memory.profile", path, at, Unit::SECONDS, text);
    }
}

/// At a level that is shared, others may be it.
fn neighbours(level: &str, usage: Option<f64>, resident: Option<f64>, evidence: &mut Evidence) {
    let Some((usage, resident)) = usage.zip(resident).filter(|(usage, _)| *usage > 0.0) else {
        return;
    };
    let others = 1.0 - resident / usage;
    if others > 0.3 && (level == "host" || level.starts_with("cgroup")) {
        let text = format!(
            "{} of what is in use at {level} is not this process: look at its neighbours",
            percent(others)
        );
        evidence.cause(others * 0.7, text);
    }
}

fn pressure(history: &History, evidence: &mut Evidence) {
    for stall in ["some", "full"] {
        let share = stalls_of(history, stall);
        if let Some(share) = share.filter(|share| *share > 0.001) {
            let who = if stall == "some" { "some tasks" } else { "all tasks" };
            let text = format!("{who} waited for memory {} of the last 10 s", percent(share));
            let key = if stall == "some" { "pressure.some" } else { "pressure.full" };
            evidence.fact(key, "memory", share, Unit::ONE, text);
            if stall == "full" && share > 0.1 {
                let text = format!(
                    "the machine is thrashing: work stood still {} of the last 10 s waiting for memory",
                    percent(share)
                );
                evidence.cause(share.min(1.0) * 0.9, text);
            }
        }
    }
}

/// The greatest share of the time some or all tasks waited for memory.
fn stalls_of(history: &History, stall: &str) -> Option<f64> {
    let lines = history.lines_of(s::PRESSURE_AVG10);
    lines
        .filter(|line| line.label(s::RESOURCE) == "memory" && line.label(s::STALL) == stall)
        .filter_map(Line::now)
        .max_by(f64::total_cmp)
}

/// Memory in a line, for an alert that is about something else.
pub(super) fn overview(history: &History, evidence: &mut Evidence) {
    if let Some(share) = history.now(s::MEMORY_BINDING_UTILIZATION) {
        let text = format!("memory is at {} of its limit", percent(share));
        evidence.fact("memory.utilization", "", share, Unit::ONE, text);
    }
}

/// Whether tasks wait for memory, as a share of the time.
pub(super) fn waits_for_memory(history: &History) -> Option<f64> {
    stalls_of(history, "some")
}
