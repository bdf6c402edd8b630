//! TLS towards a gateway: whom to trust, and what to show.

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Whom a client trusts, and what it shows.
#[derive(Clone, Debug)]
pub struct Tls(ClientTlsConfig);

impl Tls {
    /// Trusts whoever has a certificate of this authority for the host that is dialled; the text is PEM.
    #[must_use]
    pub fn trusting(authority: &[u8]) -> Self {
        Self(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority)))
    }

    /// The same, and shows this certificate, where a gateway asks for one; both texts are PEM.
    #[must_use]
    pub fn showing(self, certificate: &[u8], key: &[u8]) -> Self {
        Self(self.0.identity(Identity::from_pem(certificate, key)))
    }

    pub(crate) fn into_config(self) -> ClientTlsConfig {
        self.0
    }
}
