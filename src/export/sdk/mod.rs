//! An application's own OpenTelemetry SDK as a way out.

mod alert;
mod metric;
mod replay;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use opentelemetry::{
    logs::{Logger as _, LoggerProvider},
    metrics::{Meter, MeterProvider},
};

use self::metric::Metrics;
use super::otlp;
use crate::{
    alert::{Habits, Left, Remote, Retrier, Sink, Speaker},
    event::Transition,
    sync::{Arc, Monitor, Mutex},
};

const SCOPE: &str = "highwater";
/// Instruments are brought up to date once a tick, and not more often than this.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// Between two attempts to start a thread that was refused.
const RETRY: Duration = Duration::from_secs(10);

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
    state: Monitor<State>,
    /// What the thread works on, until there is one.
    work: Mutex<Option<Work>>,
}

#[derive(Default)]
struct State {
    closing: Option<Option<Instant>>,
    running: bool,
    /// When the thread was refused, until there is one.
    refused: Option<Instant>,
}

struct Work {
    speaker: Speaker,
    meter: Meter,
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
/// OTLP: every transition once, hushed ones too.
///
/// Histograms ask for the bounds that OTLP's explicit ones would have here (those the semantic
/// conventions advise, or [`explicit_bounds`](otlp::Config::explicit_bounds) declares); a view of
/// the application's wins.
///
/// With it nothing is pushed beside the SDK, whatever `OTEL_EXPORTER_OTLP_ENDPOINT` says, unless
/// `HIGHWATER_ENDPOINT` or an [`otlp`] export in code says so.
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

    fn habits(&self) -> Habits {
        Habits { exports: true, ..Habits::default() }
    }

    fn reads(&self) -> bool {
        true
    }

    fn begin(&mut self, speaker: Speaker) {
        let Some(meter) = self.meter.take() else { return };
        *self.shared.work.lock() = Some(Work { speaker, meter });
        self.shared.start();
    }

    fn retrier(&self) -> Retrier {
        let shared = self.shared.clone();
        Box::new(move || shared.retry(RETRY))
    }

    fn tell(&mut self, transition: &Arc<Transition>) -> bool {
        (self.emit)(transition);
        true
    }

    fn close(&mut self, deadline: Option<Instant>) {
        self.shared.state.lock().closing = Some(deadline);
        self.shared.state.notify_all();
        self.shared.retry(Duration::ZERO);
    }

    fn finish(&mut self) -> Option<Left> {
        let mut state = self.shared.state.lock();
        while state.running {
            let Some(deadline) = state.closing.flatten() else {
                state = self.shared.state.wait(state);
                continue;
            };
            let late;
            (state, late) = self.shared.state.wait_until(state, deadline);
            if late && state.running {
                let reason = "the SDK took too long to record".to_owned();
                return Some(Left { alerts: 1, reason });
            }
        }
        None
    }
}

impl Shared {
    fn start(self: &Arc<Self>) {
        let shared = self.clone();
        let work = move || {
            let work = shared.work.lock().take();
            if let Some(work) = work {
                shared.run(work);
            }
            shared.state.lock().running = false;
            shared.state.notify_all();
        };
        let mut state = self.state.lock();
        let spawned = thread::Builder::new().name("highwater-sdk".to_owned()).spawn(work);
        state.running = spawned.is_ok();
        state.refused = spawned.is_err().then(Instant::now);
        if let Err(why) = spawned {
            log::error!(
                "highwater: no thread for the SDK's metrics, trying again in {RETRY:?}: {why}"
            );
        }
    }

    /// Starts it if it was refused so long ago.
    fn retry(self: &Arc<Self>, after: Duration) {
        let refused = self.state.lock().refused;
        if refused.is_some_and(|at| at.elapsed() >= after) {
            self.start();
        }
    }

    fn run(&self, Work { speaker, meter }: Work) {
        let mut metrics = Metrics::new(meter, speaker.bounds.clone());
        let pause = speaker.tick.max(LEAST_PAUSE);
        let mut panicked = false;
        loop {
            let next = Instant::now() + pause;
            let mut state = self.state.lock();
            let mut due = false;
            while state.closing.is_none() && !due {
                (state, due) = self.state.wait_until(state, next);
            }
            let closing = state.closing.is_some();
            drop(state);
            // Their instruments, and views, are strangers' code.
            let round = catch_unwind(AssertUnwindSafe(|| {
                (speaker.read)(&mut |snapshot| metrics.update(snapshot));
            }));
            if round.is_err() && !std::mem::replace(&mut panicked, true) {
                log::error!("highwater: the SDK panicked while it was told of metrics");
            }
            if closing {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_was_refused_is_tried_again() {
        let shared = Arc::<Shared>::default();
        shared.state.lock().refused = Some(Instant::now());
        shared.retry(RETRY);
        assert!(shared.state.lock().refused.is_some(), "not yet");
        shared.retry(Duration::ZERO);
        let mut state = shared.state.lock();
        assert!(state.refused.is_none());
        while state.running {
            state = shared.state.wait(state);
        }
    }
}
