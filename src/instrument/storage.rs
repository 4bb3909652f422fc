//! Where the shards live. Two kinds of memory, both of the whole process, both obtained from the
//! allocator only by who resolves a name or ticks, never by who records:
//!
//! - [`Slab`]: a *row* of small cells, one for each shard, comes with each series. Rows are kept
//!   shard by shard (all series' cells of one shard side by side), so that two threads never write
//!   to one cache line, and a thread that touches many series touches few pages. What no thread
//!   has touched is untouched zero pages.
//! - [`Pool`]: chunks of 32 counters, taken by the recording thread when a value falls in an octave
//!   its shard has not seen; lock-free; recycled when a series is dropped.
//!
//! Memory goes back to the slab or pool, not to the allocator; both have a hard limit, beyond which
//! they hand out nothing and the caller counts what it could not store.

use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Mutex, Ordering};

/// What may be made by zeroing memory.
///
/// # Safety
/// All bytes zero must be a valid value.
#[allow(unsafe_code)]
pub(super) unsafe trait Zeroed: Sized + Sync + 'static {
    #[cfg(loom)]
    fn zero() -> Self;
}

#[allow(unsafe_code)]
// SAFETY: an atomic integer is its integer's bytes.
unsafe impl Zeroed for AtomicU64 {
    #[cfg(loom)]
    fn zero() -> Self {
        Self::new(0)
    }
}

/// A pair of cache lines, which is fetched together.
#[cfg(not(loom))]
const LINES: usize = 128;

/// Zeroed memory for good, from the start of a pair of cache lines; `None` if there is none.
///
/// Pages that nobody touches stay unbacked: the allocator is asked for zeroes at its own alignment
/// and the start is rounded up here, since for a larger one it would write the zeroes itself.
#[cfg(not(loom))]
#[allow(unsafe_code)]
fn zeroed<T: Zeroed>(len: usize) -> Option<&'static [T]> {
    use std::alloc::{Layout, alloc_zeroed};
    const { assert!(align_of::<T>() <= LINES && size_of::<T>() > 0) };
    let size = len.checked_mul(size_of::<T>())?.checked_add(LINES)?;
    let layout = Layout::from_size_align(size, align_of::<u64>()).ok()?;
    // SAFETY: the layout's size is not zero.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return None;
    }
    let skip = start.align_offset(LINES);
    if skip > LINES {
        // It may say that it cannot tell. The memory is lost, as all of it is for good.
        return None;
    }
    small_pages(start, size);
    // SAFETY: `skip` and `len` values of `T` lie within the allocation, which is never freed; the
    // start is aligned for `T`, and zero bytes are valid values by the contract of `Zeroed`.
    Some(unsafe { std::slice::from_raw_parts(start.add(skip).cast::<T>(), len) })
}

/// Asks for small pages: a huge one would back 2 MiB for the first counter touched.
#[cfg(all(target_os = "linux", not(loom)))]
#[allow(unsafe_code)]
fn small_pages(start: *mut u8, size: usize) {
    use rustix::mm::{Advice, madvise};
    // A multiple of any page's size. (Asking `rustix` for it ends the process under valgrind.)
    const PAGES: usize = 1 << 16;
    let skip = start.align_offset(PAGES);
    let Some(len) = size.checked_sub(skip).map(|len| len / PAGES * PAGES) else { return };
    // SAFETY: whole pages within the allocation; the advice changes no content. That it is refused
    // costs memory, nothing else.
    let _ = unsafe { madvise(start.wrapping_add(skip).cast(), len, Advice::LinuxNoHugepage) };
}

#[cfg(all(not(target_os = "linux"), not(loom)))]
fn small_pages(_: *mut u8, _: usize) {}

#[cfg(loom)]
fn zeroed<T: Zeroed>(len: usize) -> Option<&'static [T]> {
    Some(Vec::leak((0..len).map(|_| T::zero()).collect()))
}

/// One cell for each shard, `STRIDE` apart; none at all beyond the slab's limit.
#[derive(Debug)]
pub(super) struct Row<T: 'static, const STRIDE: usize>(&'static [T]);

