//! What is decided here must be known elsewhere.

use super::{ratio, seconds};
use crate::{
    event::Severity,
    rule::{Rule, alert, all, gauge},
    semconv,
};

/// Exists only where something is pushed somewhere.
pub(super) const NAME: &str = "DeliveryFailing";

/// Three causes, told apart by a label.
pub(super) fn rules() -> [Rule; 3] {
    let rule = |cause: &str, condition| {
        alert(NAME)
            .when(condition)
            .label("cause", cause)
            .severity(Severity::Warning)
            .description("Local decisions still work; dashboards and remote alerts are stale.")
    };
    // A backlog that drains is old too, but is taken: only to raise it must nothing be taken.
    let stale = all([
        gauge(semconv::EXPORT_QUEUE_AGE).at_least(seconds(60)).clear_below(seconds(60)),
        gauge(semconv::EXPORT_SUCCESS_AGE).above(seconds(300)).to_raise(),
    ]);
    // A refused request waits no longer, so nothing is old. Until one is taken, and not while others
    // are refused: the alert's own transitions may be what is refused.
    let refused = all([
        gauge(semconv::EXPORT_REFUSED_IN_A_ROW).at_least(1.0).clear_below(1.0),
        gauge(semconv::EXPORT_SUCCESS_AGE).above(seconds(300)).to_raise(),
    ]);
    // Files shrink a segment at a time: a spool that is drained is nearly empty.
    let full = ratio(semconv::SPOOL_UTILIZATION).above(0.80).clear_below(0.40);
    [
        rule("no_success", stale)
            .summary("{{ labels.signal }} have waited for {{ value }} and no receiver takes them"),
        rule("refused", refused)
            .hold_for(seconds(60))
            .summary("{{ value }} requests of {{ labels.signal }} in a row are refused and lost"),
        rule("spool_filling", full)
            .summary("{{ value }} of the spool is in use: soon the oldest metrics are dropped"),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::{
        clock::Moment,
        name::Labels,
        registry::{Collector, Registry},
        rule::Evaluator,
        sync::Arc,
    };

    /// What fires, minute by minute, by cause, given (oldest, since success, share of the spool).
    fn firing(minutes: &[(f64, f64, f64)]) -> Vec<String> {
        let minutes: Vec<_> = minutes.iter().map(|(a, b, c)| [*a, *b, *c, 0.0]).collect();
        firing_with_refusals(&minutes)
    }

    /// The same, and how many were refused in a row.
    fn firing_with_refusals(minutes: &[[f64; 4]]) -> Vec<String> {
        let registry = Arc::new(Registry::new(100));
        let moment = |minute: usize| {
            let mono = Duration::from_secs(60 * minute as u64);
            Moment { mono, wall: SystemTime::UNIX_EPOCH + mono }
        };
        let mut collector = Collector::new(registry.clone(), moment(0));
        let mut rules = Evaluator::new(rules().into(), Duration::from_secs(60)).unwrap();
        let signal = Labels::new([(semconv::SIGNAL, "metrics")]);
        let gauges = [
            registry.gauge(semconv::EXPORT_QUEUE_AGE, &signal),
            registry.gauge(semconv::EXPORT_SUCCESS_AGE, &signal),
            registry.gauge(semconv::SPOOL_UTILIZATION, &Labels::empty()),
            registry.gauge(semconv::EXPORT_REFUSED_IN_A_ROW, &signal),
        ];
        let mut seen = Vec::new();
        for (minute, values) in minutes.iter().enumerate() {
            gauges.iter().zip(values).for_each(|(gauge, to)| gauge.set(*to));
            collector.collect(moment(minute + 1));
            rules.observe(&collector);
            rules.evaluate(moment(minute + 1), &mut Vec::new());
            let firing =
                rules.status().filter(|status| status.state == crate::event::State::Firing);
            let cause = |labels: &Labels| {
                let cause = labels.iter().find(|(key, _)| *key == "cause");
                cause.map_or("?", |(_, cause)| cause).to_owned()
            };
            seen.push(firing.map(|status| cause(status.labels)).collect::<Vec<_>>().join("+"));
        }
        seen
    }

    #[test]
    fn an_outage_fires_after_five_minutes_and_until_the_backlog_is_gone() {
        let states = firing(&[
            (0.0, 5.0, 0.1),
            (50.0, 60.0, 0.1),
            (250.0, 260.0, 0.2),
            (310.0, 320.0, 0.3),
            (370.0, 2.0, 0.3), // the receiver is back, the backlog drains
            (61.0, 1.0, 0.2),
            (10.0, 1.0, 0.2),
            (1_000.0, 1.0, 0.2), // found in the spool of a dead process, and taken
        ]);
        assert_eq!(states, ["", "", "", "no_success", "no_success", "no_success", "", ""]);
    }

    #[test]
    fn nothing_to_send_for_long_is_no_failure_and_a_filling_spool_is() {
        let states = firing(&[
            (0.0, 4_000.0, 0.0),
            (20.0, 4_000.0, 0.79),
            (20.0, 100.0, 0.81),
            (20.0, 100.0, 0.5),
            (20.0, 100.0, 0.39),
        ]);
        assert_eq!(states, ["", "", "spool_filling", "spool_filling", ""]);
    }

    #[test]
    fn a_receiver_that_refuses_everything_is_a_failure_though_nothing_waits() {
        let states = firing_with_refusals(&[
            [0.0, 20.0, 0.0, 0.0],
            [0.0, 80.0, 0.0, 6.0], // a token expired
            [0.0, 200.0, 0.0, 20.0],
            [0.0, 320.0, 0.0, 30.0],
            [0.0, 380.0, 0.0, 36.0],
            [0.0, 900.0, 0.0, 36.0], // nothing is tried; nothing is better
            [0.0, 1.0, 0.0, 0.0],
        ]);
        assert_eq!(states, ["", "", "", "", "refused", "refused", ""]);
    }

    #[test]
    fn a_refusal_among_requests_that_are_taken_is_none() {
        let states = firing_with_refusals(&[[0.0, 5.0, 0.0, 1.0]; 10]);
        assert_eq!(states, [""; 10]);
    }
}
