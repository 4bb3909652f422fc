//! The handle on a running instance.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use crate::{
    alert::{Deploying, Silence, UnknownAlert, Verdict, Watch},
    builder::Builder,
    compare::{Recording, Recordings},
    engine::{Engine, Health, ShutdownError},
    front::{self, InstrumentBuilder, QueriesBuilder, QueryBuilder, Recorder, native, text},
    instrument::{Component, Counter, Gauge, Histogram, UpDownCounter},
    name::Labels,
    registry::Registry,
    report::{Report, Source},
    rule::{Catalog, ExportStyle, Exported, Rule, RuleNames, export},
    sample::Sampler,
    sync::{Arc, RwLock},
};
#[cfg(feature = "rule-files")]
use crate::{
    engine::Reload,
    rule::{Refused, ReloadError},
};

/// What a time past the clock's end is as good as.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// The installed instance.
pub(crate) static GLOBAL: RwLock<Option<Highwater>> = RwLock::new(None);

/// The instance that was [installed](Builder::install), if one is.
///
/// Costs a lock: keep the handles you resolve through it.
pub fn global() -> Option<Highwater> {
    GLOBAL.read().clone()
}

/// A handle on a running instance: clone it, share it. The instance stops with the last clone,
/// unless it was [installed](Builder::install).
///
/// Stopping by drop does not wait; [`shutdown`](Self::shutdown) is the way to be sure that
/// everything left the process.
#[derive(Clone)]
pub struct Highwater(Arc<Instance>);

struct Instance {
    registry: Arc<Registry>,
    alerts: RuleNames,
    source: Source,
    /// None when the environment switched it off.
    running: Option<Running>,
}

/// What is there only while it is not switched off.
pub(crate) struct Running {
    pub(crate) engine: Engine,
    /// As it started.
    pub(crate) rules: Vec<Rule>,
    #[cfg(feature = "rule-files")]
    pub(crate) reload: Option<Arc<Reload>>,
}

impl Highwater {
    /// An instance for the service of this name (`service.name`).
    ///
    /// `OTEL_SERVICE_NAME` does not win over it: what is said in code does.
    pub fn builder(service: &str) -> Builder {
        Builder::new(service)
    }

    pub(crate) fn new(
        registry: Arc<Registry>,
        source: Source,
        alerts: RuleNames,
        running: Option<Running>,
    ) -> Self {
        Self(Arc::new(Instance { registry, alerts, source, running }))
    }

    /// Names a query of a database: `hw.query("orders_by_user").system("sqlite").build()`.
    pub fn query(&self, name: &str) -> QueryBuilder {
        native::query(&self.0.registry, name)
    }

    /// Queries that are known by their text alone: for wrappers and drivers' hooks.
    pub fn queries(&self) -> QueriesBuilder {
        text::queries(&self.0.registry)
    }

    /// Names a timed thing that is no database query. Its durations are in
    /// `highwater.timer.duration`, labelled `highwater.timer.name`.
    pub fn timer(&self, name: &str) -> QueryBuilder {
        native::timer(&self.0.registry, name)
    }

    /// Names a sum that only grows.
    pub fn counter(&self, name: &str) -> InstrumentBuilder<Counter> {
        native::counter(&self.0.registry, name)
    }

    /// Names a sum that goes both ways.
    pub fn up_down_counter(&self, name: &str) -> InstrumentBuilder<UpDownCounter> {
        native::up_down_counter(&self.0.registry, name)
    }

    /// Names a value that is set.
    pub fn gauge(&self, name: &str) -> InstrumentBuilder<Gauge> {
        native::gauge(&self.0.registry, name)
    }

    /// Names a distribution of values.
    pub fn histogram(&self, name: &str) -> InstrumentBuilder<Histogram> {
        native::histogram(&self.0.registry, name)
    }

    /// Names a part of the service that holds memory, to say how much, and to be given a budget.
    /// Costs a lock; keep the handle.
    pub fn component(&self, name: &str) -> Component {
        self.0.registry.component(name)
    }

