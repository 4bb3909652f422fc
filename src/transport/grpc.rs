//! One unary gRPC call at a time, blocking, over `h2`.
//!
//! The same promises as [`http`](super::http): a call ends by its time-out whatever the other side
//! does, the look-up of the name included; nothing is answered with a panic; an answer is read up
//! to [`ANSWER_CAP`]. The runtime lives in this type, has no thread of its own and runs only
//! during a call, on the caller's thread.
//!
//! Between calls nobody listens to the connection, so the other side may have closed it
//! meanwhile: one that was used before is listened to for a moment first, and a call that surely
//! was not processed is made on a new one. Any other call that fails is its caller's to repeat, as
//! the other side may have taken it.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use base64::Engine as _;
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use prost::Message;
use tokio::{net::TcpStream, runtime::Runtime, sync::Notify, task::JoinHandle};
use ureq::http::{HeaderMap, Request as HttpRequest, Uri};

use super::{Encoding, Fault, Tls, http::ANSWER_CAP, lookup::Lookup};
use crate::sync::{Arc, Mutex};

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Scheme and authority; a path is ignored.
    pub(crate) url: &'a str,
    /// `/package.Service/Method`.
    pub(crate) method: &'static str,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) encoding: Encoding,
    pub(crate) body: &'a [u8],
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// 0 is OK.
    pub(crate) code: u32,
    pub(crate) message: String,
    /// `RetryInfo`.
    pub(crate) retry_after: Option<Duration>,
    /// The message's bytes, as far as they came.
    pub(crate) body: Vec<u8>,
}

/// Codes of [gRPC](https://grpc.github.io/grpc/core/md_doc_statuscodes.html) that matter here.
pub(crate) mod code {
    pub(crate) const OK: u32 = 0;
    pub(crate) const CANCELLED: u32 = 1;
    pub(crate) const UNKNOWN: u32 = 2;
    pub(crate) const DEADLINE_EXCEEDED: u32 = 4;
    pub(crate) const PERMISSION_DENIED: u32 = 7;
    pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(crate) const ABORTED: u32 = 10;
    pub(crate) const OUT_OF_RANGE: u32 = 11;
    pub(crate) const UNIMPLEMENTED: u32 = 12;
    pub(crate) const INTERNAL: u32 = 13;
    pub(crate) const UNAVAILABLE: u32 = 14;
    pub(crate) const DATA_LOSS: u32 = 15;
    pub(crate) const UNAUTHENTICATED: u32 = 16;
}

/// How long a connection that was used before is listened to: what has been said on it meanwhile is
/// in this machine already.
const LISTEN: Duration = Duration::from_millis(1);

/// A connection and the task that drives it while a call is under way.
struct Connection {
    send: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

/// Why a call failed.
enum Failure {
    /// It cannot have been processed: the connection was over before it.
    Unprocessed,
    Fault(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Connects, keeps its connection, can be interrupted from another thread.
pub(crate) struct Client {
    runtime: Option<Runtime>,
    connection: Mutex<Option<Connection>>,
    lookup: Lookup,
    cut: Arc<Notify>,
    #[cfg(feature = "grpc-tls")]
    tls: tokio_rustls::TlsConnector,
}

/// Cuts off a [`Client`]'s call that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<Notify>);

impl Interrupt {
    /// Makes the call under way fail at once; calls begun later are not affected.
    pub(crate) fn cut(&self) {
        self.0.notify_waiters();
    }
}

impl Client {
    pub(crate) fn new(tls: &Tls) -> Result<Self, String> {
        #[cfg(not(feature = "grpc-tls"))]
        let _ = tls;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            runtime: Some(runtime),
            connection: Mutex::new(None),
            lookup: Lookup::default(),
            cut: Arc::default(),
            #[cfg(feature = "grpc-tls")]
            tls: tls_connector(tls)?,
        })
    }

    pub(crate) fn interrupt(&self) -> Interrupt {
        Interrupt(self.cut.clone())
    }

