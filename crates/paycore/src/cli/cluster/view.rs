//! The cluster as its nodes show it, put together.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use wire::proto::cluster::{NodeStatus, ReplicaState, Role};

use super::door::Doors;

/// How often nodes that others named are asked in turn: the cluster's nodes all know each other, or nearly.
const ROUNDS: usize = 3;

/// A cluster at one moment, or nearly.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    /// Every node that is known, by its id.
    pub(super) nodes: BTreeMap<u64, Seen>,
    /// Every shard, and the meta group, whose number comes after theirs.
    pub(super) shards: BTreeMap<u16, ShardView>,
    /// The meta group's number, once a node has said how many shards there are.
    pub(super) meta: Option<u16>,
    /// How many replicas each shard should have.
    pub(super) replication: usize,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Where it listens.
    pub(super) address: String,
    /// What it says; nothing, when it does not answer.
    pub(super) status: Option<NodeStatus>,
}

/// A shard, as its leader shows it; without a leader, as whoever has the latest term does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ShardView {
    /// Who leads.
    pub(super) leader: Option<u64>,
    /// The term.
    pub(super) term: u64,
    /// Who votes; of both sets, while they change.
    pub(super) voters: BTreeSet<u64>,
    /// Who receives entries and does not vote.
    pub(super) learners: BTreeSet<u64>,
    /// A change of voters was begun and is not complete.
    pub(super) is_changing: bool,
    /// The entries that each member lacks.
    pub(super) lag: BTreeMap<u64, u64>,
}

impl View {
    /// Asks every node that is known, and those whom they name.
    pub(super) async fn gather(known: &BTreeMap<u64, String>, doors: &Doors) -> Self {
        let mut nodes: BTreeMap<u64, Seen> = known
            .iter()
            .map(|(node, address)| (*node, Seen { address: address.clone(), status: None }))
            .collect();
        let mut asked = BTreeSet::new();
        for _ in 0..ROUNDS {
            let to_ask: Vec<_> = nodes
                .iter()
                .filter(|(node, _)| !asked.contains(*node))
                .map(|(node, seen)| (*node, seen.address.clone()))
                .collect();
            asked.extend(to_ask.iter().map(|(node, _)| *node));
            let look = |(node, address): (u64, String)| async move {
                // Another node at its address is none at all.
                (node, doors.look(&address).await.filter(|status| status.node_id == node))
            };
            for (node, status) in join_all(to_ask.into_iter().map(look)).await {
                for (named, address) in status.iter().flat_map(named) {
                    nodes.entry(named).or_insert(Seen { address, status: None });
                }
                if let Some(seen) = nodes.get_mut(&node) {
                    seen.status = status;
                }
            }
        }
        Self::of(nodes)
    }

    /// Puts together what the nodes have said.
    pub(super) fn of(nodes: BTreeMap<u64, Seen>) -> Self {
        let statuses = || nodes.values().filter_map(|seen| seen.status.as_ref());
        let count = statuses().map(|status| status.shards).max();
        let meta = count.and_then(|count| u16::try_from(count).ok());
        let replication = statuses().map(|status| status.replication).max().unwrap_or(0);
        let mut shards = BTreeMap::new();
        for shard in meta.into_iter().flat_map(|meta| 0..=meta) {
            let said = statuses().flat_map(|status| {
                let its = status.replicas.iter().filter(|at| at.shard == u32::from(shard));
                its.map(|at| (status.node_id, at))
            });
            // A leader's word counts more than a follower's of the same term.
            let best = said.max_by_key(|(_, at)| (at.term, at.role() == Role::Leader));
            shards
                .insert(shard, best.map(|(node, at)| ShardView::of(node, at)).unwrap_or_default());
        }
        Self { nodes, shards, meta, replication: usize::try_from(replication).unwrap_or(0) }
    }

    /// Whether a node answers and takes part.
    pub(super) fn is_up(&self, node: u64) -> bool {
        self.status(node).is_some_and(|status| status.is_started)
    }

    /// What a node says; nothing, when it does not answer.
    pub(super) fn status(&self, node: u64) -> Option<&NodeStatus> {
        self.nodes.get(&node)?.status.as_ref()
    }

    /// Who hears from a node that perhaps does not answer here.
    pub(super) fn who_hears(&self, node: u64) -> Option<u64> {
        let is_heard = |status: &&NodeStatus| {
            status.node_id != node
                && status.peers.iter().any(|peer| peer.node_id == node && peer.is_up)
        };
        let statuses = self.nodes.values().filter_map(|seen| seen.status.as_ref());
        statuses.filter(is_heard).map(|status| status.node_id).next()
    }

    /// What a node says of its replica of a shard.
    pub(super) fn replica(&self, shard: u16, node: u64) -> Option<&ReplicaState> {
        self.status(node)?.replicas.iter().find(|state| state.shard == u32::from(shard))
    }

    /// Whether a node may be asked to lead.
    pub(super) fn may_lead(&self, node: u64) -> bool {
        self.status(node).is_some_and(|status| status.is_started && !status.is_drained)
    }

    /// The nodes that vote somewhere.
    pub(super) fn members(&self) -> BTreeSet<u64> {
        self.shards.values().flat_map(|shard| shard.voters.iter().copied()).collect()
    }

    /// How many shards a node has a voting replica of.
    pub(super) fn load(&self, node: u64) -> usize {
        self.shards.values().filter(|shard| shard.voters.contains(&node)).count()
    }

    /// How many shards a node leads.
    pub(super) fn leads(&self, node: u64) -> usize {
        self.shards.values().filter(|shard| shard.leader == Some(node)).count()
    }
}

impl ShardView {
    fn of(node: u64, at: &ReplicaState) -> Self {
        let is_leader = at.role() == Role::Leader;
        let of_role = |votes: bool| {
            let members = at.members.iter().filter(move |member| member.is_voter == votes);
            members.map(|member| member.node_id).collect()
        };
        let lag = at.members.iter().map(|member| {
            let lag = at.last_log_index.saturating_sub(member.matched_index);
            (member.node_id, if member.node_id == node { 0 } else { lag })
        });
        Self {
            leader: if is_leader { Some(node) } else { None },
            term: at.term,
            voters: of_role(true),
            learners: of_role(false),
            is_changing: at.is_changing,
            lag: if is_leader { lag.collect() } else { BTreeMap::new() },
        }
    }

    /// Whether a node is in the shard in any part.
    pub(super) fn has(&self, node: u64) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }
}

/// The nodes that a node names, and where they listen.
fn named(status: &NodeStatus) -> Vec<(u64, String)> {
    let members = status.replicas.iter().flat_map(|at| &at.members);
    let members = members.map(|member| (member.node_id, member.address.clone()));
    let peers = status.peers.iter().map(|peer| (peer.node_id, peer.address.clone()));
    peers.chain(members).filter(|(_, address)| !address.is_empty()).collect()
}
