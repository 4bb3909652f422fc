//! Since when a point counts: start times across resets, and the differences of delta temporality.
//!
//! Keeps, for each series whose points depend on it, what was exported last. Nothing is kept for
//! what is sent cumulative and cannot be reset.

use super::histogram;
use crate::{
    export::otlp::Temporality,
    instrument::Distribution,
    registry::{Kind, SeriesId},
};

/// What was exported last, by [`SeriesId`].
#[derive(Debug, Default)]
pub(super) struct History(Vec<Option<Last>>);

#[derive(Debug)]
struct Last {
    /// Since when the series counts: later than its birth if it was reset.
    start: u64,
    at: u64,
    total: Total,
}

#[derive(Debug)]
enum Total {
    Integer(u64),
    Number(f64),
    Histogram(Box<Distribution>),
}

/// A value and since when it counts, nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counted<T> {
    pub(super) value: T,
    pub(super) start: u64,
}

/// Whether a kind is sent as differences.
pub(super) fn is_delta(kind: Kind, temporality: Temporality) -> bool {
    match (kind, temporality) {
        (Kind::Counter | Kind::Histogram(_), Temporality::Delta | Temporality::LowMemory)
        | (Kind::ObservedCounter, Temporality::Delta) => true,
        // What goes both ways is a level, not an amount: always cumulative.
        _ => false,
    }
}

impl History {
    fn last(&mut self, id: SeriesId) -> &mut Option<Last> {
        let at = id.index();
        if at >= self.0.len() {
            self.0.resize_with(at + 1, || None);
        }
        &mut self.0[at]
    }

    /// A counter of ours, which is never reset; `None` if it gained nothing.
    pub(super) fn gained(
        &mut self,
        id: SeriesId,
        born: u64,
        at: u64,
        total: u64,
    ) -> Option<Counted<u64>> {
        let last = self.last(id);
        let (known, start) = match last {
            Some(Last { total: Total::Integer(known), at, .. }) => (*known, *at),
            _ => (0, born),
        };
        *last = Some(Last { start: born, at, total: Total::Integer(total) });
        let value = total.wrapping_sub(known);
        (value > 0).then_some(Counted { value, start })
    }

    /// A sum that somebody else keeps, and may have begun anew: then it counts since the last time
    /// it was seen. `None` if it is a difference of nothing.
    pub(super) fn observed(
        &mut self,
        id: SeriesId,
        born: u64,
        at: u64,
        total: f64,
        is_delta: bool,
    ) -> Option<Counted<f64>> {
        let last = self.last(id);
        let (known, start, seen) = match last {
            Some(Last { total: Total::Number(known), start, at }) => (*known, *start, *at),
            _ => (0.0, born, born),
        };
        let (known, start) = if total < known { (0.0, seen) } else { (known, start) };
        *last = Some(Last { start, at, total: Total::Number(total) });
        if is_delta {
            let value = total - known;
            (value > 0.0).then_some(Counted { value, start: seen })
        } else {
            Some(Counted { value: total, start })
        }
    }

    /// What a histogram gained; `None` if nothing.
    pub(super) fn gained_histogram(
        &mut self,
        id: SeriesId,
        born: u64,
        at: u64,
        all: &Distribution,
    ) -> Option<Counted<Distribution>> {
        let last = self.last(id);
        match last {
            Some(Last { total: Total::Histogram(known), at: seen, .. }) => {
                let counted = Counted { value: histogram::gained(all, known), start: *seen };
                (**known).clone_from(all);
                *seen = at;
                (counted.value.count > 0).then_some(counted)
            }
            _ => {
                let total = Total::Histogram(Box::new(all.clone()));
                *last = Some(Last { start: born, at, total });
                (all.count > 0).then(|| Counted { value: all.clone(), start: born })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted<T>(value: T, start: u64) -> Option<Counted<T>> {
        Some(Counted { value, start })
    }

    #[test]
    fn differences_follow_each_other_without_a_gap() {
        let (mut history, id) = (History::default(), SeriesId::new(3));
        assert_eq!(history.gained(id, 10, 20, 5), counted(5, 10));
        assert_eq!(history.gained(id, 10, 30, 5), None);
        assert_eq!(history.gained(id, 10, 40, 7), counted(2, 30));
        assert_eq!(history.gained(SeriesId::new(0), 35, 40, 1), counted(1, 35));
    }

    #[test]
    fn a_sum_begun_anew_counts_since_it_was_last_seen() {
        let (mut history, id) = (History::default(), SeriesId::new(0));
        let mut cumulative = |at, total| history.observed(id, 10, at, total, false);
        assert_eq!(cumulative(20, 5.0), counted(5.0, 10));
        assert_eq!(cumulative(30, 6.0), counted(6.0, 10));
        assert_eq!(cumulative(40, 2.0), counted(2.0, 30));
        assert_eq!(cumulative(50, 3.0), counted(3.0, 30));
        let (mut history, id) = (History::default(), SeriesId::new(0));
        let mut delta = |at, total| history.observed(id, 10, at, total, true);
        assert_eq!(delta(20, 5.0), counted(5.0, 10));
        assert_eq!(delta(30, 5.0), None);
        assert_eq!(delta(40, 2.0), counted(2.0, 30));
        assert_eq!(delta(50, 3.0), counted(1.0, 40));
    }
}
