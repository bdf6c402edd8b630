//! Who is in the cluster: addresses, and the data directory behind each node id.
//!
//! A node's promises live in its data directory. Whoever comes with a known node id and another directory has none of
//! them, so nobody speaks with it: it has to come back under a new node id. What is known comes from the groups'
//! memberships; before there is any, from the configuration, which knows addresses only.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use ledger::Shards;

use crate::raft::{DiskId, Member, Membership};
use crate::transport::proto::Greeting;

/// The version of the protocol between nodes. Nodes of different versions turn each other away.
const PROTOCOL: u32 = 1;

/// Why a greeting is not accepted. Travels as text in a status, and is shown to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TurnedAway {
    /// The address belongs to another node: compare the topology with what runs where.
    #[error("wrong node: this is node {0}")]
    WrongNode(u64),
    /// The topology does not name the node.
    #[error("unknown node {0}")]
    UnknownNode(u64),
    /// The node's data directory was replaced. It must come back under a new node id.
    #[error("node {0} is known with another data directory: it must rejoin under a new node id")]
    OtherDisk(u64),
    /// The nodes are not of one cluster, or not of one release.
    #[error("another cluster, or another release")]
    OtherCluster,
}

/// The nodes, as this node knows them.
#[derive(Debug)]
pub(crate) struct Roster {
    pub(crate) node: u64,
    pub(crate) disk: DiskId,
    shards: Shards,
    configured: BTreeMap<u64, String>,
    recorded: RwLock<BTreeMap<u64, Member>>,
}

impl Roster {
    pub(crate) fn new(
        node: u64,
        disk: DiskId,
        shards: Shards,
        configured: BTreeMap<u64, String>,
    ) -> Self {
        Self { node, disk, shards, configured, recorded: RwLock::default() }
    }

    /// Takes in a group's membership.
    pub(crate) fn record(&self, membership: &Membership) {
        let mut recorded = self.recorded.write().unwrap_or_else(PoisonError::into_inner);
        for (node, member) in membership.nodes() {
            recorded.insert(*node, member.clone());
        }
    }

    /// All other nodes.
    pub(crate) fn peers(&self) -> Vec<u64> {
        let recorded = self.recorded.read().unwrap_or_else(PoisonError::into_inner);
        let mut peers: Vec<u64> = self.configured.keys().chain(recorded.keys()).copied().collect();
        peers.sort_unstable();
        peers.dedup();
        peers.retain(|peer| *peer != self.node);
        peers
    }

    /// Where a node listens. What the operator configured here wins over what was recorded when it joined.
    pub(crate) fn address(&self, node: u64) -> Option<String> {
        let recorded = self.recorded.read().unwrap_or_else(PoisonError::into_inner);
        let known = recorded.get(&node).map(|member| member.address.clone());
        self.configured.get(&node).cloned().or(known)
    }

    /// The data directory that a node is known by.
    pub(crate) fn disk_of(&self, node: u64) -> Option<DiskId> {
        let recorded = self.recorded.read().unwrap_or_else(PoisonError::into_inner);
        recorded.get(&node).map(|member| member.disk)
    }

    /// What this node says first on a lane.
    pub(crate) fn greeting(&self, to: u64, lane: u32) -> Greeting {
        Greeting {
            node: self.node,
            disk: Bytes::copy_from_slice(&self.disk),
            to,
            lane,
            shards: self.shards.count().into(),
            protocol: PROTOCOL,
        }
    }

    /// Judges the greeting of a node that dialled this one. Its data directory, if it is welcome.
    pub(crate) fn admit_dialler(&self, greeting: &Greeting) -> Result<DiskId, TurnedAway> {
        if greeting.to != self.node {
            return Err(TurnedAway::WrongNode(self.node));
        }
        self.admit(greeting)
    }

