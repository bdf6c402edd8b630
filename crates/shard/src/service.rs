//! The shard's doors as a gRPC service: frames in and out, and reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::Addr;
use actix::prelude::SendError;
use consensus::Replica;
use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::Failure;
use wire::proto::cluster::shard_server::{Shard as ShardDoor, ShardServer};
use wire::proto::cluster::{Frame, FrameAnswer, Leader, ReadReply, ReadRequest};

use crate::actor::{Addresses, Begin, End, Execute, Shard};
use crate::desk::SessionId;
use crate::meter::Depth;
use crate::reads;

/// Frames of one stream that may wait for their answers: a gateway keeps a few in flight, never dozens.
const FRAMES_IN_FLIGHT_MAX: usize = 64;

/// One shard on this node, as the doors know it.
#[derive(Clone)]
pub struct ShardDoors {
    /// Its actor.
    pub actor: Addr<Shard>,
    /// Its replica.
    pub replica: Arc<Replica>,
    /// What waits for it.
    pub depth: Depth,
}

/// The shards that a node keeps now, as they come and go. Those of others have no door here: it says that nobody leads.
pub type Shards = watch::Receiver<BTreeMap<u32, ShardDoors>>;

/// The doors of all shards on a node.
struct Doors {
    node_id: u64,
    shards: Shards,
    addresses: Addresses,
    sessions: AtomicU64,
}

