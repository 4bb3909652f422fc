//! Who is told of transitions. Sinks run on the `highwater-act` thread, each call under
//! `catch_unwind`: a slow or panicking one delays no evaluation.

use std::fmt;

use std::time::Instant;

use super::remote::{Left, Remote, Retrier, Speaker};
use crate::{
    event::{ResolveReason, Severity, State, Transition},
    export::otlp,
    sync::Arc,
};

/// One by one, or the alerts of a rule that take the same step in the same tick together.
enum Deliver {
    Each(Box<Each>),
    Groups(Box<Groups>),
    #[cfg_attr(
        not(any(feature = "alertmanager", feature = "webhook", feature = "otel-sdk-0-33")),
        allow(dead_code)
    )]
    Remote(Box<dyn Remote>),
}

type Each = dyn FnMut(&Arc<Transition>) -> bool + Send;
type Groups = dyn FnMut(&[Arc<Transition>]) -> bool + Send;

/// Somebody who is told of every transition that nothing [hushes](super::Hush).
pub struct Sink {
    name: &'static str,
    deliver: Deliver,
    habits: Habits,
}

/// What a sink wants, which can be asked while a call of it hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Habits {
    pub(crate) groups: bool,
    pub(crate) again: bool,
    /// It keeps books of its own of what fires, and so has to know of hushed steps too.
    pub(crate) books: bool,
    /// It is a way out: it hears of every transition once, when it happens, as OTLP does.
    pub(crate) exports: bool,
}

impl Sink {
    pub(crate) fn new(
        name: &'static str,
        deliver: impl FnMut(&Arc<Transition>) -> bool + Send + 'static,
    ) -> Self {
        Self { name, deliver: Deliver::Each(Box::new(deliver)), habits: Habits::default() }
    }

    pub(crate) fn of_groups(
        name: &'static str,
        deliver: impl FnMut(&[Arc<Transition>]) -> bool + Send + 'static,
    ) -> Self {
        let habits = Habits { groups: true, ..Habits::default() };
        Self { name, deliver: Deliver::Groups(Box::new(deliver)), habits }
    }

    /// Tells it again, about once a minute, of every alert it was told of that still fires, and for
    /// a quarter of an hour of its end: for receivers that forget what they do not hear of, as
    /// Prometheus' Alertmanager does. The transition is the same each time.
    ///
    /// ```
    /// use highwater::{alert, Highwater};
    /// let hw = Highwater::builder("doc")
    ///     .sink(alert::to_fn(|alert| println!("{alert}")).resent())
    ///     .start()?;
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn resent(mut self) -> Self {
        self.habits.again = true;
        self
    }

    pub(crate) fn habits(&self) -> Habits {
        self.habits
    }

    #[cfg(any(feature = "alertmanager", feature = "webhook", feature = "otel-sdk-0-33"))]
    pub(crate) fn remote(name: &'static str, remote: impl Remote + 'static) -> Self {
        let habits = remote.habits();
        Self { name, deliver: Deliver::Remote(Box::new(remote)), habits }
    }

    /// Mistakes made in code.
    pub(crate) fn check(&self) -> Vec<otlp::Error> {
        match &self.deliver {
            Deliver::Remote(remote) => remote.check(),
            _ => Vec::new(),
        }
    }

    /// Whether it reads series to the end.
    pub(crate) fn reads(&self) -> bool {
        matches!(&self.deliver, Deliver::Remote(remote) if remote.reads())
    }

    /// Once, ahead of all else.
    pub(crate) fn begin(&mut self, speaker: &Speaker) {
        if let Deliver::Remote(remote) = &mut self.deliver {
            remote.begin(speaker.clone());
        }
    }

    /// After [`begin`](Self::begin): starts its threads that the system refused a while ago.
    pub(crate) fn retrier(&self) -> Option<Retrier> {
        match &self.deliver {
            Deliver::Remote(remote) => Some(remote.retrier()),
            _ => None,
        }
    }

    /// Nothing more will be told, and what waits has to be delivered by then.
    pub(crate) fn close(&mut self, deadline: Option<Instant>) {
        if let Deliver::Remote(remote) = &mut self.deliver {
            remote.close(deadline);
        }
    }

    /// Waits for what [`close`](Self::close) asked for.
    pub(crate) fn finish(&mut self) -> Option<Left> {
        match &mut self.deliver {
            Deliver::Remote(remote) => remote.finish(),
            _ => None,
        }
    }