    /// The alert of this name, to be read for one atomic load: the worst of all rules and label
    /// sets that share the name.
    ///
    /// # Errors
    /// [`UnknownAlert`] lists the names there are.
    pub fn alert(&self, name: &str) -> Result<Watch, UnknownAlert> {
        self.alert_with(name, [])
    }

    /// The alert of this name, narrowed to those that carry all of `labels`, such as
    /// `[("severity", "critical")]`.
    ///
    /// # Errors
    /// [`UnknownAlert`] lists the names there are.
    pub fn alert_with<const N: usize>(
        &self,
        name: &str,
        labels: [(&str, &str); N],
    ) -> Result<Watch, UnknownAlert> {
        self.know(name)?;
        Ok(match self.engine() {
            Some(engine) => engine.shared.watches.get(name, &Labels::new(labels)),
            None => Watch::inert(),
        })
    }

    fn engine(&self) -> Option<&Engine> {
        let engine = self.0.running.as_ref().map(|running| &running.engine)?;
        // Where the tick thread was refused, nobody else can try again.
        engine.revive();
        Some(engine)
    }

    fn know(&self, name: &str) -> Result<(), UnknownAlert> {
        let known = self.0.alerts.read();
        if known.binary_search_by(|known| known.as_str().cmp(name)).is_ok() {
            return Ok(());
        }
        Err(UnknownAlert { name: name.to_owned(), known: known.clone() })
    }

    /// Which alerts fired since the start: what a load test's `main` returns, so that its exit
    /// status says whether it passed. It can be asked for at any time; after
    /// [`shutdown`](Self::shutdown) it holds the last tick too.
    pub fn verdict(&self) -> Verdict {
        let engine = self.engine();
        engine.map_or_else(Verdict::nothing, |engine| engine.shared.ledger.verdict())
    }

    /// Sends a test alert of each rule of this name the whole way, in production: at the next tick
    /// it fires, a tick later it resolves. Silences apply; the spool, the push and every sink get
    /// it, labelled `highwater.test="true"` and with a summary that begins with `[test]`. No
    /// watch, no series and no [`verdict`](Self::verdict) changes.
    ///
    /// ```
    /// let (sink, mut alerts) = highwater::alert::channel(16);
    /// let hw = highwater::Highwater::builder("doc").sink(sink).start()?;
    /// hw.test_fire("MemoryNearLimit")?;
    /// let told = alerts.recv().unwrap();
    /// assert_eq!(told.labels.get("highwater.test"), Some("true"));
    /// assert!(!hw.alert("MemoryNearLimit")?.is_firing());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`UnknownAlert`] lists the names there are.
    pub fn test_fire(&self, rule: &str) -> Result<(), UnknownAlert> {
        self.know(rule)?;
        if let Some(engine) = self.engine() {
            engine.shared.drills.ask(rule);
        }
        Ok(())
    }

    /// Reads the rule files again, on the caller's thread; the next tick puts the rules in place.
    /// Alerts of rules that stay, by group, name and labels, keep their state; those of rules that
    /// are gone resolve as `rule_removed`. Gives the rules that are refused, which do not run.
    ///
    /// A changed file is found by itself, within a tick; this is for when that is too late or the
    /// change cannot be seen, and for a signal: call it from the thread that waits for `SIGHUP`
    /// (with `signal-hook` or `tokio::signal`), not from a signal handler itself.
    ///
    /// # Errors
    /// A file is broken, or what is in it does not go together with the other rules: then nothing
    /// changes, it is logged, and counted in `highwater.rule.reloads`.
    #[cfg(feature = "rule-files")]
    pub fn reload_rules(&self) -> Result<Vec<Refused>, ReloadError> {
        let reload = self.0.running.as_ref().and_then(|running| running.reload.as_ref());
        reload.map_or_else(|| Ok(Vec::new()), |reload| reload.read())
    }

