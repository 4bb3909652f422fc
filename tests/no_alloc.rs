//! What a request handler does never calls the allocator.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use highwater::Highwater;

/// Counts the calls of each thread.
struct Counting;

thread_local!(static CALLS: Cell<u64> = const { Cell::new(0) });

fn called() {
    // A thread-local without a destructor can be reached as long as the thread runs.
    CALLS.set(CALLS.get() + 1);
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        called();
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        called();
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        called();
        unsafe { System.realloc(at, layout, size) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        called();
        unsafe { System.alloc_zeroed(layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` calls the allocator, on this thread.
fn calls(work: impl FnOnce()) -> u64 {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(calls(|| drop(black_box(Box::new(1)))), 2);
}

#[test]
fn recording_timing_and_watching_never_allocate() {
    let hw = Highwater::builder("no_alloc").start().unwrap();
    let query = hw.query("orders").system("sqlite").build();
    let classified = query.classify(|error: &u8| (*error > 1).then_some("bad"));
    let counter = hw.counter("orders").build();
    let level = hw.up_down_counter("level").build();
    let gauge = hw.gauge("gauge").build();
    let histogram = hw.histogram("bytes").build();
    let watch = hw.alert("MemoryNearLimit").unwrap();
    let component = hw.component("store");
    component.set_limit(1_000);
    let mut cx = Context::from_waker(Waker::noop());

    let mut once = |value: f64| {
        query.time(|| black_box(()));
        query.try_time(|| black_box(Err::<(), u8>(1))).unwrap_err();
        classified.try_time(|| black_box(Err::<(), u8>(2))).unwrap_err();
        drop(query.start());
        let future = pin!(query.try_timed(std::future::ready(Ok::<_, u8>(1))));
        assert_eq!(future.poll(&mut cx), Poll::Ready(Ok(1)));
        query.record(Duration::from_secs_f64(value.abs().min(1e6)));
        counter.increment(1);
        level.add(-1);
        gauge.set(value);
        gauge.add(0.5);
        histogram.record(value);
        histogram.record(f64::NAN);
        component.add(1);
        component.sub(1);
        let mut held = component.request(500).unwrap();
        held.reserve(500).unwrap();
        drop(black_box(component.reserve(1)).unwrap_err());
        drop(black_box(held));
        black_box(watch.is_firing());
        black_box(watch.level());
    };
    // The first failure of each type resolves its series, and a thread's first record its lease.
    once(1.0);
    let allocated = calls(|| {
        // Octaves nobody has seen, so that chunks are taken from the pool; and back.
        for octave in (-60..60).chain(-60..60) {
            once(f64::from(octave).exp2());
            once(-f64::from(octave).exp2());
        }
    });
    assert_eq!(allocated, 0);
}

/// A thread's first record takes its lease, which registers a destructor with the thread.
#[test]
fn nor_does_a_thread_s_first_record() {
    let hw = Highwater::builder("no_alloc").start().unwrap();
    let query = hw.query("orders").system("sqlite").build();
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                assert_eq!(calls(|| query.time(|| black_box(()))), 0);
            })
            .join()
            .unwrap();
    });
}

#[test]
fn a_stopped_handle_does_not_either() {
    let hw = Highwater::builder("no_alloc").start().unwrap();
    let query = hw.query("orders").build();
    hw.shutdown(Duration::from_secs(5)).unwrap();
    assert_eq!(calls(|| query.time(|| black_box(()))), 0);
}
