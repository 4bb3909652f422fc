//! Pages that are written by themselves when an alert fires: not too often, and only the last few
//! are kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use super::Source;
use crate::{
    alert::Sink,
    error::Problem,
    event::{Severity, State, Transition},
};

const DEFAULT_KEEP: usize = 5;
const DEFAULT_PAUSE: Duration = Duration::from_secs(60);

/// Where pages are written when an alert fires; from [`to`].
#[derive(Debug, Clone)]
#[must_use = "give it to the builder with `report`"]
pub struct Keeper {
    directory: PathBuf,
    keep: usize,
    pause: Duration,
}

/// Writes a page into this directory when an alert fires that no silence covers: at most one a
/// minute, of which the last five are kept. The directory is made where it lacks; other files in
/// it are left alone.
///
/// Written on the thread that tells the sinks; a disk that fails is counted in
/// `highwater.dropped` as `sink_refused`.
pub fn to(directory: impl AsRef<Path>) -> Keeper {
    let directory = directory.as_ref().to_owned();
    Keeper { directory, keep: DEFAULT_KEEP, pause: DEFAULT_PAUSE }
}

impl Keeper {
    /// How many pages are kept: 5 by default, 1 to 1,000.
    pub fn keep(mut self, pages: usize) -> Self {
        self.keep = pages;
        self
    }

    /// How long after a page the next may be written: a minute by default, 1 s to a day. An alert
    /// that is more severe than the last page's does not wait.
    pub fn at_most_every(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |setting, value, allowed| {
            problems.push(Problem::Setting { setting, value, allowed });
        };
        if self.directory.as_os_str().is_empty() {
            wrong("report directory", "\"\"".to_owned(), "it must not be empty");
        }
        if !(1..=1_000).contains(&self.keep) {
            wrong("report keep", self.keep.to_string(), "it must be from 1 to 1,000");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&self.pause) {
            wrong(
                "report at_most_every",
                format!("{:?}", self.pause),
                "it must be from 1 s to a day",
            );
        }
        problems
    }

    /// Where to.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A sink that writes.
    pub(crate) fn sink(self, source: Source) -> Sink {
        let mut last: Option<(Instant, Severity)> = None;
        Sink::new("report", move |transition| {
            if transition.to != State::Firing {
                return true;
            }
            let severity = transition.rule.severity;
            if last.is_some_and(|(at, before)| at.elapsed() < self.pause && severity <= before) {
                return true;
            }
            last = Some((Instant::now(), severity));
            match self.write(&source, transition) {
                Ok(path) => {
                    log::info!(
                        "highwater: {} is on the page {}",
                        transition.rule.name,
                        path.display()
                    );
                    true
                }
                Err(why) => {
                    log::warn!("highwater: no page in {}: {why}", self.directory.display());
                    false
                }
            }
        })
    }

    fn write(&self, source: &Source, transition: &Transition) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.directory)?;
        let prefix = format!("highwater-{}-", plain(&source.service));
        let at = transition.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Sorts by time for the next few thousand years.
        let name = format!("{prefix}{:013}-{}.html", at.as_millis(), plain(&transition.rule.name));
        let path = self.directory.join(name);
        let mut report = source.report();
        // The tick may not have come round to writing it down.
        report.history.note_once(transition);
        report.write_to(&path)?;
        let ours = |entry: io::Result<fs::DirEntry>| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            (name.starts_with(&prefix) && name.ends_with(".html")).then_some(name)
        };
        let mut pages: Vec<_> = fs::read_dir(&self.directory)?.filter_map(ours).collect();
        pages.sort();
        for old in pages.iter().rev().skip(self.keep) {
            // Somebody may have taken it away.
            _ = fs::remove_file(self.directory.join(old));
        }
        Ok(path)
    }
}

/// What can be part of a file's name anywhere.
fn plain(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let plain: String = text.chars().take(40).map(safe).collect();
    if plain.is_empty() { "_".to_owned() } else { plain }
}
