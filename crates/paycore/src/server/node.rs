//! `paycore node`: one node of a cluster.
//!
//! Everything but the log's writer and checkpoints runs on one thread: the gRPC server, Raft, the shards' actors, and
//! apply. A frame crosses no thread between the socket and the log.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use consensus::failpoint::Operation;
use consensus::{
    Certified, CheckpointOptions, Node, NodeConfig, PeerTls, Replica, ReplicaStatus, Replicas,
    ScrubOptions, SpaceOptions, StopReason, Timing,
};
use gateway::Shown;
use gateway::tls::{Door, Guests, Identity, Role};
use ledger::Shards;
use shard::{
    Drain, Process, Registrar, Shard, ShardDoors, Surroundings, cluster_server, shard_server,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Status};
use tracing::Instrument as _;

use super::admin::Metrics;
use super::life::Life;
use super::{Ports, Supervisor};
use crate::cli::Invocation;
use crate::config::tls::Files;
use crate::config::{StoreKind, Topology};
use crate::exit::{Failure, TEMPORARY};

/// How long a node that is asked to stop waits for others to take over what it leads.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);

/// Connections at once: every gateway and every peer has a few.
const CONNECTIONS_MAX: usize = 4_096;

/// How long it waits for one of them: one that lives needs a round trip and a sync.
const HEIR_MAX: Duration = Duration::from_secs(1);

/// Run one node of a cluster
///
/// The node keeps its log and checkpoints under --data and must never be given another node's directory, nor its own id
/// to an empty one once it has taken part.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  paycore node --topology cluster-config/dev-1.toml --id 1 --data data/n1"
)]
pub(crate) struct Args {
    /// The cluster's topology file
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Which of its nodes this is
    #[arg(long, value_name = "N")]
    id: Option<u64>,
    /// Where the node keeps its log and checkpoints
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen instead of where the topology says that others reach it, as HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Do without TLS, even towards other machines
    #[arg(long)]
    plaintext: bool,
    /// Join a cluster that exists: keep nothing before `paycore cluster add-node` or `move-replica` gives it something
    #[arg(long)]
    join: bool,
    /// Where to be asked how it does (/livez, /readyz, /metrics; always in plaintext) instead of where the topology says,
    /// as HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
}

/// Runs the node until it is asked to stop, or must.
pub(crate) fn run(args: &Args, around: &Invocation) -> Result<(), Failure> {
    let settings = &around.settings;
    super::begin_logging(&settings.log)?;
    let topology = args.topology.as_ref().unwrap_or(&settings.cluster.topology);
    let topology = Topology::load(topology).map_err(|wrong| Failure::of_problems(&wrong))?;
    let id = args
        .id
        .or(settings.node.id)
        .ok_or_else(|| Failure::usage("which node is this? Say --id N, or set node.id"))?;
    let data = args.data.clone().unwrap_or_else(|| settings.node.data_dir.clone());
    let admin = args.admin.clone();
    let admin = admin.or_else(|| topology.node(id).and_then(|node| node.admin.clone()));
    let ports = Ports { admin, trace: settings.trace.clone() };
    let files = crate::config::tls::files(&topology, &format!("node-{id}"), args.plaintext)?;
    let (listen, joins) = (args.listen.clone(), args.join);
    let plan = Plan { topology, id, listen, data, ports, joins, hands_over: true, files };
    let supervisor = Supervisor::of_environment();
    let span = tracing::info_span!("node", node = plan.id);
    let life = serve(plan, supervisor, super::asked_to_stop());
    actix::System::new().block_on(life.instrument(span))
}

/// What a node is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its cluster.
    pub(crate) topology: Topology,
    /// Which node.
    pub(crate) id: u64,
    /// Where it listens, when that is not where others reach it.
    pub(crate) listen: Option<String>,
    /// Where it keeps what it knows.
    pub(crate) data: PathBuf,
    /// Where it says how it does.
    pub(crate) ports: Ports,
    /// Whether its cluster exists, and it joins it.
    pub(crate) joins: bool,
    /// Whether it has a process of its own, which somebody starts again: then it hands over what it leads when it is asked to
    /// stop, and can be asked at its operators' door. Of no use when all nodes stop together.
    pub(crate) hands_over: bool,
    /// What it shows, and whom it trusts; `None` for plaintext.
    pub(crate) files: Option<Files>,
}

