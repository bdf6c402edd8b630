//! The operators' door as a gRPC service: how a node does, and changes of who keeps and leads its shards.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use consensus::backup::{Piece, StateImage};
use consensus::failpoint::Operation;
use consensus::{
    Change, ChangeError, Changed, DrainError, Node, Overview, PeerOverview, Replica, ReplicaStatus,
};
use ledger::{LEVEL_MAX, Shards};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use wire::convert::Refusal;
use wire::proto::cluster::cluster_server::{Cluster as ClusterDoor, ClusterServer};
use wire::proto::cluster::{
    AddLearnerRequest, ChangeReply, ChangeVotersRequest, GetNodeRequest, Leader, MemberState,
    NodeStatus, PeerState, ReadStateRequest, RemoveLearnerRequest, ReplicaState,
    RestartNodeRequest, RetireNodeRequest, Role, SetDrainedRequest, StatePiece,
    TransferLeaderRequest, state_piece,
};
use wire::{Failure, Obstacle};

use crate::actor::Addresses;
use crate::registrar::Registrar;

/// The longest address that is taken: a host name's 253 bytes, and a port.
const ADDRESS_LEN_MAX: usize = 260;

/// How long a replica may take to meet a state cut: it may follow its leader at some distance.
const CUT_WAIT_MAX: Duration = Duration::from_secs(20);
const CUT_LOOK: Duration = Duration::from_millis(20);

/// Readers of states at once: one for each group that a node can have. Each holds a thread that mostly waits.
const STATE_READERS_MAX: usize = 65;

/// Pieces that wait for a reader: half a mebibyte each.
const PIECES_WAITING_MAX: usize = 2;

/// How long a process that is to end goes on, so that its asker hears so.
const ANSWER_FIRST: Duration = Duration::from_millis(100);

/// A node's process, as its operators' door knows it.
#[derive(Clone, Debug)]
pub struct Process {
    /// Another number after each start.
    run: u64,
    began: Instant,
    /// Turns true when the process is to end, for whoever watches over it to start it again.
    ends: Option<watch::Sender<bool>>,
}

impl Process {
    /// A process that began now. Without `ends` nobody would start it again, and it is not ended at this door.
    #[must_use]
    pub fn begun(ends: Option<watch::Sender<bool>>) -> Self {
        // Two runs of one node never begin in the same nanosecond.
        let since =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let run = u64::try_from(since & u128::from(u64::MAX)).unwrap_or(0);
        Self { run, began: Instant::now(), ends }
    }
}

/// The operators' door of a node.
struct Operations {
    node: Arc<Node>,
    process: Process,
    addresses: Addresses,
    shards: Shards,
    replication: u32,
    registrar: Registrar,
    readers: Arc<Semaphore>,
}

/// Makes the gRPC service through which a node and its process are operated. `replication` is how many replicas each shard
/// should have.
#[must_use]
pub fn cluster_server(
    (node, process): (Arc<Node>, Process),
    shards: Shards,
    replication: u32,
    registrar: Registrar,
) -> ClusterServer<impl ClusterDoor> {
    let addresses = node.addresses();
    let readers = Arc::new(Semaphore::new(STATE_READERS_MAX));
    let operations =
        Operations { node, process, addresses, shards, replication, registrar, readers };
    ClusterServer::new(operations)
}

#[tonic::async_trait]
impl ClusterDoor for Operations {
    type ReadStateStream = ReceiverStream<Result<StatePiece, Status>>;

