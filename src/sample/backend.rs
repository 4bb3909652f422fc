//! Where the built-in samplers read: procfs where there is one, `sysinfo` elsewhere.

#[cfg(target_os = "linux")]
use super::procfs::Procfs;
use super::{Failure, portable::Portable};
#[cfg(target_os = "linux")]
use crate::sync::Arc;

/// Which of them; decided when a sampler starts, by asking for what it cannot do without.
#[derive(Debug)]
pub(super) enum Backend {
    #[cfg(target_os = "linux")]
    Linux(Arc<Procfs>),
    Portable(Box<Portable>),
}

/// What a sampler cannot do without. They are hidden apart: a procfs mounted with `subset=pid`
/// tells of processes only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Process,
    System,
    /// The system's, or control groups with limits.
    Memory,
}

/// Where to look for procfs: in other places than the usual one in tests only.
#[derive(Debug, Default)]
pub(super) struct Origin {
    #[cfg(target_os = "linux")]
    pub(super) procfs: Option<Arc<Procfs>>,
}

impl Origin {
    #[cfg(target_os = "linux")]
    pub(super) fn procfs(&self) -> Arc<Procfs> {
        self.procfs.clone().unwrap_or_else(Procfs::shared)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn open(&self, need: Need) -> Result<Backend, Failure> {
        let procfs = self.procfs();
        let probe = match need {
            Need::Process => procfs.process_stat(&procfs.look()).map(drop),
            Need::System => procfs.meminfo(&procfs.look()).map(drop),
            Need::Memory if procfs.locate_groups(&procfs.look()).0 > 0 => Ok(()),
            Need::Memory => procfs.meminfo(&procfs.look()).map(drop),
        };
        match probe {
            Ok(()) => Ok(Backend::Linux(procfs)),
            Err(hidden) => {
                log::debug!("highwater: no procfs for the {need:?}, asking sysinfo: {hidden}");
                Portable::new().map(|portable| Backend::Portable(Box::new(portable)))
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn open(&self, _: Need) -> Result<Backend, Failure> {
        Portable::new().map(|portable| Backend::Portable(Box::new(portable)))
    }
}