impl Plan {
    /// What its metrics say about it.
    fn about(&self) -> [(&'static str, String); 3] {
        let cluster = self.topology.name.clone();
        [("cluster", cluster), ("role", "node".to_owned()), ("node", self.id.to_string())]
    }

    fn config(&self, metrics: &Metrics, tls: Option<PeerTls>) -> NodeConfig {
        let peers = self.topology.peers();
        let mut config = NodeConfig::new(self.id, self.data.clone(), peers, self.topology.shards());
        config.replicas = self.topology.replication();
        config.joins = self.joins;
        let (consensus, store) = (self.topology.consensus, self.topology.store);
        config.timing = Timing {
            heartbeat_ms: consensus.heartbeat_ms,
            election_min_ms: consensus.election_min_ms,
            election_max_ms: consensus.election_max_ms,
            ..Timing::default()
        };
        config.checkpoint = CheckpointOptions {
            log_bytes_min: store.checkpoint_log_bytes,
            log_held_bytes_max: store.checkpoint_behind_bytes,
            ..CheckpointOptions::default()
        };
        config.log.segment_bytes = store.log_segment_bytes;
        config.space = SpaceOptions {
            free_bytes_min: store.free_bytes_min,
            free_percent_min: store.free_percent_min,
        };
        config.scrub = ScrubOptions {
            every: Duration::from_secs(store.scrub_every_s),
            bytes_per_second: store.scrub_bytes_per_second,
        };
        config.meter = consensus::Meter::new(metrics.recorder());
        config.store = match store.kind {
            StoreKind::Sled => consensus::StoreKind::Sled,
            StoreKind::Memory => consensus::StoreKind::Memory,
        };
        config.tls = tls;
        config
    }

    /// Where it lets peers and gateways in, and how it dials its peers.
    fn tls(&self) -> Result<(Door, Option<PeerTls>), Failure> {
        let Some(files) = &self.files else { return Ok((Door::plaintext(), None)) };
        let identity = files.clone().follow()?;
        let door = Door::of(identity.clone(), Guests::Members);
        let door = door.map_err(|why| Failure::config(why.to_string()))?;
        let peers = PeerTls::new(move |node| {
            let now: Arc<Identity> = Arc::clone(&identity.borrow());
            now.dialler_to(node)
        });
        Ok((door, Some(peers)))
    }
}

/// Lets nodes alone to the lanes between nodes, and says which node's certificate was shown: who may ask a shard is not
/// thereby a replica of it, and one replica is not another.
#[derive(Clone, Copy, Debug)]
struct NodesAlone {
    with_tls: bool,
}

impl Interceptor for NodesAlone {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let shown = request.extensions().get::<Shown>().copied().unwrap_or_default();
        let Shown { role, node } = shown;
        if !self.with_tls || role == Some(Role::Node) {
            request.extensions_mut().insert(Certified { node });
            return Ok(request);
        }
        tracing::warn!(?role, "turned a caller away from the lanes between nodes: he is no node");
        Err(Status::unauthenticated("these lanes are for nodes alone"))
    }
}

