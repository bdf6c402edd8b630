//! A node: one log, one link to each peer, and the replicas of the shards it keeps.
//!
//! A start has three steps. [`Node::open`] reads what is on the disk; the caller then mounts [`Node::peer_service`];
//! [`Node::start`] asks a majority what this node promised before, and lets its groups take part only when its disk has
//! kept it all. [`Node::initialize`] makes a new cluster out of nodes that have nothing.

mod open;
mod start;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Semaphore, watch};

use crate::clock::{ClockAlarm, ClusterClock};
use crate::config::NodeConfig;
use crate::desk::Desk;
use crate::log::Log;
use crate::offload::Offload;
use crate::replica::Replica;
use crate::stop::{StopReason, StopSwitch};
use crate::transport::proto::peer_server::PeerServer;
use crate::transport::{PeerService, Peers};

pub use open::{Ground, OpenError};

/// One process's part in a cluster.
pub struct Node {
    config: NodeConfig,
    log: Log,
    desk: Arc<Desk>,
    peers: Arc<Peers>,
    clock: Arc<ClusterClock>,
    offload: Offload,
    stop: StopSwitch,
    /// Set once, when the node goes down in good order.
    going_down: watch::Sender<bool>,
    has_room: watch::Sender<bool>,
    /// Checkpoints are made one at a time.
    checkpoint_turns: Arc<Semaphore>,
    replicas: RwLock<BTreeMap<u16, Arc<Replica>>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("node_id", &self.config.node_id).finish_non_exhaustive()
    }
}

/// What may be asked about a node from outside.
#[derive(Clone)]
pub struct Vitals {
    node_id: u64,
    log: Log,
    has_room: watch::Receiver<bool>,
    clock: Arc<ClusterClock>,
}

impl Vitals {
    /// The node's id.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.node_id
    }

    /// Whether the disk has room for more: below its bound the node proposes nothing.
    #[must_use]
    pub fn has_room(&self) -> bool {
        *self.has_room.borrow()
    }

    /// Frames of the log written and synced since the node was opened, and their bytes.
    #[must_use]
    pub fn log_written(&self) -> (u64, u64) {
        (self.log.synced_frames(), self.log.bytes_total())
    }

    /// What an operator should look at about the clocks.
    #[must_use]
    pub fn clock_alarm(&self) -> Option<ClockAlarm> {
        self.clock.alarm()
    }
}

impl Node {
    /// This node's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.config.node_id
    }

    /// A shard's replica, once the node has started, if it keeps one.
    #[must_use]
    pub fn replica(&self, shard: u16) -> Option<Arc<Replica>> {
        self.replicas.read().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }

    /// All replicas of the node, once it has started.
    #[must_use]
    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What peers talk to. Mount it before the node starts; [`crate::tune`] gives the server what it needs.
    #[must_use]
    pub fn peer_service(&self) -> PeerServer<PeerService> {
        PeerService::new(Arc::clone(&self.desk))
    }

    /// The cluster's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<ClusterClock> {
        &self.clock
    }

    /// What may be asked about the node from outside, whatever it does.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        Vitals {
            node_id: self.id(),
            log: self.log.clone(),
            has_room: self.has_room.subscribe(),
            clock: Arc::clone(&self.clock),
        }
    }

    /// The reason for which the process must end, once there is one.
    #[must_use]
    pub fn stopped(&self) -> watch::Receiver<Option<StopReason>> {
        self.stop.watch()
    }

    /// Where a node of the cluster listens for its peers.
    #[must_use]
    pub fn address_of(&self, node: u64) -> Option<String> {
        self.peers.roster.address(node)
    }

    /// Takes the node out of service in good order: what it acknowledged is durable anyway.
    pub async fn shutdown(self) {
        self.going_down.send_replace(true);
        for replica in self.replicas() {
            if let Err(error) = replica.host.raft.shutdown().await {
                tracing::error!(shard = replica.shard(), %error, "a group did not end well");
            }
        }
        let log = self.log.clone();
        self.offload.run(move || log.close()).await;
    }
}

#[cfg(test)]
mod tests;
