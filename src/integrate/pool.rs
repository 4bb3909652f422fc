//! A pool's meter: what every integration of a pool measures, and the door in for pools that have
//! none.
//!
//! Two sides. The callers' side times: each wait for a connection, each use of one. The tick's
//! side asks the pool once a tick what it holds ([`State`]). An acquisition and a use cost two readings
//! of the clock and a record each, and no allocation; nothing in them is written by two threads. Who
//! has to wait is counted as pending as well.
//!
//! | metric | instrument, unit | attributes besides the pool's name |
//! |---|---|---|
//! | `db.client.connection.count` | up-down counter, `{connection}` | `db.client.connection.state`: `idle`, `used` |
//! | `db.client.connection.max` | up-down counter, `{connection}` | |
//! | `db.client.connection.idle.min` | up-down counter, `{connection}`; where the pool has one | |
//! | `db.client.connection.idle.max` | up-down counter, `{connection}`; where the pool has one | |
//! | `db.client.connection.pending_requests` | up-down counter, `{request}` | |
//! | `db.client.connection.timeouts` | counter, `{timeout}` | |
//! | `db.client.connection.wait_time` | histogram, s | |
//! | `db.client.connection.use_time` | histogram, s | |
//! | `db.client.connection.create_time` | histogram, s; with [`Opening`], or [`Pool::created`] | |
//! | `highwater.pool.waited_for` | gauge, 1 | |
//! | `highwater.pool.wait.share` | gauge, 1 | |
//! | `highwater.pool.acquire_timeout` | gauge, s | |
//! | `highwater.pool.abandoned` | counter, `{request}` | |
//! | `highwater.pool.failures` | counter, `{request}` | `error.type` |
//!
//! Who waits is what the pool says; of one that does not say ([`State::pending`]), those are counted
//! who are getting a connection through us while none is idle. So a pool that tests a connection
//! before it hands it out, which takes a moment, has no waiters because of it.
//!
//! The pool's name is `db.client.connection.pool.name`. The preset rules `PoolSaturated` and
//! `PoolTimeouts` judge every pool that is measured.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::since::Since;
use crate::{
    front::{InstrumentBuilder, Lazy},
    handle::Highwater,
    instrument::{Counter, CounterCore, Gauge, Histogram, UpDownCore},
    name::Unit,
    sample::{Failure, Meter, Sampler},
    semconv,
    sync::Arc,
};

const CONNECTIONS: Unit = Unit::known("{connection}");
const REQUESTS: Unit = Unit::known("{request}");
const POOL: &str = semconv::DB_CLIENT_CONNECTION_POOL_NAME;

/// What a pool says of itself; from the closure given to [`Pool::new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// Connections in callers' hands.
    pub used: u64,
    /// Open connections nobody uses.
    pub idle: u64,
    /// How many connections there may be.
    pub max: u64,
    /// Who waits for a connection, where the pool knows. Otherwise those are counted who wait
    /// through [`Pool::acquire`] while no connection is idle.
    pub pending: Option<u64>,
    /// How many idle connections the pool keeps at least, where it has such a bound.
    pub idle_min: Option<u64>,
    /// How many idle connections the pool keeps at most, where it has such a bound.
    pub idle_max: Option<u64>,
    /// After how long the pool ends a wait without a connection.
    pub acquire_timeout: Option<Duration>,
}

impl State {
    /// So many connections used and idle, of at most `max`.
    pub fn new(used: u64, idle: u64, max: u64) -> Self {
        Self {
            used,
            idle,
            max,
            pending: None,
            idle_min: None,
            idle_max: None,
            acquire_timeout: None,
        }
    }

    /// The pool itself knows how many wait.
    #[must_use]
    pub fn pending(mut self, callers: u64) -> Self {
        self.pending = Some(callers);
        self
    }

    /// The pool keeps at least so many idle.
    #[must_use]
    pub fn idle_min(mut self, connections: u64) -> Self {
        self.idle_min = Some(connections);
        self
    }

    /// The pool keeps at most so many idle.
    #[must_use]
    pub fn idle_max(mut self, connections: u64) -> Self {
        self.idle_max = Some(connections);
        self
    }

    /// The pool ends a wait after this long.
    #[must_use]
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = Some(timeout);
        self
    }
}

