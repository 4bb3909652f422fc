//! The query timer: how long a call took, whether it failed, how many are in flight.
//!
//! Any number of threads, and calls that start on one and end on another. What a call carries is
//! its start tick only; the shard is chosen where it ends. Futures are in [`timed`](super::timed).

use std::{fmt, future::Future, time::Duration};

use super::{
    counter::{Counter, UpDownCore, UpDownCounter},
    histogram::{Histogram, HistogramCore, Measure},
    lease,
    thin::Thin,
    timed::{ClassifiedTimed, Timed, TryTimed},
};
use crate::{
    clock,
    sync::{Arc, OnceCell, once},
};

/// How many error types of one query are found without asking the registry again.
const CACHED_ERROR_TYPES: usize = 16;

/// `error.type` of a call that was dropped before it ended.
const CANCELLED: &str = "cancelled";
/// `error.type` of a call during which its thread panicked.
const PANIC: &str = "panic";

/// Finds the series of a query's failures by `error.type`.
pub(crate) type ResolveFailure = Box<dyn Fn(&str) -> Histogram + Send + Sync>;

/// Finds the counter of a thinned query's failures by `error.type`.
pub(crate) type ResolveCalls = Box<dyn Fn(&str) -> Counter + Send + Sync>;

/// A timed query, resolved once: clone it, share it, keep it.
///
/// Each call lands in `db.client.operation.duration` (seconds), a failed one in a series of its
/// own with `error.type`; `highwater.query.in_flight` counts those under way. A timed thing that
/// is no database query is the same type with other names: `highwater.timer.duration`.
///
/// A call that is dropped before it ends (a cancelled future, a [`QueryGuard`] neither stopped nor
/// failed) is recorded with the time it had taken and `error.type="cancelled"`, one that panics
/// with `error.type="panic"`: time was spent and a connection held, so it must not vanish from the
/// latency; rules on failures leave cancellations out by that label.
///
/// Error: durations are right to 500 parts in a million in the process' first second and to one in
/// a million from then on, and to the few nanoseconds by which a processor reads its counter early
/// or late; none is ever negative. Where the kernel does not trust the counter the clock is
/// [`Instant`](std::time::Instant), and `HIGHWATER_CLOCK=instant` takes it everywhere. Quantiles of
/// what was recorded are within 1.1%, its count, least and greatest exact.
///
/// Cost: two readings of the clock and a few nanoseconds, without locks or allocation. A query of
/// fewer than 1,024 calls between two readings of the engine is counted in one place by all threads,
/// which costs some 20 ns more, or what it takes two cores to agree where they meet. The first
/// failure of each `error.type` resolves its series, which takes a lock, and so does every failure
/// of a type beyond the first 16. When the instance has stopped, a load and a branch.
///
/// ```
/// let hw = highwater::Highwater::builder("doc").start()?;
/// let orders = hw.query("orders_by_user").system("sqlite").build();
/// let two = orders.time(|| 1 + 1);
/// let parsed = orders.try_time(|| "x".parse::<u8>()); // recorded with its `error.type`
/// assert!(two == 2 && parsed.is_err());
/// # Ok::<(), highwater::Error>(())
/// ```
#[derive(Clone)]
pub struct Query(Arc<QueryCore>);

pub(super) struct QueryCore {
    duration: Histogram,
    kind: Kind,
    failures: [OnceCell<Failure>; CACHED_ERROR_TYPES],
    resolve: ResolveFailure,
}

enum Kind {
    /// Every call is timed.
    Full { in_flight: UpDownCounter },
    /// One in N is.
    Thinned { thin: Thin, resolve: ResolveCalls },
}

/// The series of one `error.type`.
struct Failure {
    error_type: Box<str>,
    duration: Histogram,
    /// Of a thinned query.
    calls: Option<Counter>,
}

/// How a call has begun: the tick, or one of two things that are no tick.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Start(u64);

impl Start {
    /// Nobody was interested, or it has ended.
    const NONE: Self = Self(0);
    /// A thinned query's, to be counted only.
    const UNTIMED: Self = Self(1);
}

impl QueryCore {
    /// A call starts; without a look at the clock if nobody is interested.
    #[inline]
    fn begin(&self) -> Start {
        if !self.duration.0.is_live() {
            return Start::NONE;
        }
        match &self.kind {
            Kind::Full { in_flight } => in_flight.0.add_at(lease::held(), 1),
            Kind::Thinned { thin, .. } if !thin.is_timed() => return Start::UNTIMED,
            Kind::Thinned { .. } => {}
        }
        // Last, so that our own work is not in the measurement.
        Start(clock::ticks())
    }

    // What has begun is ended whether or not the instance has stopped meanwhile: nobody looks.

