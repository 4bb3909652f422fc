//! The one loop.
mod act;
mod mailbox;
use std::{ops::RangeInclusive, time::Duration};
/// What a tick may be.
pub(crate) const TICK_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);
