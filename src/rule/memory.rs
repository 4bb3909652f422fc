//! Memory against its limits, as a rule sees it.

use std::time::Duration;

use super::{
    condition::Condition,
    error::Mistake,
    expr::{BinaryOp, Expr, Matcher, Matching, Selector},
    value::{Quantity, Value},
};
use crate::semconv;

/// Below this share of the host's memory in our hands, who fills the host is a neighbour.
pub(crate) const SHARE_OF_HOST: f64 = 0.25;

/// This process' memory against every limit it has (see
/// [`sample::memory`](crate::sample::memory())), each level judged by itself. The host counts only
/// while this process holds a quarter of it.
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
    Memory { level: None, over: 0.6 }
}

/// See [`memory`].
#[derive(Debug, Clone)]
#[must_use = "say what is to be judged: `exhausted_within`"]
pub struct Memory {
    level: Option<Matcher>,
    over: f64,
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

    /// Holds while the limit is reached within this time, usage going on as of late
    /// (`highwater.memory.time_to_limit`, from a trend that resists saws, steps and bursts). The
    /// value is that time in seconds; where there is a limit and no trend towards it, infinite.
    pub fn exhausted_within(self, time: Duration) -> Condition {
        self.time_to_limit().below(time)
    }

    fn select(&self, name: &str) -> Expr {
        let matchers = self.level.iter().cloned().collect();
        Expr::Select(Selector { name: Some(name.to_owned()), matchers, ..Selector::default() })
    }

    /// That there is no trend is an answer, not a lack of data: so it is a time that never comes.
    fn time_to_limit(&self) -> Value {
        let usage = || self.select(semconv::MEMORY_UTILIZATION);
        let filled = Expr::binary(BinaryOp::Greater, usage(), Expr::Number(self.over));
        let time = Expr::binary(BinaryOp::And, self.select(semconv::MEMORY_TIME_TO_LIMIT), filled);
        let time = Expr::matched(BinaryOp::Unless, time, others_host(), Matching::default());
        let zero = Expr::binary(BinaryOp::Multiply, usage(), Expr::Number(0.0));
        let never = Expr::binary(BinaryOp::Add, zero, Expr::Number(f64::INFINITY));
        let mut value = Value::of(Expr::binary(BinaryOp::Or, time, never), Quantity::Seconds);
        if !(0.0..=1.0).contains(&self.over) {
            value.mistakes.push(Mistake::Ratio(self.over));
        }
        value
    }
}

/// The host's level, where others hold it.
fn others_host() -> Expr {
    let select = |name: &str, matchers| {
        Expr::Select(Selector { name: Some(name.to_owned()), matchers, ..Selector::default() })
    };
    let host = select(semconv::MEMORY_UTILIZATION, vec![Matcher::equal(semconv::LEVEL, "host")]);
    let share = select(semconv::PROCESS_MEMORY_UTILIZATION, Vec::new());
    let small = Expr::binary(BinaryOp::Less, share, Expr::Number(SHARE_OF_HOST));
    let anywhere = Matching { on: true, ..Matching::default() };
    Expr::matched(BinaryOp::And, host, small, anywhere)
}
