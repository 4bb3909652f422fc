//! What an instance is made of, said in code; checked all at once when it starts.

use std::{fmt, time::Duration};

use crate::{
    alert::{self, Sink},
    clock::Clock,
    engine::{Engine, Plan, TICK_RANGE},
    env::{self, Env, Lookup},
    error::{Error, InstallError, Problem},
    export::{Export, Way, otlp, prometheus},
    front,
    generate::Outline,
    handle::{self, Highwater, Running},
    history::History,
    instrument::{TraceContext, TraceSource},
    name::{Labels, Unit},
    registry::{DEFAULT_CARDINALITY_LIMIT, Registry},
    report::{Keeper, Source},
    rule::{
        self, Adjust, DEFAULT_BUDGET, Declared, Evaluator, ExportStyle, Exported, Owner, Rule,
        RuleSet,
    },
    sample::{self, Sampler},
    semconv::SERVICE_NAMESPACE,
    sync::{Arc, Mutex, RwLock},
};
#[cfg(feature = "rule-files")]
use crate::{engine::Reload, rule::RuleFile};

const DEFAULT_TICK: Duration = Duration::from_secs(1);

/// What the cardinality limit may be.
const CARDINALITY_RANGE: std::ops::RangeInclusive<usize> = 100..=1_000_000;

/// What the windows' budget may be.
const WINDOW_BUDGET_RANGE: std::ops::RangeInclusive<usize> = 1 << 20..=1 << 30;

/// Says what an instance is made of; from [`Highwater::builder`].
///
/// Setters never fail: [`start`](Self::start) and [`install`](Self::install) report every mistake
/// together.
#[must_use = "nothing runs until `start` or `install`"]
pub struct Builder {
    service: String,
    resource: Vec<(String, String)>,
    tick: Duration,
    cardinality_limit: usize,
    window_budget: usize,
    traces: Option<TraceSource>,
    described: Vec<(String, String, String)>,
    bounds: Declared,
    samplers: Vec<Box<dyn Sampler>>,
    without: Vec<String>,
    presets: bool,
    rules: Vec<Rule>,
    owner: Option<Owner>,
    #[cfg(feature = "rule-files")]
    files: Vec<RuleFile>,
    sinks: Vec<Sink>,
    /// When, whom, why.
    maintenance: Vec<(String, Labels, String)>,
    /// Ways out through somebody else's exporters: no sinks to the operator.
    bridges: Vec<Sink>,
    export: otlp::Config,
    /// Whether `export` was said in code.
    pushes: bool,
    runbooks: Option<String>,
    report: Option<Keeper>,
}

