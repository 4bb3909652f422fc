//! What a condition is about: the builder's sources and what can be done with them.

use std::{
    ops::{Add, Div, Mul, Sub},
    time::Duration,
};

use super::{
    condition::{Condition, Threshold},
    error::Mistake,
    expr::{AggregateOp, BinaryOp, Expr, Function, Matcher, Matching, Pattern, Selector, Test},
};
use crate::{name::Unit, semconv};

/// What a number means, as far as it is known before there are samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// The metric knows.
    OfMetric,
    Seconds,
    Bytes,
    Ratio,
    /// A number of things, or of things a second.
    Number,
}

impl Quantity {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::OfMetric => "its metric's unit",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "a ratio",
            Self::Number => "a number",
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::OfMetric => Unit::NONE,
            Self::Seconds => Unit::SECONDS,
            Self::Bytes => Unit::BYTES,
            Self::Ratio | Self::Number => Unit::ONE,
        }
    }
}

/// A number for each label set: what a [`Condition`] compares.
///
/// It costs nothing until a rule that uses it runs.
///
/// ```
/// use highwater::rule;
/// let share = rule::gauge("pool.used") / rule::gauge("pool.max");
/// let condition = share.above(0.9);
/// ```
#[derive(Debug, Clone)]
#[must_use = "compare it: `above`, `below`"]
pub struct Value {
    pub(crate) expr: Expr,
    pub(crate) quantity: Quantity,
    pub(crate) mistakes: Vec<Mistake>,
}

/// The present value of a gauge, or of a sum that goes both ways, by its metric's name.
///
/// ```
/// use highwater::rule;
/// let deep = rule::gauge("queue.depth").label("queue", "orders").above(1000.0);
/// ```
pub fn gauge(name: &str) -> Value {
    Value::of(Expr::Select(select(name)), Quantity::OfMetric)
}

/// A counter, of which the rate or the increase can be judged, by its metric's name.
///
/// ```
/// use std::time::Duration;
/// use highwater::rule;
/// let busy = rule::counter("shop.orders").rate(Duration::from_secs(60)).above(100.0);
/// ```
pub fn counter(name: &str) -> Counter {
    Counter { selector: select(name) }
}

/// The distribution of a histogram's values, by its metric's name.
///
/// ```
/// use std::time::Duration;
/// use highwater::rule;
/// let big = rule::histogram("response.size").quantile(0.9).over(Duration::from_secs(60));
/// let condition = big.above(rule::bytes(1 << 20));
/// ```
pub fn histogram(name: &str) -> Distribution {
    Distribution { selector: select(name), by: None, quantity: Quantity::OfMetric }
}

/// A timed query by its name: all its calls, failed and cancelled ones too.
///
/// ```
/// use std::time::Duration;
/// use highwater::rule;
/// let slow = rule::query("orders_by_user")
///     .quantile(0.99)
///     .over(Duration::from_secs(60))
///     .above(Duration::from_millis(250));
/// ```
pub fn query(name: &str) -> Distribution {
    let mut query = queries();
    query.selector.matchers.push(Matcher::equal(semconv::DB_QUERY_SUMMARY, name));
    query
}

/// Every timed query, each judged by itself.
///
/// ```
/// use std::time::Duration;
/// use highwater::rule;
/// let failing = rule::queries().error_share(Duration::from_secs(60)).above(0.05);
/// ```
pub fn queries() -> Distribution {
    Distribution {
        selector: select(semconv::DB_CLIENT_OPERATION_DURATION),
        by: Some(semconv::DB_QUERY_SUMMARY),
        quantity: Quantity::Seconds,
    }
}

fn select(name: &str) -> Selector {
    Selector { name: Some(name.to_owned()), ..Selector::default() }
}

impl Matcher {
    pub(crate) fn equal(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), test: Test::Equal(value.to_owned()) }
    }

    fn not(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), test: Test::NotEqual(value.to_owned()) }
    }
}

/// A counter; from [`counter`].
#[derive(Debug, Clone)]
#[must_use = "ask for its `rate` or its `increase`"]
pub struct Counter {
    selector: Selector,
}

