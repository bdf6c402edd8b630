//! The machines of a run, and what lives on them now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consensus::simulated::SimNetwork;
use consensus::{OpenError, Replica};
use ledger::Shards;

use crate::chance::Chance;
use crate::draw::Draw;
use crate::driver::Door;
use crate::host::{Host, Plan};
use crate::machine::{Machine, Watchmaker};
use crate::reigns::Reigns;
use crate::trace::Trace;
use crate::weather::Sky;
use crate::wires::Wires;

/// A cluster. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) plan: Plan,
    pub(crate) sky: Sky,
    pub(crate) watchmaker: Watchmaker,
    /// The gateways' streams to the nodes.
    pub(crate) wires: Wires,
    seed: u64,
    places: Arc<Mutex<BTreeMap<u64, Place>>>,
}

/// A machine and its node, if one runs there.
struct Place {
    /// Taken out while a node is being opened on it.
    machine: Option<Machine>,
    host: Option<Arc<Host>>,
    /// Its node will never run again.
    is_gone: bool,
}

impl Cluster {
    /// Machines on which nothing runs yet.
    pub(crate) fn new(seed: u64, draw: &Draw, trace: Trace) -> Self {
        let sky = Sky::new(Chance::of(seed, "weather"), trace.clone());
        let network = SimNetwork::new(Arc::new(sky.clone()));
        let shards = Shards::new(draw.shards).expect("a cluster may have so many");
        let (nodes, replicas) = (draw.nodes, draw.replicas);
        let plan = Plan { nodes, replicas, shards, network, trace, reigns: Reigns::default() };
        let (watchmaker, places) = (Watchmaker::default(), Arc::default());
        let wires = Wires::new(Chance::of(seed, "wires"));
        let cluster = Self { plan, sky, watchmaker, wires, seed, places };
        for id in 1..=nodes {
            cluster.add(id);
        }
        cluster
    }

    fn add(&self, id: u64) {
        let machine = Machine::new(Chance::of(self.seed, &format!("machine {id}")));
        self.watchmaker.knows(&machine.clocks);
        let place = Place { machine: Some(machine), host: None, is_gone: false };
        self.places().insert(id, place);
    }

    /// Puts up one more machine. Its node has an id that no other ever had.
    pub(crate) fn grow(&self) -> u64 {
        let last = self.places().keys().next_back().copied().unwrap_or(0);
        let id = last.saturating_add(1);
        self.add(id);
        id
    }

    /// The ids of the nodes that there are, whether they run or not.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let places = self.places();
        places.iter().filter(|(_, place)| !place.is_gone).map(|(id, _)| *id).collect()
    }

    /// The node that runs on a machine.
    pub(crate) fn host(&self, id: u64) -> Option<Arc<Host>> {
        self.places().get(&id)?.host.clone()
    }

    /// A shard's way in on a node.
    pub(crate) fn door(&self, id: u64, shard: u16) -> Option<Door> {
        self.host(id)?.door(shard)
    }

    /// All replicas of a shard that run now, by node.
    pub(crate) fn replicas(&self, shard: u16) -> Vec<(u64, Arc<Replica>)> {
        let replica = |id: u64| Some((id, self.host(id)?.node.replica(shard)?));
        self.ids().into_iter().filter_map(replica).collect()
    }

    /// The node that leads a shard, and its replica, if there is one; of two, the later.
    pub(crate) fn leader(&self, shard: u16) -> Option<(Arc<Host>, Arc<Replica>)> {
        let replicas = self.replicas(shard);
        let leads = |replica: &Arc<Replica>| {
            let leadership = *replica.leadership().borrow();
            leadership.leads.then_some(leadership.term)
        };
        let leading =
            replicas.into_iter().filter_map(|(id, replica)| Some((leads(&replica)?, id, replica)));
        let (_, id, replica) = leading.max_by_key(|(term, _, _)| *term)?;
        Some((self.host(id)?, replica))
    }

    /// Who keeps each group to begin with: dealt out in turn, as the nodes do it.
    pub(crate) fn first_keepers(&self) -> BTreeMap<u16, BTreeSet<u64>> {
        let Plan { nodes, replicas, shards, .. } = &self.plan;
        let keepers = |shard: u16| {
            let of = (0..*replicas).map(|n| u64::from(shard).saturating_add(n));
            of.map(|n| n.checked_rem(*nodes).unwrap_or(0).saturating_add(1)).collect()
        };
        shards.groups().map(|shard| (shard, keepers(shard))).collect()
    }

    /// Starts a node where none runs.
    ///
    /// # Errors
    /// What the node says of its disk.
    pub(crate) async fn start(&self, id: u64) -> Result<(), OpenError> {
        let (machine, peers) = {
            let mut places = self.places();
            // A node is told of all that there are; and those who made the cluster go on being told of one another, for
            // nobody takes the dead out of a topology.
            let is_first = id <= self.plan.nodes;
            let is_told = |(other, place): &(&u64, &Place)| {
                **other == id || !place.is_gone || (is_first && **other <= self.plan.nodes)
            };
            let peers: BTreeSet<u64> = places.iter().filter(is_told).map(|(id, _)| *id).collect();
            let place = places.get_mut(&id).filter(|place| place.host.is_none() && !place.is_gone);
            (place.and_then(|place| place.machine.take()), peers)
        };
        let Some(mut machine) = machine else { return Ok(()) };
        let opened = Host::open(&self.plan, (id, &peers), &mut machine).await;
        let mut places = self.places();
        let place = places.get_mut(&id).expect("its machine came from there");
        place.machine = Some(machine);
        place.host = Some(Arc::new(opened?));
        drop(places);
        self.plan.trace.note(format_args!("node {id} starts"));
        Ok(())
    }

    /// Does something with a machine; nothing while a node is being opened on it.
    pub(crate) fn with_machine<T>(
        &self,
        id: u64,
        what: impl FnOnce(&mut Machine) -> T,
    ) -> Option<T> {
        self.places().get_mut(&id)?.machine.as_mut().map(what)
    }

    /// Ends a node at once. Says how many bytes of its log are gone; nothing, if it did not run.
    pub(crate) fn crash(&self, id: u64, with_power: bool) -> Option<usize> {
        let mut places = self.places();
        let place = places.get_mut(&id)?;
        let host = place.host.take()?;
        host.life.end();
        self.plan.network.lose(id);
        if !with_power {
            // Its machine tells everybody; without power nobody does.
            self.wires.break_all(|_, node| node == id);
        }
        let lost = place.machine.as_mut().map_or(0, |machine| machine.crash(with_power));
        drop(places);
        let trace = &self.plan.trace;
        trace.note(format_args!("node {id} crashes (power: {with_power}), {lost} bytes lost"));
        Some(lost)
    }

    /// A node is no more: it never runs again.
    pub(crate) fn bury(&self, id: u64) {
        self.crash(id, false);
        if let Some(place) = self.places().get_mut(&id) {
            place.is_gone = true;
        }
        self.plan.trace.note(format_args!("node {id} is no more"));
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<u64, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
