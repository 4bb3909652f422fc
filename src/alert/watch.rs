//! Reading an alert's state from anywhere, for one relaxed load.
//!
//! The tick thread writes each cell after an evaluation; state and level share one word, so that
//! no reader sees one without the other.

use std::fmt;

use crate::{
    event::{RuleInfo, State},
    name::Labels,
    sync::{Arc, AtomicU64, Mutex, Ordering},
};

/// Reads one alert's state: resolve once, clone and share it.
///
/// A name can stand for several rules (a warning and a critical one) and each for several label
/// sets: the watch is the worst of them. A rule that was removed reads as inactive.
///
/// ```
/// let hw = highwater::Highwater::builder("doc").start()?;
/// let memory = hw.alert("MemoryNearLimit")?;
/// if memory.is_firing() { /* refuse work that can wait */ }
/// assert!((0.0..=1.0).contains(&memory.level()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Watch(Arc<Cell>);

impl Watch {
    /// The watch of an instance that is switched off: inactive for ever.
    pub(crate) fn inert() -> Self {
        Self(Arc::new(Cell::new(pack(State::Inactive, false, 0.0))))
    }

    /// Whether any of its alerts is firing. One whose samples went missing meanwhile still is,
    /// until it resolves: a reading that failed is no reason to let load in again. One relaxed load.
    #[inline]
    pub fn is_firing(&self) -> bool {
        self.0.load(Ordering::Relaxed) & RAISED != 0
    }

    /// The worst state among its alerts: of one that fires and has no samples any more,
    /// [`State::NoData`]. One relaxed load.
    #[inline]
    pub fn state(&self) -> State {
        unpack(self.0.load(Ordering::Relaxed)).0
    }

    /// How close it is: 1 at the threshold and while firing, else its value's share of the threshold
    /// (of [`below`](crate::rule::Value::below) the threshold's share of its value); 0 without data
    /// unless it fires. A handler can shed that share of its load. One relaxed load.
    #[inline]
    pub fn level(&self) -> f64 {
        f64::from(unpack(self.0.load(Ordering::Relaxed)).1)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("state", &self.state()).field("level", &self.level()).finish()
    }
}

/// No rule has the name an alert was asked for by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no rule is named {name:?}; there are: {}", known.join(", "))]
pub struct UnknownAlert {
    pub(crate) name: String,
    pub(crate) known: Vec<String>,
}

type Cell = AtomicU64;

/// The bit beside state and level that says whether it fires.
const RAISED: u64 = 1 << 8;

fn pack(state: State, raised: bool, level: f32) -> u64 {
    (u64::from(level.to_bits()) << 32) | (u64::from(raised) * RAISED) | state as u64
}

#[inline]
fn unpack(word: u64) -> (State, f32) {
    let state = match word as u8 {
        1 => State::NoData,
        2 => State::Error,
        3 => State::Pending,
        4 => State::Firing,
        _ => State::Inactive,
    };
    (state, f32::from_bits((word >> 32) as u32))
}

/// What a watch is told of one alert after an evaluation.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) rule: Arc<RuleInfo>,
    pub(crate) labels: Labels,
    pub(crate) state: State,
    /// Whether it fires, with samples or without.
    pub(crate) raised: bool,
    pub(crate) level: f64,
}

/// All watches handed out.
#[derive(Debug, Default)]
pub(crate) struct Watches(Mutex<Board>);

#[derive(Debug, Default)]
struct Board {
    entries: Vec<Entry>,
    /// As of the last evaluation, for a watch that is asked for after it.
    readings: Vec<Reading>,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    /// Labels an alert must carry to count.
    narrow: Labels,
    cell: Arc<Cell>,
}

impl Watches {
    /// The watch of a name, narrowed to alerts that carry all of `narrow`.
    pub(crate) fn get(&self, name: &str, narrow: &Labels) -> Watch {
        let mut board = self.0.lock();
        if let Some(known) = board.entries.iter().find(|e| &*e.name == name && e.narrow == *narrow)
        {
            return Watch(known.cell.clone());
        }
        let watch = Watch::inert();
        let entry = Entry { name: Arc::from(name), narrow: narrow.clone(), cell: watch.0.clone() };
        entry.write(&board.readings);
        board.entries.push(entry);
        watch
    }

    /// Writes every cell anew from all alerts' readings.
    pub(crate) fn publish(&self, readings: impl Iterator<Item = Reading>) {
        let board = &mut *self.0.lock();
        board.readings.clear();
        board.readings.extend(readings);
        for entry in &board.entries {
            entry.write(&board.readings);
        }
    }
}

impl Entry {
    fn write(&self, readings: &[Reading]) {
        let worst = readings.iter().filter(|reading| self.matches(reading)).fold(
            (State::Inactive, false, 0.0),
            |(state, raised, level): (State, bool, f64), reading| {
                (worse(state, reading.state), raised | reading.raised, level.max(reading.level))
            },
        );
        self.cell.store(pack(worst.0, worst.1, worst.2 as f32), Ordering::Relaxed);
    }

    fn matches(&self, reading: &Reading) -> bool {
        *self.name == *reading.rule.name
            && self.narrow.iter().all(|(key, value)| reading.labels.get(key) == Some(value))
    }
}

fn worse(a: State, b: State) -> State {
    if b as u8 > a as u8 { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::testing::transition;

    fn reading(name: &str, labels: &[(&str, &str)], state: State, level: f64) -> Reading {
        let rule = transition(name).rule.clone();
        let raised = state == State::Firing;
        Reading { rule, labels: Labels::new(labels.iter().copied()), state, raised, level }
    }

    #[test]
    fn a_watch_is_the_worst_of_its_alerts_whenever_it_is_asked_for() {
        let watches = Watches::default();
        let any = watches.get("Slow", &Labels::empty());
        let eu = watches.get("Slow", &Labels::new([("region", "eu")]));
        watches.publish(
            [
                reading("Slow", &[("region", "eu")], State::Pending, 0.5),
                reading("Slow", &[("region", "us")], State::Firing, 1.0),
                reading("Other", &[("region", "eu")], State::Firing, 1.0),
            ]
            .into_iter(),
        );
        assert!(any.is_firing() && any.level() == 1.0);
        assert_eq!((eu.state(), eu.level()), (State::Pending, 0.5));
        assert!(watches.get("Slow", &Labels::new([("region", "us")])).is_firing());
    }

    #[test]
    fn a_removed_rule_reads_as_inactive() {
        let watches = Watches::default();
        let watch = watches.get("Gone", &Labels::empty());
        watches.publish([reading("Gone", &[], State::Firing, 1.0)].into_iter());
        assert!(watch.is_firing());
        watches.publish(std::iter::empty());
        assert_eq!((watch.state(), watch.level()), (State::Inactive, 0.0));
    }

    #[test]
    fn asking_twice_gives_the_same_cell() {
        let watches = Watches::default();
        let (one, two) = (watches.get("A", &Labels::empty()), watches.get("A", &Labels::empty()));
        assert!(Arc::ptr_eq(&one.0, &two.0));
    }
}
