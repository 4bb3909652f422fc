//! What can go wrong before anything runs, and when it ends.

use std::{fmt, time::Duration};

/// Everything that kept an instance from starting: all mistakes at once, each naming the value
/// and what is allowed.
///
/// ```
/// let error = highwater::Highwater::builder("").tick(std::time::Duration::ZERO).start().unwrap_err();
/// assert_eq!(error.problems().len(), 2);
/// ```
#[derive(Debug)]
pub struct Error(pub(crate) Vec<Problem>);

/// One mistake.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A setting of the builder is out of its range.
    #[error("{setting} is {value}: {allowed}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// As given.
        value: String,
        /// What would do.
        allowed: &'static str,
    },
    /// A rule cannot be.
    #[error(transparent)]
    Rule(#[from] crate::rule::Error),
    /// The exporter cannot be.
    #[error("export: {0}")]
    Export(#[from] crate::export::otlp::Error),
    /// An instance is installed already.
    #[error("an instance is already installed: shut it down first, or use `start` for another one")]
    Installed,
    /// Another recorder took the `metrics` macros first.
    #[error(
        "the process already has a `metrics` recorder: use `start` instead of `install` and put `hw.recorder()` beside it with metrics-util's `Fanout`"
    )]
    Recorder,
    /// The operating system refused a thread.
    #[error("cannot start the thread {name:?}: {source}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// Each mistake by itself.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "highwater cannot start: {one}"),
            all => {
                write!(f, "highwater cannot start, {} mistakes:", all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.0.as_slice() {
            [one] => one.source(),
            _ => None,
        }
    }
}

/// A failed [`Builder::install`](crate::Builder::install): the reason, and the builder to go on
/// with.
pub struct InstallError {
    /// Why.
    pub error: Error,
    /// As it was: [`start`](crate::Builder::start) it, or drop it.
    pub builder: crate::Builder,
}

impl fmt::Debug for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for InstallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// No rule has the name an alert was asked for by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no rule is named {name:?}; there are: {}", known.join(", "))]
pub struct UnknownAlert {
    pub(crate) name: String,
    pub(crate) known: Vec<String>,
}

/// What a shutdown could not finish in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// A thread was still at work when the deadline came; what it had not delivered is lost.
    #[error("{thread:?} did not finish within {timeout:?}")]
    Deadline {
        /// Which.
        thread: &'static str,
        /// The deadline that was given.
        timeout: Duration,
    },
    /// The receiver did not take everything.
    #[error("{requests} requests were not delivered: {reason}")]
    Undelivered {
        /// How many.
        requests: usize,
        /// The last error.
        reason: String,
    },
}
