//! Processes that die or stand still, and power that goes.

use runtime::simulated;

use super::Nemesis;
use crate::faults::Fault;
use crate::machine::Machine;

impl Nemesis {
    pub(super) async fn kill(&mut self) {
        let id = self.victim();
        if self.crash(id, false).is_some() {
            self.bites.bit(Fault::Kill);
        }
        self.come_back(&[id]).await;
    }

    /// The power of one machine goes, or of all at once, in the middle of something.
    pub(super) async fn cut_power(&mut self, of_all: bool) {
        let victims = if of_all { self.cluster.ids() } else { vec![self.victim()] };
        for id in &victims {
            self.cluster.with_machine(*id, Machine::fail_soon);
        }
        let soon = self.chance.time(10, 160);
        if let Some(host) = victims.first().and_then(|id| self.cluster.host(*id)) {
            host.stops_within(soon).await;
        }
        // It proves something when it came in the middle of an operation, or when something is lost.
        let mut has_bitten = false;
        for id in &victims {
            let was_caught = self.cluster.host(*id).is_some_and(|host| host.stopped().is_some());
            has_bitten |= was_caught | (self.crash(*id, true) == Some(true));
        }
        if has_bitten {
            self.bites.bit(if of_all { Fault::Blackout } else { Fault::Power });
        }
        self.come_back(&victims).await;
    }

    pub(super) async fn come_back(&mut self, ids: &[u64]) {
        let away = self.chance.time(50, 1_500);
        simulated::sleep(away).await;
        for id in ids {
            self.start(*id).await;
        }
    }

    /// A process stands still: a leader, one time in two, and sometimes until others have long elected another.
    pub(super) async fn pause(&mut self) {
        let shards: Vec<u16> = self.cluster.plan.shards.groups().collect();
        let shard = self.chance.pick(&shards).unwrap_or(0);
        let leader = self.cluster.leader(shard).map(|(host, _)| host.node.id());
        let id = leader.filter(|_| self.chance.happens(500)).unwrap_or_else(|| self.victim());
        let Some(host) = self.cluster.host(id) else { return };
        let long = self.chance.time(300, 3_500);
        self.note(format_args!("node {id} stands still for {} ms", long.as_millis()));
        host.life.pause();
        simulated::sleep(long).await;
        host.life.resume();
        self.note(format_args!("node {id} goes on"));
        self.bites.bit(Fault::Pause);
    }
}
