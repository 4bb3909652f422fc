//! Which shard a thread writes to: the lowest that is free, leased for the thread's life.
//!
//! An *exclusive* shard has one writer at a time, so adding to it takes a load and a store: no
//! locked instruction, which costs 6–13 ns where a plain one costs 0.3. Who finds none free, or
//! records after its lease was returned (in a later thread-local's destructor), gets a *shared*
//! one and adds atomically; shard 0 is shared and is everybody's fallback. Who shares asks again
//! now and then.
//!
//! Invariant: between [`Leases::take`] and [`Leases::give_back`] no other thread holds the same
//! exclusive shard, and what the last holder wrote happened before what the next one reads
//! (release in `give_back`, acquire in `take`). Leases are of the process, not of a series: a
//! thread has the same shard in all of them.

use std::cell::Cell;

use crate::sync::{AtomicU32, AtomicU64, OnceCell, Ordering};

/// The shard that needs no lease.
pub(crate) const HOME: usize = 0;

/// A shard and the right to write to it: the shard's number, and [`SHARED`] if others write to it
/// at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// More than there are shards, so that whoever looks for one of its own by a number with it finds
/// none; and little enough to be multiplied by a row's stride in 32 bits.
const SHARED: u32 = 1 << 16;

impl Slot {
    pub(crate) const HOME: Self = Self::shared(HOME as u32);

    const fn shared(shard: u32) -> Self {
        Self(shard | SHARED)
    }

    const fn exclusive(shard: u32) -> Self {
        Self(shard)
    }

    #[inline]
    pub(crate) fn shard(self) -> usize {
        (self.0 % SHARED) as usize
    }

    /// The shard if nobody else writes to it, or a number beyond all of them.
    #[inline]
    pub(super) fn own(self) -> usize {
        self.0 as usize
    }

    /// Whether others may write to it at the same time.
    #[inline]
    pub(crate) fn is_shared(self) -> bool {
        self.0 >= SHARED
    }
}

/// Who writes where. Shards `0..shared` are shared, the rest exclusive.
#[derive(Debug)]
pub(crate) struct Leases {
    shared: u32,
    exclusive: u32,
    /// One bit for each exclusive shard.
    taken: AtomicU64,
    /// Spreads those who find no exclusive shard over the shared ones.
    turn: AtomicU32,
}

impl Leases {
    /// At most 64 exclusive shards.
    pub(crate) fn new(shared: u32, exclusive: u32) -> Self {
        Self {
            shared: shared.max(1),
            exclusive: exclusive.min(64),
            taken: AtomicU64::new(0),
            turn: AtomicU32::new(0),
        }
    }

    /// Twice as many exclusive shards as cores, but 16 at least (threads that outnumber the cores
    /// are common, and our own are among them) and 32 at most; and a quarter as many shared ones.
    fn for_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let exclusive = (cores * 2).next_power_of_two().clamp(16, 32) as u32;
        Self::new(exclusive / 4, exclusive)
    }

    pub(crate) fn shards(&self) -> usize {
        (self.shared + self.exclusive) as usize
    }

    pub(crate) fn take(&self) -> Slot {
        let mut taken = self.taken.load(Ordering::Relaxed);
        loop {
            let lowest = taken.trailing_ones();
            if lowest >= self.exclusive {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                return Slot::shared(turn % self.shared);
            }
            // Acquire: pairs with the release in `give_back`.
            match self.taken.compare_exchange_weak(
                taken,
                taken | 1 << lowest,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Slot::exclusive(self.shared + lowest),
                Err(now) => taken = now,
            }
        }
    }

    pub(crate) fn give_back(&self, slot: Slot) {
        if !slot.is_shared() {
            let bit = 1 << (slot.shard() as u32 - self.shared);
            // Release: what was written under the lease is seen by its next holder.
            self.taken.fetch_and(!bit, Ordering::Release);
        }
    }
}

static LEASES: OnceCell<Leases> = OnceCell::new();

/// The process's leases.
pub(crate) fn leases() -> &'static Leases {
    LEASES.get_or_init(Leases::for_this_machine)
}

/// No lease yet; for who looks for a shard of its own, none.
const NONE: Slot = Slot::shared(SHARED - 1);

thread_local! {
    // Without a destructor, so that it can be read, at the cost of a load, as long as the thread
    // runs any code at all.
    static SLOT: Cell<Slot> = const { Cell::new(NONE) };
    static RETURN: Return = const { Return };
}

/// Gives the thread's lease back when the thread ends.
struct Return;

impl Drop for Return {
    fn drop(&mut self) {
        // Destructors that run after this one still record.
        leases().give_back(SLOT.replace(Slot::HOME));
    }
}

/// Where this thread writes if it has a shard of its own; else a slot whose [`Slot::own`] is none,
/// and [`current`] is to be asked.
#[inline]
pub(super) fn held() -> Slot {
    SLOT.get()
}