    /// All rules as a Prometheus rule file, presets among them, and what a server does otherwise.
    /// Names have the units and kinds of what has been measured so far.
    ///
    /// ```
    /// use highwater::{Highwater, rule::ExportStyle};
    /// let hw = Highwater::builder("doc").start()?;
    /// let exported = hw.export_rules(&ExportStyle::new());
    /// assert!(exported.yaml.contains("alert: \"MemoryNearLimit\""));
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn export_rules(&self, style: &ExportStyle) -> Exported {
        let mut catalog = Catalog::new();
        let mut series = Vec::new();
        self.0.registry.catch_up(&mut series);
        catalog.learn(&series);
        let Some(running) = &self.0.running else { return export([], &catalog, style) };
        #[cfg(feature = "rule-files")]
        if let Some(reload) = &running.reload {
            return export(&reload.rules(), &catalog, style);
        }
        export(&running.rules, &catalog, style)
    }

    /// Keeps the sinks quiet about alerts that carry all of `matchers` (`alertname` is the rule's
    /// name), for a time and a reason. States, series and exports go on;
    /// `highwater.silence.active` counts the silences in force.
    ///
    /// ```
    /// use std::time::Duration;
    /// let hw = highwater::Highwater::builder("doc").start()?;
    /// hw.silence([("alertname", "MemoryNearLimit")], Duration::from_secs(3_600), "resizing");
    /// assert_eq!(hw.silences()[0].reason, "resizing");
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn silence<const N: usize>(
        &self,
        matchers: [(&str, &str); N],
        lasting: Duration,
        reason: &str,
    ) {
        let Some(engine) = self.engine() else { return };
        let now = SystemTime::now();
        let until = now.checked_add(lasting).unwrap_or(now + YEAR);
        let matchers = Labels::new(matchers);
        log::info!("highwater: silenced for {lasting:?}: {matchers}: {reason}");
        engine.shared.silences.add(Silence { matchers, until, reason: reason.to_owned() });
    }

    /// Says that a deploy is going on: until the guard is dropped, but no longer than `at_most`,
    /// the sinks are told of critical alerts only. States, series and exports go on; what still
    /// fires afterwards is told then.
    ///
    /// ```
    /// use std::time::Duration;
    /// let hw = highwater::Highwater::builder("doc").start()?;
    /// let deploy = hw.deploying(Duration::from_secs(600));
    /// // migrate, warm caches…
    /// assert_eq!(hw.silences()[0].reason, "deploying");
    /// drop(deploy);
    /// assert!(hw.silences().is_empty());
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn deploying(&self, at_most: Duration) -> Deploying {
        let now = SystemTime::now();
        let until = now.checked_add(at_most).unwrap_or(now + YEAR);
        log::info!("highwater: deploying, for {at_most:?} at most");
        let shared = self.engine().map(|engine| engine.shared.clone() as _);
        Deploying::new(shared, until)
    }

    /// The silences, maintenance windows and deploys in force.
    pub fn silences(&self) -> Vec<Silence> {
        let engine = self.engine();
        engine.map_or_else(Vec::new, |engine| engine.shared.silences.list(SystemTime::now()))
    }

    /// Records what queries and pools do from now on, to be [compared](crate::compare) with what
    /// another deployment recorded.
    pub fn record(&self, name: &str) -> Recording {
        match self.engine() {
            Some(engine) => engine.shared.recordings.begin(name),
            None => Arc::<Recordings>::default().begin(name),
        }
    }

    /// How often it reads and judges; zero if it is switched off.
    ///
    /// ```
    /// use std::time::Duration;
    /// let hw = highwater::Highwater::builder("doc").start()?;
    /// assert_eq!(hw.tick(), Duration::from_secs(1));
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn tick(&self) -> Duration {
        self.engine().map_or(Duration::ZERO, Engine::tick)
    }

