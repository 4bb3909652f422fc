//! Snapshots over time: of the series some rule selects, and only of those, as far back as its
//! rules look.
//!
//! The tick thread pushes one [`Frame`] a tick and then asks; nobody else touches a [`Store`].
//! Every distinct series and window is kept once, however many rules use it. In a steady state a
//! push allocates nothing for plain numbers; a histogram allocates when it grows busier than
//! before.
//!
//! A window of up to [`FINE`] ticks sees every tick. A longer one is kept in a coarse tier that
//! sees one tick in `stride`, a power of two, so that no window holds more than [`FINE`] samples: a
//! day of a histogram takes no more than a quarter of an hour. Its answers are those of a
//! Prometheus that scrapes so seldom: nothing a counter or histogram gained is lost, but both
//! borders of the window are moved by up to a stride, at most 1/450 of its length (8 s of an hour,
//! 128 s of a day at ticks of 1 s), and it answers anew once a stride. What is taken *over* a
//! gauge's samples is folded tick by tick ([`Fold`]), so that no peak is missed.

mod codec;
mod float;
mod foresight;
mod histogram;
mod store;
mod timeline;
mod trend;

pub(crate) use float::Gain;
pub(crate) use foresight::Foresight;
pub(crate) use histogram::{Counts, Dense};
pub(crate) use store::{
    CounterId, DEFAULT_BUDGET, FloatId, Fold, HistogramId, HistogramWindowId, OverBudget, Part,
    Store, estimate,
};
pub(crate) use timeline::SpanId;

use std::time::Duration;

/// How far back the last sample of an instant selector with an offset may lie.
pub(crate) const LOOKBACK: Duration = Duration::from_secs(300);

/// The most samples a window holds; longer ones take one tick in a power of two.
const FINE: u64 = 900;
