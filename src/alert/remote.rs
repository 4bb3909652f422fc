//! Sinks beyond the process, which deliver by themselves and have to be asked to finish.
#![cfg_attr(
    not(any(feature = "alertmanager", feature = "webhook", feature = "otel-sdk-0-33")),
    allow(dead_code)
)]

use std::time::{Duration, Instant};

use crate::{
    event::Transition,
    export::otlp::Error,
    name::Labels,
    registry::{Registry, Snapshot},
    sync::Arc,
};

/// Gives what was collected by the last tick, if anybody is there to give it.
pub(crate) type Read = Arc<dyn Fn(&mut dyn FnMut(&Snapshot)) + Send + Sync>;

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

    /// Whether it reads series to the end.
    fn reads(&self) -> bool {
        false
    }

    /// Once, ahead of all else.
    fn begin(&mut self, speaker: Speaker);

    /// Every transition, hushed ones too; `false` if there is no room for it.
    fn tell(&mut self, transition: &Arc<Transition>) -> bool;

    /// Nothing more will be told, and what waits has to be delivered by then.
    fn close(&mut self, deadline: Option<Instant>);

    /// Waits for what [`close`](Self::close) asked for.
    fn finish(&mut self) -> Option<Left>;
}
