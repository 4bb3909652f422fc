//! What stands beside a service, written from the same builder that runs it and without starting
//! anything: dashboards, rules for a Prometheus server, a runbook.
//!
//! ```
//! # #[cfg(feature = "generate")] {
//! use highwater::{Highwater, generate};
//!
//! let builder = Highwater::builder("veltrix").runbooks("https://runbooks.example/veltrix.md");
//! for file in generate::grafana(&builder)?.files() {
//!     println!("{}: {} bytes", file.path, file.text.len());
//! }
//! # }
//! # Ok::<(), highwater::Error>(())
//! ```
//!
//! `examples/dashboards.rs` writes all of it to a folder. Everything is the same text for the same
//! builder, so that it can be checked in and a change be seen.

#[cfg(feature = "generate")]
mod grafana;
mod outline;
#[cfg(feature = "generate")]
mod series;

#[cfg(feature = "generate")]
pub use grafana::{Flavor, Grafana, grafana};

pub(crate) use outline::Outline;

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
