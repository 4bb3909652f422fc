//! TLS in earnest: what is before a receiver has certificates made for the test, good ones and bad.

use std::{net::SocketAddr, sync::mpsc, thread};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer},
        server::WebPkiClientVerifier,
    },
};

use super::{
    exporter, one_gauge,
    receiver::{Reaction, Receiver},
    step,
};
use crate::{
    export::otlp::{self, Config, Exporter, Protocol, Step},
    sync::Arc,
    transport::Lane::Metrics,
};

/// An authority of our own.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
struct Identity {
    chain: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Of a name or an address, until a year.
    fn issue(&self, name: &str, until: i32) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { chain: certificate.der().clone(), pem: certificate.pem(), key }
    }
}

/// Takes off the TLS before a receiver that speaks without it.
fn front(identity: &Identity, clients: Option<&Authority>, behind: SocketAddr) -> String {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
    let mut config = builder.with_single_cert(vec![identity.chain.clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (told, address) = mpsc::channel();
    // Ends with the test process.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut outside = acceptor.accept(stream).await.ok()?;
                    let mut inside = tokio::net::TcpStream::connect(behind).await.ok()?;
                    tokio::io::copy_bidirectional(&mut outside, &mut inside).await.ok()
                });
            }
        });
    });
    format!("https://{}", address.recv().unwrap())
}

/// What is spoken behind it, and where.
fn receivers() -> Vec<(Protocol, SocketAddr)> {
    let receiver = Receiver::always(Reaction::ok());
    let address = receiver.url().trim_start_matches("http://").parse().unwrap();
    #[allow(unused_mut)]
    let mut all = vec![(Protocol::HttpProtobuf, address)];
    #[cfg(feature = "grpc-tls")]
    all.push((Protocol::Grpc, super::grpc::always_fine()));
    all
}

fn attempt(config: Config) -> Exporter {
    let mut exporter = exporter(config);
    exporter.intake().metrics(&one_gauge(1.0));
    assert_eq!(step(&mut exporter), Step::Tried);
    exporter
}

fn arrives(config: Config) {
    let exporter = attempt(config);
    assert_eq!(exporter.health().last_error(), None);
    assert_eq!(exporter.health().report().lane(Metrics).sent, 1);
}

/// It waits to be sent again, and the last error says one of these.
fn waits(config: Config, words: &[&str]) {
    let mut exporter = attempt(config);
    let report = exporter.health().report();
    assert_eq!((report.lane(Metrics).retried, report.load.requests), (1, 1));
    assert!(matches!(step(&mut exporter), Step::Wait(_)));
    let error = exporter.health().last_error().unwrap();
    assert!(words.iter().any(|word| error.contains(word)), "{error}");
}

#[test]
fn a_certificate_of_a_known_authority_is_trusted() {
    let authority = Authority::new();
    let identity = authority.issue("127.0.0.1", 2100);
    for (protocol, behind) in receivers() {
        let url = front(&identity, None, behind);
        arrives(otlp::to(url).protocol(protocol).certificate(authority.pem()));
    }
}

#[test]
fn an_authority_unknown_a_name_not_ours_and_a_time_that_is_over_are_waited_out_and_said() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.issue("127.0.0.1", 2100);
    let elsewhere = authority.issue("collector.example", 2100);
    let expired = authority.issue("127.0.0.1", 2002);
    for (protocol, behind) in receivers() {
        let to = |identity| otlp::to(front(identity, None, behind)).protocol(protocol);
        waits(to(&good).certificate(stranger.pem()), &["UnknownIssuer", "BadSignature"]);
        // Mozilla's programme does not know it either.
        waits(to(&good), &["UnknownIssuer"]);
        waits(
            to(&elsewhere).certificate(authority.pem()),
            &["not valid for name", "NotValidForName"],
        );
        waits(to(&expired).certificate(authority.pem()), &["expired", "Expired"]);
    }
}

#[test]
fn a_client_certificate_is_shown_where_one_is_asked_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.issue("127.0.0.1", 2100);
    let client = authority.issue("shop", 2100);
    let wrong = stranger.issue("shop", 2100);
    for (protocol, behind) in receivers() {
        let url = front(&server, Some(&authority), behind);
        let to = || otlp::to(&url).protocol(protocol).certificate(authority.pem());
        let with = |one: &Identity| to().client_certificate(&*one.pem, one.key.serialize_pem());
        arrives(with(&client));
        // The end of a refused connection has many names.
        waits(to(), &[""]);
        waits(with(&wrong), &[""]);
    }
}

#[test]
fn a_receiver_without_tls_behind_https_is_waited_out_and_said() {
    let authority = Authority::new();
    for (protocol, behind) in receivers() {
        let to = otlp::to(format!("https://{behind}")).protocol(protocol);
        // One that waits for more of what it takes for a request may never answer.
        let to = to.certificate(authority.pem()).timeout(std::time::Duration::from_secs(2));
        waits(
            to,
            &["corrupt message", "InvalidContentType", "no answer", "end of file", "eof", "reset"],
        );
    }
}
