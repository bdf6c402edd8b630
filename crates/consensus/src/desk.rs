//! What this node answers when its peers ask: openraft's requests to the group they concern, the rest here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use openraft::error::Fatal;
use tokio::sync::watch;

use crate::clock::ClusterClock;
use crate::codec::{self, CodecError};
use crate::digest;
use crate::log_store::LogStore;
use crate::machine::Shard;
use crate::mail;
use crate::messages::{AppendAnswer, AppendRequest, Beat, BeatAnswer, Recalled};
use crate::raft::{DiskId, Group, Raft, Snapshot, TransferRequest, VoteRequest};
use crate::roster::Roster;
use crate::snapshot::{InstallRequest, Receiver};
use crate::stop::StopReason;
use crate::store::StoreError;
use crate::transport::{Kind, Refusal};
use crate::witness::{Promise, Witness};

/// A group that runs on this node.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) raft: Raft,
    pub(crate) shard: Shard,
    receiver: tokio::sync::Mutex<Receiver>,
}

impl Host {
    pub(crate) fn new(raft: Raft, shard: Shard) -> Self {
        Self { raft, shard, receiver: tokio::sync::Mutex::default() }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) node: u64,
    pub(crate) disk: DiskId,
}

/// Everything a peer's question may touch.
pub(crate) struct Desk {
    pub(crate) roster: Arc<Roster>,
    pub(crate) witness: Arc<Witness>,
    pub(crate) clock: Arc<ClusterClock>,
    /// What is on the disk, by group, whether or not the group runs yet.
    pub(crate) kept: BTreeMap<u16, (LogStore, Shard)>,
    hosts: RwLock<BTreeMap<u16, Arc<Host>>>,
    /// Who reads the letters to this node's shards.
    pub(crate) mailbox: mail::Slot,
    /// Turns true when the node goes down: the lanes to it end then.
    pub(crate) going_down: watch::Receiver<bool>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("roster", &self.roster).finish_non_exhaustive()
    }
}

impl Desk {
    pub(crate) fn new(
        roster: Arc<Roster>,
        witness: Arc<Witness>,
        clock: Arc<ClusterClock>,
        kept: BTreeMap<u16, (LogStore, Shard)>,
        going_down: watch::Receiver<bool>,
    ) -> Self {
        let (hosts, mailbox) = (RwLock::default(), mail::Slot::new());
        Self { roster, witness, clock, kept, hosts, mailbox, going_down }
    }

    /// Opens the desk for a group.
    pub(crate) fn open(&self, host: Arc<Host>) {
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        hosts.insert(host.shard.number, host);
    }

    /// A group that runs here.
    pub(crate) fn host(&self, group: u16) -> Option<Arc<Host>> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    /// All groups that run here.
    pub(crate) fn hosts(&self) -> Vec<Arc<Host>> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The groups that have no vote, no entry and no checkpoint on this node's disk.
    pub(crate) fn pristine(&self) -> BTreeSet<u16> {
        let is_pristine =
            |(log, shard): &(LogStore, Shard)| log.is_pristine() && shard.state.mark().is_none();
        let kept = self.kept.iter().filter(|(_, kept)| is_pristine(kept));
        kept.map(|(group, _)| *group).collect()
    }

    /// Answers anything but entries, which have their own way in.
    pub(crate) async fn answer(
        &self,
        asker: Asker,
        group: u16,
        kind: Kind,
        (head, bodies): (Bytes, Vec<Bytes>),
    ) -> Result<Bytes, Refusal> {
        match kind {
            Kind::Beat => self.beat(asker, &head),
            Kind::Recall => Ok(codec::encode(&self.recall(asker))),
            Kind::Heartbeat => self.heartbeat(group, &head, bodies).await,
            Kind::Vote => self.vote(asker, group, &head).await,
            Kind::PreVote => {
                let answer = self.running(group)?.raft.pre_vote(read(&head)?).await;
                Ok(codec::encode(&answer.map_err(|_stopped| Refusal::NotRunning)?))
            }
            Kind::Transfer => {
                let request: TransferRequest = read(&head)?;
                let answer = self.running(group)?.raft.handle_transfer_leader(request).await;
                Ok(codec::encode(&answer.map_err(|_stopped: Fatal<Group>| Refusal::NotRunning)?))
            }
            Kind::Offer => {
                let host = self.running(group)?;
                let offered = host.receiver.lock().await.offered(&host.shard, &head).await;
                received(&host.shard, offered)
            }
            Kind::Piece => {
                let host = self.running(group)?;
                let body = bodies.first().ok_or(Refusal::Unreadable)?;
                let taken = host.receiver.lock().await.piece(&host.shard, &head, body).await;
                received(&host.shard, taken)
            }
            Kind::Install => self.install(group, &head).await,
            Kind::Mail => {
                let mailbox = self.mailbox.get().ok_or(Refusal::NotRunning)?;
                let letter = bodies.into_iter().next().ok_or(Refusal::Unreadable)?;
                Ok(mailbox(group, letter).await)
            }
            Kind::Answer | Kind::Refusal | Kind::Append => Err(Refusal::Unreadable),
        }
    }

