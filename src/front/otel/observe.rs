//! Observables: callbacks that are asked once a tick what a value is.
//!
//! They are strangers' code, so they run on a thread of their own (`highwater-observe`, started
//! with the first of them), each under `catch_unwind`. What they say is there at the next tick. One
//! that has taken a whole tick is late: it is passed over until it comes back, another thread goes
//! on with the rest, and its values become absent. At most [`MAX_LATE`] are waited for at a time.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Callback},
};

use crate::{
    instrument::Gauge,
    name::Labels,
    registry::{Kind, Registry},
    sync::{Arc, Monitor, Mutex},
};

const MAX_LATE: usize = 3;

/// What a callback may report.
pub(super) trait Number: Copy + Send + Sync + 'static {
    fn as_f64(self) -> f64;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Number for $number {
            fn as_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}

numbers!(u64, i64, f64);

/// One instrument's callbacks, whatever their number type.
trait Observable: Send + Sync {
    fn name(&self) -> &str;
    /// Asks all of its callbacks.
    fn ask(&self);
    /// Makes what they reported absent.
    fn forget(&self);
}

struct Instrument<T> {
    registry: Arc<Registry>,
    name: String,
    kind: Kind,
    callbacks: Vec<Callback<T>>,
    series: Mutex<HashMap<Labels, (Gauge, u64)>>,
    round: Mutex<u64>,
}

impl<T: Number> Observable for Instrument<T> {
    fn name(&self) -> &str {
        &self.name
    }

    fn ask(&self) {
        let round = {
            let mut round = self.round.lock();
            *round += 1;
            *round
        };
        let heard = Heard { of: self, round };
        self.callbacks.iter().for_each(|callback| callback(&heard));
        // What was not reported this time is no more.
        self.series.lock().retain(|_, (gauge, heard)| {
            let is_there = *heard == round;
            if !is_there {
                gauge.clear();
            }
            is_there
        });
    }

    fn forget(&self) {
        self.series.lock().drain().for_each(|(_, (gauge, _))| gauge.clear());
    }
}

struct Heard<'a, T> {
    of: &'a Instrument<T>,
    round: u64,
}

impl<T: Number> AsyncInstrument<T> for Heard<'_, T> {
    fn observe(&self, measurement: T, attributes: &[KeyValue]) {
        let Instrument { registry, name, kind, series, .. } = self.of;
        let labels = super::labels(attributes);
        let mut series = series.lock();
        let (gauge, round) = series.entry(labels).or_insert_with_key(|labels| {
            let gauge = match kind {
                Kind::ObservedCounter => registry.observed_counter(name, labels),
                Kind::ObservedUpDown => registry.observed_up_down(name, labels),
                _ => registry.gauge(name, labels),
            };
            (gauge, 0)
        });
        gauge.set(measurement.as_f64());
        *round = self.round;
    }
}

/// All observables of an instance.
#[derive(Default)]
pub(crate) struct Observers {
    state: Monitor<State>,
}

#[derive(Default)]
struct State {
    observables: Vec<Arc<dyn Observable>>,
    /// Of this round, those yet to be asked.
    next: usize,
    /// Rounds so far.
    round: u64,
    /// Being asked by the worker in charge, and since which round.
    busy: Option<(Arc<dyn Observable>, u64)>,
    /// Not come back by the end of their round.
    late: Vec<Arc<dyn Observable>>,
    /// The worker in charge; one that finds another number here has been replaced.
    in_charge: u64,
    running: bool,
    stopped: bool,
}

impl Observers {
    pub(super) fn add<T: Number>(
        self: &Arc<Self>,
        registry: &Arc<Registry>,
        name: &str,
        kind: Kind,
        callbacks: Vec<Callback<T>>,
    ) {
        if callbacks.is_empty() {
            return;
        }
        let observable = Instrument {
            registry: registry.clone(),
            name: name.to_owned(),
            kind,
            callbacks,
            series: Mutex::default(),
            round: Mutex::default(),
        };
        let mut state = self.state.lock();
        // It is asked in this round already.
        state.observables.push(Arc::new(observable));
        self.state.notify_all();
        if !state.running && !state.stopped {
            state.running = self.start(state.in_charge);
        }
    }

