//! The spool damaged in every way, shared, and taken over.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use super::{Durability, Found, Spool, entry, recovery::scan};
use crate::{
    sync::Arc,
    transport::{Encoding, Lane, Parcel},
};

/// Removed at the end.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("highwater-spool-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn parcel(number: u64, length: usize) -> Parcel {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(number);
    let body = Arc::from(vec![number as u8; length]);
    Parcel { at, items: number as u32, encoding: Encoding::Gzip, body }
}

fn open(directory: &Path) -> Spool {
    Spool::open(directory, 1 << 20, Durability::ProcessCrash).unwrap()
}

/// What another process would find, as the `items` that number the parcels.
fn found(directory: &Path) -> Vec<u32> {
    let mut spool = open(directory);
    let recovered = spool.recover();
    for found in &recovered.waiting {
        let body = spool.read(found.place).unwrap();
        assert!(body.iter().all(|byte| *byte == found.items as u8));
        assert_eq!(body.len(), found.length as usize);
    }
    recovered.waiting.iter().map(|found| found.items).collect()
}

/// The only segment of a lane.
fn segment(directory: &Path, lane: Lane) -> PathBuf {
    let files = fs::read_dir(directory.join("slot-00")).unwrap();
    let mut files = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(&format!("-{}.seg", lane.as_str())));
    let only = files.next().unwrap();
    assert!(files.next().is_none());
    only
}

/// A segment with three entries, and where each ends.
fn three() -> (Vec<u8>, [usize; 3]) {
    let mut bytes = entry::SEGMENT_MAGIC.to_vec();
    let ends = [1, 2, 3].map(|number| {
        entry::write(Lane::Metrics, &parcel(number, 20), &mut bytes).unwrap();
        bytes.len()
    });
    (bytes, ends)
}

fn items(bytes: &[u8]) -> Vec<u32> {
    scan(bytes).entries.iter().map(|(_, header)| header.items).collect()
}

#[test]
fn what_is_kept_is_found_again_oldest_first_until_it_is_done() {
    let directory = Directory::new();
    let mut spool = open(&directory.0);
    let places = [4, 2, 3].map(|number| {
        let lane = if number == 3 { Lane::Alerts } else { Lane::Metrics };
        spool.append(lane, &parcel(number, 100)).unwrap()
    });
    assert_eq!(spool.read(places[2]).unwrap(), [3; 100]);
    spool.done(places[1]);
    drop(spool);
    let mut spool = open(&directory.0);
    let recovered = spool.recover();
    let found = &recovered.waiting[0];
    assert_eq!(recovered.waiting.len(), 2);
    assert_eq!(
        *found,
        Found {
            lane: Lane::Alerts,
            place: found.place,
            at: parcel(3, 0).at,
            items: 3,
            encoding: Encoding::Gzip,
            length: 100
        }
    );
    assert_eq!(recovered.waiting[1].items, 4);
    for found in &recovered.waiting {
        spool.done(found.place);
    }
    assert_eq!(spool.bytes(), 0, "a segment without waiting entries is removed");
    assert!(spool.recover().waiting.is_empty());
    drop(spool);
    let left = fs::read_dir(directory.0.join("slot-00")).unwrap().count();
    assert_eq!(left, 1, "but for the lock nothing is left");
}

#[test]
fn a_segment_cut_at_any_byte_gives_all_entries_before_the_cut() {
    let (bytes, ends) = three();
    for cut in 0..bytes.len() {
        let expected: Vec<u32> =
            ends.iter().zip(1..).filter(|(end, _)| **end <= cut).map(|(_, items)| items).collect();
        let scan = scan(&bytes[..cut]);
        let found: Vec<u32> = scan.entries.iter().map(|(_, header)| header.items).collect();
        assert_eq!(found, expected, "cut at {cut}");
        let whole = ends.iter().rfind(|end| **end <= cut);
        let magic = if cut < entry::SEGMENT_MAGIC.len() { 0 } else { entry::SEGMENT_MAGIC.len() };
        let end = whole.copied().unwrap_or(magic);
        assert_eq!((scan.end, scan.damaged_bytes), (end as u64, (cut - end) as u64));
    }
}

#[test]
fn any_bit_flipped_costs_one_entry_at_most() {
    let (bytes, ends) = three();
    for bit in ends[0] * 8..ends[1] * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let found = items(&flipped);
        let is_state = bit / 8 == ends[0] + entry::STATE_AT as usize;
        let expected = if is_state { vec![1, 2, 3] } else { vec![1, 3] };
        assert_eq!(found, expected, "bit {bit}");
        assert!(scan(&flipped).entries.iter().all(|(_, header)| !header.delivered), "bit {bit}");
    }
    for bit in 0..entry::SEGMENT_MAGIC.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(items(&flipped), [1, 2, 3], "bit {bit} of the file's magic");
    }
}

