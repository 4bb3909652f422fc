//! The one loop: sample → collect → evaluate → publish, once a tick, on a thread of our own.
//!
//! Three threads. `highwater` ticks and never waits for the other two: `highwater-act` tells the
//! sinks, `highwater-io` encodes what is to be pushed and keeps it; each has a bounded mailbox, and
//! what does not fit is counted. The latter two exist only where there is something for them to do.
//! Whoever waits for the network lives only while there is something to send: `highwater-send`, one
//! for each signal.

mod act;
mod delivery;
mod doze;
mod drill;
mod errand;
mod files;
mod health;
mod io;
mod launch;
mod mailbox;
#[cfg(all(test, unix))]
mod outage;
mod outlet;
mod publish;
mod pulse;
mod readers;
mod rehearsal;
#[cfg(feature = "rule-files")]
mod reload;
mod silence_file;
mod stop;
mod telemetry;
mod tick;

use std::{
    fmt,
    ops::RangeInclusive,
    path::PathBuf,
    time::{Duration, Instant},
};

pub use self::{
    health::{Delivery, Health},
    rehearsal::{Rehearsal, Standing},
    stop::ShutdownError,
};

#[cfg(feature = "rule-files")]
pub(crate) use self::reload::Reload;

use self::{
    act::Actors, drill::Drills, io::Courier, launch::Launch, pulse::Pulse, readers::Readers,
    stop::Stop, telemetry::Losses, tick::Ticker,
};
use crate::{
    alert::{Ledger, Raised, Recurring, Silences, Sink, Speaker, Watches},
    clock::Clock,
    compare::Recordings,
    export::{
        otlp::{self, Exporter},
        prometheus::Exposition,
    },
    history,
    name::Labels,
    registry::Registry,
    rule::Evaluator,
    sample::Sampler,
    sync::{Arc, Mutex, Ordering},
};

/// What a tick may be.
pub(crate) const TICK_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

/// How long a dropped instance may go on delivering in the background.
const DROP_GRACE: Duration = Duration::from_secs(2);

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
    /// `job` and `instance`.
    pub(crate) identity: Labels,
    pub(crate) export: Option<Exporter>,
    pub(crate) exposition: Exposition,
    pub(crate) silence_file: Option<PathBuf>,
    pub(crate) maintenance: Vec<Recurring>,
    #[cfg(feature = "rule-files")]
    pub(crate) reload: Option<Arc<Reload>>,
    pub(crate) mistakes: u64,
    pub(crate) history: history::Shared,
}

/// Rounds that have not come for so long are a problem.
const STALLED: Duration = Duration::from_secs(10);

/// What the threads and the handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: Arc<Registry>,
    pub(crate) watches: Watches,
    pub(crate) silences: Silences,
    pub(crate) newcomers: Newcomers,
    pub(crate) ledger: Ledger,
    pub(crate) drills: Drills,
    raised: Arc<Raised>,
    readers: Readers,
    exposition: Exposition,
    losses: Arc<Losses>,
    pub(crate) recordings: Arc<Recordings>,
    stop: Arc<Stop>,
    pulse: Pulse,
}

impl AsRef<Silences> for Shared {
    fn as_ref(&self) -> &Silences {
        &self.silences
    }
}

impl Shared {
    fn new(registry: Arc<Registry>, exposition: Exposition) -> Self {
        Self {
            registry,
            watches: Watches::default(),
            silences: Silences::default(),
            ledger: Ledger::default(),
            drills: Drills::default(),
            raised: Arc::default(),
            newcomers: Newcomers::default(),
            readers: Readers::default(),
            exposition,
            losses: Arc::default(),
            recordings: Arc::default(),
            stop: Arc::default(),
            pulse: Pulse::default(),
        }
    }

    /// What remote sinks are to know.
    fn speaker(self: &Arc<Self>, identity: Labels, tick: Duration) -> Speaker {
        let shared = self.clone();
        let read = move |read: &mut dyn FnMut(&_)| shared.readers.follow(&shared.stop, read);
        Speaker {
            identity,
            tick,
            registry: self.registry.clone(),
            read: Arc::new(read),
            raised: self.raised.clone(),
            bounds: self.exposition.bounds(),
        }
    }
}

/// Samplers that came after the start, until the next tick takes them over; `None` once there is
/// none any more.
pub(crate) struct Newcomers(Mutex<Option<Vec<Box<dyn Sampler>>>>);

impl Default for Newcomers {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

impl Newcomers {
    pub(crate) fn add(&self, sampler: Box<dyn Sampler>) {
        if let Some(waiting) = &mut *self.0.lock() {
            waiting.push(sampler);
        }
    }

