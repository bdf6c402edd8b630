//! Who is in the cluster: addresses, and the data directory behind each node id.
//!
//! A node's promises live in its data directory. Whoever comes with a known node id and another directory has none of
//! them, so nobody speaks with it: it has to come back under a new node id. What is known comes from the groups'
//! memberships; before there is any, from the configuration, which knows addresses only.
//!
//! Nodes tell one another in their beats whom memberships have ever named. So a shard's leader can be written to by one that
//! shares no group with it; it is dialled when somebody writes to it first ([`Roster::want`]).
//!
//! Memberships change while the node runs: [`Roster::watch`] tells whoever keeps links. What they said is kept in a file
//! of its own ([`crate::register`]), because a directory that was known once stays known when its node has left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use ledger::Shards;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::raft::{DiskId, Member, StoredMembership};
use crate::transport::proto::Greeting;

/// The version of the protocol between nodes. Nodes of different versions turn each other away.
const PROTOCOL: u32 = 4;

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
    /// The node's certificate is another's, or names none. Give every node its own, which names it.
    #[error("node {node} shows a certificate that names {}", named.map_or("no node".to_owned(), |named| format!("node {named}")))]
    OtherCertificate {
        /// Who it says it is.
        node: u64,
        /// Who the certificate says it is.
        named: Option<u64>,
    },
    /// The nodes are not of one cluster, or not of one release.
    #[error("another cluster, or another release")]
    OtherCluster,
}

/// What memberships have told this node, and what it has made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Every node that a membership has ever named, and its data directory. Nothing leaves: an id is never used again.
    nodes: BTreeMap<u64, Member>,
    /// By group: the entry of its newest membership here, and who is in it.
    groups: BTreeMap<u16, (u64, BTreeSet<u64>)>,
    /// The groups that this node has left. It runs them again when a leader sends it entries, and not before.
    left: BTreeSet<u16>,
    /// The cluster exists: this node makes no group any more.
    is_settled: bool,
}

impl Known {
    fn members(&self) -> BTreeSet<u64> {
        self.groups.values().flat_map(|(_, members)| members.iter().copied()).collect()
    }
}

/// The nodes, as this node knows them.
#[derive(Debug)]
pub(crate) struct Roster {
    pub(crate) node: u64,
    pub(crate) disk: DiskId,
    shards: Shards,
    configured: BTreeMap<u64, String>,
    /// Addresses that an operator named, of nodes that no membership names yet.
    introduced: RwLock<BTreeMap<u64, String>>,
    known: RwLock<Known>,
    /// How often anything has changed.
    changes: watch::Sender<u64>,
}

impl Roster {
    pub(crate) fn new(
        node: u64,
        disk: DiskId,
        (shards, configured): (Shards, BTreeMap<u64, String>),
        known: Known,
    ) -> Self {
        let (introduced, known) = (RwLock::default(), RwLock::new(known));
        Self { node, disk, shards, configured, introduced, known, changes: watch::Sender::new(0) }
    }

    /// Tells of every change of what is known.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// All that is to be kept.
    pub(crate) fn known(&self) -> Known {
        self.read().clone()
    }

    /// Takes in a group's membership. An older one than is known changes nothing.
    pub(crate) fn record(&self, group: u16, membership: &StoredMembership) {
        let Some(at) = membership.log_id().as_ref().map(|at| at.index) else { return };
        let members = membership.membership().nodes();
        let members: BTreeMap<u64, Member> =
            members.map(|(node, member)| (*node, member.clone())).collect();
        self.change(|known| {
            if known.groups.get(&group).is_some_and(|(newest, _)| *newest > at) {
                return;
            }
            known.groups.insert(group, (at, members.keys().copied().collect()));
            known.nodes.extend(members);
        });
    }

    /// An operator names a node that is to join, and where it listens.
    pub(crate) fn introduce(&self, node: u64, address: String) {
        let mut introduced = self.introduced.write().unwrap_or_else(PoisonError::into_inner);
        introduced.insert(node, address);
        drop(introduced);
        self.tell();
    }

