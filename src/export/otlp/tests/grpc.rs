//! gRPC against a server that misbehaves as told.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use base64::Engine as _;
use bytes::Bytes;
use h2::server::SendResponse;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest,
    metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse},
};
use prost::Message;
use ureq::http::{HeaderMap, Response};

use super::{DAY_ZERO, drain, exporter, one_gauge, step, transition};
use crate::{
    event::State,
    export::otlp::{self, Exporter, Protocol, Step},
    sync::{Arc, Mutex},
    transport::{
        Dropped,
        Lane::{Alerts, Metrics},
    },
};

/// What it does with a call.
#[derive(Clone)]
enum Reaction {
    /// A message, then trailers.
    Trailers { body: Vec<u8>, trailers: Vec<(&'static str, String)> },
    /// An error in the head alone.
    HeadOnly { status: u16, headers: Vec<(&'static str, String)> },
    /// Nothing, ever.
    NeverAnswers,
    /// A head, and data without end, slowly.
    Drips,
    /// Resets the stream.
    Resets,
    /// The same, saying that it was not looked at.
    RefusesStream,
    /// Answers well, then closes the connection.
    OkThenCloses,
    /// An answer without a status.
    NoStatus,
}

fn status(code: u32, message: &str) -> Reaction {
    let headers = vec![("grpc-status", code.to_string()), ("grpc-message", message.to_owned())];
    Reaction::HeadOnly { status: 200, headers }
}

fn ok(response: &impl Message) -> Reaction {
    let message = response.encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(&message);
    Reaction::Trailers { body, trailers: vec![("grpc-status", "0".to_owned())] }
}

fn fine() -> Reaction {
    ok(&ExportMetricsServiceResponse::default())
}

#[derive(Clone)]
struct Got {
    path: String,
    headers: HeaderMap,
    frame: Vec<u8>,
}

struct Server {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Server {
    fn start(react: impl Fn(usize) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let (theirs, react) = (got.clone(), Arc::new(react));
        // Ends with the test process.
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, theirs.clone(), react.clone()));
                }
            });
        });
        Self { address, got }
    }

    fn always(reaction: Reaction) -> Self {
        Self::start(move |_| reaction.clone())
    }

    fn exporter(&self, timeout: Duration) -> Exporter {
        let config = otlp::to(format!("http://{}", self.address)).protocol(Protocol::Grpc);
        exporter(config.timeout(timeout).header("x-tenant", "shop"))
    }
}

/// The address of one that takes everything.
#[cfg(feature = "grpc-tls")]
pub(super) fn always_fine() -> SocketAddr {
    Server::always(fine()).address
}

async fn serve(
    stream: tokio::net::TcpStream,
    got: Arc<Mutex<Vec<Got>>>,
    react: Arc<impl Fn(usize) -> Reaction>,
) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (head, mut stream) = request.into_parts();
        let mut frame = Vec::new();
        // The connection has to be driven for the body to come.
        loop {
            tokio::select! {
                data = stream.data() => match data {
                    Some(Ok(data)) => {
                        let _ = stream.flow_control().release_capacity(data.len());
                        frame.extend_from_slice(&data);
                    }
                    _ => break,
                },
                _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => return,
            }
        }
        let number = {
            let mut got = got.lock();
            got.push(Got { path: head.uri.path().to_owned(), headers: head.headers, frame });
            got.len() - 1
        };
        let reaction = react(number);
        let closes = matches!(reaction, Reaction::OkThenCloses);
        tokio::spawn(reply(respond, reaction));
        if closes {
            connection.graceful_shutdown();
        }
    }
}

