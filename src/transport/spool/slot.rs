//! Who may write where: one locked directory a process.
//!
//! The lock is `flock`, which the kernel drops when the process dies, however it dies. A process
//! started beside another takes the next slot; one started after another has died takes the
//! segments it left, by renaming them into its own slot, so each is read by one process only.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use super::{Durability, writer::Name};

/// As many processes as may share a directory.
const SLOTS: u32 = 64;

/// A slot of this process.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) directory: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Slot {
    /// Locks the first free slot below `directory`, which is made if it is missing, to last as
    /// `durability` says.
    pub(super) fn take(directory: &Path, durability: Durability) -> io::Result<Self> {
        // A directory's name is in its parent.
        let missing = directory.ancestors().take_while(|at| !at.as_os_str().is_empty());
        let missing: Vec<_> = missing.take_while(|at| !at.is_dir()).collect();
        create_directory(directory)?;
        for number in 0..SLOTS {
            let Some(slot) = Self::lock(directory, number, true)? else { continue };
            if durability == Durability::PowerLoss {
                for made in std::iter::once(&*slot.directory).chain(missing) {
                    sync_directory(made.parent().unwrap_or(Path::new("/")))?;
                }
            }
            return Ok(slot);
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, format!("all {SLOTS} slots are in use")))
    }

    /// Locks slot `number`; `None` if another process has it, or if there is none.
    fn lock(directory: &Path, number: u32, create: bool) -> io::Result<Option<Self>> {
        let directory = directory.join(format!("slot-{number:02}"));
        if create {
            create_directory(&directory)?;
        } else if !directory.is_dir() {
            return Ok(None);
        }
        let lock =
            private(OpenOptions::new().write(true).create(true)).open(directory.join("lock"))?;
        Ok(try_lock(&lock)?.then_some(Self { directory, _lock: lock }))
    }

    /// Moves the segments of slots nobody holds into this one, from number `next` on. A slot that
    /// cannot be read stays for the next process.
    pub(super) fn adopt(&self, next: &mut u64) -> Vec<(Name, PathBuf)> {
        let mut adopted = Vec::new();
        let Some(parent) = self.directory.parent() else { return adopted };
        for number in 0..SLOTS {
            let Ok(Some(dead)) = Self::lock(parent, number, false) else { continue };
            for (name, path) in dead.segments().unwrap_or_default() {
                let new = Name { number: *next, ..name };
                let ours = self.directory.join(new.file_name());
                if fs::rename(path, &ours).is_ok() {
                    *next += 1;
                    adopted.push((new, ours));
                }
            }
        }
        adopted
    }

    /// The segments in this slot, by number.
    pub(super) fn segments(&self) -> io::Result<Vec<(Name, PathBuf)>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            segments.extend(name.to_str().and_then(Name::parse).map(|name| (name, entry.path())));
        }
        segments.sort_by_key(|(name, _)| name.number);
        Ok(segments)
    }
}

/// Brings the names in a directory to the disk.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    // The parent of a relative path's first part.
    let here = directory.as_os_str().is_empty();
    File::open(if here { Path::new(".") } else { directory })?.sync_all()
}

fn create_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// For the owner's eyes only: labels may hold what others should not read.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

#[cfg(unix)]
fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

// `File::try_lock` is younger than our MSRV.
#[cfg(not(unix))]
fn try_lock(_: &File) -> io::Result<bool> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "a spool needs a Unix system"))
}
