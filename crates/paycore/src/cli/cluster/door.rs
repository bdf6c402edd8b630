//! The nodes' operators' doors, as this command speaks to them.

use std::time::Duration;

use ledger::batch::put_record;
use ledger::{AccountId, Answer, Command, Key, Request, Shards, TenantId};
use tonic::Streaming;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use wire::Reply;
use wire::proto::cluster::cluster_client::ClusterClient;
use wire::proto::cluster::shard_client::ShardClient;
use wire::proto::cluster::{
    AddLearnerRequest, ChangeReply, ChangeVotersRequest, Frame, GetNodeRequest, NodeStatus,
    ReadStateRequest, RemoveLearnerRequest, RestartNodeRequest, RetireNodeRequest,
    SetDrainedRequest, StatePiece, TransferLeaderRequest,
};
use wire::status::Said;

use crate::exit::Failure;

/// How long a connection may take, and a node may take to say how it does.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// How long a change may take: longer than a node gives it.
const CHANGE_MAX: Duration = Duration::from_secs(15);

/// Bytes of one group's state that may be on their way.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// How long a node may take to begin with a group's state: it waits for the cut meanwhile.
const STATE_WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a request may wait to be proposed.
const DECIDE_MAX: Duration = Duration::from_secs(5);

/// One change of one shard, asked of its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Give a node a replica that does not vote.
    AddLearner(u64, String),
    /// Change who votes.
    Voters { add: Option<u64>, remove: Option<u64> },
    /// Let a learner go.
    RemoveLearner(u64),
    /// Hand over the lead.
    Lead(u64),
}

/// How this command reaches the nodes.
#[derive(Clone, Debug)]
pub(super) struct Doors {
    /// With TLS: whom it trusts, and what it shows.
    tls: Option<ClientTlsConfig>,
}

impl Doors {
    /// Doors of nodes that speak TLS, or plaintext without.
    pub(super) const fn new(tls: Option<ClientTlsConfig>) -> Self {
        Self { tls }
    }

    async fn connect(
        &self,
        address: &str,
        within: Duration,
    ) -> Result<ClusterClient<Channel>, Failure> {
        Ok(ClusterClient::new(self.channel(address, Some(within)).await?))
    }

    async fn channel(&self, address: &str, within: Option<Duration>) -> Result<Channel, Failure> {
        let unreachable = |why: &dyn std::fmt::Display| {
            Failure::coded("NODE_UNREACHABLE", format!("{address}: {why}"))
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|why| unreachable(&why))?
            .connect_timeout(LOOK_MAX);
        let endpoint = match within {
            // What is streamed is long, and comes in large pieces.
            None => endpoint
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(STREAM_WINDOW_BYTES),
            Some(within) => endpoint.timeout(within),
        };
        let endpoint = match &self.tls {
            None => endpoint,
            Some(tls) => endpoint.tls_config(tls.clone()).map_err(|why| unreachable(&why))?,
        };
        endpoint.connect().await.map_err(|why| unreachable(&why))
    }

    /// How a node does; nothing, when it does not answer.
    pub(super) async fn look(&self, address: &str) -> Option<NodeStatus> {
        let mut client = self.connect(address, LOOK_MAX).await.ok()?;
        client.get_node(GetNodeRequest {}).await.ok().map(tonic::Response::into_inner)
    }

    /// Asks for a change. Says whether anything was different before.
    pub(super) async fn change(
        &self,
        address: &str,
        shard: u16,
        ask: &Ask,
    ) -> Result<bool, Failure> {
        let mut client = self.connect(address, CHANGE_MAX).await?;
        let shard = u32::from(shard);
        let answered = match ask {
            Ask::AddLearner(node, address) => {
                let (node_id, address) = (*node, address.clone());
                client.add_learner(AddLearnerRequest { shard, node_id, address }).await
            }
            Ask::Voters { add, remove } => {
                let (add, remove) = (add.unwrap_or(0), remove.unwrap_or(0));
                client.change_voters(ChangeVotersRequest { shard, add, remove }).await
            }
            Ask::RemoveLearner(node) => {
                client.remove_learner(RemoveLearnerRequest { shard, node_id: *node }).await
            }
            Ask::Lead(node) => {
                client.transfer_leader(TransferLeaderRequest { shard, node_id: *node }).await
            }
        };
        said(answered)
    }

    /// Begins a state cut on the first shard, as a gateway would ask for it.
    pub(super) async fn begin_state_cut(
        &self,
        leader: &str,
        shards: Shards,
        cut: u64,
    ) -> Result<(), Failure> {
        let key = Key::from_uuid_v7(uuid::Uuid::now_v7().as_u128());
        let books = AccountId::in_slot(0, shards.first_slot(0));
        let request = Request {
            key: key.expect("a UUIDv7 is a key"),
            tenant: TenantId(0),
            command: Command::StateCut { books, cut },
        };
        self.decide(leader, 0, &request).await
    }

