//! What a recording keeps.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use super::report::{self, Report};
use crate::instrument::Delta;

/// More slices than this are joined, two by two: an hour keeps as much as ten minutes.
const MOST_SLICES: usize = 600;
/// So they are when all queries' slices and buckets together take more cells, of 16 bytes each…
const MOST_CELLS: usize = 1 << 20;
/// …unless there are no more slices than the intervals need.
const LEAST_SLICES: usize = 16;
const SLICE_CELLS: usize = size_of::<Slice>().div_ceil(16);
/// How many queries' slices a tick joins: the rest must not wait for them.
const JOINED_A_TICK: usize = 32;

/// What queries and pools did over a while: from [`Recording::finish`](super::Recording::finish),
/// or a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    pub(super) name: String,
    /// When it began.
    pub(super) at: SystemTime,
    /// How long each slice is, in seconds.
    pub(super) seconds: Vec<f64>,
    /// Connection-seconds in each, of measured pools.
    pub(super) held: Vec<f64>,
    /// Whether there were such pools.
    pub(super) has_pools: bool,
    /// What each query did in each; shorter where it did nothing any more.
    pub(super) queries: BTreeMap<String, Vec<Slice>>,
    /// How many ticks a slice has.
    ticks: u32,
    /// How many the last one has.
    filled: u32,
    /// Queries whose slices are still to be joined: theirs have half as many ticks.
    behind: BTreeSet<String>,
    /// What all queries take.
    cells: usize,
}

/// One query in one slice of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Slice {
    pub(super) calls: u64,
    pub(super) errors: u64,
    /// All calls' durations together.
    pub(super) seconds: f64,
    /// `(index, calls)`, ascending.
    pub(super) buckets: Vec<(i32, u64)>,
    /// Calls of no time at all.
    pub(super) zero: u64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            name: String::new(),
            at: SystemTime::UNIX_EPOCH,
            seconds: Vec::new(),
            held: Vec::new(),
            has_pools: false,
            queries: BTreeMap::new(),
            ticks: 1,
            filled: 0,
            behind: BTreeSet::new(),
            cells: 0,
        }
    }
}

impl Figures {
    pub(super) fn begin(name: &str) -> Self {
        Self { name: name.to_owned(), at: SystemTime::now(), ..Self::default() }
    }

    /// What it was called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it began.
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// How long it was.
    pub fn duration(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds.iter().sum()).unwrap_or_default()
    }

    /// What is different in `after`, each figure with its uncertainty.
    pub fn compare(&self, after: &Self) -> Report {
        report::compare(self, after)
    }

    /// The slice a tick of this length belongs to.
    pub(super) fn next(&mut self, seconds: f64) -> usize {
        self.settle(JOINED_A_TICK);
        if self.seconds.is_empty() || self.filled == self.ticks {
            let slices = self.seconds.len();
            let even = slices.is_multiple_of(2) && slices > LEAST_SLICES;
            let dear = self.cells > MOST_CELLS && even && self.behind.is_empty();
            if slices == MOST_SLICES || dear {
                self.halve();
            }
            self.seconds.push(0.0);
            self.held.push(0.0);
            self.filled = 0;
        }
        self.filled += 1;
        let last = self.seconds.len() - 1;
        self.seconds[last] += seconds;
        last
    }

    fn halve(&mut self) {
        self.settle(usize::MAX);
        let sums = |all: &[f64]| all.chunks(2).map(|two| two.iter().sum()).collect();
        (self.seconds, self.held) = (sums(&self.seconds), sums(&self.held));
        self.behind.extend(self.queries.keys().cloned());
        self.ticks *= 2;
    }

    /// Joins the slices of so many queries that are behind.
    pub(super) fn settle(&mut self, most: usize) {
        for _ in 0..most {
            let Some(name) = self.behind.pop_first() else { return };
            let Some(slices) = self.queries.get_mut(&name) else { continue };
            let before: usize = slices.iter().map(Slice::cells).sum();
            *slices = slices.chunks(2).map(Slice::sum).collect();
            let after: usize = slices.iter().map(Slice::cells).sum();
            self.cells = (self.cells + after).saturating_sub(before);
        }
    }

    pub(super) fn query(&mut self, name: &str, slice: usize) -> &mut Slice {
        let slices = self.queries.entry(name.to_owned()).or_default();
        if slices.len() <= slice {
            self.cells += (slice + 1 - slices.len()) * SLICE_CELLS;
            slices.resize_with(slice + 1, Slice::default);
        }
        &mut slices[slice]
    }

    /// A query's calls of the present tick.
    pub(super) fn add(&mut self, name: &str, slice: usize, delta: &Delta, failed: bool) {
        let slice = if self.behind.contains(name) {
            2 * slice + usize::from(self.filled > self.ticks / 2)
        } else {
            slice
        };
        let slice = self.query(name, slice);
        let before = slice.buckets.len();
        slice.add(delta, failed);
        self.cells += slice.buckets.len() - before;
    }
}

impl Slice {
    pub(super) fn add(&mut self, delta: &Delta, failed: bool) {
        self.calls += delta.count;
        self.errors += if failed { delta.count } else { 0 };
        self.seconds += delta.sum;
        self.zero += delta.zero;
        self.merge(delta.positive.iter().map(|(index, count)| (*index, u64::from(*count))));
    }

    fn cells(&self) -> usize {
        SLICE_CELLS + self.buckets.len()
    }

    /// All of them together.
    pub(super) fn sum<'a>(slices: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for slice in slices {
            all.calls += slice.calls;
            all.errors += slice.errors;
            all.seconds += slice.seconds;
            all.zero += slice.zero;
            all.merge(slice.buckets.iter().copied());
        }
        all
    }

    fn merge(&mut self, buckets: impl Iterator<Item = (i32, u64)>) {
        for (index, count) in buckets {
            match self.buckets.binary_search_by_key(&index, |(index, _)| *index) {
                Ok(at) => self.buckets[at].1 += count,
                Err(at) => self.buckets.insert(at, (index, count)),
            }
        }
    }
}
