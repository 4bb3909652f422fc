//! Our own door: instruments by name, resolved once.

use crate::{
    instrument::{Counter, Gauge, Histogram, MOST_THINNED, Measure, Query, UpDownCounter},
    name::{Labels, Unit},
    registry::Registry,
    semconv,
    sync::Arc,
};

/// Names an instrument, then [`build`](Self::build)s its handle.
///
/// Building locks and may allocate; do it once and keep the handle. Of a metric's unit and help
/// the first that were given stand. A name that already belongs to another kind of instrument
/// gives a handle that does nothing, counts `highwater.dropped{reason="kind_conflict"}` and logs a
/// warning; a label set over the limit is recorded in the metric's overflow series, and counted.
#[must_use = "nothing is recorded until `build` gave a handle"]
#[derive(Debug)]
pub struct InstrumentBuilder<H> {
    registry: Arc<Registry>,
    name: String,
    labels: Vec<(String, String)>,
    unit: Unit,
    help: String,
    build: fn(&Registry, &str, &Labels) -> H,
}

// Not derived: a handle need not be.
impl<H> Clone for InstrumentBuilder<H> {
    fn clone(&self) -> Self {
        Self {
            registry: self.registry.clone(),
            name: self.name.clone(),
            labels: self.labels.clone(),
            unit: self.unit.clone(),
            help: self.help.clone(),
            build: self.build,
        }
    }
}

impl<H> InstrumentBuilder<H> {
    fn new(registry: &Arc<Registry>, name: &str, build: fn(&Registry, &str, &Labels) -> H) -> Self {
        Self {
            registry: registry.clone(),
            name: name.to_owned(),
            labels: Vec::new(),
            unit: Unit::NONE,
            help: String::new(),
            build,
        }
    }

    /// Adds a label; of a key given twice the last wins.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The metric's unit, by default none.
    pub fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// What the metric means, for those who read it in a dashboard.
    pub fn help(mut self, help: &str) -> Self {
        help.clone_into(&mut self.help);
        self
    }

    /// The handle.
    pub fn build(self) -> H {
        if self.unit != Unit::NONE || !self.help.is_empty() {
            self.registry.describe(&self.name, self.unit, &self.help);
        }
        (self.build)(&self.registry, &self.name, &Labels::new(self.labels))
    }
}

pub(crate) fn counter(registry: &Arc<Registry>, name: &str) -> InstrumentBuilder<Counter> {
    InstrumentBuilder::new(registry, name, Registry::counter)
}

pub(crate) fn up_down_counter(
    registry: &Arc<Registry>,
    name: &str,
) -> InstrumentBuilder<UpDownCounter> {
    InstrumentBuilder::new(registry, name, Registry::up_down_counter)
}

pub(crate) fn gauge(registry: &Arc<Registry>, name: &str) -> InstrumentBuilder<Gauge> {
    InstrumentBuilder::new(registry, name, Registry::gauge)
}

pub(crate) fn histogram(registry: &Arc<Registry>, name: &str) -> InstrumentBuilder<Histogram> {
    InstrumentBuilder::new(registry, name, |registry, name, labels| {
        registry.histogram(name, Measure::Value, labels)
    })
}

/// Names a query, then [`build`](Self::build)s its timer; from
/// [`Highwater::query`](crate::Highwater::query).
#[must_use = "nothing is recorded until `build` gave a handle"]
#[derive(Debug, Clone)]
pub struct QueryBuilder {
    registry: Arc<Registry>,
    duration: &'static str,
    labels: Vec<(String, String)>,
    pool: Option<String>,
    one_in: u32,
}

pub(crate) fn query(registry: &Arc<Registry>, name: &str) -> QueryBuilder {
    let labels = [(semconv::DB_SYSTEM_NAME, "other_sql"), (semconv::DB_QUERY_SUMMARY, name)];
    QueryBuilder::new(registry, semconv::DB_CLIENT_OPERATION_DURATION, &labels)
}

pub(crate) fn timer(registry: &Arc<Registry>, name: &str) -> QueryBuilder {
    QueryBuilder::new(registry, semconv::TIMER_DURATION, &[(semconv::TIMER_NAME, name)])
}

