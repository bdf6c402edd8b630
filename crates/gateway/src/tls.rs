//! TLS: who connects inside a cluster shows a certificate of the cluster's authority, before a byte of his is read.
//!
//! What a certificate is for stands among its alternative names, as [`Role::name_in`] writes it: a node of the cluster
//! `prod` has `node.prod.paycore`, a gateway `gateway.prod.paycore`, beside the host names under which it is dialled. So
//! a gateway's certificate opens no door that is only for nodes, and one of another cluster under the same authority
//! opens none at all. A node's certificate also says which node it is, as [`node_name`] writes it: `node-2.prod.paycore`.
//! So a stolen certificate speaks for the one node whose it was.
//!
//! Who dials checks the host name that he dialled, as browsers do; between nodes it is the name of the node that is
//! checked instead ([`Identity::dialler_to`]), since there it matters who answers, and not where.
//!
//! Certificates are replaced while a process runs: [`Identity`]s come through a channel, a new connection is made and judged
//! by the one that stands in it then, and the connections that are there go on.
//!
//! A [`Door`] also stands for one without TLS, which lets everybody in. Whoever is turned away is turned away before he
//! has sent anything, and a line in the log says why.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tonic::transport::{Certificate, ClientTlsConfig, Identity as TonicIdentity};
use webpki::EndEntityCert;

use crate::incoming::{Carrier, Shown};

/// How long a handshake may take: two round trips and a signature, with much to spare.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A node of the cluster.
    Node,
    /// One of its gateways.
    Gateway,
    /// Somebody who calls a gateway.
    Client,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Node, Self::Gateway, Self::Client];

    /// The alternative name that says so in a certificate of a cluster.
    #[must_use]
    pub fn name_in(self, cluster: &str) -> String {
        let role = match self {
            Self::Node => "node",
            Self::Gateway => "gateway",
            Self::Client => "client",
        };
        format!("{role}.{cluster}.paycore")
    }
}

/// The alternative name that says which node of a cluster a certificate is for.
#[must_use]
pub fn node_name(node: u64, cluster: &str) -> String {
    format!("node-{node}.{cluster}.paycore")
}

/// Who may pass a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guests {
    /// Nodes and gateways of the cluster.
    Members,
    /// Who has a certificate of the cluster, whatever it is for.
    Certified,
    /// Everybody; who shows a certificate shows a good one.
    Everybody,
}

/// What a process shows of itself, and whom it trusts.
#[derive(Clone)]
pub struct Identity {
    cluster: String,
    authority: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Identity {
    /// A process of a cluster, by PEM texts: its authority's certificates, its own with what leads from there to the
    /// authority, and its key.
    #[must_use]
    pub const fn new(
        cluster: String,
        authority: Vec<u8>,
        certificate: Vec<u8>,
        key: Vec<u8>,
    ) -> Self {
        Self { cluster, authority, certificate, key }
    }

    /// How it dials: it trusts the authority alone, checks the host name, and shows its certificate.
    #[must_use]
    pub fn dialler(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.authority))
            .identity(TonicIdentity::from_pem(&self.certificate, &self.key))
            .timeout(HANDSHAKE_MAX)
    }

    /// How it dials a node of its cluster: it checks that the certificate is that node's, wherever it is.
    #[must_use]
    pub fn dialler_to(&self, node: u64) -> ClientTlsConfig {
        self.dialler().domain_name(node_name(node, &self.cluster))
    }

    /// Whether connections can be made with it.
    ///
    /// # Errors
    /// When one of the texts is not what it should be.
    pub fn check(&self) -> Result<(), TlsError> {
        self.rule(Guests::Members).map(drop)
    }

    fn rule(&self, guests: Guests) -> Result<Rule, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&self.certificate, "cert")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|why| TlsError::Pem { what: "key", why })?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(self.verifier(guests, provider)?)
            .with_single_cert(chain, key)?;
        config.alpn_protocols.push(b"h2".to_vec());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Rule { acceptor, guests, cluster: self.cluster.clone() })
    }

    fn verifier(
        &self,
        guests: Guests,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.authority, "ca")? {
            roots.add(root)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = match guests {
            Guests::Members | Guests::Certified => verifier,
            Guests::Everybody => verifier.allow_unauthenticated(),
        };
        Ok(verifier.build()?)
    }
}

fn certificates(text: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|why| TlsError::Pem { what, why })?;
    if read.is_empty() { Err(TlsError::Nothing(what)) } else { Ok(read) }
}

