//! An application's own OpenTelemetry SDK as a way out.

mod alert;
mod metric;
mod replay;

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use opentelemetry::{
    logs::{Logger as _, LoggerProvider},
    metrics::{Meter, MeterProvider},
};

use self::metric::Metrics;
use super::otlp;
use crate::{
    alert::{Left, Remote, Sink, Speaker},
    event::Transition,
    sync::{Arc, Condvar, Mutex},
};

const SCOPE: &str = "highwater";
/// Instruments are brought up to date once a tick, and not more often than this.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

type Emit = Box<dyn Fn(&Transition) + Send>;

/// Metrics and alerts through an application's own providers; from [`sdk`](super::sdk).
#[must_use = "it does nothing until it is a builder's export"]
pub struct Sdk {
    meter: Option<Meter>,
    emit: Emit,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    closing: Option<Option<Instant>>,
    running: bool,
}

/// The way out for services that have an OpenTelemetry SDK of their own: the same metrics and
/// alerts through *their* meter and logger providers, and so through their exporters.
///
/// Sums and gauges are observables that read highwater's latest tick. The SDK offers no way in for
/// a histogram that is there already, so what each gained is recorded there value by value: count,
/// minimum and maximum are exact, the sum is to the last digit or two, and bucket counts are exact
/// for base-2 views no finer than scale 5, and within 2.2% of a bound for explicit ones. That costs
/// one call of the SDK for each value recorded, on a thread of its own, `highwater-sdk`: 0.07 s of
/// CPU time for a million with two attributes (`cargo run --release -p highwater-doors --example
/// sdk_bill`). The hot path does not change.
///
/// Alerts are log records named `highwater.alert.transition`, with the attributes they have over
/// OTLP.
///
/// Stop highwater first, then the providers, so that the last words are still heard.
///
/// ```no_run
/// # fn providers() -> (opentelemetry::metrics::noop::NoopMeterProvider, opentelemetry::logs::NoopLoggerProvider) { todo!() }
/// use highwater::{Highwater, export};
///
/// let (meter_provider, logger_provider) = providers();
/// let hw = Highwater::builder("shop")
///     .export(export::sdk(&meter_provider, &logger_provider))
///     .start()?;
/// # Ok::<(), highwater::Error>(())
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "otel-sdk-0-33")))]
pub fn sdk<L>(meter_provider: &dyn MeterProvider, logger_provider: &L) -> Sdk
where
    L: LoggerProvider,
    L::Logger: Send + 'static,
{
    let logger = logger_provider.logger(SCOPE);
    let emit = move |transition: &Transition| logger.emit(alert::record(&logger, transition));
    let meter = Some(meter_provider.meter(SCOPE));
    Sdk { meter, emit: Box::new(emit), shared: Arc::default() }
}

impl Sdk {
    pub(super) fn into_sink(self) -> Sink {
        Sink::remote("sdk", self)
    }
}

impl fmt::Debug for Sdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sdk").finish_non_exhaustive()
    }
}

impl Remote for Sdk {
    fn check(&self) -> Vec<otlp::Error> {
        Vec::new()
    }

    fn reads(&self) -> bool {
        true
    }

    fn begin(&mut self, speaker: Speaker) {
        let Some(meter) = self.meter.take() else { return };
        self.shared.state.lock().running = true;
        let shared = self.shared.clone();
        let thread = thread::Builder::new().name("highwater-sdk".to_owned());
        let started = thread.spawn(move || {
            shared.run(&speaker, Metrics::new(meter));
            shared.state.lock().running = false;
            shared.changed.notify_all();
        });
        if let Err(why) = started {
            log::error!("highwater: no thread for the SDK's metrics: {why}");
            self.shared.state.lock().running = false;
        }
    }

    fn tell(&mut self, transition: &Arc<Transition>) -> bool {
        (self.emit)(transition);
        true
    }

    fn close(&mut self, deadline: Option<Instant>) {
        self.shared.state.lock().closing = Some(deadline);
        self.shared.changed.notify_all();
    }

    fn finish(&mut self) -> Option<Left> {
        let mut state = self.shared.state.lock();
        while state.running {
            match state.closing.flatten() {
                None => self.shared.changed.wait(&mut state),
                Some(deadline) => {
                    if self.shared.changed.wait_until(&mut state, deadline).timed_out() {
                        let reason = "the SDK took too long to record".to_owned();
                        return state.running.then_some(Left { alerts: 1, reason });
                    }
                }
            }
        }
        None
    }
}

impl Shared {
    fn run(&self, speaker: &Speaker, mut metrics: Metrics) {
        let pause = speaker.tick.max(LEAST_PAUSE);
        loop {
            let next = Instant::now() + pause;
            let mut state = self.state.lock();
            while state.closing.is_none() && !self.changed.wait_until(&mut state, next).timed_out()
            {
            }
            let closing = state.closing.is_some();
            drop(state);
            (speaker.read)(&mut |snapshot| metrics.update(snapshot));
            if closing {
                return;
            }
        }
    }
}
