//! Values against time: what they were over a while, what they used to be, where they go.

use std::time::Duration;

use super::{
    condition::Condition,
    error::Mistake,
    expr::{BinaryOp, Expr, Function},
    value::{Quantity, Value},
};

impl Value {
    /// The greatest over a window; of a gauge.
    pub fn max_over(self, window: Duration) -> Self {
        self.over_time(Function::MaxOverTime, window)
    }

    /// The least over a window; of a gauge.
    pub fn min_over(self, window: Duration) -> Self {
        self.over_time(Function::MinOverTime, window)
    }

    /// The mean over a window; of a gauge.
    pub fn mean_over(self, window: Duration) -> Self {
        self.over_time(Function::AvgOverTime, window)
    }

    /// Quantile `q` of its samples of a window, 0 to 1; of a gauge. The longest of these: it sorts
    /// up to 900 numbers a tick.
    pub fn quantile_over(self, q: f64, window: Duration) -> Self {
        let mut value = self.over_time(Function::QuantileOverTime, window);
        if !(0.0..=1.0).contains(&q) {
            value.mistakes.push(Mistake::Quantile(q));
        }
        if let Expr::Call(Function::QuantileOverTime, arguments) = &mut value.expr {
            arguments.insert(0, Expr::Number(q));
        }
        value
    }

    /// What it will be `ahead` from now if it goes on along the straight line through its samples
    /// of a window (least squares, PromQL's `predict_linear`); of a gauge.
    ///
    /// A line through a saw or a burst foretells nonsense: ask for a level as well.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::rule;
    /// let minutes = |n: u64| Duration::from_secs(60 * n);
    /// let used = || rule::gauge("disk.used") / rule::gauge("disk.size");
    /// let soon_full = rule::all([
    ///     rule::gauge("disk.free").forecast(minutes(60), minutes(15)).below(0.0),
    ///     used().above(0.6),
    /// ]);
    /// ```
    pub fn forecast(self, ahead: Duration, window: Duration) -> Self {
        let value = self.over_time(Function::PredictLinear, window);
        match value.expr {
            Expr::Call(function, mut arguments) => {
                arguments.push(Expr::Number(ahead.as_secs_f64()));
                Self { expr: Expr::Call(function, arguments), ..value }
            }
            _ => value,
        }
    }

    fn over_time(mut self, function: Function, window: Duration) -> Self {
        match self.expr {
            Expr::Select(selector) => {
                self.expr = Expr::Call(function, vec![Expr::Range(selector, window)]);
            }
            other => {
                let method = match function {
                    Function::MaxOverTime => "max_over",
                    Function::MinOverTime => "min_over",
                    Function::AvgOverTime => "mean_over",
                    Function::QuantileOverTime => "quantile_over",
                    _ => "forecast",
                };
                self.mistakes.push(Mistake::NotAGauge { method, of: other.to_string() });
                self.expr = other;
            }
        }
        self
    }

    /// The same as it was a while ago (PromQL's `offset`).
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::rule;
    /// let day = Duration::from_secs(86_400);
    /// let deep = || rule::gauge("queue.depth").mean_over(Duration::from_secs(600));
    /// let deeper_than_yesterday = (deep() - deep().ago(day)).above(1_000.0);
    /// ```
    pub fn ago(mut self, offset: Duration) -> Self {
        self.expr.shift(offset);
        self
    }

    /// What it used to be: the same over `period`, up to where its own windows begin. A gauge's is
    /// its mean.
    ///
    /// While an alert of the rule is pending or firing, its baseline is frozen: trouble must not
    /// become its own yardstick. (What the rule is exported as cannot say so.) A process younger
    /// than the period has the baseline of its life; before there is any, there is no data; a [`warm_up`](super::Rule::warm_up) keeps the first minutes from being a
    /// baseline.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::rule;
    /// let minutes = |n: u64| Duration::from_secs(60 * n);
    /// let p95 = || rule::query("orders").quantile(0.95).over(minutes(5));
    /// let slower_by = (p95() - p95().baseline(minutes(60))).above(Duration::from_millis(50));
    /// ```
    pub fn baseline(mut self, period: Duration) -> Self {
        let reach = self.expr.reach();
        self.expr.lengthen(period, reach);
        self.frozen()
    }

    /// As it was when the alert began.
    pub(super) fn frozen(mut self) -> Self {
        self.expr = Expr::Frozen(Box::new(self.expr));
        self
    }

