//! How nodes talk: four lanes from every node to every other one, each a bidirectional stream of parcels.
//!
//! - **bulk** carries entries of all groups, pipelined; **control** carries votes, heartbeats and beats, which must not
//!   wait behind entries; **snapshot** carries pages and volumes, which must not hold up either.
//! - A parcel is everything that waited while the parcel before was being written: under load many groups share one
//!   write, an idle link sends each message at once. No timer is involved.
//! - The dialer asks, the listener answers under the request's number. The other direction has lanes of its own, so
//!   nobody waits for his own questions to be answered first.
//! - Both sides begin with a greeting: who they are, from which data directory, whom they mean. A node whose data
//!   directory is not the one its peers know is turned away ([`crate::roster`]), and so is one whose certificate is
//!   another node's ([`tls`]).
//!
//! tonic is known to [`dial`] and [`service`] alone. Everything else speaks [`Message`]s to a [`link::Link`], and hears them
//! with a [`listener::Listener`], so that a simulated network stands in their place ([`Roads`]).

mod dial;
mod lanes;
mod link;
mod listener;
mod network;
mod roads;
mod service;
#[cfg(feature = "simulated")]
pub(crate) mod simulated;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::sync::mpsc;

pub(crate) use link::{CallError, Link};
pub(crate) use network::{GroupPeers, Peers};
pub(crate) use proto::{Message, Parcel};
pub use roads::Roads;
pub use service::{PeerService, tune};
pub use tls::{Certified, PeerTls};

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub(crate) mod proto {
    tonic::include_proto!("paycore.peer.v1");
}

/// Messages that may wait for one lane. The senders bound what they have in flight; this bounds their mistakes.
const QUEUE_MESSAGES_MAX: usize = 4_096;

/// What one parcel carries at the most, unless a single message is longer: large enough that its overhead is nothing,
/// small enough that the receiver begins soon.
const PARCEL_BYTES_MAX: usize = 1 << 20;
const PARCEL_MESSAGES_MAX: usize = 512;

/// The longest parcel a node reads: a parcel that is full, and one message of entries (4 MiB) or of one entry beyond it.
const PARCEL_READ_BYTES_MAX: usize = 32 << 20;

/// HTTP/2 windows: what a 10 Gb/s link with 5 ms of delay has under way.
const WINDOW_BYTES: u32 = 8 << 20;

/// HTTP/2 frames: entries come in pieces of a hundred kilobytes, and 16 KiB would cut each into six.
const FRAME_BYTES: u32 = 256 << 10;

/// A silent connection is probed this often, and given up when the probe is not answered as long again: together
/// well below the shortest election.
const PROBE_EVERY: Duration = Duration::from_millis(300);

/// A stream between two nodes, and what may wait on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Entries.
    Bulk,
    /// Votes, heartbeats, beats.
    Control,
    /// Pages and volumes.
    Snapshot,
    /// What shards write to one another.
    Mail,
}

impl Lane {
    pub(crate) const ALL: [Self; 4] = [Self::Bulk, Self::Control, Self::Snapshot, Self::Mail];

    const fn number(self) -> u32 {
        match self {
            Self::Bulk => 1,
            Self::Control => 2,
            Self::Snapshot => 3,
            Self::Mail => 4,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.number() == number)
    }
}

/// What a message asks, or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An answer; the head depends on the question.
    Answer,
    /// An answer that says why there is none.
    Refusal,
    /// Entries within a session: answered in order, the session ends with the first that does not fit.
    Append,
    /// A heartbeat, or the confirmation of a read: no entries, no session.
    Heartbeat,
    /// A vote.
    Vote,
    /// Whether one would vote.
    PreVote,
    /// The leader steps back in the receiver's favour.
    Transfer,
    /// Clock, acknowledgements and digests, several times a second.
    Beat,
    /// What the receiver remembers of the sender's promises.
    Recall,
    /// A snapshot's parts are offered: which are wanted, and from where on.
    Offer,
    /// A piece of a snapshot.
    Piece,
    /// The snapshot is complete: check and install it.
    Install,
    /// A letter to a shard from another one.
    Mail,
    /// A replica whose state is lost wants a checkpoint that reaches to where its log begins.
    Want,
}

