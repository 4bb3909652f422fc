//! What could not be recorded, counted by reason: nothing disappears uncounted.

use crate::sync::{AtomicU64, Ordering};

/// Why a value or a label set was not recorded as given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// NaN or an infinity.
    NotFinite,
    /// Beyond what a histogram keeps, 2^±128.
    OutOfRange,
    /// A duration below zero.
    NegativeDuration,
    /// A label set over the metric's limit: recorded in the overflow series instead.
    Cardinality,
    /// There was no memory left for it within the hard limit.
    Storage,
    /// A name already taken by an instrument of another kind: the handle is inert.
    KindConflict,
}

impl DropReason {
    pub(crate) const ALL: [Self; 6] = [
        Self::NotFinite,
        Self::OutOfRange,
        Self::NegativeDuration,
        Self::Cardinality,
        Self::Storage,
        Self::KindConflict,
    ];

    /// The value of the `reason` label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotFinite => "not_finite",
            Self::OutOfRange => "out_of_range",
            Self::NegativeDuration => "negative_duration",
            Self::Cardinality => "cardinality",
            Self::Storage => "storage",
            Self::KindConflict => "kind_conflict",
        }
    }
}

/// One counter a reason, shared by all cores of a registry.
#[derive(Debug, Default)]
pub(crate) struct Drops([AtomicU64; DropReason::ALL.len()]);

impl Drops {
    #[cold]
    pub(crate) fn count(&self, reason: DropReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn total(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }
}
