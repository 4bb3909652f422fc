//! Time, in two kinds that must never be mixed.
//!
//! *Ticks* time a query: read on the hot path, converted to seconds when a histogram is folded.
//! A [`Moment`] dates a sample, an evaluation, a transition: read once a tick of the engine and
//! passed down, so that nothing above this floor asks for the time by itself and tests never
//! sleep.

use std::time::{Duration, Instant, SystemTime};

use crate::sync::OnceCell;

static ORIGIN: OnceCell<Instant> = OnceCell::new();

/// The hot path's clock, in its own ticks since some origin.
#[inline]
pub(crate) fn ticks() -> u64 {
    ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// The length of one tick.
#[inline]
pub(crate) fn seconds_per_tick() -> f64 {
    1e-9
}

pub(crate) fn recalibrate() {}

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the instance's origin; never steps back. Rules and windows use only this one.
    pub mono: Duration,
    /// What is written on what leaves the process.
    pub wall: SystemTime,
}

impl Moment {
    /// Nanoseconds since 1970, zero before it.
    pub(crate) fn unix_nanos(&self) -> u64 {
        unix_nanos(self.wall)
    }
}

/// Nanoseconds since 1970, zero before it.
pub(crate) fn unix_nanos(wall: SystemTime) -> u64 {
    wall.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Where the engine gets its moments from.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment { mono: self.origin.elapsed(), wall: SystemTime::now() }
    }
}
