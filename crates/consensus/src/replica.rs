//! One shard's replica on this node: the door through which everything above reaches consensus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ledger::{AccountId, ColdName, ColdValue, Decided, Ledger, Posting, PostingKey, posting_range};
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use openraft::error::{ClientWriteError, ForwardReason};
use openraft::impls::OneshotResponder;
use tokio::sync::watch;

use crate::backup::{Piece, StateImage};
use crate::checkpoint::Keeper;
use crate::clock::ClusterClock;
use crate::desk::Host;
use crate::failpoint::{Moment, Traffic};
use crate::leadership::Leadership;
use crate::machine;
use crate::raft::BatchBytes;
use crate::reads::{ReadError, Reads};
use crate::stop::StopReason;
use crate::store::StoreError;

/// The longest batch that is proposed: 2,048 of the longest requests, twice over.
pub const BATCH_BYTES_MAX: usize = 16 << 20;

/// A batch that was committed and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Where it stands in the log.
    pub index: u64,
    /// In which term.
    pub term: u64,
    /// What it brought.
    pub decided: Decided,
    /// How it went, by this node's clock.
    pub stages: Stages,
}

/// When a batch passed the stages of its way here, by the leader's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stages {
    /// Raft had taken it: the log's writer and the followers have it next.
    pub proposed: Instant,
    /// A quorum had it on disk, and its turn to be applied had come.
    pub committed: Instant,
    /// The ledger had decided.
    pub applied: Instant,
}

/// Why a proposal brought no answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No log holds the batch, and none ever will. Proposing it again, here or elsewhere, is safe.
    #[error("not proposed: {why}")]
    NotProposed {
        /// The leader, if this node knows one.
        leader: Option<u64>,
        /// Why not.
        why: Refused,
    },
    /// A log may hold the batch: it may have been applied, or may still be.
    #[error("the outcome is not known")]
    Unknown,
}

/// Why a batch was not proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Propose it to the leader.
    #[error("not the leader of this shard")]
    NotLeader,
    /// Propose it again soon: the leader has lost touch with the majority, or hands over.
    #[error("the leader is changing")]
    LeaderChanging,
    /// Make room on the disk, or move the leader.
    #[error("the disk is nearly full (DISK_FULL)")]
    DiskFull,
    /// Find out which replica is right; nothing is written before that.
    #[error("no majority of replicas agrees on the ledger (DIVERGED)")]
    Diverged,
    /// Split the batch.
    #[error("a batch has at most {BATCH_BYTES_MAX} bytes")]
    TooLarge,
}

/// How a replica stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The shard.
    pub shard: u16,
    /// The current term.
    pub term: u64,
    /// The leader, if this node knows one.
    pub leader: Option<u64>,
    /// This node is the leader.
    pub is_leader: bool,
    /// The voters; of both sets, while they change.
    pub voters: Vec<u64>,
    /// The voters are changing, and the change is not complete.
    pub is_changing: bool,
    /// The entry in which this membership stands.
    pub membership: Option<u64>,
    /// Everybody in the group, voter or not, and where each listens.
    pub members: BTreeMap<u64, String>,
    /// The last entry in this log.
    pub last_log: Option<u64>,
    /// The last entry that this node knows committed.
    pub committed: Option<u64>,
    /// The last entry that a quorum has, as the leader says; this node may not have it yet.
    pub cluster_committed: Option<u64>,
    /// The last entry applied.
    pub applied: u64,
    /// The last entry that its newest checkpoint covers.
    pub checkpoint: Option<u64>,
    /// The last entry purged from the log.
    pub purged: Option<u64>,
    /// The newest digest that replicas compare, and the entry after which it was taken.
    pub digest: Option<(u64, u128)>,
    /// Bytes of the node's log that the shard's oldest entry keeps from being removed.
    pub log_bytes: u64,
    /// On the leader: the last entry that each replica is known to have.
    pub matched: Vec<(u64, Option<u64>)>,
}

/// One shard's replica on this node.
pub struct Replica {
    pub(crate) host: Arc<Host>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) has_room: watch::Receiver<bool>,
    pub(crate) clock: Arc<ClusterClock>,
    pub(crate) reads: Reads,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("shard", &self.host.shard.number).finish_non_exhaustive()
    }
}

