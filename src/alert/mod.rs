//! Alerts as the service itself sees them: a [`Watch`] to read in a request handler, sinks that
//! are told of every [`Transition`], silences that keep the sinks quiet.

mod channel;
mod silence;
mod sink;
mod watch;

pub use crate::event::{ResolveReason, RuleInfo, Severity, State, Transition};
pub use channel::{Alerts, channel};
pub use silence::Silence;
pub use sink::{Sink, to_fn, to_log};
pub use watch::{UnknownAlert, Watch};

pub(crate) use silence::{Silences, parse_file as parse_silence_file};
#[cfg(test)]
pub(crate) use sink::testing;
pub(crate) use watch::{Reading, Watches};
