//! The OpenTelemetry metrics API's door: libraries instrumented with `opentelemetry` record into
//! our registry, so what they say is judged by rules and exported like everything else.
//!
//! Recording finds the series of an attribute set under a read lock, without allocating, once the
//! set is known; without attributes there is no lock. Observables' callbacks run on a thread of
//! their own: see [`observe`].

mod observe;
mod provider;

pub(crate) use observe::Observers;
pub use provider::MeterProvider;

use opentelemetry::{KeyValue, metrics::SyncInstrument};

use crate::{
    instrument::{Counter, Gauge, Histogram, UpDownCounter},
    name::{Labels, Unit},
    registry::Registry,
    sync::{Arc, RwLock, once},
};
use once_cell::sync::OnceCell;
use std::collections::HashMap;

/// Attribute sets an instrument remembers; those beyond are resolved each time, into the metric's
/// overflow series.
const REMEMBERED: usize = 4_096;

/// Values of all types as labels, as Prometheus has them.
fn labels(attributes: &[KeyValue]) -> Labels {
    Labels::new(attributes.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())))
}

/// What a library called a unit, if it is one.
fn unit(given: Option<&str>) -> Unit {
    given.and_then(|unit| Unit::parse(unit).ok()).unwrap_or_default()
}

/// A synchronous instrument.
struct Instrument<H> {
    registry: Arc<Registry>,
    name: String,
    resolve: fn(&Registry, &str, &Labels) -> H,
    bare: OnceCell<H>,
    known: RwLock<HashMap<Box<[KeyValue]>, H>>,
}

impl<H: Clone> Instrument<H> {
    fn new(
        registry: Arc<Registry>,
        name: &str,
        resolve: fn(&Registry, &str, &Labels) -> H,
    ) -> Self {
        let name = name.to_owned();
        Self { registry, name, resolve, bare: OnceCell::new(), known: RwLock::default() }
    }

    fn with<T>(&self, attributes: &[KeyValue], record: impl FnOnce(&H) -> T) -> T {
        if attributes.is_empty() {
            let resolve = || (self.resolve)(&self.registry, &self.name, &Labels::empty());
            return record(once(&self.bare, resolve));
        }
        if let Some(known) = self.known.read().get(attributes) {
            return record(known);
        }
        let handle = (self.resolve)(&self.registry, &self.name, &labels(attributes));
        let mut known = self.known.write();
        if known.len() < REMEMBERED {
            known.insert(attributes.into(), handle.clone());
        }
        drop(known);
        record(&handle)
    }
}

/// How a value of one of the API's types goes into one of our instruments.
trait Record<T>: Clone + Send + Sync + 'static {
    fn record(&self, value: T);
}

impl Record<u64> for Counter {
    fn record(&self, value: u64) {
        self.increment(value);
    }
}

impl Record<i64> for UpDownCounter {
    fn record(&self, value: i64) {
        self.add(value);
    }
}

/// A sum of fractions, which only grows.
#[derive(Clone)]
struct Growing(Gauge);

impl Record<f64> for Growing {
    fn record(&self, value: f64) {
        // The API's contract: what is negative is no increment. NaN is counted further down.
        if value >= 0.0 || value.is_nan() {
            self.0.add(value);
        }
    }
}

/// A sum of fractions.
#[derive(Clone)]
struct Summed(Gauge);

impl Record<f64> for Summed {
    fn record(&self, value: f64) {
        self.0.add(value);
    }
}

macro_rules! as_f64 {
    ($handle:ty, $method:ident: $($number:ty),*) => {$(
        impl Record<$number> for $handle {
            fn record(&self, value: $number) {
                self.$method(value as f64);
            }
        }
    )*};
}

as_f64!(Gauge, set: u64, i64, f64);
as_f64!(Histogram, record: u64, f64);

impl<T, H: Record<T>> SyncInstrument<T> for Instrument<H> {
    fn measure(&self, measurement: T, attributes: &[KeyValue]) {
        self.with(attributes, |handle| handle.record(measurement));
    }
}
