//! A node: one log, one link to each peer, and the replicas of the shards it keeps.
//!
//! A start has three steps. [`Node::open`] reads what is on the disk; the caller then mounts [`Node::peer_service`];
//! [`Node::start`] asks a majority what this node promised before, and lets its groups take part only when its disk has
//! kept it all. [`Node::initialize`] makes a new cluster out of nodes that have nothing.

mod change;
mod drain;
mod links;
mod open;
mod overview;
mod rebuild;
mod scrub;
mod start;
mod tenancy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, mpsc, watch};

use crate::clock::{ClockAlarm, ClusterClock};
use crate::config::NodeConfig;
use crate::desk::{Call, Desk};
use crate::log::Log;
use crate::log_store::LogStore;
use crate::machine::Shard;
use crate::mail::{Mail, Mailbox};
use crate::offload::Offload;
use crate::raft::DiskId;
use crate::register::Register;
use crate::replica::Replica;
use crate::roster::Roster;
use crate::stop::{StopReason, StopSwitch};
use crate::store::Parts;
use crate::transport::proto::peer_server::PeerServer;
use crate::transport::{PeerService, Peers, Roads};

pub use change::{Change, ChangeError, Changed};
pub use drain::DrainError;
pub(crate) use open::group_dir;
pub use open::{Ground, OpenError};
pub use overview::{Overview, PeerOverview};

/// The replicas of a node, by shard.
pub type Replicas = Arc<BTreeMap<u16, Arc<Replica>>>;

/// One process's part in a cluster.
pub struct Node(Arc<Site>);

/// Everything a node has; shared with the tasks that open and close its groups.
pub(crate) struct Site {
    config: NodeConfig,
    log: Log,
    parts: Parts,
    register: Arc<Register>,
    desk: Arc<Desk>,
    peers: Arc<Peers>,
    roads: Roads,
    clock: Arc<ClusterClock>,
    offload: Offload,
    stop: StopSwitch,
    /// Set once, when the node goes down in good order.
    going_down: watch::Sender<bool>,
    has_room: watch::Sender<bool>,
    /// Checkpoints are made one at a time.
    checkpoint_turns: Arc<Semaphore>,
    replicas: watch::Sender<Replicas>,
    /// What was found on the disk, until the node starts.
    found: Mutex<BTreeMap<u16, (LogStore, Shard)>>,
    /// To whom a checkpoint of which group is on its way, because its own is lost.
    sending: Mutex<BTreeSet<(u16, u64)>>,
    /// What leaders want of this node, until somebody listens.
    calls: Mutex<Option<mpsc::Receiver<Call>>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let node_id = &self.0.config.node_id;
        f.debug_struct("Node").field("node_id", node_id).finish_non_exhaustive()
    }
}

/// Where the nodes of a cluster listen, as far as a node knows now. Clones share what it learns.
#[derive(Clone, Debug)]
pub struct AddressBook(Arc<Roster>);

impl AddressBook {
    /// Where a node listens for its peers.
    #[must_use]
    pub fn get(&self, node: u64) -> Option<String> {
        self.0.address(node)
    }
}

/// What may be asked about a node from outside.
#[derive(Clone)]
pub struct Vitals {
    node_id: u64,
    log: Log,
    has_room: watch::Receiver<bool>,
    clock: Arc<ClusterClock>,
    desk: Arc<Desk>,
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

    /// A shard whose state is lost here, and is to come from a peer; and whether every other replica has lost it too. Then
    /// nothing comes: the cluster is to be restored from a backup.
    #[must_use]
    pub fn rebuilding(&self) -> Option<(u16, bool)> {
        self.desk.rebuilds.first()
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
        self.0.config.node_id
    }

    /// A shard's replica, once the node has started, if it keeps one.
    #[must_use]
    pub fn replica(&self, shard: u16) -> Option<Arc<Replica>> {
        self.0.replicas.borrow().get(&shard).cloned()
    }

    /// All replicas of the node, once it has started.
    #[must_use]
    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        self.0.replicas.borrow().values().cloned().collect()
    }

    /// Whether the node takes part: it has been allowed to vote in what it keeps.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// All replicas of the node, as they come and go.
    #[must_use]
    pub fn watch_replicas(&self) -> watch::Receiver<Replicas> {
        self.0.replicas.subscribe()
    }

    /// What peers talk to. Mount it before the node starts; [`crate::tune`] gives the server what it needs.
    #[must_use]
    pub fn peer_service(&self) -> PeerServer<PeerService> {
        PeerService::new(Arc::clone(&self.0.desk), self.0.config.tls.is_some())
    }

    /// Where this node's shards send what they write to others.
    #[must_use]
    pub fn mail(&self) -> Mail {
        Mail::new(Arc::clone(&self.0.desk), Arc::clone(&self.0.peers))
    }

    /// Takes in letters from now on; before that, nobody here reads any.
    ///
    /// # Panics
    /// When somebody reads them already.
    pub fn read_mail(&self, mailbox: Mailbox) {
        assert!(self.0.desk.mailbox.set(mailbox).is_ok(), "a node's mail has one reader");
    }

    /// The cluster's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<ClusterClock> {
        &self.0.clock
    }

    /// What may be asked about the node from outside, whatever it does.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        Vitals {
            node_id: self.id(),
            log: self.0.log.clone(),
            has_room: self.0.has_room.subscribe(),
            clock: Arc::clone(&self.0.clock),
            desk: Arc::clone(&self.0.desk),
        }
    }

    /// The reason for which the process must end, once there is one.
    #[must_use]
    pub fn stopped(&self) -> watch::Receiver<Option<StopReason>> {
        self.0.stop.watch()
    }

    /// What its data directory was born with.
    #[must_use]
    pub fn disk(&self) -> DiskId {
        self.0.peers.roster.disk
    }

    /// What another node's data directory was born with, as far as this one knows.
    #[must_use]
    pub fn disk_of(&self, node: u64) -> Option<DiskId> {
        self.0.peers.roster.disk_of(node)
    }

    /// Where the nodes of the cluster listen.
    #[must_use]
    pub fn addresses(&self) -> AddressBook {
        AddressBook(Arc::clone(&self.0.peers.roster))
    }

    /// Takes the node out of service in good order: what it acknowledged is durable anyway.
    pub async fn shutdown(&self) {
        self.0.going_down.send_replace(true);
        for replica in self.replicas() {
            replica.host.ends.send_replace(true);
            if let Err(error) = replica.host.raft.shutdown().await {
                tracing::error!(shard = replica.shard(), %error, "a group did not end well");
            }
            replica.host.shard.close().await;
        }
        let log = self.0.log.clone();
        self.0.offload.run(move || log.close()).await;
    }
}

impl Site {
    /// Changes the set of replicas that run here.
    fn change_replicas(&self, change: impl FnOnce(&mut BTreeMap<u16, Arc<Replica>>)) {
        self.replicas.send_modify(|replicas| change(Arc::make_mut(replicas)));
    }

    fn take_found(&self) -> BTreeMap<u16, (LogStore, Shard)> {
        std::mem::take(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
