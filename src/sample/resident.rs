//! Keeps the fast lane in memory: a process that thrashes pages out first what was touched least
//! lately, and that is who sleeps most of the time and has to report it.
//!
//! Three parts are locked, each by itself and in this order, as far as `RLIMIT_MEMLOCK` allows; of
//! that at most half is taken, the rest is the service's own.
//!
//! - `stack`: what a glance reaches of the tick thread's, faulted in.
//! - `state`: what the samplers read and write between ticks, faulted in. Pages are locked, so
//!   what lies beside it on the heap is, too.
//! - `code`: what of this program is around the fast lane, once it has been run (`mlock2` with
//!   `ONFAULT`): without swap it is the one thing that goes when memory is short.
//!
//! `highwater.memory.locked` says how much of each; what was refused is zero, and in the log.
//! Called when the memory sampler starts, on the tick thread; undone when it ends.

use std::{collections::BTreeMap, ffi::c_void, fs, io, ops::Range, path::Path};

use rustix::{
    mm::{MlockFlags, mlock, mlock_with, munlock},
    param::page_size,
};

use super::{Meter, parse::ProcessLimits};
use crate::{name::Unit, semconv, sync::Mutex};

/// More than a glance needs.
const STACK: usize = 32 << 10;
/// Of a program that is larger, this much on each side of the fast lane.
const CODE: usize = 512 << 10;

/// Addresses of something that is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Region(Range<usize>);

impl Region {
    /// Where it is, not what it points to.
    pub(super) fn of<T: ?Sized>(it: &T) -> Self {
        Self::at(std::ptr::from_ref(it).cast::<c_void>() as usize, size_of_val(it))
    }

    fn at(start: usize, length: usize) -> Self {
        Self(start..start.saturating_add(length))
    }

    /// The numbers of the pages it is on.
    fn pages(&self) -> Range<usize> {
        let page = page_size();
        self.0.start / page..self.0.end.div_ceil(page)
    }
}

/// Locked until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Resident(Vec<Range<usize>>);

/// How often each page is locked: they do not nest, and two samplers share some.
static LOCKED: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

impl Resident {
    /// The calling thread's stack, this state, and the code around these functions.
    pub(super) fn keep(state: &[Region], code: &[usize], meter: &mut Meter) -> Self {
        let mut resident = Self::default();
        let limits = fs::read("/proc/self/limits").unwrap_or_default();
        // Not told is nothing to take half of.
        let mut left = ProcessLimits::parse(&limits).map_or(0, |limits| {
            let half = limits.locked_memory.map(|bytes| bytes / 2);
            half.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX)
        });
        let marker = 0u8;
        let here = std::ptr::from_ref(&marker) as usize;
        let stack = [Region::at(here.saturating_sub(STACK), STACK)];
        let maps = fs::read(Path::new("/proc/self/maps")).unwrap_or_default();
        let code: Vec<_> = code.iter().filter_map(|at| around(&maps, *at)).collect();
        for (part, regions, touch) in
            [("stack", &stack[..], true), ("state", state, true), ("code", &code[..], false)]
        {
            let outcome = resident.lock(regions, touch, &mut left);
            let help = "Memory of ours that stays in when memory is short; zero where that is not allowed.";
            let label = [(semconv::PART, part)];
            let locked = meter.up_down_counter(semconv::MEMORY_LOCKED, Unit::BYTES, help, label);
            match outcome {
                Ok(bytes) => locked.set(bytes as f64),
                Err(why) => {
                    locked.set(0.0);
                    log::info!(
                        "highwater: its {part} may be paged out when memory is short: {why}"
                    );
                }
            }
        }
        resident
    }

    /// How many bytes, all or nothing.
    fn lock(&mut self, regions: &[Region], touch: bool, left: &mut usize) -> io::Result<usize> {
        let mut pages: Vec<_> = regions.iter().map(Region::pages).collect();
        join(&mut pages);
        let bytes = pages.iter().map(|pages| pages.len() * page_size()).sum();
        if bytes > *left {
            let why = format!("{bytes} bytes are more than half of RLIMIT_MEMLOCK leaves");
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, why));
        }
        let mut part = Self::default();
        for pages in pages {
            part.lock_pages(pages, touch)?;
        }
        *left -= bytes;
        self.0.append(&mut part.0);
        Ok(bytes)
    }

    fn lock_pages(&mut self, pages: Range<usize>, touch: bool) -> io::Result<()> {
        let mut locked = LOCKED.lock();
        let (start, length) = (pages.start * page_size(), pages.len() * page_size());
        let start = std::ptr::without_provenance_mut::<c_void>(start);
        // SAFETY: locking changes neither contents nor protection of memory, whoever's it is;
        // where nothing is mapped it is an error. No memory is accessed through the pointer.
        #[allow(unsafe_code)]
        let outcome = unsafe {
            if touch {
                mlock(start, length)
            } else {
                mlock_with(start, length, MlockFlags::ONFAULT)
            }
        };
        // What was locked before an error stays so: it is undone with the rest.
        for page in pages.clone() {
            *locked.entry(page).or_default() += 1;
        }
        self.0.push(pages);
        Ok(outcome?)
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let mut locked = LOCKED.lock();
        for page in self.0.drain(..).flatten() {
            let Some(count) = locked.get_mut(&page) else { continue };
            *count -= 1;
            if *count > 0 {
                continue;
            }
            locked.remove(&page);
            let start = std::ptr::without_provenance_mut::<c_void>(page * page_size());
            // SAFETY: as of locking; what is no longer mapped is an error, which is as good.
            #[allow(unsafe_code)]
            let _ = unsafe { munlock(start, page_size()) };
        }
    }
}

