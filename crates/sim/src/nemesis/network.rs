//! Harm that comes over the network, and disks that are slow.

use runtime::simulated;

use super::Nemesis;
use crate::faults::Fault;
use crate::weather::Season;

impl Nemesis {
    pub(super) async fn harm_way(&mut self, fault: Fault) {
        match fault {
            Fault::CutOff => self.cut_off().await,
            Fault::Split => self.split().await,
            Fault::OneWay => self.cut_one_way().await,
            Fault::Storm => self.storm().await,
            Fault::Break => self.break_lanes(),
            Fault::SlowDisk => self.slow_down().await,
            Fault::GatewayCut => self.cut_gateway().await,
            // These are the machines'.
            Fault::Kill
            | Fault::Power
            | Fault::Blackout
            | Fault::Pause
            | Fault::FailedWrite
            | Fault::FailedSync
            | Fault::FailedCheckpoint
            | Fault::FullDisk
            | Fault::Flip
            | Fault::RottenCheckpoint
            | Fault::StaleDisk
            | Fault::LostDisk
            | Fault::LostEnd
            | Fault::Jump
            | Fault::Drift
            | Fault::Join
            | Fault::Move
            | Fault::Leave
            | Fault::Lead
            | Fault::GatewayKill
            | Fault::GatewayPause => {}
        }
    }

    async fn cut_off(&mut self) {
        let id = self.victim();
        self.note(format_args!("node {id} is cut off"));
        self.cut(Fault::CutOff, |one, other| one == id || other == id).await;
    }

    /// Two halves that hear nothing of each other; or a ring, in which each hears only the one before and the one after.
    async fn split(&mut self) {
        let ids = self.cluster.ids();
        if self.chance.happens(600) {
            let half: Vec<u64> = ids.iter().copied().filter(|_| self.chance.happens(500)).collect();
            self.note(format_args!("{half:?} hear nothing of the others"));
            self.cut(Fault::Split, |one, other| half.contains(&one) != half.contains(&other)).await;
        } else {
            let place = |id: u64| ids.iter().position(|other| *other == id).unwrap_or(0);
            let last = ids.len().saturating_sub(1);
            let apart = move |one: u64, other: u64| {
                let far = place(one).abs_diff(place(other));
                far > 1 && far < last
            };
            self.note(format_args!("the nodes form a ring"));
            self.cut(Fault::Split, apart).await;
        }
    }

    async fn cut_one_way(&mut self) {
        let (from, to) = (self.victim(), self.victim());
        self.note(format_args!("nothing goes from node {from} to node {to}"));
        self.cluster.sky.cut(from, to);
        self.until_over(Fault::OneWay, false).await;
    }

    /// Cuts all ways for which this holds, both directions, for a while.
    async fn cut(&mut self, fault: Fault, is_cut: impl Fn(u64, u64) -> bool) {
        let ids = self.cluster.ids();
        for one in &ids {
            for other in ids.iter().filter(|other| *other != one && is_cut(*one, **other)) {
                self.cluster.sky.cut(*one, *other);
                self.cluster.sky.cut(*other, *one);
            }
        }
        let broken = self.cluster.plan.network.break_lanes(&is_cut);
        self.until_over(fault, broken > 0).await;
    }

    /// Waits, and lets everything go again. It has bitten when lanes broke, or something was to go where nothing went.
    pub(super) async fn until_over(&mut self, fault: Fault, has_broken: bool) {
        let before = self.cluster.sky.bites().cut;
        let long = self.chance.time(400, 2_800);
        simulated::sleep(long).await;
        self.cluster.sky.clear_up();
        if has_broken || self.cluster.sky.bites().cut > before {
            self.bites.bit(fault);
        }
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
        let before = self.cluster.sky.bites();
        self.cluster.sky.set(season);
        let long = self.chance.time(400, 2_500);
        simulated::sleep(long).await;
        self.cluster.sky.clear_up();
        let after = self.cluster.sky.bites();
        if after.lost > before.lost
            || after.doubled > before.doubled
            || after.overtaken > before.overtaken
        {
            self.bites.bit(Fault::Storm);
        }
    }

    fn break_lanes(&mut self) {
        let id = self.victim();
        let broken = self.cluster.plan.network.break_lanes(|from, to| from == id || to == id);
        let broken = broken.saturating_add(self.cluster.wires.break_all(|_, node| node == id));
        self.note(format_args!("{broken} lanes of node {id} break"));
        if broken > 0 {
            self.bites.bit(Fault::Break);
        }
    }

    async fn slow_down(&mut self) {
        let (id, most_ms) = (self.victim(), self.chance.between(50, 600));
        self.note(format_args!("the disk of node {id} takes up to {most_ms} ms"));
        let before = self.cluster.with_machine(id, |machine| {
            machine.slow_down(most_ms);
            machine.log_operations()
        });
        let long = self.chance.time(400, 2_500);
        simulated::sleep(long).await;
        let after = self.cluster.with_machine(id, |machine| {
            machine.slow_down(0);
            machine.log_operations()
        });
        if after > before {
            self.bites.bit(Fault::SlowDisk);
        }
    }
}
