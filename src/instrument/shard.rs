//! One thread's part of one histogram: two cache lines with the exact sum, the extremes and a
//! directory of the octaves it has seen, each a [`Chunk`] of 32 counters.
//!
//! ```text
//! key = octave of the value, its sign        directory[key % 16] = tag (key / 16) << 22 | chunk id
//! ```
//! Values within sixteen octaves, a factor of 65,536, are found at once. What collides goes to a chain
//! of chunks used as further directories (`more`).
//!
//! Writers: one thread on an exclusive shard ([`Alone`]), any number on a shared one
//! ([`Together`]). The tick thread reads while they write: each counter by itself only ever grows
//! (modulo 2³²), entries are only ever added, and `count` is written last with release, so that
//! who has seen it has seen all of the record. Sum and buckets are not one: a reading may hold a
//! record's bucket without its share of the sum, which then is in the next.
//!
//! The bucket of a duration is counted *late*, by the next one in the shard: `late` names it
//! meanwhile. A processor that is to read its clock waits until it knows where all stores before
//! that go, and this one depends on the clock itself: on AMD's Zen 3 it makes a timed query of 24 ns
//! one of 40. What is late is written before what was late is counted, and read after the counters:
//! so a record is never read twice. Between the two it is not read at all: a reading may be short
//! of one record a shard, which then is in the next, as its count has not been written either.

use super::{
    bucket::PER_OCTAVE,
    storage::{Chunk, ID_BITS, Pool, Zeroed, is_near},
};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Names an octave of positive or negative values, or zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u32);

/// Makes every key's tag other than zero, and a double's exponent end in the same bits as its key.
const BIAS: i32 = 1087;
const NEGATIVE: u32 = 4096;
/// From a double's exponent to a key.
const NEAR: u32 = (BIAS - 1023) as u32;
/// So many of adjacent octaves are found at once.
const PLACES: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 4;
/// On each side of 1.
const MOST_OCTAVES: i32 = 128;

impl Key {
    pub(super) const ZERO: Self = Self(8191);

    #[inline]
    pub(super) fn new(octave: i32, negative: bool) -> Self {
        Self((octave + BIAS) as u32 + u32::from(negative) * NEGATIVE)
    }

    /// That of a number by its bits. Of zero, subnormal numbers, infinities and NaN it is one that is
    /// not [kept](Self::is_kept), so no shard has it.
    #[inline]
    pub(super) fn near(bits: u64) -> Self {
        const SIGN: u32 = 2048;
        let (binade, is_power) = ((bits >> 52) as u32, bits << 12 == 0);
        // The sign once more, which makes it `NEGATIVE`; a power of two ends the octave below it.
        Self(binade + (binade & SIGN) + NEAR - u32::from(is_power))
    }

    /// The same of a positive number that is no power of two; of a negative one it is one that no
    /// shard has. For the hottest path: nothing waits for the exceptions.
    #[inline]
    pub(super) fn nearest(bits: u64) -> Self {
        Self((bits >> 52) as u32 + NEAR)
    }

    pub(super) fn is_negative(self) -> bool {
        self.0 >= NEGATIVE
    }

    /// Whether it is counted: what an `f32` holds, 2^±128, and zero. Bounds what a series can
    /// take: 513 octaves of 128 bytes in each shared shard, 47 in each of a thread's own, and 128
    /// KiB where the reader adds them up.
    #[inline]
    pub(super) fn is_kept(self) -> bool {
        self == Self::ZERO || (-MOST_OCTAVES..MOST_OCTAVES).contains(&self.octave())
    }

    /// Meaningless for zero.
    pub(super) fn octave(self) -> i32 {
        (self.0 % NEGATIVE) as i32 - BIAS
    }

    #[inline]
    fn tag(self) -> u32 {
        self.0 >> PLACE_BITS
    }

    #[inline]
    fn place(self) -> usize {
        (self.0 as usize) % PLACES
    }
}

#[inline]
fn entry(key: Key, id: u32) -> u32 {
    key.tag() << ID_BITS | id
}

#[inline]
fn entry_id(entry: u32) -> u32 {
    entry & ((1 << ID_BITS) - 1)
}

fn entry_key(entry: u32, place: usize) -> Key {
    Key((entry >> ID_BITS) << PLACE_BITS | (place % PLACES) as u32)
}

/// Where in a chunk used as a directory the next one is named; the rest are entries.
const MORE: usize = 31;

