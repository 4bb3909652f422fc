//! The series of a server, found without a lock, and one request's way through them.
//!
//! Two tables that only grow. Methods and routes are few, as routes are templates; what does not
//! fit is resolved in the registry each time, which bounds it too.

use std::time::Instant;

use ::http::{HeaderMap, Method, StatusCode};

use super::body::content_length;
use crate::{
    front::{InstrumentBuilder, Lazy},
    handle::Highwater,
    instrument::{Histogram, UpDownCounter},
    name::{Unit, quick_hash},
    semconv,
    sync::{Arc, OnceCell, once},
};

/// A power of two.
const ROUTES: usize = 512;
/// How far from its place a route may lie.
const PROBES: usize = 8;
/// Statuses and errors of one route and method.
const OUTCOMES: usize = 12;

const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "_OTHER"];

const CANCELLED: &str = semconv::ERROR_CANCELLED;
const PANIC: &str = "panic";

pub(super) struct Series {
    duration: InstrumentBuilder<Histogram>,
    request_size: InstrumentBuilder<Histogram>,
    response_size: InstrumentBuilder<Histogram>,
    active_requests: InstrumentBuilder<UpDownCounter>,
    scheme: String,
    active: [OnceCell<UpDownCounter>; METHODS.len()],
    routes: Box<[OnceCell<Arc<Endpoint>>]>,
}

/// One method of one route.
struct Endpoint {
    method: usize,
    route: Option<Box<str>>,
    outcomes: [OnceCell<Outcome>; OUTCOMES],
}

/// How a request can end.
struct Outcome {
    status: Option<StatusCode>,
    error: Option<&'static str>,
    duration: Lazy<Histogram>,
    request_size: Lazy<Histogram>,
    response_size: Lazy<Histogram>,
}

impl Series {
    pub(super) fn new(hw: &Highwater, scheme: &str) -> Self {
        let histogram = |name, unit, help| hw.histogram(name).unit(unit).help(help);
        Self::of(
            [
                histogram(
                    semconv::HTTP_SERVER_REQUEST_DURATION,
                    Unit::SECONDS,
                    "Duration of HTTP server requests.",
                ),
                histogram(
                    semconv::HTTP_SERVER_REQUEST_BODY_SIZE,
                    Unit::BYTES,
                    "Size of HTTP server request bodies.",
                ),
                histogram(
                    semconv::HTTP_SERVER_RESPONSE_BODY_SIZE,
                    Unit::BYTES,
                    "Size of HTTP server response bodies.",
                ),
            ],
            hw.up_down_counter(semconv::HTTP_SERVER_ACTIVE_REQUESTS)
                .unit(Unit::known("{request}"))
                .help("Number of active HTTP server requests."),
            scheme,
        )
    }

    fn of(
        [duration, request_size, response_size]: [InstrumentBuilder<Histogram>; 3],
        active_requests: InstrumentBuilder<UpDownCounter>,
        scheme: &str,
    ) -> Self {
        Self {
            duration,
            request_size,
            response_size,
            active_requests,
            scheme: scheme.to_owned(),
            active: Default::default(),
            routes: (0..ROUTES).map(|_| OnceCell::new()).collect(),
        }
    }

    pub(super) fn with_scheme(&self, scheme: &str) -> Self {
        let histograms = [&self.duration, &self.request_size, &self.response_size];
        Self::of(histograms.map(Clone::clone), self.active_requests.clone(), scheme)
    }

    pub(super) fn scheme(&self) -> &str {
        &self.scheme
    }

    fn active(&self, method: usize) -> &UpDownCounter {
        once(&self.active[method], || {
            let active = self
                .active_requests
                .clone()
                .label(semconv::HTTP_REQUEST_METHOD, METHODS[method])
                .label(semconv::URL_SCHEME, &self.scheme)
                .build();
            active.0.is_of_things();
            active
        })
    }

    fn endpoint(&self, method: usize, route: Option<&str>) -> Arc<Endpoint> {
        let make = || {
            let route = route.map(Into::into);
            Arc::new(Endpoint { method, route, outcomes: Default::default() })
        };
        let hash = quick_hash(method as u64, route.unwrap_or("")) as usize;
        for probe in 0..PROBES {
            let known = self.routes[(hash + probe) % ROUTES].get_or_init(make);
            if known.method == method && known.route.as_deref() == route {
                return known.clone();
            }
        }
        make()
    }

    fn outcome(
        &self,
        endpoint: &Endpoint,
        status: Option<StatusCode>,
        error: Option<&'static str>,
    ) -> Outcome {
        let build = |of: &InstrumentBuilder<Histogram>| -> Lazy<Histogram> {
            let mut series = of
                .clone()
                .label(semconv::HTTP_REQUEST_METHOD, METHODS[endpoint.method])
                .label(semconv::URL_SCHEME, &self.scheme);
            if let Some(route) = &endpoint.route {
                series = series.label(semconv::HTTP_ROUTE, route);
            }
            if let Some(status) = &status {
                series = series.label(semconv::HTTP_RESPONSE_STATUS_CODE, status.as_str());
            }
            let failed = status.filter(StatusCode::is_server_error);
            match (error, &failed) {
                (Some(error), _) => series.label(semconv::ERROR_TYPE, error),
                (None, Some(status)) => series.label(semconv::ERROR_TYPE, status.as_str()),
                (None, None) => series,
            }
            .into()
        };
        Outcome {
            status,
            error,
            duration: build(&self.duration),
            request_size: build(&self.request_size),
            response_size: build(&self.response_size),
        }
    }
}

/// One request, from its arrival to its end. Dropped before, it was cancelled, or panicked.
pub(super) struct Exchange {
    series: Arc<Series>,
    endpoint: Arc<Endpoint>,
    method: Method,
    begun: Instant,
    request_size: Option<u64>,
    status: Option<StatusCode>,
    ended: bool,
}

impl Exchange {
    pub(super) fn begin(
        series: &Arc<Series>,
        method: &Method,
        route: Option<&str>,
        headers: &HeaderMap,
    ) -> Self {
        let begun = Instant::now();
        let known = METHODS.iter().position(|known| *known == method.as_str());
        let at = known.unwrap_or(METHODS.len() - 1);
        series.active(at).add(1);
        Self {
            endpoint: series.endpoint(at, route),
            series: series.clone(),
            method: method.clone(),
            begun,
            request_size: content_length(headers),
            status: None,
            ended: false,
        }
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn status(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// All was handed over; so many bytes of body, that may have told of a failure.
    pub(super) fn complete(mut self, sent: u64, failed: Option<&'static str>) {
        self.end(failed, Some(sent));
    }

    pub(super) fn fail(mut self, error: &'static str) {
        self.end(Some(error), None);
    }

    fn end(&mut self, error: Option<&'static str>, sent: Option<u64>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.series.active(self.endpoint.method).add(-1);
        let elapsed = self.begun.elapsed();
        let record = |outcome: &Outcome| {
            outcome.duration.get().record_duration(elapsed);
            if let Some(bytes) = self.request_size {
                outcome.request_size.get().record(bytes as f64);
            }
            if let Some(bytes) = sent {
                outcome.response_size.get().record(bytes as f64);
            }
        };
        let make = || self.series.outcome(&self.endpoint, self.status, error);
        for known in &self.endpoint.outcomes {
            let known = once(known, make);
            if known.status == self.status && known.error == error {
                return record(known);
            }
        }
        record(&make());
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end(Some(if std::thread::panicking() { PANIC } else { CANCELLED }), None);
    }
}
