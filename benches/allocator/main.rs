//! What attribution costs a block: highwater's allocator over the system's, jemalloc and mimalloc,
//! beside each of them plain, and beside `tracking-allocator`, in one interleaved run.
//!
//! ```sh
//! cargo bench -p highwater-bench --bench allocator            # about a minute
//! cargo bench -p highwater-bench --bench allocator -- --quick # a look
//! ```
//!
//! An operation is a pair: a block is allocated, and an older one freed. `pair`: the same small
//! block at once; `mixed`: 256 blocks of 16 to 1,024 bytes are kept. The allocators are called
//! directly, none of them is the process' own. Nanoseconds of the threads' processor time, the
//! median of all rounds. Writes `target/highwater/allocator.json` beside the workspace; exits 1 if
//! highwater adds more than 10 ns a pair to the system's allocator on one thread.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fmt::Write as _,
    hint::black_box,
    path::Path,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use highwater::{Allocator, Component, Highwater};
use mimalloc::MiMalloc;
use rustix::time::{ClockId, clock_gettime};
use tikv_jemallocator::Jemalloc;
use tracking_allocator::{
    AllocationGroupId, AllocationGroupToken, AllocationRegistry, AllocationTracker,
};

const THREADS: [usize; 3] = [1, 2, 8];
/// What the attribution may add to a pair, in nanoseconds.
const BUDGET: f64 = 10.0;

static OURS: Allocator<System> = Allocator::new(System);
static OURS_JEMALLOC: Allocator<Jemalloc> = Allocator::new(Jemalloc);
static OURS_MIMALLOC: Allocator<MiMalloc> = Allocator::new(MiMalloc);
static PEER: tracking_allocator::Allocator<System> =
    tracking_allocator::Allocator::from_allocator(System);

/// The least that gives live bytes by group and an allocation rate.
struct Tracker;

static LIVE: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
static ALLOCATIONS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

impl AllocationTracker for Tracker {
    fn allocated(&self, _: usize, bytes: usize, _: usize, group: AllocationGroupId) {
        let group = group.as_usize().get() % 4;
        LIVE[group].fetch_add(bytes as u64, Ordering::Relaxed);
        ALLOCATIONS[group].fetch_add(1, Ordering::Relaxed);
    }

