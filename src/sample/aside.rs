//! Work that may wait for a disk, which a tick must not: on a thread that lives as long as it does.

use std::thread;

use crate::sync::{Arc, AtomicBool, Ordering};

/// One piece of work at a time.
#[derive(Debug, Default)]
pub(super) struct Aside {
    busy: Arc<AtomicBool>,
}

/// Gives way however the work ends.
struct Busy(Arc<AtomicBool>);

impl Drop for Busy {
    fn drop(&mut self) {
        // Pairs with the swap in `run`.
        self.0.store(false, Ordering::Release);
    }
}

impl Aside {
    /// Whether the last piece is still at it.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Starts it, unless another is still at it or no thread is to be had.
    pub(super) fn run(&self, name: &str, work: impl FnOnce() + Send + 'static) -> bool {
        if self.busy.swap(true, Ordering::Acquire) {
            return false;
        }
        let busy = Busy(self.busy.clone());
        let work = move || {
            let _busy = busy;
            work();
        };
        thread::Builder::new().name(name.to_owned()).spawn(work).is_ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn one_at_a_time_and_a_panic_frees_the_place() {
        let aside = Aside::default();
        let (go, wait) = mpsc::channel::<()>();
        assert!(aside.run("first", move || {
            let _ = wait.recv();
            panic!("on purpose");
        }));
        assert!(aside.is_busy());
        assert!(!aside.run("second", || ()));
        drop(go);
        while aside.is_busy() {
            thread::yield_now();
        }
        assert!(aside.run("third", || ()));
    }
}
