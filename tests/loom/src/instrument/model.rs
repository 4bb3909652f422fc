//! What must hold in every order the memory model allows.
use super::{
    counter::Cells,
    distribution::{Delta, Distribution},
    drops::Drops,
    histogram::{HistogramCore, Measure},
    lease::{Leases, Slot},
    store::Store,
};
use crate::sync::{Arc, Ordering};

fn store(width: usize) -> &'static Store {
    Box::leak(Box::new(Store::new(width, 2)))
}

fn quiet(store: &'static Store) -> Arc<HistogramCore> {
    crate::clock::ready();
    Arc::new(HistogramCore::within(store, Measure::Time, Default::default()))
}

fn core(store: &'static Store) -> Arc<HistogramCore> {
    let core = quiet(store);
    // Busy: each thread in its own shard.
    core.wake(u32::MAX);
    core
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    let orders = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = orders.clone();
    builder.check(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        check();
    });
    // One order is none: a model whose threads loom does not see meet.
    let orders = orders.load(std::sync::atomic::Ordering::Relaxed);
    println!("{orders} orders");
    assert!(orders > 100, "{orders}");
}

fn total(core: &HistogramCore) -> Distribution {
    let (mut all, mut delta) = (Distribution::default(), Delta::default());
    core.fold(&mut all, &mut delta);
    all
}