    /// In line only for a call that is counted and not timed: all that it takes is less than a call.
    #[inline(always)]
    fn succeed(&self, started: Start) {
        if started == Start::UNTIMED
            && let Kind::Thinned { thin, .. } = &self.kind
        {
            return thin.calls.0.add_at(lease::held(), 1);
        }
        self.succeed_timed(started);
    }

    #[inline]
    fn succeed_timed(&self, started: Start) {
        if started == Start::NONE {
            return;
        }
        // Each call is the last thing that is done: any other would have registers saved for it.
        match &self.kind {
            Kind::Full { in_flight } => {
                let Some(ticks) = clock::ticks_near() else { return self.succeed_far(started) };
                let elapsed = ticks.wrapping_sub(started.0);
                let held = lease::held();
                if self.duration.0.record_ticks_near(held, elapsed, 1) {
                    in_flight.0.add_at(held, -1);
                } else {
                    self.succeed_unusually(elapsed);
                }
            }
            Kind::Thinned { thin, .. } => self.succeed_thinned(started, thin),
        }
    }

    #[inline(never)]
    fn succeed_thinned(&self, started: Start, thin: &Thin) {
        let Some(ticks) = clock::ticks_near() else { return self.succeed_far(started) };
        let elapsed = ticks.wrapping_sub(started.0);
        let held = lease::held();
        if self.duration.0.record_ticks_near(held, elapsed, thin.one_in) {
            thin.calls.0.add_at(held, 1);
        } else {
            self.succeed_unusually(elapsed);
        }
    }

    #[inline(never)]
    fn succeed_far(&self, started: Start) {
        self.succeed_unusually(clock::ticks().wrapping_sub(started.0));
    }

    /// In every case; a duration is none below zero.
    #[inline(never)]
    fn succeed_unusually(&self, elapsed: u64) {
        let elapsed = (elapsed as i64 >= 0).then_some(elapsed);
        let slot = lease::current();
        match &self.kind {
            Kind::Full { in_flight } => {
                self.duration.0.record_elapsed_at(slot, elapsed, 1);
                in_flight.0.add_at(slot, -1);
            }
            Kind::Thinned { thin, .. } => {
                self.duration.0.record_elapsed_at(slot, elapsed, thin.one_in);
                thin.calls.0.add_at(slot, 1);
            }
        }
    }

    #[inline(never)]
    fn fail(&self, started: Start, error_type: &str) {
        if started == Start::NONE {
            return;
        }
        let elapsed = (started != Start::UNTIMED).then(|| clock::elapsed_since(started.0));
        let slot = lease::current();
        let (times, in_flight) = match &self.kind {
            Kind::Full { in_flight } => (1, Some(in_flight)),
            Kind::Thinned { thin, .. } => (thin.one_in, None),
        };
        self.with_failures(error_type, |failure| {
            if let Some(elapsed) = elapsed {
                failure.duration.0.record_elapsed_at(slot, elapsed, times);
            }
            if let Some(calls) = &failure.calls {
                calls.0.add_at(slot, 1);
            }
        });
        if let Some(in_flight) = in_flight {
            in_flight.0.add_at(slot, -1);
        }
    }

    /// The call ended, nobody said how.
    #[cold]
    fn abandon(&self, started: Start) {
        self.fail(started, if std::thread::panicking() { PANIC } else { CANCELLED });
    }

    fn with_failures(&self, error_type: &str, record: impl FnOnce(&Failure)) {
        let resolve = || Failure {
            error_type: error_type.into(),
            duration: (self.resolve)(error_type),
            calls: match &self.kind {
                Kind::Full { .. } => None,
                Kind::Thinned { resolve, .. } => Some(resolve(error_type)),
            },
        };
        for slot in &self.failures {
            let known = once(slot, resolve);
            if &*known.error_type == error_type {
                return record(known);
            }
        }
        record(&resolve());
    }
}

impl Query {
    pub(crate) fn new(
        duration: Histogram,
        in_flight: UpDownCounter,
        resolve: ResolveFailure,
    ) -> Self {
        Self::of(duration, Kind::Full { in_flight }, resolve)
    }

    /// A query of which one call in `one_in` is timed, and all are counted; `one_in` from 2 to
    /// [`MOST_THINNED`](super::MOST_THINNED).
    pub(crate) fn thinned(
        duration: Histogram,
        one_in: u32,
        calls: Counter,
        resolve: ResolveFailure,
        resolve_calls: ResolveCalls,
    ) -> Self {
        let kind = Kind::Thinned { thin: Thin::new(one_in, calls), resolve: resolve_calls };
        Self::of(duration, kind, resolve)
    }