    fn deallocated(
        &self,
        _: usize,
        bytes: usize,
        _: usize,
        group: AllocationGroupId,
        _: AllocationGroupId,
    ) {
        LIVE[group.as_usize().get() % 4].fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

/// Runs so many pairs.
type Work = fn(&Scopes, u64);

struct Case {
    load: &'static str,
    name: &'static str,
    work: Work,
}

/// What is entered before the work begins.
struct Scopes {
    component: Component,
}

fn pair<A: GlobalAlloc>(of: &A, pairs: u64) {
    let layout = Layout::new::<[u64; 8]>();
    for _ in 0..pairs {
        // SAFETY: the size is not zero, and the block is given back with the same layout.
        unsafe {
            let block = black_box(of.alloc(layout));
            black_box(of).dealloc(block, layout);
        }
    }
}

fn mixed<A: GlobalAlloc>(of: &A, pairs: u64) {
    const KEPT: usize = 256;
    let layout =
        |size: u16| Layout::from_size_align(usize::from(size), 8).unwrap_or(Layout::new::<u64>());
    let mut kept = [(std::ptr::null_mut::<u8>(), 0u16); KEPT];
    let mut state = 88_172_645_463_325_252u64;
    for at in 0..pairs as usize {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let size = 16 + (state >> 40) as u16 % 1_009;
        let slot = &mut kept[at % KEPT];
        // SAFETY: the size is not zero; what is in the slot is a block of that size, or null.
        unsafe {
            if !slot.0.is_null() {
                of.dealloc(slot.0, layout(slot.1));
            }
            *slot = (black_box(of.alloc(layout(size))), size);
        }
    }
    for (block, size) in kept {
        if !block.is_null() {
            // SAFETY: as above.
            unsafe { of.dealloc(block, layout(size)) };
        }
    }
}

fn peer(work: impl FnOnce()) {
    thread_local!(static GROUP: std::cell::RefCell<Option<AllocationGroupToken>> =
        std::cell::RefCell::new(AllocationGroupToken::register()));
    GROUP.with_borrow_mut(|group| {
        let _entered = group.as_mut().map(AllocationGroupToken::enter);
        work();
    });
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    macro_rules! both {
        ($name:literal, |$scopes:ident, $run:ident| $body:expr) => {
            cases.push(Case {
                load: "pair",
                name: $name,
                work: |$scopes, pairs| {
                    macro_rules! $run {
                        ($of:expr) => {
                            pair(&$of, pairs)
                        };
                    }
                    $body
                },
            });
            cases.push(Case {
                load: "mixed",
                name: $name,
                work: |$scopes, pairs| {
                    macro_rules! $run {
                        ($of:expr) => {
                            mixed(&$of, pairs)
                        };
                    }
                    $body
                },
            });
        };
    }
    both!("system", |_scopes, run| run!(System));
    both!("system, highwater", |scopes, run| {
        let _scope = scopes.component.enter();
        run!(OURS);
    });
    both!("system, tracking-allocator", |_scopes, run| peer(|| run!(PEER)));
    both!("jemalloc", |_scopes, run| run!(Jemalloc));
    both!("jemalloc, highwater", |scopes, run| {
        let _scope = scopes.component.enter();
        run!(OURS_JEMALLOC);
    });
    both!("mimalloc", |_scopes, run| run!(MiMalloc));
    both!("mimalloc, highwater", |scopes, run| {
        let _scope = scopes.component.enter();
        run!(OURS_MIMALLOC);
    });
    cases.sort_by_key(|case| case.load != "pair");
    cases
}

/// Whether a block is attributed at all.
fn counts(component: &Component) -> bool {
    let _scope = component.enter();
    let layout = Layout::new::<[u64; 8]>();
    // SAFETY: as in `pair`.
    unsafe {
        let block = OURS.alloc(layout);
        let held = component.heap_usage();
        OURS.dealloc(block, layout);
        held == 64 && component.heap_usage() == 0
    }
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Nanoseconds of processor time for each pair.
fn sample(case: &Case, component: &Component, threads: usize, pairs: u64) -> f64 {
    let barrier = Barrier::new(threads);
    let spent: Duration = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let scopes = Scopes { component: component.clone() };
                    (case.work)(&scopes, pairs / 4);
                    barrier.wait();
                    let before = thread_time();
                    (case.work)(&scopes, pairs);
                    thread_time() - before
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    spent.as_nanos() as f64 / (pairs * threads as u64) as f64
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn main() {
    let (rounds, pairs) =
        if std::env::args().any(|arg| arg == "--quick") { (5, 20_000) } else { (41, 100_000) };
    let hw = match Highwater::builder("bench").without_presets().start() {
        Ok(hw) => hw,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1)
        }
    };
    if AllocationRegistry::set_global_tracker(Tracker).is_ok() {
        AllocationRegistry::enable_tracking();
    }
    let component = hw.component("bench");
    if !counts(&component) {
        eprintln!("nothing was attributed: there is nothing to measure");
        std::process::exit(1);
    }
    let cases = cases();
    // samples[case][threads][round]
    let mut samples = vec![vec![Vec::with_capacity(rounds); THREADS.len()]; cases.len()];
    for round in 0..rounds {
        for at in 0..cases.len() {
            let at = (at + round * 5) % cases.len();
            for (column, threads) in THREADS.into_iter().enumerate() {
                samples[at][column].push(sample(&cases[at], &component, threads, pairs));
            }
        }
    }
    let nanos: Vec<Vec<f64>> = samples
        .iter_mut()
        .map(|columns| columns.iter_mut().map(|of| median(of)).collect())
        .collect();
    let mut json = format!("{{\n  \"rounds\": {rounds},\n  \"cases\": [\n");
    let mut added = f64::NAN;
    let mut plain = 0;
    for (at, (case, nanos_of)) in cases.iter().zip(&nanos).enumerate() {
        if at == 0 || cases[at - 1].load != case.load {
            println!("\n{:<36} {:>8} {:>8} {:>8}  ns a pair", case.load, "1 thread", "2", "8");
        }
        if !case.name.contains(',') {
            plain = at;
        }
        let over: Vec<_> =
            nanos_of.iter().zip(&nanos[plain]).map(|(of, plain)| of - plain).collect();
        print!("  {:<34}", case.name);
        nanos_of.iter().for_each(|nanos| print!(" {nanos:>8.1}"));
        if at != plain {
            print!("   added {:>6.1} {:>6.1} {:>6.1}", over[0], over[1], over[2]);
        }
        println!();
        if case.name == "system, highwater" {
            added = added.max(over[0]);
        }
        let comma = if at == 0 { "" } else { ",\n" };
        let _ = write!(
            json,
            "{comma}    {{\"load\": \"{}\", \"case\": \"{}\", \"ns\": {nanos_of:.2?}, \"added\": {over:.2?}}}",
            case.load, case.name
        );
    }
    json.push_str("\n  ]\n}\n");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/highwater");
    let written = std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(dir.join("allocator.json"), json));
    if let Err(error) = written {
        eprintln!("cannot write the results: {error}");
        std::process::exit(1);
    }
    println!("\nadded to the system's, at most: {added:.1} ns a pair (budget {BUDGET})");
    if added.is_nan() || added > BUDGET {
        std::process::exit(1);
    }
}
