//! A data race that ThreadSanitizer must report, under the same suppressions as everything else:
//! if it does not, its silence about the crate means nothing.
use std::{cell::UnsafeCell, thread};

struct Shared(UnsafeCell<u64>);
unsafe impl Sync for Shared {}
static SHARED: Shared = Shared(UnsafeCell::new(0));

fn main() {
    let threads: Vec<_> = (0..2)
        .map(|_| {
            thread::spawn(|| {
                for _ in 0..10_000 {
                    unsafe { *SHARED.0.get() += 1 };
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    println!("{}", unsafe { *SHARED.0.get() });
}