    /// Asks a node for a group's state as a state cut found it. Waits until its replica has met the cut.
    pub(super) async fn read_state(
        &self,
        address: &str,
        group: u16,
        cut: u64,
    ) -> Result<Streaming<StatePiece>, Failure> {
        let mut client = ClusterClient::new(self.channel(address, None).await?);
        let question = ReadStateRequest { shard: group.into(), cut };
        let asked = tokio::time::timeout(STATE_WAIT_MAX, client.read_state(question)).await;
        let late = |_| Failure::coded("NODE_UNREACHABLE", format!("{address}: no answer"));
        asked.map_err(late)?.map(tonic::Response::into_inner).map_err(|why| failure(&why))
    }

    /// Says of a node that keeps nothing any more that it has left for good.
    pub(super) async fn retire(&self, address: &str, node_id: u64) -> Result<bool, Failure> {
        let mut client = self.connect(address, CHANGE_MAX).await?;
        said(client.retire_node(RetireNodeRequest { node_id }).await)
    }

    /// Drains a node by an operator's wish, or ends that and every other reason.
    pub(super) async fn set_drained(
        &self,
        address: &str,
        is_drained: bool,
    ) -> Result<bool, Failure> {
        let mut client = self.connect(address, CHANGE_MAX).await?;
        said(client.set_drained(SetDrainedRequest { is_drained, for_restart: false }).await)
    }

    /// Drains a node for a restart, or ends that alone.
    pub(super) async fn set_restarting(
        &self,
        address: &str,
        is_drained: bool,
    ) -> Result<bool, Failure> {
        let mut client = self.connect(address, CHANGE_MAX).await?;
        said(client.set_drained(SetDrainedRequest { is_drained, for_restart: true }).await)
    }

    /// Ends one run of a node's process.
    pub(super) async fn restart(&self, address: &str, run: u64) -> Result<bool, Failure> {
        let mut client = self.connect(address, CHANGE_MAX).await?;
        said(client.restart_node(RestartNodeRequest { run }).await)
    }

    /// Has a shard decide one request, at the door at which gateways do: asked of its leader.
    pub(super) async fn decide(
        &self,
        address: &str,
        shard: u16,
        request: &Request,
    ) -> Result<(), Failure> {
        let unknown = |why: &str| Failure::coded("OUTCOME_UNKNOWN", format!("{address}: {why}"));
        let mut records = Vec::new();
        put_record(request, &mut records).map_err(|why| Failure::usage(why.to_string()))?;
        let timeout_ms = u32::try_from(DECIDE_MAX.as_millis()).unwrap_or(u32::MAX);
        let (shard, records) = (shard.into(), records.into());
        let frame = Frame { id: 1, shard, timeout_ms, count: 1, records, traceparents: Vec::new() };
        let mut client = ShardClient::new(self.channel(address, Some(CHANGE_MAX)).await?);
        let asked = async {
            // The stream stays open behind the frame, until its answer is here.
            let (frames, outgoing) = tokio::sync::mpsc::channel(1);
            let _sent = frames.send(frame).await;
            let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
            let mut answers = client.session(outgoing).await?.into_inner();
            let answer = answers.message().await;
            drop(frames);
            answer
        };
        let answer = tokio::time::timeout(CHANGE_MAX, asked).await;
        let answer = answer.map_err(|_late| unknown("no answer"))?.map_err(|why| failure(&why))?;
        let answer = answer.ok_or_else(|| unknown("the stream ended without an answer"))?;
        let mut replies =
            wire::reply::decode(&answer.answers, 1).map_err(|why| unknown(&why.to_string()))?;
        match replies.next() {
            Some(Ok(Reply::Answer(Answer { outcome: Ok(_), .. }))) => Ok(()),
            Some(Ok(Reply::Answer(Answer { outcome: Err(rejection), .. }))) => {
                Err(Failure::coded(rejection.code(), rejection.to_string()))
            }
            Some(Ok(Reply::Failure(failure))) => {
                Err(Failure::coded(failure.code(), failure.to_string()))
            }
            Some(Err(_)) | None => Err(unknown("its answer cannot be read")),
        }
    }
}

fn said(answered: Result<tonic::Response<ChangeReply>, tonic::Status>) -> Result<bool, Failure> {
    answered.map(|reply| reply.into_inner().is_new).map_err(|status| failure(&status))
}

/// Why a node did not do what it was asked.
pub(super) fn failure(status: &tonic::Status) -> Failure {
    match Said::read(status) {
        Said::Coded { entry, message, .. } => Failure::coded(entry.code, message),
        Said::NotConnected { message } => Failure::coded("NODE_UNREACHABLE", message),
        Said::Foreign { message } => Failure::coded("OUTCOME_UNKNOWN", message),
    }
}