/// Sorted, none beside or over another.
fn join(pages: &mut Vec<Range<usize>>) {
    pages.retain(|pages| !pages.is_empty());
    pages.sort_by_key(|pages| pages.start);
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(pages.len());
    for next in pages.drain(..) {
        match joined.last_mut() {
            Some(last) if next.start <= last.end => last.end = last.end.max(next.end),
            _ => joined.push(next),
        }
    }
    *pages = joined;
}

/// What of the mapping with this address is near it, from
/// [`/proc/self/maps`](https://man7.org/linux/man-pages/man5/proc_pid_maps.5.html).
fn around(maps: &[u8], address: usize) -> Option<Region> {
    let number = |digits: &str| usize::from_str_radix(digits, 16).ok();
    let mapping = maps.split(|byte| *byte == b'\n').find_map(|line| {
        let line = line.split(|byte| *byte == b' ').next()?;
        let (start, end) = std::str::from_utf8(line).ok()?.split_once('-')?;
        let mapping = number(start)?..number(end)?;
        mapping.contains(&address).then_some(mapping)
    })?;
    let start = mapping.start.max(address.saturating_sub(CODE));
    let end = mapping.end.min(address.saturating_add(CODE));
    Some(Region(start..end))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_joined() {
        let mut pages = vec![7..9, 1..2, 2..3, 8..12, 5..5];
        join(&mut pages);
        assert_eq!(pages, [1..3, 7..12]);
        let page = page_size();
        assert_eq!(Region::at(page - 1, 2).pages(), 0..2);
        assert_eq!(Region::at(page, page).pages(), 1..2);
    }

    #[test]
    fn the_code_near_an_address() {
        let maps = b"00001000-00400000 r-xp 0 0 0 /bin/a\n7f0000000000-7f0000001000 rw-p 0 0 0\n";
        assert_eq!(around(maps, 0x2000), Some(Region(0x1000..0x2000 + CODE)));
        assert_eq!(around(maps, 0x3f_f000), Some(Region(0x3f_f000 - CODE..0x40_0000)));
        assert_eq!(around(maps, 0x40_0000), None);
        assert_eq!(around(b"nonsense\n-\nx-y r\n", 1), None);
        let own = fs::read("/proc/self/maps").unwrap();
        assert!(around(&own, join as *const () as usize).is_some());
    }

    #[test]
    fn what_is_locked_twice_is_unlocked_once_both_are_gone() {
        // Pages of its own, of which no other test knows.
        let held = vec![1u8; 4 * page_size()];
        let region = [Region::of(&held[page_size()..2 * page_size()])];
        let lock = || {
            let mut resident = Resident::default();
            resident.lock(&region, true, &mut usize::MAX.clone()).map(|bytes| (resident, bytes))
        };
        let first = lock();
        let Ok((first, bytes)) = first else {
            println!("SKIPPED: no memory may be locked here: {:?}", first.err());
            return;
        };
        assert_eq!(bytes, 2 * page_size());
        let second = lock().unwrap();
        let page = region[0].pages().start;
        let count = || LOCKED.lock().get(&page).copied();
        assert_eq!(count(), Some(2));
        drop(first);
        assert_eq!(count(), Some(1));
        drop(second);
        assert_eq!(count(), None);
        let mut none = 0;
        assert!(Resident::default().lock(&region, true, &mut none).is_err());
    }
}