impl<T, const STRIDE: usize> Row<T, STRIDE> {
    #[inline]
    pub(super) fn get(&self, shard: usize) -> Option<&'static T> {
        self.0.get(shard * STRIDE)
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// All cells, from shard 0 on.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'static T> + Clone + use<T, STRIDE> {
        self.0.iter().step_by(STRIDE)
    }
}

/// Rows of one cell for each shard. `STRIDE` is a little more than the rows of a segment, so that
/// the cells of one row do not all fall in one set of the cache.
#[derive(Debug)]
pub(super) struct Slab<T: 'static, const STRIDE: usize> {
    shards: usize,
    max_rows: usize,
    state: Mutex<SlabState<T, STRIDE>>,
}

#[derive(Debug)]
struct SlabState<T: 'static, const STRIDE: usize> {
    free: Vec<Row<T, STRIDE>>,
    /// The newest segment, what is left of it beginning at its first unused row.
    segment: &'static [T],
    left: usize,
    rows: usize,
}

impl<T: Zeroed, const STRIDE: usize> Slab<T, STRIDE> {
    const ROWS: usize = STRIDE - STRIDE / 64;

    pub(super) fn new(shards: usize, max_rows: usize) -> Self {
        let state = SlabState { free: Vec::new(), segment: &[], left: 0, rows: 0 };
        Self { shards, max_rows, state: Mutex::new(state) }
    }

    /// A row of zeroes, or [none](Row::is_none) beyond the limit. May allocate.
    pub(super) fn take(&self) -> Row<T, STRIDE> {
        let mut state = self.state.lock();
        if let Some(row) = state.free.pop() {
            return row;
        }
        if state.rows >= self.max_rows {
            return Row(&[]);
        }
        if state.left == 0 {
            let Some(segment) = zeroed(self.shards * STRIDE) else { return Row(&[]) };
            state.segment = segment;
            state.left = Self::ROWS;
        }
        // The last cell of the row is in the last shard's stretch: nothing beyond belongs to it.
        let row = Row(&state.segment[..(self.shards - 1) * STRIDE + 1]);
        state.segment = &state.segment[1..];
        state.left -= 1;
        state.rows += 1;
        row
    }

    /// Takes back a row, leaving none. Its owner has zeroed it.
    pub(super) fn give_back(&self, row: &mut Row<T, STRIDE>) {
        if !row.is_none() {
            self.state.lock().free.push(std::mem::replace(row, Row(&[])));
        }
    }

    /// Rows in use.
    pub(super) fn used(&self) -> usize {
        let state = self.state.lock();
        state.rows - state.free.len()
    }
}

/// Counters of one octave, or a directory of further chunks.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Chunk(pub(super) [AtomicU32; 32]);