    /// Sends and waits, at most `timeout` in all.
    pub(crate) fn call(&self, request: Request<'_>, timeout: Duration) -> Result<Answer, Fault> {
        let deadline = Instant::now() + timeout;
        let uri: Uri = request
            .url
            .parse()
            .map_err(|error| Fault::Impossible(format!("{}: {error}", request.url)))?;
        let Some(runtime) = &self.runtime else {
            return Err(Fault::Impossible("closed".into()));
        };
        let mut connection = self.connection.lock();
        if let Some(mut known) = connection.take() {
            let again = async {
                // Nothing else tells apart what is closed already from what closes under the call.
                if tokio::time::timeout(LISTEN, &mut known.driver).await.is_ok() {
                    return Err(Failure::Unprocessed);
                }
                exchange(known, &uri, request).await
            };
            match self.bounded(runtime, deadline, timeout, again) {
                Ok((answer, known)) => {
                    *connection = Some(known);
                    return Ok(answer);
                }
                Err(Failure::Unprocessed) => {}
                Err(Failure::Fault(fault)) => return Err(fault),
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let addresses =
            self.lookup.find(&uri, left).map_err(|error| Fault::Connection(error.to_string()))?;
        let fresh = async {
            let new = self.connect(&uri, &addresses).await?;
            exchange(new, &uri, request).await
        };
        match self.bounded(runtime, deadline, timeout, fresh) {
            Ok((answer, new)) => {
                *connection = Some(new);
                Ok(answer)
            }
            Err(Failure::Unprocessed) => Err(Fault::Connection("it closes the connection".into())),
            Err(Failure::Fault(fault)) => Err(fault),
        }
    }

    /// Runs `work` until it ends, the deadline comes, or the call is cut off.
    fn bounded<T>(
        &self,
        runtime: &Runtime,
        deadline: Instant,
        timeout: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        runtime.block_on(async {
            let mut cut = pin!(self.cut.notified());
            let mut work = pin!(work);
            let either = poll_fn(|context| {
                if cut.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(Fault::Interrupted.into()));
                }
                work.as_mut().poll(context)
            });
            tokio::time::timeout_at(deadline.into(), either)
                .await
                .unwrap_or(Err(Fault::TimedOut(timeout).into()))
        })
    }

