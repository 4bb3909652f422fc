//! Work to be timed: what a cache in front of a query does.

use std::{
    collections::HashMap,
    fmt::Write as _,
    hash::{BuildHasherDefault, DefaultHasher},
};

const ENTRIES: u64 = 1_000;

/// Looks keys up. Formatting, hashing and comparing leave few of a core's units idle; a bare
/// chain of multiplications would hide the cost of a timer in its shadow.
pub(crate) struct LookUps {
    /// Hashed alike in every sample: else its layout, drawn anew, varies by more than a timer takes.
    entries: HashMap<String, u64, BuildHasherDefault<DefaultHasher>>,
    key: String,
    next: u64,
}

impl LookUps {
    pub(crate) fn new() -> Self {
        let entries = (0..ENTRIES).map(|at| (format!("order:{at}:total"), at * 7 + 1)).collect();
        Self { entries, key: String::with_capacity(64), next: 1 }
    }

    /// Two look-ups; the second key is what the first found, as a request's queries
    /// follow from one another.
    #[inline(never)]
    pub(crate) fn run(&mut self) {
        for _ in 0..2 {
            self.key.clear();
            let _ = write!(self.key, "order:{}:total", self.next % ENTRIES);
            self.next = self.entries.get(&self.key).copied().unwrap_or(1);
        }
    }
}