/// How a counter is added to.
pub(super) trait Mode {
    const SHARED: bool;
    /// Gives what it is then.
    fn add_u32(to: &AtomicU32, by: u32, order: Ordering) -> u32;
    fn add_u64(to: &AtomicU64, by: u64);
    fn add_f64(to: &AtomicU64, by: f64);
    fn raise(to: &AtomicU64, value: u64);
    /// Names a chunk where none is named; else gives what is there.
    fn name(at: &AtomicU32, entry: u32) -> Result<(), u32>;
}

/// The only writer: a load and a store.
pub(super) struct Alone;

impl Mode for Alone {
    const SHARED: bool = false;

    #[inline]
    fn add_u32(to: &AtomicU32, by: u32, order: Ordering) -> u32 {
        let sum = to.load(Ordering::Relaxed).wrapping_add(by);
        to.store(sum, order);
        sum
    }

    #[inline]
    fn add_u64(to: &AtomicU64, by: u64) {
        to.store(to.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    #[inline]
    fn add_f64(to: &AtomicU64, by: f64) {
        to.store(plus(to.load(Ordering::Relaxed), by), Ordering::Relaxed);
    }

    #[inline]
    fn raise(to: &AtomicU64, value: u64) {
        if value > to.load(Ordering::Relaxed) {
            to.store(value, Ordering::Relaxed);
        }
    }

    #[inline]
    fn name(at: &AtomicU32, entry: u32) -> Result<(), u32> {
        // Release: the reader that finds the entry finds the chunk's zeroes.
        at.store(entry, Ordering::Release);
        Ok(())
    }
}

/// One of several writers: atomic additions.
pub(super) struct Together;

impl Mode for Together {
    const SHARED: bool = true;

    #[inline]
    fn add_u32(to: &AtomicU32, by: u32, order: Ordering) -> u32 {
        to.fetch_add(by, order).wrapping_add(by)
    }

    #[inline]
    fn add_u64(to: &AtomicU64, by: u64) {
        to.fetch_add(by, Ordering::Relaxed);
    }

    #[inline]
    fn add_f64(to: &AtomicU64, by: f64) {
        let mut sum = to.load(Ordering::Relaxed);
        while let Err(now) =
            to.compare_exchange_weak(sum, plus(sum, by), Ordering::Relaxed, Ordering::Relaxed)
        {
            sum = now;
        }
    }

    #[inline]
    fn raise(to: &AtomicU64, value: u64) {
        // The comparison first: a new extreme is rare, a read-modify-write is not free.
        if value > to.load(Ordering::Relaxed) {
            to.fetch_max(value, Ordering::Relaxed);
        }
    }

    #[inline]
    fn name(at: &AtomicU32, entry: u32) -> Result<(), u32> {
        at.compare_exchange(0, entry, Ordering::Release, Ordering::Acquire).map(|_| ())
    }
}

/// A sum in bits. It stays finite: 2⁶⁴ values of 2¹²⁸ do not reach an eighth of the way.
#[inline]
fn plus(sum: u64, by: f64) -> u64 {
    (f64::from_bits(sum) + by).to_bits()
}

/// What is added to the sum.
#[derive(Debug, Clone, Copy)]
pub(super) enum Amount {
    Ticks(u64),
    Value(f64),
}

/// One value, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) key: Key,
    /// Which of the octave's buckets.
    pub(super) bucket: usize,
    /// The value as an integer of the same order, neither 0 nor `u64::MAX`.
    pub(super) order: u64,
    pub(super) amount: Amount,
    /// How many like it there were.
    pub(super) times: u32,
}

/// All zeroes is an empty shard.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Shard {
    /// Ticks, or the bits of an f64.
    pub(super) sum: AtomicU64,
    /// [`Record::order`] of the greatest; 0 is none.
    pub(super) max: AtomicU64,
    /// The complement of that of the least; 0 is none.
    pub(super) not_min: AtomicU64,
    /// Records so far, modulo 2³²: tells whether there is anything new.
    pub(super) count: AtomicU32,
    /// A [`Late`]; 0 is none.
    late: AtomicU32,
    directory: [AtomicU32; PLACES],
    /// The first further directory.
    more: AtomicU32,
}

/// The bucket of the last duration while it is still to be counted: the chunk's id, the logarithm of
/// how many it stands for, and which of the chunk's it is.
#[derive(Clone, Copy)]
struct Late(u32);

impl Late {
    #[inline]
    fn new(id: u32, record: Record) -> Self {
        Self(id << 10 | record.times.ilog2() << 5 | record.bucket as u32)
    }

    #[inline]
    fn id(self) -> u32 {
        self.0 >> 10
    }

    #[inline]
    fn times(self) -> u32 {
        1 << (self.0 >> 5 & 31)
    }

    #[inline]
    fn bucket(self) -> usize {
        self.0 as usize % PER_OCTAVE
    }
}

