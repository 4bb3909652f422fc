//! The layer under tonic and under hyper alone, over real connections: how a gRPC call ended, whose
//! HTTP status is 200 in any case, and a service without a framework.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/points.rs"]
mod points;
#[path = "../../support/receiver.rs"]
mod receiver;

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use highwater::integrate;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use points::Points;
use receiver::{Reaction, Receiver};
use tokio::net::{TcpListener, TcpStream};
use tower_layer::Layer;
use tower_service::Service;

const DURATION: &str = "http.server.request.duration";

type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

/// A message, then how the call ended.
struct Streamed(Vec<Frame<Bytes>>);

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(if self.0.is_empty() { None } else { Some(Ok(self.0.remove(0))) })
    }
}

/// A gRPC service of the methods `Works`, `Breaks` (after its first message), `Refuses` and `Fails`
/// (at once), and `Hangs`.
#[derive(Clone)]
struct Shop;

impl tonic::server::NamedService for Shop {
    const NAME: &'static str = "shop.Shop";
}

impl Service<Request<tonic::body::Body>> for Shop {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Answering<tonic::body::Body>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        Box::pin(async move {
            let streamed = |status: &'static str| {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static(status));
                // Not compressed, of two bytes.
                let message = Bytes::from_static(b"\0\0\0\0\x02\x08\x07");
                let frames = vec![Frame::data(message), Frame::trailers(trailers)];
                let mut response = Response::new(tonic::body::Body::new(Streamed(frames)));
                let kind = HeaderValue::from_static("application/grpc");
                response.headers_mut().insert("content-type", kind);
                response
            };
            Ok(match method.as_str() {
                "Works" => streamed("0"),
                "Breaks" => streamed("14"),
                "Refuses" => tonic::Status::not_found("no such order").into_http(),
                "Fails" => tonic::Status::internal("on purpose").into_http(),
                _ => std::future::pending().await,
            })
        })
    }
}

async fn grpc(hw: &highwater::Highwater) -> SocketAddr {
    let layer = integrate::tower::http(hw).route(|uri, _| {
        let known = ["Works", "Breaks", "Refuses", "Fails", "Hangs"];
        let path = uri.path();
        path.strip_prefix("/shop.Shop/").filter(|call| known.contains(call)).map(|_| path)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(async move {
        let server = tonic::transport::Server::builder().layer(layer).add_service(Shop);
        server.serve_with_incoming(incoming).await.unwrap();
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_call_that_fails_is_a_failure_though_its_status_is_200() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let address = grpc(&hw).await;
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = |path: &str| {
        Request::post(format!("http://{address}/{path}"))
            .header("content-type", "application/grpc")
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    for (path, status) in [
        ("shop.Shop/Works", "0"),
        ("shop.Shop/Breaks", "14"),
        ("shop.Shop/Refuses", "5"),
        ("shop.Shop/Fails", "13"),
        // tonic itself answers what is not there.
        ("other.Other/Unknown", "12"),
    ] {
        let response = client.send_request(request(path)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let head = response.headers().get("grpc-status").cloned();
        let body = response.into_body().collect().await.unwrap();
        let last = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
        assert_eq!(head.or(last).unwrap(), status, "{path}");
    }
    // The caller goes away.
    let mut other = client.clone();
    let hangs = request("shop.Shop/Hangs");
    let hangs = tokio::spawn(async move { other.send_request(hangs).await.map(drop) });
    Points::until(&receiver, |points| points.value("http.server.active_requests") == Some(1.0));
    hangs.abort();
    let _ = hangs.await;

    let points = Points::until(&receiver, |points| {
        points.all(DURATION).filter_map(|point| point.count).sum::<u64>() == 6
    });
    let error = |method: &str| {
        let route = format!("/shop.Shop/{method}");
        let mut of = points.all(DURATION).filter(|p| p.get("http.route") == Some(route.as_str()));
        let (one, no_more) = (of.next().unwrap(), of.next());
        assert!(no_more.is_none() && one.count == Some(1), "{points:#?}");
        (one.get("error.type"), one.get("http.response.status_code"))
    };
    assert_eq!(error("Works"), (None, Some("200")));
    assert_eq!(error("Breaks"), (Some("UNAVAILABLE"), Some("200")));
    assert_eq!(error("Refuses"), (None, Some("200")), "the caller's mistake");
    assert_eq!(error("Fails"), (Some("INTERNAL"), Some("200")));
    assert_eq!(error("Hangs"), (Some("cancelled"), None));
    let unknown = points.all(DURATION).find(|point| point.get("http.route").is_none()).unwrap();
    assert_eq!(unknown.get("error.type"), Some("UNIMPLEMENTED"));
    assert_eq!(points.value("http.server.active_requests"), Some(0.0));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

/// A service without a framework.
#[derive(Clone)]
struct Plain;

impl Service<Request<hyper::body::Incoming>> for Plain {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answering<Full<Bytes>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<hyper::body::Incoming>) -> Self::Future {
        Box::pin(async move {
            let got = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
            Ok(Response::new(Full::from(format!("{got} bytes"))))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_of_hyper_alone() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let service = integrate::tower::http(&hw)
        .body_sizes()
        .route(|uri, _| (uri.path() == "/count").then_some("/count"))
        .layer(Plain);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(service.clone());
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for path in ["/count", "/count", "/4711"] {
        let request =
            Request::post(path).header("host", "x").body(Full::<Bytes>::from("12345")).unwrap();
        client.ready().await.unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "5 bytes");
    }
    let points = Points::until(&receiver, |points| {
        points.all(DURATION).filter_map(|point| point.count).sum::<u64>() == 3
    });
    let counted = [("http.route", "/count"), ("http.response.status_code", "200")];
    assert_eq!(points.count_of(DURATION, &counted), Some(2));
    assert_eq!(points.count_of("http.server.request.body.size", &counted), Some(2));
    assert!(points.0.iter().flat_map(|p| &p.labels).all(|label| !label.1.contains("4711")));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
