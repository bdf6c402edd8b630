//! Nodes that come and go, replicas that move, leaders that hand over: the operator's work, done in the middle of the rest.

use std::sync::Arc;
use std::time::Duration;

use consensus::Change;
use runtime::simulated;

use super::Nemesis;
use crate::faults::Fault;

/// The most nodes that there are at the same time.
const NODES_MAX: usize = 9;

/// Shards that are handed over one after the other.
const HANDED_MAX: u64 = 4;

/// How long a hand-over may take before nobody waits for it.
const LEAD_MAX: Duration = Duration::from_secs(2);

impl Nemesis {
    /// A new node joins, and takes a replica of each of some groups from somebody.
    pub(super) fn join(&mut self) {
        if !self.operator.is_done() || self.cluster.ids().len() >= NODES_MAX {
            return;
        }
        let new = self.cluster.grow();
        self.note(format_args!("node {new} joins"));
        self.start_soon(new);
        for (shard, keepers) in self.operator.keepers() {
            let keepers: Vec<u64> = keepers.into_iter().collect();
            let old = self.chance.pick(&keepers);
            if let Some(old) = old.filter(|_| shard == 0 || self.chance.happens(400)) {
                self.operator.replace(shard, old, new, Some(Fault::Join));
            }
        }
    }

    /// A replica moves to a node that keeps nothing of its group.
    pub(super) fn move_replica(&mut self) {
        if !self.operator.is_done() {
            return;
        }
        let shards: Vec<u16> = self.cluster.plan.shards.groups().collect();
        let shard = self.chance.pick(&shards).unwrap_or(0);
        let keepers = self.operator.keepers().remove(&shard).unwrap_or_default();
        let others: Vec<u64> =
            self.cluster.ids().into_iter().filter(|id| !keepers.contains(id)).collect();
        let keepers: Vec<u64> = keepers.into_iter().collect();
        if let (Some(from), Some(to)) = (self.chance.pick(&keepers), self.chance.pick(&others)) {
            self.note(format_args!("shard {shard} moves from node {from} to node {to}"));
            self.operator.replace(shard, from, to, Some(Fault::Move));
        }
    }

    /// A node gives everything that it keeps to others, and leaves.
    pub(super) fn leave(&mut self) {
        let ids = self.cluster.ids();
        let replicas = usize::try_from(self.cluster.plan.replicas).unwrap_or(usize::MAX);
        if !self.operator.is_done() || ids.len() <= replicas {
            return;
        }
        let id = self.victim();
        self.note(format_args!("node {id} is to leave"));
        for (shard, keepers) in self.operator.keepers() {
            let others: Vec<u64> =
                ids.iter().copied().filter(|other| !keepers.contains(other)).collect();
            if let Some(to) = self.chance.pick(&others).filter(|_| keepers.contains(&id)) {
                self.operator.replace(shard, id, to, Some(Fault::Leave));
            }
        }
        if !self.operator.is_done() {
            self.operator.retire(id);
        }
    }

    /// Some leaders are asked to hand over to another voter each.
    pub(super) async fn hand_over(&mut self) {
        let shards: Vec<u16> = self.cluster.plan.shards.groups().collect();
        for _ in 0..self.chance.between(1, HANDED_MAX) {
            let shard = self.chance.pick(&shards).unwrap_or(0);
            let Some((host, replica)) = self.cluster.leader(shard) else { continue };
            let leader = host.node.id();
            let others: Vec<u64> =
                replica.status().voters.into_iter().filter(|node| *node != leader).collect();
            let Some(node) = self.chance.pick(&others) else { continue };
            let keeper = Arc::clone(&host.node);
            let asking =
                host.life.live(async move { keeper.change(shard, Change::Lead { node }).await });
            let changed = simulated::timeout(LEAD_MAX, asking).await;
            self.note(format_args!("shard {shard} is handed to node {node}: {changed:?}"));
            if matches!(changed, Some(Ok(changed)) if changed.is_new) {
                self.bites.bit(Fault::Lead);
            }
        }
    }
}