    /// Its kind, as `HIGHWATER_SINKS` names it.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it took them; what it could not take is counted.
    pub(crate) fn deliver(&mut self, transitions: &[Arc<Transition>]) -> bool {
        let is_hushed = transitions.iter().any(|one| one.hushed.is_some());
        let all = |each: &mut dyn FnMut(&Arc<Transition>) -> bool| {
            let refused = transitions.iter().filter(|one| !each(one)).count();
            refused == 0
        };
        match &mut self.deliver {
            // It has to know of an alert's end, lest it goes on sending it as firing.
            Deliver::Remote(remote) => all(&mut |one| remote.tell(one)),
            _ if is_hushed => true,
            Deliver::Each(each) => all(each),
            Deliver::Groups(groups) => groups(transitions),
        }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Writes firing and resolved alerts to the [`log`] facade: critical ones as errors, warnings as
/// warnings, the rest (and every resolution) as info; pending, as debug.
///
/// Of many alerts of a rule that take the same step at once, three are written and the rest are
/// counted. On by default when the builder is given no other sink.
pub fn to_log() -> Sink {
    Sink::of_groups("log", |transitions| {
        for transition in transitions.iter().take(LOGGED) {
            log::log!(target: "highwater::alert", level(transition), "{transition}");
        }
        if let Some(more) = transitions.get(LOGGED) {
            let (name, count) = (&more.rule.name, transitions.len() - LOGGED);
            log::log!(target: "highwater::alert", level(more), "{name}: and {count} more");
        }
        true
    })
}

/// Writes the alerts of one rule to the [`log`] facade, whoever else is told.
pub(crate) fn to_log_of(rule: &'static str) -> Sink {
    let mut log = to_log();
    Sink::of_groups("log", move |transitions| {
        transitions.first().is_none_or(|one| &*one.rule.name != rule) || log.deliver(transitions)
    })
}

/// How many of one group are in the log.
const LOGGED: usize = 3;

fn level(transition: &Transition) -> log::Level {
    match (transition.to, transition.rule.severity) {
        (State::Firing, Severity::Critical) => log::Level::Error,
        (State::Firing, Severity::Warning) => log::Level::Warn,
        (State::Firing, Severity::Info) => log::Level::Info,
        _ if transition.from == State::Firing || transition.resolved.is_some() => log::Level::Info,
        _ => log::Level::Debug,
    }
}

/// Calls `callback` with every transition.
///
/// It may block and panic: it has a thread of highwater's own (shared with the other sinks, which
/// wait for it), and a panic is caught and counted, unless the program is built with
/// `panic = "abort"`. Transitions that pile up behind it are kept up to 1,024, then dropped and
/// counted.
///
/// ```
/// use highwater::{alert, Highwater};
/// let hw = Highwater::builder("doc")
///     .sink(alert::to_fn(|transition| println!("{transition}")))
///     .start()?;
/// # Ok::<(), highwater::Error>(())
/// ```
pub fn to_fn(mut callback: impl FnMut(&Transition) + Send + 'static) -> Sink {
    Sink::new("callback", move |transition| {
        callback(transition);
        true
    })
}

/// Calls `callback` with the alerts of a rule that take the same step (fire, resolve…) in the same
/// tick: one call, and so one message, however many label sets a rule has. There is at least one.
///
/// Otherwise as [`to_fn`].
///
/// ```
/// use highwater::{alert, Highwater};
/// let hw = Highwater::builder("doc")
///     .sink(alert::to_group_fn(|alerts| println!("{} and {} more", alerts[0], alerts.len() - 1)))
///     .start()?;
/// # Ok::<(), highwater::Error>(())
/// ```
pub fn to_group_fn(mut callback: impl FnMut(&[Arc<Transition>]) + Send + 'static) -> Sink {
    Sink::of_groups("callback", move |transitions| {
        callback(transitions);
        true
    })
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = match self.resolved {
            Some(ResolveReason::Cleared) => "resolved",
            Some(reason) => {
                write!(f, "{} resolved ({})", self.rule.name, reason.as_str())?;
                return self.details(f);
            }
            None => self.to.as_str(),
        };
        write!(f, "{} {to}", self.rule.name)?;
        self.details(f)
    }
}

impl Transition {
    fn details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " [{}]", self.rule.severity)?;
        if !self.summary.is_empty() {
            write!(f, ": {}", self.summary)?;
        }
        let own = |key: &str| key != "alertname" && self.rule.labels.get(key).is_none();
        let mut first = true;
        for (key, value) in self.labels.iter().filter(|(key, _)| own(key)) {
            write!(f, "{}{key}={value:?}", if first { " {" } else { ", " })?;
            first = false;
        }
        if !first {
            f.write_str("}")?;
        }
        if let (State::Firing, Some(evidence)) = (self.to, &self.evidence)
            && let Some(cause) = evidence.likeliest()
        {
            write!(f, "; likely: {cause}")?;
        }
        if let (State::Firing, Some(runbook)) = (self.to, &self.rule.runbook) {
            write!(f, " (runbook: {runbook})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::testing::transition;

    #[test]
    fn a_transition_reads_as_one_line() {
        let firing = transition("Full");
        assert_eq!(
            firing.to_string(),
            r#"Full firing [warning]: 90% in use {pool="main"} (runbook: https://runbook)"#
        );
        let mut resolved = Transition::clone(&firing);
        (resolved.from, resolved.to) = (State::Firing, State::Inactive);
        resolved.resolved = Some(ResolveReason::NoData);
        assert_eq!(
            resolved.to_string(),
            r#"Full resolved (no_data) [warning]: 90% in use {pool="main"}"#
        );
    }

    #[test]
    fn the_log_level_follows_severity() {
        let mut t = Transition::clone(&transition("Full"));
        assert_eq!(level(&t), log::Level::Warn);
        (t.from, t.to) = (State::Firing, State::Inactive);
        assert_eq!(level(&t), log::Level::Info);
        (t.from, t.to) = (State::Inactive, State::Pending);
        assert_eq!(level(&t), log::Level::Debug);
    }
}
