//! What the lanes ask of TLS, whoever provides it: that both ends are the nodes that they say they are.
//!
//! A node's certificate names the node. Who dials asks for the name of the node that he means, and who listens compares
//! what the certificate names with what the greeting says. So a certificate of one node speaks for no other.

use std::fmt;
use std::sync::Arc;

use tonic::transport::ClientTlsConfig;

/// How peers are dialled with TLS.
#[derive(Clone)]
pub struct PeerTls(Arc<dyn Fn(u64) -> ClientTlsConfig + Send + Sync>);

impl PeerTls {
    /// Asks, for every new connection, how a node is dialled: whom this node trusts, what it shows, and that the other
    /// end's certificate is that node's.
    #[must_use]
    pub fn new(how: impl Fn(u64) -> ClientTlsConfig + Send + Sync + 'static) -> Self {
        Self(Arc::new(how))
    }

    pub(super) fn to(&self, node: u64) -> ClientTlsConfig {
        (self.0)(node)
    }
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerTls").finish_non_exhaustive()
    }
}

/// What the certificate of whoever opens a lane says. The server puts it among the call's extensions; of a node that has
/// TLS, a lane without it is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certified {
    /// The node that it names; `None` when it names none.
    pub node: Option<u64>,
}