impl Replica {
    /// The shard.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.host.shard.number
    }

    /// Puts a batch into the log, and waits until it is committed and applied here.
    ///
    /// Batches enter the log in the order in which these calls are first polled; several may be under way. There is no
    /// deadline here: whoever has one drops the call, and then does not know the outcome.
    ///
    /// # Errors
    /// [`ProposeError`] keeps apart what certainly did not happen and what may have.
    pub async fn propose(&self, batch: Bytes) -> Result<Applied, ProposeError> {
        let leader = self.leadership.borrow().leader;
        if let Some(why) = self.refusal(&batch) {
            return Err(ProposeError::NotProposed { leader, why });
        }
        let traffic = Traffic::of_batch(&batch);
        let (responder, answer) = OneshotResponder::new_pair();
        // Unconstrained: a task that polls many proposals at once would otherwise be made to pause between two of them,
        // and their order would be lost.
        let sending = self.host.raft.client_write_ff(BatchBytes(batch), Some(responder));
        let sent = tokio::task::unconstrained(sending).await;
        // A channel to a group that is gone swallows the batch: whether it was read before, nobody can tell.
        sent.map_err(|_fatal| ProposeError::Unknown)?;
        let proposed = Instant::now();
        traffic.reaches(Moment::Proposed);
        let applied = match answer.await {
            Ok(Ok(applied)) => applied,
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                let why = match forward.reason {
                    ForwardReason::NotLeader => Refused::NotLeader,
                    ForwardReason::LeadershipTransfer | ForwardReason::LeaseExpired => {
                        Refused::LeaderChanging
                    }
                };
                return Err(ProposeError::NotProposed { leader: forward.leader_id, why });
            }
            // It was in this log once. Other replicas may have it still.
            Ok(Err(ClientWriteError::LogEntryDiscarded(_))) => return Err(ProposeError::Unknown),
            // Neither concerns a plain batch; what cannot happen is not known.
            Ok(Err(
                ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            )) => {
                return Err(ProposeError::Unknown);
            }
            Err(_dropped) => return Err(ProposeError::Unknown),
        };
        let log_id = applied.log_id;
        let (committed, ended) = applied.data.applied.unwrap_or((proposed, proposed));
        Ok(Applied {
            index: log_id.index,
            term: crate::codec::term(log_id),
            decided: applied.data.decided,
            stages: Stages { proposed, committed, applied: ended },
        })
    }

    fn refusal(&self, batch: &[u8]) -> Option<Refused> {
        if batch.len() > BATCH_BYTES_MAX {
            return Some(Refused::TooLarge);
        }
        if !*self.has_room.borrow() {
            return Some(Refused::DiskFull);
        }
        self.host.shard.state.is_disputed().then_some(Refused::Diverged)
    }

    /// Who leads, as it changes.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Returns once the ledger here shows everything that was acknowledged, by anybody, before this call.
    ///
    /// # Errors
    /// When this node does not lead the shard, or cannot confirm in time that it still does.
    pub async fn read_index(&self) -> Result<(), ReadError> {
        self.reads.confirm().await
    }

    /// Returns once the ledger here has applied an entry, leader or not.
    ///
    /// # Errors
    /// When the shard stops before that.
    pub async fn applied(&self, index: u64) -> Result<(), ReadError> {
        let mut progress = self.host.raft.watch_apply_progress();
        let reached = progress
            .wait_until(|applied| applied.as_ref().is_some_and(|applied| applied.index >= index));
        reached.await.map(|_| ()).map_err(|_| ReadError::Stopped)
    }

    /// Reads the ledger as it is now. The closure must be short: the shard waits for it.
    pub fn with_ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&self.host.shard.state.ledger())
    }

    /// The cluster's clock: what to stamp batches with.
    #[must_use]
    pub fn clock(&self) -> &ClusterClock {
        &self.clock
    }

    /// Looks up records that may have left memory. Ask the ledger first: what it has is not looked for again. Those that
    /// do not exist are left out.
    ///
    /// # Errors
    /// When a volume cannot be read; the node then stops.
    pub async fn look_up(
        &self,
        names: Vec<ColdName>,
    ) -> Result<Vec<(ColdName, ColdValue)>, ReadError> {
        let shard = &self.host.shard;
        let cold = shard.checkpoints.cold();
        let found = shard.offload.run(move || machine::look_up(&cold, names)).await;
        let found = found.map_err(|error| self.failed(error))?;
        let read = |(name, value): (ColdName, Vec<u8>)| Ok((name, ColdValue::read(&name, &value)?));
        found.into_iter().map(read).collect::<Result<_, _>>().map_err(|error| self.corrupt(error))
    }

    /// An account's postings older than `before`, newest first: from memory, and then from the volumes.
    ///
    /// # Errors
    /// When a volume cannot be read; the node then stops.
    pub async fn postings(
        &self,
        account: AccountId,
        before: Option<PostingKey>,
        limit: usize,
    ) -> Result<Vec<Posting>, ReadError> {
        let mut postings = self.with_ledger(|ledger| ledger.postings(&account, before, limit));
        let left = limit.saturating_sub(postings.len());
        if left == 0 {
            return Ok(postings);
        }
        let (lower, past_all) = posting_range(account);
        let oldest = postings.last().map(|posting| posting.key).or(before);
        let upper = oldest.map_or(past_all, |oldest| ColdName::Posting(oldest).key());
        let shard = &self.host.shard;
        let cold = shard.checkpoints.cold();
        let scanned = shard.offload.run(move || cold.scan_rev(&upper, &lower, left)).await;
        for (key, value) in scanned.map_err(|error| self.failed(error))? {
            postings.push(Posting::from_cold(&key, &value).map_err(|error| self.corrupt(error))?);
        }
        Ok(postings)
    }

    /// All of the shard's state as a state cut found it, while this replica keeps it: for a minute of log time, until a
    /// later cut, and not in a replica that was restored behind the cut.
    #[must_use]
    pub fn state_image(&self, cut: u64) -> Option<Arc<StateImage>> {
        self.host.shard.state.state_image(cut)
    }

    /// Sends such a state piece by piece, until `take` says that nobody takes it any more. Blocks, on the disk and for as
    /// long as `take` does.
    ///
    /// # Errors
    /// When a volume cannot be read; the node then stops.
    pub fn send_state(
        &self,
        image: &StateImage,
        take: impl FnMut(Piece) -> bool,
    ) -> Result<(), ReadError> {
        image.send(take).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: StoreError) -> ReadError {
        let _stopping = self.host.shard.store_failed(error);
        ReadError::Stopped
    }

    fn corrupt(&self, error: ledger::Corrupt) -> ReadError {
        self.host.shard.stop.stop(StopReason::Record { shard: self.shard(), error });
        ReadError::Stopped
    }

    /// The node that keeps this replica.
    #[must_use]
    pub fn node(&self) -> u64 {
        *self.host.raft.node_id()
    }

    /// Asks this node, if it leads, to make another voter the leader. Returns at once; watch the leadership.
    pub async fn transfer_leadership(&self, to: u64) {
        if let Err(stopped) = self.host.raft.trigger().transfer_leader(to).await {
            tracing::warn!(shard = self.shard(), %stopped, "no hand-over");
        }
    }

    /// Makes a checkpoint now, lets memory and log go as far as it allows, and returns the entry it covers.
    ///
    /// # Errors
    /// When the group or the store has stopped.
    pub async fn checkpoint(&self) -> std::io::Result<u64> {
        self.keeper.checkpoint().await
    }

    /// Whether this node, `own`, has lately heard the shard's leader, and a majority of its voters. Raft alone remembers
    /// a leader for as long as there is no other, dead or not.
    #[must_use]
    pub fn is_in_touch(&self, own: u64, status: &ReplicaStatus) -> bool {
        let hears = |node: &u64| *node == own || self.clock.has_heard(*node);
        let heard = status.voters.iter().filter(|voter| hears(voter)).count();
        status.leader.as_ref().is_some_and(hears) && heard > status.voters.len() / 2
    }

    /// Whether the shard's replicas are known to differ, so that nothing is proposed.
    #[must_use]
    pub fn is_disputed(&self) -> bool {
        self.host.shard.state.is_disputed()
    }

    /// How the replica stands.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        let metrics = self.host.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics.replication.iter().flatten();
        let members = metrics.membership_config.nodes();
        ReplicaStatus {
            shard: self.shard(),
            term: metrics.vote.leader_id.term,
            leader: metrics.current_leader,
            is_leader: metrics.state == ServerState::Leader,
            voters: metrics.membership_config.voter_ids().collect(),
            membership: metrics.membership_config.log_id().as_ref().map(|at| at.index),
            is_changing: metrics.membership_config.get_joint_config().len() > 1,
            members: members.map(|(node, member)| (*node, member.address.clone())).collect(),
            last_log: metrics.last_log_index,
            committed: metrics.local_committed.map(|committed| committed.index),
            cluster_committed: metrics.cluster_committed.map(|committed| committed.index),
            applied: self.host.shard.state.applied_index(),
            checkpoint: self.host.shard.state.mark().map(|mark| mark.index),
            purged: metrics.purged.map(|purged| purged.index),
            digest: self.host.shard.state.digests().last().map(|at| (at.index, at.digest)),
            log_bytes: self.keeper.log.bytes_held(),
            matched: matched
                .map(|(node, matched)| (*node, matched.map(|matched| matched.index)))
                .collect(),
        }
    }
}