impl QueryBuilder {
    fn new(registry: &Arc<Registry>, duration: &'static str, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { registry: registry.clone(), duration, labels, pool: None, one_in: 1 }
    }

    /// The database, as [`db.system.name`](https://opentelemetry.io/docs/specs/semconv/registry/attributes/db/)
    /// names it: `postgresql`, `sqlite`, `mysql`, `redis`…; by default `other_sql`.
    pub fn system(self, name: &str) -> Self {
        self.label(semconv::DB_SYSTEM_NAME, name)
    }

    /// Adds a label; of a key given twice the last wins.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The pool its connections come from: `highwater.query.in_flight` says so, as
    /// `db.client.connection.pool.name`, and an alert's evidence blames no other pool for its
    /// waits. Durations are those of the query whatever its pool. None by default.
    pub fn pool(mut self, name: &str) -> Self {
        self.pool = Some(name.to_owned());
        self
    }

    /// Times one call in `calls` and only counts the others: for loops in which two readings of
    /// the clock are too dear. 1, every call, by default; at most 65,536.
    ///
    /// All calls are counted exactly in `highwater.query.calls` (`highwater.timer.calls`), failed
    /// ones with `error.type`. The durations carry the label `highwater.timed_one_in`, and each
    /// timed call is recorded as that many, so that rates and quantiles are those of all calls but
    /// for chance; which calls are timed is in step with nothing. There is no in-flight count.
    ///
    /// ```
    /// let hw = highwater::Highwater::builder("doc").start()?;
    /// let lookup = hw.timer("cache_lookup").timed_one_in(16).build();
    /// for key in 0..1_000 {
    ///     lookup.time(|| key + 1);
    /// }
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn timed_one_in(mut self, calls: u32) -> Self {
        self.one_in = calls.clamp(1, MOST_THINNED);
        self
    }

    /// The timer.
    pub fn build(self) -> Query {
        let Self { registry, duration, labels, pool, one_in } = self;
        let labels = Labels::new(labels);
        let is_timer = duration == semconv::TIMER_DURATION;
        let help = if is_timer {
            "Duration of timed calls."
        } else {
            "Duration of database client operations."
        };
        registry.describe(duration, Unit::SECONDS, help);
        if one_in > 1 {
            let calls = if is_timer { semconv::TIMER_CALLS } else { semconv::QUERY_CALLS };
            return thinned(registry, (duration, calls), labels, one_in);
        }
        let in_flight = if is_timer { semconv::TIMER_IN_FLIGHT } else { semconv::QUERY_IN_FLIGHT };
        registry.describe(in_flight, Unit::known("{call}"), "Calls begun and not yet ended.");
        let flying = match &pool {
            Some(pool) => labels.with(semconv::DB_CLIENT_CONNECTION_POOL_NAME, pool),
            None => labels.clone(),
        };
        let under_way = registry.up_down_counter(in_flight, &flying);
        under_way.0.is_of_things();
        Query::new(
            registry.histogram(duration, Measure::Time, &labels),
            under_way,
            Box::new(move |error_type| {
                let labels = labels.with(semconv::ERROR_TYPE, error_type);
                registry.histogram(duration, Measure::Time, &labels)
            }),
        )
    }
}

fn thinned(
    registry: Arc<Registry>,
    (duration, calls): (&'static str, &'static str),
    labels: Labels,
    one_in: u32,
) -> Query {
    registry.describe(calls, Unit::known("{call}"), "Calls, whether or not they were timed.");
    let timed = labels.with(semconv::TIMED_ONE_IN, &one_in.to_string());
    let both = registry.clone();
    Query::thinned(
        registry.histogram(duration, Measure::Time, &timed),
        one_in,
        registry.counter(calls, &labels),
        Box::new(move |error_type| {
            let labels = timed.with(semconv::ERROR_TYPE, error_type);
            registry.histogram(duration, Measure::Time, &labels)
        }),
        Box::new(move |error_type| {
            both.counter(calls, &labels.with(semconv::ERROR_TYPE, error_type))
        }),
    )
}
