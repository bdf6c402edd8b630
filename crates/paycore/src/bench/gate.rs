//! Where a run's requests go, and what is shown there: the same endpoint, certificates and key that a person's commands
//! use.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{HeaderMap, Uri};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::config::settings::Client;

/// The header that says for which tenant an operator acts.
const TENANT: HeaderName = HeaderName::from_static("paycore-tenant");

/// A gateway's gRPC door. Clones are the same.
#[derive(Clone)]
pub(super) struct Gate {
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    shown: HeaderMap,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Gate {
    /// A door without TLS at `host:port`, where nothing has to be shown.
    pub(super) fn plain(address: &str) -> Self {
        Self { address: address.to_owned(), tls: None, shown: HeaderMap::new() }
    }

    /// The door that settings name, with the certificates and the key that they name.
    ///
    /// # Errors
    /// When a file cannot be read, or holds something else.
    pub(super) fn of(settings: &Client) -> anyhow::Result<Self> {
        let Client { endpoint, api_key, tenant, .. } = settings;
        let uri: Uri = endpoint.parse().context("the endpoint")?;
        let host = uri.host().context("the endpoint names no host")?;
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let mut gate = Self::plain(&format!("{host}:{port}"));
        if is_tls {
            let name = host.trim_matches(['[', ']']).to_owned();
            let name = ServerName::try_from(name).context("the endpoint's host")?;
            gate.tls = Some((connector(settings)?, name));
        }
        if let Some(key) = api_key {
            let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.reveal()))
                .context("the API key cannot be one")?;
            bearer.set_sensitive(true);
            gate.shown.insert(AUTHORIZATION, bearer);
        }
        if let Some(tenant) = tenant {
            gate.shown.insert(TENANT, HeaderValue::from(*tenant));
        }
        Ok(gate)
    }

    /// Where it is, as `host:port`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// What makes TLS of a connection, and whose certificate is expected; `None` for plaintext.
    pub(super) const fn tls(&self) -> Option<&(TlsConnector, ServerName<'static>)> {
        self.tls.as_ref()
    }

    /// What every call shows.
    pub(super) const fn shown(&self) -> &HeaderMap {
        &self.shown
    }

    /// The scheme of every call.
    pub(super) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

fn connector(settings: &Client) -> anyhow::Result<TlsConnector> {
    let ca = settings.ca.as_ref().context("an https endpoint needs `client.ca`")?;
    let mut roots = RootCertStore::empty();
    for root in certificates(ca)? {
        roots.add(root).with_context(|| ca.display().to_string())?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match settings.cert.as_ref().zip(settings.key.as_ref()) {
        None => config.with_no_client_auth(),
        Some((cert, key)) => {
            let secret = PrivateKeyDer::from_pem_slice(&read(key)?);
            let secret = secret.with_context(|| key.display().to_string())?;
            config.with_client_auth_cert(certificates(cert)?, secret)?
        }
    };
    config.alpn_protocols.push(b"h2".to_vec());
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(file: &PathBuf) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let text = read(file)?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let found = found.with_context(|| file.display().to_string())?;
    ensure!(!found.is_empty(), "{} holds no certificate", file.display());
    Ok(found)
}

fn read(file: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Secret;

    fn settings(endpoint: &str) -> Client {
        Client { endpoint: endpoint.to_owned(), ..Client::default() }
    }

    #[test]
    fn a_gate_is_where_the_endpoint_says_and_shows_what_the_settings_say() {
        for (endpoint, address) in
            [("http://10.0.0.1:7100/", "10.0.0.1:7100"), ("http://[::1]:7100", "[::1]:7100")]
        {
            let gate = Gate::of(&settings(endpoint)).unwrap();
            assert_eq!((gate.address(), gate.scheme()), (address, "http"));
            assert!(gate.shown().is_empty() && gate.tls().is_none());
        }
        let mut with_key = settings("http://127.0.0.1:7100");
        (with_key.api_key, with_key.tenant) = (Some(Secret::from("pk_secret")), Some(7));
        let gate = Gate::of(&with_key).unwrap();
        assert_eq!(gate.shown()["authorization"], "Bearer pk_secret");
        assert_eq!(gate.shown()["paycore-tenant"], "7");
        assert!(!format!("{gate:?} {:?}", gate.shown()).contains("secret"));
        with_key.api_key = Some(Secret::from("pk_\n"));
        assert!(Gate::of(&with_key).is_err());
    }

    #[test]
    fn tls_needs_an_authority_that_can_be_read() {
        let mut secure = settings("https://127.0.0.1:7100");
        assert!(Gate::of(&secure).is_err());
        let home = tempfile::tempdir().unwrap();
        secure.ca = Some(home.path().join("ca.pem"));
        assert!(Gate::of(&secure).is_err(), "it is not there");
        std::fs::write(home.path().join("ca.pem"), "nothing").unwrap();
        let why = Gate::of(&secure).unwrap_err().to_string();
        assert!(why.contains("holds no certificate"), "{why}");
    }
}
