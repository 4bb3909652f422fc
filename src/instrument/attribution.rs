//! Which component allocated what: the scope a thread is in, and sums by component.
//!
//! Called by [`Allocator`](super::Allocator) for every block, so nothing here allocates, locks or
//! panics on that path. A thread writes to the shard it has leased, with plain loads and stores; one
//! without a lease (before an instance exists, in late destructors) adds atomically to shard 0.
//!
//! Invariant: a block's bytes are added to `allocated` and to `freed` of one and the same owner, so
//! the difference of the sums over all shards is what the owner's live blocks hold.

use std::{
    cell::Cell,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::{
    component::Component,
    lease::{self, Slot},
};
use crate::sync::{
    Arc, Mutex,
    fixed::{AtomicU64, Ordering},
};

/// What allocated a block: an index into the sums.
pub(super) type Owner = u8;

/// No component's scope was entered.
pub(super) const NOBODY: Owner = 0;

const OWNERS: usize = 1 << Owner::BITS;

/// A power of two not below [`Leases::shards`](lease::Leases::shards), which is 40 at most.
const SHARDS: usize = 64;

#[repr(align(32))]
struct Cells {
    allocated: AtomicU64,
    allocations: AtomicU64,
    freed: AtomicU64,
}

/// Aligned to two lines, as processors fetch them in pairs.
#[repr(align(128))]
struct Shard([Cells; OWNERS]);

/// Half a megabyte of zeros, of which only the pages of threads and owners that exist are resident.
static SUMS: [Shard; SHARDS] = [const {
    Shard(
        [const {
            Cells {
                allocated: AtomicU64::new(0),
                allocations: AtomicU64::new(0),
                freed: AtomicU64::new(0),
            }
        }; OWNERS],
    )
}; SHARDS];

/// The components that ever entered a scope in this process, from owner 1 on.
static NAMES: Mutex<Names> = Mutex::new(Names(Vec::new()));

thread_local! {
    // Without a destructor: it can be read as long as the thread runs any code at all.
    static CURRENT: Cell<Owner> = const { Cell::new(NOBODY) };
}

/// The owner of what this thread allocates now.
#[inline]
pub(super) fn current() -> Owner {
    CURRENT.get()
}

#[inline]
fn cells(owner: Owner, slot: Slot) -> &'static Cells {
    &SUMS[slot.shard() % SHARDS].0[usize::from(owner)]
}

#[inline]
fn add(cell: &AtomicU64, slot: Slot, by: usize) {
    if slot.is_shared() {
        cell.fetch_add(by as u64, Ordering::Relaxed);
    } else {
        // The only writer: a load and a store.
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(by as u64), Ordering::Relaxed);
    }
}

#[inline]
pub(super) fn count_allocation(owner: Owner, bytes: usize) {
    let slot = lease::while_allocating();
    let cells = cells(owner, slot);
    add(&cells.allocated, slot, bytes);
    add(&cells.allocations, slot, 1);
}

#[inline]
pub(super) fn count_free(owner: Owner, bytes: usize) {
    let slot = lease::while_allocating();
    add(&cells(owner, slot).freed, slot, bytes);
}

/// What an owner has allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heap {
    /// Bytes of blocks that live.
    pub(crate) usage: u64,
    /// Bytes of all blocks there ever were.
    pub(crate) allocated: u64,
    /// Their number.
    pub(crate) allocations: u64,
}

impl Heap {
    pub(crate) const NONE: Self = Self { usage: 0, allocated: 0, allocations: 0 };
}

pub(super) fn heap(owner: Owner) -> Heap {
    let shards = &SUMS[..lease::leases().shards().min(SHARDS)];
    let total = |of: fn(&Cells) -> &AtomicU64| {
        shards.iter().fold(0u64, |sum, shard| {
            sum.wrapping_add(of(&shard.0[usize::from(owner)]).load(Ordering::Relaxed))
        })
    };
    // What is freed first, so that what happens meanwhile makes it too much rather than negative.
    let freed = total(|cells| &cells.freed);
    let allocated = total(|cells| &cells.allocated);
    Heap {
        usage: allocated.saturating_sub(freed),
        allocated,
        allocations: total(|cells| &cells.allocations),
    }
}

/// Owners by name.
struct Names(Vec<Arc<str>>);

impl Names {
    /// Nobody once there are too many; and whether this is the first too many. That name is kept, as
    /// a sign that it was told.
    fn owner(&mut self, name: &Arc<str>) -> (Owner, bool) {
        let known = self.0.iter().position(|known| known == name);
        let owner = Owner::try_from(known.unwrap_or(self.0.len()) + 1);
        let is_new = known.is_none() && self.0.len() < OWNERS;
        if is_new {
            self.0.push(name.clone());
        }
        (owner.unwrap_or(NOBODY), is_new && owner.is_err())
    }
}

