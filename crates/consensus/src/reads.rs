//! Linearizable reads: many of them share one round of heartbeats.
//!
//! A round confirms that nobody else has become leader, and waits until the ledger shows what was committed when the
//! round began. Reads that arrive during a round wait for the next one, which begins after all of them.

use openraft::ReadPolicy;
use openraft::async_runtime::WatchReceiver;
use openraft::error::{LinearizableReadError, RaftError};
use tokio::sync::{mpsc, oneshot};

use crate::failpoint::Plant;
use crate::raft::Raft;
use crate::runtime;

/// Reads that may wait for the next round.
const WAITING_MAX: usize = 65_536;

/// Why a read cannot be answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Ask the leader.
    #[error("not the leader of this shard")]
    NotLeader {
        /// The leader, if this node knows one.
        leader: Option<u64>,
    },
    /// Ask again: a majority did not confirm in time that this node still leads.
    #[error("no majority confirmed the leader")]
    NoQuorum,
    /// Ask again later: too many reads wait.
    #[error("too many reads wait")]
    Overloaded,
    /// The node stops.
    #[error("the shard is stopping")]
    Stopped,
}

type Told = oneshot::Sender<Result<(), ReadError>>;

/// Where reads of one group wait.
#[derive(Clone, Debug)]
pub(crate) struct Reads(mpsc::Sender<Told>);

impl Reads {
    /// Begins to serve reads; ends when the last clone is dropped.
    pub(crate) fn new(raft: Raft) -> Self {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        runtime::spawn(serve(raft, waiting));
        Self(sender)
    }

    /// Returns when the ledger shows everything that was acknowledged before this call.
    pub(crate) async fn confirm(&self) -> Result<(), ReadError> {
        let (told, confirmed) = oneshot::channel();
        self.0.try_send(told).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ReadError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ReadError::Stopped,
        })?;
        confirmed.await.unwrap_or(Err(ReadError::Stopped))
    }
}

async fn serve(raft: Raft, mut waiting: mpsc::Receiver<Told>) {
    let mut round = Vec::new();
    while waiting.recv_many(&mut round, WAITING_MAX).await > 0 {
        let confirmed =
            if Plant::PlainRead.is_on() { believes(&raft) } else { confirm(&raft).await };
        for told in round.drain(..) {
            let _gone = told.send(confirmed);
        }
    }
}

/// What a leader says that asks nobody.
fn believes(raft: &Raft) -> Result<(), ReadError> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let leader = metrics.current_leader;
    if leader == Some(metrics.id) { Ok(()) } else { Err(ReadError::NotLeader { leader }) }
}

async fn confirm(raft: &Raft) -> Result<(), ReadError> {
    match raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
        Ok(_applied) => Ok(()),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
            Err(ReadError::NotLeader { leader: forward.leader_id })
        }
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
            Err(ReadError::NoQuorum)
        }
        Err(RaftError::Fatal(_)) => Err(ReadError::Stopped),
    }
}
