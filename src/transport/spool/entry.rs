//! The spool's format, version 1. All numbers little-endian.
//!
//! ```text
//! segment = "HWSPOOL" 0x01, then entries
//! entry   =  0  magic    4  "hwse"
//!            4  state    1  0xff once delivered, else waiting; under no checksum, as it changes
//!            5  lane     1  0 alerts, 1 metrics
//!            6  encoding 1  0 as it is, 1 gzip, 2 zstd
//!            7  zero     1
//!            8  length   4  of the body
//!           12  items    4  data points or log records in it
//!           16  at       8  nanoseconds since 1970 of the newest data
//!           24  body's CRC-32          4
//!           28  CRC-32 of 0..4, 5..28  4
//!           32  body
//! ```
//!
//! Every value but 0xff is "waiting", so a flipped bit makes a request be sent twice at worst.

use std::time::{Duration, SystemTime};

use crate::{
    clock::unix_nanos,
    transport::{Encoding, Lane, Parcel},
};

pub(super) const SEGMENT_MAGIC: [u8; 8] = *b"HWSPOOL\x01";
pub(super) const HEADER: usize = 32;
/// Where in an entry its state is.
pub(super) const STATE_AT: u64 = 4;
pub(super) const DELIVERED: u8 = 0xff;
pub(super) const ENTRY_MAGIC: [u8; 4] = *b"hwse";

/// An entry's header, read and found to be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) delivered: bool,
    pub(super) lane: Lane,
    pub(super) encoding: Encoding,
    pub(super) length: u32,
    pub(super) items: u32,
    pub(super) at: SystemTime,
    pub(super) body_crc: u32,
}

/// Appends the entry to `into`. `None` for a body that no length can name.
pub(super) fn write(lane: Lane, parcel: &Parcel, into: &mut Vec<u8>) -> Option<()> {
    let length = u32::try_from(parcel.body.len()).ok()?;
    let mut header = [0; HEADER];
    header[0..4].copy_from_slice(&ENTRY_MAGIC);
    header[5] = lane as u8;
    header[6] = parcel.encoding as u8;
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header[12..16].copy_from_slice(&parcel.items.to_le_bytes());
    header[16..24].copy_from_slice(&unix_nanos(parcel.at).to_le_bytes());
    header[24..28].copy_from_slice(&crc32fast::hash(&parcel.body).to_le_bytes());
    let crc = header_crc(&header);
    header[28..32].copy_from_slice(&crc.to_le_bytes());
    into.extend_from_slice(&header);
    into.extend_from_slice(&parcel.body);
    Some(())
}

/// The header at the start of `bytes`; `None` if there is no whole one.
pub(super) fn read(bytes: &[u8]) -> Option<Header> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    if header[0..4] != ENTRY_MAGIC || number(header, 28) != header_crc(header) {
        return None;
    }
    let lane = match header[5] {
        0 => Lane::Alerts,
        1 => Lane::Metrics,
        _ => return None,
    };
    let encoding = match header[6] {
        0 => Encoding::Identity,
        1 => Encoding::Gzip,
        2 => Encoding::Zstd,
        _ => return None,
    };
    let nanos = u64::from(number(header, 16)) | u64::from(number(header, 20)) << 32;
    Some(Header {
        delivered: header[4] == DELIVERED,
        lane,
        encoding,
        length: number(header, 8),
        items: number(header, 12),
        at: SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos),
        body_crc: number(header, 24),
    })
}

fn number(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn header_crc(header: &[u8; HEADER]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[0..4]);
    crc.update(&header[5..28]);
    crc.finalize()
}
