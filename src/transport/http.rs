//! One HTTP POST at a time, blocking.
//!
//! Invariants: a call ends by its time-out whatever the other side does, the name look-up and the
//! last byte of the answer included; a status that has arrived is reported even if the rest of the
//! answer never does, because what was accepted must not be sent again; redirects are reported,
//! not followed, so credentials go nowhere they were not sent to; proxies of the environment are
//! not used; an answer is read up to [`ANSWER_CAP`].

use std::{
    fmt,
    io::Read,
    time::{Duration, SystemTime},
};

use ureq::{
    Agent,
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

use super::{
    Fault, Tls,
    lookup::{Lookup, LookupError},
    retry,
};
use crate::sync::{Arc, Mutex};

/// As much of an answer as is read; receivers say what they have to say in less.
pub(crate) const ANSWER_CAP: u64 = 64 * 1024;

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) content_type: &'static str,
    /// `Content-Encoding`, absent if the body is as it is.
    pub(crate) encoding: Option<&'static str>,
    pub(crate) body: &'a [u8],
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) content_type: String,
    /// As far as it came: it may be cut short by the cap, the time-out or the other side.
    pub(crate) body: Vec<u8>,
}

/// Connects, keeps connections alive between calls, can be interrupted from another thread.
pub(crate) struct Client {
    agent: Arc<Mutex<Agent>>,
    fresh: Fresh,
}

type Fresh = Arc<dyn Fn() -> Agent + Send + Sync>;

/// Cuts off a [`Client`]'s call that is under way, such as when shutting down.
#[derive(Clone)]
pub(crate) struct Interrupt {
    agent: Arc<Mutex<Agent>>,
    fresh: Fresh,
}

impl Client {
    pub(crate) fn new(tls: &Tls) -> Result<Self, String> {
        let builder = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .user_agent(concat!("highwater-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION")));
        let config = tls.apply(builder)?.build();
        let fresh: Fresh = Arc::new(move || {
            Agent::with_parts(config.clone(), DefaultConnector::new(), Names::default())
        });
        Ok(Self { agent: Arc::new(Mutex::new(fresh())), fresh })
    }

    pub(crate) fn interrupt(&self) -> Interrupt {
        Interrupt { agent: self.agent.clone(), fresh: self.fresh.clone() }
    }

    /// Sends and waits, at most `timeout` in all.
    pub(crate) fn post(&self, request: Request<'_>, timeout: Duration) -> Result<Answer, Fault> {
        let agent = self.agent.lock().clone();
        let mut post = agent.post(request.url).config().timeout_global(Some(timeout)).build();
        for (name, value) in request.headers {
            post = post.header(name, value);
        }
        post = post.header("content-type", request.content_type);
        if let Some(encoding) = request.encoding {
            post = post.header("content-encoding", encoding);
        }
        let response = post.send(request.body).map_err(|error| fault(error, timeout))?;
        let (head, body) = response.into_parts();
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let mut answer = Answer {
            status: head.status.as_u16(),
            retry_after: header("retry-after")
                .and_then(|value| retry::parse_retry_after(value, SystemTime::now())),
            content_type: header("content-type").unwrap_or_default().to_owned(),
            body: Vec::new(),
        };
        // A broken body changes nothing about the status, which has been read: keep what came.
        let _ = body.into_reader().take(ANSWER_CAP).read_to_end(&mut answer.body);
        Ok(answer)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Interrupt {
    /// Makes the call under way fail at once; calls begun later are not affected.
    pub(crate) fn cut(&self) {
        let old = std::mem::replace(&mut *self.agent.lock(), (self.fresh)());
        old.shutdown();
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").finish_non_exhaustive()
    }
}

fn fault(error: ureq::Error, timeout: Duration) -> Fault {
    match error {
        ureq::Error::Timeout(_) => Fault::TimedOut(timeout),
        ureq::Error::Http(_) | ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => {
            Fault::Impossible(error.to_string())
        }
        // Without the prefix that names ureq's variant.
        ureq::Error::Io(error) => Fault::Connection(error.to_string()),
        error => Fault::Connection(error.to_string()),
    }
}

/// [`Lookup`] as ureq wants it.
///
/// ureq's own resolver starts a thread per call even for literal addresses, panics where no thread
/// can be started, and leaves one behind per timed-out call.
#[derive(Debug, Default)]
struct Names(Lookup);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.0.find(uri, *timeout.after).map_err(|error| match error {
            LookupError::TimedOut => ureq::Error::Timeout(timeout.reason),
            LookupError::NotFound => ureq::Error::HostNotFound,
            LookupError::Failed(error) => ureq::Error::Io(error),
        })?;
        let mut addresses = self.empty();
        for address in found {
            if addresses.try_push(address).is_err() {
                break;
            }
        }
        Ok(addresses)
    }
}

impl Tls {
    #[cfg(not(feature = "tls"))]
    fn apply(&self, builder: AgentBuilder) -> Result<AgentBuilder, String> {
        Ok(builder)
    }

    #[cfg(feature = "tls")]
    fn apply(&self, builder: AgentBuilder) -> Result<AgentBuilder, String> {
        use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, parse_pem};

        let certificates = |pem: &[u8]| -> Result<Vec<Certificate<'static>>, String> {
            let found = parse_pem(pem)
                .filter_map(|item| match item {
                    Ok(ureq::tls::PemItem::Certificate(found)) => Some(Ok(found)),
                    Ok(_) => None,
                    Err(error) => Some(Err(error.to_string())),
                })
                .collect::<Result<Vec<_>, _>>()?;
            if found.is_empty() { Err("no certificate in it".into()) } else { Ok(found) }
        };
        let mut config = TlsConfig::builder();
        if let Some(pem) = &self.roots {
            config = config.root_certs(RootCerts::new_with_certs(&certificates(pem)?));
        }
        if let Some((chain, key)) = &self.client {
            let key = PrivateKey::from_pem(key).map_err(|error| error.to_string())?;
            let client = ClientCert::new_with_certs(&certificates(chain)?, key);
            config = config.client_cert(Some(client));
        }
        Ok(builder.tls_config(config.build()))
    }
}

type AgentBuilder = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;