    async fn connect(
        &self,
        uri: &Uri,
        addresses: &[std::net::SocketAddr],
    ) -> Result<Connection, Fault> {
        let stream = TcpStream::connect(addresses).await.map_err(connection_fault)?;
        stream.set_nodelay(true).map_err(connection_fault)?;
        if uri.scheme_str() != Some("https") {
            return handshake(stream).await;
        }
        #[cfg(feature = "grpc-tls")]
        {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let name = tokio_rustls::rustls::pki_types::ServerName::try_from(host)
                .map_err(|error| Fault::Impossible(error.to_string()))?;
            handshake(self.tls.connect(name, stream).await.map_err(connection_fault)?).await
        }
        #[cfg(not(feature = "grpc-tls"))]
        Err(Fault::Impossible("this build lacks highwater's feature `grpc-tls`".into()))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Dropped inside somebody's runtime, a runtime that waits for its tasks would panic.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

fn connection_fault(error: impl fmt::Display) -> Fault {
    Fault::Connection(error.to_string())
}

async fn handshake(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> Result<Connection, Fault> {
    let (send, connection) = h2::client::handshake(stream).await.map_err(connection_fault)?;
    // Driven while a call is under way; its end shows in the call.
    let driver = tokio::spawn(async { drop(connection.await) });
    Ok(Connection { send, driver })
}

/// Whether the other side says that it did not look at the call: RFC 9113, 6.8 and 8.7.
fn is_unprocessed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (error.is_go_away() || refused)
}

/// One call; gives the connection back.
async fn exchange(
    Connection { send, driver }: Connection,
    uri: &Uri,
    request: Request<'_>,
) -> Result<(Answer, Connection), Failure> {
    let mut send = send.ready().await.map_err(|_| Failure::Unprocessed)?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let scheme = uri.scheme_str().unwrap_or("http");
    let mut head = HttpRequest::post(format!("{scheme}://{authority}{}", request.method));
    for (name, value) in request.headers {
        head = head.header(name, value);
    }
    head = head
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("user-agent", concat!("highwater-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION")));
    if let Some(encoding) = request.encoding.header() {
        head = head.header("grpc-encoding", encoding);
    }
    let head = head.body(()).map_err(|error| Fault::Impossible(error.to_string()))?;
    let frame = frame(request)?;
    let (response, mut stream) =
        send.send_request(head, false).map_err(|_| Failure::Unprocessed)?;
    let sent = stream.send_data(frame, true);
    let answer = answer(response).await;
    match (answer, sent) {
        (Ok(answer), _) => Ok((answer, Connection { send, driver })),
        // What the other side said, if anything, is worth more than that it hung up.
        (Err(failure), Ok(())) => Err(failure),
        (Err(Failure::Unprocessed), _) => Err(Failure::Unprocessed),
        (Err(_), Err(error)) => Err(connection_fault(error).into()),
    }
}

/// The message with its five bytes before it.
fn frame(request: Request<'_>) -> Result<Bytes, Fault> {
    let length = u32::try_from(request.body.len())
        .map_err(|_| Fault::Impossible("a request of more than 4 GiB".into()))?;
    let mut frame = BytesMut::with_capacity(5 + request.body.len());
    frame.put_u8(u8::from(request.encoding.header().is_some()));
    frame.put_u32(length);
    frame.put_slice(request.body);
    Ok(frame.freeze())
}

async fn answer(response: h2::client::ResponseFuture) -> Result<Answer, Failure> {
    let response = response.await.map_err(|error| match is_unprocessed(&error) {
        true => Failure::Unprocessed,
        false => connection_fault(error).into(),
    })?;
    let (head, mut stream) = response.into_parts();
    // An error may come in the head alone.
    if let Some(answer) = status(&head.headers) {
        return Ok(answer);
    }
    if head.status != 200 {
        let message = format!("HTTP status {}", head.status.as_u16());
        return Ok(Answer { code: of_http(head.status.as_u16()), message, ..Answer::default() });
    }
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.map_err(connection_fault)?;
        let _ = stream.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
        if body.len() as u64 > ANSWER_CAP {
            return Err(Fault::Connection("its answer does not end".into()).into());
        }
    }
    let trailers = stream.trailers().await.map_err(connection_fault)?;
    let mut answer = trailers
        .as_ref()
        .and_then(status)
        .ok_or_else(|| Fault::Connection("its answer has no gRPC status".into()))?;
    // Flag and length are of no interest: there is one message, and it is not compressed.
    answer.body = body.get(5..).unwrap_or_default().to_vec();
    Ok(answer)
}

/// [What an HTTP status without a gRPC one means](https://grpc.github.io/grpc/core/md_doc_http-grpc-status-mapping.html).
fn of_http(status: u16) -> u32 {
    match status {
        400 => code::INTERNAL,
        401 => code::UNAUTHENTICATED,
        403 => code::PERMISSION_DENIED,
        404 => code::UNIMPLEMENTED,
        429 | 502 | 503 | 504 => code::UNAVAILABLE,
        _ => code::UNKNOWN,
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The gRPC status among headers or trailers; `None` if there is none.
fn status(headers: &HeaderMap) -> Option<Answer> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().unwrap_or(code::UNKNOWN);
    let message = headers.get("grpc-message").map_or(&b""[..], |value| value.as_bytes());
    Some(Answer {
        code,
        message: percent_decoded(message),
        retry_after: headers
            .get("grpc-status-details-bin")
            .and_then(|value| retry_info(value.as_bytes())),
        body: Vec::new(),
    })
}

fn retry_info(details: &[u8]) -> Option<Duration> {
    // With or without padding, says the protocol.
    let unpadded = details.strip_suffix(b"==").or(details.strip_suffix(b"=")).unwrap_or(details);
    let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(unpadded).ok()?;
    let status = Status::decode(&*bytes).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
    let (seconds, nanos) = (u64::try_from(delay.seconds), u32::try_from(delay.nanos));
    Some(Duration::new(seconds.ok()?, nanos.ok()?.min(999_999_999)))
}

/// Lenient, as the protocol asks: what is no escape stands for itself.
fn percent_decoded(message: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(message.len());
    let mut at = 0;
    while at < message.len() {
        let escaped = message
            .get(at + 1..at + 3)
            .filter(|_| message[at] == b'%')
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(escaped.unwrap_or(message[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(feature = "grpc-tls")]
fn tls_connector(tls: &Tls) -> Result<tokio_rustls::TlsConnector, String> {
    use tokio_rustls::rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    };

    let text = |error: &dyn fmt::Display| error.to_string();
    let certificates = |pem: &[u8]| -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let found = found.map_err(|error| text(&error))?;
        if found.is_empty() { Err("no certificate in it".into()) } else { Ok(found) }
    };
    let mut roots = RootCertStore::empty();
    match &tls.roots {
        Some(pem) => {
            for root in certificates(pem)? {
                roots.add(root).map_err(|error| text(&error))?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .with_root_certificates(roots);
    let mut config = match &tls.client {
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| text(&error))?;
            let chain = certificates(chain)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| text(&error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_info_is_found_with_and_without_padding() {
        let info = RetryInfo { retry_delay: Some(Delay { seconds: 7, nanos: 500_000_000 }) };
        let any = |type_url: &str, value| Any { type_url: type_url.into(), value };
        let details = vec![
            any("type.googleapis.com/google.rpc.DebugInfo", vec![1, 2]),
            any("type.googleapis.com/google.rpc.RetryInfo", info.encode_to_vec()),
        ];
        let bytes = Status { details }.encode_to_vec();
        use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
        for text in [STANDARD.encode(&bytes), STANDARD_NO_PAD.encode(&bytes)] {
            assert_eq!(retry_info(text.as_bytes()), Some(Duration::from_millis(7_500)));
        }
        for garbage in [&b""[..], b"!!!", b"AAAA", &[0xff; 9]] {
            assert_eq!(retry_info(garbage), None);
        }
    }

    #[test]
    fn messages_are_decoded_leniently() {
        assert_eq!(percent_decoded(b"disk%20full%21"), "disk full!");
        assert_eq!(percent_decoded(b"100% of %zz %2"), "100% of %zz %2");
        assert_eq!(percent_decoded(b"%ff"), "\u{fffd}");
    }
}
