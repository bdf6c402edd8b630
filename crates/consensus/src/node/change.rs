//! Who keeps a shard: learners, voters, leaders.
//!
//! Every change is asked of the shard's leader, is bounded in time, and may be asked again: what is so already is done
//! already. One change of a group is under way at a time; a change of voters goes through Raft's joint consensus. If a
//! leader dies between the two halves of one, the next change asked of the next leader completes it first, so asking for
//! the same thing finishes it, and asking for the opposite undoes it.
//!
//! - **Invariant:** no change is begun after which fewer than a majority of the voters would be alive.
//! - **Invariant:** no learner votes before it has all but the last entries.
//! - **Invariant:** a node id is never taken with another data directory than the one it was known by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, ServerState};

use super::{Node, Site};
use crate::desk::Host;
use crate::failpoint::Operation;
use crate::raft::{DiskId, Member};
use crate::roster::TurnedAway;
use crate::runtime;
use crate::transport::Lane;

/// How long a change may take before its asker is told that nobody knows yet. Two commits, each a round trip and a sync.
const CHANGE_MAX: Duration = Duration::from_secs(10);

/// How long a voter that is asked to lead may take: an election, and an entry of its own.
const LEAD_MAX: Duration = Duration::from_secs(5);

/// How long a node that is to join may take to be reached.
const REACH_MAX: Duration = Duration::from_secs(5);
const REACH_LOOK: Duration = Duration::from_millis(25);

/// Entries that a learner may lack when it becomes a voter, and a follower when it is asked to lead: what a loaded leader
/// sends within a second or two.
const LAG_MAX: u64 = 1_000;

/// What is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node gets a replica that does not vote yet.
    AddLearner {
        /// The node.
        node: u64,
        /// Where it listens for its peers.
        address: String,
    },
    /// One learner becomes a voter, one voter becomes a learner, or both in one step.
    Voters {
        /// Who is to vote.
        add: Option<u64>,
        /// Who is not to vote any more.
        remove: Option<u64>,
    },
    /// A learner is let go.
    Remove {
        /// The node.
        node: u64,
    },
    /// A voter is to lead.
    Lead {
        /// The node.
        node: u64,
    },
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Whether anything was different before.
    pub is_new: bool,
}

const DONE: Changed = Changed { is_new: true };
const WAS_SO: Changed = Changed { is_new: false };

/// Why a change was not made. All but [`ChangeError::Unknown`] have changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Ask the leader.
    #[error("this node does not lead the shard")]
    NotLeader {
        /// The leader, if this node knows one.
        leader: Option<u64>,
    },
    /// Ask again when the other change is done.
    #[error("another change of the shard's replicas is under way")]
    UnderWay,
    /// Start the node, or correct its address.
    #[error("node {0} cannot be reached")]
    Unreachable(u64),
    /// Give the data directory another node id.
    #[error("node {0} is known with another data directory")]
    OtherDisk(u64),
    /// Compare the topologies and releases of the two.
    #[error("node {0} is another node, of another cluster, or of another release")]
    Stranger(u64),
    /// Ask again when the replica has caught up.
    #[error("node {node} lacks {lag} entries")]
    Behind {
        /// The node.
        node: u64,
        /// Entries that it lacks.
        lag: u64,
    },
    /// Start nodes that are down, or add others first.
    #[error("only {alive} of {voters} voters would be alive")]
    AtRisk {
        /// Voters that are reached.
        alive: usize,
        /// Voters there would be.
        voters: usize,
    },
    /// Let another node lead first.
    #[error("node {0} leads the shard")]
    Leads(u64),
    /// Make it a learner or a voter first, as the change needs.
    #[error("node {0} has no such part in the shard")]
    WrongRole(u64),
    /// Undrain the node, or repair its clock.
    #[error("node {0} must not lead")]
    MustNotLead(u64),
    /// Ask again: it may have been done, or may still be.
    #[error("it is not known yet whether the change was made")]
    Unknown,
}

impl Node {
    /// Changes who keeps, or leads, a shard that this node leads.
    ///
    /// # Errors
    /// When nothing was changed; or, [`ChangeError::Unknown`], when that is not known.
    pub async fn change(&self, shard: u16, change: Change) -> Result<Changed, ChangeError> {
        let site = Arc::clone(&self.0);
        // In a task of its own: whoever asks may go away between the two halves.
        let changing = runtime::spawn(async move { site.change(shard, change).await });
        match runtime::timeout(CHANGE_MAX, changing).await {
            Ok(Ok(changed)) => changed,
            Ok(Err(_)) | Err(_) => Err(ChangeError::Unknown),
        }
    }
}