    async fn get_node(&self, _: Request<GetNodeRequest>) -> Result<Response<NodeStatus>, Status> {
        let overview = self.node.overview().await;
        let replicas = self.node.replicas();
        let mut status = node_status(overview);
        // Who has left for good is nobody's peer, whatever this node was told when it began.
        status.peers.retain(|peer| !self.registrar.is_retired(peer.node_id));
        status.is_started = self.node.has_started();
        status.shards = self.shards.count().into();
        status.level = self.registrar.level();
        status.level_max = LEVEL_MAX;
        status.replication = self.replication;
        status.run = self.process.run;
        status.up_ms = u64::try_from(self.process.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        env!("CARGO_PKG_VERSION").clone_into(&mut status.release);
        status.replicas = replicas.iter().map(|replica| replica_state(replica)).collect();
        Ok(Response::new(status))
    }

    async fn add_learner(
        &self,
        request: Request<AddLearnerRequest>,
    ) -> Result<Response<ChangeReply>, Status> {
        let AddLearnerRequest { shard, node_id, address } = request.into_inner();
        let node = node(node_id)?;
        if address.is_empty() || address.len() > ADDRESS_LEN_MAX || !address.contains(':') {
            return Err(wrong("address", "host:port"));
        }
        if self.registrar.is_retired(node) {
            return Err(wire::status::obstacle(Obstacle::NodeRetired { node }));
        }
        self.change(shard, Change::AddLearner { node, address }).await
    }

    async fn change_voters(
        &self,
        request: Request<ChangeVotersRequest>,
    ) -> Result<Response<ChangeReply>, Status> {
        let ChangeVotersRequest { shard, add, remove } = request.into_inner();
        let named = |node: u64| (node != 0).then_some(node);
        let (add, remove) = (named(add), named(remove));
        if add == remove {
            return Err(wrong("add", "a node, or none; another one than `remove`"));
        }
        self.change(shard, Change::Voters { add, remove }).await
    }

    async fn remove_learner(
        &self,
        request: Request<RemoveLearnerRequest>,
    ) -> Result<Response<ChangeReply>, Status> {
        let RemoveLearnerRequest { shard, node_id } = request.into_inner();
        self.change(shard, Change::Remove { node: node(node_id)? }).await
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<ChangeReply>, Status> {
        let TransferLeaderRequest { shard, node_id } = request.into_inner();
        self.change(shard, Change::Lead { node: node(node_id)? }).await
    }

    async fn set_drained(
        &self,
        request: Request<SetDrainedRequest>,
    ) -> Result<Response<ChangeReply>, Status> {
        let SetDrainedRequest { is_drained, for_restart } = request.into_inner();
        let drained = if for_restart {
            self.node.set_restarting(is_drained).await
        } else {
            self.node.set_drained(is_drained).await
        };
        match drained {
            Ok(is_new) => Ok(Response::new(ChangeReply { is_new })),
            Err(DrainError::NoHeir(shard)) => {
                Err(wire::status::obstacle(Obstacle::NoHeir { shard: shard.into() }))
            }
            Err(DrainError::NotKept) => Err(wire::status::failure(Failure::DiskFull, None)),
        }
    }

    async fn retire_node(
        &self,
        request: Request<RetireNodeRequest>,
    ) -> Result<Response<ChangeReply>, Status> {
        let node = node(request.into_inner().node_id)?;
        Operation::RetireAsked.reached();
        let retired = self.registrar.retire(node).await;
        Operation::RetireHeard.reached();
        match retired {
            Some(true) => Ok(Response::new(ChangeReply { is_new: true })),
            // The meta group has no leader, or still hears that the node keeps something.
            Some(false) => Err(wire::status::failure(Failure::OutcomeUnknown, None)),
            None => Ok(Response::new(ChangeReply { is_new: false })),
        }
    }

    async fn restart_node(
        &self,
        request: Request<RestartNodeRequest>,
    ) -> Result<Response<ChangeReply>, Status> {
        if request.into_inner().run != self.process.run {
            // It is done already.
            return Ok(Response::new(ChangeReply { is_new: false }));
        }
        let Some(ends) = &self.process.ends else {
            let node = self.node.id();
            return Err(wire::status::obstacle(Obstacle::NodeUnsupervised { node }));
        };
        Operation::RestartAsked.reached();
        tracing::info!(node = self.node.id(), "ends, to be started again");
        let ends = ends.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ANSWER_FIRST).await;
            ends.send_replace(true);
        });
        Ok(Response::new(ChangeReply { is_new: true }))
    }

    async fn read_state(
        &self,
        request: Request<ReadStateRequest>,
    ) -> Result<Response<Self::ReadStateStream>, Status> {
        let ReadStateRequest { shard, cut } = request.into_inner();
        let turn = Arc::clone(&self.readers).try_acquire_owned();
        let turn = turn.map_err(|_| wire::status::failure(Failure::Overloaded, None))?;
        let replica = u16::try_from(shard).ok().and_then(|shard| self.node.replica(shard));
        let replica = replica.ok_or_else(|| wire::status::failure(Failure::NoLeader, None))?;
        let image = state_image(&replica, cut).await;
        let image = image.ok_or_else(|| wire::status::obstacle(Obstacle::CutGone { shard }))?;
        let (pieces, stream) = mpsc::channel(PIECES_WAITING_MAX);
        tokio::task::spawn_blocking(move || send_state(&replica, &image, (&pieces, turn)));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// What a state cut found, once the replica has met it; `None` when it does not in time.
async fn state_image(replica: &Replica, cut: u64) -> Option<Arc<StateImage>> {
    let began = Instant::now();
    loop {
        let image = replica.state_image(cut);
        if image.is_some() || began.elapsed() >= CUT_WAIT_MAX {
            return image;
        }
        sleep(CUT_LOOK).await;
    }
}

/// Sends a state as fast as its reader takes it. Blocks.
fn send_state(
    replica: &Replica,
    image: &StateImage,
    (pieces, _turn): (&mpsc::Sender<Result<StatePiece, Status>>, OwnedSemaphorePermit),
) {
    let sent = replica.send_state(image, |piece| {
        pieces.blocking_send(Ok(StatePiece { piece: Some(on_the_wire(piece)) })).is_ok()
    });
    if sent.is_err() {
        // The node stops, and has said why.
        let _gone = pieces.blocking_send(Err(wire::status::failure(Failure::NoLeader, None)));
    }
}

fn on_the_wire(piece: Piece) -> state_piece::Piece {
    match piece {
        Piece::Head(bytes) => state_piece::Piece::Head(bytes.into()),
        Piece::Volume(bytes) => state_piece::Piece::Volume(bytes.into()),
        Piece::Pages(bytes) => state_piece::Piece::Pages(bytes.into()),
        Piece::Records(bytes) => state_piece::Piece::Records(bytes.into()),
        Piece::End(bytes) => state_piece::Piece::End(bytes.into()),
    }
}

impl Operations {
    async fn change(&self, shard: u32, change: Change) -> Result<Response<ChangeReply>, Status> {
        let number = u16::try_from(shard).ok().filter(|number| *number <= self.shards.meta());
        let number = number.ok_or_else(|| {
            wrong("shard", "a shard of the cluster, or their number for the meta group")
        })?;
        match self.node.change(number, change).await {
            Ok(Changed { is_new }) => Ok(Response::new(ChangeReply { is_new })),
            Err(error) => Err(self.not_changed(shard, error)),
        }
    }

    fn not_changed(&self, shard: u32, error: ChangeError) -> Status {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let obstacle = match error {
            ChangeError::NotLeader { leader } => {
                let leader = leader.and_then(|node_id| {
                    Some(Leader { node_id, address: self.addresses.get(node_id)? })
                });
                return wire::status::failure(Failure::NoLeader, leader.as_ref());
            }
            ChangeError::Unknown => return wire::status::failure(Failure::OutcomeUnknown, None),
            ChangeError::UnderWay => Obstacle::ChangeUnderWay { shard },
            ChangeError::Unreachable(node) => Obstacle::NodeUnreachable { node },
            ChangeError::OtherDisk(node) => Obstacle::DiskMismatch { node },
            ChangeError::Stranger(node) => Obstacle::NodeMismatch { node },
            ChangeError::Behind { node, lag } => Obstacle::ReplicaBehind { node, lag },
            ChangeError::AtRisk { alive, voters } => {
                Obstacle::QuorumAtRisk { alive: count(alive), voters: count(voters) }
            }
            ChangeError::Leads(node) => Obstacle::ReplicaLeads { node },
            ChangeError::WrongRole(node) => Obstacle::ReplicaRole { node },
            ChangeError::MustNotLead(node) => Obstacle::NodeMustNotLead { node },
        };
        wire::status::obstacle(obstacle)
    }
}

fn node(id: u64) -> Result<u64, Status> {
    if id == 0 { Err(wrong("node_id", "1 or more")) } else { Ok(id) }
}

fn wrong(field: &'static str, description: &'static str) -> Status {
    wire::status::refusal(&Refusal::field(field, description))
}

fn node_status(overview: Overview) -> NodeStatus {
    let peers = overview.peers.into_iter().map(|PeerOverview { node, address, is_up }| PeerState {
        node_id: node,
        address: address.unwrap_or_default(),
        is_up,
    });
    NodeStatus {
        node_id: overview.node,
        address: overview.address.unwrap_or_default(),
        disk: overview.disk.to_vec().into(),
        is_drained: overview.is_drained,
        is_restarting: overview.is_restarting,
        clock_ms: overview.clock_ms,
        clock_alarm: overview.clock_alarm.map(|alarm| alarm.to_string()).unwrap_or_default(),
        free_bytes: overview.free_bytes.unwrap_or(0),
        total_bytes: overview.total_bytes.unwrap_or(0),
        peers: peers.collect(),
        ..NodeStatus::default()
    }
}

fn replica_state(replica: &Replica) -> ReplicaState {
    let status: ReplicaStatus = replica.status();
    let own = replica.node();
    let role = match (status.is_leader, status.voters.contains(&own)) {
        (true, _) => Role::Leader,
        (false, true) => Role::Voter,
        (false, false) => Role::Learner,
    };
    let matched = |node: u64| {
        let found = status.matched.iter().find(|(member, _)| *member == node);
        found.and_then(|(_, matched)| *matched).unwrap_or(0)
    };
    let members = status.members.iter().map(|(node, address)| MemberState {
        node_id: *node,
        address: address.clone(),
        is_voter: status.voters.contains(node),
        matched_index: matched(*node),
    });
    ReplicaState {
        shard: status.shard.into(),
        role: role.into(),
        term: status.term,
        leader: status.leader.unwrap_or(0),
        members: members.collect(),
        is_changing: status.is_changing,
        last_log_index: status.last_log.unwrap_or(0),
        committed_index: status.committed.unwrap_or(0),
        applied_index: status.applied,
        checkpoint_index: status.checkpoint.unwrap_or(0),
        purged_index: status.purged.unwrap_or(0),
        log_bytes: status.log_bytes,
    }
}
