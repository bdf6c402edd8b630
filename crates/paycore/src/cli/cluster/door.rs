//! The nodes' operators' doors, as this command speaks to them.

use std::time::Duration;

use ledger::batch::put_record;
use ledger::{Answer, Request};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use wire::Reply;
use wire::proto::cluster::cluster_client::ClusterClient;
use wire::proto::cluster::shard_client::ShardClient;
use wire::proto::cluster::{
    AddLearnerRequest, ChangeReply, ChangeVotersRequest, Frame, GetNodeRequest, NodeStatus,
    RemoveLearnerRequest, RestartNodeRequest, RetireNodeRequest, SetDrainedRequest,
    TransferLeaderRequest,
};
use wire::status::Said;

use crate::exit::Failure;

/// How long a connection may take, and a node may take to say how it does.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// How long a change may take: longer than a node gives it.
const CHANGE_MAX: Duration = Duration::from_secs(15);

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
        Ok(ClusterClient::new(self.dial(address, within).await?))
    }

    async fn dial(&self, address: &str, within: Duration) -> Result<Channel, Failure> {
        let unreachable = |why: &dyn std::fmt::Display| {
            Failure::coded("NODE_UNREACHABLE", format!("{address}: {why}"))
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|why| unreachable(&why))?
            .connect_timeout(LOOK_MAX)
            .timeout(within);
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
        let mut client = ShardClient::new(self.dial(address, CHANGE_MAX).await?);
        let session = client.session(futures::stream::iter([frame])).await.map_err(refused)?;
        let answer = session.into_inner().message().await.map_err(refused)?;
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
    answered.map(|reply| reply.into_inner().is_new).map_err(refused)
}

#[expect(clippy::needless_pass_by_value, reason = "what an error is mapped by takes the error")]
fn refused(status: tonic::Status) -> Failure {
    match Said::read(&status) {
        Said::Coded { entry, message, .. } => Failure::coded(entry.code, message),
        Said::NotConnected { message } => Failure::coded("NODE_UNREACHABLE", message),
        Said::Foreign { message } => Failure::coded("OUTCOME_UNKNOWN", message),
    }
}
