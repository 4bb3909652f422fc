//! Time, in two kinds that must never be mixed.
//!
//! *Ticks* time a query: read on the hot path, converted to seconds when a histogram is folded.
//! A [`Moment`] dates a sample, an evaluation, a transition: read once a tick of the engine and
//! passed down, so that nothing above this floor asks for the time by itself and tests never
//! sleep.

mod calibration;
mod date;
#[cfg(test)]
mod manual;
mod ticks;

pub(crate) use date::rfc3339;
#[cfg(test)]
pub(crate) use manual::ManualClock;
pub(crate) use ticks::{elapsed_since, ready, recalibrate, seconds_per_tick, ticks, ticks_near};

use std::time::{Duration, Instant, SystemTime};

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
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

/// Where the engine gets its moments from. A clone tells the same time.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    System {
        origin: Instant,
    },
    #[cfg(test)]
    Manual(ManualClock),
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self(Kind::System { origin: Instant::now() })
    }

    /// A clock that stands still until its handle moves it.
    #[cfg(test)]
    pub(crate) fn manual() -> (Self, ManualClock) {
        let handle = ManualClock::new();
        (Self(Kind::Manual(handle.clone())), handle)
    }

    pub(crate) fn now(&self) -> Moment {
        match &self.0 {
            Kind::System { origin } => Moment { mono: origin.elapsed(), wall: SystemTime::now() },
            #[cfg(test)]
            Kind::Manual(handle) => handle.now(),
        }
    }
}
