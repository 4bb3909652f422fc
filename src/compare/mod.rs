//! Two ways of doing the same, compared: did pooling cut the load on the database, and by how much?
//!
//! A [`Recording`] keeps what every query and every pool did, tick by tick; what it made is
//! [`Figures`], which fit into a file, because before and after are usually two deployments.
//! [`Figures::compare`] says what changed, each figure with the range the change lies in with 95%
//! confidence:
//!
//! ```
//! use std::time::Duration;
//! use highwater::{Highwater, compare::Figures};
//!
//! let hw = Highwater::builder("veltrix").tick(Duration::from_millis(100)).start()?;
//! # let load = |took: u64| {
//! #     let orders = hw.query("orders_by_user").build();
//! #     for _ in 0..6 {
//! #         for _ in 0..10 { orders.record(Duration::from_millis(took)); }
//! #         std::thread::sleep(Duration::from_millis(100));
//! #     }
//! # };
//! let recording = hw.record("unpooled");
//! # load(50);
//! // … the load test …
//! let file = std::env::temp_dir().join(format!("veltrix-{}.figures", std::process::id()));
//! recording.finish().save(&file)?;
//!
//! // The other deployment.
//! let recording = hw.record("pooled");
//! # load(40);
//! // … the same load test …
//! let report = Figures::load(&file)?.compare(&recording.finish());
//! println!("{report}");
//! assert!(report.query_time.ratio < 1.0);
//! # std::fs::remove_file(&file)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! How sure a figure is comes from the ticks themselves: runs of ticks are drawn again and again
//! (a bootstrap of blocks), and the middle 95% of what the change would then have been is told. So
//! it knows how much the figure swings from one moment to the next, and nothing of what no tick
//! has seen: another hour of the day, another machine.
// A recording costs nothing but while it runs; then a little memory on each tick, some 32 MiB at most
// whatever there is to record: what was long ago is kept more coarsely, and made so by and by.

mod bootstrap;
mod figures;
mod file;
mod rare;
mod report;

pub use figures::Figures;
pub use file::Error;
pub use report::{Change, QueryReport, Report};

use std::{fmt, time::Duration};

use crate::{
    clock::Moment,
    registry::{Frame, Reading, Series},
    semconv,
    sync::{Arc, AtomicUsize, Mutex, Ordering},
};

/// A recording under way; from [`Highwater::record`](crate::Highwater::record). Dropped, it ends
/// without figures.
#[must_use = "figures come from `finish`"]
pub struct Recording {
    tape: Arc<Mutex<Tape>>,
    all: Arc<Recordings>,
}

impl Recording {
    /// What was recorded, in whole ticks: what lies between the start and the next tick, or
    /// between the last tick and now, is not in it.
    pub fn finish(self) -> Figures {
        // Not under the lock, for which the tick would wait.
        let mut figures = std::mem::take(&mut self.tape.lock().figures);
        figures.settle(usize::MAX);
        figures
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.all.remove(&self.tape);
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}

/// The recordings of an instance, to which the tick tells all it has read.
#[derive(Default)]
pub(crate) struct Recordings {
    /// To be asked for without the lock.
    count: AtomicUsize,
    tapes: Mutex<Vec<Arc<Mutex<Tape>>>>,
}

impl Recordings {
    pub(crate) fn begin(self: &Arc<Self>, name: &str) -> Recording {
        let figures = Figures::begin(name);
        let tape = Arc::new(Mutex::new(Tape { figures, last: None }));
        let mut tapes = self.tapes.lock();
        tapes.push(tape.clone());
        self.count.store(tapes.len(), Ordering::Relaxed);
        Recording { tape, all: self.clone() }
    }

    fn remove(&self, tape: &Arc<Mutex<Tape>>) {
        let mut tapes = self.tapes.lock();
        tapes.retain(|other| !Arc::ptr_eq(other, tape));
        self.count.store(tapes.len(), Ordering::Relaxed);
    }

    /// Whether there are any: then every histogram must be in the frame.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// By the tick thread.
    pub(crate) fn observe(&self, at: Moment, series: &[Arc<Series>], frame: &Frame) {
        if self.any() {
            for tape in &*self.tapes.lock() {
                tape.lock().observe(at.mono, series, frame);
            }
        }
    }
}

impl fmt::Debug for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recordings").field("count", &self.count).finish_non_exhaustive()
    }
}

struct Tape {
    figures: Figures,
    /// The tick before; none before the first, whose gains are older than the recording.
    last: Option<Duration>,
}

impl Tape {
    fn observe(&mut self, at: Duration, series: &[Arc<Series>], frame: &Frame) {
        let Some(last) = self.last.replace(at) else { return };
        let slice = self.figures.next(at.saturating_sub(last).as_secs_f64());
        for (series, reading) in series.iter().zip(&frame.readings) {
            let Reading::Histogram(delta) = reading else { continue };
            let delta = frame.delta(*delta);
            if delta.count == 0 && delta.sum == 0.0 {
                continue;
            }
            let label = |key| series.labels.get(key);
            match &*series.metric.name {
                semconv::DB_CLIENT_OPERATION_DURATION => {
                    let name = label(semconv::DB_QUERY_SUMMARY).unwrap_or_default();
                    let failed = label(semconv::ERROR_TYPE)
                        .is_some_and(|error| error != semconv::ERROR_CANCELLED);
                    self.figures.add(name, slice, delta, failed);
                }
                semconv::DB_CLIENT_CONNECTION_USE_TIME => {
                    self.figures.held[slice] += delta.sum;
                    self.figures.has_pools = true;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
