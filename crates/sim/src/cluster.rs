//! The machines of a run, and what lives on them now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consensus::Replica;
use consensus::simulated::SimNetwork;
use ledger::Shards;

use crate::chance::Chance;
use crate::driver::Door;
use crate::host::{Host, Plan};
use crate::machine::Machine;
use crate::trace::Trace;
use crate::weather::Sky;

/// A cluster. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) plan: Plan,
    pub(crate) sky: Sky,
    places: Arc<Vec<Mutex<Place>>>,
}

/// A machine and its node, if one runs there.
struct Place {
    /// Taken out while a node is being opened on it.
    machine: Option<Machine>,
    host: Option<Arc<Host>>,
}

impl Cluster {
    /// Machines on which nothing runs yet.
    pub(crate) fn new(seed: u64, nodes: u64, shards: Shards, trace: Trace) -> Self {
        let sky = Sky::new(Chance::of(seed, "weather"), trace.clone());
        let network = SimNetwork::new(Arc::new(sky.clone()));
        let place = |id: u64| {
            let machine = Machine::new(Chance::of(seed, &format!("machine {id}")));
            Mutex::new(Place { machine: Some(machine), host: None })
        };
        let places = Arc::new((1..=nodes).map(place).collect());
        Self { plan: Plan { nodes, shards, network, trace }, sky, places }
    }

    /// The ids of its machines.
    pub(crate) fn ids(&self) -> Vec<u64> {
        (1..=self.plan.nodes).collect()
    }

    /// The node that runs on a machine.
    pub(crate) fn host(&self, id: u64) -> Option<Arc<Host>> {
        self.place(id)?.host.clone()
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

    /// Starts a node where none runs.
    ///
    /// # Errors
    /// What the node says of its disk.
    pub(crate) async fn start(&self, id: u64) -> Result<(), String> {
        let machine = self.place(id).and_then(|mut place| {
            let is_free = place.host.is_none();
            if is_free { place.machine.take() } else { None }
        });
        let Some(mut machine) = machine else { return Ok(()) };
        let opened = Host::open(&self.plan, id, &mut machine).await;
        let mut place = self.place(id).expect("its machine came from there");
        place.machine = Some(machine);
        let host = opened.map_err(|error| format!("node {id} does not open: {error}"))?;
        place.host = Some(Arc::new(host));
        drop(place);
        self.plan.trace.note(format_args!("node {id} starts"));
        Ok(())
    }

    /// Lets the power of a node's log go at one of its next operations.
    pub(crate) fn fail_soon(&self, id: u64) {
        if let Some(machine) = self.place(id).as_mut().and_then(|place| place.machine.as_mut()) {
            machine.fail_soon();
        }
    }

    /// Ends a node at once. Says how many bytes of its log are gone, and why it had stopped before, if it had.
    pub(crate) fn crash(&self, id: u64, with_power: bool) -> Option<usize> {
        let mut place = self.place(id)?;
        let host = place.host.take()?;
        host.life.end();
        self.plan.network.lose(id);
        let lost = place.machine.as_mut().map_or(0, |machine| machine.crash(with_power));
        self.plan
            .trace
            .note(format_args!("node {id} crashes (power: {with_power}), {lost} bytes lost"));
        Some(lost)
    }

    fn place(&self, id: u64) -> Option<MutexGuard<'_, Place>> {
        let index = usize::try_from(id.checked_sub(1)?).ok()?;
        Some(self.places.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