    fn start(self: &Arc<Self>, number: u64) -> bool {
        let observers = self.clone();
        let thread = thread::Builder::new().name("highwater-observe".to_owned());
        let started = thread.spawn(move || observers.work(number));
        if let Err(why) = &started {
            log::warn!("highwater: observables are not asked: {why}");
        }
        started.is_ok()
    }

    /// Called once a tick: a new round; leaves behind who has not come back.
    pub(crate) fn round(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.observables.is_empty() {
            return;
        }
        if !state.running {
            state.running = self.start(state.in_charge);
        }
        state.round += 1;
        // One whose turn came in the round just over has not had a whole tick yet.
        let over = state.round - 1;
        let is_late = state.busy.as_ref().is_some_and(|(_, since)| *since < over);
        if is_late && state.late.len() < MAX_LATE {
            let number = state.in_charge + 1;
            if self.start(number) {
                state.in_charge = number;
                if let Some((late, _)) = state.busy.take() {
                    log::warn!(
                        "highwater: the callback of {:?} takes longer than a tick",
                        late.name()
                    );
                    late.forget();
                    state.late.push(late);
                }
            }
        }
        if state.busy.is_none() {
            state.next = 0;
            self.state.notify_all();
        }
    }

    /// No more rounds.
    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.state.notify_all();
    }

    fn work(&self, number: u64) {
        while let Some(observable) = self.next(number) {
            let asked = catch_unwind(AssertUnwindSafe(|| observable.ask()));
            let mut state = self.state.lock();
            let was_late = state.in_charge != number;
            if asked.is_err() || was_late {
                observable.forget();
            }
            if asked.is_err() {
                log::error!(
                    "highwater: the callback of {:?} panicked: it is not asked again",
                    observable.name()
                );
                let at = state.observables.iter().position(|other| Arc::ptr_eq(other, &observable));
                if let Some(at) = at {
                    state.observables.remove(at);
                    state.next -= usize::from(at < state.next);
                }
            }
            if was_late {
                state.late.retain(|other| !Arc::ptr_eq(other, &observable));
                return;
            }
            state.busy = None;
        }
    }

    /// Waits for the next one to be asked; `None` when there will be none.
    fn next(&self, number: u64) -> Option<Arc<dyn Observable>> {
        let mut state = self.state.lock();
        loop {
            if state.stopped || state.in_charge != number {
                return None;
            }
            while let Some(next) = state.observables.get(state.next).cloned() {
                state.next += 1;
                if !state.late.iter().any(|late| Arc::ptr_eq(late, &next)) {
                    state.busy = Some((next.clone(), state.round));
                    return Some(next);
                }
            }
            state = self.state.wait(state);
        }
    }
}

impl std::fmt::Debug for Observers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::registry::DEFAULT_CARDINALITY_LIMIT;

    #[test]
    fn one_whose_turn_came_late_is_not_late_itself() {
        let observers = Arc::<Observers>::default();
        let registry = Arc::new(Registry::new(DEFAULT_CARDINALITY_LIMIT));
        let (asked, hear) = mpsc::channel();
        let add = |name: &'static str| {
            let (release, wait) = mpsc::channel::<()>();
            let (asked, wait) = (asked.clone(), Mutex::new(wait));
            let callback: Callback<u64> = Box::new(move |_| {
                _ = asked.send(name);
                _ = wait.lock().recv();
            });
            observers.add(&registry, name, Kind::Gauge, vec![callback]);
            release
        };
        let (first, second) = (add("first"), add("second"));
        let late = || {
            let state = observers.state.lock();
            state.late.iter().map(|late| late.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(hear.recv(), Ok("first"));
        first.send(()).unwrap();
        assert_eq!(hear.recv(), Ok("second"), "just before the round is over");
        observers.round();
        assert!(late().is_empty(), "{:?}", late());
        observers.round();
        assert_eq!(late(), ["second"]);
        drop((first, second));
        observers.stop();
    }
}
