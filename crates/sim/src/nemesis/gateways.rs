//! Gateways that die or do not reach nodes.

use runtime::simulated;

use super::Nemesis;
use crate::faults::Fault;

impl Nemesis {
    /// A gateway's process is killed. Its callers hear nothing, and what it has sent may still arrive.
    pub(super) async fn kill_gateway(&mut self) {
        let Some(id) = self.chance.pick(&self.gateways.ids()) else { return };
        self.look_at_gateway(id);
        if self.gateways.kill(id).is_some_and(|waited| waited > 0) {
            self.bites.bit(Fault::GatewayKill);
        }
        let away = self.chance.time(20, 1_000);
        simulated::sleep(away).await;
        self.gateways.start(id).await;
    }

    /// A gateway's process stands still. What its clients send it meanwhile waits in it.
    pub(super) async fn pause_gateway(&mut self) {
        let Some(id) = self.chance.pick(&self.gateways.ids()) else { return };
        let long = self.chance.time(100, 3_000);
        if !self.gateways.pause(id) {
            return;
        }
        simulated::sleep(long).await;
        if self.gateways.resume(id) > 0 {
            self.bites.bit(Fault::GatewayPause);
        }
    }

    /// A gateway is cut off from some nodes, or from all of them; one time in three, one way only.
    pub(super) async fn cut_gateway(&mut self) {
        let Some(id) = self.chance.pick(&self.gateways.ids()) else { return };
        let is_from_all = self.chance.happens(400);
        let (there, back) = match self.chance.below(6) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        for node in self.cluster.ids() {
            if is_from_all || self.chance.happens(500) {
                self.note(format_args!("gateway {id} is cut off from node {node}"));
                if there {
                    self.cluster.sky.cut(id, node);
                }
                if back {
                    self.cluster.sky.cut(node, id);
                }
            }
        }
        self.until_over(Fault::GatewayCut, false).await;
    }

    /// All gateways run.
    pub(super) async fn mend_gateways(&mut self) {
        for id in self.gateways.ids() {
            self.look_at_gateway(id);
            self.gateways.start(id).await;
        }
    }

    fn look_at_gateway(&self, id: u64) {
        if self.gateways.has_panicked(id) {
            self.oracle.accuses(format!("gateway {id} panicked"));
        }
    }
}
