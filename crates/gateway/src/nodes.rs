//! The nodes' addresses, and one connection to each: all shards' streams and reads share it. When the gateway has new
//! certificates, what comes next goes over a new connection, and what is under way ends on the old one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use wire::proto::cluster::shard_client::ShardClient;
use wire::proto::cluster::{Leader, ReadReply, ReadRequest};

use crate::config::{Topology, is_address};
use crate::dial::{Dial, Wire};
use crate::tls::Identity;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// How often a silent node is asked for a sign of life, and how long it may take to give one. A paused leader is then
/// noticed within two seconds, and a busy one is not given up.
const PING_EVERY: Duration = Duration::from_millis(500);
const PING_MAX: Duration = Duration::from_millis(1_500);

/// Bytes that may be on their way to us unread: several whole answers.
const WINDOW_BYTES: u32 = 4 << 20;

/// Nodes that are known at the most: more than a cluster has, and hints cannot make us collect them for ever.
const NODES_MAX: usize = 256;

/// The nodes that are known.
#[derive(Debug)]
pub(crate) struct Nodes {
    known: Mutex<BTreeMap<u64, Node>>,
    identity: Option<watch::Receiver<Arc<Identity>>>,
}

#[derive(Debug)]
struct Node {
    address: String,
    channel: Channel,
    /// What the channel's connections show.
    shown: Option<Arc<Identity>>,
}

impl Nodes {
    /// The configured nodes. Connections are made when they are needed.
    pub(crate) fn new(
        topology: &Topology,
        identity: Option<watch::Receiver<Arc<Identity>>>,
    ) -> Self {
        let nodes = Self { known: Mutex::new(BTreeMap::new()), identity };
        for (node, address) in topology.replicas().iter().flatten() {
            nodes.learn(&Leader { node_id: *node, address: address.clone() });
        }
        nodes
    }

    /// The connection to a node, if it is known.
    pub(crate) fn channel(&self, node: u64) -> Option<Channel> {
        let now = self.shown();
        let mut known = self.lock();
        let Node { address, channel, shown } = known.get_mut(&node)?;
        if shown.as_ref().map(Arc::as_ptr) != now.as_ref().map(Arc::as_ptr) {
            if let Some(renewed) = connection(address, now.as_deref()) {
                *channel = renewed;
            }
            *shown = now;
        }
        Some(channel.clone())
    }

    fn shown(&self) -> Option<Arc<Identity>> {
        self.identity.as_ref().map(|identity| Arc::clone(&identity.borrow()))
    }

    /// Every node that is known: those configured, and those that were named since.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.lock().keys().copied().collect()
    }

    /// Learns of a node that somebody named. What was known before wins: the configuration may name an address that
    /// only we can reach.
    pub(crate) fn learn(&self, named: &Leader) {
        let mut known = self.lock();
        if known.contains_key(&named.node_id) || known.len() >= NODES_MAX {
            return;
        }
        let shown = self.shown();
        if let Some(channel) = connection(&named.address, shown.as_deref()) {
            known.insert(named.node_id, Node { address: named.address.clone(), channel, shown });
        }
    }

    /// Lets go of a node that has left for good.
    pub(crate) fn forget(&self, node: u64) {
        self.lock().remove(&node);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Node>> {
        self.known.lock().expect("nothing panics while it holds the nodes")
    }
}

impl Dial for Nodes {
    fn ids(&self) -> Vec<u64> {
        Self::ids(self)
    }

    fn learn(&self, named: &Leader) {
        Self::learn(self, named);
    }

    fn ask(
        &self,
        node: u64,
        question: ReadRequest,
    ) -> BoxFuture<'static, Result<ReadReply, Status>> {
        let channel = self.channel(node);
        async move {
            let channel = channel.ok_or_else(|| Status::unavailable("the node is not known"))?;
            Ok(ShardClient::new(channel).read(question).await?.into_inner())
        }
        .boxed()
    }

    fn open(&self, node: u64, frames: usize) -> BoxFuture<'static, Option<Wire>> {
        let channel = self.channel(node);
        async move {
            let (frames, outgoing) = mpsc::channel(frames);
            let opened = ShardClient::new(channel?).session(ReceiverStream::new(outgoing)).await;
            Some(Wire { node, frames, answers: opened.ok()?.into_inner().boxed() })
        }
        .boxed()
    }
}

fn connection(address: &str, identity: Option<&Identity>) -> Option<Channel> {
    if !is_address(address) {
        return None;
    }
    let endpoint = match identity {
        None => Endpoint::from_shared(format!("http://{address}")).ok()?,
        Some(identity) => {
            let endpoint = Endpoint::from_shared(format!("https://{address}")).ok()?;
            endpoint.tls_config(identity.dialler()).ok()?
        }
    };
    let channel = endpoint
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_MAX)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .connect_lazy();
    Some(channel)
}
