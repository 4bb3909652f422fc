//! A real axum server, real connections: what each way a request can end is counted as.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../support/points.rs"]
mod points;
#[path = "../../support/receiver.rs"]
mod receiver;

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::MatchedPath,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{get, post},
};
use futures_util::stream;
use highwater::{Highwater, integrate};
use points::Points;
use receiver::{Reaction, Receiver};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

const DURATION: &str = "http.server.request.duration";
const SENT: &str = "http.server.response.body.size";
const GOT: &str = "http.server.request.body.size";

/// `chunks` chunks of 10 bytes, with a pause before each.
fn streamed(chunks: usize, pause: Duration) -> Body {
    Body::from_stream(stream::unfold(0, move |at| async move {
        if at == chunks {
            return None;
        }
        sleep(pause).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"ten bytes!")), at + 1))
    }))
}

async fn serve(hw: &Highwater) -> SocketAddr {
    let app = Router::new()
        .route("/orders/{id}", get(async || "7 orders").put(async |body: String| body))
        .route("/fails", get(async || StatusCode::SERVICE_UNAVAILABLE))
        .route("/panics", get(async || -> &'static str { panic!("on purpose") }))
        .route("/hangs", get(async || std::future::pending::<()>().await))
        .route("/empty", get(async || StatusCode::NO_CONTENT))
        .route("/stream", get(async || streamed(5, Duration::from_millis(40))))
        .route("/endless", get(async || streamed(1_000_000, Duration::from_millis(5))))
        .route(
            "/broken",
            get(async || {
                let chunks = [Ok(Bytes::from_static(b"half")), Err(std::io::Error::other("torn"))];
                Body::from_stream(stream::iter(chunks))
            }),
        )
        // Of a length it says itself: nobody polls such a body to its end.
        .route(
            "/sized",
            get(async || {
                let body = streamed(2, Duration::ZERO);
                Response::builder().header("content-length", "20").body(body).unwrap()
            }),
        )
        .route("/upload", post(async |_: HeaderMap, body: Bytes| body.len().to_string()))
        .layer(
            integrate::tower::http(hw)
                .body_sizes()
                .scheme("https")
                .route(|_, request| request.get::<MatchedPath>().map(MatchedPath::as_str)),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// All that comes until the server closes.
async fn ask(to: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let request = format!("{request}\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that a panic cut is no failure of the test.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads a little, then hangs up.
async fn hang_up(to: SocketAddr, request: &str, after: usize) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(format!("{request}\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut read = 0;
    while read < after {
        read += stream.read(&mut [0; 64]).await.unwrap();
    }
    sleep(Duration::from_millis(50)).await;
}

fn labels<'a>(method: &'a str, route: &'a str, status: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("http.request.method", method),
        ("http.route", route),
        ("http.response.status_code", status),
        ("url.scheme", "https"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_a_request_can_end() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let to = serve(&hw).await;

    for id in 0..20 {
        assert!(ask(to, &format!("GET /orders/{id} HTTP/1.1")).await.ends_with("7 orders"));
    }
    ask(to, "HEAD /orders/7 HTTP/1.1").await;
    ask(to, "GET /fails HTTP/1.1").await;
    ask(to, "GET /panics HTTP/1.1").await;
    ask(to, "GET /empty HTTP/1.1").await;
    ask(to, "GET /no/such/route/4711 HTTP/1.1").await;
    ask(to, "BREW /orders/7 HTTP/1.1").await;
    assert!(ask(to, "GET /stream HTTP/1.1").await.contains("ten bytes!"));
    assert!(ask(to, "GET /sized HTTP/1.1").await.ends_with("ten bytes!ten bytes!"));
    ask(to, "GET /broken HTTP/1.1").await;
    ask(to, "POST /upload HTTP/1.1\r\ncontent-length: 5\r\n\r\n12345").await;
    hang_up(to, "GET /hangs HTTP/1.1", 0).await;
    hang_up(to, "GET /endless HTTP/1.1", 300).await;

    let points = Points::until(&receiver, |points| {
        points.all(DURATION).filter_map(|point| point.count).sum::<u64>() == 32
    });
    let active: f64 = points.all("http.server.active_requests").map(|point| point.value).sum();
    assert_eq!(active, 0.0, "{points:#?}");
    let count = |metric, labels: &[(&str, &str)]| points.count_of(metric, labels);
    let with = |mut labels: Vec<(&'static str, &'static str)>, error| {
        labels.push(("error.type", error));
        labels
    };
    let orders = labels("GET", "/orders/{id}", "200");
    assert_eq!(count(DURATION, &orders), Some(20));
    assert_eq!(count(SENT, &orders), Some(20));
    let bytes = points.all(SENT).find(|p| p.get("http.route") == Some("/orders/{id}")).unwrap();
    assert_eq!((bytes.value, bytes.unit.as_str()), (160.0, "By"));
    assert_eq!(count(GOT, &orders), None, "no body, no size");
    // What is not sent has not been cut off either.
    for (method, route, status) in
        [("HEAD", "/orders/{id}", "200"), ("GET", "/empty", "204"), ("GET", "/sized", "200")]
    {
        assert_eq!(count(DURATION, &labels(method, route, status)), Some(1), "{route}");
    }
    let fails = with(labels("GET", "/fails", "503"), "503");
    assert_eq!(count(DURATION, &fails), Some(1));
    let panics = points.all(DURATION).find(|p| p.get("error.type") == Some("panic")).unwrap();
    assert_eq!((panics.get("http.route"), panics.count), (Some("/panics"), Some(1)));
    assert_eq!(panics.get("http.response.status_code"), None);
    let lost = points.all(DURATION).find(|p| p.get("http.response.status_code") == Some("404"));
    assert_eq!(lost.unwrap().get("http.route"), None, "never a raw path");
    let brew = points.all(DURATION).find(|p| p.get("http.request.method") == Some("_OTHER"));
    assert_eq!(brew.unwrap().get("http.response.status_code"), Some("405"));
    // A stream lasts until its last byte.
    let stream = points.all(DURATION).find(|p| p.get("http.route") == Some("/stream")).unwrap();
    assert_eq!((stream.count, stream.get("error.type")), (Some(1), None));
    assert!((0.2..10.0).contains(&stream.value), "{stream:?}");
    let broken = points.all(DURATION).find(|p| p.get("http.route") == Some("/broken")).unwrap();
    assert_eq!(broken.get("error.type"), Some("axum_core::error::Error"));
    assert_eq!(broken.get("http.response.status_code"), Some("200"));
    let hangs = points.all(DURATION).find(|p| p.get("http.route") == Some("/hangs")).unwrap();
    assert_eq!(hangs.get("error.type"), Some("cancelled"));
    let endless = with(labels("GET", "/endless", "200"), "cancelled");
    assert_eq!(count(DURATION, &endless), Some(1));
    assert_eq!(count(SENT, &endless), None);
    let raw: Vec<_> =
        points.0.iter().flat_map(|p| &p.labels).filter(|l| l.1.contains("4711")).collect();
    assert!(raw.is_empty(), "{raw:?}");
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_request_is_active_until_its_body_is_through() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let to = serve(&hw).await;
    let client = tokio::spawn(hang_up(to, "GET /endless HTTP/1.1", 600));
    Points::until(&receiver, |p| p.value("http.server.active_requests") == Some(1.0));
    client.await.unwrap();
    Points::until(&receiver, |p| p.value("http.server.active_requests") == Some(0.0));
    hw.shutdown(Duration::from_secs(5)).unwrap();
}

/// Scanners ask for anything: more routes than the table holds are still counted right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_routes_than_the_table_holds() {
    let receiver = Receiver::always(Reaction::ok());
    let hw = points::pushing(&receiver).start().unwrap();
    let layer = integrate::tower::http(&hw).route(|uri, _| Some(uri.path()));
    let app = Router::new().fallback(async || "x").layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    for _ in 0..2 {
        for route in 0..700 {
            ask(to, &format!("GET /{route} HTTP/1.1")).await;
        }
    }
    let points = Points::until(&receiver, |points| {
        points.all(DURATION).filter_map(|point| point.count).sum::<u64>() == 1400
    });
    assert!(points.all(DURATION).all(|point| point.count == Some(2)));
    assert_eq!(points.all(SENT).count(), 0, "nobody asked for it");
    hw.shutdown(Duration::from_secs(5)).unwrap();
}