/// Why there is no door.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Give a PEM file as `config certs` writes it.
    #[error("`{what}` cannot be read: {why}")]
    Pem {
        /// Which of the files.
        what: &'static str,
        /// What the reader said.
        why: pem::Error,
    },
    /// Give a PEM file that holds a certificate.
    #[error("`{0}` holds no certificate")]
    Nothing(&'static str),
    /// Give a key and a certificate that belong together.
    #[error("certificate and key do not do: {0}")]
    Unfit(#[from] tokio_rustls::rustls::Error),
    /// Give an authority's certificate.
    #[error("the authority does not do: {0}")]
    Authority(#[from] VerifierBuilderError),
}

/// Where connections come in.
#[derive(Clone, Debug, Default)]
pub struct Door {
    keeper: Option<Arc<Keeper>>,
}

/// Makes a new rule when there is a new identity.
struct Keeper {
    identity: watch::Receiver<Arc<Identity>>,
    guests: Guests,
    /// The rule that stands, and the identity that it was made of.
    made: Mutex<(Arc<Identity>, Arc<Rule>)>,
}

impl Keeper {
    fn rule(&self) -> Arc<Rule> {
        let now = Arc::clone(&self.identity.borrow());
        let mut made = self.made.lock().expect("nothing panics while it holds the rule");
        if !Arc::ptr_eq(&made.0, &now) {
            match now.rule(self.guests) {
                Ok(rule) => made.1 = Arc::new(rule),
                Err(why) => tracing::error!(%why, "a door cannot show the new certificates"),
            }
            made.0 = now;
        }
        Arc::clone(&made.1)
    }
}

struct Rule {
    acceptor: TlsAcceptor,
    guests: Guests,
    cluster: String,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("guests", &self.guests).finish_non_exhaustive()
    }
}

impl Door {
    /// A door without TLS: for loopback, and for networks that let nobody else in.
    #[must_use]
    pub const fn plaintext() -> Self {
        Self { keeper: None }
    }

    /// A door at which a process shows the certificate that it has when somebody comes.
    ///
    /// # Errors
    /// When no connection can be made with the identity that it has now. Of a later one that is said in the log, and the
    /// door stays as it was.
    pub fn of(identity: watch::Receiver<Arc<Identity>>, guests: Guests) -> Result<Self, TlsError> {
        let now = Arc::clone(&identity.borrow());
        let rule = Arc::new(now.rule(guests)?);
        let keeper = Keeper { identity, guests, made: Mutex::new((now, rule)) };
        Ok(Self { keeper: Some(Arc::new(keeper)) })
    }

    /// Whether it has TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.keeper.is_some()
    }

    /// A connection, once it has shown that it may pass.
    pub(crate) async fn let_in(&self, stream: TcpStream) -> Option<(Carrier, Shown)> {
        let Some(keeper) = &self.keeper else {
            return Some((Carrier::Plain(stream), Shown::default()));
        };
        let rule = keeper.rule();
        let from = stream.peer_addr().map_or_else(|_| "?".to_owned(), |from| from.to_string());
        let stream = match tokio::time::timeout(HANDSHAKE_MAX, rule.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(why)) => {
                tracing::warn!(from, %why, "turned a connection away: no TLS that will do");
                return None;
            }
            Err(_) => {
                tracing::warn!(from, "turned a connection away: no TLS in time");
                return None;
            }
        };
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let role = leaf.and_then(|leaf| role_of(leaf, &rule.cluster));
        let may_pass = match rule.guests {
            Guests::Members => matches!(role, Some(Role::Node | Role::Gateway)),
            Guests::Certified => role.is_some(),
            Guests::Everybody => true,
        };
        if !may_pass {
            let cluster = &rule.cluster;
            tracing::warn!(
                from,
                cluster,
                "turned a connection away: its certificate names nobody of the cluster who may pass"
            );
            return None;
        }
        let node = leaf.and_then(|leaf| node_of(leaf, &rule.cluster));
        Some((Carrier::Tls(Box::new(stream)), Shown { role, node }))
    }
}

/// What a certificate, which has been verified, is for in a cluster.
fn role_of(leaf: &CertificateDer<'_>, cluster: &str) -> Option<Role> {
    let leaf = ParsedCertificate::try_from(leaf).ok()?;
    Role::ALL.into_iter().find(|role| {
        let name = ServerName::try_from(role.name_in(cluster));
        name.is_ok_and(|name| verify_server_name(&leaf, &name).is_ok())
    })
}

/// The node of a cluster that a certificate, which has been verified, names. One that names several names nobody.
fn node_of(leaf: &CertificateDer<'_>, cluster: &str) -> Option<u64> {
    let leaf = EndEntityCert::try_from(leaf).ok()?;
    let mut nodes = leaf.valid_dns_names().filter_map(|name| node_in(name, cluster));
    nodes.next().filter(|_| nodes.next().is_none())
}

/// The node that a name is of, if it is just as [`node_name`] writes it, but for capitals.
fn node_in(name: &str, cluster: &str) -> Option<u64> {
    let (first, _) = name.split_once('.')?;
    let (_, number) = first.split_once('-')?;
    let node = number.parse().ok()?;
    node_name(node, cluster).eq_ignore_ascii_case(name).then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_name_is_read_as_it_is_written() {
        assert_eq!(node_in(&node_name(17, "prod"), "prod"), Some(17));
        assert_eq!(node_in("NODE-17.Prod.paycore", "prod"), Some(17));
        for other in [
            "node.prod.paycore",
            "node-17.test.paycore",
            "node-017.prod.paycore",
            "node-+17.prod.paycore",
            "node--17.prod.paycore",
            "node-*.prod.paycore",
            "node-17.prod.paycore.example.com",
            "x.node-17.prod.paycore",
            "gateway-17.prod.paycore",
            "node-18446744073709551616.prod.paycore",
            "",
        ] {
            assert_eq!(node_in(other, "prod"), None, "{other}");
        }
    }
}
