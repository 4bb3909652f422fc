//! Exemplars: a few of the values behind a histogram, each with the trace it was part of.
//!
//! Nothing of it is on the hot path. The reader *arms* a series when it folds it, and only then
//! does a record leave its fast lane: it asks where it is being made, once. After a few questions
//! the series is disarmed until the next fold, so what is asked of the user's source is bounded by
//! time, not by load.
//!
//! Nobody waits: who finds the slots in use goes on without.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    // Of closures, which loom's cannot hold.
    sync::Arc,
    time::SystemTime,
};

use super::shard::Key;
use crate::sync::{AtomicU32, Mutex, Ordering};

/// How many records are asked about between two folds. Of a tail of 1%, ten seconds of folds each
/// second see one.
const QUESTIONS: u32 = 16;

/// One an octave, so that the usual does not crowd out the slow: a factor of 256 from end to end.
const SLOTS: usize = 8;

/// The span a value was recorded in: what an exemplar points at.
///
/// ```
/// use highwater::{Highwater, TraceContext};
/// // However the service knows its trace: here it is always the same.
/// let hw = Highwater::builder("doc")
///     .exemplars(|| Some(TraceContext::new([7; 16], [8; 8])))
///     .start()?;
/// # Ok::<(), highwater::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
}

impl TraceContext {
    /// As [W3C Trace Context](https://www.w3.org/TR/trace-context/#traceparent-header) has them.
    /// All zeroes is no trace, and no span: it is passed over.
    pub const fn new(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        Self { trace_id, span_id }
    }

    pub(crate) fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    pub(crate) fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    fn is_valid(&self) -> bool {
        self.trace_id != [0; 16] && self.span_id != [0; 8]
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", Hex(&self.trace_id), Hex(&self.span_id))
    }
}

/// Bytes as they are written in a trace's id.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Says what the calling thread is part of.
#[derive(Clone)]
pub(crate) struct TraceSource(Arc<dyn Fn() -> Option<TraceContext> + Send + Sync>);

impl TraceSource {
    pub(crate) fn new(source: impl Fn() -> Option<TraceContext> + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// Recording never fails: a source that panics says nothing.
    fn ask(&self) -> Option<TraceContext> {
        let answer = catch_unwind(AssertUnwindSafe(|| (self.0)())).ok().flatten();
        answer.filter(TraceContext::is_valid)
    }
}

impl fmt::Debug for TraceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TraceSource")
    }
}

/// One value and where it was recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exemplar {
    /// In the metric's unit.
    pub(crate) value: f64,
    pub(crate) at: SystemTime,
    pub(crate) trace: TraceContext,
}

/// Those of one series, the newest of each octave.
#[derive(Debug)]
pub(super) struct Exemplars {
    source: TraceSource,
    /// Questions until the next fold.
    left: AtomicU32,
    /// Only ever tried, by writers and the reader, so none of them sleeps.
    taken: Mutex<[Option<(Key, Exemplar)>; SLOTS]>,
}

impl Exemplars {
    pub(super) fn new(source: TraceSource) -> Self {
        Self { source, left: AtomicU32::new(0), taken: Mutex::new([None; SLOTS]) }
    }

    /// By the reader, before it arms the series.
    pub(super) fn rearm(&self) {
        self.left.store(QUESTIONS, Ordering::Relaxed);
    }

    /// A record of an armed series; whether that was the last until the next fold.
    pub(super) fn offer(&self, key: Key, value: f64) -> bool {
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if before.is_ok()
            && let Some(trace) = self.source.ask()
            && let Some(mut taken) = self.taken.try_lock()
        {
            let exemplar = Exemplar { value, at: SystemTime::now(), trace };
            let place = place(&taken, key);
            taken[place] = Some((key, exemplar));
        }
        before.unwrap_or(0) <= 1
    }

    /// Writes those there are to `into`; none if one is just being taken.
    pub(super) fn copy(&self, into: &mut Vec<Exemplar>) {
        if let Some(taken) = self.taken.try_lock() {
            into.extend(taken.iter().flatten().map(|(_, exemplar)| *exemplar));
        }
    }
}

/// The octave's own, a free one, or the oldest.
fn place(taken: &[Option<(Key, Exemplar)>; SLOTS], key: Key) -> usize {
    let own = taken.iter().position(|slot| matches!(slot, Some((of, _)) if *of == key));
    own.or_else(|| taken.iter().position(Option::is_none)).unwrap_or_else(|| {
        let age = |at: &usize| taken[*at].map(|(_, exemplar)| exemplar.at);
        (0..SLOTS).min_by_key(age).unwrap_or(0)
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const TRACE: TraceContext = TraceContext::new([1; 16], [2; 8]);

    fn copied(exemplars: &Exemplars) -> Vec<Exemplar> {
        let mut all = Vec::new();
        exemplars.copy(&mut all);
        all
    }

    #[test]
    fn so_many_are_asked_about_until_the_next_fold() {
        let exemplars = Exemplars::new(TraceSource::new(|| Some(TRACE)));
        assert!(exemplars.offer(Key::ZERO, 0.0), "not armed yet");
        assert_eq!(copied(&exemplars), []);
        exemplars.rearm();
        for question in 1..=QUESTIONS {
            assert_eq!(exemplars.offer(Key::new(0, false), 1.5), question == QUESTIONS);
        }
        let all = copied(&exemplars);
        assert_eq!((all.len(), all[0].value, all[0].trace), (1, 1.5, TRACE));
    }

    #[test]
    fn the_newest_of_each_octave_is_kept_and_the_oldest_makes_room() {
        let exemplars = Exemplars::new(TraceSource::new(|| Some(TRACE)));
        exemplars.rearm();
        for octave in 0..SLOTS as i32 + 2 {
            exemplars.offer(Key::new(octave, false), f64::from(octave));
        }
        exemplars.offer(Key::new(5, false), 5.5);
        let mut values: Vec<f64> = copied(&exemplars).iter().map(|one| one.value).collect();
        values.sort_by(f64::total_cmp);
        assert_eq!(values, [2.0, 3.0, 4.0, 5.5, 6.0, 7.0, 8.0, 9.0]);
    }

    #[test]
    fn no_trace_no_exemplar_and_a_source_that_panics_has_none() {
        let sources: [fn() -> Option<TraceContext>; 4] = [
            || None,
            || Some(TraceContext::new([0; 16], [2; 8])),
            || Some(TraceContext::new([1; 16], [0; 8])),
            || panic!("on purpose"),
        ];
        for source in sources {
            let exemplars = Exemplars::new(TraceSource::new(source));
            exemplars.rearm();
            exemplars.offer(Key::ZERO, 1.0);
            assert_eq!(copied(&exemplars), []);
        }
    }
}
