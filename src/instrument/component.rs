//! Who holds the memory: what a part of the service says it holds, and a budget that refuses
//! before the memory is taken.
//!
//! Unlike other sums these are single cells, not shards: a budget must know the whole sum at the
//! moment it is asked. They change once for a request or a cache's entry, not once for a query.
//!
//! Invariants: what is *held* is exactly the sum of the guards alive, whatever else is stated;
//! under a limit, no [`Component::reserve`] takes `usage` above it, however many ask at once.

use std::fmt;

#[cfg(feature = "allocator")]
use super::attribution::{self, Heap, NOBODY, Owner};
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// The limit of a component without one.
const NO_LIMIT: u64 = u64::MAX;

/// No more than this is taken from a single statement: more than any machine addresses, and a
/// hundred of them still fit into a sum.
const MOST: u64 = 1 << 56;

/// A part of the service that holds memory, resolved once: clone it, share it, keep it. From
/// [`Highwater::component`](crate::Highwater::component); the same name is the same component.
///
/// It says what it holds in one of two ways, or both, and the sum counts:
///
/// - [`add`](Self::add), [`sub`](Self::sub) and [`set`](Self::set) *state* bytes; the same for
///   items;
/// - a guard *holds* them until it is dropped: [`hold`](Self::hold), [`reserve`](Self::reserve),
///   and [`request`](Self::request) for the state of a request in flight.
///
/// Under a [limit](Self::set_limit) the latter two refuse before the memory is taken. Once a tick
/// each component becomes these series, labelled `highwater.component.name`:
///
/// | series | unit | present |
/// |---|---|---|
/// | `highwater.component.memory.usage` | By | once there was any |
/// | `highwater.component.memory.limit` | By | with a limit |
/// | `highwater.component.memory.utilization` | 1 | with a limit |
/// | `highwater.component.items` | `{item}` | once stated |
/// | `highwater.component.requests` | `{request}` | once there was one |
/// | `highwater.component.request.memory` | By | once there was one |
/// | `highwater.component.memory.per_request` | By | while there are any |
/// | `highwater.component.refused` | `{request}` | once there was one |
/// | `highwater.component.heap.usage`, `.allocated` | By | with the feature `allocator` |
/// | `highwater.component.heap.allocations` | `{allocation}` | with the feature `allocator` |
///
/// With the attributing allocator the usage is the heap's if that is more than what was said.
///
/// Cost: one locked addition for a statement; for a guard up to four, and as many when it is
/// dropped. Lock-free, without allocation. When the instance has stopped or is disabled, a load and
/// a branch, and nothing is refused.
///
/// ```
/// let hw = highwater::Highwater::builder("doc").start()?;
/// let store = hw.component("config-store");
/// store.set_limit(64 << 20);
///
/// let mut state = store.request(16 << 10)?; // of one request; `Err` before memory is taken
/// state.reserve(48 << 10)?;                 // it needs more
/// assert_eq!((store.usage(), store.requests()), (64 << 10, 1));
/// drop(state);                              // given back
/// assert_eq!(store.usage(), 0);
///
/// let refused = store.reserve(65 << 20).unwrap_err();
/// assert_eq!(
///     refused.to_string(),
///     r#"component "config-store" holds 0 B of its limit of 67108864 B: 68157440 B more are refused"#
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Component(Arc<Core>);

/// Sums in two's complement: a subtraction may overtake the addition it follows.
struct Core {
    name: Arc<str>,
    live: AtomicBool,
    limit: AtomicU64,
    stated: AtomicU64,
    held: AtomicU64,
    items: AtomicU64,
    requests: AtomicU64,
    request_bytes: AtomicU64,
    refused: AtomicU64,
    /// Whose the blocks are that are allocated in its scopes; found at the first.
    #[cfg(feature = "allocator")]
    owner: crate::sync::OnceCell<Owner>,
}

