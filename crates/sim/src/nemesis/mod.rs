//! What goes wrong: two things at a time, one of the network and one of the machines, each drawn from the seed.
//!
//! Harm that no cluster could bear is not done. A disk that goes backwards while those who remember its promises lose their
//! memory takes what it promised with it; so whoever harms a disk waits for *peace* first: nothing else goes wrong until the
//! node has been found out. And one plan of the operator's is carried out at a time, so that a majority of each group stays.

mod clocks;
mod disks;
mod ends;
mod gateways;
mod members;
mod network;
mod nodes;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use runtime::simulated;
use tokio::sync::Mutex;

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::draw::Draw;
use crate::faults::{Bites, Fault};
use crate::gateways::Gateways;
use crate::operator::Operator;
use crate::oracle::Oracle;

/// Does harm. Clones share what they have done.
#[derive(Clone)]
pub(crate) struct Nemesis {
    chance: Chance,
    cluster: Cluster,
    gateways: Gateways,
    oracle: Oracle,
    operator: Operator,
    bites: Bites,
    /// Held while something goes wrong with the network.
    peace: Arc<Mutex<()>>,
}

impl Nemesis {
    /// One of a run.
    pub(crate) fn new(
        seed: u64,
        (cluster, gateways, oracle): (Cluster, Gateways, Oracle),
        operator: Operator,
        bites: Bites,
    ) -> Self {
        let (chance, peace) = (Chance::of(seed, "nemesis"), Arc::default());
        Self { chance, cluster, gateways, oracle, operator, bites, peace }
    }

    /// Does harm until a time has passed; then everything is well again.
    pub(crate) async fn rage(mut self, draw: &Draw, until: Duration) {
        let (of_network, of_nodes): (Vec<Fault>, Vec<Fault>) =
            draw.faults.iter().copied().partition(|fault| fault.is_of_the_network());
        let drifting = draw.faults.contains(&Fault::Drift).then(|| self.drift());
        let mut other = self.clone();
        other.chance = Chance::of(self.chance.draw(), "network");
        join(self.harm_nodes(&of_nodes, until), other.harm_network(&of_network, until)).await;
        self.heal(drifting.flatten()).await;
    }

    async fn harm_network(&mut self, faults: &[Fault], until: Duration) {
        let peace = Arc::clone(&self.peace);
        while simulated::elapsed() < until {
            let quiet = self.chance.time(50, 700);
            simulated::sleep(quiet).await;
            let _not_now = peace.lock().await;
            match self.chance.pick(faults) {
                Some(fault) => self.harm_way(fault).await,
                None => return,
            }
        }
    }

    async fn harm_nodes(&mut self, faults: &[Fault], until: Duration) {
        while simulated::elapsed() < until {
            let quiet = self.chance.time(50, 500);
            simulated::sleep(quiet).await;
            match self.chance.pick(faults) {
                Some(fault) => self.harm_node(fault).await,
                None => return,
            }
        }
    }

    async fn harm_node(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => self.kill().await,
            Fault::Power => self.cut_power(false).await,
            Fault::Blackout => self.cut_power(true).await,
            Fault::Pause => self.pause().await,
            Fault::FailedWrite | Fault::FailedSync => self.fail_log(fault).await,
            Fault::FailedCheckpoint => self.fail_checkpoint().await,
            Fault::FullDisk => self.fill_disks().await,
            Fault::Flip => self.flip().await,
            Fault::RottenCheckpoint => self.rot_checkpoint().await,
            Fault::StaleDisk => self.take_back_disk().await,
            Fault::LostDisk => self.lose_disk().await,
            Fault::LostEnd => self.lose_end().await,
            Fault::Jump => self.jump().await,
            Fault::Join => self.join(),
            Fault::Move => self.move_replica(),
            Fault::Leave => self.leave(),
            Fault::Lead => self.hand_over().await,
            Fault::GatewayKill => self.kill_gateway().await,
            Fault::GatewayPause => self.pause_gateway().await,
            // It began with the run; the others are the network's.
            Fault::Drift
            | Fault::CutOff
            | Fault::Split
            | Fault::OneWay
            | Fault::Storm
            | Fault::Break
            | Fault::SlowDisk
            | Fault::GatewayCut => {}
        }
    }

    async fn heal(&mut self, drifting: Option<u64>) {
        self.cluster.sky.clear_up();
        self.check_drift(drifting);
        for id in self.cluster.ids() {
            self.start(id).await;
        }
        self.mend_gateways().await;
        self.cluster.plan.trace.note(format_args!("all is well"));
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.cluster.plan.trace.note(what);
    }

    fn victim(&mut self) -> u64 {
        self.chance.pick(&self.cluster.ids()).unwrap_or(1)
    }

    /// Starts a node whose disk nobody has harmed.
    async fn start(&mut self, id: u64) {
        if let Err(error) = self.cluster.start(id).await {
            self.oracle.accuses(format!("node {id} does not open: {error}"));
        }
    }

    /// Ends a node that nobody expects to have stopped by itself. Says whether it ran, and whether something is lost.
    fn crash(&mut self, id: u64, with_power: bool) -> Option<bool> {
        self.look_at(id, with_power);
        self.cluster.crash(id, with_power).map(|lost| lost > 0)
    }

    /// Whether a node has panicked, or stopped by itself although nothing was done to it.
    fn look_at(&self, id: u64, may_have_stopped: bool) {
        let Some(host) = self.cluster.host(id) else { return };
        if host.life.has_panicked() {
            self.oracle.accuses(format!("node {id} panicked"));
        }
        if let Some(reason) = host.stopped().filter(|_| !may_have_stopped) {
            self.oracle.accuses(format!("node {id} stopped by itself: {reason}"));
        }
    }

    /// A node has no disk that anybody may trust: a new one, under an id of its own, takes its place.
    fn replace_dead(&mut self, id: u64) {
        self.cluster.bury(id);
        let new = self.cluster.grow();
        self.note(format_args!("node {new} is to replace node {id}"));
        self.start_soon(new);
        for (shard, keepers) in self.operator.keepers() {
            if keepers.contains(&id) {
                self.operator.replace(shard, id, new, None);
            }
        }
    }

    /// Starts a new node.
    fn start_soon(&self, id: u64) {
        let (cluster, oracle) = (self.cluster.clone(), self.oracle.clone());
        simulated::spawn(async move {
            if let Err(error) = cluster.start(id).await {
                oracle.accuses(format!("node {id} does not open its new disk: {error}"));
            }
        });
    }
}
