//! When the columns of a history were. They widen together: when all are used, each two become
//! one, until they are as wide as they may be; then the oldest are dropped, [`SPAN`] at a time.

use std::time::Duration;

use super::timing::SPAN;

/// How many there are at most; a multiple of twice [`SPAN`].
pub(crate) const COLUMNS: usize = 240;

/// What has to happen to what is kept by column before the next is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Each two become one.
    Halve,
    /// The first [`SPAN`] go.
    Drop,
}

#[derive(Debug, Clone)]
pub(crate) struct Columns {
    tick: Duration,
    widest: Duration,
    /// How many ticks a column takes in, and how many the last one has.
    ticks: u32,
    within: u32,
    /// When each began, seconds since the origin of the clock.
    times: Vec<f64>,
}

impl Columns {
    pub(super) fn new(tick: Duration, widest: Duration) -> Self {
        Self { tick, widest, ticks: 1, within: 0, times: Vec::with_capacity(COLUMNS) }
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    /// The column that is written now.
    pub(super) fn last(&self) -> usize {
        self.times.len().saturating_sub(1)
    }

    /// When a column began.
    pub(crate) fn time(&self, at: usize) -> f64 {
        self.times.get(at).copied().unwrap_or_default()
    }

    /// When a column's last tick was.
    pub(super) fn end(&self, at: usize) -> f64 {
        let last = f64::from(self.ticks.saturating_sub(1)) * self.tick.as_secs_f64();
        let next = self.times.get(at + 1).map(|next| next - self.tick.as_secs_f64());
        next.unwrap_or_else(|| self.time(at) + last)
    }

    /// How long a column is, in seconds.
    pub(crate) fn width(&self) -> f64 {
        self.tick.as_secs_f64() * f64::from(self.ticks)
    }

    pub(super) fn push(&mut self, at: Duration) -> Change {
        if self.within < self.ticks && !self.times.is_empty() {
            self.within += 1;
            return Change::None;
        }
        let mut change = Change::None;
        if self.times.len() == COLUMNS {
            if self.tick * self.ticks * 2 <= self.widest {
                for at in 0..COLUMNS / 2 {
                    self.times[at] = self.times[2 * at];
                }
                self.times.truncate(COLUMNS / 2);
                self.ticks *= 2;
                change = Change::Halve;
            } else {
                self.times.drain(..SPAN);
                change = Change::Drop;
            }
        }
        self.times.push(at.as_secs_f64());
        self.within = 1;
        change
    }

    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.within = 0;
    }
}
