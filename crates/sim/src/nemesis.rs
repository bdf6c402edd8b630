//! What goes wrong: crashes, lost power, cut networks, bad weather, each drawn from the seed.

use std::time::Duration;

use consensus::simulated;

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::oracle::Oracle;
use crate::weather::Season;

/// How often each kind of fault has bitten.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Processes killed.
    pub kills: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Power cuts that took something with them.
    pub bytes_lost: u64,
    /// Nodes cut off from the others.
    pub partitions: u64,
    /// Ways that carried nothing in one direction.
    pub one_way: u64,
    /// Lanes broken for no reason.
    pub breaks: u64,
    /// Messages lost by the weather, doubled, overtaken, or sent into a cut.
    pub messages: [u64; 4],
}

impl Faults {
    /// How many kinds have bitten.
    #[must_use]
    pub fn kinds(&self) -> usize {
        let nodes = [self.kills, self.power_cuts, self.bytes_lost, self.partitions];
        let ways = [self.one_way, self.breaks];
        let all = nodes.iter().chain(&ways).chain(&self.messages);
        all.filter(|bitten| **bitten > 0).count()
    }
}

/// Does harm, one thing after the other.
pub(crate) struct Nemesis {
    pub(crate) chance: Chance,
    pub(crate) cluster: Cluster,
    pub(crate) oracle: Oracle,
    pub(crate) faults: Faults,
}

impl Nemesis {
    /// Does harm until a time has passed, a quarter of which is quiet; then everything is well again.
    pub(crate) async fn rage(mut self, until: Duration) -> Faults {
        while simulated::elapsed() < until {
            let quiet = self.chance.time(100, 1_000);
            simulated::sleep(quiet).await;
            match self.chance.below(7) {
                0 => self.kill().await,
                1 | 2 => self.cut_power().await,
                3 => self.cut_off().await,
                4 => self.cut_one_way().await,
                5 => self.storm().await,
                _ => self.break_lanes(),
            }
        }
        self.heal().await;
        let bites = self.cluster.sky.bites();
        self.faults.messages = [bites.lost, bites.doubled, bites.overtaken, bites.cut];
        self.faults
    }

    async fn heal(&mut self) {
        self.cluster.sky.clear_up();
        for id in self.cluster.ids() {
            self.start(id).await;
        }
        self.cluster.plan.trace.note(format_args!("all is well"));
    }

    async fn start(&mut self, id: u64) {
        if let Err(why) = self.cluster.start(id).await {
            self.oracle.accuses(why);
        }
    }

    fn victim(&mut self) -> u64 {
        self.chance.pick(&self.cluster.ids()).unwrap_or(1)
    }

    async fn kill(&mut self) {
        let id = self.victim();
        if self.crash(id, false) {
            self.faults.kills = self.faults.kills.saturating_add(1);
        }
        let away = self.chance.time(50, 2_500);
        simulated::sleep(away).await;
        self.start(id).await;
    }

    /// The power of one machine goes, or of all at once, in the middle of something.
    async fn cut_power(&mut self) {
        let victims =
            if self.chance.happens(200) { self.cluster.ids() } else { vec![self.victim()] };
        for id in &victims {
            self.cluster.fail_soon(*id);
        }
        let soon = self.chance.time(0, 60);
        if let Some(host) = victims.first().and_then(|id| self.cluster.host(*id)) {
            host.stops_within(soon).await;
        }
        for id in &victims {
            if self.crash(*id, true) {
                self.faults.power_cuts = self.faults.power_cuts.saturating_add(1);
            }
        }
        let away = self.chance.time(50, 2_500);
        simulated::sleep(away).await;
        for id in victims {
            self.start(id).await;
        }
    }

    fn crash(&mut self, id: u64, with_power: bool) -> bool {
        let host = self.cluster.host(id);
        if host.as_ref().is_some_and(|host| host.life.has_panicked()) {
            self.oracle.accuses(format!("node {id} panicked"));
        }
        let stopped = host.and_then(|host| host.stopped());
        if let Some(reason) = stopped.filter(|_| !with_power) {
            self.oracle.accuses(format!("node {id} stopped by itself: {reason}"));
        }
        let lost = self.cluster.crash(id, with_power);
        self.faults.bytes_lost =
            self.faults.bytes_lost.saturating_add(u64::from(lost.is_some_and(|lost| lost > 0)));
        lost.is_some()
    }

    async fn cut_off(&mut self) {
        let id = self.victim();
        for other in self.cluster.ids().into_iter().filter(|other| *other != id) {
            self.cluster.sky.cut(id, other);
            self.cluster.sky.cut(other, id);
        }
        self.cluster.plan.trace.note(format_args!("node {id} is cut off"));
        self.cluster.plan.network.break_lanes(|from, to| from == id || to == id);
        self.faults.partitions = self.faults.partitions.saturating_add(1);
        let long = self.chance.time(500, 3_500);
        simulated::sleep(long).await;
        self.cluster.sky.clear_up();
    }

    /// Nothing arrives in one direction, and nobody is told.
    async fn cut_one_way(&mut self) {
        let from = self.victim();
        let to = from.checked_rem(self.cluster.plan.nodes).unwrap_or(0).saturating_add(1);
        self.cluster.plan.trace.note(format_args!("nothing goes from node {from} to node {to}"));
        self.cluster.sky.cut(from, to);
        self.faults.one_way = self.faults.one_way.saturating_add(1);
        let long = self.chance.time(500, 3_000);
        simulated::sleep(long).await;
        self.cluster.sky.clear_up();
    }

    async fn storm(&mut self) {
        let chance = &mut self.chance;
        let season = Season {
            lost: chance.below(120),
            doubled: chance.below(80),
            overtaking: chance.below(200),
            late_ms: chance.below(150),
        };
        self.cluster.plan.trace.note(format_args!("{season:?}"));
        self.cluster.sky.set(season);
        let long = self.chance.time(500, 3_000);
        simulated::sleep(long).await;
        self.cluster.sky.clear_up();
    }

    fn break_lanes(&mut self) {
        let id = self.victim();
        let broken = self.cluster.plan.network.break_lanes(|from, to| from == id || to == id);
        self.cluster.plan.trace.note(format_args!("{broken} lanes of node {id} break"));
        self.faults.breaks = self.faults.breaks.saturating_add(u64::from(broken > 0));
    }
}