#[allow(unsafe_code)]
// SAFETY: atomic integers only, each its integer's bytes.
unsafe impl Zeroed for Shard {
    #[cfg(loom)]
    fn zero() -> Self {
        Self {
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
            not_min: AtomicU64::new(0),
            count: AtomicU32::new(0),
            late: AtomicU32::new(0),
            directory: std::array::from_fn(|_| AtomicU32::new(0)),
            more: AtomicU32::new(0),
        }
    }
}

impl Shard {
    /// The id of the chunk for a key, if it is where it is looked for first; else a number that
    /// [is not near](is_near).
    #[inline(always)]
    fn near(&self, key: Key) -> u32 {
        self.directory[key.place()].load(Ordering::Acquire) ^ entry(key, 0)
    }

    /// Counts a value for who writes [`Alone`], if its octave is where it is looked for first; else
    /// `false`, and nothing is counted.
    #[inline(always)]
    pub(super) fn record_near(&self, pool: &Pool, record: Record) -> bool {
        let found = pool.near(self.near(record.key));
        if let Some(chunk) = found {
            self.count_in::<Alone>(chunk, record);
        }
        found.is_some()
    }

    /// Does the same for a record that stands for a power of two, but that its bucket is counted with
    /// the next one.
    #[inline(always)]
    pub(super) fn record_late(&self, pool: &Pool, record: Record) -> bool {
        debug_assert!(record.times.is_power_of_two());
        let id = self.near(record.key);
        if !is_near(id) {
            return false;
        }
        let late = Late(self.late.load(Ordering::Relaxed));
        self.late.store(Late::new(id, record).0, Ordering::Relaxed);
        if let Some(chunk) = pool.near(late.id()) {
            // Release: the reader that sees it counted sees that it is no longer late.
            Alone::add_u32(&chunk.0[late.bucket()], late.times(), Ordering::Release);
        }
        self.add::<Alone>(record);
        true
    }

    /// Counts a value and gives how many there are then, modulo 2³²; `None`, and nothing is counted,
    /// if there is no chunk to be had for its octave.
    pub(super) fn record<M: Mode>(&self, pool: &Pool, record: Record) -> Option<u32> {
        let chunk = self.find_or_add::<M>(pool, record.key)?;
        Some(self.count_in::<M>(chunk, record))
    }

    #[inline(always)]
    fn count_in<M: Mode>(&self, chunk: &Chunk, record: Record) -> u32 {
        M::add_u32(&chunk.0[record.bucket % PER_OCTAVE], record.times, Ordering::Relaxed);
        self.add::<M>(record)
    }

    /// All of a record but its bucket.
    #[inline(always)]
    fn add<M: Mode>(&self, record: Record) -> u32 {
        M::raise(&self.max, record.order);
        M::raise(&self.not_min, !record.order);
        match record.amount {
            Amount::Ticks(ticks) => {
                M::add_u64(&self.sum, ticks.wrapping_mul(u64::from(record.times)));
            }
            Amount::Value(value) => M::add_f64(&self.sum, value * f64::from(record.times)),
        }
        // Release: the reader that sees the count sees all of the above.
        M::add_u32(&self.count, record.times, Ordering::Release)
    }

