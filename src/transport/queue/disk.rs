//! The queue's disk: a [spool](Spool) that may fail in parts, and come back.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::Note;
use crate::transport::spool::{Durability, Place, Spool};

/// A disk that cannot be written to is tried again so often.
const PAUSE: Duration = Duration::from_secs(30);
/// So is a request on it that cannot be read.
pub(super) const UNREADABLE: Duration = Duration::from_secs(10);
/// After a read that failed, none is tried for so long: what failed it is seldom the file itself.
const READ_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(crate) struct DiskLimits {
    pub(crate) directory: PathBuf,
    /// Bytes of files.
    pub(crate) bytes: u64,
    pub(crate) durability: Durability,
}

/// What cannot be done at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Write = 0,
    Read = 1,
    Recover = 2,
}

#[derive(Debug)]
pub(super) struct Disk {
    pub(super) limits: DiskLimits,
    /// `None` until it is wanted first, and as long as it could not be opened.
    pub(super) spool: Option<Spool>,
    /// Writing failed; not tried before.
    pub(super) pause: Option<Instant>,
    /// Reading failed; not tried before.
    pub(super) reads: Option<Instant>,
    /// How many that wait could not be read when last tried.
    unreadable: u32,
    /// By [`Trouble`]; as long as there is it.
    troubles: [Option<String>; 3],
}

impl Disk {
    /// Touches nothing: a directory on a disk that hangs must not hang whoever starts an instance.
    pub(super) fn new(limits: DiskLimits) -> Self {
        let troubles = Default::default();
        Self { limits, spool: None, pause: None, reads: None, unreadable: 0, troubles }
    }

    /// The spool, if it can be written to or that may be tried again.
    pub(super) fn open(&mut self, notes: &mut Vec<Note>) -> Option<&mut Spool> {
        if self.pause.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let DiskLimits { directory, bytes, durability } = &self.limits;
        let opened = match &mut self.spool {
            Some(_) if self.pause.is_none() => Ok(()),
            Some(spool) => spool.reopen(),
            None => Spool::open(directory, *bytes, *durability).map(|new| self.spool = Some(new)),
        };
        if let Err(error) = opened {
            self.write_failed(&error, notes);
            return None;
        }
        self.spool.as_mut()
    }

    pub(super) fn write_failed(&mut self, error: &io::Error, notes: &mut Vec<Note>) {
        let directory = self.limits.directory.display();
        let what = format!("requests wait in memory only: {directory}: {error}");
        self.troubled(Trouble::Write, what, notes);
        self.pause = Some(Instant::now() + PAUSE);
    }

    /// Writing works. Whether it did not until now.
    pub(super) fn written(&mut self, notes: &mut Vec<Note>) -> bool {
        let is_back = self.pause.take().is_some();
        self.mended(Trouble::Write, notes);
        is_back
    }

    pub(super) fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        self.spool.as_ref().ok_or(io::ErrorKind::NotFound)?.read(place)
    }

    /// A request is there and cannot be read; `known` if that was so before.
    pub(super) fn read_failed(
        &mut self,
        error: &io::Error,
        known: bool,
        now: Instant,
        notes: &mut Vec<Note>,
    ) {
        self.unreadable += u32::from(!known);
        self.reads = Some(now + READ_PAUSE);
        let directory = self.limits.directory.display();
        let what = format!("kept requests cannot be read: {directory}: {error}");
        self.troubled(Trouble::Read, what, notes);
    }

    /// One that could not be read has been, or is gone.
    pub(super) fn read_again(&mut self, notes: &mut Vec<Note>) {
        self.unreadable = self.unreadable.saturating_sub(1);
        if self.unreadable == 0 {
            self.mended(Trouble::Read, notes);
        }
    }

    /// What came of a search for what others left.
    pub(super) fn recovered(&mut self, unread: Option<io::Error>, notes: &mut Vec<Note>) {
        match unread {
            None => self.mended(Trouble::Recover, notes),
            Some(error) => {
                let directory = self.limits.directory.display();
                let what =
                    format!("an earlier process' requests cannot be read: {directory}: {error}");
                self.troubled(Trouble::Recover, what, notes);
            }
        }
    }

    /// Said once, not at each try.
    fn troubled(&mut self, which: Trouble, what: String, notes: &mut Vec<Note>) {
        if self.troubles[which as usize].replace(what.clone()).is_none() {
            notes.push(Note::DiskFailed(what));
        }
    }

    fn mended(&mut self, which: Trouble, notes: &mut Vec<Note>) {
        let was_troubled = self.troubles[which as usize].take().is_some();
        if was_troubled && self.error().is_none() {
            notes.push(Note::DiskBack);
        }
    }

    /// What cannot be done at present, and why.
    pub(super) fn error(&self) -> Option<String> {
        let all: Vec<&str> = self.troubles.iter().flatten().map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// Whether what was read will never be there again; else it may be, when there are descriptors or
/// rights or the disk is back.
pub(super) fn is_lost(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};

    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
}
