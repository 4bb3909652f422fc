//! `tracing`: alerts as events, and spans' durations as queries and timers.
//!
//! ```
//! use highwater::{Highwater, integrate::tracing};
//! use tracing_subscriber::layer::SubscriberExt as _;
//!
//! let hw = Highwater::builder("shop").sink(tracing::sink()).start()?;
//! let spans = tracing::spans(&hw)
//!     .queries("shop::db", "postgresql")       // every span of this target and those below it
//!     .timer("shop::orders", "checkout");      // spans of this name only
//! let subscriber = tracing_subscriber::registry().with(spans);
//! tracing_subscriber::util::SubscriberInitExt::try_init(subscriber).ok();
//! # Ok::<(), highwater::Error>(())
//! ```

use std::{collections::HashMap, fmt, time::Instant};

use tracing::{
    Id, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
    span::{Attributes, Record},
};
use tracing_subscriber::{
    Layer,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

use crate::{
    alert::{Severity, Sink, State, Transition},
    handle::Highwater,
    instrument::Query,
    sync::{
        RwLock,
        fixed::{AtomicU64, Ordering},
    },
};

/// The target of alerts' events.
const TARGET: &str = "highwater::alert";

/// What must not be fed back: our own targets, and those of what carries our requests.
const OURS: [&str; 8] = [
    "highwater",
    "ureq",
    "ureq_proto",
    "h2",
    "rustls",
    "tokio_rustls",
    "opentelemetry",
    "opentelemetry_sdk",
];

/// Emits every transition of an alert as an event of the target `highwater::alert`: a critical one
/// that fires as an error, a warning as a warning, the end and all else as info, pending as debug.
///
/// Its fields are `alertname`, `state`, `previous_state`, `severity`, `labels`, `value` and
/// `threshold`; the message is what people read. Pass it to
/// [`Builder::sink`](crate::Builder::sink); `HIGHWATER_SINKS` calls it `tracing`.
pub fn sink() -> Sink {
    Sink::new("tracing", |transition| {
        emit(transition);
        true
    })
}

fn emit(transition: &Transition) {
    macro_rules! emit {
        ($level:expr) => {
            tracing::event!(
                target: TARGET,
                $level,
                alertname = &*transition.rule.name,
                state = transition.to.as_str(),
                previous_state = transition.from.as_str(),
                severity = transition.rule.severity.as_str(),
                labels = %transition.labels,
                value = transition.value,
                threshold = transition.threshold,
                resolve_reason = transition.resolved.map(|reason| reason.as_str()),
                "{transition}"
            )
        };
    }
    match (transition.to, transition.rule.severity) {
        (State::Firing, Severity::Critical) => emit!(Level::ERROR),
        (State::Firing, Severity::Warning) => emit!(Level::WARN),
        (State::Firing, Severity::Info) => emit!(Level::INFO),
        _ if transition.resolved.is_some() => emit!(Level::INFO),
        _ => emit!(Level::DEBUG),
    }
}

/// A [`Layer`] that records spans' durations in an instance; without a filter, none.
///
/// A span lasts from its creation to its close, so a future's includes the time it waited. One is
/// a failure if its field `error` or `error.type` is set, or `otel.status_code` is `ERROR`. Spans
/// that the subscriber's own filters leave out are not seen.
///
/// A span that nobody asked for costs a look-up under a read lock; one that is recorded, twice
/// that and two readings of the clock. Spans of highwater itself and of what carries its requests
/// (`ureq`, `h2`, `rustls`, `opentelemetry`) are never recorded.
pub fn spans(hw: &Highwater) -> Spans {
    static LAYERS: AtomicU64 = AtomicU64::new(0);
    let layer = LAYERS.fetch_add(1, Ordering::Relaxed);
    Spans { hw: hw.clone(), filters: Vec::new(), known: RwLock::default(), layer }
}

/// See [`spans`].
#[must_use = "it is a layer: a subscriber has to have it"]
pub struct Spans {
    hw: Highwater,
    filters: Vec<Filter>,
    /// By call site, which is for ever.
    known: RwLock<HashMap<Identifier, Option<Query>>>,
    /// Among all that there are: a subscriber may have several, each of its own instance.
    layer: u64,
}

#[derive(Debug)]
struct Filter {
    target: String,
    name: Option<String>,
    /// A query of this system, or a timer.
    system: Option<String>,
}

impl Filter {
    fn fits(&self, metadata: &Metadata<'_>) -> bool {
        is_within(metadata.target(), &self.target)
            && self.name.as_ref().is_none_or(|name| name == metadata.name())
    }
}

/// `a::b` is within `a`, `ab` is not.
fn is_within(target: &str, prefix: &str) -> bool {
    let rest = target.strip_prefix(prefix);
    rest.is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with("::"))
}