impl Counter {
    /// Only the series with this label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.selector.matchers.push(Matcher::equal(key, value));
        self
    }

    /// How fast it grows: per second, over a window of at least two ticks.
    pub fn rate(self, window: Duration) -> Value {
        let range = Expr::Range(self.selector, window);
        Value::of(Expr::Call(Function::Rate, vec![range]), Quantity::Number)
    }

    /// How much it grew over a window of at least two ticks. A counter's first reading is a
    /// baseline, not growth.
    pub fn increase(self, window: Duration) -> Value {
        let range = Expr::Range(self.selector, window);
        Value::of(Expr::Call(Function::Increase, vec![range]), Quantity::OfMetric)
    }
}

/// A histogram or a timed query; from [`histogram`], [`query`] or [`queries`].
#[derive(Debug, Clone)]
#[must_use = "ask for a quantile, a rate or a share"]
pub struct Distribution {
    selector: Selector,
    /// Series that agree on this label are judged together.
    by: Option<&'static str>,
    quantity: Quantity,
}

/// A quantile that lacks its window; from [`Distribution::quantile`].
#[derive(Debug, Clone)]
#[must_use = "say over which window: `over`"]
pub struct Quantile {
    of: Distribution,
    q: f64,
}

impl Quantile {
    /// Over a window of at least two ticks. Without a recorded value in it there is no data.
    pub fn over(self, window: Duration) -> Value {
        let Self { of, q } = self;
        let quantity = of.quantity;
        let mut value = of.call(
            Function::HistogramQuantile,
            Some(Expr::Number(q)),
            of.gained(&[], Function::Rate, window),
            quantity,
        );
        if !(0.0..=1.0).contains(&q) {
            value.mistakes.push(Mistake::Quantile(q));
        }
        value
    }
}

impl Distribution {
    /// Only the series with this label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.selector.matchers.push(Matcher::equal(key, value));
        self
    }

    /// The value below which this share of the recorded ones lies: 0.95 is the 95th percentile.
    /// At most 2.2% off, as wide as a bucket is.
    pub fn quantile(self, q: f64) -> Quantile {
        Quantile { of: self, q }
    }

    /// The mean of the values recorded over a window.
    pub fn mean(self, window: Duration) -> Value {
        let gained = self.gained(&[], Function::Rate, window);
        self.call(Function::HistogramAvg, None, gained, self.quantity)
    }

    /// Values recorded (calls made) per second, over a window.
    pub fn rate(self, window: Duration) -> Value {
        let gained = self.gained(&[], Function::Rate, window);
        self.call(Function::HistogramCount, None, gained, Quantity::Number)
    }

    /// Values recorded (calls made) over a window.
    pub fn count(self, window: Duration) -> Value {
        let gained = self.gained(&[], Function::Increase, window);
        self.call(Function::HistogramCount, None, gained, Quantity::Number)
    }

    /// Failed calls over a window: those with an `error.type`, but for cancelled ones.
    pub fn errors(self, window: Duration) -> Value {
        let failed = self.gained(&failures(), Function::Increase, window);
        let errors = self.call(Function::HistogramCount, None, failed, Quantity::Number);
        // Calls without failures have no such series yet: they failed zero times.
        errors.or(self.count(window) * 0.0)
    }

    /// The share of calls that failed, over a window; see [`errors`](Self::errors). Without calls
    /// there is no data.
    pub fn error_share(self, window: Duration) -> Value {
        let mut share = self.clone().errors(window) / self.count(window);
        share.quantity = Quantity::Ratio;
        share
    }

    /// The share of calls that took longer than `limit`, over a window. Without calls there is no
    /// data.
    ///
    /// Exact where the limit is declared beforehand ([`bounds`](crate::Builder::bounds)), and where
    /// it is a bucket's bound, a power of 2^(1/32) seconds: 1 s, 500 ms, 250 ms, 125 ms… Elsewhere
    /// the one bucket it cuts is divided in proportion: the share is off by less than that of the
    /// calls within 2.2% of the limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::rule;
    /// let slow = rule::query("orders")
    ///     .share_slower_than(Duration::from_millis(250), Duration::from_secs(300))
    ///     .above(0.05);
    /// ```
    pub fn share_slower_than(self, limit: Duration, window: Duration) -> Value {
        let limit = limit.as_secs_f64();
        let gained = self.gained(&[], Function::Rate, window);
        let bounds = [Expr::Number(f64::NEG_INFINITY), Expr::Number(limit), gained];
        let faster = Expr::Call(Function::HistogramFraction, bounds.into());
        let share = Expr::binary(BinaryOp::Subtract, Expr::Number(1.0), faster);
        let mut value = Value::of(share, Quantity::Ratio);
        if limit <= 0.0 {
            value.mistakes.push(Mistake::Limit(limit));
        }
        value
    }

    /// Calls of a query under way.
    pub fn in_flight(self) -> Value {
        let selector =
            Selector { name: Some(semconv::QUERY_IN_FLIGHT.to_owned()), ..self.selector };
        // In the metric's own unit, `{call}`: a plain number would be refused when it is bound.
        Value::of(Expr::Select(selector), Quantity::OfMetric)
    }

    /// What was recorded over a window, by series or by query.
    fn gained(&self, more: &[Matcher], function: Function, window: Duration) -> Expr {
        let mut selector = self.selector.clone();
        selector.matchers.extend_from_slice(more);
        let gained = Expr::Call(function, vec![Expr::Range(selector, window)]);
        match self.by {
            Some(label) => Expr::aggregate(AggregateOp::Sum, gained, vec![label.to_owned()]),
            None => gained,
        }
    }

    fn call(
        &self,
        function: Function,
        parameter: Option<Expr>,
        of: Expr,
        quantity: Quantity,
    ) -> Value {
        Value::of(Expr::Call(function, parameter.into_iter().chain([of]).collect()), quantity)
    }
}