/// Runs a node until `asked` is done, or the node must stop. Needs an actix system around it.
///
/// # Errors
/// When the node cannot start, or has to stop.
pub(crate) async fn serve(
    plan: Plan,
    supervisor: Supervisor,
    asked: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut asked = std::pin::pin!(asked);
    // The first look begins to listen: whoever asks while the disk is still read is heard as soon as it is.
    if let std::task::Poll::Ready(asked) = futures::poll!(asked.as_mut()) {
        return asked;
    }
    let spec = plan
        .topology
        .node(plan.id)
        .ok_or_else(|| Failure::config(format!("the topology has no node {}", plan.id)))?;
    let address = plan.listen.as_ref().unwrap_or(&spec.grpc);
    let listener = TcpListener::bind(address).await.map_err(|why| {
        Failure::io(format!("node {}: cannot listen on {address}", plan.id), &why)
    })?;
    let (door, tls) = plan.tls()?;
    let alone = NodesAlone { with_tls: door.is_tls() };
    let metrics = Metrics::new(&plan.about())?;
    let life = Arc::new(Life::default());
    // The admin port is there before the disk is read, which takes what it takes.
    let _admin = life.open_admin(&plan.ports, &metrics, &supervisor)?;
    let node = Node::open(plan.config(&metrics, tls)).await;
    let node = node.map_err(|why| Failure::internal(why.to_string()).with_hint(why.advice()));
    let node = Arc::new(node?);
    tracing::info!(node = plan.id, address = %spec.grpc, data = %plan.data.display(), "opened");
    life.opened(node.vitals());

    let (keeper, doors) = watch::channel(BTreeMap::new());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shards = plan.topology.shards();
    let registrar = Registrar::new(Arc::clone(&node), shards, doors.clone());
    let replication = u32::try_from(plan.topology.replicas).unwrap_or(u32::MAX);
    let (ends, to_end) = watch::channel(false);
    let process = Process::begun(plan.hands_over.then_some(ends));
    let server = consensus::tune(Server::builder())
        .add_service(InterceptedService::new(node.peer_service(), alone))
        .add_service(shard_server(plan.id, doors.clone(), node.addresses()))
        .add_service(cluster_server(
            (Arc::clone(&node), process),
            shards,
            replication,
            registrar.clone(),
        ));
    let connections = gateway::connections(listener, CONNECTIONS_MAX, door);
    let serving = tokio::spawn(server.serve_with_incoming_shutdown(connections, async {
        let _ = stopped.await;
    }));

    actix::spawn(registrar.run());
    supervisor.ready();
    let asked = asked_anywhere(asked, to_end.clone());
    let ended = live(&plan, (&node, &life), (keeper, &metrics), asked).await;
    life.drain();
    supervisor.stopping();
    if ended.is_ok() && plan.hands_over {
        hand_over(&node, &doors).await;
    }
    let is_to_restart = *to_end.borrow();
    if is_to_restart {
        Operation::RestartReady.reached();
    }
    let _ = stop.send(());
    node.shutdown().await;
    serving.abort();
    if is_to_restart { ended.and(Err(to_be_restarted())) } else { ended }
}