    /// A query that does nothing.
    pub(crate) fn inert() -> Self {
        fn nowhere() -> Histogram {
            let core = HistogramCore::new(Measure::Time, Arc::default());
            core.retire();
            Histogram(Arc::new(core))
        }
        let in_flight = UpDownCounter(Arc::new(UpDownCore::new()));
        Self::new(nowhere(), in_flight, Box::new(|_| nowhere()))
    }

    /// Whether both are one.
    #[cfg(test)]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn of(duration: Histogram, kind: Kind, resolve: ResolveFailure) -> Self {
        Self(Arc::new(QueryCore { duration, kind, failures: Default::default(), resolve }))
    }

    /// Times `call`.
    #[inline]
    pub fn time<T>(&self, call: impl FnOnce() -> T) -> T {
        let guard = self.start();
        let result = call();
        guard.finish(None);
        result
    }

    /// Times `call`; an `Err` is recorded with its type's name as `error.type`.
    ///
    /// For errors that are no failures, such as "row not found", see [`Query::classify`].
    ///
    /// # Errors
    /// Those of `call`.
    #[inline]
    pub fn try_time<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let guard = self.start();
        let result = call();
        guard.finish(failure_type(&result));
        result
    }

    /// Starts timing by hand: end it with [`QueryGuard::stop`] or [`QueryGuard::fail`]. Dropped
    /// before, the call is recorded as cancelled, or as a panic while the thread unwinds.
    ///
    /// ```
    /// # let hw = highwater::Highwater::builder("doc").start()?;
    /// # let orders = hw.query("orders_by_user").system("sqlite").build();
    /// let call = orders.start();
    /// let found: Option<u32> = None;
    /// match found {
    ///     Some(_) => call.stop(),
    ///     None => call.fail("not_found"),
    /// }
    /// # Ok::<(), highwater::Error>(())
    /// ```
    #[inline]
    pub fn start(&self) -> QueryGuard<'_> {
        QueryGuard { query: &self.0, started: self.0.begin() }
    }

    /// Records a call that somebody else has timed: a driver's own hook. In the sum it counts in
    /// whole ticks of the clock, half a nanosecond off at most.
    pub fn record(&self, elapsed: Duration) {
        if self.0.duration.0.is_live() {
            self.0.duration.record_duration(elapsed);
            if let Kind::Thinned { thin, .. } = &self.0.kind {
                thin.calls.increment(1);
            }
        }
    }

    /// Records a failed call that somebody else has timed; `error_type` must be of low
    /// cardinality.
    pub fn record_failure(&self, elapsed: Duration, error_type: &str) {
        if self.0.duration.0.is_live() {
            self.0.with_failures(error_type, |failure| {
                failure.duration.record_duration(elapsed);
                if let Some(calls) = &failure.calls {
                    calls.increment(1);
                }
            });
        }
    }

    /// Times a future from its first poll to its end, across `.await`s and threads. Dropped
    /// between the two it is recorded as cancelled; dropped before the first poll, not at all.
    ///
    /// ```
    /// # async fn find() -> u32 { 1 }
    /// # async fn f(orders: highwater::Query) {
    /// let row = orders.timed(find()).await;
    /// # }
    /// ```
    pub fn timed<F: Future>(&self, future: F) -> Timed<F> {
        Timed::new(self.clone(), future)
    }

    /// Times a fallible future like [`Query::try_time`].
    pub fn try_timed<T, E, F: Future<Output = Result<T, E>>>(&self, future: F) -> TryTimed<F> {
        TryTimed::new(self.clone(), future)
    }

    /// A call that owns its query, ended by hand: for streams, and for wrappers of drivers whose
    /// calls begin and end in different places.
    ///
    /// ```
    /// # let hw = highwater::Highwater::builder("doc").start()?;
    /// # let orders = hw.query("orders_by_user").system("sqlite").build();
    /// let mut call = orders.call();
    /// call.during(|| { /* a poll, a step: the first begins it */ });
    /// call.fail("23505");                                      // or `stop`; dropped, cancelled
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn call(&self) -> QueryCall {
        QueryCall { query: self.clone(), started: None }
    }

    /// A query whose errors `classify` names: `None` is no failure, and recorded as a success. The
    /// name may be borrowed or owned; it must be of low cardinality.
    ///
    /// ```
    /// # let hw = highwater::Highwater::builder("doc").start()?;
    /// # let orders = hw.query("orders_by_user").system("sqlite").build();
    /// let orders = orders.classify(|error: &std::io::Error| match error.kind() {
    ///     std::io::ErrorKind::NotFound => None,
    ///     std::io::ErrorKind::TimedOut => Some("timeout"),
    ///     _ => Some("io"),
    /// });
    /// let missing = orders.try_time(|| std::fs::read("/no/such/file")); // a success of the query
    /// # assert!(missing.is_err());
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn classify<E, S: AsRef<str>, C: Fn(&E) -> Option<S>>(
        &self,
        classify: C,
    ) -> ClassifiedQuery<C> {
        ClassifiedQuery { query: self.clone(), classify }
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").finish_non_exhaustive()
    }
}

