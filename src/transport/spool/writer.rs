//! Segments: appending entries, reading them back, marking them delivered.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    Durability, Found, Recovered, entry,
    recovery::{self, Scan},
    slot::{Slot, private, sync_directory},
};
use crate::transport::{Lane, Parcel};

/// A segment is closed when it has grown beyond this part of all that is allowed, within these
/// bounds: the space of what is delivered comes back a segment at a time.
const SEGMENTS: u64 = 16;
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 16 << 10..=1 << 20;
/// No segment of ours is larger; a file that is was put there by someone else.
const LARGEST_READ: u64 = 1 << 30;

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    segment: u64,
    offset: u64,
}

/// What a segment's file is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) number: u64,
    pub(super) lane: Lane,
}

impl Name {
    pub(super) fn file_name(self) -> String {
        format!("{:016x}-{}.seg", self.number, self.lane.as_str())
    }

    pub(super) fn parse(file_name: &str) -> Option<Self> {
        let (number, lane) = file_name.strip_suffix(".seg")?.split_once('-')?;
        let lane = Lane::ALL.into_iter().find(|known| known.as_str() == lane)?;
        Some(Self { number: u64::from_str_radix(number, 16).ok()?, lane })
    }
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    bytes: u64,
    /// Entries not yet delivered.
    waiting: u32,
}

/// A segment somebody else has left.
#[derive(Debug)]
struct Unread {
    name: Name,
    path: PathBuf,
    bytes: u64,
}

impl Unread {
    fn new((name, path): (Name, PathBuf)) -> Self {
        let bytes = fs::metadata(&path).map_or(0, |data| data.len());
        Self { name, path, bytes }
    }
}

/// The segment a lane is written to.
#[derive(Debug)]
struct Active {
    number: u64,
    file: File,
    bytes: u64,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    slot: Slot,
    segment_bytes: u64,
    durability: Durability,
    segments: HashMap<u64, Segment>,
    /// By [`Lane`].
    active: [Option<Active>; 2],
    next: u64,
    /// Found, not read yet.
    unread: Vec<Unread>,
    /// Reused from entry to entry.
    buffer: Vec<u8>,
}