#[test]
fn nonsense_is_read_without_harm() {
    let (bytes, _) = three();
    let mut random = 88_172_645_463_325_252_u64;
    for _ in 0..20_000 {
        let mut mangled = bytes.clone();
        for _ in 0..3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = (random >> 8) as usize % mangled.len();
            match random % 3 {
                0 => mangled[at] = (random >> 40) as u8,
                1 => mangled.truncate(at.max(1)),
                _ => mangled.splice(at..at, bytes[..at % 64].iter().copied()).for_each(drop),
            }
        }
        let scan = scan(&mangled);
        assert!(scan.end <= mangled.len() as u64);
        assert!(scan.entries.iter().all(|(_, header)| (1..=3).contains(&header.items)));
    }
}

#[test]
fn a_torn_end_is_cut_off_and_written_past() {
    let directory = Directory::new();
    let mut spool = open(&directory.0);
    spool.append(Lane::Alerts, &parcel(1, 50)).unwrap();
    drop(spool);
    let file = segment(&directory.0, Lane::Alerts);
    let whole = fs::metadata(&file).unwrap().len();
    let mut bytes = fs::read(&file).unwrap();
    bytes.extend_from_within(8..40);
    fs::write(&file, bytes).unwrap();
    let mut spool = open(&directory.0);
    let recovered = spool.recover();
    assert_eq!((recovered.waiting.len(), recovered.damaged_bytes), (1, 32));
    assert_eq!(recovered.damaged_items, [1, 0], "the torn one was an alert's");
    assert_eq!(fs::metadata(&file).unwrap().len(), whole);
    spool.append(Lane::Alerts, &parcel(2, 50)).unwrap();
    drop(spool);
    assert_eq!(found(&directory.0), [1, 2]);
}

#[test]
fn a_damaged_body_is_not_sent() {
    let directory = Directory::new();
    let mut spool = open(&directory.0);
    let place = spool.append(Lane::Metrics, &parcel(7, 50)).unwrap();
    let file = segment(&directory.0, Lane::Metrics);
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(spool.read(place).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    drop(spool);
    let mut spool = open(&directory.0);
    assert_eq!(spool.recover().damaged_items, [0, 7]);
}

#[test]
fn two_at_once_have_a_slot_each_and_a_third_takes_what_the_dead_left() {
    let directory = Directory::new();
    let (mut one, mut two) = (open(&directory.0), open(&directory.0));
    one.append(Lane::Alerts, &parcel(1, 9)).unwrap();
    two.append(Lane::Alerts, &parcel(2, 9)).unwrap();
    let mut three = open(&directory.0);
    assert!(three.recover().waiting.is_empty(), "the living keep theirs");
    drop((one, two));
    let mut four = open(&directory.0);
    let recovered = four.recover();
    assert_eq!(recovered.waiting.iter().map(|found| found.items).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(four.read(recovered.waiting[1].place).unwrap(), [2; 9]);
    let mut five = open(&directory.0);
    assert!(five.recover().waiting.is_empty(), "taken once");
}

#[test]
fn segments_are_closed_when_full_and_removed_when_delivered() {
    let directory = Directory::new();
    let mut spool = open(&directory.0);
    // A sixteenth of 1 MiB.
    let places: Vec<_> =
        (0..8).map(|n| spool.append(Lane::Metrics, &parcel(n, 33 << 10)).unwrap()).collect();
    let full = spool.bytes();
    assert!(full > (8 * 33) << 10);
    for place in &places[..6] {
        spool.done(*place);
    }
    assert!(spool.bytes() < full / 3, "{} of {full}", spool.bytes());
    drop(spool);
    assert_eq!(found(&directory.0), [6, 7]);
}

#[test]
fn files_are_for_the_owners_eyes_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let mut spool = open(&directory.0);
    spool.append(Lane::Metrics, &parcel(1, 9)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&segment(&directory.0, Lane::Metrics)), 0o600);
    assert_eq!(mode(&directory.0.join("slot-00")), 0o700);
    assert_eq!(mode(&directory.0.join("slot-00/lock")), 0o600);
}

#[test]
fn strangers_files_are_left_alone() {
    let directory = Directory::new();
    drop(open(&directory.0));
    let slot = directory.0.join("slot-00");
    let strangers = ["notes.txt", "x-alerts.seg", "0000000000000000-traces.seg"];
    for name in strangers {
        fs::write(slot.join(name), "mine").unwrap();
    }
    assert_eq!(found(&directory.0), [0_u32; 0]);
    for name in strangers {
        assert_eq!(fs::read_to_string(slot.join(name)).unwrap(), "mine");
    }
}
