//! A steady tick of all built-in samplers, and the glances between ticks, never call the
//! allocator.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use highwater::sample::{self, harness::Sampling};

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that is going away has no counter any more.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: hands every call on to the system's allocator unchanged; counting allocates nothing, as
// the thread-local is constant-initialised and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls(work: impl FnOnce()) -> u64 {
    let before = CALLS.with(Cell::get);
    work();
    CALLS.with(Cell::get) - before
}

#[test]
fn sampling_allocates_nothing() {
    assert!(calls(|| drop(std::hint::black_box(Box::new(1)))) > 0, "the count counts");
    let mut sampling = Sampling::new(vec![
        Box::new(sample::process()),
        Box::new(sample::system()),
        Box::new(sample::memory().budget(1 << 30)),
        Box::new(sample::pressure()),
        Box::new(sample::gauge("queue.depth", || 3.0)),
    ]);
    // Handles and buffers come with the first calls.
    for _ in 0..3 {
        sampling.tick();
        sampling.glance();
    }
    assert!(sampling.all_active(), "{sampling:?}");
    let allocated = calls(|| {
        for _ in 0..20 {
            // Past the time for which a reading is handed out again.
            std::thread::sleep(Duration::from_millis(51));
            sampling.tick();
            sampling.glance();
        }
    });
    assert_eq!(allocated, 0);
}

/// What is handed out again for five seconds, and where the groups are, which is asked once a
/// minute: here it is too old at every tick.
#[test]
fn nor_does_what_is_read_rarely() {
    let mut sampling = Sampling::new(sample::harness::samplers(Duration::ZERO));
    for _ in 0..3 {
        sampling.tick();
        sampling.glance();
    }
    assert!(sampling.all_active(), "{sampling:?}");
    let allocated = calls(|| {
        for _ in 0..20 {
            sampling.tick();
            sampling.glance();
        }
    });
    assert_eq!(allocated, 0);
}
