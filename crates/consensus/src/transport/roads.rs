//! What keeps the lanes between nodes up: gRPC, or a network that is simulated.

use std::sync::Arc;

use super::tls::PeerTls;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::dial::{Way, dial};
use super::{Lane, Link};
use crate::desk::Desk;
use crate::roster::Roster;

/// A network between nodes.
pub(crate) trait Network: Send + Sync {
    /// Says where questions to this node go: to its desk, from now on.
    fn lead_to(&self, desk: &Arc<Desk>);

    /// Keeps one lane up until `stop` changes or its sender goes: greets the peer, puts the lane into service with
    /// [`Link::connect`], carries, takes it out of service when it breaks, and begins again after a pause.
    fn keep_up(
        &self,
        lane: (Arc<Link>, Lane),
        roster: Arc<Roster>,
        stop: watch::Receiver<bool>,
    ) -> BoxFuture<'static, ()>;
}

/// The ways from a node to its peers.
#[derive(Clone)]
pub struct Roads(Arc<dyn Network>);

impl std::fmt::Debug for Roads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roads").finish_non_exhaustive()
    }
}

impl Roads {
    /// Over gRPC, with TLS when there is any. Who mounts [`crate::PeerService`] can be reached.
    #[must_use]
    pub fn grpc(tls: Option<PeerTls>) -> Self {
        Self(Arc::new(Grpc { tls }))
    }

    /// Over a simulated network.
    #[cfg(feature = "simulated")]
    pub(crate) fn over(network: Arc<dyn Network>) -> Self {
        Self(network)
    }

    pub(crate) fn lead_to(&self, desk: &Arc<Desk>) {
        self.0.lead_to(desk);
    }

    pub(crate) fn keep_up(
        &self,
        lane: (Arc<Link>, Lane),
        roster: Arc<Roster>,
        stop: watch::Receiver<bool>,
    ) -> BoxFuture<'static, ()> {
        self.0.keep_up(lane, roster, stop)
    }
}

struct Grpc {
    tls: Option<PeerTls>,
}

impl Network for Grpc {
    fn lead_to(&self, _desk: &Arc<Desk>) {
        // The service is mounted by whoever has the server.
    }

    fn keep_up(
        &self,
        (link, lane): (Arc<Link>, Lane),
        roster: Arc<Roster>,
        stop: watch::Receiver<bool>,
    ) -> BoxFuture<'static, ()> {
        dial(link, lane, Way { roster, tls: self.tls.clone() }, stop).boxed()
    }
}
