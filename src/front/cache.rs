//! What a thread's `metrics` macros resolved to lately, so that `counter!("jobs").increment(1)` in
//! a loop asks the registry once a thread, not once a call.
//!
//! A macro hands the recorder a key and wants a handle of its own back, so every call clones one.
//! The handle that is cloned belongs to the thread: threads do not contend for its reference count.
//!
//! Invariant: a hit is the same name and the same labels in the same registry. A slot is found by
//! the key's hash; then either name and labels lie where the *cached clone's* do (it is alive, so
//! nothing else can lie there), or they are compared in full. The address of the key itself says
//! nothing: keys made at run time share theirs.
//!
//! A thread keeps at most 256 handles of each kind, those of stopped instances too until their
//! slots are used again or the thread ends.

use std::{cell::RefCell, ptr};

use metrics::{Counter, Gauge, Histogram, Key};

/// A power of two.
const SLOTS: usize = 256;

/// The handles of one kind, each in the slot its key's hash says.
struct Table<H>(RefCell<Vec<Option<Entry<H>>>>);

struct Entry<H> {
    registry: u64,
    key: Key,
    handle: H,
}

#[derive(Default)]
struct Tables {
    counters: Table<Counter>,
    gauges: Table<Gauge>,
    histograms: Table<Histogram>,
}

thread_local!(static TABLES: Tables = Tables::default());

/// The handle of `key` in the registry of this id; resolved if this thread does not know it.
pub(super) fn counter(registry: u64, key: &Key, resolve: impl Fn() -> Counter) -> Counter {
    TABLES
        .try_with(|tables| tables.counters.get(registry, key, &resolve))
        .unwrap_or_else(|_| resolve())
}

/// See [`counter`].
pub(super) fn gauge(registry: u64, key: &Key, resolve: impl Fn() -> Gauge) -> Gauge {
    TABLES
        .try_with(|tables| tables.gauges.get(registry, key, &resolve))
        .unwrap_or_else(|_| resolve())
}

/// See [`counter`].
pub(super) fn histogram(registry: u64, key: &Key, resolve: impl Fn() -> Histogram) -> Histogram {
    TABLES
        .try_with(|tables| tables.histograms.get(registry, key, &resolve))
        .unwrap_or_else(|_| resolve())
}

impl<H> Default for Table<H> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<H: Clone> Table<H> {
    #[inline]
    fn get(&self, registry: u64, key: &Key, resolve: &dyn Fn() -> H) -> H {
        let at = key.get_hash() as usize % SLOTS;
        if let Ok(slots) = self.0.try_borrow()
            && let Some(Some(entry)) = slots.get(at)
            && entry.registry == registry
            && same(&entry.key, key)
        {
            return entry.handle.clone();
        }
        self.insert(at, registry, key, resolve)
    }

    #[cold]
    fn insert(&self, at: usize, registry: u64, key: &Key, resolve: &dyn Fn() -> H) -> H {
        // Not while the table is borrowed: resolving may log, and the logger may count.
        let handle = resolve();
        let entry = Some(Entry { registry, key: key.clone(), handle: handle.clone() });
        let old = self.0.try_borrow_mut().ok().and_then(|mut slots| {
            if slots.is_empty() {
                slots.resize_with(SLOTS, || None);
            }
            std::mem::replace(slots.get_mut(at)?, entry)
        });
        drop(old);
        handle
    }
}

#[inline]
fn same(cached: &Key, asked: &Key) -> bool {
    let (known, labels) = (cached.labels().as_slice(), asked.labels().as_slice());
    if ptr::eq(cached.name(), asked.name()) && ptr::eq(known, labels) {
        return true;
    }
    cached.get_hash() == asked.get_hash() && cached.name() == asked.name() && known == labels
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use metrics::{CounterFn, Label};

    use super::*;
    use crate::sync::Arc;

    struct Nothing;

    impl CounterFn for Nothing {
        fn increment(&self, _: u64) {}
        fn absolute(&self, _: u64) {}
    }

    /// How often each key was resolved.
    fn resolved(table: &Table<Counter>, registry: u64, key: &Key) -> bool {
        let asked = Cell::new(false);
        let _ = table.get(registry, key, &|| {
            asked.set(true);
            Counter::from_arc(Arc::new(Nothing))
        });
        asked.get()
    }

    #[test]
    fn a_key_is_resolved_once_in_each_registry() {
        static LABELS: [Label; 1] = [Label::from_static_parts("a", "b")];
        static KEY: Key = Key::from_static_parts("name", &LABELS);
        let table = Table::default();
        assert!(resolved(&table, 1, &KEY));
        assert!(!resolved(&table, 1, &KEY));
        assert!(resolved(&table, 2, &KEY));
        // Equal, elsewhere in memory.
        let made =
            Key::from_parts("name".to_owned(), vec![Label::new("a".to_owned(), "b".to_owned())]);
        assert!(!resolved(&table, 2, &made));
    }

    #[test]
    fn keys_made_at_one_address_are_told_apart() {
        let table = Table::default();
        for round in 0..2 {
            for tenant in 0..10 {
                let key =
                    Key::from_parts("requests", vec![Label::new("tenant", tenant.to_string())]);
                // Two tenants may share a slot; none may share a handle.
                let asked = resolved(&table, 1, &key);
                assert!(round > 0 || asked, "{tenant}");
            }
        }
    }

    #[test]
    fn keys_of_one_slot_displace_each_other() {
        let table = Table::default();
        let key = |at: usize| Key::from_name(format!("name{at}"));
        let first = key(0);
        let slot = |key: &Key| key.get_hash() as usize % SLOTS;
        let other = (1..).map(key).find(|key| slot(key) == slot(&first)).unwrap();
        assert!(resolved(&table, 1, &first) && resolved(&table, 1, &other));
        assert!(resolved(&table, 1, &first) && !resolved(&table, 1, &first));
    }

    #[test]
    fn resolving_may_ask_the_table_again() {
        let table = Table::<Counter>::default();
        let (outer, inner) = (Key::from_name("outer"), Key::from_name("inner"));
        let _ = table
            .get(1, &outer, &|| table.get(1, &inner, &|| Counter::from_arc(Arc::new(Nothing))));
        assert!(!resolved(&table, 1, &outer) && !resolved(&table, 1, &inner));
    }
}