/// The next holder of a shard goes on where the last one stopped.
#[test]
fn a_lease_handed_over_loses_nothing() {
    model(|| {
        let leases = Arc::new(Leases::new(1, 1));
        let store = store(leases.shards());
        let core = core(store);
        let threads = [1u64, 2].map(|ticks| {
            let (leases, core) = (leases.clone(), core.clone());
            loom::thread::spawn(move || {
                let slot = leases.take();
                core.record_ticks_at(slot, ticks * 1000 + 1, 1);
                leases.give_back(slot);
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let all = total(&core);
        assert_eq!(all.count, 2);
        let tick = crate::clock::seconds_per_tick();
        assert!((all.sum - 3002.0 * tick).abs() < tick / 2.0);
    });
}

/// A reader in a thread of its own, which reads so often; what it has read, to read on.
///
/// Not the other way round, the writer in a thread: loom looks for another order only where an access
/// depends on the *last* one, which for a load that a store of the same thread follows is its own.
fn reader(
    core: &Arc<HistogramCore>,
    times: usize,
    check: impl Fn(&Delta) + Send + 'static,
) -> loom::thread::JoinHandle<Distribution> {
    let core = core.clone();
    loom::thread::spawn(move || {
        let (mut all, mut delta) = (Distribution::default(), Delta::default());
        for _ in 0..times {
            core.fold(&mut all, &mut delta);
            check(&delta);
        }
        all
    })
}

/// What is counted late is read once, whenever it is read: never twice, never less than before, and
/// all of it in the end.
#[test]
fn what_is_late_is_counted_once() {
    model(|| {
        let leases = Leases::new(1, 1);
        let core = core(store(leases.shards()));
        let slot = leases.take();
        // The octave's chunk: only then is anything late.
        core.record_ticks_at(slot, 1001, 1);
        assert!(core.record_ticks_near(slot, 1001, 1));
        // Less than none would be four thousand million.
        let reader = reader(&core, 2, |delta| assert!(delta.count <= 5, "{delta:?}"));
        // Of a query of which one call in two is timed.
        assert!(core.record_ticks_near(slot, 1003, 2));
        assert!(core.record_ticks_near(slot, 1001, 1));
        let mut all = reader.join().unwrap();
        let mut delta = Delta::default();
        core.fold(&mut all, &mut delta);
        assert_eq!(all.count, 5);
        assert_eq!(all.positive.iter().map(|(_, count)| count).sum::<u64>(), 5);
        core.fold(&mut all, &mut delta);
        assert_eq!(delta.count, 0);
    });
}

/// Two threads name the chunk of a new octave at once: one wins, the other's chunk goes back.
#[test]
fn an_octave_new_to_a_shared_shard_gets_one_chunk() {
    model(|| {
        let store = store(1);
        let core = core(store);
        let threads = [0, 0].map(|_| {
            let core = core.clone();
            loom::thread::spawn(move || core.record_ticks_at(Slot::HOME, 1001, 1))
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(total(&core).count, 2);
        assert_eq!(store.pool.used(), 1);
    });
}

/// A reader among writers sees each record once, sooner or later.
#[test]
fn folding_while_recording_counts_everything_once() {
    model(|| {
        let leases = Leases::new(1, 1);
        let core = core(store(leases.shards()));
        let slot = leases.take();
        let reader = reader(&core, 2, |delta| assert!(delta.count <= 2 && delta.sum >= 0.0));
        core.record_ticks_at(slot, 1001, 1);
        core.record_ticks_at(slot, 1002, 1);
        let mut all = reader.join().unwrap();
        let mut delta = Delta::default();
        core.fold(&mut all, &mut delta);
        let tick = crate::clock::seconds_per_tick();
        assert_eq!(all.count, 2);
        assert!((all.sum - 2003.0 * tick).abs() < tick / 2.0);
        assert_eq!((all.min, all.max), (1001.0 * tick, 1002.0 * tick));
    });
}

/// Sums survive a handover too, and the reader never sees them shrink.
#[test]
fn a_counter_only_grows() {
    model(|| {
        let leases = Arc::new(Leases::new(1, 1));
        let cells = Arc::new(Cells::new(store(leases.shards())));
        let threads = [1, 2].map(|by| {
            let (leases, cells) = (leases.clone(), cells.clone());
            loom::thread::spawn(move || {
                let slot = leases.take();
                cells.add_in(slot, by);
                leases.give_back(slot);
            })
        });
        let first = cells.total();
        assert!(cells.total() >= first);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(cells.total(), 3);
    });
}

/// A chunk that comes back while another thread is about to take it is not handed out twice.
#[test]
fn a_recycled_chunk_has_one_owner() {
    model(|| {
        let store = store(1);
        store.pool.top_up(3);
        let ids = [(); 3].map(|()| store.pool.take().unwrap());
        ids.into_iter().for_each(|id| store.pool.give_back(id));
        let own = || {
            let id = store.pool.take().unwrap();
            assert_eq!(store.pool.get(id).0[1].fetch_add(1, Ordering::Relaxed), 0);
            id
        };
        let disown = |id| {
            store.pool.get(id).0[1].store(0, Ordering::Relaxed);
            store.pool.give_back(id);
        };
        let other = loom::thread::spawn(move || {
            // The first comes back while the second is held: the list's head is as it was, what
            // follows it is not.
            let (first, second) = (own(), own());
            disown(first);
            disown(second);
        });
        disown(own());
        other.join().unwrap();
        assert_eq!(store.pool.used(), 0);
    });
}

/// Whoever finds a recycled chunk, to read it or to add to it, finds it zeroed.
#[test]
fn a_recycled_chunk_is_read_as_zero() {
    model(|| {
        let store = store(1);
        let (first, second) = (core(store), core(store));
        for slot in [Slot::HOME, Slot::HOME] {
            first.record_ticks_at(slot, 1001, 1);
        }
        let writer = {
            let second = second.clone();
            loom::thread::spawn(move || {
                drop(first);
                second.record_ticks_at(Slot::HOME, 1001, 1);
            })
        };
        second.record_ticks_at(Slot::HOME, 1001, 1);
        let (mut all, mut delta) = (Distribution::default(), Delta::default());
        second.fold(&mut all, &mut delta);
        assert!((1..=2).contains(&all.count), "{}", all.count);
        writer.join().unwrap();
        second.fold(&mut all, &mut delta);
        assert_eq!(all.count, 2);
    });
}

/// A series is quiet, and busy once it was recorded twice between two readings: whatever a reader
/// sees of that, it sees each record once.
#[test]
fn becoming_busy_while_it_is_read_loses_nothing() {
    model(|| {
        let leases = Leases::new(1, 1);
        let core = quiet(store(leases.shards()));
        let slot = leases.take();
        let writer = {
            let core = core.clone();
            loom::thread::spawn(move || {
                // The home shard twice, which wakes it; then the thread's own.
                (0..3).for_each(|at| core.record_ticks_at(slot, 1001 + at, 1));
            })
        };
        let (mut all, mut delta) = (Distribution::default(), Delta::default());
        core.fold(&mut all, &mut delta);
        assert!(delta.count <= 3 && delta.sum >= 0.0);
        writer.join().unwrap();
        core.fold(&mut all, &mut delta);
        let tick = crate::clock::seconds_per_tick();
        assert_eq!(all.count, 3);
        assert!((all.sum - 3006.0 * tick).abs() < tick / 2.0);
        assert_eq!((all.min, all.max), (1001.0 * tick, 1003.0 * tick));
    });
}

/// Two threads wake it at once, one of them without a shard of its own.
#[test]
fn a_series_woken_by_two_threads_loses_nothing() {
    model(|| {
        let leases = Leases::new(1, 1);
        let core = quiet(store(leases.shards()));
        let slots = [leases.take(), leases.take()];
        let shares = {
            let core = core.clone();
            loom::thread::spawn(move || core.record_ticks_at(slots[1], 1001, 1))
        };
        (0..2).for_each(|_| core.record_ticks_at(slots[0], 1001, 1));
        shares.join().unwrap();
        assert_eq!(total(&core).count, 3);
    });
}

/// What a thread's destructors record after its lease was returned goes to the home shard, while
/// the next thread already writes in the shard it has left.
#[test]
fn a_thread_that_ends_records_to_its_last_breath() {
    model(|| {
        let leases = Arc::new(Leases::new(1, 1));
        let core = core(store(leases.shards()));
        let ending = {
            let (leases, core) = (leases.clone(), core.clone());
            loom::thread::spawn(move || {
                let slot = leases.take();
                core.record_ticks_at(slot, 1001, 1);
                leases.give_back(slot);
                core.record_ticks_at(Slot::HOME, 1001, 1);
            })
        };
        let slot = leases.take();
        core.record_ticks_at(slot, 1001, 1);
        ending.join().unwrap();
        let all = total(&core);
        assert_eq!(all.count, 3);
        let tick = crate::clock::seconds_per_tick();
        assert!((all.sum - 3003.0 * tick).abs() < tick / 2.0);
    });
}
