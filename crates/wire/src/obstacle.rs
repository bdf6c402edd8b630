//! Why an operation on the cluster itself was not done.
//!
//! Operations move no money and have no idempotency keys: asking for what is so already is harmless. So there is nothing
//! between *not done* and *not known*, and the latter is [`crate::Failure::OutcomeUnknown`] like everywhere.

use crate::catalogue;

/// Why an operation was not done. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Obstacle {
    /// Ask again when the other change is done.
    #[error("another change of shard {shard} is under way")]
    ChangeUnderWay {
        /// The shard.
        shard: u32,
    },
    /// Ask again when the replica has caught up.
    #[error("node {node} lacks {lag} entries of the shard")]
    ReplicaBehind {
        /// The node.
        node: u64,
        /// Entries that it lacks.
        lag: u64,
    },
    /// Start the node, or correct its address.
    #[error("node {node} cannot be reached")]
    NodeUnreachable {
        /// The node.
        node: u64,
    },
    /// Start nodes that are down, or add others first.
    #[error("only {alive} of {voters} voters would be alive")]
    QuorumAtRisk {
        /// Voters that are reached.
        alive: u64,
        /// Voters there would be.
        voters: u64,
    },
    /// Undrain the node, or repair its clock.
    #[error("node {node} is drained, or its clock is wrong")]
    NodeMustNotLead {
        /// The node.
        node: u64,
    },
    /// Start or undrain others first.
    #[error("nobody else may lead shard {shard}")]
    NoHeir {
        /// The shard.
        shard: u32,
    },
    /// Use a new node id.
    #[error("node {node} is known with another data directory")]
    DiskMismatch {
        /// The node.
        node: u64,
    },
    /// Compare topologies and releases.
    #[error("node {node} is another node, of another cluster, or of another release")]
    NodeMismatch {
        /// The node.
        node: u64,
    },
    /// Let another node lead first.
    #[error("node {node} leads the shard")]
    ReplicaLeads {
        /// The node.
        node: u64,
    },
    /// Make it a learner or a voter first.
    #[error("node {node} has no such part in the shard")]
    ReplicaRole {
        /// The node.
        node: u64,
    },
    /// Add a node first.
    #[error("shard {shard} would have fewer than {wanted} replicas")]
    ReplicationAtRisk {
        /// The shard.
        shard: u32,
        /// Replicas that it should have.
        wanted: u64,
    },
    /// Begin the reading again.
    #[error("shard {shard} does not keep the whole cut any more")]
    CutGone {
        /// The shard.
        shard: u32,
    },
    /// Make another backup; this one was never finished.
    #[error("the backup is not finished")]
    BackupUnfinished,
    /// Use another backup, and look at the disk.
    #[error("the backup is not as it was written")]
    BackupDamaged,
    /// Write a topology with the backup's number of shards.
    #[error("the backup has {shards} shards")]
    BackupMismatch {
        /// The shards that it has.
        shards: u64,
    },
    /// Name another directory, or empty this one.
    #[error("the directory is not empty")]
    DirectoryNotEmpty,
    /// Remove the node, or stop it for good first.
    #[error("node {node} is alive")]
    NodeAlive {
        /// The node.
        node: u64,
    },
    /// Use a new node id.
    #[error("node {node} has left the cluster for good")]
    NodeRetired {
        /// The node.
        node: u64,
    },
    /// See what keeps the node from starting.
    #[error("node {node} was asked to restart, and has not come back")]
    NodeNotBack {
        /// The node.
        node: u64,
    },
    /// Restart the node by other means.
    #[error("nobody would start node {node} again")]
    NodeUnsupervised {
        /// The node.
        node: u64,
    },
}

