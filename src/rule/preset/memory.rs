//! How close the wall is.

use super::{ratio, seconds};
use crate::{
    event::Severity,
    rule::{Condition, Rule, alert, all},
    semconv,
};

pub(super) fn rules() -> Vec<Rule> {
    near_the_limit().into()
}

/// The binding memory ratio, but for a host that others fill: there our own share must count.
fn memory_above(threshold: f64, clear: f64) -> Condition {
    let ratio = || ratio(semconv::MEMORY_UTILIZATION);
    let small_on_a_host = all([
        ratio().label(semconv::LEVEL, "host").at_least(0.0),
        super::ratio(semconv::PROCESS_MEMORY_UTILIZATION).below(0.25).on([]),
    ]);
    ratio().above(threshold).clear_below(clear).unless(small_on_a_host)
}

fn near_the_limit() -> [Rule; 2] {
    [
        alert("MemoryNearLimit")
            .when(memory_above(0.85, 0.78))
            .hold_for(seconds(60))
            .keep_firing_for(seconds(60))
            .severity(Severity::Warning)
            .summary("{{ value }} of the memory limit is in use")
            .description("Nothing has failed yet: read in the evidence which component grew."),
        alert("MemoryCritical")
            .when(memory_above(0.95, 0.88))
            .hold_for(seconds(5))
            .keep_firing_for(seconds(30))
            .severity(Severity::Critical)
            .summary("{{ value }} of the memory limit is in use")
            .description(
                "You have seconds to minutes: shed load or add an instance now, diagnose later.",
            ),
    ]
}
