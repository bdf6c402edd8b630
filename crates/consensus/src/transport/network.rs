//! openraft's network, over links.
//!
//! Entries are pipelined: a session keeps several requests under way and hands their answers on in order. Heartbeats,
//! votes and reads go one by one on the control lane, so they never wait behind entries.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::SnapshotResponse;
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::lanes::SESSION_REQUESTS_MAX;
use super::link::Asked;
use super::{CallError, Kind, Lane, Link, Message};
use crate::codec;
use crate::log_store::Flushed;
use crate::messages::{Acked, AppendAnswer, AppendRequest};
use crate::offload::Offload;
use crate::raft::{
    AppendEntriesRequest, AppendEntriesResponse, Group, LogId, Member, Snapshot,
    StreamAppendResult, TransferRequest, TransferResponse, Vote, VoteRequest, VoteResponse,
};
use crate::roster::Roster;
use crate::runtime;
use crate::snapshot;
use crate::witness::{Promise, Witness};

/// Bytes of entries that one session keeps under way: what a 10 Gb/s link carries in 10 ms, and then some.
const SESSION_BYTES_MAX: usize = 16 << 20;

/// Entries are answered after the follower's sync. A disk that takes longer is broken, and a connection that is silent
/// for a second breaks by itself.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);

type RpcError = RPCError<Group>;

/// The links of this node, and what its groups' networks share.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) roster: Arc<Roster>,
    pub(crate) witness: Arc<Witness>,
    offload: Offload,
    links: RwLock<BTreeMap<u64, Arc<Link>>>,
    next_session: AtomicU64,
}

impl Peers {
    pub(crate) fn new(roster: Arc<Roster>, witness: Arc<Witness>, offload: Offload) -> Self {
        Self { roster, witness, offload, links: RwLock::default(), next_session: AtomicU64::new(1) }
    }

    /// The link to a node; made when first asked for, down until somebody dials.
    pub(crate) fn link(&self, node: u64) -> Arc<Link> {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(links.entry(node).or_insert_with(|| Arc::new(Link::new(node))))
    }
}

/// Makes the networks of one group.
#[derive(Clone, Debug)]
pub(crate) struct GroupPeers {
    pub(crate) group: u16,
    pub(crate) peers: Arc<Peers>,
    /// How far this node has the group's log on its own disk.
    pub(crate) flushed: Flushed,
}

impl GroupPeers {
    fn network(&self, target: u64, lane: Lane) -> Network {
        Network {
            group: self.group,
            lane,
            link: self.peers.link(target),
            peers: Arc::clone(&self.peers),
            flushed: self.flushed.clone(),
        }
    }
}

impl RaftNetworkFactory<Group> for GroupPeers {
    type Network = Network;

    async fn new_client(&mut self, target: u64, _node: &Member) -> Network {
        self.network(target, Lane::Bulk)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &Member) -> Network {
        self.network(target, Lane::Control)
    }
}

/// One group's way to one peer.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    group: u16,
    /// Where entries go. Heartbeats have a network of their own on the control lane.
    lane: Lane,
    link: Arc<Link>,
    peers: Arc<Peers>,
    flushed: Flushed,
}

