//! A steady tick of rules over plain numbers never calls the allocator: windows, evaluation,
//! lifecycle.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use highwater::rule::{self, all, any, harness::Ruling};

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
fn a_steady_tick_allocates_nothing() {
    assert!(calls(|| drop(std::hint::black_box(Box::new(1)))) > 0, "the count counts");
    let minute = Duration::from_secs(60);
    let mut rules: Vec<_> = (0..200)
        .map(|at| {
            let value = rule::gauge(&format!("depth_{at}")).above(90.0).clear_below(50.0);
            rule::alert(&format!("Deep{at}")).when(value).hold_for(minute)
        })
        .collect();
    let ratio = || rule::gauge("used") / rule::gauge("max");
    rules.extend([
        rule::alert("Full").when(ratio().above(0.9)).keep_firing_for(minute),
        rule::alert("Busy").when(rule::counter("orders").rate(minute).above(1e9)),
        rule::alert("Both").when(all([ratio().above(0.5), rule::gauge("max").above(2.0)])),
        rule::alert("Either").when(any([ratio().above(0.95), rule::gauge("max").below(2.0)])),
        rule::alert("Sum").when(rule::gauge("used").sum_by([]).above(1e9)).times(3, 5),
    ]);
    let mut rules = Ruling::new(rules, Duration::from_secs(1)).unwrap();
    let gauges: Vec<_> =
        (0..200).map(|at| rules.gauge(&format!("depth_{at}"), ("a", "b"))).collect();
    let (used, max) = (rules.gauge("used", ("a", "b")), rules.gauge("max", ("a", "b")));
    let orders = rules.counter("orders", ("a", "b"));
    let tick = |rules: &mut Ruling, at: u32| {
        for gauge in &gauges {
            // Below the threshold: a transition has a text, which is allocated.
            gauge.set(f64::from(at * 7 % 50));
        }
        used.set(f64::from(at % 40));
        max.set(100.0);
        orders.increment(u64::from(at));
        rules.collect();
        calls(|| rules.evaluate())
    };
    let mut at = 0;
    // Until the windows are full and every buffer has its size.
    for _ in 0..100 {
        tick(&mut rules, at);
        at += 1;
    }
    assert_eq!(rules.values().iter().flatten().count(), 205, "every rule judges something");
    let allocated: u64 = (0..300).map(|more| tick(&mut rules, at + more)).sum();
    assert_eq!(allocated, 0);
}
