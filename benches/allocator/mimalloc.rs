//! The attributing allocator over mimalloc, as a process' global one: live bytes by component are exact
//! after a million random operations on four threads, whoever frees.
#![allow(clippy::unwrap_used)]

use std::{sync::Mutex, thread};

use highwater::{Allocator, Component, Highwater};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Allocator<MiMalloc> = Allocator::new(MiMalloc);

const THREADS: u64 = 4;
const OPERATIONS: usize = 250_000;
const COMPONENTS: [&str; 3] = ["one", "two", "three"];

struct Block {
    bytes: Vec<u8>,
    owner: usize,
}

fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 33) as usize
}

/// From a byte to a megabyte, mostly small.
fn size(state: &mut u64) -> usize {
    let most = [64, 64, 1_024, 1_024, 32 << 10, 1 << 20][random(state) % 6];
    1 + random(state) % most
}

#[test]
fn attribution_over_mimalloc_is_exact() {
    let hw = Highwater::builder("mimalloc").without_presets().start().unwrap();
    let components = COMPONENTS.map(|name| hw.component(name));
    // Blocks lie here until any thread takes them. Allocated in nobody's scope.
    let slots: Vec<Mutex<Option<Block>>> = (0..512).map(|_| Mutex::new(None)).collect();
    let work = |seed: u64| {
        let mut state = 0x9e37_79b9_7f4a_7c15 ^ (seed + 1);
        for _ in 0..OPERATIONS {
            let slot = &slots[random(&mut state) % slots.len()];
            let owner = random(&mut state) % COMPONENTS.len();
            let size = size(&mut state);
            let taken = slot.lock().unwrap().take();
            let block = match (taken, size % 3) {
                // Freed by a thread, and in a scope, that may be another's.
                (Some(block), 0) => {
                    let _scope = components[owner].enter();
                    drop(block);
                    continue;
                }
                (Some(mut block), 1) => {
                    // Its owner's, or a block that moves would be whose scope it is.
                    let _scope = components[block.owner].enter();
                    block.bytes.reserve_exact(size);
                    block
                }
                // What was there is freed in nobody's scope.
                _ => {
                    let _scope = components[owner].enter();
                    let mut bytes = Vec::with_capacity(size);
                    bytes.push(7);
                    Block { bytes, owner }
                }
            };
            let before = slot.lock().unwrap().replace(block);
            drop(before);
        }
    };
    thread::scope(|scope| {
        for seed in 0..THREADS {
            scope.spawn(move || work(seed));
        }
    });
    let held = |at: usize| -> u64 {
        let blocks = slots.iter().map(|slot| {
            let slot = slot.lock().unwrap();
            let block = slot.as_ref().filter(|block| block.owner == at);
            block.map_or(0, |block| block.bytes.capacity() as u64)
        });
        blocks.sum()
    };
    for (at, component) in components.iter().enumerate() {
        assert!(held(at) > 0);
        assert_eq!(component.heap_usage(), held(at), "{}", COMPONENTS[at]);
    }
    drop(slots);
    assert!(components.iter().all(|component: &Component| component.heap_usage() == 0));
}
