//! What the dead left: pure reading of segments that may be damaged anywhere.
//!
//! A body that fails its checksum costs that entry; a header that fails costs what lies between it
//! and the next whole header. Nothing before the damage is touched. What cannot be read at the end
//! is a torn write and is cut off.

use std::time::SystemTime;

use super::{
    Place,
    entry::{self, ENTRY_MAGIC, HEADER, Header, SEGMENT_MAGIC},
};
use crate::transport::{Encoding, Lane};

/// An entry that waits to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) lane: Lane,
    pub(crate) place: Place,
    pub(crate) at: SystemTime,
    pub(crate) items: u32,
    pub(crate) encoding: Encoding,
    /// Bytes of the body.
    pub(crate) length: u32,
}

/// All that was found at a start.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Oldest data first.
    pub(crate) waiting: Vec<Found>,
    /// What was in entries whose body is damaged, by [`Lane`].
    pub(crate) damaged_items: [u64; 2],
    /// What nothing could be made of: torn ends among it.
    pub(crate) damaged_bytes: u64,
    /// Why some of it could not be read at present.
    pub(crate) unread: Option<std::io::Error>,
}

/// One segment, read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Scan {
    /// Offset and header of every whole entry, delivered or not.
    pub(super) entries: Vec<(u64, Header)>,
    /// What was in entries whose body is damaged, by [`Lane`].
    pub(super) damaged_items: [u64; 2],
    pub(super) damaged_bytes: u64,
    /// Behind the last whole entry.
    pub(super) end: u64,
}

/// Reads a segment.
pub(super) fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan::default();
    let mut at = 0;
    if bytes.starts_with(&SEGMENT_MAGIC) {
        at = SEGMENT_MAGIC.len();
        scan.end = at as u64;
    }
    while at < bytes.len() {
        let rest = &bytes[at..];
        let Some(header) = entry::read(rest) else {
            // Entries are found by their magic, wherever they are.
            let skipped = rest[1..]
                .windows(ENTRY_MAGIC.len())
                .position(|window| window == ENTRY_MAGIC)
                .map_or(rest.len(), |position| position + 1);
            scan.damaged_bytes += skipped as u64;
            at += skipped;
            continue;
        };
        let length = header.length as usize;
        match rest[HEADER..].get(..length) {
            Some(body) if crc32fast::hash(body) == header.body_crc => {
                scan.entries.push((at as u64, header));
                at += HEADER + length;
                scan.end = at as u64;
            }
            body => {
                if !header.delivered {
                    scan.damaged_items[header.lane as usize] += u64::from(header.items);
                }
                // A whole but wrong body is skipped; of a torn one, entries of a later life may
                // not follow, but nothing is lost by looking.
                let skipped = if body.is_some() { HEADER + length } else { HEADER };
                scan.damaged_bytes += skipped as u64;
                at += skipped;
            }
        }
    }
    scan
}