/// What an `Err` without a classifier is recorded as.
pub(super) fn failure_type<T, E>(result: &Result<T, E>) -> Option<&'static str> {
    result.as_ref().err().map(|_| std::any::type_name::<E>())
}

/// A [`Query`] that knows which errors are failures; from [`Query::classify`].
#[derive(Clone, Debug)]
pub struct ClassifiedQuery<C> {
    query: Query,
    classify: C,
}

impl<C> ClassifiedQuery<C> {
    /// Times `call`; an `Err` that the classifier names is recorded with that `error.type`, any
    /// other as a success.
    ///
    /// # Errors
    /// Those of `call`.
    #[inline]
    pub fn try_time<T, E, S: AsRef<str>>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, E>
    where
        C: Fn(&E) -> Option<S>,
    {
        let guard = self.query.start();
        let result = call();
        let failed = result.as_ref().err().and_then(&self.classify);
        guard.finish(failed.as_ref().map(AsRef::as_ref));
        result
    }

    /// Times a fallible future like [`ClassifiedQuery::try_time`], from its first poll to its end.
    pub fn try_timed<T, E, S: AsRef<str>, F>(&self, future: F) -> ClassifiedTimed<F, C>
    where
        C: Fn(&E) -> Option<S> + Clone,
        F: Future<Output = Result<T, E>>,
    {
        ClassifiedTimed::new(self.query.clone(), future, self.classify.clone())
    }
}

/// A call under way; from [`Query::start`].
#[must_use = "a guard dropped without `stop` records a cancelled call"]
pub struct QueryGuard<'a> {
    query: &'a QueryCore,
    started: Start,
}

impl QueryGuard<'_> {
    /// The call succeeded.
    #[inline]
    pub fn stop(self) {
        self.finish(None);
    }

    /// The call failed; `error_type` must be of low cardinality.
    #[inline]
    pub fn fail(self, error_type: &str) {
        self.finish(Some(error_type));
    }

    #[inline]
    fn finish(self, failed: Option<&str>) {
        let (query, started) = (self.query, self.started);
        // Its destructor is for calls that do not come here.
        std::mem::forget(self);
        match failed {
            // Here already, so that a stopped instance costs no call.
            _ if started == Start::NONE => {}
            None => query.succeed(started),
            Some(error_type) => query.fail(started, error_type),
        }
    }
}

impl Drop for QueryGuard<'_> {
    fn drop(&mut self) {
        self.query.abandon(self.started);
    }
}

impl fmt::Debug for QueryGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryGuard").finish_non_exhaustive()
    }
}

/// A call that owns its query: begun by its first step, ended once; from [`Query::call`]. Dropped
/// between the two it is recorded as cancelled; dropped before the first, not at all.
#[must_use = "a call dropped without `stop` is recorded as cancelled"]
pub struct QueryCall {
    query: Query,
    /// `None` before the first step.
    started: Option<Start>,
}

impl QueryCall {
    /// Does a step of the call; the first begins it. If it panics the call is recorded so.
    pub fn during<T>(&mut self, step: impl FnOnce() -> T) -> T {
        let entered = self.enter();
        let made = step();
        drop(entered);
        made
    }

    /// The call succeeded. Once it has ended, nothing more is recorded.
    pub fn stop(&mut self) {
        self.finish(None);
    }

    /// The call failed; `error_type` must be of low cardinality.
    pub fn fail(&mut self, error_type: &str) {
        self.finish(Some(error_type));
    }

    /// Begins at the first call, and ends it as a panic if the poll it is called for unwinds: an
    /// executor that catches the panic drops the future later, when it looks like a cancellation.
    pub(crate) fn enter(&mut self) -> Entered<'_> {
        self.started.get_or_insert_with(|| self.query.0.begin());
        Entered(self)
    }

    pub(crate) fn finish(&mut self, failed: Option<&str>) {
        let started = self.end();
        match failed {
            None => self.query.0.succeed(started),
            Some(error_type) => self.query.0.fail(started, error_type),
        }
    }

    fn abandon(&mut self) {
        let started = self.end();
        self.query.0.abandon(started);
    }

    fn end(&mut self) -> Start {
        self.started.replace(Start::NONE).unwrap_or(Start::NONE)
    }
}

impl Drop for QueryCall {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl fmt::Debug for QueryCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryCall").finish_non_exhaustive()
    }
}

/// A poll under way.
pub(crate) struct Entered<'a>(&'a mut QueryCall);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abandon();
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "query_tests.rs"]
mod tests;