/// The owner of this name in this process.
pub(super) fn owner(name: &Arc<str>) -> Owner {
    let (owner, is_first_too_many) = NAMES.lock().owner(name);
    // Not while the names are locked: a logger may have a component of its own.
    if is_first_too_many {
        log::warn!(
            "highwater: {} components have scopes, the limit: what {name:?} and further ones allocate is not attributed",
            OWNERS - 1
        );
    }
    owner
}

/// While it lives, what this thread allocates is the component's; from [`Component::enter`].
///
/// Scopes nest; drop them in the reverse order. It stays on its thread, so it cannot be held across
/// an `.await` of a task that moves: [`Component::scoped`] is for those.
#[derive(Debug)]
#[must_use = "the scope ends when this is dropped"]
pub struct Scope {
    before: Owner,
    here: PhantomData<*const ()>,
}

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

impl Component {
    /// Attributes to this component what this thread allocates until the scope is dropped, where
    /// [`Allocator`](crate::Allocator) is the process' global allocator. A block is the component's
    /// until it is freed, whoever frees it.
    ///
    /// At most 255 components of a process can have scopes; what more allocate is not attributed.
    /// Costs a load and a store. Threads and tasks started within are not in the scope.
    ///
    /// ```
    /// #[global_allocator]
    /// static ALLOCATOR: highwater::Allocator = highwater::Allocator::new(std::alloc::System);
    ///
    /// # fn main() -> Result<(), highwater::Error> {
    /// let hw = highwater::Highwater::builder("doc").start()?;
    /// let parser = hw.component("parser");
    /// let scope = parser.enter();
    /// let text = vec![0u8; 1_000];
    /// drop(scope);
    /// assert_eq!(parser.heap_usage(), 1_000);
    /// drop(text);
    /// assert_eq!(parser.heap_usage(), 0);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn enter(&self) -> Scope {
        Scope { before: CURRENT.replace(self.owner()), here: PhantomData }
    }

    /// A future in whose polls the scope is [entered](Self::enter), on whatever thread they are.
    ///
    /// ```
    /// # async fn parse() {}
    /// # async fn f(parser: highwater::Component) {
    /// parser.scoped(parse()).await;
    /// # }
    /// ```
    pub fn scoped<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped { future, component: self.clone() }
    }

    /// The bytes of all blocks that were allocated in its scopes and not yet freed; 0 unless
    /// [`Allocator`](crate::Allocator) is the process' global allocator. Of the name, in all
    /// instances of the process.
    pub fn heap_usage(&self) -> u64 {
        self.heap().usage
    }
}

pin_project! {
    /// A future whose allocations are a component's; from [`Component::scoped`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        #[pin]
        future: F,
        component: Component,
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _scope = this.component.enter();
        this.future.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_nest_and_end_in_a_panic_too() {
        let (outer, inner) = (Component::new("outer".into()), Component::new("inner".into()));
        let first = outer.enter();
        let owner = current();
        assert_ne!(owner, NOBODY);
        let _ = std::panic::catch_unwind(|| {
            let _second = inner.enter();
            assert_ne!(current(), owner);
            panic!("within");
        });
        assert_eq!(current(), owner);
        drop(first);
        assert_eq!(current(), NOBODY);
    }

    #[test]
    fn a_retired_component_owns_nothing() {
        let component = Component::new("gone".into());
        component.retire();
        let _scope = component.enter();
        assert_eq!(current(), NOBODY);
    }

    #[test]
    fn what_is_too_many_is_nobody_s_and_known_names_stay() {
        let mut names = Names(Vec::new());
        let mut owner = |name: String| names.owner(&Arc::from(name));
        assert_eq!(owner("first".to_owned()), (1, false));
        let told: usize = (0..600).map(|at| usize::from(owner(format!("owner{at}")).1)).sum();
        assert_eq!(told, 1);
        assert_eq!(owner("owner253".to_owned()), (255, false));
        assert_eq!(owner("owner254".to_owned()), (NOBODY, false));
        assert_eq!(owner("owner599".to_owned()), (NOBODY, false));
        assert_eq!(owner("first".to_owned()), (1, false));
        assert_eq!(names.0.len(), OWNERS);
    }

    #[test]
    fn leases_fit_the_shards() {
        assert!(lease::leases().shards() <= SHARDS);
    }
}
