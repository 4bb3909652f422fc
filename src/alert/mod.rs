//! Alerts as the service itself sees them: a [`Watch`] to read in a request handler, sinks that
//! are told of every [`Transition`], silences that keep the sinks quiet.

mod channel;
mod evidence;
mod maintenance;
mod notify;
mod remote;
mod silence;
mod sink;
mod verdict;
mod watch;

pub use crate::event::{
    Cause, Evidence, Fact, Hush, Owner, ResolveReason, RuleInfo, Severity, State, Transition,
};
pub use channel::{Alerts, channel};
pub use silence::{Deploying, Silence};
pub use sink::{Sink, to_fn, to_group_fn, to_log};
pub use verdict::{Fired, Verdict};
pub use watch::{UnknownAlert, Watch};

#[cfg(test)]
pub(crate) use crate::event::testing;
pub(crate) use evidence::gather as gather_evidence;
pub(crate) use maintenance::Window;
pub(crate) use notify::{Notice, Notifier, Told};
#[cfg(any(feature = "alertmanager", feature = "webhook", feature = "otel-sdk-0-33"))]
pub(crate) use remote::{Left, Remote};
pub(crate) use remote::{Raised, Retrier, Speaker};
pub(crate) use silence::{Filed, Recurring, Silences, parse_file as parse_silence_file};
pub(crate) use sink::{Habits, to_log_of};
pub(crate) use verdict::Ledger;
pub(crate) use watch::{Reading, Watches};
