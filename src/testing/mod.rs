//! Proves rules in a test: time is told, not waited for (feature `test-util`).
//!
//! ```
//! use std::time::Duration;
//! use highwater::{alert::State, rule, testing::Kit};
//!
//! let deep = rule::alert("QueueDeep")
//!     .when(rule::gauge("queue.depth").above(1000.0))
//!     .hold_for(Duration::from_secs(30));
//! let mut kit = Kit::new([deep]);
//! kit.gauge("queue.depth").build().set(1200.0);
//! kit.run(Duration::from_secs(29));
//! assert_eq!(kit.state("QueueDeep"), State::Pending);
//! kit.run(Duration::from_secs(1));
//! assert_eq!(kit.state("QueueDeep"), State::Firing);
//! ```
//!
//! The rules are evaluated by what evaluates them in production, tick by tick: there is no second
//! implementation to disagree with. [`Recording`] and [`simulate`] do the same with samples that
//! were recorded: they say what a rule would have done.

mod kit;
mod simulate;

pub use kit::Kit;
pub use simulate::{Recording, RecordingError, Simulation, simulate};
