//! A value of the user's, read by a closure.

use super::{Failure, Meter, Sampler, field::put};
use crate::{
    instrument::Gauge,
    name::{Labels, Unit},
    registry::Kind,
};

/// A gauge that is read by a closure once a tick: a queue's length, a cache's size.
///
/// The closure runs on the tick thread and must not block; it returns a number, or an `Option`
/// of one where there may be none. NaN and infinities are dropped and counted; a panic makes the
/// sampler *failed* and the value absent.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use highwater::{sample, Unit};
///
/// let queue = Arc::new(Mutex::new(vec![1, 2, 3]));
/// let read = queue.clone();
/// let depth = sample::gauge("queue.depth", move || {
///     read.try_lock().ok().map(|queue| queue.len() as f64)
/// });
/// let depth = depth.unit(Unit::ONE).help("Jobs waiting.").label("queue", "orders");
/// # let _ = depth;
/// ```
pub fn gauge<F, T>(name: impl Into<String>, read: F) -> GaugeFn<F>
where
    F: FnMut() -> T + Send,
    T: Into<Option<f64>>,
{
    GaugeFn {
        name: name.into(),
        unit: Unit::NONE,
        help: String::new(),
        labels: Labels::empty(),
        read,
        gauge: None,
    }
}

/// See [`gauge`].
pub struct GaugeFn<F> {
    name: String,
    unit: Unit,
    help: String,
    labels: Labels,
    read: F,
    gauge: Option<Gauge>,
}

impl<F> GaugeFn<F> {
    /// The value's unit; none by default.
    #[must_use]
    pub fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }

    /// A sentence about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// One more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels = self.labels.with(key, value);
        self
    }
}

impl<F, T> Sampler for GaugeFn<F>
where
    F: FnMut() -> T + Send,
    T: Into<Option<f64>>,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&mut self, meter: &mut Meter) -> Result<(), Failure> {
        let unit = self.unit.clone();
        let gauge = meter.remember(&self.name, Kind::Gauge, unit, &self.help, &self.labels);
        self.gauge = Some(gauge);
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        if let Some(gauge) = &self.gauge {
            put(gauge, (self.read)().into());
        }
        Ok(())
    }
}

impl<F> std::fmt::Debug for GaugeFn<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GaugeFn").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{
        super::tests::{started, value},
        *,
    };

    #[test]
    fn a_closure_gives_a_number_or_none() {
        let mut next = [Some(3.0), None].into_iter();
        let depth = gauge("depth", move || next.next().flatten());
        let (mut depth, registry) = started(depth.unit(Unit::BYTES).label("queue", "a"));
        depth.sample().unwrap();
        assert_eq!(value(&registry, r#"depth{queue="a"}"#), Some(3.0));
        depth.sample().unwrap();
        assert_eq!(value(&registry, r#"depth{queue="a"}"#), None);
        let (mut plain, registry) = started(gauge("plain", || 1.5));
        plain.sample().unwrap();
        assert_eq!(value(&registry, "plain{}"), Some(1.5));
    }
}