fn failures() -> [Matcher; 2] {
    let not = |value| Matcher::not(semconv::ERROR_TYPE, value);
    [not(""), not(semconv::ERROR_CANCELLED)]
}

impl Value {
    pub(crate) fn of(expr: Expr, quantity: Quantity) -> Self {
        Self { expr, quantity, mistakes: Vec::new() }
    }

    fn with(mut self, change: impl FnOnce(Expr) -> Expr) -> Self {
        self.expr = change(self.expr);
        self
    }

    /// Only the series with this label, of all metrics in it.
    pub fn label(self, key: &str, value: &str) -> Self {
        self.narrow(&Matcher::equal(key, value))
    }

    /// Only the series without this label's value, of all metrics in it.
    pub fn without_label(self, key: &str, value: &str) -> Self {
        self.narrow(&Matcher::not(key, value))
    }

    /// Only the series whose label's whole value matches a regular expression.
    pub fn label_matches(mut self, key: &str, pattern: &str) -> Self {
        match Pattern::new(pattern) {
            Ok(matches) => {
                self.narrow(&Matcher { key: key.to_owned(), test: Test::Matches(matches) })
            }
            Err(error) => {
                let reason = error.to_string();
                self.mistakes.push(Mistake::Pattern { pattern: pattern.to_owned(), reason });
                self
            }
        }
    }

    fn narrow(mut self, matcher: &Matcher) -> Self {
        self.expr.narrow(matcher);
        self
    }

    /// The sum of those that agree on these labels; of all, with none.
    pub fn sum_by<const N: usize>(self, labels: [&str; N]) -> Self {
        self.aggregate(AggregateOp::Sum, labels)
    }

    /// The greatest of those that agree on these labels; of all, with none.
    pub fn max_by<const N: usize>(self, labels: [&str; N]) -> Self {
        self.aggregate(AggregateOp::Max, labels)
    }

    /// The least of those that agree on these labels; of all, with none.
    pub fn min_by<const N: usize>(self, labels: [&str; N]) -> Self {
        self.aggregate(AggregateOp::Min, labels)
    }

    /// The average of those that agree on these labels; of all, with none.
    pub fn avg_by<const N: usize>(self, labels: [&str; N]) -> Self {
        self.aggregate(AggregateOp::Avg, labels)
    }

