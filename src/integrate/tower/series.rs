//! The series of a server, found without a lock, and one request's way through them.
//!
//! Two tables that only grow. Methods and routes are few, as routes are templates; what does not
//! fit is resolved in the registry each time, which bounds it too.

use ::http::{HeaderMap, Method, StatusCode};

use super::{super::since::Since, Server, body::content_length};
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
    /// The request's and the response's; made if they are asked for.
    sizes: [InstrumentBuilder<Histogram>; 2],
    with_sizes: bool,
    active_requests: InstrumentBuilder<UpDownCounter>,
    scheme: String,
    active: [OnceCell<UpDownCounter>; METHODS.len()],
    routes: Box<[OnceCell<Box<Endpoint>>]>,
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
    duration: Histogram,
    sizes: Option<[Lazy<Histogram>; 2]>,
}

impl Series {
    pub(super) fn new(hw: &Highwater) -> Self {
        let histogram = |name, unit, help| hw.histogram(name).unit(unit).help(help);
        let size = |name, help| histogram(name, Unit::BYTES, help);
        Self {
            duration: histogram(
                semconv::HTTP_SERVER_REQUEST_DURATION,
                Unit::SECONDS,
                "Duration of HTTP server requests.",
            ),
            sizes: [
                size(semconv::HTTP_SERVER_REQUEST_BODY_SIZE, "Size of HTTP server request bodies."),
                size(
                    semconv::HTTP_SERVER_RESPONSE_BODY_SIZE,
                    "Size of HTTP server response bodies.",
                ),
            ],
            with_sizes: false,
            active_requests: hw
                .up_down_counter(semconv::HTTP_SERVER_ACTIVE_REQUESTS)
                .unit(Unit::known("{request}"))
                .help("Number of active HTTP server requests."),
            scheme: "http".to_owned(),
            active: Default::default(),
            routes: table(),
        }
    }

    /// The same without what has been found so far.
    pub(super) fn anew(&self) -> Self {
        Self {
            duration: self.duration.clone(),
            sizes: self.sizes.clone(),
            with_sizes: self.with_sizes,
            active_requests: self.active_requests.clone(),
            scheme: self.scheme.clone(),
            active: Default::default(),
            routes: table(),
        }
    }

    pub(super) fn with_scheme(&self, scheme: &str) -> Self {
        Self { scheme: scheme.to_owned(), ..self.anew() }
    }

    pub(super) fn with_sizes(&self) -> Self {
        Self { with_sizes: true, ..self.anew() }
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

    fn find(&self, method: usize, route: Option<&str>) -> Place {
        let make = || {
            let route = route.map(Into::into);
            Box::new(Endpoint { method, route, outcomes: Default::default() })
        };
        let hash = quick_hash(method as u64, route.unwrap_or("")) as usize;
        for probe in 0..PROBES {
            let at = (hash + probe) % ROUTES;
            let known = self.routes[at].get_or_init(make);
            if known.method == method && known.route.as_deref() == route {
                return Place::Table(at);
            }
        }
        Place::Own(make())
    }

    fn outcome(
        &self,
        endpoint: &Endpoint,
        status: Option<StatusCode>,
        error: Option<&'static str>,
    ) -> Outcome {
        let name = |of: &InstrumentBuilder<Histogram>| {
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
        };
        Outcome {
            status,
            error,
            duration: name(&self.duration).build(),
            sizes: self.with_sizes.then(|| self.sizes.each_ref().map(|size| name(size).into())),
        }
    }
}

fn table() -> Box<[OnceCell<Box<Endpoint>>]> {
    (0..ROUTES).map(|_| OnceCell::new()).collect()
}

/// Where an endpoint is found again; not by a count of references, which two cores would write to
/// with each request.
enum Place {
    Table(usize),
    /// The table has no room for it.
    Own(Box<Endpoint>),
}

/// One request, from its arrival to its end. Dropped before, it was cancelled, or panicked.
pub(super) struct Exchange {
    server: Arc<Server>,
    place: Place,
    method: usize,
    is_head: bool,
    begun: Since,
    request_size: Option<u64>,
    status: Option<StatusCode>,
    ended: bool,
}

impl Exchange {
    pub(super) fn begin(
        server: &Arc<Server>,
        method: &Method,
        route: Option<&str>,
        headers: &HeaderMap,
    ) -> Self {
        let begun = Since::now();
        let series = &server.series;
        let known = METHODS.iter().position(|known| *known == method.as_str());
        let at = known.unwrap_or(METHODS.len() - 1);
        series.active(at).add(1);
        Self {
            server: server.clone(),
            place: series.find(at, route),
            method: at,
            is_head: method == Method::HEAD,
            begun,
            request_size: if series.with_sizes { content_length(headers) } else { None },
            status: None,
            ended: false,
        }
    }

    pub(super) fn is_head(&self) -> bool {
        self.is_head
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
        let series = &self.server.series;
        series.active(self.method).add(-1);
        let seconds = self.begun.seconds();
        let endpoint = match &self.place {
            Place::Table(at) => self.server.series.routes[*at].get(),
            Place::Own(endpoint) => Some(endpoint),
        };
        // What was found is still there.
        let Some(endpoint) = endpoint else { return };
        let record = |outcome: &Outcome| {
            outcome.duration.record(seconds);
            if let Some([request, response]) = &outcome.sizes {
                for (size, bytes) in [(request, self.request_size), (response, sent)] {
                    if let Some(bytes) = bytes {
                        size.get().record(bytes as f64);
                    }
                }
            }
        };
        let make = || series.outcome(endpoint, self.status, error);
        for known in &endpoint.outcomes {
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
        if !self.ended {
            self.end(Some(if std::thread::panicking() { PANIC } else { CANCELLED }), None);
        }
    }
}
