//! The gateways of a run: the code between doors and shards that runs in production, each in a life of its own, over a
//! network from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use gateway::simulated::Edge;
use gateway::{Dial, Limits, Wire};
use ledger::Request;
use runtime::Instant;
use runtime::simulated::{self, Life};
use tonic::Status;
use wire::proto::cluster::{Leader, ReadReply, ReadRequest};
use wire::{Failure, Reply, status};

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::draw::Draw;
use crate::host::address;
use crate::wires::answers;

/// Gateways are numbered from here on: to the weather they are something like nodes.
const FIRST: u64 = 1_000;

/// How often a gateway looks up which nodes there are: a little later than the directory would tell it.
const FOLLOW_EVERY: Duration = Duration::from_secs(3);

/// What a request weighs at the most, for a bound on bytes that bites now and then.
const REQUEST_BYTES: usize = 200;

/// All gateways. Clones are the same ones.
#[derive(Clone)]
pub(crate) struct Gateways {
    cluster: Cluster,
    places: Arc<Mutex<BTreeMap<u64, Place>>>,
}

struct Place {
    limits: Limits,
    running: Option<Running>,
}

struct Running {
    life: Life,
    edge: Arc<Edge>,
}

impl Gateways {
    /// As many as were drawn, with bounds so small that they are reached. None of them runs.
    pub(crate) fn new(seed: u64, draw: &Draw, cluster: Cluster) -> Self {
        let place = |number: u64| {
            let mut chance = Chance::of(seed, &format!("gateway {number}"));
            let requests = usize::try_from(chance.between(6, 40)).unwrap_or(6);
            let limits = Limits {
                requests_in_flight: requests,
                bytes_in_flight: requests.saturating_mul(REQUEST_BYTES),
                frames_in_flight: usize::try_from(chance.between(1, 4)).unwrap_or(1),
                ..Limits::default()
            };
            (FIRST.saturating_add(number), Place { limits, running: None })
        };
        let places = (1..=draw.gateways).map(place).collect();
        Self { cluster, places: Arc::new(Mutex::new(places)) }
    }

    /// The numbers of all.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.places().keys().copied().collect()
    }

    /// Starts one that does not run.
    pub(crate) async fn start(&self, id: u64) {
        let Some(limits) = self
            .places()
            .get(&id)
            .filter(|place| place.running.is_none())
            .map(|place| place.limits)
        else {
            return;
        };
        let life = Life::default();
        let (cluster, shards) = (self.cluster.clone(), self.cluster.plan.shards);
        let beginning = async move {
            let dial = Arc::new(SimDial { id, known: Mutex::default(), cluster });
            dial.follow();
            let edge =
                Edge::begin(shards, &(Arc::<SimDial>::clone(&dial) as Arc<dyn Dial>), limits);
            simulated::spawn(async move {
                loop {
                    simulated::sleep(FOLLOW_EVERY).await;
                    dial.follow();
                }
            });
            Arc::new(edge)
        };
        let edge = life.live(beginning).await;
        if let Some(place) = self.places().get_mut(&id) {
            place.running = Some(Running { life, edge });
        }
        self.cluster.plan.trace.note(format_args!("gateway {id} starts"));
    }

    /// Ends one at once. Says how many requests it had that waited; nothing, if it did not run.
    pub(crate) fn kill(&self, id: u64) -> Option<usize> {
        let Running { life, edge } = self.places().get_mut(&id)?.running.take()?;
        life.end();
        self.cluster.wires.break_all(|gateway, _| gateway == id);
        let waited = edge.requests_in_flight();
        self.cluster
            .plan
            .trace
            .note(format_args!("gateway {id} is killed, {waited} requests wait"));
        Some(waited)
    }

    /// Stops one in the middle of whatever it does. `false`, if it does not run.
    pub(crate) fn pause(&self, id: u64) -> bool {
        let places = self.places();
        let running = places.get(&id).and_then(|place| place.running.as_ref());
        let Some(running) = running else { return false };
        running.life.pause();
        self.cluster.plan.trace.note(format_args!("gateway {id} stands still"));
        true
    }

    /// Lets it go on. Says how many requests wait in it.
    pub(crate) fn resume(&self, id: u64) -> usize {
        let places = self.places();
        let running = places.get(&id).and_then(|place| place.running.as_ref());
        let Some(running) = running else { return 0 };
        running.life.resume();
        let waited = running.edge.requests_in_flight();
        self.cluster.plan.trace.note(format_args!("gateway {id} goes on, {waited} requests wait"));
        waited
    }

    /// Whether one has panicked.
    pub(crate) fn has_panicked(&self, id: u64) -> bool {
        let places = self.places();
        let running = places.get(&id).and_then(|place| place.running.as_ref());
        running.is_some_and(|running| running.life.has_panicked())
    }

    /// Hands requests to a gateway, for a caller who waits that long. `None`: nobody is there, or it ends before.
    pub(crate) async fn send(
        &self,
        id: u64,
        requests: Vec<Request>,
        within: Duration,
    ) -> Option<Vec<Reply>> {
        let edge = Arc::clone(&self.places().get(&id)?.running.as_ref()?.edge);
        let deadline = Instant::now().checked_add(within)?;
        edge.send(deadline, requests).await
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<u64, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A gateway's ways to the nodes.
struct SimDial {
    id: u64,
    known: Mutex<BTreeSet<u64>>,
    cluster: Cluster,
}

impl fmt::Debug for SimDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDial").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SimDial {
    /// Learns which nodes there are.
    fn follow(&self) {
        *self.known() = self.cluster.ids().into_iter().collect();
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dial for SimDial {
    fn ids(&self) -> Vec<u64> {
        self.known().iter().copied().collect()
    }

    fn learn(&self, named: &Leader) {
        self.known().insert(named.node_id);
    }

    fn ask(
        &self,
        node: u64,
        question: ReadRequest,
    ) -> BoxFuture<'static, Result<ReadReply, Status>> {
        let (cluster, id) = (self.cluster.clone(), self.id);
        async move {
            let lost = || Status::unavailable("the way is cut");
            cluster.wires.carry(&cluster, (id, node)).await.ok_or_else(lost)?;
            let said = answer(&cluster, node, question).await;
            cluster.wires.carry(&cluster, (node, id)).await.ok_or_else(lost)?;
            said
        }
        .boxed()
    }

    fn open(&self, node: u64, frames: usize) -> BoxFuture<'static, Option<Wire>> {
        let (cluster, id) = (self.cluster.clone(), self.id);
        async move {
            let wires = cluster.wires.clone();
            let ends = wires.open(cluster, (id, node), frames).await?;
            Some(Wire { node, frames: ends.frames, answers: answers(ends.answers) })
        }
        .boxed()
    }
}

/// What a node says to a question, as its gRPC service does.
async fn answer(cluster: &Cluster, node: u64, question: ReadRequest) -> Result<ReadReply, Status> {
    let host = cluster.host(node).ok_or_else(|| Status::unavailable("nobody is there"))?;
    let shard = u16::try_from(question.shard).ok();
    let replica = shard.and_then(|shard| host.node.replica(shard));
    let replica = replica.ok_or_else(|| status::failure(Failure::NoLeader, None))?;
    let reading = host.life.live(async move {
        let leader = replica.leadership().borrow().leader;
        let leader = leader.map(|node_id| Leader { node_id, address: address(node_id) });
        let read = shard::answer_read((node, leader.clone()), &replica, question).await;
        read.map_err(|failure| status::failure(failure, leader.as_ref()))
    });
    reading.await
}
