//! Requests on disk, so that a crash loses none.
//!
//! A directory holds one numbered *slot* a process, locked as long as the process lives; a slot
//! holds *segments*, files of one lane each that are only ever appended to; a segment holds
//! *entries* ([`entry`]). An entry is written in one call before it counts as kept. Delivered, it
//! is marked by one byte in place; a segment all of whose entries are delivered is removed. A new
//! process takes the lowest free slot and whatever the dead have left in the others ([`slot`]),
//! reads it ([`recovery`]) and writes to segments of its own, never to a recovered one.
//!
//! So a SIGKILL at any instruction leaves: whole entries, at most one torn one at the end of a
//! segment, and entries that were delivered but not yet marked, which are sent twice.
//!
//! What this module keeps is a store of bodies; order and bounds are the
//! [queue](super::queue)'s. Whoever holds the queue's lock may write.

mod entry;
mod recovery;
mod slot;
#[cfg(all(test, unix))]
pub(crate) mod tests;
mod writer;

pub(crate) use recovery::{Found, Recovered};
pub(crate) use writer::{Place, Spool};

/// What a kept request survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// The crash of the process, SIGKILL included, not of the machine: what is written is left to
    /// the kernel to bring to the disk. Costs a system call a request.
    #[default]
    ProcessCrash,
    /// Loss of power too: each request is brought to the disk (`fdatasync`, and `fsync` of the
    /// directory for each new file) before it counts as kept. Costs what the disk takes for that.
    PowerLoss,
}