impl Component {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self(Arc::new(Core {
            #[cfg(feature = "allocator")]
            owner: crate::sync::OnceCell::new(),
            name,
            live: AtomicBool::new(true),
            limit: AtomicU64::new(NO_LIMIT),
            stated: AtomicU64::new(0),
            held: AtomicU64::new(0),
            items: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            request_bytes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How many bytes it may hold; `None`, the default, for as many as it likes. Of all clones and
    /// at once. What is held already stays, and a limit of 0 refuses everything.
    pub fn set_limit(&self, bytes: impl Into<Option<u64>>) {
        self.0.limit.store(bytes.into().unwrap_or(NO_LIMIT), Ordering::Relaxed);
    }

    /// How many bytes it may hold.
    pub fn limit(&self) -> Option<u64> {
        Some(self.0.limit.load(Ordering::Relaxed)).filter(|limit| *limit != NO_LIMIT)
    }

    /// States that it holds `bytes` more. Never refused: for memory that is taken already.
    #[inline]
    pub fn add(&self, bytes: u64) {
        self.0.state(&self.0.stated, bytes.min(MOST));
    }

    /// States that it holds `bytes` less. A sum below zero reads as zero, and is remembered: an
    /// addition that comes late makes it right.
    #[inline]
    pub fn sub(&self, bytes: u64) {
        self.0.state(&self.0.stated, bytes.min(MOST).wrapping_neg());
    }

    /// States how many bytes it holds, in place of all that was stated before. What guards hold
    /// comes on top.
    #[inline]
    pub fn set(&self, bytes: u64) {
        if self.0.is_live() {
            self.0.stated.store(bytes.min(MOST), Ordering::Relaxed);
        }
    }

    /// States that it holds `items` more: entries, sessions, jobs.
    #[inline]
    pub fn add_items(&self, items: u64) {
        self.0.state(&self.0.items, items.min(MOST));
    }

    /// States that it holds `items` less.
    #[inline]
    pub fn sub_items(&self, items: u64) {
        self.0.state(&self.0.items, items.min(MOST).wrapping_neg());
    }

    /// States how many items it holds.
    #[inline]
    pub fn set_items(&self, items: u64) {
        if self.0.is_live() {
            self.0.items.store(items.min(MOST), Ordering::Relaxed);
        }
    }

    /// A guard on `bytes` that are taken already: never refused, given back on drop.
    pub fn hold(&self, bytes: u64) -> Held {
        let mut held = Held::nothing(self);
        held.add(bytes);
        held
    }

    /// A guard on `bytes` that are about to be taken, if the limit has room for them.
    ///
    /// # Errors
    /// [`Exceeded`] where it has not: nothing was taken, and the refusal is counted.
    pub fn reserve(&self, bytes: u64) -> Result<Held, Exceeded> {
        let mut held = Held::nothing(self);
        held.reserve(bytes)?;
        Ok(held)
    }

    /// A guard on the state of one request in flight: counted, and its bytes as
    /// [`reserve`](Self::reserve)d. Bytes that show later come with [`Held::reserve`].
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); the request is not counted then.
    pub fn request(&self, bytes: u64) -> Result<Held, Exceeded> {
        let mut held = self.reserve(bytes)?;
        held.begin_request();
        Ok(held)
    }

    /// The bytes it holds: what was stated and what guards hold. (What an attributing allocator
    /// knows of it is in the series, not in here.)
    pub fn usage(&self) -> u64 {
        self.0.usage(self.0.held.load(Ordering::Relaxed))
    }

    /// The items it has stated.
    pub fn items(&self) -> u64 {
        sum(&self.0.items)
    }

    /// Its requests in flight.
    pub fn requests(&self) -> u64 {
        sum(&self.0.requests)
    }

    /// The bytes its requests in flight hold.
    pub fn request_memory(&self) -> u64 {
        sum(&self.0.request_bytes)
    }

    /// How often it refused since it exists.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// From now on it stands for what is allocated outside every scope.
    #[cfg(feature = "allocator")]
    pub(crate) fn own_what_nobody_does(&self) {
        let _ = self.0.owner.set(NOBODY);
    }

    /// Whose the blocks are that are allocated in its scopes.
    #[cfg(feature = "allocator")]
    #[inline]
    pub(super) fn owner(&self) -> Owner {
        if !self.0.is_live() {
            return NOBODY;
        }
        *self.0.owner.get_or_init(|| attribution::owner(&self.0.name))
    }

    /// What was allocated in its scopes.
    #[cfg(feature = "allocator")]
    pub(crate) fn heap(&self) -> Heap {
        self.0.owner.get().map_or(Heap::NONE, |owner| attribution::heap(*owner))
    }

    pub(crate) fn retire(&self) {
        self.0.live.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.name())
            .field("usage", &self.usage())
            .field("limit", &self.limit())
            .field("requests", &self.requests())
            .finish_non_exhaustive()
    }
}

/// What a sum reads as: never below zero.
fn sum(cell: &AtomicU64) -> u64 {
    positive(cell.load(Ordering::Relaxed))
}

fn positive(sum: u64) -> u64 {
    (sum as i64).max(0) as u64
}

impl Core {
    #[inline]
    fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    #[inline]
    fn state(&self, cell: &AtomicU64, by: u64) {
        if self.is_live() {
            cell.fetch_add(by, Ordering::Relaxed);
        }
    }

