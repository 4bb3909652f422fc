//! Rule files as Prometheus reads them: alerts, and the recording rules they need.
//!
//! What cannot be run is refused with its group, rule, construct and place. A rule that is refused
//! takes no other one down, unless that is asked for.

mod put_in;
mod read;
mod yaml;

#[cfg(test)]
mod tests;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{builder::Rule, declared::Declared};
use crate::event::Owner;

/// Alerting rules as a Prometheus server reads them, from a file or a text.
///
/// Groups, `expr`, `for`, `keep_firing_for`, `labels`, `annotations` with the template functions
/// real rules use, and `limit` mean what they mean there. Recording rules are computed where an
/// alert of the same file uses them; they are no series of their own. Rules are evaluated at every
/// tick, which is at least as often as `interval` asks for. Metrics and labels may be written with
/// their own names (`{"process.memory.usage"}`) or a server's (`process_memory_usage_bytes`). Of the
/// labels a server adds, all series have `job` and `instance` for these rules, which are this
/// service's name and instance id; what a server alone has, such as `up` and other labels of its
/// targets, is not there, and a rule about it sees no data ([`Verdict::unseen`](crate::alert::Verdict::unseen)).
///
/// ```
/// use highwater::{Highwater, rule};
/// let text = r#"
/// groups:
///   - name: queue
///     rules:
///       - alert: QueueDeep
///         expr: sum by (queue) (queue_depth) > 1000
///         for: 1m
///         labels: { severity: critical }
///         annotations: { summary: "{{ $value | humanize }} jobs in {{ $labels.queue }}" }
/// "#;
/// let hw = Highwater::builder("doc").rule_file(rule::yaml(text)).start()?;
/// assert!(!hw.alert("QueueDeep")?.is_firing());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "give it to the builder with `rule_file`"]
pub struct RuleFile {
    source: Source,
    all_or_nothing: bool,
    owner: Owner,
    bounds: Declared,
}

#[derive(Debug, Clone)]
enum Source {
    Path(PathBuf),
    Text(String),
}

/// The rules in a file; read when the instance starts, and again when it changes.
pub fn file(path: impl Into<PathBuf>) -> RuleFile {
    RuleFile::of(Source::Path(path.into()))
}

/// The rules in a text, such as `include_str!` gives.
pub fn yaml(text: &str) -> RuleFile {
    RuleFile::of(Source::Text(text.to_owned()))
}

impl From<&str> for RuleFile {
    fn from(path: &str) -> Self {
        file(path)
    }
}

impl From<&Path> for RuleFile {
    fn from(path: &Path) -> Self {
        file(path)
    }
}

impl From<PathBuf> for RuleFile {
    fn from(path: PathBuf) -> Self {
        file(path)
    }
}

impl RuleFile {
    fn of(source: Source) -> Self {
        let (owner, bounds) = (Owner::default(), Declared::default());
        Self { source, all_or_nothing: false, owner, bounds }
    }

    /// One rule that is refused refuses the file. Otherwise it is logged and counted
    /// (`highwater.rule.refused`), and the others run.
    pub fn all_or_nothing(mut self) -> Self {
        self.all_or_nothing = true;
        self
    }

    /// Who tells people of its alerts; see [`Owner`].
    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    /// Declares bounds of a histogram, by its metric's own name, so that the file's rules can select
    /// buckets by `le="…"` of them; see [`Builder::bounds`](crate::Builder::bounds).
    ///
    /// ```
    /// use highwater::rule;
    /// let text = r#"groups: [{name: g, rules: [{alert: Slow, expr:
    ///     'rate(job_duration_bucket{le="0.3"}[5m]) / rate(job_duration_count[5m]) < 0.9'}]}]"#;
    /// assert!(rule::yaml(text).rules().is_err());
    /// assert_eq!(rule::yaml(text).bounds("job.duration", [0.3]).rules()?.len(), 1);
    /// # Ok::<(), rule::FileError>(())
    /// ```
    pub fn bounds(mut self, metric: &str, bounds: impl AsRef<[f64]>) -> Self {
        self.bounds.add(metric, bounds.as_ref());
        self
    }

    pub(crate) fn declared(&self) -> &Declared {
        &self.bounds
    }

    /// With what is declared for all.
    pub(crate) fn also_declared(mut self, bounds: &Declared) -> Self {
        self.bounds.extend(bounds);
        self
    }

    /// Its rules, for a test of them (`testing::Kit`, at a tick of one second).
    ///
    /// # Errors
    /// The file cannot be read, or any rule is refused.
    pub fn rules(&self) -> Result<Vec<Rule>, FileError> {
        Ok(self.clone().all_or_nothing().load(Duration::from_secs(1))?.rules)
    }

    /// Where it is, unless it is a text.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::Path(path) => Some(path),
            Source::Text(_) => None,
        }
    }

    /// Reads and checks it, for an instance of this tick.
    ///
    /// # Errors
    /// It cannot be read, is no rule file, or has a rule that is refused and asks for all.
    pub(crate) fn load(&self, tick: Duration) -> Result<Loaded, FileError> {
        let name = self.path().map_or_else(|| "text".to_owned(), |path| path.display().to_string());
        let wrong = |reason| FileError { file: name.clone(), reason };
        let text = match &self.source {
            Source::Text(text) => text.clone(),
            Source::Path(path) => read(path).map_err(wrong)?,
        };
        let bounds = Arc::new(self.bounds.clone());
        let mut loaded = read::read(&text, &name, tick, &bounds).map_err(wrong)?;
        if self.all_or_nothing && !loaded.refused.is_empty() {
            return Err(wrong(Reason::Refused(loaded.refused)));
        }
        for rule in &mut loaded.rules {
            rule.owner = self.owner;
        }
        Ok(loaded)
    }
}

fn read(path: &Path) -> Result<String, Reason> {
    use io::Read as _;
    let mut text = String::new();
    // To open a pipe is to wait for whoever writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file").into());
    }
    // A file that grows ends at the cap too.
    fs::File::open(path)?.take(yaml::LONGEST as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) rules: Vec<Rule>,
    pub(crate) refused: Vec<Refused>,
}

/// A rule of a file that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// The file, or `text`.
    pub file: String,
    /// Where in it: line and column, from one.
    pub position: (usize, usize),
    /// Its group.
    pub group: String,
    /// Its name; empty if that is what is missing, or the group is refused.
    pub rule: String,
    /// What is wrong, with the construct's name.
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, position: (line, column), group, rule, reason } = self;
        write!(f, "{file}:{line}:{column}: group {group:?}")?;
        if !rule.is_empty() {
            write!(f, ", rule {rule:?}")?;
        }
        write!(f, ": {reason}")
    }
}

/// Why a whole file is refused.
#[derive(Debug, thiserror::Error)]
#[error("rule file {file}: {reason}")]
pub struct FileError {
    file: String,
    #[source]
    reason: Reason,
}

impl FileError {
    /// The rules it is refused for, if they are why.
    pub fn refused(&self) -> &[Refused] {
        match &self.reason {
            Reason::Refused(all) => all,
            _ => &[],
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{bytes} bytes, at most {allowed} are read")]
    Long { bytes: usize, allowed: usize },
    #[error("{reason} at {line}:{column}")]
    Yaml { line: usize, column: usize, reason: String },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Refused>),
}