    fn find_or_add<M: Mode>(&self, pool: &Pool, key: Key) -> Option<&'static Chunk> {
        if let Some(found) = claim::<M>(&self.directory[key.place()], pool, key)? {
            return Some(found);
        }
        // An exclusive shard stops at 47 octaves, 6 KiB: what is wilder goes to the home shard,
        // so that a series' memory does not multiply with its threads. A shared one has no more
        // than there are keys.
        let mut left = if M::SHARED { u32::MAX } else { 1 };
        let mut next = &self.more;
        while left > 0 {
            let id = match next.load(Ordering::Acquire) {
                0 => link::<M>(next, pool, take::<M>(pool)?),
                id => id,
            };
            let directory = pool.get(id);
            for at in (key.place()..MORE).step_by(PLACES) {
                if let Some(found) = claim::<M>(&directory.0[at], pool, key)? {
                    return Some(found);
                }
            }
            next = &directory.0[MORE];
            left -= 1;
        }
        None
    }

    /// Adds to `sums` what has been counted of a key, for the reader.
    pub(super) fn add_to(&self, sums: &mut [u32; PER_OCTAVE], pool: &Pool, key: Key) {
        self.each_entry(pool, key.place(), &mut |known, id| {
            if known != key {
                return;
            }
            for (sum, counter) in sums.iter_mut().zip(&pool.get(id).0) {
                *sum = sum.wrapping_add(counter.load(Ordering::Relaxed));
            }
            // Acquire: what has been read as counted is no longer read as late.
            fence(Ordering::Acquire);
            let late = Late(self.late.load(Ordering::Relaxed));
            if late.id() == id {
                let sum = &mut sums[late.bucket()];
                *sum = sum.wrapping_add(late.times());
            }
        });
    }

    /// All keys with a chunk, in no order.
    pub(super) fn each_key(&self, pool: &Pool, mut each: impl FnMut(Key)) {
        for place in 0..PLACES {
            self.each_entry(pool, place, &mut |key, _| each(key));
        }
    }

    /// All entries of keys with this place. Entries are filled from the nearest on, so the first
    /// empty one ends the search.
    fn each_entry(&self, pool: &Pool, place: usize, each: &mut dyn FnMut(Key, u32)) {
        let near = self.directory[place].load(Ordering::Acquire);
        if near == 0 {
            return;
        }
        each(entry_key(near, place), entry_id(near));
        let mut next = self.more.load(Ordering::Acquire);
        while next != 0 {
            let directory = pool.get(next);
            for at in (place..MORE).step_by(PLACES) {
                let entry = directory.0[at].load(Ordering::Acquire);
                if entry == 0 {
                    return;
                }
                each(entry_key(entry, at), entry_id(entry));
            }
            next = directory.0[MORE].load(Ordering::Acquire);
        }
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
            && self.directory.iter().all(|entry| entry.load(Ordering::Relaxed) == 0)
    }

    /// Makes it as new and returns its chunks. The caller sees to it that nobody else is here.
    pub(super) fn reset(&self, pool: &Pool) {
        let mut ids = Vec::new();
        for place in 0..PLACES {
            self.each_entry(pool, place, &mut |_, id| ids.push(id));
            self.directory[place].store(0, Ordering::Relaxed);
        }
        let mut next = self.more.swap(0, Ordering::Relaxed);
        while next != 0 {
            ids.push(next);
            next = pool.get(next).0[MORE].load(Ordering::Relaxed);
        }
        for id in ids {
            for word in &pool.get(id).0 {
                word.store(0, Ordering::Relaxed);
            }
            pool.give_back(id);
        }
        for word in [&self.sum, &self.max, &self.not_min] {
            word.store(0, Ordering::Relaxed);
        }
        self.count.store(0, Ordering::Relaxed);
        self.late.store(0, Ordering::Relaxed);
    }
}

fn take<M: Mode>(pool: &Pool) -> Option<u32> {
    if M::SHARED { pool.take() } else { pool.take_own() }
}

/// The chunk of `key` if this entry is or can be made its own: `Some(None)` if it is another
/// key's, `None` if it is free but the pool is empty.
#[allow(clippy::option_option)]
fn claim<M: Mode>(at: &AtomicU32, pool: &Pool, key: Key) -> Option<Option<&'static Chunk>> {
    let mut known = at.load(Ordering::Acquire);
    if known == 0 {
        let id = take::<M>(pool)?;
        match M::name(at, entry(key, id)) {
            Ok(()) => return Some(Some(pool.get(id))),
            Err(other) => {
                pool.give_back(id);
                known = other;
            }
        }
    }
    Some((known >> ID_BITS == key.tag()).then(|| pool.get(entry_id(known))))
}

/// Appends a directory; gives the one that is there in the end.
fn link<M: Mode>(at: &AtomicU32, pool: &Pool, id: u32) -> u32 {
    match M::name(at, id) {
        Ok(()) => id,
        Err(other) => {
            pool.give_back(id);
            other
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::instrument::bucket;

    fn holds(bits: u64) {
        let value = f64::from_bits(bits);
        let (near, nearest) = (Key::near(bits), Key::nearest(bits));
        if !value.is_normal() {
            assert!(!near.is_kept(), "{value:e}");
            return;
        }
        let (octave, _) = bucket::place(value.abs());
        assert_eq!(near, Key::new(octave, value < 0.0), "{value:e}");
        if value < 0.0 {
            assert!(!nearest.is_kept(), "{value:e}");
        } else if bits << 12 != 0 {
            assert_eq!(nearest, near, "{value:e}");
        }
    }

    #[test]
    fn the_short_way_to_a_key_ends_at_the_same_or_at_none() {
        for exponent in 0..2048_u64 {
            for mantissa in [0, 1, (1 << 52) - 1] {
                holds(exponent << 52 | mantissa);
                holds(1 << 63 | exponent << 52 | mantissa);
            }
        }
        assert!(!Key::nearest(0).is_kept());
    }

    proptest::proptest! {
        #[test]
        fn of_any_number(bits: u64) {
            holds(bits);
        }
    }
}