    fn usage(&self, held: u64) -> u64 {
        positive(self.stated.load(Ordering::Relaxed).wrapping_add(held))
    }

    /// Adds to what is held, if the limit allows.
    fn take(&self, bytes: u64) -> Result<(), Exceeded> {
        let mut held = self.held.load(Ordering::Relaxed);
        loop {
            let (usage, limit) = (self.usage(held), self.limit.load(Ordering::Relaxed));
            if limit != NO_LIMIT && usage.saturating_add(bytes) > limit {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Err(Exceeded { component: self.name.clone(), bytes, usage, limit });
            }
            // Relaxed: the sum orders nothing but itself.
            match self.held.compare_exchange_weak(
                held,
                held.wrapping_add(bytes),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => held = now,
            }
        }
    }
}

/// Memory of a [`Component`]'s, given back when this is dropped.
#[must_use = "it is given back when this is dropped"]
pub struct Held {
    component: Component,
    bytes: u64,
    is_request: bool,
    /// Whether the component was live when this began: who was not counted gives nothing back.
    is_counted: bool,
}

impl Held {
    fn nothing(component: &Component) -> Self {
        let is_counted = component.0.is_live();
        Self { component: component.clone(), bytes: 0, is_request: false, is_counted }
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whose they are.
    pub fn component(&self) -> &Component {
        &self.component
    }

    /// Holds `bytes` more, if the limit has room for them.
    ///
    /// # Errors
    /// [`Exceeded`] where it has not: it holds what it held.
    pub fn reserve(&mut self, bytes: u64) -> Result<(), Exceeded> {
        let core = &self.component.0;
        if !self.is_counted || !core.is_live() {
            self.add(bytes);
            return Ok(());
        }
        let bytes = self.at_most(bytes);
        core.take(bytes)?;
        self.grown(bytes);
        Ok(())
    }

    /// Holds `bytes` more that are taken already: never refused.
    pub fn add(&mut self, bytes: u64) {
        let bytes = self.at_most(bytes);
        if self.is_counted {
            self.component.0.held.fetch_add(bytes, Ordering::Relaxed);
        }
        self.grown(bytes);
    }

    /// Gives `bytes` back, or all it holds if that is less.
    pub fn sub(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        if self.is_counted {
            let core = &self.component.0;
            core.held.fetch_sub(bytes, Ordering::Relaxed);
            if self.is_request {
                core.request_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
    }

    /// From now on the state of a request.
    fn begin_request(&mut self) {
        self.is_request = true;
        if self.is_counted {
            let core = &self.component.0;
            core.requests.fetch_add(1, Ordering::Relaxed);
            core.request_bytes.fetch_add(self.bytes, Ordering::Relaxed);
        }
    }

    /// A guard never holds more than [`MOST`], in all its steps together.
    fn at_most(&self, bytes: u64) -> u64 {
        bytes.min(MOST - self.bytes)
    }

    fn grown(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.is_counted && self.is_request {
            self.component.0.request_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sub(self.bytes);
        if self.is_counted && self.is_request {
            self.component.0.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("component", &self.component.name())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// A [`Component`]'s limit has no room for what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "component {component:?} holds {usage} B of its limit of {limit} B: {bytes} B more are refused"
)]
pub struct Exceeded {
    component: Arc<str>,
    bytes: u64,
    usage: u64,
    limit: u64,
}

impl Exceeded {
    /// The component's name.
    pub fn component(&self) -> &str {
        &self.component
    }

    /// What was asked for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it held at that moment.
    pub fn usage(&self) -> u64 {
        self.usage
    }

    /// What it may hold.
    pub fn limit(&self) -> u64 {
        self.limit
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn store() -> Component {
        Component::new("store".into())
    }

    #[test]
    fn what_is_stated_and_what_is_held_add_up() {
        let store = store();
        store.add(100);
        let guard = store.hold(20);
        store.set(50);
        assert_eq!(store.usage(), 70);
        store.sub(10);
        drop(guard);
        assert_eq!(store.usage(), 40);
        store.add_items(3);
        store.sub_items(1);
        assert_eq!(store.items(), 2);
        store.set_items(9);
        assert_eq!(store.items(), 9);
    }

    #[test]
    fn a_subtraction_that_comes_early_is_made_good() {
        let store = store();
        store.sub(5);
        assert_eq!(store.usage(), 0);
        store.add(7);
        assert_eq!(store.usage(), 2);
    }

    #[test]
    fn a_budget_refuses_what_does_not_fit_and_says_the_figures() {
        let store = store();
        store.set_limit(100);
        store.add(10);
        let mut guard = store.reserve(80).unwrap();
        assert!(guard.reserve(10).is_ok());
        let refused = store.reserve(1).unwrap_err();
        assert_eq!((refused.bytes(), refused.usage(), refused.limit()), (1, 100, 100));
        assert_eq!(refused.component(), "store");
        assert_eq!(
            refused.to_string(),
            "component \"store\" holds 100 B of its limit of 100 B: 1 B more are refused"
        );
        assert!(guard.reserve(1).is_err() && guard.bytes() == 90);
        assert_eq!((store.usage(), store.refused()), (100, 2));
        // What is taken already is counted whatever the limit; a lowered limit takes nothing back.
        guard.add(5);
        store.set_limit(0);
        assert_eq!(store.usage(), 105);
        drop(guard);
        assert!(store.reserve(0).is_err(), "10 bytes are above a limit of 0");
        store.set_limit(None);
        assert!(store.reserve(u64::MAX).is_ok() && store.usage() == 10);
    }

    #[test]
    fn requests_are_counted_with_their_bytes() {
        let store = store();
        let mut first = store.request(10).unwrap();
        let second = store.request(30).unwrap();
        first.add(20);
        assert_eq!((store.requests(), store.request_memory(), store.usage()), (2, 60, 60));
        first.sub(25);
        assert_eq!((first.bytes(), store.request_memory()), (5, 35));
        first.sub(100);
        drop(first);
        drop(second);
        assert_eq!((store.requests(), store.request_memory(), store.usage()), (0, 0, 0));
        store.set_limit(1);
        assert!(store.request(2).is_err());
        assert_eq!(store.requests(), 0);
    }

    #[test]
    fn no_crowd_gets_past_the_limit() {
        let store = store();
        store.set_limit(1_000);
        let most = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let (store, most) = (&store, &most);
                scope.spawn(move || {
                    // Together they always want more than there is.
                    let mut mine = std::collections::VecDeque::new();
                    for at in 0..5_000u64 {
                        mine.extend(store.request(1 + (at * 7 + thread * 13) % 400));
                        most.fetch_max(store.usage(), Ordering::Relaxed);
                        if at % 3 == 0 {
                            mine.pop_front();
                        }
                    }
                });
            }
        });
        let most = most.into_inner();
        assert!((800..=1_000).contains(&most), "{most}");
        assert!(store.refused() > 1_000, "{}", store.refused());
        assert_eq!((store.usage(), store.requests(), store.request_memory()), (0, 0, 0));
    }

    #[test]
    fn absurd_figures_neither_panic_nor_stay() {
        let store = store();
        let mut guard = store.hold(u64::MAX);
        guard.add(u64::MAX);
        assert!(guard.reserve(u64::MAX).is_ok());
        assert_eq!(guard.bytes(), MOST);
        drop(guard);
        store.sub(u64::MAX);
        store.set(u64::MAX);
        assert_eq!(store.usage(), MOST);
        store.set_limit(MOST);
        assert!(store.reserve(u64::MAX).is_err());
    }

    #[test]
    fn a_retired_component_refuses_nothing_and_counts_nothing_but_ends() {
        let store = store();
        store.set_limit(10);
        let mut before = store.request(10).unwrap();
        store.retire();
        let mut after = store.request(100).unwrap();
        assert!(after.reserve(100).is_ok() && before.reserve(100).is_ok());
        store.add(1);
        store.set_items(1);
        assert_eq!((store.usage(), store.requests(), after.bytes()), (110, 1, 200));
        drop((before, after));
        assert_eq!((store.usage(), store.requests(), store.items()), (0, 0, 0));
    }
}
