//! What can go wrong before anything runs, and when it ends.

use std::fmt;

use crate::{builder::Builder, name::UnknownUnit};

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
    /// A rule file is refused.
    #[cfg(feature = "rule-files")]
    #[error(transparent)]
    RuleFile(#[from] crate::rule::ReloadError),
    /// The exporter cannot be.
    #[error(transparent)]
    Export(#[from] crate::export::otlp::Error),
    /// An instance is installed already.
    #[error("an instance is already installed: shut it down first, or use `start` for another one")]
    Installed,
    /// Another recorder took the `metrics` macros first.
    #[error(
        "the process already has a `metrics` recorder: use `start` instead of `install` and put `hw.recorder()` beside it with metrics-util's `Fanout`"
    )]
    Recorder,
    /// A metric was described with a unit that is none.
    #[error("metric {metric:?}: {unknown}")]
    Unit {
        /// The metric.
        metric: String,
        /// What was given.
        #[source]
        unknown: UnknownUnit,
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
    /// As it was, to be [`start`](crate::Builder::start)ed instead; `None` if what the
    /// environment asks for made a rule impossible.
    pub builder: Option<Box<Builder>>,
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