impl Kind {
    const ALL: [Self; 14] = [
        Self::Answer,
        Self::Refusal,
        Self::Append,
        Self::Heartbeat,
        Self::Vote,
        Self::PreVote,
        Self::Transfer,
        Self::Beat,
        Self::Recall,
        Self::Offer,
        Self::Piece,
        Self::Install,
        Self::Mail,
        Self::Want,
    ];

    const fn number(self) -> u32 {
        match self {
            Self::Answer => 1,
            Self::Refusal => 2,
            Self::Append => 3,
            Self::Heartbeat => 4,
            Self::Vote => 5,
            Self::PreVote => 6,
            Self::Transfer => 7,
            Self::Beat => 8,
            Self::Recall => 9,
            Self::Offer => 10,
            Self::Piece => 11,
            Self::Install => 12,
            Self::Mail => 13,
            Self::Want => 14,
        }
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

impl Message {
    /// A question. The link gives it its number.
    pub(crate) fn question(group: u16, kind: Kind, head: Bytes) -> Self {
        let (bodies, acked) = (Vec::new(), Bytes::new());
        Self { group: group.into(), request: 0, kind: kind.number(), head, bodies, acked }
    }

    /// The answer to a question.
    fn answer(group: u32, request: u64, answer: Result<Bytes, Refusal>) -> Self {
        let (kind, head) = match answer {
            Ok(head) => (Kind::Answer, head),
            Err(refusal) => (Kind::Refusal, Bytes::copy_from_slice(&[refusal.number()])),
        };
        let (bodies, acked) = (Vec::new(), Bytes::new());
        Self { group, request, kind: kind.number(), head, bodies, acked }
    }

    fn bytes(&self) -> usize {
        let bodies: usize = self.bodies.iter().map(Bytes::len).sum();
        // A number and a length for each field, generously.
        bodies
            .saturating_add(self.head.len())
            .saturating_add(self.acked.len())
            .saturating_add(self.bodies.len().saturating_mul(6))
            .saturating_add(32)
    }
}

/// Why a node does not answer a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It has not started yet, or keeps no replica of the group, or stops.
    #[error("the group is not running there")]
    NotRunning,
    /// It could not read the question.
    #[error("the question makes no sense there")]
    Unreadable,
    /// It cannot take the snapshot's piece; the offer has to be made again.
    #[error("the snapshot's piece does not fit there")]
    OutOfStep,
    /// An operator wants nothing led from there.
    #[error("the node is drained")]
    Drained,
}

impl Refusal {
    const ALL: [Self; 4] = [Self::NotRunning, Self::Unreadable, Self::OutOfStep, Self::Drained];

    const fn number(self) -> u8 {
        match self {
            Self::NotRunning => 1,
            Self::Unreadable => 2,
            Self::OutOfStep => 3,
            Self::Drained => 4,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.number() == number)
    }
}

/// What a queue holds, packed into parcels: whatever waits when the stream can take the next one.
fn parcels(queue: mpsc::Receiver<Message>) -> impl Stream<Item = Parcel> + Send + 'static {
    futures::stream::unfold((queue, None::<Message>), |(mut queue, left_over)| async move {
        let first = match left_over {
            Some(message) => message,
            None => queue.recv().await?,
        };
        let mut bytes = first.bytes();
        let mut messages = vec![first];
        let mut left_over = None;
        while messages.len() < PARCEL_MESSAGES_MAX {
            let Ok(next) = queue.try_recv() else { break };
            bytes = bytes.saturating_add(next.bytes());
            if bytes > PARCEL_BYTES_MAX {
                left_over = Some(next);
                break;
            }
            messages.push(next);
        }
        Some((Parcel { greeting: None, messages }, (queue, left_over)))
    })
}

#[cfg(test)]
mod tests;