impl Network {
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: Kind,
        question: &Q,
        option: &RPCOption,
    ) -> Result<A, RpcError> {
        let question = Message::question(self.group, kind, codec::encode(question));
        let answer =
            self.link.call(Lane::Control, question, option.soft_ttl()).await.map_err(rpc_error)?;
        codec::decode(&answer).map_err(|error| RPCError::Network(NetworkError::new(&error)))
    }

    /// Sends a heartbeat, or a single request without a session.
    async fn heartbeat(
        &self,
        request: &AppendEntriesRequest,
        within: Duration,
    ) -> Result<StreamAppendResult, RpcError> {
        let (head, bodies) = AppendRequest::encode(request, 0);
        let mut question = Message::question(self.group, Kind::Heartbeat, head);
        question.bodies = bodies;
        question.acked = self.acked(request.vote.leader_id.term);
        let answer = self.link.call(self.lane, question, within).await.map_err(rpc_error)?;
        read_answer(&answer)
    }

    /// What the leader of a term says of the group's disks, its own among them: its own sync counts towards a majority as
    /// anybody's, and when it has died others have to know what it promised.
    fn acked(&self, term: u64) -> Bytes {
        let own = self.peers.roster.node;
        let mut by = self.peers.witness.acked_to(self.group, term);
        by.retain(|(node, _)| *node != own);
        by.extend(
            self.flushed.get().filter(|last| codec::term(*last) == term).map(|last| (own, last)),
        );
        if by.is_empty() { Bytes::new() } else { codec::encode(&Acked { term, by }) }
    }

    /// Notes that the peer has the log up to an entry on its disk.
    fn note_acked(&self, term: u64, last: LogId) {
        if let Some(disk) = self.peers.roster.disk_of(self.link.peer) {
            let promise = Promise { disk, term, acked: Some((term, last)) };
            self.peers.witness.note(self.group, self.link.peer, &promise);
        }
    }

    /// Notes that the peer has granted its vote.
    fn note_vote(&self, vote: &Vote) {
        if let Some(disk) = self.peers.roster.disk_of(self.link.peer) {
            let promise = Promise { disk, term: vote.leader_id.term, acked: None };
            self.peers.witness.note(self.group, self.link.peer, &promise);
        }
    }
}

fn read_answer(answer: &Bytes) -> Result<StreamAppendResult, RpcError> {
    let answer: AppendAnswer =
        codec::decode(answer).map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
    Ok(answer.into())
}

fn rpc_error(error: CallError) -> RpcError {
    match error {
        // openraft pauses before it tries an unreachable peer again, and repeats the others soon.
        CallError::Unreachable | CallError::Refused(_) => {
            RPCError::Unreachable(Unreachable::new(&error))
        }
        CallError::Broken | CallError::TimedOut | CallError::Unreadable => {
            RPCError::Network(NetworkError::new(&error))
        }
    }
}

/// A session: requests under way, oldest first.
struct Session<S> {
    number: u64,
    network: Network,
    requests: Option<S>,
    under_way: VecDeque<UnderWay>,
    bytes_under_way: usize,
    /// When the answer to the oldest is late. Its time begins when the one before it is answered: whoever answers slowly is not
    /// broken. Whatever is sent behind it changes nothing.
    oldest_until: runtime::Instant,
}

/// A request that is not answered yet.
struct UnderWay {
    bytes: usize,
    asked: Asked,
    /// The leader's term.
    term: u64,
}

impl<S: Stream<Item = AppendEntriesRequest> + Unpin> Session<S> {
    fn has_room(&self) -> bool {
        self.requests.is_some()
            && self.under_way.len() < SESSION_REQUESTS_MAX
            && self.bytes_under_way < SESSION_BYTES_MAX
    }

    async fn send(&mut self, request: &AppendEntriesRequest) -> Result<(), CallError> {
        let (head, bodies) = AppendRequest::encode(request, self.number);
        let bytes: usize = bodies.iter().map(Bytes::len).sum();
        let term = request.vote.leader_id.term;
        let mut question = Message::question(self.network.group, Kind::Append, head);
        question.bodies = bodies;
        question.acked = self.network.acked(term);
        let until = runtime::instant_in(APPEND_TIMEOUT);
        let asked = self.network.link.ask(self.network.lane, question).await?;
        if self.under_way.is_empty() {
            self.oldest_until = until;
        }
        self.under_way.push_back(UnderWay { bytes, asked, term });
        self.bytes_under_way = self.bytes_under_way.saturating_add(bytes);
        Ok(())
    }

    /// The next answer, sending whatever may be sent meanwhile. `None` when the session is over.
    async fn next(&mut self) -> Option<Result<StreamAppendResult, RpcError>> {
        loop {
            let has_room = self.has_room();
            let oldest = self.under_way.front_mut();
            if oldest.is_none() && !has_room {
                return None;
            }
            tokio::select! {
                biased;
                answer = oldest_answer(oldest, self.oldest_until) => return Some(self.take(answer)),
                request = next_request(&mut self.requests), if has_room => match request {
                    Some(request) => {
                        if let Err(error) = self.send(&request).await {
                            return Some(Err(rpc_error(error)));
                        }
                    }
                    None => self.requests = None,
                },
            }
        }
    }