/// How a request for a connection failed; says the closure given to [`Pool::acquire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It waited too long.
    Timeout,
    /// Anything else, by an `error.type` of low cardinality: the server cannot be reached, the
    /// pool is closed.
    Error(&'static str),
}

/// A measured pool: clone it, share it.
///
/// For pools that have an integration of their own use that; this one is for all others.
///
/// ```
/// use highwater::{Highwater, integrate::pool::{Pool, Refusal, State}};
///
/// # struct Ours; struct Connection;
/// # impl Ours {
/// #     fn len(&self) -> u64 { 4 }
/// #     fn idle(&self) -> u64 { 3 }
/// #     async fn get(&self) -> Result<Connection, std::io::Error> { Ok(Connection) }
/// # }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let hw = Highwater::builder("doc").start()?;
/// let ours = std::sync::Arc::new(Ours);
///
/// let seen = std::sync::Arc::downgrade(&ours);
/// let pool = Pool::new(&hw, "main", move || {
///     let ours = seen.upgrade()?;                            // `None`: the pool is gone
///     Some(State::new(ours.len() - ours.idle(), ours.idle(), 16))
/// });
///
/// let connection = pool.acquire(ours.get(), |error| match error.kind() {
///     std::io::ErrorKind::TimedOut => Refusal::Timeout,
///     _ => Refusal::Error("io"),
/// }).await?;
/// let used = pool.used();                                    // until it is dropped
/// # drop((connection, used));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Core>);

struct Core {
    name: String,
    /// Who waits through us.
    waiting: UpDownCore,
    wait_time: Histogram,
    use_time: Histogram,
    /// Nanoseconds that all waits and all uses took; not read off the histograms, which only the
    /// tick's thread folds.
    waited: CounterCore,
    held: CounterCore,
    timeouts: Counter,
    abandoned: Counter,
    // What not every pool has is a series only once it occurs.
    create_time: Lazy<Histogram>,
    failures: InstrumentBuilder<Counter>,
}

impl Pool {
    /// Measures a pool under a name that is unique in the service. `state` is asked once a tick, on
    /// highwater's own thread, and must not block; when it gives `None` the pool is gone, its
    /// values become absent, and it is not asked again.
    pub fn new(
        hw: &Highwater,
        name: &str,
        state: impl FnMut() -> Option<State> + Send + 'static,
    ) -> Self {
        let time = |metric: &str, help: &str| {
            hw.histogram(metric).unit(Unit::SECONDS).help(help).label(POOL, name)
        };
        let count = |metric: &str, unit, help: &str| {
            hw.counter(metric).unit(unit).help(help).label(POOL, name)
        };
        let pool = Self(Arc::new(Core {
            name: name.to_owned(),
            waiting: UpDownCore::new(),
            wait_time: time(
                semconv::DB_CLIENT_CONNECTION_WAIT_TIME,
                "How long it took to get a connection.",
            )
            .build(),
            use_time: time(
                semconv::DB_CLIENT_CONNECTION_USE_TIME,
                "How long a connection was held.",
            )
            .build(),
            waited: CounterCore::new(),
            held: CounterCore::new(),
            timeouts: count(
                semconv::DB_CLIENT_CONNECTION_TIMEOUTS,
                Unit::known("{timeout}"),
                "Waits for a connection that the pool ended without one.",
            )
            .build(),
            abandoned: count(
                semconv::POOL_ABANDONED,
                REQUESTS,
                "Waits for a connection that their caller gave up.",
            )
            .build(),
            create_time: create_time(hw, name).into(),
            failures: count(
                semconv::POOL_FAILURES,
                REQUESTS,
                "Requests for a connection that failed, but not by waiting too long.",
            ),
        }));
        hw.sample(Reader {
            name: format!("pool {name}"),
            pool: pool.clone(),
            state: Box::new(state),
            before: (0, 0),
            gauges: None,
        });
        pool
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Waits for a connection and measures how long. A future that is dropped while it waits is
    /// counted in `highwater.pool.abandoned`: its caller gave up sooner than the pool.
    ///
    /// # Errors
    /// Those of `acquire`; `refusal` says how they are counted.
    pub fn acquire<C, E>(
        &self,
        acquire: impl Future<Output = Result<C, E>>,
        refusal: impl FnOnce(&E) -> Refusal,
    ) -> impl Future<Output = Result<C, E>> {
        // Not an `async fn`: that would keep `acquire` twice, as what it was given and as what it
        // polls, and an acquisition may be kilobytes of state.
        Acquiring { waiting: None, acquire, refusal: Some(refusal), core: &self.0, begun: None }
    }

    /// The same for a pool that blocks its caller.
    ///
    /// # Errors
    /// Those of `acquire`; `refusal` says how they are counted.
    pub fn acquire_blocking<C, E>(
        &self,
        acquire: impl FnOnce() -> Result<C, E>,
        refusal: impl FnOnce(&E) -> Refusal,
    ) -> Result<C, E> {
        let begun = Since::now();
        let waiting = Waiting::begin(&self.0);
        let got = acquire();
        waiting.end();
        match &got {
            Ok(_) => self.0.waited(begun.seconds()),
            Err(error) => self.0.refused(refusal(error)),
        }
        got
    }

    /// A connection was got after this long; for pools with a hook of their own.
    pub fn waited(&self, elapsed: Duration) {
        self.0.waited(elapsed.as_secs_f64());
    }

    /// There was no connection to be had; for pools with a hook of their own.
    pub fn refused(&self, refusal: Refusal) {
        self.0.refused(refusal);
    }

    /// Opening a connection took this long.
    pub fn created(&self, elapsed: Duration) {
        self.0.create_time.get().record_duration(elapsed);
    }

    /// A connection is in use until this is dropped.
    pub fn used(&self) -> Used {
        Used { pool: self.clone(), since: Since::now() }
    }

    /// The same for who keeps the pool anyway.
    #[cfg(feature = "sqlx")]
    pub(super) fn using(&self) -> Using<'_> {
        Using { core: &self.0, since: Since::now() }
    }