/// Is done when the process is asked to stop from outside, or to end for a restart at its operators' door.
async fn asked_anywhere(
    asked: impl Future<Output = Result<(), Failure>>,
    mut to_end: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let at_the_door = async {
        if to_end.wait_for(|to_end| *to_end).await.is_err() {
            // It is not ended at that door.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        asked = asked => asked,
        () = at_the_door => Ok(()),
    }
}

/// No success, so that a supervisor which lets a process rest that ended by itself starts it again.
fn to_be_restarted() -> Failure {
    Failure::new(TEMPORARY, "the node ends to be started again, as an operator asked for")
}

/// The node's life between its start and its end.
async fn live(
    plan: &Plan,
    (node, life): (&Node, &Life),
    (keeper, metrics): (watch::Sender<BTreeMap<u32, ShardDoors>>, &Metrics),
    asked: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut must_stop = node.stopped();
    let work = async {
        node.start().await.map_err(|reason| stopped(&reason))?;
        let around = Surroundings {
            addresses: node.addresses(),
            mail: node.mail(),
            shards: keeper.subscribe(),
        };
        node.read_mail(shard::mailbox(keeper.subscribe()));
        let doors = keeper.subscribe();
        let shards = plan.topology.shards();
        let porter = Porter { shards, around, metrics: metrics.clone(), doors: keeper };
        let replicas = node.watch_replicas();
        porter.open_and_close(&replicas.borrow());
        life.takes_part(doors);
        actix::spawn(porter.keep(replicas));
        node.initialize().await.map_err(|reason| stopped(&reason))?;
        tracing::info!(node = plan.id, "takes part");
        std::future::pending::<Result<(), Failure>>().await
    };
    tokio::select! {
        ended = work => ended,
        asked = asked => asked,
        reason = must_stop.wait_for(Option::is_some) => match reason.as_deref() {
            Ok(Some(reason)) => Err(stopped(reason)),
            Ok(None) | Err(_) => Err(Failure::internal("the node ended")),
        },
    }
}

/// Opens the doors of each replica that comes, and closes those of each that goes.
struct Porter {
    shards: Shards,
    around: Surroundings,
    metrics: Metrics,
    doors: watch::Sender<BTreeMap<u32, ShardDoors>>,
}

impl Porter {
    /// Goes on until the node has gone.
    async fn keep(self, mut replicas: watch::Receiver<Replicas>) {
        loop {
            let kept = Arc::clone(&replicas.borrow_and_update());
            self.open_and_close(&kept);
            if replicas.changed().await.is_err() {
                return;
            }
        }
    }

    fn open_and_close(&self, kept: &BTreeMap<u16, Arc<Replica>>) {
        self.doors.send_modify(|doors| {
            doors.retain(|_, door| {
                let is_same = |kept: &Arc<Replica>| Arc::ptr_eq(kept, &door.replica);
                kept.get(&door.replica.shard()).is_some_and(is_same)
            });
            for replica in kept.values() {
                doors.entry(replica.shard().into()).or_insert_with(|| self.door(replica));
            }
        });
    }

    fn door(&self, replica: &Arc<Replica>) -> ShardDoors {
        let place = (self.shards, replica.shard());
        let meter = shard::Meter::new(self.metrics.recorder());
        let depth = meter.depth().clone();
        let actor = Shard::start(Arc::clone(replica), place, &self.around, meter);
        ShardDoors { actor, replica: Arc::clone(replica), depth }
    }
}

fn stopped(reason: &StopReason) -> Failure {
    Failure::internal(format!("the node stops: {reason}")).with_hint(reason.advice())
}

/// Takes nothing new, and lets another node lead, so that nobody has to wait for an election.
async fn hand_over(node: &Node, doors: &watch::Receiver<BTreeMap<u32, ShardDoors>>) {
    let doors = doors.borrow().clone();
    for door in doors.values() {
        door.actor.do_send(Drain);
    }
    let handing_over = async {
        for door in doors.values() {
            bequeath(&door.replica).await;
        }
    };
    if tokio::time::timeout(HAND_OVER_MAX, handing_over).await.is_err() {
        tracing::warn!(node = node.id(), "nobody took over the lead in time");
    }
}

/// Asks the others to lead a shard, the one that has most of it first, until one does.
async fn bequeath(replica: &Replica) {
    let mut leadership = replica.leadership();
    if !leadership.borrow().leads {
        return;
    }
    let ReplicaStatus { voters, mut matched, .. } = replica.status();
    matched.retain(|(node, matched)| matched.is_some() && voters.contains(node));
    matched.sort_by_key(|(_, matched)| std::cmp::Reverse(*matched));
    let own = leadership.borrow().leader;
    for (heir, _) in matched.into_iter().filter(|(node, _)| Some(*node) != own) {
        replica.transfer_leadership(heir).await;
        let over = leadership.wait_for(|leadership| !leadership.leads);
        if tokio::time::timeout(HEIR_MAX, over).await.is_ok() {
            return;
        }
    }
    tracing::warn!(shard = replica.shard(), "nobody took over the lead");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lanes_between_nodes_are_for_nodes_alone() {
        let passes = |with_tls, shown: Option<Shown>| {
            let mut request = Request::new(());
            shown.map(|shown| request.extensions_mut().insert(shown));
            let passed = NodesAlone { with_tls }.call(request).ok()?;
            Some(passed.extensions().get::<Certified>()?.node)
        };
        let shown = |role| Some(Shown { role, node: Some(2) });
        assert_eq!(passes(true, shown(Some(Role::Node))), Some(Some(2)));
        for other in [shown(Some(Role::Gateway)), shown(Some(Role::Client)), shown(None), None] {
            assert_eq!(passes(true, other), None, "{other:?}");
        }
        assert_eq!(passes(false, None), Some(None));
    }
}
