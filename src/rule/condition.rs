//! When a rule's condition holds: comparisons, and how they go together.

use std::time::Duration;

use super::{
    error::Mistake,
    expr::{BinaryOp, Expr, Matching},
    value::{Quantity, Value},
};

/// What a value is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    pub(crate) value: f64,
    pub(crate) quantity: Quantity,
}

impl From<f64> for Threshold {
    fn from(value: f64) -> Self {
        Self { value, quantity: Quantity::OfMetric }
    }
}

impl From<Duration> for Threshold {
    fn from(duration: Duration) -> Self {
        Self { value: duration.as_secs_f64(), quantity: Quantity::Seconds }
    }
}

/// A number of bytes, as a threshold for what is measured in bytes.
///
/// ```
/// use highwater::rule;
/// let big = rule::gauge("process.memory.usage").above(rule::bytes(2 << 30));
/// ```
pub fn bytes(bytes: u64) -> Threshold {
    Threshold { value: bytes as f64, quantity: Quantity::Bytes }
}

/// When a rule's alerts hold, for each label set by itself.
///
/// ```
/// use highwater::rule;
/// let tight = rule::gauge("highwater.memory.utilization").above(0.85).clear_below(0.75);
/// ```
#[derive(Debug, Clone)]
#[must_use = "give it to a rule with `when`"]
pub struct Condition(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Compare(Box<Compare>),
    /// Holds where there is a sample, whatever it is.
    Present(Box<Value>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Unless(Box<Condition>, Box<Condition>),
    /// A text, or why it is none.
    Promql(Box<Result<Expr, Mistake>>),
    /// Joined by these labels only.
    On(Box<Condition>, Vec<String>),
    /// Asked only until the alert fires.
    ToRaise(Box<Condition>),
}

#[derive(Debug, Clone)]
struct Compare {
    value: Value,
    op: BinaryOp,
    threshold: Threshold,
    clear: Option<(f64, Quantity, BinaryOp)>,
}

/// Which of a condition's expressions is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Raise,
    Hold,
    Value,
}

/// Holds where all of these hold. The first one's value is the alert's.
///
/// They are joined by equal labels, or by those given with [`Condition::on`].
pub fn all<const N: usize>(conditions: [Condition; N]) -> Condition {
    Condition(Kind::All(conditions.into()))
}

/// Holds where an expression in Prometheus' language yields a sample.
///
/// Names may be ours (`{"process.memory.usage"}`) or those a Prometheus server has for them
/// (`process_memory_usage_bytes`). Subqueries, `@` and `label_replace` are among what is not
/// supported; that is a mistake with its place, told when the instance starts.
///
/// ```
/// use highwater::rule;
/// let deep = rule::promql("sum by (queue) (queue_depth) > 1000");
/// ```
pub fn promql(text: &str) -> Condition {
    let parsed = super::promql::parse(text)
        .map_err(|refusal| Mistake::Promql { text: text.to_owned(), refusal });
    Condition(Kind::Promql(Box::new(parsed)))
}

/// Holds where any of these holds; the first that does gives the alert's value.
pub fn any<const N: usize>(conditions: [Condition; N]) -> Condition {
    Condition(Kind::Any(conditions.into()))
}

impl Condition {
    /// Of an expression that is parsed already.
    #[cfg(feature = "rule-files")]
    pub(crate) fn of(expr: Expr) -> Self {
        Self(Kind::Promql(Box::new(Ok(expr))))
    }

    pub(crate) fn compare(value: Value, op: BinaryOp, threshold: Threshold) -> Self {
        Self(Kind::Compare(Box::new(Compare { value, op, threshold, clear: None })))
    }

    pub(crate) fn present(value: Value) -> Self {
        Self(Kind::Present(Box::new(value)))
    }

    /// An alert that is firing clears only below this: hysteresis. A pending one must hold by the
    /// threshold itself. With [`above`](Value::above) and [`at_least`](Value::at_least).
    pub fn clear_below(self, threshold: impl Into<Threshold>) -> Self {
        self.clear(threshold.into(), BinaryOp::GreaterEqual)
    }

    /// An alert that is firing clears only above this: hysteresis. A pending one must hold by the
    /// threshold itself. With [`below`](Value::below) and [`at_most`](Value::at_most).
    pub fn clear_above(self, threshold: impl Into<Threshold>) -> Self {
        self.clear(threshold.into(), BinaryOp::LessEqual)
    }

    fn clear(mut self, threshold: Threshold, stays: BinaryOp) -> Self {
        match &mut self.0 {
            Kind::Compare(compare) => {
                compare.clear = Some((threshold.value, threshold.quantity, stays));
            }
            // Of several comparisons each has its own.
            _ => {
                let mut mistake = Some(Mistake::ClearDirection {
                    given: if stays == BinaryOp::GreaterEqual {
                        "clear_below"
                    } else {
                        "clear_above"
                    },
                    op: "several comparisons",
                });
                self.each(&mut |compare| compare.value.mistakes.extend(mistake.take()));
            }
        }
        self
    }

