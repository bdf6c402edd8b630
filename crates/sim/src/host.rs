//! A node on its machine: one life of its process, from its opening to its crash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use consensus::simulated::SimNetwork;
use consensus::{Mailbox, Node, NodeConfig, OpenError, Replica, StopReason};
use futures::FutureExt;
use ledger::Shards;
use runtime::simulated::{self, Life};
use shard::{Carrier, Office, Ways};
use tokio::sync::oneshot;

use crate::driver::{Ask, Door, drive};
use crate::machine::{Machine, data_dir};
use crate::reigns::Reigns;
use crate::trace::Trace;

/// Small sizes, so that segments, checkpoints and purges come often.
pub(crate) const SEGMENT_BYTES: u64 = 64 << 10;
const CHECKPOINT_BYTES: u64 = 24 << 10;
const LOG_HELD_BYTES: u64 = 256 << 10;

/// The doors of a node's shards.
type Doors = Arc<Mutex<BTreeMap<u16, Door>>>;

/// One life of a node.
pub(crate) struct Host {
    pub(crate) life: Life,
    pub(crate) node: Arc<Node>,
    doors: Doors,
}

/// What all nodes of a cluster have in common.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Nodes to begin with, from 1 on.
    pub(crate) nodes: u64,
    /// Replicas of each group.
    pub(crate) replicas: u64,
    pub(crate) shards: Shards,
    pub(crate) network: SimNetwork,
    pub(crate) trace: Trace,
    pub(crate) reigns: Reigns,
}

/// Where a node listens.
pub(crate) fn address(node: u64) -> String {
    format!("node-{node}")
}

impl Plan {
    fn config(&self, id: u64, peers: &BTreeSet<u64>) -> NodeConfig {
        let peers = peers.iter().map(|node| (*node, address(*node))).collect();
        let mut config = NodeConfig::new(id, data_dir(), peers, self.shards);
        config.joins = id > self.nodes;
        config.replicas = usize::try_from(self.replicas).unwrap_or(usize::MAX);
        config.log.segment_bytes = SEGMENT_BYTES;
        config.log.cache_bytes = SEGMENT_BYTES;
        config.checkpoint.log_bytes_min = CHECKPOINT_BYTES;
        config.checkpoint.image_factor = 1;
        config.checkpoint.log_held_bytes_max = LOG_HELD_BYTES;
        config
    }
}

impl Host {
    /// Opens a node on a machine, told of some peers, and starts it.
    ///
    /// # Errors
    /// When its disk cannot be opened: a fault of the code, unless the disk was harmed.
    pub(crate) async fn open(
        plan: &Plan,
        (id, peers): (u64, &BTreeSet<u64>),
        machine: &mut Machine,
    ) -> Result<Self, OpenError> {
        let life = Life::default();
        let opening = async {
            let config = plan.config(id, peers);
            let ground = machine.ground(&config, &plan.network)?;
            let node = Arc::new(Node::open_on(config, ground).await?);
            let doors = Doors::default();
            simulated::spawn(live(plan.clone(), Arc::clone(&node), Arc::clone(&doors)));
            Ok::<_, OpenError>((node, doors))
        };
        let (node, doors) = life.live(opening).await?;
        Ok(Self { life, node, doors })
    }

    /// A shard's way in, if the node keeps it.
    pub(crate) fn door(&self, shard: u16) -> Option<Door> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }

    /// Why the node has stopped by itself, if it has.
    pub(crate) fn stopped(&self) -> Option<StopReason> {
        self.node.stopped().borrow().clone()
    }

    /// Waits until the node has stopped by itself, or a time has passed.
    pub(crate) async fn stops_within(&self, within: Duration) {
        let mut stopped = self.node.stopped();
        let stopping = async { stopped.wait_for(Option::is_some).await.is_ok() };
        let _late = simulated::timeout(within, stopping).await;
    }
}

/// What the binary does with a node.
async fn live(plan: Plan, node: Arc<Node>, doors: Doors) {
    if node.start().await.is_err() {
        // It says why.
        return;
    }
    node.read_mail(mailbox(&doors));
    let (keeper, its) = (plan.clone(), Arc::clone(&node));
    simulated::spawn(async move { keep_doors(&keeper, &its, &doors).await });
    let _stopped = node.initialize().await;
}

/// Opens the doors of each replica that comes, and closes those of each that goes.
async fn keep_doors(plan: &Plan, node: &Arc<Node>, doors: &Doors) {
    let mut replicas = node.watch_replicas();
    loop {
        let kept = Arc::clone(&replicas.borrow_and_update());
        {
            let mut doors = doors.lock().unwrap_or_else(PoisonError::into_inner);
            doors.retain(|shard, _| kept.contains_key(shard));
            for (shard, replica) in kept.iter() {
                doors.entry(*shard).or_insert_with(|| door(plan, node, replica));
            }
        }
        if replicas.changed().await.is_err() {
            return;
        }
    }
}

fn door(plan: &Plan, node: &Arc<Node>, replica: &Arc<Replica>) -> Door {
    let keeper = Arc::clone(node);
    let believes = move |shard| keeper.replica(shard)?.leadership().borrow().leader;
    let carrier = Carrier::new(node.mail(), believes);
    let ways = Ways { addresses: node.addresses(), carrier };
    let place = (plan.shards, replica.shard());
    let office = Office::new(Arc::clone(replica), place, ways, shard::Meter::default());
    let witness = (plan.trace.clone(), plan.reigns.clone());
    drive(office, replica.leadership(), (node.id(), replica.shard()), witness)
}

/// Reads the node's mail: hands each letter to its shard.
fn mailbox(doors: &Doors) -> Mailbox {
    let doors = Arc::clone(doors);
    Arc::new(move |shard, letter| {
        let door = doors.lock().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned();
        async move {
            let Some(door) = door else { return shard::nobody_leads() };
            let (writer, answer) = oneshot::channel();
            let sent = door.send(Ask::Letter(letter, writer)).await;
            let answered = if sent.is_ok() { answer.await.ok() } else { None };
            answered.unwrap_or_else(shard::nobody_leads)
        }
        .boxed()
    })
}
