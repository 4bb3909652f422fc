//! The one loop: sample → collect → evaluate → publish, once a tick, on a thread of our own.
//!
//! Three threads at most. `highwater` ticks and never waits for the other two: `highwater-act`
//! tells the sinks, `highwater-io` talks to the network and the disk; each has a bounded mailbox,
//! and what does not fit is counted. The latter two exist only where there is something for them
//! to do.

mod act;
mod errand;
mod io;
mod mailbox;
mod publish;
mod rehearsal;
mod silence_file;
mod stop;
mod telemetry;
mod tick;

use std::{
    fmt,
    ops::RangeInclusive,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

pub use self::{
    rehearsal::{Rehearsal, Standing},
    stop::ShutdownError,
};

use self::{act::Actors, io::Courier, stop::Stop, telemetry::Losses, tick::Ticker};
use crate::{
    alert::{Silences, Sink, Watches},
    clock::Clock,
    export::otlp::{Exporter, Interrupt},
    registry::Registry,
    rule::Evaluator,
    sample::Sampler,
    sync::{Arc, Mutex},
};

/// What a tick may be.
pub(crate) const TICK_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

/// How long a dropped instance may go on delivering in the background.
const DROP_GRACE: Duration = Duration::from_secs(2);

/// The operating system refused a thread.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the thread {name:?}: {source}")]
pub struct ThreadError {
    name: &'static str,
    source: std::io::Error,
}

/// Everything checked, ready to run.
pub(crate) struct Plan {
    pub(crate) registry: Arc<Registry>,
    pub(crate) clock: Clock,
    pub(crate) tick: Duration,
    pub(crate) samplers: Vec<Box<dyn Sampler>>,
    /// The names of those that are switched off.
    pub(crate) disabled_samplers: Vec<String>,
    pub(crate) rules: Evaluator,
    pub(crate) sinks: Vec<Sink>,
    pub(crate) export: Option<Exporter>,
    pub(crate) silence_file: Option<PathBuf>,
    pub(crate) mistakes: u64,
}

/// What the threads and the handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: Arc<Registry>,
    pub(crate) watches: Watches,
    pub(crate) silences: Silences,
    pub(crate) newcomers: Newcomers,
    stop: Arc<Stop>,
}

/// Samplers that came after the start, until the next tick takes them over.
#[derive(Default)]
pub(crate) struct Newcomers(Mutex<Vec<Box<dyn Sampler>>>);

impl Newcomers {
    pub(crate) fn add(&self, sampler: Box<dyn Sampler>) {
        self.0.lock().push(sampler);
    }

    fn take(&self) -> Vec<Box<dyn Sampler>> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl fmt::Debug for Newcomers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Newcomers").finish_non_exhaustive()
    }
}

/// A running instance's threads.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
    /// The threads a shutdown waits for, in the order they end.
    threads: Vec<&'static str>,
    /// Cuts off a request that would outlast a shutdown.
    interrupt: Option<Interrupt>,
}

impl Engine {
    pub(crate) fn start(plan: Plan) -> Result<Self, ThreadError> {
        let shared = Arc::new(Shared {
            registry: plan.registry,
            watches: Watches::default(),
            silences: Silences::default(),
            newcomers: Newcomers::default(),
            stop: Arc::default(),
        });
        let losses = Arc::<Losses>::default();
        let now = plan.clock.now();
        let refused = |name| move |source| ThreadError { name, source };
        let mut threads = vec![tick::NAME];

        let mut actors = None;
        if !plan.sinks.is_empty() {
            let intake = plan.export.as_ref().map(Exporter::intake);
            let started =
                Actors::start(plan.sinks, intake, losses.clone(), shared.stop.clone(), now);
            actors = Some(started.map_err(refused(act::NAME))?);
            threads.push(act::NAME);
        }
        let (mut courier, mut interrupt) = (None, None);
        let mut health = None;
        if let Some(exporter) = plan.export {
            health = Some(exporter.health().clone());
            let started = Courier::start(exporter, now, losses.clone(), shared.stop.clone());
            let (ours, theirs) = started.map_err(refused(io::NAME))?;
            (courier, interrupt) = (Some(ours), Some(theirs));
            threads.push(io::NAME);
        }
        let ticker = Ticker::new(
            shared.clone(),
            tick::Parts {
                samplers: plan.samplers,
                disabled_samplers: plan.disabled_samplers,
                rules: plan.rules,
                actors,
                courier,
                health,
                silence_file: plan.silence_file,
                tick: plan.tick,
                mistakes: plan.mistakes,
                losses,
                now,
            },
        );
        thread::Builder::new()
            .name(tick::NAME.to_owned())
            .spawn(move || tick::run(ticker, &plan.clock))
            .map_err(refused(tick::NAME))?;
        Ok(Self { shared, threads, interrupt })
    }

    /// The last window, the last evaluation, the last delivery: all within `timeout`.
    pub(crate) fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        let deadline = Instant::now().checked_add(timeout);
        self.shared.stop.request(deadline);
        // Leaves the io thread time to count what a request that was cut off had not delivered.
        let nearly = deadline.map(|at| at - (timeout / 4).min(Duration::from_millis(200)));
        for thread in &self.threads {
            if !self.shared.stop.wait_for_end(thread, nearly)
                && let Some(interrupt) = &self.interrupt
            {
                interrupt.cut();
            }
            if !self.shared.stop.wait_for_end(thread, deadline) {
                return Err(ShutdownError::Deadline { thread, timeout });
            }
        }
        self.shared.stop.outcome()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // In the background: a drop must not block for the network.
        self.shared.stop.request(Instant::now().checked_add(DROP_GRACE));
    }
}
