//! deadpool: a pool that measures who waits, for how long, and how long objects are held.
//!
//! Of any kind of object; with `deadpool-postgres` or `deadpool-redis` its `Pool` is deadpool's own.
//! The metrics are those of a [`pool`], `create_time` with [`Opening`] around the manager. What the pool itself counts
//! (used, idle, waiting) includes those who take objects from it directly; waits, time-outs and
//! uses are those that go through [`Pool::get`].

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use ::deadpool::managed::{self, Manager, PoolError};

use super::pool::{self, Opening, Refusal, State, Used};
use crate::handle::Highwater;

/// A measured pool: clone it, share it, as deadpool's own.
///
/// ```
/// use deadpool::managed;
/// use highwater::{Highwater, integrate};
///
/// # struct Manager;
/// # impl managed::Manager for Manager {
/// #     type Type = u32;
/// #     type Error = std::io::Error;
/// #     async fn create(&self) -> Result<u32, std::io::Error> { Ok(7) }
/// #     async fn recycle(&self, _: &mut u32, _: &managed::Metrics) -> managed::RecycleResult<std::io::Error> { Ok(()) }
/// # }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let hw = Highwater::builder("doc").start()?;
/// let manager = integrate::pool::Opening::of(&hw, "main", Manager);   // for `create_time`
/// let pool: managed::Pool<_> = managed::Pool::builder(manager).max_size(4).build()?;
/// let pool = integrate::deadpool::Pool::new(&hw, "main", pool);       // the one line
/// let object = pool.get().await?;
/// assert_eq!(*object, 7);
/// # drop(object);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool<M: Manager> {
    raw: managed::Pool<M>,
    meter: pool::Pool,
}

impl<M: Manager> Pool<M> {
    /// Measures `pool` under a name that is unique in the service, until it is closed or its last
    /// handle is gone.
    pub fn new(hw: &Highwater, name: &str, pool: managed::Pool<M>) -> Self
    where
        M: 'static,
    {
        let weak = pool.weak();
        let meter = pool::Pool::new(hw, name, move || {
            let pool = weak.upgrade().filter(|pool| !pool.is_closed())?;
            let status = pool.status();
            let state = State::new(
                status.size.saturating_sub(status.available) as u64,
                status.available as u64,
                status.max_size as u64,
            );
            let state = state.pending(status.waiting as u64);
            Some(match pool.timeouts().wait {
                Some(timeout) => state.acquire_timeout(timeout),
                None => state,
            })
        });
        Self { raw: pool, meter }
    }

    /// The pool as deadpool has it. Objects taken from it are not timed.
    pub fn raw(&self) -> &managed::Pool<M> {
        &self.raw
    }

    /// An object, when there is one.
    ///
    /// # Errors
    /// Those of [`deadpool::managed::Pool::get`].
    pub async fn get(&self) -> Result<Object<M>, PoolError<M::Error>> {
        let object = self.meter.acquire(self.raw.get(), refusal).await?;
        Ok(Object { object, _used: self.meter.used() })
    }
}

fn refusal<E>(error: &PoolError<E>) -> Refusal {
    match error {
        PoolError::Timeout(_) => Refusal::Timeout,
        PoolError::Backend(_) => Refusal::Error("backend"),
        PoolError::Closed => Refusal::Error("pool_closed"),
        PoolError::NoRuntimeSpecified => Refusal::Error("no_runtime"),
        PoolError::PostCreateHook(_) => Refusal::Error("post_create_hook"),
    }
}

impl<M: Manager> Manager for Opening<M> {
    type Type = M::Type;
    type Error = M::Error;

    async fn create(&self) -> Result<M::Type, M::Error> {
        self.open(self.manager().create()).await
    }

    async fn recycle(
        &self,
        object: &mut M::Type,
        metrics: &managed::Metrics,
    ) -> managed::RecycleResult<M::Error> {
        self.manager().recycle(object, metrics).await
    }

    fn detach(&self, object: &mut M::Type) {
        self.manager().detach(object);
    }
}

/// An object in use; goes back to the pool when it is dropped.
pub struct Object<M: Manager> {
    object: managed::Object<M>,
    _used: Used,
}

impl<M: Manager> Deref for Object<M> {
    type Target = M::Type;

    fn deref(&self) -> &M::Type {
        &self.object
    }
}

impl<M: Manager> DerefMut for Object<M> {
    fn deref_mut(&mut self) -> &mut M::Type {
        &mut self.object
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self { raw: self.raw.clone(), meter: self.meter.clone() }
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("meter", &self.meter).finish_non_exhaustive()
    }
}

impl<M: Manager> fmt::Debug for Object<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").finish_non_exhaustive()
    }
}