impl Spool {
    /// Takes a slot below `directory`, to hold about `bytes`; reads nothing yet.
    pub(crate) fn open(directory: &Path, bytes: u64, durability: Durability) -> io::Result<Self> {
        let slot = Slot::take(directory, durability)?;
        let unread: Vec<_> = slot.segments()?.into_iter().map(Unread::new).collect();
        let next = unread.last().map_or(0, |unread| unread.name.number + 1);
        let segment_bytes = (bytes / SEGMENTS).clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end());
        Ok(Self {
            directory: directory.to_owned(),
            slot,
            segment_bytes,
            durability,
            segments: HashMap::new(),
            active: [None, None],
            next,
            unread,
            buffer: Vec::new(),
        })
    }

    /// Makes it usable again after a failure; its directory may be gone.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        if !self.slot.directory.is_dir() {
            self.active = [None, None];
            self.slot = Slot::take(&self.directory, self.durability)?;
        }
        Ok(())
    }

    /// Reads what was there at the start, and whatever processes have left that are dead by now;
    /// nothing twice. What cannot be read at present is tried again the next time.
    pub(crate) fn recover(&mut self) -> Recovered {
        let mut recovered = Recovered::default();
        self.unread.extend(self.slot.adopt(&mut self.next).into_iter().map(Unread::new));
        for unread in std::mem::take(&mut self.unread) {
            let scan = match read_segment(&unread.path) {
                Ok(scan) => scan,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                // Nobody here wrote that.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    recovered.damaged_bytes += unread.bytes;
                    continue;
                }
                Err(error) => {
                    recovered.unread = Some(error);
                    self.unread.push(unread);
                    continue;
                }
            };
            let Unread { name, path, .. } = unread;
            recovered.damaged_bytes += scan.damaged_bytes;
            for lane in Lane::ALL {
                recovered.damaged_items[lane as usize] += scan.damaged_items[lane as usize];
            }
            let before = recovered.waiting.len();
            let waiting = scan.entries.iter().filter(|(_, header)| !header.delivered);
            recovered.waiting.extend(waiting.map(|(offset, header)| Found {
                lane: header.lane,
                place: Place { segment: name.number, offset: *offset },
                at: header.at,
                items: header.items,
                encoding: header.encoding,
                length: header.length,
            }));
            let waiting = (recovered.waiting.len() - before) as u32;
            if waiting == 0 {
                let _ = fs::remove_file(&path);
                continue;
            }
            // The torn end. A failure is harmless: the next reader skips it again.
            let _ = OpenOptions::new().write(true).open(&path).and_then(|f| f.set_len(scan.end));
            self.segments.insert(name.number, Segment { path, bytes: scan.end, waiting });
        }
        recovered.waiting.sort_by_key(|found| found.at);
        recovered
    }

    /// Keeps a request. When it returns, the request survives what [`Durability`] says.
    pub(crate) fn append(&mut self, lane: Lane, parcel: &Parcel) -> io::Result<Place> {
        self.buffer.clear();
        entry::write(lane, parcel, &mut self.buffer)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "too large"))?;
        let bytes = self.buffer.len() as u64;
        if self.active[lane as usize]
            .as_ref()
            .is_some_and(|active| active.bytes >= self.segment_bytes)
        {
            self.close(lane);
        }
        if self.active[lane as usize].is_none() {
            self.start_segment(lane)?;
        }
        let active = self.active[lane as usize].as_mut();
        let Some(active) = active else { return Err(io::ErrorKind::NotFound.into()) };
        let offset = active.bytes;
        let written = active.write(&self.buffer, self.durability);
        let (number, gone) = (active.number, written.is_err());
        if gone {
            // Whatever half of it is there is no entry, and never will be.
            let _ = active.file.set_len(offset);
            self.close(lane);
        }
        written?;
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.bytes += bytes;
            segment.waiting += 1;
        }
        Ok(Place { segment: number, offset })
    }

    fn start_segment(&mut self, lane: Lane) -> io::Result<()> {
        let number = self.next;
        let path = self.slot.directory.join(Name { number, lane }.file_name());
        let mut options = OpenOptions::new();
        let mut file = private(options.read(true).write(true).create_new(true)).open(&path)?;
        self.next += 1;
        if let Err(error) = file.write_all(&entry::SEGMENT_MAGIC) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        if self.durability == Durability::PowerLoss {
            sync_directory(&self.slot.directory)?;
        }
        let bytes = entry::SEGMENT_MAGIC.len() as u64;
        self.segments.insert(number, Segment { path, bytes, waiting: 0 });
        self.active[lane as usize] = Some(Active { number, file, bytes });
        Ok(())
    }

    fn close(&mut self, lane: Lane) {
        if let Some(active) = self.active[lane as usize].take() {
            self.remove_if_done(active.number);
        }
    }

    /// The body of an entry, checked.
    pub(crate) fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let segment = self.segments.get(&place.segment).ok_or(io::ErrorKind::NotFound)?;
        let mut file = File::open(&segment.path)?;
        file.seek(SeekFrom::Start(place.offset))?;
        let mut header = [0; entry::HEADER];
        file.read_exact(&mut header)?;
        let header = entry::read(&header).ok_or(io::ErrorKind::InvalidData)?;
        let mut body = Vec::new();
        file.take(header.length.into()).read_to_end(&mut body)?;
        let whole = body.len() == header.length as usize;
        if whole && crc32fast::hash(&body) == header.body_crc {
            Ok(body)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// The entry needs to be kept no longer.
    pub(crate) fn done(&mut self, place: Place) {
        let Some(segment) = self.segments.get_mut(&place.segment) else { return };
        // If the mark cannot be made, the request is sent again after a crash.
        let _ = OpenOptions::new().write(true).open(&segment.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(place.offset + entry::STATE_AT))?;
            file.write_all(&[entry::DELIVERED])
        });
        segment.waiting = segment.waiting.saturating_sub(1);
        self.remove_if_done(place.segment);
    }

    fn remove_if_done(&mut self, number: u64) {
        let is_active = self.active.iter().flatten().any(|active| active.number == number);
        let done = self.segments.get(&number).is_some_and(|segment| segment.waiting == 0);
        if done
            && !is_active
            && let Some(segment) = self.segments.remove(&number)
        {
            let _ = fs::remove_file(segment.path);
        }
    }

    /// What an entry with a body of `length` takes, a new segment for it included.
    pub(crate) fn bytes_for(length: usize) -> u64 {
        (entry::SEGMENT_MAGIC.len() + entry::HEADER + length) as u64
    }

    /// Bytes in all segments, delivered entries and what was not read yet included.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum::<u64>() + self.unread_bytes()
    }

    /// Bytes in segments that [`recover`](Self::recover) has not read.
    pub(crate) fn unread_bytes(&self) -> u64 {
        self.unread.iter().map(|unread| unread.bytes).sum()
    }

    /// Removes the segments that are being written to, if they hold nothing any more.
    pub(crate) fn tidy(&mut self) {
        for lane in Lane::ALL {
            let number = self.active[lane as usize].as_ref().map(|active| active.number);
            let segment = number.and_then(|number| self.segments.get(&number));
            if segment.is_some_and(|segment| segment.waiting == 0) {
                self.close(lane);
            }
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.tidy();
    }
}

impl Active {
    fn write(&mut self, bytes: &[u8], durability: Durability) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.bytes))?;
        self.file.write_all(bytes)?;
        if durability == Durability::PowerLoss {
            self.file.sync_data()?;
        }
        // A file nobody can find any more keeps nothing.
        #[cfg(unix)]
        if std::os::unix::fs::MetadataExt::nlink(&self.file.metadata()?) == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "its directory was removed"));
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn read_segment(path: &Path) -> io::Result<Scan> {
    let file = File::open(path)?;
    if file.metadata()?.len() > LARGEST_READ {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_READ).read_to_end(&mut bytes)?;
    Ok(recovery::scan(&bytes))
}