/// A group's membership, as its leader has it.
struct Now {
    targets: BTreeSet<u64>,
    is_joint: bool,
    members: BTreeMap<u64, Member>,
    matched: BTreeMap<u64, u64>,
    last: u64,
}

impl Now {
    fn of(host: &Host) -> Result<Self, ChangeError> {
        let metrics = host.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader {
            return Err(ChangeError::NotLeader { leader: metrics.current_leader });
        }
        let membership = metrics.membership_config.membership();
        let configs = membership.get_joint_config();
        let matched = metrics.replication.iter().flatten();
        Ok(Self {
            targets: configs.last().cloned().unwrap_or_default(),
            is_joint: configs.len() > 1,
            members: membership.nodes().map(|(node, member)| (*node, member.clone())).collect(),
            matched: matched
                .map(|(node, matched)| (*node, matched.map_or(0, |matched| matched.index)))
                .collect(),
            last: metrics.last_log_index.unwrap_or(0),
        })
    }

    fn lag(&self, node: u64) -> u64 {
        self.last.saturating_sub(self.matched.get(&node).copied().unwrap_or(0))
    }

    fn is_close(&self, node: u64) -> Result<(), ChangeError> {
        let lag = self.lag(node);
        if lag > LAG_MAX { Err(ChangeError::Behind { node, lag }) } else { Ok(()) }
    }
}

impl Site {
    async fn change(&self, shard: u16, change: Change) -> Result<Changed, ChangeError> {
        let host = self.desk.host(shard).ok_or(ChangeError::NotLeader { leader: None })?;
        let _turn = host.change.try_lock().map_err(|_| ChangeError::UnderWay)?;
        if Now::of(&host)?.is_joint {
            tracing::warn!(shard, "completing a change that an earlier leader began");
            commit(&host, ChangeMembers::AddVoterIds(BTreeSet::new())).await?;
        }
        let now = Now::of(&host)?;
        match change {
            Change::AddLearner { node, address } => {
                self.add_learner(&host, &now, (node, address)).await
            }
            Change::Voters { add, remove } => self.change_voters(&host, &now, add, remove).await,
            Change::Remove { node } => remove(&host, &now, node).await,
            Change::Lead { node } => self.lead(&host, &now, node).await,
        }
    }

    async fn add_learner(
        &self,
        host: &Host,
        now: &Now,
        (node, address): (u64, String),
    ) -> Result<Changed, ChangeError> {
        if now.members.contains_key(&node) {
            return self.is_same(node).map(|()| WAS_SO);
        }
        if node != self.config.node_id {
            self.peers.roster.introduce(node, address);
        }
        Operation::LearnerIntroduced.reached();
        let disk = self.reach(node).await?;
        Operation::LearnerReached.reached();
        let address = self.peers.roster.address(node).ok_or(ChangeError::Unreachable(node))?;
        let members = BTreeMap::from([(node, Member { address, disk })]);
        let added = commit(host, ChangeMembers::AddNodes(members)).await?;
        Operation::LearnerMade.reached();
        Ok(added)
    }