    /// Holds except where the other one does.
    pub fn unless(self, other: Self) -> Self {
        Self(Kind::Unless(Box::new(self), Box::new(other)))
    }

    /// Within [`all`] or [`unless`](Self::unless): joined to the first by these labels only, all
    /// others may differ.
    ///
    /// ```
    /// use highwater::rule;
    /// let ours = rule::all([
    ///     rule::gauge("highwater.memory.utilization").above(0.9),
    ///     rule::gauge("process.memory.utilization").at_least(0.25).on([]),
    /// ]);
    /// ```
    pub fn on<const N: usize>(self, labels: [&str; N]) -> Self {
        Self(Kind::On(Box::new(self), labels.map(str::to_owned).to_vec()))
    }

    /// Within [`all`]: needed for an alert to fire, not for it to go on firing.
    pub fn to_raise(self) -> Self {
        Self(Kind::ToRaise(Box::new(self)))
    }

    fn each(&mut self, change: &mut impl FnMut(&mut Compare)) {
        match &mut self.0 {
            Kind::Compare(compare) => change(compare),
            Kind::All(all) | Kind::Any(all) => all.iter_mut().for_each(|one| one.each(change)),
            Kind::Unless(one, other) => {
                one.each(change);
                other.each(change);
            }
            Kind::Promql(_) | Kind::Present(_) => {}
            Kind::On(one, _) | Kind::ToRaise(one) => one.each(change),
        }
    }

    /// What an operator changed: the threshold of the first comparison, and of all that had the
    /// same one, as those of a rule with several windows have.
    pub(crate) fn adjust(&mut self, threshold: Option<f64>, clear: Option<f64>) {
        let Some((first, quantity)) = self.first() else { return };
        self.each(&mut |compare| {
            if compare.threshold.value != first || compare.value.quantity != quantity {
                return;
            }
            if let Some(threshold) = threshold {
                // The band keeps its proportion unless it is given too.
                if let Some((old, ..)) = &mut compare.clear
                    && clear.is_none()
                    && first != 0.0
                {
                    *old *= threshold / first;
                }
                compare.threshold.value = threshold;
            }
            if let (Some(clear), Some((old, ..))) = (clear, &mut compare.clear) {
                *old = clear;
            }
        });
    }

    /// Whether there is a threshold to change, and one to clear by.
    pub(crate) fn is_adjustable(&self) -> (bool, bool) {
        let (mut threshold, mut clear) = (false, false);
        let mut copy = self.clone();
        copy.each(&mut |compare| {
            threshold = true;
            clear |= compare.clear.is_some();
        });
        (threshold, clear)
    }

    fn first(&self) -> Option<(f64, Quantity)> {
        match &self.0 {
            Kind::Compare(compare) => Some((compare.threshold.value, compare.value.quantity)),
            Kind::All(all) | Kind::Any(all) => all.iter().find_map(Self::first),
            Kind::Promql(_) | Kind::Present(_) => None,
            Kind::Unless(one, _) | Kind::On(one, _) | Kind::ToRaise(one) => one.first(),
        }
    }

    /// What the alert's value is in.
    pub(crate) fn quantity(&self) -> Quantity {
        match &self.0 {
            Kind::Compare(compare) => match compare.value.quantity {
                Quantity::OfMetric => compare.threshold.quantity,
                known => known,
            },
            Kind::All(all) | Kind::Any(all) => {
                all.first().map_or(Quantity::OfMetric, Self::quantity)
            }
            Kind::Present(value) => value.quantity,
            Kind::Promql(_) => Quantity::OfMetric,
            Kind::Unless(one, _) | Kind::On(one, _) | Kind::ToRaise(one) => one.quantity(),
        }
    }

    pub(crate) fn check(&self, mistakes: &mut Vec<Mistake>) {
        match &self.0 {
            Kind::Compare(compare) => compare.check(mistakes),
            Kind::All(all) | Kind::Any(all) => {
                if all.is_empty() {
                    mistakes.push(Mistake::NoCondition);
                }
                all.iter().for_each(|one| one.check(mistakes));
            }
            Kind::Unless(one, other) => {
                one.check(mistakes);
                other.check(mistakes);
            }
            Kind::Present(value) => mistakes.extend(value.mistakes.iter().cloned()),
            Kind::Promql(parsed) => mistakes.extend(parsed.as_ref().as_ref().err().cloned()),
            Kind::On(one, _) | Kind::ToRaise(one) => one.check(mistakes),
        }
    }