    /// Every node that a membership has ever named, as far as this node knows.
    pub(crate) fn nodes(&self) -> BTreeMap<u64, Member> {
        self.read().nodes.clone()
    }

    /// Takes in whom another node knows. What this node has from a membership of its own stays.
    pub(crate) fn hear(&self, nodes: BTreeMap<u64, Member>) {
        let is_new = {
            let known = self.read();
            nodes.keys().any(|node| !known.nodes.contains_key(node))
        };
        if is_new {
            self.change(|known| {
                for (node, member) in nodes {
                    known.nodes.entry(node).or_insert(member);
                }
            });
        }
    }

    /// Somebody here has something to say to a node: from now on it is dialled, wherever it is a member.
    pub(crate) fn want(&self, node: u64) {
        let is_peer = self.peers().contains(&node) || node == self.node;
        let Some(address) = self.address(node).filter(|_| !is_peer) else { return };
        self.introduce(node, address);
    }

    /// Has whoever keeps links look at them again.
    pub(crate) fn tell(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// This node has left a group, or is back in it.
    pub(crate) fn set_left(&self, group: u16, has_left: bool) {
        self.change(|known| {
            if has_left {
                known.left.insert(group);
                known.groups.remove(&group);
            } else {
                known.left.remove(&group);
            }
        });
    }

    pub(crate) fn has_left(&self, group: u16) -> bool {
        self.read().left.contains(&group)
    }

    /// From now on the cluster exists.
    pub(crate) fn settle(&self) {
        self.change(|known| known.is_settled = true);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.read().is_settled
    }

    /// Whether the cluster has such a group.
    pub(crate) fn has_group(&self, group: u16) -> bool {
        group <= self.shards.meta()
    }

    /// All other nodes that this one speaks with: those it was told of, and those that a group of its own names now.
    pub(crate) fn peers(&self) -> Vec<u64> {
        let introduced = self.introduced.read().unwrap_or_else(PoisonError::into_inner);
        let mut peers: BTreeSet<u64> = self.read().members();
        peers.extend(self.configured.keys().chain(introduced.keys()));
        peers.remove(&self.node);
        peers.into_iter().collect()
    }

    /// The nodes of the cluster as far as memberships say, this one included; before there is any, as configured.
    pub(crate) fn members(&self) -> BTreeSet<u64> {
        let members = self.read().members();
        if members.is_empty() { self.configured.keys().copied().collect() } else { members }
    }

    /// The other nodes that keep a group, by its newest membership here.
    pub(crate) fn others_of(&self, group: u16) -> Vec<u64> {
        let known = self.read();
        let members = known.groups.get(&group).map(|(_, members)| members.clone());
        members.unwrap_or_default().into_iter().filter(|node| *node != self.node).collect()
    }

    /// The nodes that the configuration names.
    pub(crate) fn configured(&self) -> impl Iterator<Item = u64> + '_ {
        self.configured.keys().copied()
    }

    /// Where a node listens. What the operator configured here wins over what was recorded when it joined.
    pub(crate) fn address(&self, node: u64) -> Option<String> {
        if let Some(configured) = self.configured.get(&node) {
            return Some(configured.clone());
        }
        let introduced = self.introduced.read().unwrap_or_else(PoisonError::into_inner);
        let known = self.read().nodes.get(&node).map(|member| member.address.clone());
        introduced.get(&node).cloned().or(known)
    }

    /// The data directory that a node is known by.
    pub(crate) fn disk_of(&self, node: u64) -> Option<DiskId> {
        self.read().nodes.get(&node).map(|member| member.disk)
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known: RwLockWriteGuard<'_, Known> =
            self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.clone();
        change(&mut known);
        let is_other = *known != before;
        drop(known);
        if is_other {
            self.tell();
        }
    }

