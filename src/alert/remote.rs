//! Sinks beyond the process, which deliver by themselves and have to be asked to finish.
#![cfg_attr(
    not(any(feature = "alertmanager", feature = "webhook", feature = "otel-sdk-0-33")),
    allow(dead_code)
)]

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::sink::Habits;
use crate::{
    event::{State, Transition},
    export::otlp::Error,
    name::Labels,
    registry::{Registry, Snapshot},
    sync::{Arc, Mutex},
};

/// Gives what was collected by the last tick, if anybody is there to give it.
pub(crate) type Read = Arc<dyn Fn(&mut dyn FnMut(&Snapshot)) + Send + Sync>;

/// Tries again what the system refused. Costs a free lock.
pub(crate) type Retrier = Box<dyn Fn() + Send>;

/// Who speaks.
// Which of it is read depends on which doors are built.
#[cfg_attr(
    not(all(feature = "alertmanager", feature = "webhook", feature = "otel-sdk-0-33")),
    allow(dead_code)
)]
#[derive(Clone)]
pub(crate) struct Speaker {
    /// `job` and `instance`, as a Prometheus server makes them of the resource: without them two
    /// instances of a service would have the same alerts.
    pub(crate) identity: Labels,
    pub(crate) tick: Duration,
    /// Where deliveries are counted.
    pub(crate) registry: Arc<Registry>,
    /// All series, even after the last tick.
    pub(crate) read: Read,
    pub(crate) raised: Arc<Raised>,
    /// Declared bounds of explicit histograms, by metric.
    pub(crate) bounds: Arc<HashMap<String, Vec<f64>>>,
}

/// Which alerts fire, as the tick thread has it. Whoever keeps books of its own asks it before it
/// says again that one does: news of its end may have been lost behind a sink that hangs.
#[derive(Debug, Default)]
pub(crate) struct Raised(Mutex<HashSet<(Arc<str>, Labels)>>);

impl Raised {
    pub(crate) fn note(&self, transitions: &[Arc<Transition>]) {
        if transitions.is_empty() {
            return;
        }
        let mut raised = self.0.lock();
        for transition in transitions {
            let key = (transition.rule.group.clone(), transition.labels.clone());
            if transition.resolved.is_some() {
                raised.remove(&key);
            } else if transition.to == State::Firing {
                raised.insert(key);
            }
        }
    }

    #[cfg_attr(not(feature = "alertmanager"), allow(dead_code))]
    pub(crate) fn holds(&self, transition: &Transition) -> bool {
        let key = (transition.rule.group.clone(), transition.labels.clone());
        self.0.lock().contains(&key)
    }
}

/// What a sink could not deliver.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) alerts: u64,
    pub(crate) reason: String,
}

/// Called from the `highwater-act` thread only; never waits, but for [`finish`](Self::finish).
pub(crate) trait Remote: Send {
    /// Mistakes made in code.
    fn check(&self) -> Vec<Error>;

    /// What it wants to hear of.
    fn habits(&self) -> Habits;

    /// Whether it reads series to the end.
    fn reads(&self) -> bool {
        false
    }

    /// Once, ahead of all else.
    fn begin(&mut self, speaker: Speaker);

    /// What its [habits](Self::habits) ask for; `false` if there is no room for it.
    fn tell(&mut self, transition: &Arc<Transition>) -> bool;

    /// What starts its threads that were refused a while ago; called once a tick, by the tick's
    /// thread.
    fn retrier(&self) -> Retrier;

    /// Nothing more will be told, and what waits has to be delivered by then.
    fn close(&mut self, deadline: Option<Instant>);

    /// Waits for what [`close`](Self::close) asked for.
    fn finish(&mut self) -> Option<Left>;
}
