//! What else a process runs out of.

use super::{ratio, seconds};
use crate::{
    event::Severity,
    rule::{Rule, alert},
    semconv,
};

pub(super) fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = file_descriptors().into();
    rules.push(threads());
    rules
}

fn threads() -> Rule {
    alert("ThreadExplosion")
        .when(ratio(semconv::TASK_UTILIZATION).above(0.80).clear_below(0.70))
        .hold_for(seconds(60))
        .severity(Severity::Warning)
        .summary("{{ value }} of the threads that the control group allows are there")
        .description("Group threads by name; a full blocking pool means a slow dependency.")
}

fn file_descriptors() -> [Rule; 2] {
    let rule = |threshold: f64, clear: f64, hold, severity| {
        alert("FileDescriptorExhaustion")
            .when(
                ratio(semconv::PROCESS_UNIX_FILE_DESCRIPTOR_UTILIZATION)
                    .above(threshold)
                    .clear_below(clear),
            )
            .hold_for(hold)
            .severity(severity)
            .summary("{{ value }} of the file descriptors are in use")
            .description(
                "List descriptors by type; sockets in CLOSE_WAIT mean a leak, not traffic.",
            )
    };
    [
        rule(0.80, 0.70, seconds(60), Severity::Warning),
        rule(0.95, 0.88, seconds(10), Severity::Critical),
    ]
}