impl Builder {
    pub(crate) fn new(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            resource: Vec::new(),
            tick: DEFAULT_TICK,
            cardinality_limit: DEFAULT_CARDINALITY_LIMIT,
            window_budget: DEFAULT_BUDGET,
            traces: None,
            described: Vec::new(),
            bounds: Declared::default(),
            samplers: Vec::new(),
            without: Vec::new(),
            presets: true,
            rules: Vec::new(),
            owner: None,
            #[cfg(feature = "rule-files")]
            files: Vec::new(),
            sinks: Vec::new(),
            maintenance: Vec::new(),
            bridges: Vec::new(),
            export: otlp::from_env(),
            pushes: false,
            runbooks: None,
            report: None,
        }
    }

    /// Adds a resource attribute, such as `deployment.environment.name`; it wins over
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    pub fn resource(mut self, key: &str, value: &str) -> Self {
        self.resource.push((key.to_owned(), value.to_owned()));
        self
    }

    /// How often everything is sampled and every rule evaluated: 1 s by default, 100 ms to 60 s.
    /// `HIGHWATER_TICK` wins over it.
    pub fn tick(mut self, every: Duration) -> Self {
        self.tick = every;
        self
    }

    /// How many label sets a metric may have: 2,000 by default, 100 (highwater's
    /// own series must fit) to 1,000,000. Those beyond are recorded together in one series with `otel.metric.overflow`, and counted.
    pub fn cardinality_limit(mut self, label_sets: usize) -> Self {
        self.cardinality_limit = label_sets;
        self
    }

    /// How many bytes the windows of all rules may take: 64 MiB by default, 1 MiB to 1 GiB. Rules
    /// that need more are refused at the start; one whose series come to need more later is in the
    /// state *error*. What they hold is `highwater.own.memory{component="windows"}`.
    ///
    /// At ticks of 1 s a window takes up to 7 KiB of a gauge or counter and about 60 KiB of a
    /// histogram with forty populated buckets, however long it is.
    pub fn window_budget(mut self, bytes: usize) -> Self {
        self.window_budget = bytes;
        self
    }

    /// Histograms and queries keep exemplars: now and then one of their values, with the trace it was
    /// recorded in, which a dashboard links to. `source` says what the calling thread is part of;
    /// `None` outside of a trace, or in one that is not sampled and so leads nowhere. By default
    /// nobody is asked and there are no exemplars.
    ///
    /// With OpenTelemetry it is `integrate::otel::trace_context` (feature `otel-api-0-33`). They
    /// travel over OTLP and in [`render_prometheus`](Highwater::render_prometheus), beside the
    /// bucket they are in.
    ///
    /// Cost: none on the hot path. A series asks `source` at most 16 times between two ticks, and
    /// keeps the newest answer for each factor of two, eight in all (some 600 bytes). A source that
    /// panics is taken to have said `None`.
    ///
    /// ```
    /// use highwater::{Highwater, TraceContext};
    ///
    /// let hw = Highwater::builder("doc")
    ///     .exemplars(|| Some(TraceContext::new([0xab; 16], [0xcd; 8])))
    ///     .start()?;
    /// hw.query("orders").build().record(std::time::Duration::from_millis(3));
    /// // From the next tick on `hw.render_prometheus()` has, behind the bucket's count,
    /// // ` # {trace_id="abababababababababababababababab",span_id="cdcdcdcdcdcdcdcd"} 0.003`.
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn exemplars(
        mut self,
        source: impl Fn() -> Option<TraceContext> + Send + Sync + 'static,
    ) -> Self {
        self.traces = Some(TraceSource::new(source));
        self
    }

    /// States a metric's unit (see [`Unit::parse`]) and help ahead of its first use.
    pub fn describe(mut self, metric: &str, unit: &str, help: &str) -> Self {
        self.described.push((metric.to_owned(), unit.to_owned(), help.to_owned()));
        self
    }

    /// Declares bounds of a histogram, by its metric's name: how many values lie at or below each is
    /// counted exactly, where buckets alone know it to 2.2% of the bound. For
    /// [`share_slower_than`](rule::Distribution::share_slower_than), for rules that select
    /// `le="0.3"`, and for the buckets that are scraped or sent as explicit ones. All queries are
    /// one metric, `db.client.operation.duration`, in seconds.
    ///
    /// Finite and above zero, at most 64 of a metric; none by default. Recording a value of such a
    /// metric costs some nanoseconds more, of all others nothing.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::{Highwater, rule};
    /// let slow = rule::query("orders")
    ///     .share_slower_than(Duration::from_millis(300), Duration::from_secs(300));
    /// let hw = Highwater::builder("doc")
    ///     .bounds("db.client.operation.duration", [0.3])
    ///     .rule(rule::alert("OrdersSlow").when(slow.above(0.05)))
    ///     .start()?;
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn bounds(mut self, metric: &str, bounds: impl AsRef<[f64]>) -> Self {
        self.bounds.add(metric, bounds.as_ref());
        self
    }

    /// With those of the files.
    fn all_bounds(&self) -> Declared {
        #[cfg_attr(not(feature = "rule-files"), allow(unused_mut))]
        let mut all = self.bounds.clone();
        #[cfg(feature = "rule-files")]
        self.files.iter().for_each(|file| all.extend(file.declared()));
        all
    }

    /// Reads something more once a tick. [`sample::process`], [`sample::system`],
    /// [`sample::memory`] and [`sample::pressure`] are on by default; a sampler of the same name
    /// takes a default's place.
    pub fn sample(mut self, sampler: impl Sampler + 'static) -> Self {
        self.samplers.push(Box::new(sampler));
        self
    }

    /// Adds a rule. One with the identity of a [preset](rule::preset) (group, name and labels)
    /// takes its place.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Who tells people of the alerts of presets and of rules added with [`rule`](Self::rule),
    /// whatever the rules say. With [`Owner::Server`] a server that runs the
    /// [exported](Self::export_rules) rules does: here they are evaluated for watches, series and
    /// exported transitions, and no sink is told. Rule files have
    /// an owner of their own.
    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = Some(owner);
        self
    }

    /// Adds the rules in a Prometheus rule file: a path, or what [`rule::file`] and
    /// [`rule::yaml`] give. A file is read again when it changes (looked at once a tick, by a thread of
    /// its own, `highwater-files`) and by
    /// [`Highwater::reload_rules`]; while it is broken, what was read before goes on.
    ///
    /// A file that cannot be read is a mistake at start. A rule in it that cannot be run is logged
    /// with its place and counted in `highwater.rule.refused`; the others run.
    #[cfg(feature = "rule-files")]
    pub fn rule_file(mut self, file: impl Into<RuleFile>) -> Self {
        self.files.push(file.into());
        self
    }

    /// All rules, presets among them, as a Prometheus rule file, and what a server does otherwise.
    /// Metrics that are not described are taken to have no unit; a running instance
    /// ([`Highwater::export_rules`]) knows what there is.
    ///
    /// ```
    /// use highwater::{Highwater, rule};
    /// let exported = Highwater::builder("doc")
    ///     .describe("queue.size", "By", "Bytes that wait.")
    ///     .rule(rule::alert("QueueBig").when(rule::gauge("queue.size").above(rule::bytes(1 << 30))))
    ///     .export_rules(&rule::ExportStyle::new());
    /// assert!(exported.yaml.contains("expr: \"queue_size_bytes > 1073741824\""));
    /// ```
    pub fn export_rules(&self, style: &ExportStyle) -> Exported {
        let mut catalog = rule::Catalog::new();
        for (metric, unit, _) in &self.described {
            catalog.describe(metric, Unit::parse(unit).unwrap_or_default());
        }
        rule::export(&self.assembled(), &catalog, style)
    }

    /// Those in code and, as far as they can be read, in files.
    fn assembled(&self) -> Vec<Rule> {
        let set = self.set(Vec::new(), self.checked_tick());
        #[cfg(feature = "rule-files")]
        if let Ok(assembled) = set.assemble() {
            return assembled.rules;
        }
        set.base
    }

    fn set(&self, changes: Vec<(String, Adjust)>, tick: Duration) -> RuleSet {
        let budget = match WINDOW_BUDGET_RANGE.contains(&self.window_budget) {
            true => self.window_budget,
            false => DEFAULT_BUDGET,
        };
        RuleSet {
            base: self.all_rules(),
            #[cfg(feature = "rule-files")]
            files: self.files.iter().map(|file| file.clone().also_declared(&self.bounds)).collect(),
            changes,
            tick,
            budget,
            also_known: Vec::new(),
        }
    }

    /// Leaves out a preset rule or a default sampler by its name.
    pub fn without(mut self, name: &str) -> Self {
        self.without.push(name.to_owned());
        self
    }

    /// Leaves out all [preset rules](rule::preset).
    pub fn without_presets(mut self) -> Self {
        self.presets = false;
        self
    }

    /// Tells `sink` of every alert's transition. Without any, [`alert::to_log`] is told.
    pub fn sink(mut self, sink: impl Into<Sink>) -> Self {
        self.sinks.push(sink.into());
        self
    }

    /// Keeps the sinks quiet in a recurring window about alerts that carry all of `matchers`; about
    /// all, with none. The window is given by days and times in UTC: `Sun 02:00-04:00`,
    /// `Mon-Fri 22:00-01:30` (past midnight), `Sat,Sun 00:00-24:00`, `daily 03:00-03:15`. While it
    /// is on it shows among [`silences`](Highwater::silences); what still fires afterwards is told
    /// then.
    ///
    /// ```
    /// let hw = highwater::Highwater::builder("doc")
    ///     .maintenance("Sun 02:00-04:00", [("alertname", "QuerySlowerThanBaseline")], "backup")
    ///     .start()?;
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn maintenance<const N: usize>(
        mut self,
        when: &str,
        matchers: [(&str, &str); N],
        reason: &str,
    ) -> Self {
        self.maintenance.push((when.to_owned(), Labels::new(matchers), reason.to_owned()));
        self
    }

    /// Writes a [page](crate::report) when an alert fires; not by default.
    pub fn report(mut self, to: Keeper) -> Self {
        self.report = Some(to);
        self
    }

    /// Where the runbook that [`generate`](crate::generate) writes can be read: every rule without a
    /// [runbook of its own](Rule::runbook) links to its section there, `address#RuleName`.
    pub fn runbooks(mut self, address: &str) -> Self {
        self.runbooks = Some(address.to_owned());
        self
    }

    /// Where metrics and alerts are pushed: by default where `OTEL_EXPORTER_OTLP_ENDPOINT` points,
    /// and nowhere if it is not set.
    ///
    /// With the feature `otel-sdk-0-33` also through an application's own OpenTelemetry providers:
    /// `export::sdk`, which takes the place of the default; both, if both are said.
    pub fn export(mut self, to: impl Into<Export>) -> Self {
        match to.into().0 {
            Way::Otlp(config) => (self.export, self.pushes) = (*config, true),
            #[cfg(feature = "otel-sdk-0-33")]
            Way::Sdk(sink) => self.bridges.push(sink),
        }
        self
    }

    /// Starts without touching anything of the process: several instances can run side by side.
    /// It stops with the last clone of the handle.
    ///
    /// # Errors
    /// Every mistake in the builder, together. A mistake in the environment is none: it is
    /// logged, counted, and the setting left as it was.
    #[must_use = "the instance stops with its last handle"]
    pub fn start(self) -> Result<Highwater, Error> {
        self.start_in(&env::process)
    }

    /// Starts with an environment of the caller's.
    pub(crate) fn start_in(self, lookup: Lookup<'_>) -> Result<Highwater, Error> {
        let env = Env::read(lookup);
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(Error(problems));
        }
        self.run(env, lookup)
    }

    /// Starts, becomes the process' [`metrics`] recorder and its [global](crate::global) instance,
    /// and runs until [`Highwater::shutdown`] or the process' end, whether or not the handle is
    /// kept.
    ///
    /// # Errors
    /// As [`start`](Self::start); also when an instance is installed already, or the process has
    /// another `metrics` recorder (then `start` and [`Highwater::recorder`] are the way). The
    /// builder comes back in the error.
    pub fn install(self) -> Result<Highwater, InstallError> {
        let refuse = |error: Error, builder| Err(InstallError { error, builder });
        // Not the lock on the instance itself: starting logs, and the logger may ask for it.
        static INSTALLING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = INSTALLING.lock();
        if handle::global().is_some() {
            return refuse(Problem::Installed.into(), Some(Box::new(self)));
        }
        let problems = self.problems();
        if !problems.is_empty() {
            return refuse(Error(problems), Some(Box::new(self)));
        }
        if !front::install_forwarder() {
            return refuse(Problem::Recorder.into(), Some(Box::new(self)));
        }
        match self.run(Env::read(&env::process), &env::process) {
            Err(error) => refuse(error, None),
            Ok(instance) => {
                let mut global = handle::GLOBAL.write();
                front::forward_to(Some(instance.recorder()));
                *global = Some(instance.clone());
                Ok(instance)
            }
        }
    }

    /// Everything wrong with what was said in code.
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let setting =
            |setting, value: String, allowed| Problem::Setting { setting, value, allowed };
        if self.service.trim().is_empty() {
            problems.push(setting(
                "service name",
                format!("{:?}", self.service),
                "it must not be empty",
            ));
        }
        if !TICK_RANGE.contains(&self.tick) {
            problems.push(setting(
                "tick",
                format!("{:?}", self.tick),
                "it must be from 100 ms to 60 s",
            ));
        }
        if !CARDINALITY_RANGE.contains(&self.cardinality_limit) {
            let value = self.cardinality_limit.to_string();
            problems.push(setting("cardinality limit", value, "it must be from 100 to 1,000,000"));
        }
        if !WINDOW_BUDGET_RANGE.contains(&self.window_budget) {
            let value = format!("{} bytes", self.window_budget);
            problems.push(setting("window budget", value, "it must be from 1 MiB to 1 GiB"));
        }
        for (key, value) in &self.resource {
            if key.trim().is_empty() {
                problems.push(setting(
                    "resource attribute",
                    format!("{key:?} = {value:?}"),
                    "its key must not be empty",
                ));
            }
        }
        for (metric, unit, _) in &self.described {
            if metric.trim().is_empty() {
                problems.push(setting(
                    "described metric",
                    format!("{metric:?}"),
                    "its name must not be empty",
                ));
            }
            if let Err(unknown) = Unit::parse(unit) {
                problems.push(Problem::Unit { metric: metric.clone(), unknown });
            }
        }
        for (metric, bounds) in self.all_bounds().wrong() {
            problems.push(setting(
                "bounds",
                format!("{bounds:?} of {metric:?}"),
                "they must be from 1 to 64, finite and above zero",
            ));
        }
        for (when, ..) in &self.maintenance {
            if alert::Window::parse(when).is_none() {
                problems.push(setting("maintenance", format!("{when:?}"), alert::Window::FORM));
            }
        }
        let budget = match WINDOW_BUDGET_RANGE.contains(&self.window_budget) {
            true => self.window_budget,
            false => DEFAULT_BUDGET,
        };
        let evaluator = Evaluator::with_budget(self.all_rules(), self.checked_tick(), budget);
        if let Err(wrong) = evaluator {
            problems.extend(wrong.into_iter().map(Problem::Rule));
        }
        #[cfg(feature = "rule-files")]
        if problems.is_empty()
            && let Err(why) = self.set(Vec::new(), self.tick).assemble()
        {
            problems.push(Problem::RuleFile(why));
        }
        problems.extend(self.report.iter().flat_map(Keeper::problems));
        let mistakes = self.sinks.iter().flat_map(Sink::check).chain(self.export.check());
        problems.extend(mistakes.map(Problem::Export));
        problems
    }

    /// The tick, or the default where it is a mistake of its own.
    fn checked_tick(&self) -> Duration {
        if TICK_RANGE.contains(&self.tick) { self.tick } else { DEFAULT_TICK }
    }

    /// Presets and rules, the latter in the former's place where they are the same.
    fn all_rules(&self) -> Vec<Rule> {
        let mut rules =
            if self.presets { rule::preset::all(self.checked_tick()) } else { Vec::new() };
        rules.retain(|preset| {
            !self.without.iter().any(|name| name == preset.name())
                && !self.rules.iter().any(|own| own.is_same(preset))
        });
        rules.extend(self.rules.iter().cloned());
        if let Some(base) = &self.runbooks {
            for rule in rules.iter_mut().filter(|rule| rule.runbook.is_none()) {
                rule.runbook = Some(format!("{base}#{}", rule.name()));
            }
        }
        if self.bounds != Declared::default() {
            let bounds = Arc::new(self.bounds.clone());
            rules.iter_mut().for_each(|rule| rule.bounds = bounds.clone());
        }
        if let Some(owner) = self.owner {
            rules = rules.into_iter().map(|rule| rule.owner(owner)).collect();
        }
        rules
    }

    /// What would run, for those who write about it and start nothing.
    pub(crate) fn outline(&self) -> Result<Outline, Error> {
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(Error(problems));
        }
        let set = self.set(Vec::new(), self.checked_tick());
        #[cfg(feature = "rule-files")]
        let rules = set.assemble().map_err(|why| Error(vec![Problem::RuleFile(why)]))?.rules;
        #[cfg(not(feature = "rule-files"))]
        let rules = set.base;
        let namespace = self.resource.iter().rev().find(|(key, _)| key == SERVICE_NAMESPACE);
        let mut sinks: Vec<_> = self.sinks.iter().map(Sink::name).collect();
        if sinks.is_empty() {
            sinks.push("log");
        }
        sinks.dedup();
        Ok(Outline {
            service: self.service.clone(),
            namespace: namespace.map(|(_, value)| value.clone()),
            rules,
            runbooks: self.runbooks.clone(),
            sinks,
            pages: self.report.is_some(),
        })
    }

    fn run(self, env: Env, lookup: Lookup<'_>) -> Result<Highwater, Error> {
        let registry = Registry::new(self.cardinality_limit).with_exemplars(self.traces.clone());
        let registry = Arc::new(registry);
        if env.disabled {
            log::info!("highwater: switched off by the environment");
            registry.retire();
            let rules = self.assembled();
            let names = Arc::new(RwLock::new(rule::rule_names(&rules)));
            let source = source(&self.service, &rules, self.tick);
            return Ok(Highwater::new(registry, source, names, None));
        }
        let mut mistakes = env.mistakes;
        let tick = env.tick.unwrap_or(self.tick);

        let mut set = self.set(env.rules, tick);
        #[cfg(not(feature = "rule-files"))]
        let assembled = set.without_files();
        #[cfg(feature = "rule-files")]
        let assembled = set.assemble().map_err(Problem::RuleFile)?;
        let mut rules = assembled.rules;
        mistakes.extend(assembled.mistakes);
        #[cfg(feature = "rule-files")]
        for refused in &assembled.refused {
            log::warn!("highwater: {refused}");
        }
        // What goes out through somebody else's exporter is not to go out twice, because *their*
        // endpoint is in the environment.
        let bridged = !self.pushes && !self.bridges.is_empty();
        let theirs = |name: &str| {
            bridged && name.starts_with("OTEL_EXPORTER_OTLP_") && name.ends_with("ENDPOINT")
        };
        let (settings, wrong) =
            self.export.resolve(&|name| if theirs(name) { None } else { lookup(name) });
        mistakes.extend(wrong.iter().map(ToString::to_string));
        let attributes = self.resource.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let (resource, wrong) = otlp::Resource::new(&self.service, attributes, lookup);
        mistakes.extend(wrong.iter().map(ToString::to_string));
        let exposition = prometheus::Exposition::new(&resource, self.export.bounds());
        let spool = settings.as_ref().and_then(|settings| settings.disk.as_ref());
        let spool = spool.map(|disk| disk.directory.clone());
        let export = settings.and_then(|settings| {
            // Certificates named by the environment; those given in code were checked.
            otlp::Exporter::new(settings, &resource).map_err(|why| mistakes.push(why)).ok()
        });
        for mistake in &mistakes {
            log::warn!("highwater: {mistake}");
        }
        for (metric, bounds) in self.all_bounds().iter() {
            registry.bound(metric, bounds);
        }
        for (metric, unit, help) in &self.described {
            registry.describe(metric, Unit::parse(unit).unwrap_or_default(), help);
        }
        let mut sinks = self.sinks;
        if sinks.is_empty() {
            sinks.push(alert::to_log());
        }
        if let Some(kept) = &env.sinks {
            sinks.retain(|sink| kept.iter().any(|name| name == sink.name()));
        }
        sinks.extend(self.bridges);
        if export.is_some() && !sinks.iter().any(|sink| sink.name() == "log") {
            // Else it might be told by the very way that fails, and by no other.
            sinks.push(alert::to_log_of(rule::preset::DELIVERY_FAILING));
        }
        let mut samplers: Vec<Box<dyn Sampler>> = vec![
            Box::new(sample::process()),
            Box::new(sample::system()),
            Box::new(sample::memory()),
            Box::new(sample::pressure()),
            Box::new(sample::Components::new(registry.clone())),
        ];
        samplers.retain(|default| !self.samplers.iter().any(|own| own.name() == default.name()));
        samplers.extend(self.samplers);
        #[cfg(target_os = "linux")]
        if let Some(spool) = &spool {
            samplers.push(Box::new(sample::Kills::new(spool)));
        }
        let report = self.report.as_ref().map(|keeper| ("report", keeper.directory().to_owned()));
        let written = spool.map(|spool| ("spool", spool)).into_iter().chain(report).collect();
        if let Some(disk) = sample::Disk::new(written) {
            samplers.push(Box::new(disk));
        }

        let maintenance = self.maintenance.into_iter().filter_map(|(when, matchers, reason)| {
            Some(alert::Recurring { window: alert::Window::parse(&when)?, matchers, reason })
        });
        let maintenance = maintenance.collect();

        let source = source(&self.service, &rules, tick);
        sinks.extend(self.report.map(|keeper| keeper.sink(source.clone())));
        let names = Arc::new(RwLock::new(rule::rule_names(&rules)));
        if export.is_none() {
            // Its name stays known, so that code that watches it runs anywhere.
            rules.retain(|rule| !rule::preset::needs_endpoint(rule));
            let idle = set.base.iter().filter(|rule| rule::preset::needs_endpoint(rule));
            set.also_known = idle.map(|rule| rule.name().to_owned()).collect();
            set.base.retain(|rule| !rule::preset::needs_endpoint(rule));
        }
        let static_rules = rules.clone();
        let evaluator = Evaluator::with_budget(rules, tick, self.window_budget)
            .map_err(|wrong| Error(wrong.into_iter().map(Problem::Rule).collect()))?
            .identified(resource.identity());
        #[cfg(feature = "rule-files")]
        let reload = (!set.files.is_empty()).then(|| {
            let told = (names.clone(), source.rules.clone());
            Arc::new(Reload::new(set, told, static_rules.clone(), assembled.refused.len()))
        });
        let engine = Engine::start(Plan {
            registry: registry.clone(),
            clock: Clock::system(),
            tick,
            samplers,
            disabled_samplers: self.without,
            rules: evaluator,
            sinks,
            identity: resource.identity(),
            export,
            exposition,
            silence_file: env.silence_file,
            maintenance,
            #[cfg(feature = "rule-files")]
            reload: reload.clone(),
            mistakes: mistakes.len() as u64,
            history: source.history.clone(),
        });
        let running = Running {
            engine,
            rules: static_rules,
            #[cfg(feature = "rule-files")]
            reload,
        };
        Ok(Highwater::new(registry, source, names, Some(running)))
    }
}

/// What a page is written from.
fn source(service: &str, rules: &[Rule], tick: Duration) -> Source {
    let now = Clock::system().now();
    Source::new(service, rules, History::shared(tick, now))
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("service", &self.service)
            .field("tick", &self.tick)
            .field("rules", &self.rules.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "otel-sdk-0-33"))]
mod tests;
