//! An incident on one page, for people without Grafana at hand: one HTML file with the last
//! minutes of memory, pressure, queries and pools, what fired and why, and what to do.
//!
//! It needs nothing but a browser: no script, no network, no other file. From
//! [`Highwater::report`](crate::Highwater::report) on demand, or kept by itself when an alert fires:
//!
//! ```no_run
//! use highwater::{Highwater, report};
//!
//! let hw = Highwater::builder("veltrix")
//!     .report(report::to("/var/log/veltrix/incidents").keep(10))
//!     .start()?;
//! # Ok::<(), highwater::Error>(())
//! ```

mod chart;
mod keeper;
mod markup;
mod page;
mod parts;
#[cfg(test)]
mod tests;

use std::{io, path::Path, time::SystemTime};

pub use keeper::{Keeper, to};

use crate::{
    history::{self, History},
    rule::Rule,
    sync::{Arc, RwLock},
};

/// What a page is written from; shared by the handle and whoever writes by itself.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) service: Arc<str>,
    /// Those that run; others take their place when rule files are read anew.
    pub(crate) rules: Arc<RwLock<Arc<[Rule]>>>,
    pub(crate) history: history::Shared,
}

impl Source {
    pub(crate) fn new(service: &str, rules: &[Rule], history: history::Shared) -> Self {
        let rules = Arc::new(RwLock::new(Arc::from(rules)));
        Self { service: Arc::from(service), rules, history }
    }

    pub(crate) fn report(&self) -> Report {
        Report {
            service: self.service.clone(),
            rules: self.rules.read().clone(),
            history: self.history.read().clone(),
            at: SystemTime::now(),
        }
    }
}

/// The last minutes of an instance, as they were when it was taken; from
/// [`Highwater::report`](crate::Highwater::report).
#[derive(Debug, Clone)]
pub struct Report {
    service: Arc<str>,
    rules: Arc<[Rule]>,
    history: History,
    at: SystemTime,
}

impl Report {
    /// The page: HTML that holds all it needs, some 50 to 500 kB. Costs some milliseconds.
    ///
    /// ```
    /// let hw = highwater::Highwater::builder("doc").start()?;
    /// let page = hw.report().html();
    /// assert!(page.starts_with("<!doctype html>"));
    /// # Ok::<(), highwater::Error>(())
    /// ```
    pub fn html(&self) -> String {
        page::Page::new(self).html()
    }

    /// Writes the page to a file, whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_to(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        std::fs::write(&partial, self.html())?;
        std::fs::rename(&partial, path).inspect_err(|_| _ = std::fs::remove_file(&partial))
    }
}