    /// Judges the greeting of the node that was dialled as `peer`.
    pub(crate) fn admit_listener(
        &self,
        peer: u64,
        greeting: &Greeting,
    ) -> Result<DiskId, TurnedAway> {
        if greeting.node != peer {
            return Err(TurnedAway::WrongNode(greeting.node));
        }
        self.admit(greeting)
    }

    /// Whether a node is still welcome after what was learnt since its greeting.
    pub(crate) fn is_welcome(&self, node: u64, disk: DiskId) -> bool {
        self.disk_of(node).is_none_or(|known| known == disk)
    }

    fn admit(&self, greeting: &Greeting) -> Result<DiskId, TurnedAway> {
        let node = greeting.node;
        let disk = DiskId::try_from(&greeting.disk[..]).map_err(|_| TurnedAway::OtherCluster)?;
        if greeting.protocol != PROTOCOL || greeting.shards != u32::from(self.shards.count()) {
            return Err(TurnedAway::OtherCluster);
        }
        if self.address(node).is_none() || node == self.node {
            return Err(TurnedAway::UnknownNode(node));
        }
        if self.is_welcome(node, disk) { Ok(disk) } else { Err(TurnedAway::OtherDisk(node)) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LANE: u32 = 1;

    fn roster(node: u64) -> Roster {
        let configured = (1..=3).map(|node| (node, format!("host-{node}:7000"))).collect();
        let disk = [u8::try_from(node).unwrap(); 16];
        Roster::new(node, disk, Shards::new(4).unwrap(), configured)
    }

    fn record(roster: &Roster, node: u64, disk: u8) {
        let member = Member { address: format!("old-{node}:1"), disk: [disk; 16] };
        let membership =
            Membership::new(vec![BTreeSet::from([node])], BTreeMap::from([(node, member)]));
        roster.record(&membership.unwrap());
    }

    #[test]
    fn a_node_is_known_by_its_directory_once_a_group_has_recorded_it() {
        let (one, two) = (roster(1), roster(2));
        assert_eq!(
            one.admit_dialler(&two.greeting(1, LANE)),
            Ok([2; 16]),
            "nothing is recorded yet"
        );
        record(&one, 2, 2);
        assert_eq!(one.admit_dialler(&two.greeting(1, LANE)), Ok([2; 16]));
        record(&one, 2, 9);
        assert_eq!(one.admit_dialler(&two.greeting(1, LANE)), Err(TurnedAway::OtherDisk(2)));
        assert!(!one.is_welcome(2, [2; 16]), "lanes that are open already are cut");
    }

    #[test]
    fn strangers_and_wrong_numbers_are_turned_away() {
        let (one, two) = (roster(1), roster(2));
        assert_eq!(one.admit_dialler(&two.greeting(3, LANE)), Err(TurnedAway::WrongNode(1)));
        assert_eq!(one.admit_listener(3, &two.greeting(1, LANE)), Err(TurnedAway::WrongNode(2)));
        assert_eq!(
            one.admit_dialler(&one.greeting(1, LANE)),
            Err(TurnedAway::UnknownNode(1)),
            "itself"
        );
        let stranger = Greeting { node: 7, ..two.greeting(1, LANE) };
        assert_eq!(one.admit_dialler(&stranger), Err(TurnedAway::UnknownNode(7)));
        let other_shards = Greeting { shards: 5, ..two.greeting(1, LANE) };
        assert_eq!(one.admit_dialler(&other_shards), Err(TurnedAway::OtherCluster));
        let other_release = Greeting { protocol: 0, ..two.greeting(1, LANE) };
        assert_eq!(one.admit_dialler(&other_release), Err(TurnedAway::OtherCluster));
    }

    #[test]
    fn addresses_come_from_the_configuration_first() {
        let one = roster(1);
        record(&one, 2, 2);
        record(&one, 4, 4);
        assert_eq!(one.address(2).as_deref(), Some("host-2:7000"));
        assert_eq!(one.address(4).as_deref(), Some("old-4:1"));
        assert_eq!((one.address(5), one.peers()), (None, vec![2, 3, 4]));
    }
}
