//! An OTLP/HTTP receiver on a loopback port that misbehaves as told, one thread a connection.

// Part of several test crates, each of which uses some of it.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
};
use prost::Message;

pub const PROTOBUF: &str = "application/x-protobuf";

/// What it does with one request.
#[derive(Clone, Debug)]
pub enum Reaction {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Reads the request and sends nothing, ever.
    NeverAnswers,
    /// Sends a good head, then a byte of the body now and then, for ever.
    Drips {
        status: u16,
    },
    /// Sends a good head and half of the body it announced, then closes.
    CutsOff {
        status: u16,
    },
    /// Shuts down its writing side without a word, and reads on.
    HalfCloses,
    /// Something that is no HTTP.
    Garbage,
}

impl Reaction {
    pub fn ok() -> Self {
        Self::with(200, &[("content-type", PROTOBUF)], b"")
    }

    pub fn status(status: u16) -> Self {
        Self::with(status, &[], b"")
    }

    pub fn with(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self::Answer { status, headers, body: body.to_vec() }
    }
}

/// One request it got, decompressed.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn metrics(&self) -> ExportMetricsServiceRequest {
        assert_eq!(self.path, "/v1/metrics");
        ExportMetricsServiceRequest::decode(&*self.body).expect("OTLP metrics")
    }

    pub fn logs(&self) -> ExportLogsServiceRequest {
        assert_eq!(self.path, "/v1/logs");
        ExportLogsServiceRequest::decode(&*self.body).expect("OTLP logs")
    }
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    received: Mutex<Vec<Received>>,
    arrived: Condvar,
}

/// Listens until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Reacts to its `n`th request (from 0) with `react(n, …)`.
    pub fn start(react: impl Fn(usize, &Received) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::<Shared>::default();
        let theirs = shared.clone();
        let react = Arc::new(react);
        // Both end with the test process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                theirs.connections.fetch_add(1, Ordering::Relaxed);
                let (shared, react) = (theirs.clone(), react.clone());
                thread::spawn(move || serve(stream, &shared, &*react));
            }
        });
        Self { address, shared }
    }

    /// Always reacts the same.
    pub fn always(reaction: Reaction) -> Self {
        Self::start(move |_, _| reaction.clone())
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().expect("not poisoned").clone()
    }

    /// Blocks until it got `count` requests.
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        let received = self.shared.received.lock().expect("not poisoned");
        let enough = |received: &mut Vec<Received>| received.len() < count;
        self.shared.arrived.wait_while(received, enough).expect("not poisoned").clone()
    }
}

fn serve(
    mut stream: TcpStream,
    shared: &Shared,
    react: &dyn Fn(usize, &Received) -> Reaction,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    while let Some(request) = read(&mut reader) {
        let number = {
            let mut received = shared.received.lock().ok()?;
            received.push(request.clone());
            shared.arrived.notify_all();
            received.len() - 1
        };
        match react(number, &request) {
            Reaction::Answer { status, headers, body } => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                stream.write_all((head + "\r\n").as_bytes()).ok()?;
                stream.write_all(&body).ok()?;
            }
            Reaction::NeverAnswers => {
                // Until the other side gives up.
                while reader.read(&mut [0; 64]).ok()? > 0 {}
            }
            Reaction::Drips { status } => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 1000000000\r\n\r\n");
                stream.write_all(head.as_bytes()).ok()?;
                loop {
                    stream.write_all(b"x").ok()?;
                    thread::sleep(std::time::Duration::from_millis(5));
                }
            }
            Reaction::CutsOff { status } => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 100\r\n\r\nhalf of it");
                stream.write_all(head.as_bytes()).ok()?;
                return None;
            }
            Reaction::HalfCloses => {
                stream.shutdown(Shutdown::Write).ok()?;
                while reader.read(&mut [0; 64]).ok()? > 0 {}
            }
            Reaction::Garbage => {
                stream.write_all(b"\x00\xffSSH-2.0-nobody home\r\n\r\n\r\n").ok()?;
                return None;
            }
        }
    }
    None
}

fn read(reader: &mut impl BufRead) -> Option<Received> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).ok()?;
        body = plain;
    }
    Some(Received { path, headers, body })
}
