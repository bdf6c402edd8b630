//! What nodes say to each other, as values.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::raft::StreamAppendError;
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::raft::{
    AppendEntriesRequest, DiskId, Entry, LogId, Member, StreamAppendResult, Vote, log_id,
};
use crate::witness::Promise;

/// Entries for a follower. Their payloads travel beside the head, as they are stored.
pub(crate) struct AppendRequest {
    pub(crate) session: u64,
    pub(crate) request: AppendEntriesRequest,
}

#[derive(Serialize, Deserialize)]
struct AppendHead {
    session: u64,
    vote: Vote,
    prev: Option<LogId>,
    commit: Option<LogId>,
    /// The entries' terms. Their indexes follow `prev`.
    terms: Vec<u64>,
}

impl AppendRequest {
    /// A request's head and bodies.
    pub(crate) fn encode(request: &AppendEntriesRequest, session: u64) -> (Bytes, Vec<Bytes>) {
        let terms = request.entries.iter().map(|entry| codec::term(entry.log_id)).collect();
        let head = AppendHead {
            session,
            vote: request.vote,
            prev: request.prev_log_id,
            commit: request.leader_commit,
            terms,
        };
        let bodies = request.entries.iter().map(|entry| codec::encode_payload(&entry.payload));
        (codec::encode(&head), bodies.collect())
    }

    pub(crate) fn decode(head: &[u8], bodies: Vec<Bytes>) -> Result<Self, CodecError> {
        let head: AppendHead = codec::decode(head)?;
        let first = head.prev.map_or(0, |prev| prev.index.saturating_add(1));
        let count = u64::try_from(bodies.len()).map_err(|_| CodecError::Length)?;
        // No log has so many entries that their numbers would not fit.
        if head.terms.len() != bodies.len() || first.checked_add(count).is_none() {
            return Err(CodecError::Length);
        }
        let entries = (first..).zip(head.terms).zip(bodies).map(|((index, term), body)| {
            let payload = codec::decode_payload(&body)?;
            Ok(Entry { log_id: log_id(term, index), payload })
        });
        let request = AppendEntriesRequest {
            vote: head.vote,
            prev_log_id: head.prev,
            leader_commit: head.commit,
            entries: entries.collect::<Result<_, CodecError>>()?,
        };
        Ok(Self { session: head.session, request })
    }
}

/// What a leader says beside its entries and heartbeats: how far the nodes of the group have the log on their disks, as far
/// as it knows. Whoever hears it remembers it for them ([`crate::witness`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acked {
    /// The leader's term.
    pub(crate) term: u64,
    /// By node, the leader among them: its last entry that is durable.
    pub(crate) by: Vec<(u64, LogId)>,
}

/// What a follower says to entries.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum AppendAnswer {
    /// Its log agrees up to here, durably.
    Matched(Option<LogId>),
    /// It has no such entry.
    Conflict(LogId),
    /// It has promised itself to a later term.
    HigherVote(Vote),
}

impl From<StreamAppendResult> for AppendAnswer {
    fn from(result: StreamAppendResult) -> Self {
        match result {
            Ok(matched) => Self::Matched(matched),
            Err(StreamAppendError::Conflict(at)) => Self::Conflict(at),
            Err(StreamAppendError::HigherVote(vote)) => Self::HigherVote(vote),
        }
    }
}

impl From<AppendAnswer> for StreamAppendResult {
    fn from(answer: AppendAnswer) -> Self {
        match answer {
            AppendAnswer::Matched(matched) => Ok(matched),
            AppendAnswer::Conflict(at) => Err(StreamAppendError::Conflict(at)),
            AppendAnswer::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
        }
    }
}

/// A ledger's digest at a log index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DigestAt {
    pub(crate) index: u64,
    pub(crate) digest: u128,
}

/// What a node tells each other node several times a second.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Beat {
    /// Its wall clock.
    pub(crate) wall_ms: u64,
    /// What it has seen other nodes promise, by group and node.
    pub(crate) promises: Vec<(u16, u64, Promise)>,
    /// Its newest digests, by group.
    pub(crate) digests: BTreeMap<u16, Vec<DigestAt>>,
    /// The groups that the sender leads and of which the receiver is no member.
    pub(crate) foreign: Vec<Foreign>,
    /// Every node that a membership has ever named, as far as the sender knows: the receiver need not share a group with
    /// one to be written to by it.
    pub(crate) nodes: BTreeMap<u64, Member>,
}

/// A leader's word that a node is no member of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Foreign {
    pub(crate) group: u16,
    /// The entry of the membership that says so. It is committed.
    pub(crate) index: u64,
}

/// The answer to a beat.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BeatAnswer {
    pub(crate) wall_ms: u64,
    /// Whether the answerer may lead: its clock is right, and nobody drains it.
    pub(crate) may_lead: bool,
    /// As in a beat: who was removed may be the only one of the two that knows the other.
    pub(crate) foreign: Vec<Foreign>,
}

/// What a node says to one that wants a checkpoint of its.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wanting {
    /// It is on its way.
    Coming,
    /// There is none yet that reaches so far. Ask again.
    Later,
    /// The answerer has lost its state too.
    Lost,
}

/// What a node remembers of the asker's promises, and what it has itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recalled {
    /// What the asker promised from the data directory it asks with, by group.
    pub(crate) promises: BTreeMap<u16, Promise>,
    /// The answerer's own data directory.
    pub(crate) disk: DiskId,
    /// The groups of which it has anything at all: a vote, an entry, a checkpoint, or the memory of having left.
    pub(crate) traces: BTreeSet<u16>,
}
