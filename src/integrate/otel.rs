//! Libraries instrumented with the `opentelemetry` API: what they record lands in the registry, in
//! the rules and in the exports, with no OpenTelemetry SDK beside highwater.
//!
//! ```
//! use highwater::{Highwater, integrate::otel};
//! use opentelemetry::{KeyValue, global};
//!
//! let hw = Highwater::builder("shop").start()?;
//! global::set_meter_provider(otel::meter_provider(&hw));
//! // Anywhere in the process, in any library:
//! let orders = global::meter("shop").u64_counter("orders").build();
//! orders.add(1, &[KeyValue::new("kind", "book")]);
//! # Ok::<(), highwater::Error>(())
//! ```

pub use crate::front::otel::MeterProvider;

use opentelemetry::trace::TraceContextExt;

use crate::{
    front::otel::Observers,
    handle::Highwater,
    instrument::TraceContext,
    sample::{Failure, Meter, Sampler},
    sync::Arc,
};

/// A provider of meters that record into `hw`. Call it once: each one has callbacks of its own.
///
/// Counters, up-down counters and histograms of whole numbers and seconds are highwater's own;
/// sums of fractions are kept in one cell each. Recording costs a look-up of the attributes under
/// a read lock on top of a native handle, none without attributes.
///
/// Callbacks of observables are asked once a tick, on a thread of their own, and what they say is
/// judged at the next tick. One that panics is not asked again; one that takes longer than a tick
/// is passed over, and its values are absent, until it comes back.
pub fn meter_provider(hw: &Highwater) -> MeterProvider {
    let observers = Arc::<Observers>::default();
    hw.sample(Rounds(observers.clone()));
    MeterProvider::new(hw.registry().clone(), observers)
}

/// The span that is OpenTelemetry's current one on the calling thread, if it is sampled: for
/// [`Builder::exemplars`](crate::Builder::exemplars), so that a slow query on a dashboard leads to
/// its trace.
///
/// ```
/// use highwater::{Highwater, integrate::otel};
/// let hw = Highwater::builder("shop").exemplars(otel::trace_context).start()?;
/// # Ok::<(), highwater::Error>(())
/// ```
pub fn trace_context() -> Option<TraceContext> {
    opentelemetry::Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_sampled()
            .then(|| TraceContext::new(span.trace_id().to_bytes(), span.span_id().to_bytes()))
    })
}

/// A round of questions each tick, until the last.
struct Rounds(Arc<Observers>);

impl Sampler for Rounds {
    fn name(&self) -> &str {
        "opentelemetry"
    }

    fn start(&mut self, _: &mut Meter) -> Result<(), Failure> {
        Ok(())
    }

    fn sample(&mut self) -> Result<(), Failure> {
        self.0.round();
        Ok(())
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.0.stop();
    }
}