async fn reply(mut respond: SendResponse<Bytes>, reaction: Reaction) {
    let head = |status: u16, headers: &[(&'static str, String)]| {
        let mut head = Response::builder().status(status);
        for (name, value) in headers {
            head = head.header(*name, value);
        }
        head.body(()).unwrap()
    };
    match reaction {
        Reaction::Trailers { body, trailers } => {
            let mut stream = respond.send_response(head(200, &[]), false).unwrap();
            stream.send_data(body.into(), false).unwrap();
            let mut map = HeaderMap::new();
            for (name, value) in trailers {
                map.insert(name, value.parse().unwrap());
            }
            stream.send_trailers(map).unwrap();
        }
        Reaction::OkThenCloses => Box::pin(reply(respond, fine())).await,
        Reaction::HeadOnly { status, headers } => {
            respond.send_response(head(status, &headers), true).unwrap();
        }
        Reaction::NeverAnswers => std::future::pending().await,
        Reaction::Drips => {
            let mut stream = respond.send_response(head(200, &[]), false).unwrap();
            while stream.send_data(Bytes::from_static(b"x"), false).is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Reaction::Resets => respond.send_reset(h2::Reason::INTERNAL_ERROR),
        Reaction::RefusesStream => respond.send_reset(h2::Reason::REFUSED_STREAM),
        Reaction::NoStatus => {
            let mut stream = respond.send_response(head(200, &[]), false).unwrap();
            stream.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
        }
    }
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

fn after_one_attempt(reaction: Reaction, timeout: Duration) -> (Exporter, Server) {
    let server = Server::always(reaction);
    let mut exporter = server.exporter(timeout);
    exporter.intake().metrics(&one_gauge(1.0));
    assert_eq!(step(&mut exporter), Step::Tried);
    (exporter, server)
}

#[test]
fn requests_are_whole_and_carry_their_headers() {
    let server = Server::always(fine());
    let mut exporter = server.exporter(LONG);
    exporter.intake().metrics(&one_gauge(1.0));
    exporter.intake().alerts(&[transition(State::Pending, State::Firing)], DAY_ZERO);
    drain(&mut exporter);
    let report = exporter.health().report();
    assert_eq!((report.lane(Metrics).sent, report.lane(Alerts).sent), (1, 1));
    assert_eq!(exporter.health().last_error(), None);
    let got = server.got.lock().clone();
    assert_eq!(got[0].path, "/opentelemetry.proto.collector.logs.v1.LogsService/Export");
    assert_eq!(got[1].path, "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-encoding", "gzip"),
        ("x-tenant", "shop"),
    ] {
        assert_eq!(got[0].headers[name], value);
    }
    let frame = &got[0].frame;
    assert_eq!(frame[0], 1, "compressed");
    assert_eq!(u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize, frame.len() - 5);
    let mut plain = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&frame[5..]);
    std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
    assert_eq!(ExportLogsServiceRequest::decode(&*plain).unwrap().resource_logs.len(), 1);
}

#[test]
fn codes_are_read_as_the_specification_says() {
    for code in [1, 4, 10, 11, 14, 15] {
        let (mut exporter, _server) = after_one_attempt(status(code, "later"), LONG);
        assert!(matches!(step(&mut exporter), Step::Wait(_)), "{code}");
        assert_eq!(exporter.health().report().lane(Metrics).retried, 1, "{code}");
    }
    for code in [2, 3, 5, 6, 7, 8, 9, 12, 13, 16, 99] {
        let (mut exporter, server) = after_one_attempt(status(code, "no%20way"), LONG);
        assert_eq!(step(&mut exporter), Step::Idle, "{code}");
        let report = exporter.health().report();
        assert_eq!(report.dropped(Metrics, Dropped::Refused), 1, "{code}");
        assert_eq!(server.got.lock().len(), 1, "{code}");
        let error = exporter.health().last_error().unwrap();
        assert!(error.contains("no way") && error.contains(&code.to_string()), "{error}");
    }
    for (http, later) in [(429, true), (502, true), (503, true), (504, true), (404, false)] {
        let reaction = Reaction::HeadOnly { status: http, headers: Vec::new() };
        let (exporter, _server) = after_one_attempt(reaction, LONG);
        assert_eq!(exporter.health().report().lane(Metrics).retried, u64::from(later), "{http}");
    }
}

#[test]
fn an_exhausted_resource_is_tried_again_when_the_receiver_says_when() {
    // google.rpc.Status { details: [Any { type.googleapis.com/google.rpc.RetryInfo { 30 s } }] }
    let retry_info = [0x0a, 2, 0x08, 30];
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    let mut any = vec![0x0a, url.len() as u8];
    any.extend_from_slice(url);
    any.extend_from_slice(&[0x12, retry_info.len() as u8]);
    any.extend_from_slice(&retry_info);
    let mut details = vec![0x08, 8, 0x1a, any.len() as u8];
    details.extend_from_slice(&any);
    let details = base64::engine::general_purpose::STANDARD_NO_PAD.encode(details);
    for code in ["8", "14"] {
        let headers =
            vec![("grpc-status", code.to_owned()), ("grpc-status-details-bin", details.clone())];
        let in_head = Reaction::HeadOnly { status: 200, headers: headers.clone() };
        let in_trailers = Reaction::Trailers { body: Vec::new(), trailers: headers };
        for reaction in [in_head, in_trailers] {
            let (mut exporter, _server) = after_one_attempt(reaction, LONG);
            let Step::Wait(wait) = step(&mut exporter) else { panic!("no wait") };
            assert!((29..31).contains(&wait.as_secs()), "{wait:?}");
        }
    }
}

#[test]
fn silence_drips_resets_and_nonsense_are_tried_again() {
    for (reaction, timeout) in [
        (Reaction::NeverAnswers, SHORT),
        (Reaction::Drips, SHORT),
        (Reaction::Resets, LONG),
        (Reaction::NoStatus, LONG),
    ] {
        let (exporter, _server) = after_one_attempt(reaction, timeout);
        let report = exporter.health().report();
        assert_eq!((report.lane(Metrics).retried, report.load.requests), (1, 1));
    }
    // HTTP/1.1 is spoken there.
    let receiver = super::receiver::Receiver::always(super::receiver::Reaction::Garbage);
    let mut exporter = exporter(otlp::to(receiver.url()).protocol(Protocol::Grpc).timeout(SHORT));
    exporter.intake().metrics(&one_gauge(1.0));
    assert_eq!(step(&mut exporter), Step::Tried);
    assert_eq!(exporter.health().report().lane(Metrics).retried, 1);
}

#[test]
fn a_connection_closed_in_between_costs_nothing() {
    let server = Server::always(Reaction::OkThenCloses);
    let mut exporter = server.exporter(LONG);
    for value in 0..3 {
        exporter.intake().metrics(&one_gauge(f64::from(value)));
        assert_eq!(step(&mut exporter), Step::Tried);
    }
    let report = exporter.health().report();
    assert_eq!((report.lane(Metrics).sent, report.lane(Metrics).retried), (3, 0));
}

#[test]
fn partial_success_is_counted() {
    let partial =
        ExportMetricsPartialSuccess { rejected_data_points: 1, error_message: "too old".into() };
    let response = ExportMetricsServiceResponse { partial_success: Some(partial) };
    let (mut exporter, _server) = after_one_attempt(ok(&response), LONG);
    assert_eq!(step(&mut exporter), Step::Idle);
    assert_eq!(exporter.health().report().dropped(Metrics, Dropped::Rejected), 1);
    assert!(exporter.health().last_error().unwrap().contains("too old"));
}

#[test]
fn a_call_can_be_interrupted() {
    let server = Server::always(Reaction::NeverAnswers);
    let mut exporter = server.exporter(Duration::from_secs(600));
    exporter.intake().metrics(&one_gauge(1.0));
    let interrupt = exporter.interrupt(Metrics);
    thread::scope(|scope| {
        scope.spawn(|| {
            while server.got.lock().is_empty() {
                thread::yield_now();
            }
            interrupt.cut();
        });
        let now = Instant::now();
        assert_eq!(exporter.send_next(now, now + Duration::from_secs(600)), Step::Tried);
    });
    assert_eq!(exporter.health().report().lane(Metrics).retried, 1);
}

#[test]
fn a_call_on_a_connection_used_before_can_be_interrupted_too() {
    let server = Server::start(|number| if number == 0 { fine() } else { Reaction::NeverAnswers });
    let mut exporter = server.exporter(Duration::from_secs(600));
    exporter.intake().metrics(&one_gauge(1.0));
    assert_eq!(step(&mut exporter), Step::Tried);
    exporter.intake().metrics(&one_gauge(2.0));
    let interrupt = exporter.interrupt(Metrics);
    thread::scope(|scope| {
        scope.spawn(|| {
            while server.got.lock().len() < 2 {
                thread::yield_now();
            }
            interrupt.cut();
        });
        let now = Instant::now();
        assert_eq!(exporter.send_next(now, now + Duration::from_secs(600)), Step::Tried);
    });
    assert_eq!(exporter.health().report().lane(Metrics).retried, 1);
    assert_eq!(server.got.lock().len(), 2, "not made again by itself");
}

#[test]
fn what_may_have_been_taken_is_not_made_again_at_once() {
    let server = Server::start(|number| if number == 0 { fine() } else { Reaction::Resets });
    let mut exporter = server.exporter(LONG);
    for value in [1.0, 2.0] {
        exporter.intake().metrics(&one_gauge(value));
        assert_eq!(step(&mut exporter), Step::Tried);
    }
    let report = exporter.health().report();
    assert_eq!((report.lane(Metrics).sent, report.lane(Metrics).retried), (1, 1));
    assert_eq!(server.got.lock().len(), 2);
}

#[test]
fn what_was_refused_unseen_is_made_again_on_a_new_connection() {
    let server = Server::start(|number| if number == 1 { Reaction::RefusesStream } else { fine() });
    let mut exporter = server.exporter(LONG);
    for value in [1.0, 2.0] {
        exporter.intake().metrics(&one_gauge(value));
        assert_eq!(step(&mut exporter), Step::Tried);
    }
    let report = exporter.health().report();
    assert_eq!((report.lane(Metrics).sent, report.lane(Metrics).retried), (2, 0));
}

#[test]
fn it_works_and_ends_inside_somebodys_runtime() {
    let server = Server::always(fine());
    for runtime in [
        tokio::runtime::Builder::new_current_thread().build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().build().unwrap(),
    ] {
        // Built and dropped within; used on a thread of its own, as the engine does.
        runtime.block_on(async {
            let mut exporter = server.exporter(LONG);
            exporter.intake().metrics(&one_gauge(1.0));
            let used = thread::spawn(move || {
                assert_eq!(step(&mut exporter), Step::Tried);
                exporter
            });
            drop(used.join().unwrap());
        });
    }
    assert_eq!(server.got.lock().len(), 2);
}