impl Spans {
    /// Records spans of this target, and of those below it, as queries of a database system
    /// (`postgresql`), each by its name.
    pub fn queries(self, target: &str, system: &str) -> Self {
        self.with(target, None, Some(system))
    }

    /// Records spans of this target and name as queries of a database system.
    pub fn query(self, target: &str, name: &str, system: &str) -> Self {
        self.with(target, Some(name), Some(system))
    }

    /// Records spans of this target, and of those below it, as timers
    /// ([`Highwater::timer`](crate::Highwater::timer)), each by its name.
    pub fn timers(self, target: &str) -> Self {
        self.with(target, None, None)
    }

    /// Records spans of this target and name as a timer.
    pub fn timer(self, target: &str, name: &str) -> Self {
        self.with(target, Some(name), None)
    }

    fn with(mut self, target: &str, name: Option<&str>, system: Option<&str>) -> Self {
        self.filters.push(Filter {
            target: target.to_owned(),
            name: name.map(str::to_owned),
            system: system.map(str::to_owned),
        });
        self
    }

    /// The timer of a call site; the first filter that fits counts.
    fn timer_of(&self, metadata: &Metadata<'_>) -> Option<Query> {
        let site = metadata.callsite();
        if let Some(known) = self.known.read().get(&site) {
            return known.clone();
        }
        let ours = OURS.iter().any(|ours| is_within(metadata.target(), ours));
        let filter = self.filters.iter().find(|filter| !ours && filter.fits(metadata));
        let query = filter.map(|filter| match &filter.system {
            Some(system) => self.hw.query(metadata.name()).system(system).build(),
            None => self.hw.timer(metadata.name()).build(),
        });
        self.known.write().insert(site, query.clone());
        query
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans").field("filters", &self.filters).finish_non_exhaustive()
    }
}

/// What a recorded span carries, by layer.
#[derive(Default)]
struct Timings(Vec<Timing>);

struct Timing {
    layer: u64,
    query: Query,
    started: Instant,
    error: Option<String>,
}

impl Visit for Timing {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "error.type" => self.error = Some(value.to_owned()),
            "error" => _ = self.error.get_or_insert_with(|| "error".to_owned()),
            "otel.status_code" if value.eq_ignore_ascii_case("error") => {
                self.error.get_or_insert_with(|| "error".to_owned());
            }
            _ => {}
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "error" && value {
            self.error.get_or_insert_with(|| "error".to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "error" | "error.type" | "otel.status_code") {
            self.record_str(field, format!("{value:?}").trim_matches('"'));
        }
    }
}

impl<S> Layer<S> for Spans
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(query) = self.timer_of(attributes.metadata()) else { return };
        let Some(span) = context.span(id) else { return };
        let mut timing = Timing { layer: self.layer, query, started: Instant::now(), error: None };
        attributes.record(&mut timing);
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<Timings>() {
            Some(timings) => timings.0.push(timing),
            None => extensions.insert(Timings(vec![timing])),
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(timings) = span.extensions_mut().get_mut::<Timings>()
            && let Some(timing) = timings.0.iter_mut().find(|timing| timing.layer == self.layer)
        {
            values.record(timing);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let taken = |span: SpanRef<'_, S>| {
            let mut extensions = span.extensions_mut();
            let timings = &mut extensions.get_mut::<Timings>()?.0;
            let at = timings.iter().position(|timing| timing.layer == self.layer)?;
            Some(timings.swap_remove(at))
        };
        let Some(timing) = context.span(&id).and_then(taken) else { return };
        let elapsed = timing.started.elapsed();
        match &timing.error {
            None => timing.query.record(elapsed),
            Some(error) => timing.query.record_failure(elapsed, error),
        }
    }
}
