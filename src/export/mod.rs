//! Ways out of the process.

#[cfg(feature = "alertmanager")]
#[cfg_attr(docsrs, doc(cfg(feature = "alertmanager")))]
pub mod alertmanager;
pub mod otlp;
pub mod prometheus;
pub mod scale;
#[cfg(feature = "otel-sdk-0-33")]
mod sdk;
#[cfg(feature = "webhook")]
#[cfg_attr(docsrs, doc(cfg(feature = "webhook")))]
pub mod webhook;

#[cfg(any(feature = "alertmanager", feature = "webhook"))]
mod outbox;
#[cfg(any(feature = "alertmanager", feature = "webhook"))]
mod receiver;

#[cfg(feature = "otel-sdk-0-33")]
pub use sdk::{Sdk, sdk};

/// A way out for metrics and alerts; what [`Builder::export`](crate::Builder::export) takes.
#[derive(Debug)]
pub struct Export(pub(crate) Way);

#[derive(Debug)]
pub(crate) enum Way {
    Otlp(Box<otlp::Config>),
    #[cfg(feature = "otel-sdk-0-33")]
    Sdk(crate::alert::Sink),
}

impl From<otlp::Config> for Export {
    fn from(config: otlp::Config) -> Self {
        Self(Way::Otlp(Box::new(config)))
    }
}

#[cfg(feature = "otel-sdk-0-33")]
impl From<Sdk> for Export {
    fn from(sdk: Sdk) -> Self {
        Self(Way::Sdk(sdk.into_sink()))
    }
}