    fn running(&self, group: u16) -> Result<Arc<Host>, Refusal> {
        self.host(group).ok_or(Refusal::NotRunning)
    }

    async fn heartbeat(
        &self,
        group: u16,
        head: &[u8],
        bodies: Vec<Bytes>,
    ) -> Result<Bytes, Refusal> {
        let AppendRequest { request, .. } =
            AppendRequest::decode(head, bodies).map_err(|error| unreadable(&error))?;
        let last = request.entries.last().map_or(request.prev_log_id, |entry| Some(entry.log_id));
        let prev = request.prev_log_id;
        let answer = self.running(group)?.raft.append_entries(request).await;
        let answer = answer.map_err(|_stopped| Refusal::NotRunning)?;
        Ok(codec::encode(&AppendAnswer::from(answer.into_stream_result(prev, last))))
    }

    async fn vote(&self, asker: Asker, group: u16, head: &[u8]) -> Result<Bytes, Refusal> {
        let request: VoteRequest = read(head)?;
        let term = request.vote.leader_id.term;
        let answer = self.running(group)?.raft.vote(request).await;
        // Whoever asks for votes has voted for itself.
        self.witness.note(group, asker.node, &Promise { disk: asker.disk, term, acked: None });
        Ok(codec::encode(&answer.map_err(|_stopped| Refusal::NotRunning)?))
    }

    fn beat(&self, asker: Asker, head: &[u8]) -> Result<Bytes, Refusal> {
        let beat: Beat = read(head)?;
        for (group, node, promise) in &beat.promises {
            if *node != self.roster.node {
                self.witness.note(*group, *node, promise);
            }
        }
        for (group, digests) in &beat.digests {
            if let Some(host) = self.host(*group) {
                self.compare(&host.shard, asker.node, digests);
            }
        }
        Ok(codec::encode(&BeatAnswer { wall_ms: self.clock.reading().wall_ms }))
    }

    fn compare(&self, shard: &Shard, node: u64, digests: &[crate::messages::DigestAt]) {
        match shard.state.compare(self.roster.node, node, digests) {
            digest::Verdict::Agreed => {}
            digest::Verdict::Alone { index } => {
                shard.stop.stop(StopReason::Diverged { shard: shard.number, index });
            }
            digest::Verdict::NoMajority { index } => {
                tracing::error!(
                    shard = shard.number,
                    index,
                    "no majority agrees on the ledger: no more writes"
                );
            }
        }
    }

    fn recall(&self, asker: Asker) -> Recalled {
        Recalled {
            promises: self.witness.of(asker.node, asker.disk),
            disk: self.roster.disk,
            pristine: self.pristine(),
        }
    }

    async fn install(&self, group: u16, head: &[u8]) -> Result<Bytes, Refusal> {
        let InstallRequest { vote } = read(head)?;
        let host = self.running(group)?;
        let mut receiver = host.receiver.lock().await;
        let (meta, snapshot) = receiver.finish().ok_or(Refusal::OutOfStep)?;
        let snapshot = Snapshot { meta: meta.into(), snapshot };
        let answer = host.raft.install_full_snapshot(vote, snapshot).await;
        Ok(codec::encode(&answer.map_err(|_stopped| Refusal::NotRunning)?.vote))
    }
}

fn read<T: serde::de::DeserializeOwned>(head: &[u8]) -> Result<T, Refusal> {
    codec::decode(head).map_err(|error| unreadable(&error))
}

fn unreadable(error: &CodecError) -> Refusal {
    tracing::error!(%error, "a question that cannot be read");
    Refusal::Unreadable
}

/// What a transfer's receiver says. A disk that fails while it receives stops the node like any other.
fn received(
    shard: &Shard,
    next: Result<crate::snapshot::Next, StoreError>,
) -> Result<Bytes, Refusal> {
    match next {
        Ok(next) => Ok(codec::encode(&next)),
        Err(error @ (StoreError::Io { .. } | StoreError::Backend { .. } | StoreError::Stopped)) => {
            let _stopped = shard.store_failed(error);
            Err(Refusal::NotRunning)
        }
        Err(error) => {
            tracing::warn!(shard = shard.number, %error, "a snapshot's piece is refused");
            Err(Refusal::OutOfStep)
        }
    }
}