/// Where this thread writes. The first call of a thread takes its lease.
#[inline]
pub(crate) fn current() -> Slot {
    let slot = SLOT.get();
    if slot == NONE { first() } else { slot }
}

/// How many times a thread without a shard of its own records before it asks for one again.
const ASK_AGAIN: u32 = 256;

thread_local!(static ASKED: Cell<u32> = const { Cell::new(0) });

/// To be called now and then by a thread that shares: others may have ended since, and left shards
/// free. What it records next may be in one of its own.
pub(crate) fn ask_again() {
    let slot = SLOT.get();
    if slot == NONE || !slot.is_shared() {
        return;
    }
    let asked = ASKED.get().wrapping_add(1);
    ASKED.set(asked);
    // Without its destructor, which would give it back, a thread may take none.
    if asked.is_multiple_of(ASK_AGAIN) && RETURN.try_with(|_| ()).is_ok() {
        SLOT.set(leases().take());
    }
}

/// Where this thread counts a block it allocates. Until somebody else has made the leases there is
/// only the shared home: making them allocates.
#[cfg(feature = "allocator")]
#[inline]
pub(crate) fn while_allocating() -> Slot {
    let slot = SLOT.get();
    if slot == NONE { first_while_allocating() } else { slot }
}

#[cfg(feature = "allocator")]
#[cold]
#[inline(never)]
fn first_while_allocating() -> Slot {
    if LEASES.get().is_some() { first() } else { Slot::HOME }
}

#[cold]
#[inline(never)]
fn first() -> Slot {
    // What follows may allocate, and our own allocator asks for a slot: it must not come here again.
    SLOT.set(Slot::HOME);
    // Registers the destructor. If this thread-local is gone, the thread is ending.
    let slot = match RETURN.try_with(|_| ()) {
        Ok(()) => leases().take(),
        Err(_) => Slot::HOME,
    };
    SLOT.set(slot);
    slot
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_lowest_free_shard_is_taken_and_taken_again_once_returned() {
        let leases = Leases::new(2, 3);
        let slots: Vec<_> = (0..3).map(|_| leases.take()).collect();
        assert_eq!(slots.iter().map(|slot| slot.shard()).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(slots.iter().all(|slot| !slot.is_shared()));
        leases.give_back(slots[1]);
        assert_eq!(leases.take(), slots[1]);
    }

    #[test]
    fn who_finds_none_free_shares_in_turn() {
        let leases = Leases::new(2, 1);
        leases.take();
        let shards: Vec<_> = (0..4).map(|_| leases.take()).collect();
        assert!(shards.iter().all(|slot| slot.is_shared()));
        assert_eq!(shards.iter().map(|slot| slot.shard()).collect::<Vec<_>>(), [0, 1, 0, 1]);
        // Nothing to give back.
        leases.give_back(shards[0]);
        assert!(leases.take().is_shared());
    }

    #[test]
    fn who_shares_gets_a_shard_of_its_own_once_one_is_free() {
        use std::{sync::mpsc, thread};
        let candidate = || {
            let (say, hear) = mpsc::channel();
            let (go, wait) = mpsc::channel::<()>();
            let thread = thread::spawn(move || {
                let shares = current().is_shared();
                say.send(shares).unwrap();
                let _ = wait.recv();
                // Other tests' threads may hold all of them for a while.
                while current().is_shared() {
                    ask_again();
                    thread::yield_now();
                }
                let own = current();
                for _ in 0..2 * ASK_AGAIN {
                    ask_again();
                    assert_eq!(current(), own);
                }
            });
            (hear.recv().unwrap(), go, thread)
        };
        let mut holders = Vec::new();
        let (_, go, last) = loop {
            match candidate() {
                shares @ (true, ..) => break shares,
                holder => holders.push(holder),
            }
        };
        for (_, go, holder) in holders {
            drop(go);
            holder.join().unwrap();
        }
        drop(go);
        last.join().unwrap();
    }

    #[test]
    fn a_thread_keeps_its_shard_and_a_destructor_after_its_end_gets_the_home() {
        struct Late(std::sync::mpsc::Sender<Slot>);
        impl Drop for Late {
            fn drop(&mut self) {
                let _ = self.0.send(current());
            }
        }
        thread_local!(static LATE: Cell<Option<Late>> = const { Cell::new(None) });

        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Registered before the lease, so destroyed after it (or before: then the slot is
            // still the thread's own).
            LATE.set(Some(Late(send.clone())));
            let slot = current();
            assert_eq!(current(), slot);
            send.send(slot).unwrap();
        })
        .join()
        .unwrap();
        let own = receive.recv().unwrap();
        let late = receive.recv().unwrap();
        assert!(late == own || late == Slot::HOME, "{late:?} {own:?}");
    }
}
