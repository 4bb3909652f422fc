//! HTTP servers: a [`tower`](https://docs.rs/tower) layer, so axum, tonic, hyper and whatever else
//! is a `Service` of `http` requests.
//!
//! | metric | instrument, unit | attributes |
//! |---|---|---|
//! | `http.server.request.duration` | histogram, s | `http.request.method`, `url.scheme`, `http.route`, `http.response.status_code`, `error.type` |
//! | `http.server.active_requests` | up-down counter, `{request}` | `http.request.method`, `url.scheme` |
//! | `http.server.request.body.size` | histogram, By; if [asked for](Http::body_sizes) | as the duration |
//! | `http.server.response.body.size` | histogram, By; if [asked for](Http::body_sizes) | as the duration |
//!
//! A request lasts until its response's body has been handed over to the last byte, streamed ones
//! too; only then it is recorded and no longer active. `error.type` is there only for what failed:
//! the status for 500 and above, gRPC's for those a server is to blame for (`INTERNAL`,
//! `DEADLINE_EXCEEDED`, `UNAVAILABLE`, `UNKNOWN`, `UNIMPLEMENTED`, `DATA_LOSS`; its HTTP status is 200
//! all the same), `cancelled` for a client that went away (before there was a
//! response, or in the middle of its body), `panic`, or the type of the service's or the body's
//! error. Methods nobody knows are `_OTHER`. The request body's size is that of its
//! `Content-Length`, so chunked ones have none; the response body's is counted.
//!
//! Routes are templates or nothing: a raw path is never a label. [`Http::route`] says where the
//! framework keeps the template.
//!
//! Cost of a request: two readings of the clock, one look into a table without locks, a record, and two
//! additions for what is active; two records more for the sizes. No allocation once a route's outcome
//! has been seen (what a framework allocates for having a layer at all is its own: axum boxes the
//! service, its future and its body once more).

mod body;
mod future;
mod grpc;
mod series;

pub use body::Measured;
pub use future::Responding;

use std::{
    fmt,
    task::{Context, Poll},
};

use ::http::{Extensions, Request, Response, Uri};
use http_body::Body;

use self::series::{Exchange, Series};
use crate::{handle::Highwater, sync::Arc};

type Route = dyn for<'r> Fn(&'r Uri, &'r Extensions) -> Option<&'r str> + Send + Sync;

/// A layer that measures every request.
///
/// With axum (after the routes, so that they are matched when it is called):
///
/// ```
/// use axum::routing::get;
/// # use highwater::{Highwater, integrate};
/// # let hw = Highwater::builder("doc").start()?;
/// let app: axum::Router = axum::Router::new()
///     .route("/orders/{id}", get(async || "7 orders"))
///     .layer(integrate::tower::http(&hw).route(|_, request| {
///         request.get::<axum::extract::MatchedPath>().map(|path| path.as_str())
///     }));
/// # Ok::<(), highwater::Error>(())
/// ```
///
/// With any service, tonic's `Server::builder().layer(…)` among them, where a route is the call's path:
///
/// ```
/// use highwater::{Highwater, integrate};
/// use http::{Request, Response};
/// use tower_layer::Layer;
/// use tower_service::Service;
/// # #[derive(Clone)] struct Shop;
/// # impl Service<Request<String>> for Shop {
/// #     type Response = Response<String>;
/// #     type Error = std::convert::Infallible;
/// #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
/// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
/// #         std::task::Poll::Ready(Ok(()))
/// #     }
/// #     fn call(&mut self, _: Request<String>) -> Self::Future {
/// #         std::future::ready(Ok(Response::new("7 orders".to_owned())))
/// #     }
/// # }
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let hw = Highwater::builder("doc").start()?;
/// let mut shop = integrate::tower::http(&hw)
///     .route(|uri, _| uri.path().starts_with("/orders/").then_some("/orders/{id}"))
///     .layer(Shop);
/// let response = shop.call(Request::get("/orders/7").body(String::new())?).await?;
/// assert_eq!(response.status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "give it to the server"]
pub struct Http {
    server: Arc<Server>,
}

/// What all requests of a server share; one thing, as every request holds it, and none of it beside
/// the count of who does.
#[repr(align(128))]
struct Server {
    series: Series,
    route: Option<Arc<Route>>,
}

/// See [`Http`].
pub fn http(hw: &Highwater) -> Http {
    Http::of(Series::new(hw), None)
}

impl Http {
    fn of(series: Series, route: Option<Arc<Route>>) -> Self {
        Self { server: Arc::new(Server { series, route }) }
    }

    /// Where a request's route template is found: in its extensions, or by its path. `None`, as for
    /// every request by default, is a request without a route.
    pub fn route(
        self,
        template: impl for<'r> Fn(&'r Uri, &'r Extensions) -> Option<&'r str> + Send + Sync + 'static,
    ) -> Self {
        Self::of(self.server.series.anew(), Some(Arc::new(template)))
    }

    /// What clients speak, if that is not `http`: behind a proxy that ends TLS the service does not
    /// see it.
    pub fn scheme(self, scheme: &str) -> Self {
        Self::of(self.server.series.with_scheme(scheme), self.server.route.clone())
    }

    /// Measures the sizes of bodies too: `http.server.request.body.size` and `.response.body.size`,
    /// which the conventions leave to each service.
    pub fn body_sizes(self) -> Self {
        Self::of(self.server.series.with_sizes(), self.server.route.clone())
    }
}

impl<S> tower_layer::Layer<S> for Http {
    type Service = MeasuredService<S>;

    fn layer(&self, inner: S) -> MeasuredService<S> {
        MeasuredService { inner, http: self.clone() }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("scheme", &self.server.series.scheme()).finish_non_exhaustive()
    }
}

/// A service whose requests are measured; from [`Http`].
#[derive(Clone, Debug)]
pub struct MeasuredService<S> {
    inner: S,
    http: Http,
}

impl<S, A, B> tower_service::Service<Request<A>> for MeasuredService<S>
where
    S: tower_service::Service<Request<A>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<Measured<B>>;
    type Error = S::Error;
    type Future = Responding<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let server = &self.http.server;
        let template = server.route.as_ref();
        let route = template.and_then(|route| route(request.uri(), request.extensions()));
        let exchange = Exchange::begin(server, request.method(), route, request.headers());
        Responding::new(self.inner.call(request), exchange)
    }
}
