//! How nodes say they do, and whether the gateway answers.

use std::time::Duration;

use anyhow::Context;
use prost::Message;
use wire::proto::cluster::read_reply::Answer;
use wire::proto::cluster::read_request::Question;
use wire::proto::cluster::{ReadReply, ReadRequest, ReplicaStatus, StatusQuestion};
use wire::proto::v1::GetAccountRequest;

use super::gate::Gate;
use super::grpc::{CallError, Channel, MethodHead, encoded};

/// How long one question may take.
const ASK_MAX: Duration = Duration::from_secs(1);

/// Asks a node about its replicas of these shards. Those of which it keeps none are left out.
pub(super) async fn ask(
    address: &str,
    shards: &[u16],
) -> anyhow::Result<Vec<(u16, ReplicaStatus)>> {
    let gate = Gate::plain(address);
    let method = MethodHead::new(&gate, "/paycore.cluster.v1.Shard/Read")?;
    let asking = async {
        let channel = Channel::connect(&gate).await?;
        let mut statuses = Vec::new();
        for shard in shards {
            let question = ReadRequest {
                shard: u32::from(*shard),
                stale_ok: true,
                timeout_ms: u32::try_from(ASK_MAX.as_millis())?,
                question: Some(Question::Status(StatusQuestion {})),
            };
            let answer = match channel.unary(&method, encoded(&question)).await {
                Ok(answer) => answer,
                Err(CallError::Status(_)) => continue,
                Err(why) => return Err(why.into()),
            };
            if let Some(Answer::Status(status)) = ReadReply::decode(answer)?.answer {
                statuses.push((*shard, status));
            }
        }
        anyhow::Ok(statuses)
    };
    tokio::time::timeout(ASK_MAX, asking).await.context("no answer in time")?
}

/// Whether the gateway answers for the shards: it reads an account that nobody has.
pub(super) async fn gateway_answers(address: &str) -> anyhow::Result<()> {
    let gate = Gate::plain(address);
    let method = MethodHead::new(&gate, "/paycore.v1.Payments/GetAccount")?;
    let nobody = GetAccountRequest { name: format!("acc_{:032x}", 1), stale_ok: false };
    let asking = async {
        let channel = Channel::connect(&gate).await?;
        match channel.unary(&method, encoded(&nobody)).await {
            Err(CallError::Status(status)) if status.code() == tonic::Code::NotFound => Ok(()),
            Ok(_) => Ok(()),
            Err(why) => Err(why.into()),
        }
    };
    tokio::time::timeout(ASK_MAX, asking).await.context("no answer in time")?
}
