//! r2d2: a pool that measures who waits, for how long, and how long connections are held.
//!
//! The metrics are those of a [`pool`], `create_time` with [`Opening`] around the manager.
//! What the pool itself counts
//! (used, idle) includes those who take connections from it directly; waiters, waits, time-outs and
//! uses are those that go through [`Pool::get`].
//!
//! r2d2 has one error for every failed `get`; it is counted as a time-out, which is what it means:
//! a connection that cannot be opened is tried again until the time is over. diesel's `r2d2` pools
//! are these.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use ::r2d2::{Error, ManageConnection, PooledConnection};

use super::pool::{self, Opening, Refusal, State, Used};
use crate::{handle::Highwater, sync::Arc};

/// A measured pool: clone it, share it, as r2d2's own.
///
/// ```
/// use highwater::{Highwater, integrate};
///
/// # struct Manager;
/// # impl r2d2::ManageConnection for Manager {
/// #     type Connection = u32;
/// #     type Error = std::io::Error;
/// #     fn connect(&self) -> Result<u32, std::io::Error> { Ok(7) }
/// #     fn is_valid(&self, _: &mut u32) -> Result<(), std::io::Error> { Ok(()) }
/// #     fn has_broken(&self, _: &mut u32) -> bool { false }
/// # }
/// let hw = Highwater::builder("doc").start()?;
/// let manager = integrate::pool::Opening::of(&hw, "main", Manager);   // for `create_time`
/// let pool = r2d2::Pool::builder().max_size(4).build(manager)?;
/// let pool = integrate::r2d2::Pool::new(&hw, "main", pool);           // the one line
/// let connection = pool.get()?;
/// assert_eq!(*connection, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool<M: ManageConnection> {
    raw: Arc<::r2d2::Pool<M>>,
    meter: pool::Pool,
}

impl<M: ManageConnection> Pool<M> {
    /// Measures `pool` under a name that is unique in the service, until the last clone of what
    /// this gives is gone.
    pub fn new(hw: &Highwater, name: &str, pool: ::r2d2::Pool<M>) -> Self {
        let raw = Arc::new(pool);
        let weak = Arc::downgrade(&raw);
        let meter = pool::Pool::new(hw, name, move || {
            let pool = weak.upgrade()?;
            let state = pool.state();
            let used = state.connections.saturating_sub(state.idle_connections);
            let mut state = State::new(
                u64::from(used),
                u64::from(state.idle_connections),
                u64::from(pool.max_size()),
            )
            .acquire_timeout(pool.connection_timeout());
            state.idle_min = pool.min_idle().map(u64::from);
            pool::let_go(pool);
            Some(state)
        });
        Self { raw, meter }
    }

    /// The pool as r2d2 has it. Connections taken from it are not timed.
    pub fn raw(&self) -> &::r2d2::Pool<M> {
        &self.raw
    }

    /// A connection, when there is one. Blocks.
    ///
    /// # Errors
    /// Those of [`r2d2::Pool::get`].
    pub fn get(&self) -> Result<Connection<M>, Error> {
        let connection = self.meter.acquire_blocking(|| self.raw.get(), |_| Refusal::Timeout)?;
        Ok(Connection { connection, _used: self.meter.used() })
    }
}

impl<M: ManageConnection> ManageConnection for Opening<M> {
    type Connection = M::Connection;
    type Error = M::Error;

    fn connect(&self) -> Result<M::Connection, M::Error> {
        self.open_blocking(|| self.manager().connect())
    }

    fn is_valid(&self, connection: &mut M::Connection) -> Result<(), M::Error> {
        self.manager().is_valid(connection)
    }

    fn has_broken(&self, connection: &mut M::Connection) -> bool {
        self.manager().has_broken(connection)
    }
}

/// A connection in use; goes back to the pool when it is dropped.
pub struct Connection<M: ManageConnection> {
    connection: PooledConnection<M>,
    _used: Used,
}

impl<M: ManageConnection> Deref for Connection<M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        &self.connection
    }
}

impl<M: ManageConnection> DerefMut for Connection<M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.connection
    }
}

impl<M: ManageConnection> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self { raw: self.raw.clone(), meter: self.meter.clone() }
    }
}

impl<M: ManageConnection> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("meter", &self.meter).finish_non_exhaustive()
    }
}

impl<M: ManageConnection> fmt::Debug for Connection<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
