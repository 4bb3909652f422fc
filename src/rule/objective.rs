//! Objectives, and how fast their error budgets burn.

use std::time::Duration;

use super::{
    condition::{Condition, all, any},
    error::Mistake,
    expr::{BinaryOp, Expr},
    value::{Distribution, Quantity, Value},
};

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(3_600 * hours)
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// Two windows and the burn rate that both must exceed.
type Step = (Duration, Duration, f64);

/// The SRE workbook's steps of a budget of 30 days
/// (<https://sre.google/workbook/alerting-on-slos/>, table 5-8): 2% of it in an hour, 5% in six…
const PAGE: [Step; 2] = [(hours(1), minutes(5), 14.4), (hours(6), minutes(30), 6.0)];
/// …10% in a day, and in three.
const TICKET: [Step; 2] = [(hours(24), hours(2), 3.0), (hours(72), hours(6), 1.0)];

/// Which share of a query's calls shall be good; from [`Distribution::succeeding`] or
/// [`Distribution::faster_than`].
///
/// A *burn rate* is the share of bad calls over the share that may be bad: at 1 a budget of 30 days
/// lasts 30 days, at 14.4 two days. Each condition asks for it over a long window, so that it is
/// no blip, and over a short one, so that it is not over yet.
///
/// ```
/// use std::time::Duration;
/// use highwater::{alert::Severity, rule};
///
/// let fast = || rule::query("orders").faster_than(Duration::from_millis(250), 0.99);
/// let page = rule::alert("OrdersBudgetBurns").when(fast().page()).severity(Severity::Critical);
/// let ticket = rule::alert("OrdersBudgetBurns").when(fast().ticket());
/// ```
#[derive(Debug, Clone)]
#[must_use = "ask for a condition: `page`, `ticket`, `burning`"]
pub struct Objective {
    of: Distribution,
    good: Good,
    goal: f64,
}

#[derive(Debug, Clone, Copy)]
enum Good {
    Succeeded,
    FasterThan(Duration),
}

impl Distribution {
    /// The objective that this share of calls shall not fail (0.999, more than 0 and less than 1);
    /// see [`errors`](Self::errors) for what counts.
    pub fn succeeding(self, goal: f64) -> Objective {
        Objective { of: self, good: Good::Succeeded, goal }
    }

    /// The objective that this share of calls shall take no longer than a limit; see
    /// [`share_slower_than`](Self::share_slower_than) for how exact that is.
    pub fn faster_than(self, limit: Duration, goal: f64) -> Objective {
        Objective { of: self, good: Good::FasterThan(limit), goal }
    }
}

impl Objective {
    /// How fast the budget burns, over a window.
    pub fn burn_rate(&self, window: Duration) -> Value {
        let of = self.of.clone();
        let mut bad = match self.good {
            Good::Succeeded => of.error_share(window),
            Good::FasterThan(limit) => of.share_slower_than(limit, window),
        };
        if !(self.goal > 0.0 && self.goal < 1.0) {
            bad.mistakes.push(Mistake::Goal(self.goal));
        }
        // 1 - 0.999 is not quite 0.001: to nine digits, for the sake of who reads the export.
        let allowed = ((1.0 - self.goal) * 1e9).round() / 1e9;
        bad.expr = Expr::binary(BinaryOp::Divide, bad.expr, Expr::Number(allowed));
        bad.quantity = Quantity::Number;
        bad
    }

    /// Holds while the budget burns this many times too fast over both windows.
    pub fn burning(&self, long: Duration, short: Duration, rate: f64) -> Condition {
        all([self.burn_rate(long).above(rate), self.burn_rate(short).above(rate)])
    }

    fn steps(&self, [first, second]: [Step; 2]) -> Condition {
        let step = |(long, short, rate)| self.burning(long, short, rate);
        any([step(first), step(second)])
    }

    /// Somebody must look now: 14.4 times over an hour and five minutes, or 6 times over six hours
    /// and half an hour.
    ///
    /// A window reaches no further back than the start of the process.
    pub fn page(&self) -> Condition {
        self.steps(PAGE)
    }

    /// Somebody must look tomorrow: 3 times over a day and two hours, or once over three days and
    /// six hours.
    pub fn ticket(&self) -> Condition {
        self.steps(TICKET)
    }
}