#[allow(unsafe_code)]
// SAFETY: an atomic integer is its integer's bytes.
unsafe impl Zeroed for Chunk {
    #[cfg(loom)]
    fn zero() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

/// Chunks in a segment: 32 MiB of address space, of which what is touched is memory. All that threads
/// have of their own ([`MOST_WITH_OWN`]) lie in the first, as long as there are few others.
const SEGMENT: u32 = if cfg!(loom) { 4 } else { 1 << 18 };
/// As many as an id can name, so that looking one up needs no check.
const SEGMENTS: usize = if cfg!(loom) { 1 } else { (1 << ID_BITS) / SEGMENT as usize };
/// The hard limit: 128 MiB.
const MAX_SEGMENTS: usize = if cfg!(loom) { 1 } else { 4 };

/// Once so many are in use no thread gets further ones of its own: 24 MiB. What is counted in shared
/// ones costs some 20 ns more; ten thousand series that eight threads hammer would take 100 MiB.
const MOST_WITH_OWN: u32 = if cfg!(loom) { u32::MAX } else { 24 << 13 };

/// How wide a chunk's id is.
pub(super) const ID_BITS: u32 = 22;

/// Chunks for all histograms. A chunk is named by its id; 0 names none.
#[derive(Debug)]
pub(super) struct Pool {
    /// The first segment, in which all but the largest services stay.
    first: AtomicPtr<Chunk>,
    segments: [AtomicPtr<Chunk>; SEGMENTS],
    /// The first id never handed out.
    fresh: AtomicU32,
    /// The first id there is no memory for.
    limit: AtomicU32,
    /// Returned chunks, linked through their first counter: `tag << 32 | id`. The tag grows with
    /// each change, so that a slow taker does not mistake a list that came back for the one it
    /// read.
    free: AtomicU64,
    returned: AtomicU32,
    growing: Mutex<()>,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            first: AtomicPtr::new(std::ptr::null_mut()),
            segments: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())),
            fresh: AtomicU32::new(1),
            limit: AtomicU32::new(1),
            free: AtomicU64::new(0),
            returned: AtomicU32::new(0),
            growing: Mutex::new(()),
        }
    }

    /// The chunk of an id that [`take`](Self::take) handed out.
    #[allow(unsafe_code)]
    pub(super) fn get(&self, id: u32) -> &'static Chunk {
        debug_assert!(id != 0 && id < self.fresh.load(Ordering::Relaxed));
        // Relaxed: `top_up` stored the segment before it raised the limit (release), `take` saw the
        // limit (acquire) before it handed out the id, and ids travel by release and acquire.
        let segment = &self.segments[(id / SEGMENT) as usize % SEGMENTS];
        // SAFETY: an id below the limit lies in a segment of `SEGMENT` chunks that is never freed.
        unsafe { &*segment.load(Ordering::Relaxed).add((id % SEGMENT) as usize) }
    }

    /// The same if it lies in the first segment, whose place is no load that waits for the id; any
    /// other number is in none. That of 0 is nobody's: what is counted there is not read.
    #[inline]
    #[allow(unsafe_code)]
    pub(super) fn near(&self, id: u32) -> Option<&'static Chunk> {
        if !is_near(id) {
            return None;
        }
        debug_assert!(id < self.fresh.load(Ordering::Relaxed));
        // SAFETY: as above; there was a first segment when the first id was handed out.
        Some(unsafe { &*self.first.load(Ordering::Relaxed).add(id as usize) })
    }

    /// A chunk of zeroes; `None` if the pool is empty. Lock-free, never allocates.
    pub(super) fn take(&self) -> Option<u32> {
        let mut free = self.free.load(Ordering::Acquire);
        while free as u32 != 0 {
            let id = free as u32;
            // Somebody else may have taken this chunk and be counting in it: then this is no
            // link, and the tag has moved on.
            let next = self.get(id).0[0].load(Ordering::Relaxed);
            match self.free.compare_exchange_weak(
                free,
                advance(free, next),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    self.get(id).0[0].store(0, Ordering::Relaxed);
                    self.returned.fetch_sub(1, Ordering::Relaxed);
                    return Some(id);
                }
                Err(now) => free = now,
            }
        }
        let mut fresh = self.fresh.load(Ordering::Relaxed);
        loop {
            if fresh >= self.limit.load(Ordering::Acquire) {
                return None;
            }
            match self.fresh.compare_exchange_weak(
                fresh,
                fresh + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(fresh),
                Err(now) => fresh = now,
            }
        }
    }

    /// A chunk for a single thread, which can do without; `None` also once those have their share of
    /// memory.
    pub(super) fn take_own(&self) -> Option<u32> {
        if self.used() < MOST_WITH_OWN { self.take() } else { None }
    }

    /// Takes back a chunk that is all zeroes and that nobody else can reach.
    pub(super) fn give_back(&self, id: u32) {
        self.returned.fetch_add(1, Ordering::Relaxed);
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            self.get(id).0[0].store(free as u32, Ordering::Relaxed);
            // Release: who takes it sees the zeroes and the link.
            match self.free.compare_exchange_weak(
                free,
                advance(free, id),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => free = now,
            }
        }
    }

    /// Chunks handed out and not returned.
    pub(super) fn used(&self) -> u32 {
        (self.fresh.load(Ordering::Relaxed) - 1)
            .saturating_sub(self.returned.load(Ordering::Relaxed))
    }

    /// Sees to it that `spare` chunks can be taken, within the hard limit. May allocate: for who
    /// ticks or resolves.
    pub(super) fn top_up(&self, spare: u32) {
        let want = self.used().saturating_add(spare).saturating_add(1);
        if self.limit.load(Ordering::Relaxed) >= want {
            return;
        }
        let _growing = self.growing.lock();
        loop {
            let limit = self.limit.load(Ordering::Relaxed);
            // The first limit is 1, since id 0 is never handed out.
            let segment = limit.div_ceil(SEGMENT) as usize - usize::from(limit == 1);
            if limit >= want || segment >= MAX_SEGMENTS {
                return;
            }
            let Some(memory) = zeroed::<Chunk>(SEGMENT as usize) else { return };
            let start = memory.as_ptr().cast_mut();
            self.segments[segment].store(start, Ordering::Relaxed);
            if segment == 0 {
                self.first.store(start, Ordering::Relaxed);
            }
            // Release: pairs with `take`.
            self.limit.store((segment as u32 + 1) * SEGMENT, Ordering::Release);
        }
    }
}