    /// A connection was held for this long; for pools with a hook of their own.
    pub fn held(&self, elapsed: Duration) {
        self.0.held(elapsed.as_secs_f64());
    }
}

impl Core {
    fn waited(&self, seconds: f64) {
        self.wait_time.record(seconds);
        self.waited.increment(nanos(seconds));
    }

    fn held(&self, seconds: f64) {
        self.use_time.record(seconds);
        self.held.increment(nanos(seconds));
    }

    #[cold]
    fn refused(&self, refusal: Refusal) {
        match refusal {
            Refusal::Timeout => self.timeouts.increment(1),
            Refusal::Error(error_type) => {
                let failures = self.failures.clone().label(semconv::ERROR_TYPE, error_type);
                failures.build().increment(1);
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.0.name).finish_non_exhaustive()
    }
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

pin_project! {
    /// A connection being got; from [`Pool::acquire`].
    struct Acquiring<'a, F, R> {
        waiting: Option<Waiting<'a>>,
        #[pin]
        acquire: F,
        // `None` once it was asked.
        refusal: Option<R>,
        core: &'a Core,
        // `None` before the first poll.
        begun: Option<Since>,
    }
}

impl<F, R, C, E> Future for Acquiring<'_, F, R>
where
    F: Future<Output = Result<C, E>>,
    R: FnOnce(&E) -> Refusal,
{
    type Output = Result<C, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<C, E>> {
        let this = self.project();
        let begun = *this.begun.get_or_insert_with(Since::now);
        let polled = this.acquire.poll(cx);
        if polled.is_pending() && this.waiting.is_none() {
            *this.waiting = Some(Waiting::begin(this.core));
        }
        let got = ready!(polled);
        this.waiting.take().into_iter().for_each(Waiting::end);
        match (&got, this.refusal.take()) {
            (Ok(_), _) => this.core.waited(begun.seconds()),
            (Err(error), Some(refusal)) => this.core.refused(refusal(error)),
            (Err(_), None) => {}
        }
        Poll::Ready(got)
    }
}

/// One that waits; dropped before its end, it gave up.
struct Waiting<'a> {
    core: &'a Core,
    ended: bool,
}

impl<'a> Waiting<'a> {
    fn begin(core: &'a Core) -> Self {
        core.waiting.add(1);
        Self { core, ended: false }
    }

    fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.core.waiting.add(-1);
        if !self.ended {
            self.core.abandoned.increment(1);
        }
    }
}

/// A manager of connections (deadpool's, bb8's, r2d2's) that measures how long opening one takes:
/// `db.client.connection.create_time`. Those that fail are not in it.
///
/// ```
/// # let hw = highwater::Highwater::builder("doc").start()?;
/// # #[derive(Debug)] struct Manager;
/// use highwater::integrate::pool::Opening;
///
/// let manager = Opening::of(&hw, "main", Manager);    // and `manager` goes to the pool's builder
/// # assert!(format!("{manager:?}").contains("Manager"));
/// # Ok::<(), highwater::Error>(())
/// ```
#[cfg(any(feature = "bb8", feature = "deadpool", feature = "r2d2"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "bb8", feature = "deadpool", feature = "r2d2"))))]
#[derive(Clone, Debug)]
pub struct Opening<M> {
    manager: M,
    create_time: Histogram,
}

#[cfg(any(feature = "bb8", feature = "deadpool", feature = "r2d2"))]
impl<M> Opening<M> {
    /// Measures the manager of the pool that is, or will be, measured under this name.
    pub fn of(hw: &Highwater, pool: &str, manager: M) -> Self {
        Self { manager, create_time: create_time(hw, pool).build() }
    }

    /// The manager as it was.
    pub fn manager(&self) -> &M {
        &self.manager
    }

    #[cfg(any(feature = "bb8", feature = "deadpool"))]
    pub(super) async fn open<C, E>(
        &self,
        opening: impl Future<Output = Result<C, E>>,
    ) -> Result<C, E> {
        let begun = Since::now();
        let opened = opening.await?;
        self.create_time.record(begun.seconds());
        Ok(opened)
    }

    #[cfg(feature = "r2d2")]
    pub(super) fn open_blocking<C, E>(&self, open: impl FnOnce() -> Result<C, E>) -> Result<C, E> {
        let begun = Since::now();
        let opened = open()?;
        self.create_time.record(begun.seconds());
        Ok(opened)
    }
}

fn create_time(hw: &Highwater, pool: &str) -> InstrumentBuilder<Histogram> {
    hw.histogram(semconv::DB_CLIENT_CONNECTION_CREATE_TIME)
        .unit(Unit::SECONDS)
        .help("How long opening a connection took.")
        .label(POOL, pool)
}

/// A connection in use; from [`Pool::used`].
#[must_use = "the connection counts as used until this is dropped"]
#[derive(Debug)]
pub struct Used {
    pool: Pool,
    since: Since,
}

impl Drop for Used {
    fn drop(&mut self) {
        self.pool.0.held(self.since.seconds());
    }
}

/// A connection in use by who keeps its pool.
#[cfg(feature = "sqlx")]
#[must_use = "the connection counts as used until this is dropped"]
pub(super) struct Using<'a> {
    core: &'a Core,
    since: Since,
}

#[cfg(feature = "sqlx")]
impl Drop for Using<'_> {
    fn drop(&mut self) {
        self.core.held(self.since.seconds());
    }
}

/// Lets go of a pool on a thread of its own, should we be the last to hold it: closing connections
/// may block, and the tick must not.
#[cfg(any(feature = "bb8", feature = "r2d2"))]
pub(super) fn let_go<P: Send + Sync + 'static>(pool: Arc<P>) {
    if let Some(last) = Arc::into_inner(pool) {
        let close = std::thread::Builder::new().name("highwater-pool".to_owned());
        // Without a thread to be had it is dropped here after all.
        let _ = close.spawn(move || drop(last));
    }
}

/// The tick's side.
struct Reader {
    name: String,
    pool: Pool,
    state: Box<dyn FnMut() -> Option<State> + Send>,
    /// What had been waited and held by the last tick.
    before: (u64, u64),
    gauges: Option<Gauges>,
}

struct Gauges {
    used: Gauge,
    idle: Gauge,
    max: Gauge,
    pending: Gauge,
    waited_for: Gauge,
    wait_share: Gauge,
    idle_min: Gauge,
    idle_max: Gauge,
    acquire_timeout: Gauge,
}

