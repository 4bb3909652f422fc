//! Memory against its limits, as a rule sees it.

use std::time::Duration;

use super::{
    condition::Condition,
    error::Mistake,
    expr::{AggregateOp, BinaryOp, Expr, Function, Matcher, Matching, Selector},
    value::{Quantity, Value},
};
use crate::semconv;

/// Below this share of the host's memory in our hands, who fills the host is a neighbour.
pub(crate) const SHARE_OF_HOST: f64 = 0.25;

/// This process' memory against every limit it has (see
/// [`sample::memory`](crate::sample::memory())): the one that is reached first. The host counts
/// only while this process holds a quarter of it.
///
/// ```
/// use std::time::Duration;
/// use highwater::rule;
///
/// let minutes = |count: u64| Duration::from_secs(60 * count);
/// let soon = rule::alert("MemoryGoneSoon")
///     .when(rule::memory().over(0.5).exhausted_within(minutes(20)).clear_above(minutes(60)))
///     .hold_for(minutes(2));
/// ```
pub fn memory() -> Memory {
    Memory { level: None, over: 0.6, ahead: None, seen_for: Duration::ZERO }
}

/// See [`memory`].
#[derive(Debug, Clone)]
#[must_use = "say what is to be judged: `exhausted_within`"]
pub struct Memory {
    level: Option<Matcher>,
    over: f64,
    /// Judged so long before, on a trend of at least so many samples in a window.
    ahead: Option<(Duration, Duration, f64)>,
    /// How long its usage must have been seen.
    seen_for: Duration,
}

impl Memory {
    /// Only this level: `cgroup`, `host`, `budget`…
    pub fn level(mut self, level: &str) -> Self {
        self.level = Some(Matcher::equal(semconv::LEVEL, level));
        self
    }

    /// Only while more than this share of the limit is in use: 0.6 by default, 0 to 1. A trend by
    /// itself is noise: what grows far below its limit mostly stops there.
    pub fn over(mut self, share: f64) -> Self {
        self.over = share;
        self
    }

    /// The share is what it will be at this rate after a hold of `time`; only while there has been
    /// a trend for `seen`. For an end so near that there is no time for the one after the other.
    pub(super) fn ahead(mut self, time: Duration, seen: Duration, tick: Duration) -> Self {
        // A tick may be missed.
        let samples = (0.8 * seen.as_secs_f64() / tick.as_secs_f64()).ceil() + 1.0;
        self.ahead = Some((time, seen + tick, samples));
        self
    }

    /// Only where it was seen so long ago, too: what has just started always climbs.
    pub(super) fn seen_for(mut self, time: Duration) -> Self {
        self.seen_for = time;
        self
    }

    /// Holds while the limit is reached within this time, usage going on as of late
    /// (`highwater.memory.time_to_limit`, from a trend that resists saws, steps and bursts). The
    /// value is that time in seconds; where there is a limit and no trend towards it, infinite.
    pub fn exhausted_within(self, time: Duration) -> Condition {
        self.time_to_limit().below(time)
    }

    fn selector(&self, name: &str) -> Selector {
        let matchers = self.level.iter().cloned().collect();
        Selector { name: Some(name.to_owned()), matchers, ..Selector::default() }
    }

    fn select(&self, name: &str) -> Expr {
        Expr::Select(self.selector(name))
    }

    /// That there is no trend is an answer, not a lack of data: so it is a time that never comes.
    fn time_to_limit(&self) -> Value {
        let usage = || self.select(semconv::MEMORY_UTILIZATION);
        let time = || self.select(semconv::MEMORY_TIME_TO_LIMIT);
        let filled = match self.ahead {
            None => Expr::binary(BinaryOp::Greater, usage(), Expr::Number(self.over)),
            Some((ahead, window, samples)) => {
                let rest = Expr::binary(BinaryOp::Subtract, Expr::Number(1.0), usage());
                let ahead = Expr::Number(ahead.as_secs_f64());
                let rest = Expr::binary(BinaryOp::Multiply, rest, ahead);
                let more = Expr::binary(BinaryOp::Divide, rest, time());
                let then = Expr::binary(BinaryOp::Add, usage(), more);
                let filled = Expr::binary(BinaryOp::Greater, then, Expr::Number(self.over));
                let range = Expr::Range(self.selector(semconv::MEMORY_TIME_TO_LIMIT), window);
                let seen = Expr::Call(Function::CountOverTime, vec![range]);
                let seen = Expr::binary(BinaryOp::GreaterEqual, seen, Expr::Number(samples));
                Expr::binary(BinaryOp::And, filled, seen)
            }
        };
        let mut time = Expr::binary(BinaryOp::And, time(), filled);
        if !self.seen_for.is_zero() {
            let then = self.selector(semconv::MEMORY_UTILIZATION);
            let then = Expr::Select(Selector { offset: self.seen_for, ..then });
            time = Expr::binary(BinaryOp::And, time, then);
        }
        let time = Expr::matched(BinaryOp::Unless, time, others_host(), Matching::default());
        let zero = Expr::binary(BinaryOp::Multiply, usage(), Expr::Number(0.0));
        let never = Expr::binary(BinaryOp::Add, zero, Expr::Number(f64::INFINITY));
        let mut expr = Expr::binary(BinaryOp::Or, time, never);
        if self.level.is_none() {
            // One event is one alert, however many limits are the same.
            expr = Expr::aggregate(AggregateOp::Min, expr, Vec::new());
        }
        let mut value = Value::of(expr, Quantity::Seconds);
        if !(0.0..=1.0).contains(&self.over) {
            value.mistakes.push(Mistake::Ratio(self.over));
        }
        value
    }
}

/// The host's level, where others hold it.
pub(super) fn others_host() -> Expr {
    let select = |name: &str, matchers| {
        Expr::Select(Selector { name: Some(name.to_owned()), matchers, ..Selector::default() })
    };
    let host = select(semconv::MEMORY_UTILIZATION, vec![Matcher::equal(semconv::LEVEL, "host")]);
    let share = select(semconv::PROCESS_MEMORY_UTILIZATION, Vec::new());
    let small = Expr::binary(BinaryOp::Less, share, Expr::Number(SHARE_OF_HOST));
    let anywhere = Matching { on: true, ..Matching::default() };
    Expr::matched(BinaryOp::And, host, small, anywhere)
}