    /// When it begins to hold.
    pub(crate) fn raise(&self) -> Expr {
        self.build(
            &|compare| {
                Expr::binary(
                    compare.op,
                    compare.value.expr.clone(),
                    Expr::Number(compare.threshold.value),
                )
            },
            Mode::Raise,
        )
    }

    /// While it goes on to hold, if that differs.
    pub(crate) fn hold(&self) -> Option<Expr> {
        let hold = self.build(
            &|compare| {
                let (op, threshold) = match compare.clear {
                    Some((clear, _, stays)) => (stays, clear),
                    None => (compare.op, compare.threshold.value),
                };
                Expr::binary(op, compare.value.expr.clone(), Expr::Number(threshold))
            },
            Mode::Hold,
        );
        (hold != self.raise()).then_some(hold)
    }

    /// What is judged, present only where all that is needed to judge is.
    pub(crate) fn value(&self) -> Expr {
        self.build(&|compare| compare.value.expr.clone(), Mode::Value)
    }

    fn build(&self, leaf: &impl Fn(&Compare) -> Expr, mode: Mode) -> Expr {
        match &self.0 {
            Kind::Compare(compare) => leaf(compare),
            Kind::Present(value) => value.expr.clone(),
            Kind::All(all) => {
                let parts = all.iter().filter(|one| mode == Mode::Raise || !one.is_to_raise());
                join(BinaryOp::And, parts, leaf, mode)
            }
            Kind::Any(all) => join(BinaryOp::Or, all.iter(), leaf, mode),
            Kind::Unless(one, other) => {
                let one = one.build(leaf, mode);
                if mode == Mode::Value {
                    // What is excluded is judged all the same: it is well.
                    return one;
                }
                Expr::matched(BinaryOp::Unless, one, other.raise(), other.matching())
            }
            Kind::Promql(parsed) => match parsed.as_ref() {
                Ok(expr) if mode == Mode::Value => expr.unfiltered(),
                Ok(expr) => expr.clone(),
                Err(_) => Expr::Number(f64::NAN),
            },
            Kind::On(one, _) | Kind::ToRaise(one) => one.build(leaf, mode),
        }
    }

    fn is_to_raise(&self) -> bool {
        match &self.0 {
            Kind::ToRaise(_) => true,
            Kind::On(one, _) => one.is_to_raise(),
            _ => false,
        }
    }

    fn matching(&self) -> Matching {
        match &self.0 {
            Kind::On(_, labels) => {
                Matching { on: true, labels: labels.clone(), ..Matching::default() }
            }
            Kind::ToRaise(one) => one.matching(),
            _ => Matching::default(),
        }
    }
}

fn join<'a>(
    op: BinaryOp,
    parts: impl Iterator<Item = &'a Condition>,
    leaf: &impl Fn(&Compare) -> Expr,
    mode: Mode,
) -> Expr {
    let mut joined: Option<Expr> = None;
    for part in parts {
        let next = part.build(leaf, mode);
        joined = Some(match joined {
            None => next,
            Some(before) => Expr::matched(op, before, next, part.matching()),
        });
    }
    joined.unwrap_or(Expr::Number(f64::NAN))
}

impl Compare {
    fn check(&self, mistakes: &mut Vec<Mistake>) {
        mistakes.extend(self.value.mistakes.iter().cloned());
        let threshold = self.threshold.value;
        if !threshold.is_finite() {
            mistakes.push(Mistake::Threshold(threshold));
        }
        let (clear, clear_quantity) =
            self.clear.map_or((None, None), |(v, q, _)| (Some(v), Some(q)));
        for quantity in [Some(self.threshold.quantity), clear_quantity].into_iter().flatten() {
            let value = self.value.quantity;
            let known = quantity != Quantity::OfMetric && value != Quantity::OfMetric;
            if known && value != quantity {
                let (value, threshold) = (value.as_str(), quantity.as_str());
                mistakes.push(Mistake::Unit { value, threshold });
            }
        }
        let Some((clear, stays)) = clear.zip(self.clear.map(|(_, _, stays)| stays)) else { return };
        let rising = matches!(self.op, BinaryOp::Greater | BinaryOp::GreaterEqual);
        if rising != (stays == BinaryOp::GreaterEqual) {
            let given = if rising { "clear_above" } else { "clear_below" };
            mistakes.push(Mistake::ClearDirection { given, op: self.op.as_str() });
        } else if !clear.is_finite() {
            mistakes.push(Mistake::Threshold(clear));
        } else if (rising && clear > threshold) || (!rising && clear < threshold) {
            let side = if rising { "most" } else { "least" };
            mistakes.push(Mistake::ClearThreshold { clear, threshold, side });
        }
    }
}
