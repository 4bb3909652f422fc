//! Whether the process got to run. If it did not, everything in it is late, and waits, holds and
//! queries all look slow without any of them being to blame.

use super::{NOW, percent, seconds};
use crate::{
    event::{Evidence, short},
    history::{History, Line},
    name::Unit,
    semconv as s,
};

/// A sign: how much of what is late it would explain, from 0 to 1, and why.
type Sign = (f64, String);

/// Tells what there is of it, and how much of what is late it explains: what remains is for others.
pub(super) fn gather(history: &History, evidence: &mut Evidence) -> f64 {
    let signs =
        [throttled(history, evidence), pressed(history, evidence), stalled(history, evidence)];
    let strongest = signs.into_iter().flatten().max_by(|(a, _), (b, _)| a.total_cmp(b));
    let Some((share, why)) = strongest.filter(|(share, _)| *share >= 0.1) else { return 0.0 };
    let text = format!(
        "the process is starved: {why}; queries, waits and holds all seem longer than they are"
    );
    evidence.cause(0.4 + 0.6 * share, text);
    share
}

/// By its quota.
fn throttled(history: &History, evidence: &mut Evidence) -> Option<Sign> {
    let gained = |metric| history.lines_of(metric).find_map(|line| history.gained(line, NOW));
    let periods = gained(s::CPU_PERIODS).filter(|periods| *periods > 0.0)?;
    let share = (gained(s::CPU_THROTTLED_PERIODS)? / periods).min(1.0);
    if share < 0.05 {
        return None;
    }
    let why = format!(
        "its quota kept it from the processor in {} of the periods of the last minute",
        percent(share)
    );
    evidence.fact("cpu.throttled", "", share, Unit::ONE, why.clone());
    Some(((share * 2.0).min(0.95), why))
}

/// By others, or by itself: more wants to run than there are processors.
fn pressed(history: &History, evidence: &mut Evidence) -> Option<Sign> {
    let share = history
        .lines_of(s::PRESSURE_AVG10)
        .filter(|line| line.label(s::RESOURCE) == "cpu" && line.label(s::STALL) == "some")
        .filter_map(Line::now)
        .max_by(f64::total_cmp)
        .filter(|share| *share > 0.1)?;
    let why = format!("tasks waited for a processor {} of the last 10 s", percent(share));
    evidence.fact("pressure.cpu", "cpu", share, Unit::ONE, why.clone());
    // A busy machine is not yet a starved one.
    Some((((share - 0.3) / 0.7).clamp(0.0, 0.9), why))
}

/// By a call that blocks what should poll.
fn stalled(history: &History, evidence: &mut Evidence) -> Option<Sign> {
    let worst = |metric| {
        let lines = history.lines_of(metric);
        lines
            .filter_map(|line| Some((history.most(line, NOW)?, short(line.label(s::RUNTIME)))))
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
    };
    let mut sign: Option<Sign> = None;
    let mut add = |share: f64, why: String| {
        if sign.as_ref().is_none_or(|(other, _)| *other < share) {
            sign = Some((share, why));
        }
    };
    if let Some((stall, name)) = worst(s::TOKIO_STALL).filter(|(stall, _)| *stall > 0.25) {
        let why =
            format!("the runtime {name} stood still for {} within the last minute", seconds(stall));
        evidence.fact("runtime.stall", name, stall, Unit::SECONDS, why.clone());
        add((stall / 2.0).min(0.95), why);
    }
    if let Some((stall, name)) = worst(s::TOKIO_WORKER_STALL).filter(|(stall, _)| *stall > 0.5) {
        let why = format!(
            "a worker of the runtime {name} was held up for {} within the last minute",
            seconds(stall)
        );
        evidence.fact("runtime.worker_stall", name, stall, Unit::SECONDS, why.clone());
        // The others go on.
        add((stall / 4.0).min(0.5), why);
    }
    let busy = history.lines_of(s::TOKIO_BUSY_UTILIZATION);
    let busy = busy
        .filter_map(|line| Some((history.mean(line, NOW)?, short(line.label(s::RUNTIME)))))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    if let Some((share, name)) = busy.filter(|(share, _)| *share > 0.8) {
        let why = format!(
            "the workers of the runtime {name} were busy {} of the last minute",
            percent(share)
        );
        evidence.fact("runtime.busy", name, share, Unit::ONE, why.clone());
        add((share - 0.8) * 4.0, why);
    }
    sign
}
