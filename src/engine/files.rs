//! The `highwater-files` thread: it looks at the rule and silence files once a tick, and reads and
//! checks what has changed. The tick thread only takes what is ready: a disk that hangs, or a file
//! that takes long to check, delays no evaluation. It exists only where there is a file to look at,
//! and a shutdown does not wait for it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use super::{
    Shared,
    launch::Launch,
    mailbox::{Mail, Mailbox},
    silence_file::SilenceFile,
};
use crate::{clock::Moment, sync::Arc};

pub(super) const NAME: &str = "highwater-files";

/// A look that takes longer is told of.
const PATIENCE: Duration = Duration::from_secs(10);

/// What it looks at.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) silences: Option<SilenceFile>,
    #[cfg(feature = "rule-files")]
    pub(super) rules: Option<super::reload::Watcher>,
}

impl Watched {
    fn is_empty(&self) -> bool {
        #[cfg(feature = "rule-files")]
        if self.rules.is_some() {
            return false;
        }
        self.silences.is_none()
    }

    fn look(&mut self, shared: &Shared) {
        if let Some(file) = &mut self.silences {
            file.refresh(&shared.silences);
        }
        #[cfg(feature = "rule-files")]
        if let Some(files) = &mut self.rules {
            files.look();
        }
    }
}

/// The tick thread's side.
#[derive(Debug)]
pub(super) struct Files {
    /// One look at most waits: more would find the same.
    mailbox: Arc<Mailbox<()>>,
    launch: Launch,
    /// Since when none was taken, and whether that was told.
    busy: Option<(Moment, bool)>,
}

impl Files {
    /// Looks once before it returns: what is silenced is so from the first tick on. None where
    /// there is nothing to look at.
    pub(super) fn start(mut watched: Watched, shared: Arc<Shared>) -> Option<Self> {
        if watched.is_empty() {
            return None;
        }
        if let Some(file) = &mut watched.silences {
            file.refresh(&shared.silences);
        }
        let mailbox = Arc::new(Mailbox::new(1));
        let theirs = mailbox.clone();
        let launch = Launch::new(NAME, move || {
            while theirs.wait(None) == Mail::Message(()) {
                // Nothing in it should panic. If it does all the same, the next look still comes.
                if catch_unwind(AssertUnwindSafe(|| watched.look(&shared))).is_err() {
                    log::error!("highwater: looking at the rule and silence files panicked");
                }
            }
        });
        Some(Self { mailbox, launch, busy: None })
    }

    /// Has them looked at, unless that still goes on.
    pub(super) fn look(&mut self, at: Moment) {
        self.launch.retry();
        match self.mailbox.push(()) {
            Ok(()) => self.busy = None,
            Err(()) => {
                let (since, told) = self.busy.get_or_insert((at, false));
                if !*told && at.mono.saturating_sub(since.mono) >= PATIENCE {
                    *told = true;
                    log::warn!(
                        "highwater: the rule and silence files cannot be looked at: that hangs"
                    );
                }
            }
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.mailbox.close();
        // If it never ran: it holds what all threads share.
        self.launch.settle();
    }
}
