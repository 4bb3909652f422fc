//! The global allocator that knows whose a block is.
//!
//! Each block is asked for with one byte more than its user wants, and that last byte says who
//! allocated it. At the end, not in front: a block's address and alignment stay those of the inner
//! allocator, which need not even notice (C code may free it where the inner one is `System`).
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

use super::attribution::{self, Owner};

/// The byte behind each block.
const TAG: usize = size_of::<Owner>();

/// Attributes what is allocated to the [component](crate::Component) whose scope is entered, over
/// the system's allocator or any other.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: highwater::Allocator = highwater::Allocator::new(std::alloc::System);
/// # fn main() {}
/// ```
///
/// What each component's live blocks hold is `highwater.component.heap.usage`, and what it allocates
/// `highwater.component.heap.allocated` and `.allocations`; what is allocated outside every scope is
/// the component `unattributed`. Sizes are those asked for; what the inner allocator adds is not in
/// them.
///
/// Cost: a few nanoseconds a block (`cargo bench -p highwater-bench --bench allocator`), and one byte
/// of memory, which can move a block that filled its size class to the next. Nothing locks, nothing
/// allocates, and nothing is kept for each thread. (Threads beyond twice the number of cores, but 16
/// at least, share their sums and add atomically, which costs more.)
#[derive(Debug, Default)]
pub struct Allocator<A = System>(A);

impl<A> Allocator<A> {
    /// Over `inner`: `System`, `tikv_jemallocator::Jemalloc`, `mimalloc::MiMalloc`…
    pub const fn new(inner: A) -> Self {
        Self(inner)
    }
}

/// With room for the tag; nothing if there are no blocks that large.
#[inline]
fn tagged(size: usize, align: usize) -> Option<Layout> {
    // A size is `isize::MAX` at most, so the sum does not overflow.
    Layout::from_size_align(size + TAG, align).ok()
}

/// The layout a live block was allocated with.
///
/// # Safety
/// `layout` is that of a block which [`tagged`] had a layout for.
#[inline]
unsafe fn tagged_block(layout: Layout) -> Layout {
    // SAFETY: the caller's block exists, so `tagged` found its layout valid.
    unsafe { Layout::from_size_align_unchecked(layout.size() + TAG, layout.align()) }
}

/// Says whose the block is, and counts it.
///
/// # Safety
/// `at` is null or a block of `size + TAG` bytes that nobody else uses yet.
#[inline]
unsafe fn hand_out(at: *mut u8, size: usize, owner: Owner) -> *mut u8 {
    if !at.is_null() {
        // SAFETY: the tag is the last byte of the caller's block; a byte has no alignment.
        unsafe { at.add(size).write(owner) };
        attribution::count_allocation(owner, size);
    }
    at
}

/// Whose the block is.
///
/// # Safety
/// `at` is a live block of `size + TAG` bytes from [`hand_out`].
#[inline]
unsafe fn owner_of(at: *mut u8, size: usize) -> Owner {
    // SAFETY: `hand_out` wrote that byte, and the user's bytes end before it. Who frees a block got
    // it from the allocating thread by means that order the two.
    unsafe { at.add(size).read() }
}

// SAFETY: every block is the inner allocator's own, with its address and alignment, and at least the
// bytes asked for; what comes back goes to the inner allocator with the layout it was asked for
// with, one byte more. Counting neither panics nor allocates.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Allocator<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(outer) = tagged(layout.size(), layout.align()) else {
            return std::ptr::null_mut();
        };
        // SAFETY: `outer` is not of size zero; the block is new and of that size.
        unsafe { hand_out(self.0.alloc(outer), layout.size(), attribution::current()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(outer) = tagged(layout.size(), layout.align()) else {
            return std::ptr::null_mut();
        };
        // SAFETY: as in `alloc`.
        unsafe { hand_out(self.0.alloc_zeroed(outer), layout.size(), attribution::current()) }
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` is a block of ours with this layout; it is not read after it was freed.
        unsafe {
            attribution::count_free(owner_of(at, layout.size()), layout.size());
            self.0.dealloc(at, tagged_block(layout));
        }
    }

    /// The block stays with its owner, whoever makes it grow.
    #[inline]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if tagged(size, layout.align()).is_none() {
            return std::ptr::null_mut();
        }
        // SAFETY: `at` is a block of ours with this layout, and the new one is valid. The tag is
        // read before the inner allocator may move or cut the block; if it does neither, returning
        // null, the block and its tag are as they were.
        unsafe {
            let owner = owner_of(at, layout.size());
            let moved = self.0.realloc(at, tagged_block(layout), size + TAG);
            if !moved.is_null() {
                attribution::count_free(owner, layout.size());
            }
            hand_out(moved, size, owner)
        }
    }
}
