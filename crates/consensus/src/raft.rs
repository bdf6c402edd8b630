//! openraft, made concrete: every generic name of it that the rest of the crate uses is fixed here, once.
//!
//! An entry carries a batch's bytes exactly as they were proposed; applying it gives one answer per request. A log id is
//! a term and an index (standard Raft: at most one leader a term).

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use ledger::Decided;
use openraft::impls::leader_id_std;
use openraft::type_config::alias;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// The Raft group of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group;

impl openraft::RaftTypeConfig for Group {
    type D = BatchBytes;
    type R = Answers;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<BatchBytes, u64, Member>;
    type Entry = openraft::Entry<alias::CommittedLeaderIdOf<Self>, Self::Payload>;
    type AsyncRuntime = crate::runtime::Runtime;
    type Responder<T>
        = openraft::impls::OneshotResponder<Self, T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type Raft = openraft::Raft<Group, Machine>;
pub(crate) type Entry = alias::EntryOf<Group>;
pub(crate) type Payload = openraft::EntryPayload<BatchBytes, u64, Member>;
pub(crate) type LogId = alias::LogIdOf<Group>;
pub(crate) type Vote = alias::VoteOf<Group>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<Group>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<Group>;
pub(crate) type Snapshot = alias::SmSnapshotOf<Group, Machine>;

/// A log id from its parts.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(alias::CommittedLeaderIdOf::<Group>::new(term), index)
}

/// A batch in the log, as its proposer wrote it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchBytes(pub(crate) Bytes);

impl fmt::Display for BatchBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

impl fmt::Debug for BatchBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What became of the requests of a batch, in their order.
///
/// Answers never travel inside Raft: whoever proposed is on this node. openraft asks for the serde bounds all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answers {
    #[serde(skip)]
    pub(crate) decided: Decided,
    /// When applying began, and when it ended.
    #[serde(skip)]
    pub(crate) applied: Option<(Instant, Instant)>,
}

/// Sixteen random bytes that a data directory is born with.
pub use crate::log::DiskId;

/// A node, as a group's membership records it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Where it listens for its peers.
    pub(crate) address: String,
    /// Its data directory. A node that comes back with another one has lost what it promised.
    pub(crate) disk: DiskId,
}

pub(crate) type AppendEntriesRequest = openraft::raft::AppendEntriesRequest<Group>;
pub(crate) type AppendEntriesResponse = openraft::raft::AppendEntriesResponse<Group>;
pub(crate) type StreamAppendResult = openraft::raft::StreamAppendResult<Group>;
pub(crate) type VoteRequest = openraft::raft::VoteRequest<Group>;
pub(crate) type VoteResponse = openraft::raft::VoteResponse<Group>;
pub(crate) type TransferRequest = openraft::raft::TransferLeaderRequest<Group>;
pub(crate) type TransferResponse = openraft::raft::TransferLeaderResponse<Group>;
