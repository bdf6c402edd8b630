//! Clocks that are wrong, on a minority of the machines.

use std::time::Duration;

use runtime::simulated;

use super::Nemesis;
use crate::faults::Fault;

/// An hour.
const JUMP_MS: i64 = 3_600_000;

/// How long a node that takes part may need until its clock is settled: some beats.
const SETTLED: Duration = Duration::from_secs(1);

/// How far a clock may drift, in millionths: a hundred times what a bad crystal does.
const DRIFT_PPM: u64 = 20_000;

/// A clock that is so far off by its drift alone has proved it.
const DRIFTED_MS: u64 = 20;

impl Nemesis {
    /// The clocks of a minority jump by an hour, and back some time later.
    pub(super) async fn jump(&mut self) {
        let ids = self.cluster.ids();
        let running: Vec<u64> =
            ids.iter().copied().filter(|id| self.cluster.host(*id).is_some()).collect();
        let most = running.len().saturating_sub(1) / 2;
        let most = u64::try_from(most).unwrap_or(0);
        if most == 0 {
            return;
        }
        // A clock that settles while many are wrong may hear those first: so several jump only when all are settled.
        let most = if self.is_well() { most } else { 1 };
        simulated::sleep(SETTLED).await;
        let count = self.chance.between(1, most);
        let mut wrong: Vec<u64> = Vec::new();
        for _ in 0..count {
            let right: Vec<u64> =
                running.iter().copied().filter(|id| !wrong.contains(id)).collect();
            wrong.extend(self.chance.pick(&right));
        }
        let by_ms = if self.chance.happens(500) { JUMP_MS } else { JUMP_MS.wrapping_neg() };
        self.note(format_args!("the clocks of {wrong:?} jump by {by_ms} ms"));
        for id in &wrong {
            self.cluster.with_machine(*id, |machine| machine.clocks.jump(by_ms));
        }
        let long = self.chance.time(500, 4_000);
        simulated::sleep(long).await;
        let is_noticed = |id: &u64| {
            self.cluster.host(*id).is_some_and(|host| host.node.clock().alarm().is_some())
        };
        let noticed = wrong.iter().any(is_noticed);
        for id in &wrong {
            self.cluster.with_machine(*id, |machine| machine.clocks.jump(0));
        }
        if noticed {
            self.bites.bit(Fault::Jump);
        }
    }

    /// One clock runs fast or slow from now on. Whose.
    pub(super) fn drift(&mut self) -> Option<u64> {
        let id = self.victim();
        let ppm = i64::try_from(self.chance.between(DRIFT_PPM / 4, DRIFT_PPM)).ok()?;
        let ppm = if self.chance.happens(500) { ppm } else { ppm.wrapping_neg() };
        self.note(format_args!("the clock of node {id} runs {ppm} millionths fast"));
        self.cluster.with_machine(id, |machine| machine.clocks.drift(ppm))?;
        Some(id)
    }

    pub(super) fn check_drift(&self, drifting: Option<u64>) {
        let elapsed_ms = u64::try_from(simulated::elapsed().as_millis()).unwrap_or(0);
        let least_ms = elapsed_ms.saturating_mul(DRIFT_PPM / 4) / 1_000_000;
        if drifting.is_some() && least_ms >= DRIFTED_MS {
            self.bites.bit(Fault::Drift);
        }
    }
}