impl Sampler for Reader {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        let name = self.pool.name();
        let mut connections = |state| {
            meter.up_down_counter(
                semconv::DB_CLIENT_CONNECTION_COUNT,
                CONNECTIONS,
                "A pool's connections by state.",
                [(POOL, name), (semconv::DB_CLIENT_CONNECTION_STATE, state)],
            )
        };
        let (used, idle) = (connections("used"), connections("idle"));
        self.gauges = Some(Gauges {
            used,
            idle,
            max: meter.up_down_counter(
                semconv::DB_CLIENT_CONNECTION_MAX,
                CONNECTIONS,
                "How many connections a pool may open.",
                [(POOL, name)],
            ),
            pending: meter.up_down_counter(
                semconv::DB_CLIENT_CONNECTION_PENDING_REQUESTS,
                REQUESTS,
                "Who waits for a connection.",
                [(POOL, name)],
            ),
            waited_for: meter.gauge(
                semconv::POOL_WAITED_FOR,
                Unit::ONE,
                "1 if somebody waits for a connection, else 0.",
                [(POOL, name)],
            ),
            wait_share: meter.gauge(
                semconv::POOL_WAIT_SHARE,
                Unit::ONE,
                "Of the time callers spent on a connection in the last tick, the share they waited.",
                [(POOL, name)],
            ),
            idle_min: meter.up_down_counter(
                semconv::DB_CLIENT_CONNECTION_IDLE_MIN,
                CONNECTIONS,
                "How many idle connections a pool keeps at least.",
                [(POOL, name)],
            ),
            idle_max: meter.up_down_counter(
                semconv::DB_CLIENT_CONNECTION_IDLE_MAX,
                CONNECTIONS,
                "How many idle connections a pool keeps at most.",
                [(POOL, name)],
            ),
            acquire_timeout: meter.gauge(
                semconv::POOL_ACQUIRE_TIMEOUT,
                Unit::SECONDS,
                "After how long a pool ends a wait without a connection.",
                [(POOL, name)],
            ),
        });
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        let Some(gauges) = &self.gauges else { return Ok(()) };
        let state = (self.state)().ok_or(Failure::Ended)?;
        let pending = match (state.pending, state.idle) {
            (Some(pending), _) => pending,
            // Who began and ended on different threads may be read in part.
            (None, 0) => u64::try_from(self.pool.0.waiting.total()).unwrap_or(0),
            (None, _) => 0,
        };
        gauges.used.set(state.used as f64);
        gauges.idle.set(state.idle as f64);
        gauges.max.set(state.max as f64);
        gauges.pending.set(pending as f64);
        gauges.waited_for.set(f64::from(pending > 0));
        let core = &self.pool.0;
        let all = (core.waited.total(), core.held.total());
        let before = std::mem::replace(&mut self.before, all);
        let gained = (all.0.wrapping_sub(before.0), all.1.wrapping_sub(before.1));
        gauges.wait_share.set(wait_share(gained, pending, state.used));
        for (gauge, bound) in
            [(&gauges.idle_min, state.idle_min), (&gauges.idle_max, state.idle_max)]
        {
            if let Some(bound) = bound {
                gauge.set(bound as f64);
            }
        }
        if let Some(timeout) = state.acquire_timeout {
            gauges.acquire_timeout.set(timeout.as_secs_f64());
        }
        Ok(())
    }
}

/// Of the nanoseconds waited and held. If nothing ended, callers are counted: their mean numbers
/// are in the same proportion (Little's law).
fn wait_share((waited, held): (u64, u64), pending: u64, used: u64) -> f64 {
    let (waits, holds) = if waited == 0 && held == 0 { (pending, used) } else { (waited, held) };
    let all = waits as f64 + holds as f64;
    if all > 0.0 { waits as f64 / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_waiting_is_of_what_ended_or_of_who_is_there() {
        assert_eq!(wait_share((300, 100), 0, 4), 0.75);
        assert_eq!(wait_share((0, 100), 7, 4), 0.0, "one came back, and nobody got it yet");
        assert_eq!(wait_share((0, 0), 12, 4), 0.75, "nothing comes back");
        assert_eq!(wait_share((0, 0), 0, 4), 0.0);
        assert_eq!(wait_share((0, 0), 0, 0), 0.0);
    }
}