    /// Reads something more once a tick, from the next one on: what exists only once the instance
    /// runs, such as a pool. What is known before goes to [`Builder::sample`].
    ///
    /// ```
    /// let hw = highwater::Highwater::builder("doc").start()?;
    /// hw.sample(highwater::sample::gauge("queue.depth", || 42.0));
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn sample(&self, sampler: impl Sampler + 'static) {
        if let Some(engine) = self.engine() {
            engine.shared.newcomers.add(Box::new(sampler));
        }
    }

    /// How it fares: the last round, what does not work at present, and delivery. Costs a few
    /// locks, held for moments, and allocates: for a readiness endpoint and for people.
    ///
    /// ```
    /// let hw = highwater::Highwater::builder("doc").start()?;
    /// println!("{}", hw.health());
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn health(&self) -> Health {
        self.engine().map_or_else(Health::default, Engine::health)
    }

    /// All its series.
    #[cfg(any(feature = "otel-api-0-33", all(test, feature = "generate")))]
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.0.registry
    }

    /// Tells instances of this process apart.
    pub(crate) fn id(&self) -> u64 {
        self.0.registry.id()
    }

    /// A recorder for the [`metrics`] macros over this instance.
    pub fn recorder(&self) -> Recorder {
        Recorder::new(self.0.registry.clone())
    }

    /// All series as [OpenMetrics](https://openmetrics.io) text, for a route of your own that a
    /// Prometheus server scrapes; answer with
    /// [`prometheus::CONTENT_TYPE`](crate::export::prometheus::CONTENT_TYPE). highwater itself
    /// never listens.
    ///
    /// The data are those of the last tick. Names and labels are those a Prometheus server gives
    /// them over OTLP; histograms have the buckets of
    /// [`explicit_bounds`](crate::export::otlp::Config::explicit_bounds), or those OpenTelemetry
    /// advises; the resource is in `target_info`. Nothing but `# EOF` follows once the instance
    /// has stopped or if it is switched off.
    ///
    /// Costs a copy of all series, made by highwater's own thread between two ticks, and about a
    /// microsecond a series; nothing at all while nobody asks. It blocks for that long, 2 s at
    /// most, after which the page is the one before; a sampler, which runs on that thread, must not
    /// call it. While no tick ends, all of `highwater_tick_duration_seconds` stands still there.
    ///
    /// ```
    /// let hw = highwater::Highwater::builder("doc").start()?;
    /// hw.counter("jobs.done").build().increment(1);
    /// let page = hw.render_prometheus();
    /// assert!(page.ends_with("# EOF\n"));
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn render_prometheus(&self) -> String {
        let engine = self.engine();
        engine.map_or_else(|| "# EOF\n".to_owned(), |engine| engine.exposition())
    }

    /// The last minutes on one page, for people: take it before [`shutdown`](Self::shutdown), or
    /// after a load test. Costs a copy of what is kept for it, about a megabyte at most.
    ///
    /// ```
    /// let hw = highwater::Highwater::builder("doc").start()?;
    /// let directory = std::env::temp_dir();
    /// hw.report().write_to(directory.join("highwater-doc.html"))?;
    /// # std::fs::remove_file(directory.join("highwater-doc.html"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn report(&self) -> Report {
        self.0.source.report()
    }

    /// Whether the environment switched this instance off: handles do nothing, no thread runs.
    pub fn is_disabled(&self) -> bool {
        self.0.running.is_none()
    }

    /// Ticks once more, ends every alert, tells the sinks, delivers what waits, and stops the
    /// threads: all within `timeout`, whatever the network does. Handles do nothing afterwards.
    ///
    /// # Errors
    /// What could not be finished in time, or was not taken by the receiver.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        let mut global = GLOBAL.write();
        if global.as_ref().is_some_and(|installed| Arc::ptr_eq(&installed.0, &self.0)) {
            front::forward_to(None);
            *global = None;
        }
        drop(global);
        self.engine().map_or(Ok(()), |engine| engine.shutdown(timeout))
    }
}

impl fmt::Debug for Highwater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Highwater")
            .field("series", &self.0.registry.len())
            .field("alerts", &*self.0.alerts.read())
            .field("disabled", &self.is_disabled())
            .finish()
    }
}
