//! Rules: what is watched, when it is bad, and what to tell people.
//!
//! A rule has a condition and makes one alert for each label set the condition yields:
//!
//! ```
//! use std::time::Duration;
//! use highwater::{alert::Severity, rule};
//!
//! let minute = Duration::from_secs(60);
//! let slow = rule::alert("OrdersSlow")
//!     .when(rule::query("orders_by_user").quantile(0.99).over(minute)
//!         .above(Duration::from_millis(250)).clear_below(Duration::from_millis(200)))
//!     .hold_for(minute)
//!     .severity(Severity::Warning)
//!     .summary("99% of calls take up to {{ value }}");
//! let failing = rule::alert("OrdersFailing")
//!     .when(rule::all([
//!         rule::query("orders_by_user").error_share(minute).above(0.05).clear_below(0.02),
//!         rule::query("orders_by_user").errors(minute).at_least(10.0).to_raise(),
//!     ]));
//! ```
//!
//! An alert is *inactive*, *pending* while its condition holds but not yet for long enough,
//! *firing*, or without *data*: a missing sample is not "false". States and arithmetic are
//! Prometheus' own; conditions print as PromQL.
//!
//! **What a window costs a tick.** What counters and histograms gain (`rate`, `increase`, and all of
//! [`Distribution`]) is kept as a running sum: a tick adds what came and takes off what went,
//! whatever the window's length. All else (`delta`, `irate`, `deriv`, `predict_linear`, `changes`,
//! `resets`, `*_over_time`; [`Value::max_over`] and its kin, [`Value::forecast`]) reads the window's
//! samples again, of which there are never more than 900: about a microsecond each time.
// Everything below is pure: time and data are arguments. The way of a rule: `builder` (with
// `value` and `condition`) makes an `expr`, `bind` resolves it to a `plan`, `active` runs that and
// moves each alert's `lifecycle`, `evaluator` holds all of it for the tick thread.

mod active;
mod aggregate;
mod binary;
mod bind;
mod builder;
mod classic;
mod condition;
mod declared;
mod error;
mod evaluator;
mod export;
mod expr;
#[cfg(feature = "rule-files")]
mod file;
mod frozen;
#[doc(hidden)]
pub mod harness;
mod index;
mod lifecycle;
mod memory;
pub(crate) mod naming;
mod number;
mod objective;
mod outline;
mod past;
mod plan;
pub mod preset;
mod promql;
mod range;
mod recorded;
mod set;
mod template;
mod value;

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;

pub use builder::{Adjust, Rule, alert};
pub use condition::{Condition, Threshold, all, any, bytes, promql};
pub use error::{Error, Mistake};
pub use export::{Approximation, ExportStyle, Exported, Histograms, Inequality, Names};
#[cfg(feature = "rule-files")]
pub use file::{FileError, Refused, RuleFile, file, yaml};
pub use memory::{Memory, memory};
pub use objective::Objective;
pub use promql::Refusal;
pub use value::{
    Counter, Distribution, Quantile, Value, counter, gauge, histogram, queries, query,
};

pub use crate::event::Owner;
pub(crate) use crate::window::DEFAULT_BUDGET;
pub(crate) use declared::Declared;
pub(crate) use evaluator::{Evaluator, Status};
pub(crate) use export::{Catalog, KNOWN, Scope, export};
#[cfg(feature = "generate")]
pub(crate) use outline::Edge;
#[cfg(feature = "rule-files")]
pub(crate) use set::Assembled;
#[cfg(feature = "rule-files")]
pub use set::ReloadError;
pub(crate) use set::{RuleNames, RuleSet, rule_names};
pub(crate) use template::readable;
