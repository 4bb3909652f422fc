//! The attributing allocator as a process' global one: whose a block is, to the byte, whatever
//! happens to it and on whatever thread.
#![cfg(feature = "allocator")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    alloc::{GlobalAlloc, Layout, System, alloc, alloc_zeroed, dealloc, realloc},
    cell::Cell,
    future::Future,
    hint::black_box,
    pin::{Pin, pin},
    sync::Mutex,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use highwater::{Allocator, Component, Highwater, rule};

/// The system's, counting the calls of each thread.
struct Counting;

thread_local!(static CALLS: Cell<u64> = const { Cell::new(0) });

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        CALLS.set(CALLS.get() + 1);
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Allocator<Counting> = Allocator::new(Counting);

fn start() -> Highwater {
    // Nothing is sampled: what reads the process does not run under valgrind.
    let builder = ["process", "system", "memory"].into_iter().fold(
        Highwater::builder("allocator").tick(Duration::from_millis(100)),
        highwater::Builder::without,
    );
    builder.start().unwrap()
}

/// A block with something in its first and last byte.
struct Block {
    at: *mut u8,
    layout: Layout,
    owner: usize,
    mark: u8,
}

// SAFETY: a block belongs to whoever has it.
unsafe impl Send for Block {}

impl Block {
    fn new(component: &Component, owner: usize, layout: Layout, zeroed: bool, mark: u8) -> Self {
        let scope = component.enter();
        // SAFETY: the size is not zero.
        let at = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
        drop(scope);
        assert!(!at.is_null() && at.addr() % layout.align() == 0, "{layout:?}");
        let block = Self { at, layout, owner, mark };
        if zeroed {
            // SAFETY: within the block.
            let bytes = unsafe { std::slice::from_raw_parts(at, layout.size()) };
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
        block.write();
        block
    }

    fn write(&self) {
        // SAFETY: both within the block.
        unsafe {
            self.at.write(self.mark);
            self.at.add(self.layout.size() - 1).write(self.mark);
        }
    }

    fn resize(&mut self, size: usize) {
        // SAFETY: a block of ours with this layout, and a size above zero.
        let moved = unsafe { realloc(self.at, self.layout, size) };
        assert!(!moved.is_null() && moved.addr() % self.layout.align() == 0);
        // SAFETY: within the block.
        assert_eq!(unsafe { moved.read() }, self.mark);
        if size >= self.layout.size() {
            // SAFETY: what was the last byte is still in it.
            assert_eq!(unsafe { moved.add(self.layout.size() - 1).read() }, self.mark);
        }
        self.at = moved;
        self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
        self.write();
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: within the block, which is given back once.
        unsafe {
            assert_eq!(self.at.read(), self.mark);
            assert_eq!(self.at.add(self.layout.size() - 1).read(), self.mark);
            dealloc(self.at, self.layout);
        }
    }
}

fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

fn random_layout(seed: &mut u64) -> Layout {
    // Sizes from 1 byte to 128 KiB, small ones more often; alignments up to 8 KiB.
    let size = 1 + random(seed) % (1 << (random(seed) % 18));
    Layout::from_size_align(size, 1 << (random(seed) % 14)).unwrap()
}

#[test]
fn a_million_random_operations_leave_every_byte_with_its_owner() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 10;
    let operations = if cfg!(debug_assertions) { 1_000_000 } else { 4_000_000 };
    let hw = start();
    let names = ["random-a", "random-b", "random-c", "random-d"];
    let components = names.map(|name| hw.component(name));
    // Blocks that are freed, or grown, by another thread than their first.
    let passed_on = Mutex::new(Vec::<Block>::new());
    for round in 0..ROUNDS {
        let kept: Vec<Vec<Block>> = thread::scope(|scope| {
            let work = (0..THREADS).map(|thread| {
                let (components, passed_on) = (&components, &passed_on);
                scope.spawn(move || {
                    let mut seed = 0x9e37_79b9 + (round * THREADS + thread) as u64;
                    let mut mine = Vec::<Block>::new();
                    for _ in 0..operations / ROUNDS / THREADS {
                        let pick = random(&mut seed);
                        match pick % 8 {
                            0..=2 => {
                                let owner = random(&mut seed) % components.len();
                                let layout = random_layout(&mut seed);
                                let zeroed = pick & 64 != 0;
                                let component = &components[owner];
                                mine.push(Block::new(component, owner, layout, zeroed, pick as u8));
                            }
                            3 if !mine.is_empty() => {
                                let at = pick % mine.len();
                                // In somebody else's scope: the owner stays.
                                let _scope = components[pick % components.len()].enter();
                                mine[at].resize(random_layout(&mut seed).size());
                            }
                            4 if !mine.is_empty() => {
                                let block = mine.swap_remove(pick % mine.len());
                                passed_on.lock().unwrap().push(block);
                            }
                            5 => mine.extend(passed_on.lock().unwrap().pop()),
                            6 | 7 if !mine.is_empty() => {
                                drop(mine.swap_remove(pick % mine.len()));
                            }
                            _ => {}
                        }
                    }
                    mine
                })
            });
            let work: Vec<_> = work.collect();
            work.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut expected = [0u64; 4];
        let alive = passed_on.lock().unwrap();
        for block in kept.iter().flatten().chain(alive.iter()) {
            expected[block.owner] += block.layout.size() as u64;
        }
        assert!(expected.iter().all(|bytes| *bytes > 0), "{expected:?}");
        assert_eq!(components.each_ref().map(Component::heap_usage), expected, "round {round}");
        drop(alive);
        drop(kept);
    }
    drop(passed_on);
    assert_eq!(components.each_ref().map(Component::heap_usage), [0; 4]);
}

#[test]
fn what_cannot_be_allocated_is_not_counted() {
    let hw = start();
    let component = hw.component("too-much");
    let scope = component.enter();
    let most = Layout::from_size_align(isize::MAX as usize, 1).unwrap();
    let large = Layout::from_size_align(1 << 46, 16).unwrap();
    let small = Layout::from_size_align(10, 1).unwrap();
    // SAFETY: no size is zero; what is null is not used.
    unsafe {
        // Black boxes, or the compiler takes it that an unused block exists.
        assert!(black_box(alloc(black_box(most))).is_null());
        assert!(black_box(alloc_zeroed(black_box(large))).is_null());
        let block = alloc(small);
        block.write(7);
        assert!(black_box(realloc(block, small, black_box(most.size()))).is_null());
        assert!(black_box(realloc(block, small, black_box(large.size()))).is_null());
        assert_eq!((component.heap_usage(), block.read()), (10, 7));
        dealloc(block, small);
    }
    drop(scope);
    assert_eq!(component.heap_usage(), 0);
}

/// Ready the second time.
struct Once(bool);

impl Future for Once {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

async fn take(first: usize, second: usize) -> (Vec<u8>, Vec<u8>) {
    let first = black_box(vec![1; first]);
    Once(false).await;
    (first, black_box(vec![1; second]))
}

#[test]
fn futures_that_take_turns_on_several_threads_keep_their_scopes() {
    let hw = start();
    let (one, two) = (hw.component("future-one"), hw.component("future-two"));
    let mut first = Box::pin(one.scoped(take(100, 1_000)));
    let mut second = Box::pin(two.scoped(take(20, 200)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    let outside = black_box(vec![1u8; 5_000]);
    assert_eq!((one.heap_usage(), two.heap_usage()), (100, 20));
    let held = thread::spawn(move || {
        let mut cx = Context::from_waker(Waker::noop());
        let (Poll::Ready(second), Poll::Ready(first)) =
            (second.as_mut().poll(&mut cx), first.as_mut().poll(&mut cx))
        else {
            panic!("they end with the second poll")
        };
        (first, second)
    });
    let (first, second) = held.join().unwrap();
    assert_eq!((one.heap_usage(), two.heap_usage()), (1_100, 220));
    drop((first, second, outside));
    assert_eq!((one.heap_usage(), two.heap_usage()), (0, 0));
    // A scope within a scope, and a future dropped half-way.
    let mut cx = Context::from_waker(Waker::noop());
    {
        let _outer = one.enter();
        let mut half = pin!(two.scoped(take(30, 1)));
        assert!(half.as_mut().poll(&mut cx).is_pending());
        assert_eq!((one.heap_usage(), two.heap_usage()), (0, 30));
    }
    assert_eq!((one.heap_usage(), two.heap_usage()), (0, 0));
}

#[test]
fn counting_never_calls_the_allocator_itself() {
    let hw = start();
    let component = hw.component("calls");
    drop(component.enter());
    // A fresh thread each: the first block takes the thread's lease.
    for _ in 0..3 {
        let component = component.clone();
        let calls = thread::spawn(move || {
            let scope = component.enter();
            let before = CALLS.get();
            let mut block = black_box(Vec::<u8>::with_capacity(10));
            block.reserve_exact(100);
            drop(black_box(block));
            drop(scope);
            CALLS.get() - before
        });
        assert_eq!(calls.join().unwrap(), 3);
    }
}

/// Allocates and frees while its thread ends.
struct Late(Component, Vec<u8>);

impl Drop for Late {
    fn drop(&mut self) {
        let _scope = self.0.enter();
        drop(black_box(vec![1u8; 100]));
        std::mem::forget(black_box(vec![1u8; 10]));
        self.1 = Vec::new();
    }
}

thread_local!(static LATE: Cell<Option<Late>> = const { Cell::new(None) });

#[test]
fn threads_come_and_go_and_nothing_stays_of_them() {
    let hw = start();
    let component = hw.component("threads");
    for generation in 1..=500u64 {
        let threads: Vec<_> = (0..4)
            .map(|at| {
                let component = component.clone();
                thread::spawn(move || {
                    let scope = component.enter();
                    let block = black_box(vec![1u8; 1_000]);
                    drop(scope);
                    // Destroyed before or after the thread's lease is returned.
                    if at % 2 == 0 {
                        drop(black_box(Box::new(1)));
                    }
                    LATE.set(Some(Late(component, block)));
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(component.heap_usage(), generation * 4 * 10);
    }
}

#[test]
fn a_rule_can_be_about_what_a_component_allocated() {
    let name = ("highwater.component.name", "rule-heap");
    let above = |series: &str, most: f64| rule::gauge(series).label(name.0, name.1).above(most);
    let hw = Highwater::builder("allocator")
        .tick(Duration::from_millis(100))
        .without_presets()
        .rule(rule::alert("Heap").when(above("highwater.component.heap.usage", 1e6)))
        .rule(rule::alert("Usage").when(above("highwater.component.memory.usage", 1e6)))
        .rule(rule::alert("Rest").when(
            rule::gauge("highwater.component.heap.usage").label(name.0, "unattributed").above(1e3),
        ))
        .rule(
            rule::alert("Rate").when(
                rule::counter("highwater.component.heap.allocated")
                    .label(name.0, name.1)
                    .increase(Duration::from_secs(1))
                    .above(1e6),
            ),
        )
        .start()
        .unwrap();
    let component = hw.component(name.1);
    let end = Instant::now() + Duration::from_secs(20);
    let mut held = Vec::new();
    for alert in ["Heap", "Usage", "Rest", "Rate"] {
        let watch = hw.alert(alert).unwrap();
        while !watch.is_firing() {
            assert!(Instant::now() < end, "{alert} does not fire");
            let scope = component.enter();
            held.push(black_box(vec![1u8; 1_000_000]));
            drop(scope);
            thread::sleep(Duration::from_millis(100));
        }
    }
}