    /// How many times its [`baseline`](Self::baseline) it is.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::rule;
    /// let minutes = |n: u64| Duration::from_secs(60 * n);
    /// let rule = rule::alert("OrdersSlowerThanUsual")
    ///     .when(rule::all([
    ///         rule::query("orders").quantile(0.95).over(minutes(5)).growth_over(minutes(60))
    ///             .above(2.0).clear_below(1.3),
    ///         rule::query("orders").count(minutes(5)).at_least(200.0).to_raise(),
    ///     ]))
    ///     .warm_up(minutes(30));
    /// ```
    pub fn growth_over(self, period: Duration) -> Self {
        let mut growth = self.clone() / self.baseline(period);
        growth.quantity = Quantity::Ratio;
        growth
    }

    /// Holds while there is no series for it at all: nothing of this name and these labels was ever
    /// recorded, or its gauge is unset.
    ///
    /// A counter or a query once recorded stays; that nothing is *added* to it is
    /// `count(window).below(1.0)`.
    ///
    /// ```
    /// use highwater::rule;
    /// let blind = rule::alert("QueueUnseen").when(rule::gauge("queue.depth").absent());
    /// ```
    pub fn absent(mut self) -> Condition {
        self.expr = Expr::Call(Function::Absent, vec![self.expr]);
        self.quantity = Quantity::Number;
        Condition::present(self)
    }

    /// Sums and differences are of things of one kind.
    pub(super) fn check_kind(&mut self, op: BinaryOp, other: Quantity) {
        let own = self.quantity;
        let known = own != Quantity::OfMetric && other != Quantity::OfMetric;
        let additive = matches!(op, BinaryOp::Add | BinaryOp::Subtract | BinaryOp::Or);
        if known && additive && own != other {
            let (left, right) = (own.as_str(), other.as_str());
            self.mistakes.push(Mistake::Kinds { left, op: op.as_str(), right });
        }
    }
}

impl Expr {
    /// How far back its longest window looks.
    fn reach(&self) -> Duration {
        let mut reach = Duration::ZERO;
        self.walk(&mut |expr| {
            if let Self::Range(selector, range) = expr {
                reach = reach.max(range.saturating_add(selector.offset));
            }
        });
        reach
    }

    /// Moves everything back by so much.
    fn shift(&mut self, by: Duration) {
        match self {
            Self::Number(_) => {}
            Self::Select(selector) | Self::Range(selector, _) => {
                selector.offset = selector.offset.saturating_add(by);
            }
            Self::Negate(of) | Self::Frozen(of) => of.shift(by),
            Self::Binary(binary) => {
                binary.left.shift(by);
                binary.right.shift(by);
            }
            Self::Aggregate(aggregate) => aggregate.of.shift(by),
            Self::Call(_, arguments) => arguments.iter_mut().for_each(|one| one.shift(by)),
            // Of rule files only, which ask for no past.
            Self::Recorded(_) => {}
        }
    }

    /// Makes every window one of `period` that ends `offset` ago, and a mean over it of what has
    /// none.
    fn lengthen(&mut self, period: Duration, offset: Duration) {
        match self {
            Self::Number(_) | Self::Recorded(_) => {}
            Self::Select(selector) => {
                let mut selector = std::mem::take(selector);
                selector.offset = selector.offset.saturating_add(offset);
                *self = Self::Call(Function::AvgOverTime, vec![Self::Range(selector, period)]);
            }
            Self::Range(selector, range) => {
                (selector.offset, *range) = (offset, period);
            }
            Self::Negate(of) | Self::Frozen(of) => of.lengthen(period, offset),
            Self::Binary(binary) => {
                binary.left.lengthen(period, offset);
                binary.right.lengthen(period, offset);
            }
            Self::Aggregate(aggregate) => aggregate.of.lengthen(period, offset),
            Self::Call(function, arguments) => {
                let increase = match (&function, arguments.as_slice()) {
                    (Function::Increase, [Self::Range(_, window)]) => Some(window.as_secs_f64()),
                    _ => None,
                };
                arguments.iter_mut().for_each(|argument| argument.lengthen(period, offset));
                // Over a longer window it would be more by nature.
                if let Some(seconds) = increase {
                    let rate = Self::Call(Function::Rate, std::mem::take(arguments));
                    *self = Self::binary(BinaryOp::Multiply, rate, Self::Number(seconds));
                }
            }
        }
    }
}