    /// Whether a member that can be reached is who it was.
    fn is_same(&self, node: u64) -> Result<(), ChangeError> {
        match self.peers.link(node).found() {
            Some(Err(away)) => Err(refused(node, away)),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// Waits until a node has said who it is, and gives its data directory.
    ///
    /// What was found last may be of another time: of an address that has been corrected since, or of a node that had not
    /// heard of this one yet. So all but another data directory is believed only when it stays so.
    async fn reach(&self, node: u64) -> Result<DiskId, ChangeError> {
        let link = self.peers.link(node);
        let found = async {
            loop {
                match link.found() {
                    Some(Err(away @ TurnedAway::OtherDisk(_))) => return Err(refused(node, away)),
                    Some(Ok(disk)) if link.is_up(Lane::Control) => return Ok(disk),
                    Some(Ok(_) | Err(_)) | None => runtime::sleep(REACH_LOOK).await,
                }
            }
        };
        let last = || match link.found() {
            Some(Err(away)) => refused(node, away),
            Some(Ok(_)) | None => ChangeError::Unreachable(node),
        };
        runtime::timeout(REACH_MAX, found).await.unwrap_or_else(|_late| Err(last()))
    }

    async fn change_voters(
        &self,
        host: &Host,
        now: &Now,
        add: Option<u64>,
        remove: Option<u64>,
    ) -> Result<Changed, ChangeError> {
        let mut voters = now.targets.clone();
        if let Some(node) = remove
            && voters.remove(&node)
            && node == self.config.node_id
        {
            return Err(ChangeError::Leads(node));
        }
        if let Some(node) = add.filter(|node| !voters.contains(node)) {
            if !now.members.contains_key(&node) {
                return Err(ChangeError::WrongRole(node));
            }
            now.is_close(node)?;
            voters.insert(node);
        }
        if voters == now.targets {
            return Ok(WAS_SO);
        }
        self.is_safe(&voters)?;
        let changed = commit(host, ChangeMembers::ReplaceAllVoters(voters)).await?;
        Operation::VotersMade.reached();
        Ok(changed)
    }

    /// Whether a majority of these voters is alive.
    fn is_safe(&self, voters: &BTreeSet<u64>) -> Result<(), ChangeError> {
        let alive = voters.iter().filter(|node| self.is_alive(**node)).count();
        if alive > voters.len() / 2 {
            return Ok(());
        }
        Err(ChangeError::AtRisk { alive, voters: voters.len() })
    }

    fn is_alive(&self, node: u64) -> bool {
        node == self.config.node_id || self.peers.link(node).is_up(Lane::Control)
    }

    /// Hands the lead to a voter, and waits until it has it.
    async fn lead(&self, host: &Host, now: &Now, node: u64) -> Result<Changed, ChangeError> {
        if node == self.config.node_id {
            return Ok(WAS_SO);
        }
        if !now.targets.contains(&node) {
            return Err(ChangeError::WrongRole(node));
        }
        if !self.is_alive(node) {
            return Err(ChangeError::Unreachable(node));
        }
        if !self.peers.link(node).may_lead() {
            return Err(ChangeError::MustNotLead(node));
        }
        now.is_close(node)?;
        Operation::LeadAsked.reached();
        let stopped = |_| ChangeError::Unknown;
        host.raft.trigger().transfer_leader(node).await.map_err(stopped)?;
        // Should it not take over, an election will find somebody; then this may be asked for again.
        let led = runtime::timeout(LEAD_MAX, led_by(host, node)).await;
        let led = led.unwrap_or(Err(ChangeError::Unknown))?;
        Operation::LeadSeen.reached();
        Ok(led)
    }
}

async fn led_by(host: &Host, node: u64) -> Result<Changed, ChangeError> {
    let mut server = host.raft.server_metrics();
    while server.borrow_watched().current_leader != Some(node) {
        server.changed().await.map_err(|_| ChangeError::Unknown)?;
    }
    Ok(DONE)
}

fn refused(node: u64, away: TurnedAway) -> ChangeError {
    match away {
        TurnedAway::OtherDisk(_) => ChangeError::OtherDisk(node),
        TurnedAway::WrongNode(_)
        | TurnedAway::UnknownNode(_)
        | TurnedAway::OtherCertificate { .. }
        | TurnedAway::OtherCluster => ChangeError::Stranger(node),
    }
}

async fn remove(host: &Host, now: &Now, node: u64) -> Result<Changed, ChangeError> {
    if now.targets.contains(&node) {
        return Err(ChangeError::WrongRole(node));
    }
    if !now.members.contains_key(&node) {
        return Ok(WAS_SO);
    }
    let removed = commit(host, ChangeMembers::RemoveNodes(BTreeSet::from([node]))).await?;
    Operation::RemovalMade.reached();
    Ok(removed)
}

/// Commits a change, both halves of it. Who stops voting stays a learner, so that it hears of it.
async fn commit(host: &Host, change: ChangeMembers<u64, Member>) -> Result<Changed, ChangeError> {
    let shard = host.shard.number;
    match host.raft.change_membership(change, true).await {
        Ok(done) => {
            tracing::info!(shard, index = done.log_id.index, "the membership has changed");
            Ok(DONE)
        }
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
            Err(ChangeError::NotLeader { leader: forward.leader_id })
        }
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_),
        ))) => Err(ChangeError::UnderWay),
        Err(error) => {
            tracing::warn!(shard, %error, "a change of membership");
            Err(ChangeError::Unknown)
        }
    }
}
