//! What stands beside a service, written from the same builder that runs it and without starting
//! anything: dashboards, rules for a Prometheus server, a runbook.
//!
//! ```
//! use highwater::{Highwater, generate::{self, Flavor}};
//!
//! let builder = Highwater::builder("veltrix").runbooks("https://runbooks.example/veltrix.md");
//! let runbook = generate::runbook(&builder)?;
//! let rules = generate::prometheus_rules(&builder, Flavor::PrometheusNative)?;
//! assert!(runbook.contains("## MemoryNearLimit") && rules.contains("HighwaterDeadMan"));
//! # Ok::<(), highwater::Error>(())
//! ```
//!
//! `examples/dashboards.rs` writes all of it to a folder. Everything is the same text for the same
//! builder, so that it can be checked in and a change be seen.

mod flavor;
#[cfg(feature = "generate")]
mod grafana;
mod outline;
mod process_rules;
mod runbook;
mod series;
mod server_rules;

pub use flavor::Flavor;
#[cfg(feature = "generate")]
pub use grafana::{Grafana, grafana};
pub use process_rules::process_rules;
pub use runbook::runbook;
pub use server_rules::prometheus_rules;

pub(crate) use outline::Outline;
pub(crate) use runbook::{Advice, advice};

/// A file that was written, by its path within whatever folder it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct File {
    /// Relative, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl File {
    /// Writes it below `directory`, which is made where it lacks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_to(&self, directory: impl AsRef<std::path::Path>) -> std::io::Result<()> {
        let path = directory.as_ref().join(&self.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, &self.text)
    }
}