impl Obstacle {
    /// The code by which everybody outside knows it: stable for ever.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ChangeUnderWay { .. } => "CHANGE_UNDER_WAY",
            Self::ReplicaBehind { .. } => "REPLICA_BEHIND",
            Self::NodeUnreachable { .. } => "NODE_UNREACHABLE",
            Self::QuorumAtRisk { .. } => "QUORUM_AT_RISK",
            Self::NodeMustNotLead { .. } => "NODE_MUST_NOT_LEAD",
            Self::NoHeir { .. } => "NO_HEIR",
            Self::DiskMismatch { .. } => "DISK_MISMATCH",
            Self::NodeMismatch { .. } => "NODE_MISMATCH",
            Self::ReplicaLeads { .. } => "REPLICA_LEADS",
            Self::ReplicaRole { .. } => "REPLICA_ROLE",
            Self::ReplicationAtRisk { .. } => "REPLICATION_AT_RISK",
            Self::CutGone { .. } => "CUT_GONE",
            Self::BackupUnfinished => "BACKUP_UNFINISHED",
            Self::BackupDamaged => "BACKUP_DAMAGED",
            Self::BackupMismatch { .. } => "BACKUP_MISMATCH",
            Self::DirectoryNotEmpty => "DIRECTORY_NOT_EMPTY",
            Self::NodeAlive { .. } => "NODE_ALIVE",
            Self::NodeRetired { .. } => "NODE_RETIRED",
            Self::NodeNotBack { .. } => "NODE_NOT_BACK",
            Self::NodeUnsupervised { .. } => "NODE_UNSUPERVISED",
        }
    }

    /// What the message says in numbers, by name.
    #[must_use]
    pub fn numbers(self) -> Vec<(&'static str, u64)> {
        match self {
            Self::ChangeUnderWay { shard } | Self::NoHeir { shard } | Self::CutGone { shard } => {
                vec![("shard", u64::from(shard))]
            }
            Self::ReplicaBehind { node, lag } => vec![("node", node), ("lag", lag)],
            Self::QuorumAtRisk { alive, voters } => vec![("alive", alive), ("voters", voters)],
            Self::NodeUnreachable { node }
            | Self::NodeMustNotLead { node }
            | Self::DiskMismatch { node }
            | Self::NodeMismatch { node }
            | Self::ReplicaLeads { node }
            | Self::ReplicaRole { node }
            | Self::NodeAlive { node }
            | Self::NodeRetired { node }
            | Self::NodeNotBack { node }
            | Self::NodeUnsupervised { node } => vec![("node", node)],
            Self::BackupUnfinished | Self::BackupDamaged | Self::DirectoryNotEmpty => Vec::new(),
            Self::BackupMismatch { shards } => vec![("shards", shards)],
            Self::ReplicationAtRisk { shard, wanted } => {
                vec![("shard", u64::from(shard)), ("wanted", wanted)]
            }
        }
    }

    /// What the catalogue says about it.
    ///
    /// # Panics
    /// Never: a test compares the two.
    #[must_use]
    pub fn entry(self) -> &'static catalogue::Entry {
        catalogue::find(self.code()).expect("every obstacle is in the catalogue")
    }

    /// One of each, for tests of the catalogue.
    #[must_use]
    pub const fn every() -> [Self; 20] {
        [
            Self::ChangeUnderWay { shard: 0 },
            Self::ReplicaBehind { node: 1, lag: 1 },
            Self::NodeUnreachable { node: 1 },
            Self::QuorumAtRisk { alive: 1, voters: 3 },
            Self::NodeMustNotLead { node: 1 },
            Self::NoHeir { shard: 0 },
            Self::DiskMismatch { node: 1 },
            Self::NodeMismatch { node: 1 },
            Self::ReplicaLeads { node: 1 },
            Self::ReplicaRole { node: 1 },
            Self::ReplicationAtRisk { shard: 0, wanted: 3 },
            Self::CutGone { shard: 0 },
            Self::BackupUnfinished,
            Self::BackupDamaged,
            Self::BackupMismatch { shards: 1 },
            Self::DirectoryNotEmpty,
            Self::NodeAlive { node: 1 },
            Self::NodeRetired { node: 1 },
            Self::NodeNotBack { node: 1 },
            Self::NodeUnsupervised { node: 1 },
        ]
    }
}