/// Whether the chunk of this id lies in the first segment.
#[inline]
pub(super) fn is_near(id: u32) -> bool {
    id < SEGMENT
}

fn advance(list: u64, head: u32) -> u64 {
    ((list >> 32).wrapping_add(1) << 32) | u64::from(head)
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_do_not_overlap_and_are_recycled() {
        let slab = Slab::<AtomicU64, 128>::new(3, 200);
        let mut rows: Vec<_> = (0..200).map(|_| slab.take()).collect();
        assert!(slab.take().is_none());
        for (at, row) in rows.iter().enumerate() {
            for cell in row.iter() {
                assert_eq!(cell.fetch_add(at as u64 + 1, Ordering::Relaxed), 0);
            }
            assert_eq!(row.iter().count(), 3);
            assert!(row.get(2).is_some() && row.get(3).is_none());
        }
        assert_eq!(slab.used(), 200);
        slab.give_back(&mut rows[199]);
        assert!(rows[199].is_none());
        assert_eq!(slab.used(), 199);
        assert_eq!(slab.take().get(0).unwrap().load(Ordering::Relaxed), 200);
    }

    #[test]
    fn chunks_are_handed_out_once_and_recycled_zeroed() {
        let pool = Pool::new();
        assert_eq!(pool.take(), None);
        pool.top_up(10);
        let mut ids: Vec<_> = (0..SEGMENT - 1).map(|_| pool.take().unwrap()).collect();
        assert_eq!(pool.take(), None);
        assert_eq!(pool.used(), SEGMENT - 1);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), SEGMENT as usize - 1);
        pool.give_back(7);
        pool.give_back(9);
        for id in [pool.take().unwrap(), pool.take().unwrap()] {
            assert!(pool.get(id).0.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        }
        assert_eq!(pool.take(), None);
        pool.top_up(1);
        assert_eq!(pool.take(), Some(SEGMENT));
        pool.get(SEGMENT).0[31].store(1, Ordering::Relaxed);
    }

    #[test]
    fn the_hard_limit_holds_and_threads_of_their_own_stop_before_it() {
        let pool = Pool::new();
        pool.top_up(u32::MAX);
        let own = std::iter::from_fn(|| pool.take_own()).count();
        assert_eq!(own * size_of::<Chunk>(), 24 << 20);
        // Whoever shares goes on.
        let shared = std::iter::from_fn(|| pool.take()).count();
        assert_eq!((own + shared + 1) * size_of::<Chunk>(), 128 << 20);
        pool.top_up(u32::MAX);
        assert_eq!((pool.take(), pool.used() as usize), (None, own + shared));
    }

    #[test]
    fn chunks_taken_and_returned_by_many_threads_are_never_held_twice() {
        let pool = Pool::new();
        pool.top_up(64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let Some(id) = pool.take() else { continue };
                        let chunk = pool.get(id);
                        assert_eq!(chunk.0[5].fetch_add(1, Ordering::Relaxed), 0);
                        chunk.0[5].store(0, Ordering::Relaxed);
                        pool.give_back(id);
                    }
                });
            }
        });
        assert_eq!(pool.used(), 0);
    }
}
