//! The nodes' operators' doors, as this command speaks to them.

use std::time::Duration;

use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use wire::proto::cluster::cluster_client::ClusterClient;
use wire::proto::cluster::{
    AddLearnerRequest, ChangeReply, ChangeVotersRequest, GetNodeRequest, NodeStatus,
    RemoveLearnerRequest, RetireNodeRequest, SetDrainedRequest, TransferLeaderRequest,
};
use wire::status::Said;

use crate::exit::Failure;

/// How long a connection may take, and a node may take to say how it does.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// How long a change may take: longer than a node gives it.
const CHANGE_MAX: Duration = Duration::from_secs(15);

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
        Ok(ClusterClient::new(endpoint.connect().await.map_err(|why| unreachable(&why))?))
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

    /// Drains a node, or ends that.
    pub(super) async fn set_drained(
        &self,
        address: &str,
        is_drained: bool,
    ) -> Result<bool, Failure> {
        let mut client = self.connect(address, CHANGE_MAX).await?;
        said(client.set_drained(SetDrainedRequest { is_drained }).await)
    }
}

fn said(answered: Result<tonic::Response<ChangeReply>, tonic::Status>) -> Result<bool, Failure> {
    answered.map(|reply| reply.into_inner().is_new).map_err(|status| match Said::read(&status) {
        Said::Coded { entry, message, .. } => Failure::coded(entry.code, message),
        Said::NotConnected { message } => Failure::coded("NODE_UNREACHABLE", message),
        Said::Foreign { message } => Failure::coded("OUTCOME_UNKNOWN", message),
    })
}
