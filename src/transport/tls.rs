//! Certificates, for either transport.

use std::fmt;

/// Whether this build can speak `https`.
pub(crate) const HAS_TLS: bool = cfg!(feature = "tls");

/// Certificates in PEM. Without any, the roots of Mozilla's programme that are compiled in.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// Trusted in place of the built-in roots.
    pub(crate) roots: Option<Vec<u8>>,
    /// The client's chain and its private key.
    pub(crate) client: Option<(Vec<u8>, Vec<u8>)>,
}

/// A private key belongs in no log.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("roots", &self.roots.is_some())
            .field("client", &self.client.is_some())
            .finish()
    }
}