    /// The oldest request is answered. What the peer has acknowledged is noted before anything is made of it.
    fn take(&mut self, answer: Result<Bytes, CallError>) -> Result<StreamAppendResult, RpcError> {
        let oldest = self.under_way.pop_front();
        self.oldest_until = runtime::instant_in(APPEND_TIMEOUT);
        let bytes = oldest.as_ref().map_or(0, |oldest| oldest.bytes);
        self.bytes_under_way = self.bytes_under_way.saturating_sub(bytes);
        let answer = answer.map_err(rpc_error).and_then(|answer| read_answer(&answer))?;
        // A question without entries counts too: it may be the one that tells of entries whose own answer was lost.
        if let (Some(UnderWay { term, .. }), Ok(Some(matched))) = (oldest, &answer) {
            self.network.note_acked(term, *matched);
        }
        Ok(answer)
    }
}

async fn next_request<S: Stream + Unpin>(requests: &mut Option<S>) -> Option<S::Item> {
    requests.as_mut()?.next().await
}

/// The answer to the oldest request; without one, never.
async fn oldest_answer(
    oldest: Option<&mut UnderWay>,
    until: runtime::Instant,
) -> Result<Bytes, CallError> {
    let Some(oldest) = oldest else { return std::future::pending().await };
    let answer = runtime::timeout_at(until, oldest.asked.answer()).await;
    answer.unwrap_or(Err(CallError::TimedOut))
}

impl RaftNetworkV2<Group> for Network {
    type SnapshotData = snapshot::Source;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse, RpcError> {
        self.heartbeat(&request, option.soft_ttl()).await.map(AppendEntriesResponse::from)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest> + OptionalSend + Unpin + 'static,
    {
        if self.lane == Lane::Control {
            let within = option.soft_ttl();
            let network = &*self;
            let answers =
                input.then(move |request| async move { network.heartbeat(&request, within).await });
            let answers: BoxStream<'s, _> = Box::pin(answers);
            return Box::pin(std::future::ready(Ok(answers)));
        }
        let session = Session {
            number: self.peers.next_session.fetch_add(1, Ordering::Relaxed),
            network: self.clone(),
            requests: Some(input),
            under_way: VecDeque::new(),
            bytes_under_way: 0,
            oldest_until: runtime::instant_in(APPEND_TIMEOUT),
        };
        let answers = stream::unfold(Some(session), |session| async move {
            let mut session = session?;
            let answer = session.next().await?;
            // A session ends with the first answer that is not a plain yes.
            let goes_on = matches!(answer, Ok(Ok(_)));
            Some((answer, goes_on.then_some(session)))
        });
        let answers: BoxStream<'s, _> = Box::pin(answers);
        Box::pin(std::future::ready(Ok(answers)))
    }

    async fn vote(
        &mut self,
        request: VoteRequest,
        option: RPCOption,
    ) -> Result<VoteResponse, RpcError> {
        let answer: VoteResponse = self.call(Kind::Vote, &request, &option).await?;
        if answer.vote_granted {
            self.note_vote(&request.vote);
        }
        Ok(answer)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest,
        option: RPCOption,
    ) -> Result<VoteResponse, RpcError> {
        self.call(Kind::PreVote, &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Group>, StreamingError<Group>> {
        let transfer = snapshot::Transfer {
            link: &self.link,
            group: self.group,
            offload: self.peers.offload,
            install_timeout: option.hard_ttl(),
        };
        let sending = transfer.send(vote, snapshot);
        let vote = tokio::select! {
            biased;
            sent = sending => sent?,
            closed = cancel => return Err(closed.into()),
        };
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferRequest,
        option: RPCOption,
    ) -> Result<TransferResponse, RpcError> {
        self.call(Kind::Transfer, &request, &option).await
    }
}

#[cfg(test)]
mod tests;