/// Makes the gRPC service of a node's shards.
#[must_use]
pub fn shard_server(
    node_id: u64,
    shards: Shards,
    addresses: Addresses,
) -> ShardServer<impl ShardDoor> {
    ShardServer::new(Doors { node_id, shards, addresses, sessions: AtomicU64::new(0) })
        .max_decoding_message_size(wire::limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(wire::limits::MESSAGE_BYTES_MAX)
}

#[tonic::async_trait]
impl ShardDoor for Doors {
    type SessionStream = ReceiverStream<Result<FrameAnswer, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let session = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        let (replies, outgoing) = mpsc::channel(FRAMES_IN_FLIGHT_MAX);
        let (out, answers) = mpsc::channel(FRAMES_IN_FLIGHT_MAX);
        let shards = self.shards.clone();
        let mut visit = Visit { session, shards, out, begun: BTreeMap::new() };
        tokio::spawn(async move {
            if let Err(status) = serve(&mut visit, request.into_inner(), answers, &replies).await {
                // The stream may have ended already; then nobody is left to be told.
                let _ = replies.send(Err(status)).await;
            }
            for actor in visit.begun.values() {
                actor.do_send(End(session));
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadReply>, Status> {
        let question = request.into_inner();
        let doors = self.shards.borrow().get(&question.shard).cloned();
        let doors = doors.ok_or_else(|| not_here(&self.shards, question.shard))?;
        let leader = || self.leader(&doors.replica);
        let failed = |failure| wire::status::failure(failure, leader().as_ref());
        let limit = std::time::Duration::from_millis(u64::from(question.timeout_ms.max(1)));
        let read = reads::answer((self.node_id, leader()), &doors.replica, question);
        match tokio::time::timeout(limit, read).await {
            Ok(Ok(reply)) => Ok(Response::new(reply)),
            Ok(Err(failure)) => Err(failed(failure)),
            Err(_) => Err(failed(Failure::DeadlinePassed)),
        }
    }
}

impl Doors {
    fn leader(&self, replica: &Replica) -> Option<Leader> {
        let node_id = replica.leadership().borrow().leader?;
        let address = self.addresses.get(node_id)?;
        Some(Leader { node_id, address })
    }
}

/// A stream, and the shards that it has spoken to.
struct Visit {
    session: SessionId,
    shards: Shards,
    out: mpsc::Sender<FrameAnswer>,
    begun: BTreeMap<u32, Addr<Shard>>,
}

impl Visit {
    /// Hands a frame to its shard; answers it at once when the shard does not take it.
    async fn hand_on(&mut self, frame: Frame) -> Result<Option<FrameAnswer>, Status> {
        let (session, shard, id) = (self.session, frame.shard, frame.id);
        let count = usize::try_from(frame.count).unwrap_or(0);
        let doors = self.shards.borrow().get(&shard).cloned();
        let ShardDoors { actor, depth, .. } = doors.ok_or_else(|| not_here(&self.shards, shard))?;
        if self.begun.get(&shard) != Some(&actor) {
            let begin = Begin { session, out: self.out.clone() };
            // Who has just ended keeps the shard no more.
            actor.send(begin).await.map_err(|_| not_here(&self.shards, shard))?;
            self.begun.insert(shard, actor.clone());
        }
        depth.enter();
        let why = match actor.try_send(Execute { session, frame }) {
            Ok(()) => return Ok(None),
            Err(SendError::Full(_)) => Failure::Overloaded,
            Err(SendError::Closed(_)) => Failure::NoLeader,
        };
        depth.leave();
        Ok(Some(refused(id, count, why)))
    }
}

/// Hands frames to their shards, as many at once as there is room for answers.
async fn serve(
    visit: &mut Visit,
    mut frames: Streaming<Frame>,
    mut answers: mpsc::Receiver<FrameAnswer>,
    replies: &mpsc::Sender<Result<FrameAnswer, Status>>,
) -> Result<(), Status> {
    let mut in_flight = 0_usize;
    loop {
        tokio::select! {
            answer = answers.recv() => {
                let Some(answer) = answer else { return Ok(()) };
                in_flight = in_flight.saturating_sub(1);
                if replies.send(Ok(answer)).await.is_err() {
                    return Ok(());
                }
            }
            frame = frames.next(), if in_flight < FRAMES_IN_FLIGHT_MAX => {
                let Some(frame) = frame else { return finish(in_flight, answers, replies).await };
                match visit.hand_on(frame?).await? {
                    None => in_flight = in_flight.saturating_add(1),
                    Some(refusal) => if replies.send(Ok(refusal)).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// The gateway sends no more: what is under way is still answered.
async fn finish(
    in_flight: usize,
    mut answers: mpsc::Receiver<FrameAnswer>,
    replies: &mpsc::Sender<Result<FrameAnswer, Status>>,
) -> Result<(), Status> {
    for _ in 0..in_flight {
        let Some(answer) = answers.recv().await else { return Ok(()) };
        if replies.send(Ok(answer)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn refused(id: u64, count: usize, why: Failure) -> FrameAnswer {
    let count = count.min(wire::limits::FRAME_REQUESTS_MAX);
    let reply = wire::Reply::Failure(why);
    let answers = wire::reply::encode(std::iter::repeat_n(&reply, count));
    FrameAnswer { id, answers: answers.into(), leader: None }
}

/// Nobody leads that shard here; but who keeps it may be known from the directory, and one of those knows who does.
fn not_here(shards: &Shards, shard: u32) -> Status {
    tracing::debug!(shard, "asked for a shard that is not on this node");
    let keeper = u16::try_from(shard).ok().and_then(|shard| keeper(shards, shard));
    wire::status::failure(Failure::NoLeader, keeper.as_ref())
}

/// A node that keeps a shard, as the newest directory here says.
fn keeper(shards: &Shards, shard: u16) -> Option<Leader> {
    let doors = shards.borrow();
    let version =
        |doors: &&ShardDoors| doors.replica.with_ledger(|ledger| ledger.directory().version());
    doors.values().max_by_key(version)?.replica.with_ledger(|ledger| {
        let directory = ledger.directory();
        let (_, placement) = directory.placements().find(|(placed, _)| *placed == shard)?;
        let node_id = *placement.voters.first()?;
        let (_, node) = directory.nodes().find(|(node, _)| *node == node_id)?;
        Some(Leader { node_id, address: node.address.clone() })
    })
}
