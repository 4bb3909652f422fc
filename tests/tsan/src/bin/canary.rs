//! Two data races that ThreadSanitizer must report, under the same suppressions as everything else:
//! if it does not, its silence about the crate means nothing. The second is of a destructor that the
//! last `Arc` runs, where suppressions are most tempting.
use std::{cell::UnsafeCell, sync::Arc, thread};

struct Shared(UnsafeCell<u64>);
unsafe impl Sync for Shared {}
static SHARED: Shared = Shared(UnsafeCell::new(0));

static DROPPED: Shared = Shared(UnsafeCell::new(0));

#[inline(never)]
fn race_in_a_destructor() {
    unsafe { *DROPPED.0.get() += 1 };
}

struct Last;
impl Drop for Last {
    fn drop(&mut self) {
        race_in_a_destructor();
    }
}

fn main() {
    let threads: Vec<_> = (0..2)
        .map(|_| {
            thread::spawn(|| {
                for _ in 0..10_000 {
                    unsafe { *SHARED.0.get() += 1 };
                }
                drop(Arc::new(Last));
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    println!("{}", unsafe { *SHARED.0.get() });
}