    /// This node keeps nothing, and waits to be given something by whoever leads it: by any node of the cluster, also by one
    /// that came after its topology was written.
    fn waits_to_join(&self) -> bool {
        let known = self.read();
        known.is_settled && known.groups.is_empty()
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
        let is_strange = self.address(node).is_none() && !self.waits_to_join();
        if is_strange || node == self.node {
            return Err(TurnedAway::UnknownNode(node));
        }
        if self.is_welcome(node, disk) { Ok(disk) } else { Err(TurnedAway::OtherDisk(node)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::log_id;

    const LANE: u32 = 1;

    fn roster(node: u64) -> Roster {
        let configured = (1..=3).map(|node| (node, format!("host-{node}:7000"))).collect();
        let disk = [u8::try_from(node).unwrap(); 16];
        let configured = (Shards::new(4).unwrap(), configured);
        Roster::new(node, disk, configured, Known::default())
    }

    #[test]
    fn whom_others_know_is_known_and_dialled_when_it_is_wanted() {
        let (one, two) = (roster(1), roster(2));
        record_at(&two, 7, 4, 4);
        one.want(4);
        assert_eq!(one.peers(), [2, 3], "nobody knows where it is");
        one.hear(two.nodes());
        assert_eq!((one.address(4).as_deref(), one.peers()), (Some("old-4:1"), vec![2, 3]));
        assert_eq!(one.disk_of(4), Some([4; 16]), "with another directory it is turned away");
        let mut changes = one.watch();
        one.want(4);
        assert!(changes.has_changed().unwrap());
        assert_eq!(one.peers(), [2, 3, 4]);
        changes.mark_unchanged();
        one.want(4);
        one.hear(two.nodes());
        assert!(!changes.has_changed().unwrap(), "nothing is new");
        // A membership of its own weighs more than hearsay.
        record_at(&two, 9, 4, 9);
        one.hear(two.nodes());
        assert_eq!(one.disk_of(4), Some([4; 16]));
    }

    fn record(roster: &Roster, node: u64, disk: u8) {
        record_at(roster, 7, node, disk);
    }

    fn record_at(roster: &Roster, index: u64, node: u64, disk: u8) {
        let member = Member { address: format!("old-{node}:1"), disk: [disk; 16] };
        let membership = openraft::Membership::new(
            vec![BTreeSet::from([node])],
            BTreeMap::from([(node, member)]),
        );
        let membership = StoredMembership::new(Some(log_id(1, index)), membership.unwrap());
        roster.record(0, &membership);
    }

    #[test]
    fn who_waits_to_join_hears_whoever_was_told_of_it_and_after_that_whom_it_knows() {
        let (two, nine) = (roster(2), roster(9));
        let greeting = nine.greeting(2, LANE);
        assert_eq!(two.admit_dialler(&greeting), Err(TurnedAway::UnknownNode(9)));
        two.settle();
        assert_eq!(
            two.admit_dialler(&greeting),
            Ok([9; 16]),
            "it may lead what this one is to get"
        );
        record(&two, 3, 3);
        assert_eq!(two.admit_dialler(&greeting), Err(TurnedAway::UnknownNode(9)));
        record_at(&two, 9, 9, 9);
        assert_eq!(two.admit_dialler(&greeting), Ok([9; 16]));
    }

    #[test]
    fn who_has_left_is_no_peer_but_its_directory_stays_known() {
        let one = roster(1);
        let mut changes = one.watch();
        record_at(&one, 7, 4, 4);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert_eq!((one.peers(), one.members()), (vec![2, 3, 4], BTreeSet::from([4])));
        record_at(&one, 9, 2, 2);
        record_at(&one, 8, 5, 5);
        assert_eq!((one.peers(), one.members()), (vec![2, 3], BTreeSet::from([2])));
        assert_eq!(one.disk_of(4), Some([4; 16]));
        assert_eq!(one.disk_of(5), None, "an older membership than the known one says nothing");
        changes.mark_unchanged();
        record_at(&one, 9, 2, 2);
        assert!(!changes.has_changed().unwrap(), "it was known");
        one.introduce(6, "host-6:7000".to_owned());
        assert_eq!((one.peers(), one.address(6).as_deref()), (vec![2, 3, 6], Some("host-6:7000")));
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
        record_at(&one, 8, 4, 4);
        assert_eq!(one.address(2).as_deref(), Some("host-2:7000"));
        assert_eq!(one.address(4).as_deref(), Some("old-4:1"));
        assert_eq!((one.address(5), one.peers()), (None, vec![2, 3, 4]));
    }
}