    fn aggregate<const N: usize>(self, op: AggregateOp, labels: [&str; N]) -> Self {
        let labels = labels.map(str::to_owned).to_vec();
        self.with(|expr| Expr::aggregate(op, expr, labels))
    }

    /// This, and where it has no sample, the other.
    pub fn or(self, other: Self) -> Self {
        self.combine(BinaryOp::Or, other, |own, _| own)
    }

    /// Only where the other, of the same labels, is at least this much; elsewhere there is no
    /// data. So few samples prove nothing either way.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::rule;
    /// let minute = Duration::from_secs(60);
    /// let slow = rule::query("q").quantile(0.99).over(minute)
    ///     .provided(rule::query("q").count(minute), 200.0)
    ///     .above(Duration::from_millis(250));
    /// ```
    pub fn provided(mut self, other: Self, at_least: f64) -> Self {
        if !at_least.is_finite() {
            self.mistakes.push(Mistake::Threshold(at_least));
        }
        self.mistakes.extend(other.mistakes);
        self.with(|expr| {
            let enough = Expr::binary(BinaryOp::GreaterEqual, other.expr, Expr::Number(at_least));
            Expr::binary(BinaryOp::And, expr, enough)
        })
    }

    /// Holds while the value is greater.
    pub fn above(self, threshold: impl Into<Threshold>) -> Condition {
        Condition::compare(self, BinaryOp::Greater, threshold.into())
    }

    /// Holds while the value is greater or equal.
    pub fn at_least(self, threshold: impl Into<Threshold>) -> Condition {
        Condition::compare(self, BinaryOp::GreaterEqual, threshold.into())
    }

    /// Holds while the value is less.
    pub fn below(self, threshold: impl Into<Threshold>) -> Condition {
        Condition::compare(self, BinaryOp::Less, threshold.into())
    }

    /// Holds while the value is less or equal.
    pub fn at_most(self, threshold: impl Into<Threshold>) -> Condition {
        Condition::compare(self, BinaryOp::LessEqual, threshold.into())
    }

    fn combine(
        mut self,
        op: BinaryOp,
        other: Self,
        quantity: impl FnOnce(Quantity, Quantity) -> Quantity,
    ) -> Self {
        self.check_kind(op, other.quantity);
        self.mistakes.extend(other.mistakes);
        self.quantity = quantity(self.quantity, other.quantity);
        self.with(|expr| Expr::matched(op, expr, other.expr, Matching::default()))
    }
}

impl Expr {
    fn narrow(&mut self, matcher: &Matcher) {
        match self {
            Self::Number(_) => {}
            Self::Select(selector) | Self::Range(selector, _) => {
                selector.matchers.push(matcher.clone());
            }
            Self::Negate(of) | Self::Frozen(of) => of.narrow(matcher),
            Self::Binary(binary) => {
                binary.left.narrow(matcher);
                binary.right.narrow(matcher);
            }
            Self::Aggregate(aggregate) => aggregate.of.narrow(matcher),
            Self::Call(_, arguments) => arguments.iter_mut().for_each(|a| a.narrow(matcher)),
            Self::Recorded(recorded) => recorded.selector.matchers.push(matcher.clone()),
        }
    }
}

/// Of values with equal labels.
impl Div for Value {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        self.combine(BinaryOp::Divide, other, |own, other| match (own, other) {
            (own, other) if own == other && own != Quantity::OfMetric => Quantity::Ratio,
            (own, Quantity::Number | Quantity::Ratio) => own,
            _ => Quantity::OfMetric,
        })
    }
}

/// Of values with equal labels.
impl Add for Value {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.combine(BinaryOp::Add, other, |own, _| own)
    }
}

/// Of values with equal labels.
impl Sub for Value {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.combine(BinaryOp::Subtract, other, |own, _| own)
    }
}

impl Mul<f64> for Value {
    type Output = Self;
    fn mul(self, factor: f64) -> Self {
        self.with(|expr| Expr::binary(BinaryOp::Multiply, expr, Expr::Number(factor)))
    }
}
