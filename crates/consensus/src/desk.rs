//! What this node answers when its peers ask: openraft's requests to the group they concern, the rest here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use openraft::error::Fatal;
use tokio::sync::{mpsc, watch};

use crate::clock::ClusterClock;
use crate::codec::{self, CodecError};
use crate::digest;
use crate::failpoint::Operation;
use crate::log_store::LogStore;
use crate::machine::Shard;
use crate::mail;
use crate::messages::{
    Acked, AppendAnswer, AppendRequest, Beat, BeatAnswer, Foreign, Recalled, Wanting,
};
use crate::raft::{DiskId, Group, Raft, Snapshot, TransferRequest, VoteRequest};
use crate::rebuild::Rebuilds;
use crate::roster::Roster;
use crate::snapshot::{InstallRequest, Receiver};
use crate::stop::StopReason;
use crate::store::StoreError;
use crate::transport::{Kind, Refusal};
use crate::witness::{Promise, Witness};

/// A group that runs on this node.
pub(crate) struct Host {
    pub(crate) raft: Raft,
    pub(crate) shard: Shard,
    pub(crate) log: LogStore,
    receiver: tokio::sync::Mutex<Receiver>,
    /// Held while its membership is being changed by this node.
    pub(crate) change: tokio::sync::Mutex<()>,
    /// Turns true when the group ends here, with its node or without it.
    pub(crate) ends: watch::Sender<bool>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("shard", &self.shard.number).finish_non_exhaustive()
    }
}

impl Host {
    pub(crate) fn new(raft: Raft, shard: Shard, log: LogStore) -> Self {
        let (receiver, change) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        Self { raft, shard, log, receiver, change, ends: watch::Sender::new(false) }
    }

    fn has_trace(&self) -> bool {
        !self.log.is_pristine() || self.shard.state.mark().is_some()
    }

    /// Whether this node is no member of the group, by the word of a leader. A later membership, committed or not, may
    /// have it back. Whose word it is does not matter: what is committed stays true.
    pub(crate) fn is_foreign(&self, node: u64, said: &Foreign) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = &metrics.membership_config;
        let newest = membership.log_id().as_ref().map_or(0, |at| at.index);
        newest < said.index || (newest == said.index && membership.get_node(&node).is_none())
    }
}

/// What a leader's word means for the groups that run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A leader sends entries of a group that does not run here.
    Join(u16),
    /// A leader says that this node is no member of a group that runs here.
    Leave(Foreign),
    /// A replica elsewhere has lost its state, and wants this node's newest checkpoint.
    Send {
        /// The group.
        group: u16,
        /// The node that wants it.
        to: u64,
    },
    /// A replica elsewhere wants a later checkpoint than there is.
    Checkpoint(u16),
}