    fn take(&self) -> Vec<Box<dyn Sampler>> {
        self.0.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn close(&self) {
        *self.0.lock() = None;
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
    threads: Vec<Launch>,
    clock: Clock,
    tick: Duration,
    delivery: Option<Arc<otlp::Health>>,
    /// Where the threads are.
    process: u32,
}

impl Engine {
    /// Starts always: a thread that is refused is told of and tried again, by the tick thread; itself
    /// when the instance is next asked for something.
    pub(crate) fn start(mut plan: Plan) -> Self {
        let shared = Arc::new(Shared::new(plan.registry, plan.exposition));
        shared.silences.maintain(plan.maintenance);
        let losses = shared.losses.clone();
        let speaker = shared.speaker(plan.identity, plan.tick);
        if plan.sinks.iter().any(Sink::reads) {
            shared.readers.expect_follower();
        }
        plan.sinks.iter_mut().for_each(|sink| sink.begin(&speaker));
        let now = plan.clock.now();
        let mut threads = Vec::new();

        let mut actors = None;
        if !plan.sinks.is_empty() {
            let intake = plan.export.as_ref().map(Exporter::intake);
            let started =
                Actors::start(plan.sinks, intake, losses.clone(), shared.stop.clone(), now);
            threads.push(started.launch().clone());
            actors = Some(started);
        }
        let (mut courier, mut delivery) = (None, None);
        if let Some(exporter) = plan.export {
            delivery = Some(exporter.health().clone());
            let started = Courier::start(exporter, now, losses.clone(), shared.stop.clone());
            threads.push(started.launch().clone());
            courier = Some(started);
        }
        let ticker = Ticker::new(
            shared.clone(),
            tick::Parts {
                samplers: plan.samplers,
                disabled_samplers: plan.disabled_samplers,
                rules: plan.rules,
                actors,
                courier,
                health: delivery.clone(),
                silence_file: plan.silence_file,
                #[cfg(feature = "rule-files")]
                reload: plan.reload,
                tick: plan.tick,
                mistakes: plan.mistakes,
                history: plan.history,
                losses,
                now,
            },
        );
        let clock = plan.clock.clone();
        threads.insert(0, Launch::new(tick::NAME, move || tick::run(ticker, &clock)));
        // The first first: it tries again for the others.
        threads.iter().for_each(Launch::retry);
        let (clock, tick, process) = (plan.clock, plan.tick, std::process::id());
        Self { shared, threads, clock, tick, delivery, process }
    }

    /// Tries again, after a while, to start what was refused. Costs free locks.
    pub(crate) fn revive(&self) {
        if !self.is_forked() {
            self.threads.iter().for_each(Launch::retry);
        }
    }

    pub(crate) fn tick(&self) -> Duration {
        self.tick
    }

    /// The last tick's data as OpenMetrics text; none of them once the threads have stopped.
    pub(crate) fn exposition(&self) -> String {
        let Shared { readers, stop, exposition, losses, .. } = &*self.shared;
        let read = || readers.read(stop, |snapshot| exposition.render(snapshot));
        // A fork has nobody to answer.
        let Some(page) = Some(read).filter(|_| !self.is_forked()).and_then(|read| read()) else {
            return exposition.nothing();
        };
        losses.name_clash.fetch_add(page.left_out, Ordering::Relaxed);
        page.text
    }

    /// How all of it fares. Tries again to start what was refused.
    pub(crate) fn health(&self) -> Health {
        let mut problems = Vec::new();
        if self.is_forked() {
            problems.push(ShutdownError::Forked.to_string());
            return Health { problems, ..Health::default() };
        }
        self.revive();
        problems.extend(self.threads.iter().filter_map(Launch::refusal));
        let last_tick = self.shared.pulse.age(self.clock.now());
        if let Some(age) = last_tick.filter(|age| *age > STALLED.max(self.tick * 5)) {
            problems.push(format!("no round for {:.0} s", age.as_secs_f64()));
        }
        problems.extend(self.shared.pulse.failing());
        let delivery = self.delivery.as_ref().map(|health| {
            problems.extend(health.disk_error());
            Delivery::of(health, &self.shared.losses, self.clock.now().wall)
        });
        Health { last_tick, problems, delivery }
    }

    /// Locks that a thread of the parent held at the fork are never released here.
    fn is_forked(&self) -> bool {
        std::process::id() != self.process
    }

    /// The last window, the last evaluation, the last delivery: all within `timeout`.
    pub(crate) fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        if self.is_forked() {
            return Err(ShutdownError::Forked);
        }
        let deadline = Instant::now().checked_add(timeout);
        self.shared.stop.request(deadline);
        let mut missing = None;
        for thread in &self.threads {
            if !thread.settle() {
                missing = missing.or(Some(thread.name));
                continue;
            }
            let thread = thread.name;
            if !self.shared.stop.wait_for_end(thread, deadline) {
                return Err(ShutdownError::Deadline { thread, timeout });
            }
        }
        self.shared.stop.outcome()?;
        missing.map_or(Ok(()), |thread| Err(ShutdownError::NotStarted { thread }))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        // In the background: a drop must not block for the network.
        self.shared.stop.request(Instant::now().checked_add(DROP_GRACE));
    }
}
