//! The clock of tests: moved by hand, each of its two times by itself.

use std::time::{Duration, SystemTime};

use super::Moment;
use crate::sync::{Arc, Mutex};

/// Moves the [`Clock`](super::Clock) it came with.
#[derive(Debug, Clone)]
pub(crate) struct ManualClock(Arc<Mutex<Moment>>);

impl ManualClock {
    pub(super) fn new() -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        Self(Arc::new(Mutex::new(Moment { mono: Duration::ZERO, wall })))
    }

    /// Time passes: both clocks move.
    pub(crate) fn advance(&self, by: Duration) {
        self.advance_mono(by);
        self.set_wall(self.now().wall + by);
    }

    /// The wall clock stands still, as when it is set back by as much.
    pub(crate) fn advance_mono(&self, by: Duration) {
        self.0.lock().mono += by;
    }

    /// Somebody sets the wall clock, to any time.
    pub(crate) fn set_wall(&self, to: SystemTime) {
        self.0.lock().wall = to;
    }

    pub(crate) fn now(&self) -> Moment {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn the_two_times_move_independently() {
        let (clock, hand) = Clock::manual();
        let start = clock.now();
        hand.advance_mono(Duration::from_secs(3));
        assert_eq!(clock.now(), Moment { mono: Duration::from_secs(3), wall: start.wall });
        hand.set_wall(SystemTime::UNIX_EPOCH);
        assert_eq!(clock.clone().now().wall, SystemTime::UNIX_EPOCH);
        hand.advance(Duration::from_secs(1));
        assert_eq!(clock.now().mono, Duration::from_secs(4));
        assert_eq!(clock.now().unix_nanos(), 1_000_000_000);
    }
}