/// Calls that may wait. Leaders repeat them.
const CALLS_MAX: usize = 128;

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
    hosts: RwLock<BTreeMap<u16, Arc<Host>>>,
    /// The groups whose state is on its way back from a peer, and that do not run before it is there.
    pub(crate) rebuilds: Rebuilds,
    /// Who reads the letters to this node's shards.
    pub(crate) mailbox: mail::Slot,
    /// The groups of which this node had anything when it was opened, or has left.
    traces: RwLock<BTreeSet<u16>>,
    calls: mpsc::Sender<Call>,
    /// Nothing is to be led from here, by an operator's wish or for a restart.
    pub(crate) is_drained: watch::Sender<bool>,
    /// It is for a restart.
    pub(crate) is_restarting: watch::Sender<bool>,
    /// Turns false when the disk is nearly full: others had better lead then.
    pub(crate) has_room: watch::Receiver<bool>,
    /// Turns true when the node goes down: the lanes to it end then.
    pub(crate) going_down: watch::Receiver<bool>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("roster", &self.roster).finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk without groups, and the calls that come in at it.
    pub(crate) fn new(
        roster: Arc<Roster>,
        witness: Arc<Witness>,
        clock: Arc<ClusterClock>,
        (has_room, going_down): (watch::Receiver<bool>, watch::Receiver<bool>),
    ) -> (Self, mpsc::Receiver<Call>) {
        let (calls, coming) = mpsc::channel(CALLS_MAX);
        let desk = Self {
            roster,
            witness,
            clock,
            hosts: RwLock::default(),
            rebuilds: Rebuilds::default(),
            traces: RwLock::default(),
            mailbox: mail::Slot::new(),
            calls,
            is_drained: watch::Sender::new(false),
            is_restarting: watch::Sender::new(false),
            has_room,
            going_down,
        };
        (desk, coming)
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

    /// Closes the desk for a group.
    pub(crate) fn close(&self, group: u16) {
        self.hosts.write().unwrap_or_else(PoisonError::into_inner).remove(&group);
    }

    /// Notes that this node has something of a group that may not run.
    pub(crate) fn trace(&self, group: u16) {
        self.traces.write().unwrap_or_else(PoisonError::into_inner).insert(group);
    }

    /// The groups of which this node has anything: a vote, an entry, a checkpoint, or the memory of having left.
    pub(crate) fn traces(&self) -> BTreeSet<u16> {
        let mut traces = self.traces.read().unwrap_or_else(PoisonError::into_inner).clone();
        let hosts = self.hosts();
        traces.extend(hosts.iter().filter(|host| host.has_trace()).map(|host| host.shard.number));
        traces
    }

    /// A leader sent something for a group that does not run here: it is to be opened.
    pub(crate) fn wanted_by_leader(&self, group: u32) {
        if let Ok(group) = u16::try_from(group)
            && self.roster.has_group(group)
        {
            self.call(Call::Join(group));
        }
    }

    fn call(&self, call: Call) {
        // What does not fit is said again: by a leader's next entries, or by its next beat.
        let _full = self.calls.try_send(call);
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
                let answer = self.running_or_new(group)?.raft.pre_vote(read(&head)?).await;
                Ok(codec::encode(&answer.map_err(|_stopped| Refusal::NotRunning)?))
            }
            Kind::Transfer => {
                let request: TransferRequest = read(&head)?;
                if *self.is_drained.borrow() && *request.to_node_id() == self.roster.node {
                    return Err(Refusal::Drained);
                }
                if *request.to_node_id() == self.roster.node {
                    Operation::LeadTold.reached();
                }
                let answer = self.running(group)?.raft.handle_transfer_leader(request).await;
                Ok(codec::encode(&answer.map_err(|_stopped: Fatal<Group>| Refusal::NotRunning)?))
            }
            Kind::Offer | Kind::Piece | Kind::Install if self.rebuilds.get(group).is_some() => {
                let rebuild = self.rebuilds.get(group).ok_or(Refusal::NotRunning)?;
                rebuild.answer(kind, &head, bodies.first()).await
            }
            Kind::Want => self.want(asker, group, &head),
            Kind::Offer => {
                let host = self.running_or_called(group)?;
                let offered = host.receiver.lock().await.offered(&host.shard, &head).await;
                Operation::SnapshotOffered.reached();
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

    /// The same; if it does not run here, a leader wants it to.
    fn running_or_called(&self, group: u16) -> Result<Arc<Host>, Refusal> {
        self.running(group).inspect_err(|_| self.wanted_by_leader(group.into()))
    }

    /// The same; if this node never had anything of the group, its first leader may need its vote. Who has left a group
    /// votes in it only after a leader has had it back.
    fn running_or_new(&self, group: u16) -> Result<Arc<Host>, Refusal> {
        self.running(group).inspect_err(|_| {
            if !self.traces().contains(&group) {
                self.wanted_by_leader(group.into());
            }
        })
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
        let answer = self.running_or_called(group)?.raft.append_entries(request).await;
        let answer = answer.map_err(|_stopped| Refusal::NotRunning)?;
        Ok(codec::encode(&AppendAnswer::from(answer.into_stream_result(prev, last))))
    }

    async fn vote(&self, asker: Asker, group: u16, head: &[u8]) -> Result<Bytes, Refusal> {
        let request: VoteRequest = read(head)?;
        let term = request.vote.leader_id.term;
        let answer = self.running_or_new(group)?.raft.vote(request).await;
        // Whoever asks for votes has voted for itself.
        self.witness.note(group, asker.node, &Promise { disk: asker.disk, term, acked: None });
        Ok(codec::encode(&answer.map_err(|_stopped| Refusal::NotRunning)?))
    }

    /// A leader says beside its entries how far the nodes of a group have its log.
    pub(crate) fn hear_acked(&self, asker: Asker, group: u32, acked: &[u8]) {
        let (Ok(group), Ok(acked)) = (u16::try_from(group), read::<Acked>(acked)) else { return };
        let Acked { term, by } = acked;
        for (node, last) in by {
            let disk = self.roster.disk_of(node).or((node == asker.node).then_some(asker.disk));
            if let Some(disk) = disk.filter(|_| node != self.roster.node) {
                self.witness.note(group, node, &Promise { disk, term, acked: Some((term, last)) });
            }
        }
    }

    fn beat(&self, asker: Asker, head: &[u8]) -> Result<Bytes, Refusal> {
        let beat: Beat = read(head)?;
        for (group, node, promise) in &beat.promises {
            if *node != self.roster.node {
                self.witness.note(*group, *node, promise);
            }
        }
        self.roster.hear(beat.nodes);
        for (group, digests) in &beat.digests {
            if let Some(host) = self.host(*group) {
                self.compare(&host.shard, asker.node, digests);
            }
        }
        self.heed(&beat.foreign);
        let may_lead =
            self.clock.may_lead() && !*self.is_drained.borrow() && *self.has_room.borrow();
        let wall_ms = self.clock.reading().wall_ms;
        Ok(codec::encode(&BeatAnswer { wall_ms, may_lead, foreign: self.foreign_to(asker.node) }))
    }

    /// The groups that this node leads and another is no member of. Only what is committed counts, and nothing while a
    /// change is under way.
    pub(crate) fn foreign_to(&self, node: u64) -> Vec<Foreign> {
        let said = self.hosts().into_iter().filter_map(|host| {
            let metrics = host.raft.metrics();
            let metrics = metrics.borrow_watched();
            let committed = &metrics.committed_membership_config;
            let is_settled = committed.log_id() == metrics.membership_config.log_id();
            let leads = metrics.state == ServerState::Leader;
            let index = committed.log_id().as_ref().filter(|_| leads && is_settled)?.index;
            let group = host.shard.number;
            committed.get_node(&node).is_none().then_some(Foreign { group, index })
        });
        said.collect()
    }

    /// Leaves the groups of which leaders say that this node is no member.
    pub(crate) fn heed(&self, foreign: &[Foreign]) {
        for said in foreign {
            let host = self.host(said.group);
            if host.is_some_and(|host| host.is_foreign(self.roster.node, said)) {
                self.call(Call::Leave(*said));
            }
        }
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

    /// A replica whose state is lost wants a checkpoint. A newer one is made for it, if that can help.
    fn want(&self, asker: Asker, group: u16, head: &[u8]) -> Result<Bytes, Refusal> {
        let from: u64 = read(head)?;
        if self.rebuilds.get(group).is_some() {
            return Ok(codec::encode(&Wanting::Lost));
        }
        let state = &self.running(group)?.shard.state;
        let has_it = state.mark().is_some_and(|mark| mark.index >= from);
        if has_it {
            self.call(Call::Send { group, to: asker.node });
        } else if state.applied_index() >= from {
            self.call(Call::Checkpoint(group));
        }
        Ok(codec::encode(if has_it { &Wanting::Coming } else { &Wanting::Later }))
    }

    fn recall(&self, asker: Asker) -> Recalled {
        Recalled {
            promises: self.witness.of(asker.node, asker.disk),
            disk: self.roster.disk,
            traces: self.traces(),
        }
    }

    async fn install(&self, group: u16, head: &[u8]) -> Result<Bytes, Refusal> {
        let InstallRequest { vote } = read(head)?;
        let host = self.running(group)?;
        let mut receiver = host.receiver.lock().await;
        let Some((meta, snapshot)) = receiver.finish() else {
            let answered = receiver.answered(vote).ok_or(Refusal::OutOfStep)?;
            return Ok(codec::encode(&answered));
        };
        let snapshot = Snapshot { meta: meta.into(), snapshot };
        Operation::SnapshotReceived.reached();
        let answer = host.raft.install_full_snapshot(vote, snapshot).await;
        Operation::SnapshotTaken.reached();
        let answer = answer.map_err(|_stopped| Refusal::NotRunning)?.vote;
        receiver.set_answered(vote, answer);
        Ok(codec::encode(&answer))
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
pub(crate) fn received(
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
