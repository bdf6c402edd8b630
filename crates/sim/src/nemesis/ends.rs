//! The end of a leader's log, lost with its process, and the node back at once.
//!
//! A leader counts its own sync towards a majority, and answers clients on the strength of it. What it says beside its next
//! message is all that the others know of that; so they are given the time that a message takes, and not more: no beat, no
//! heartbeat, no election.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use consensus::{Replica, StopReason};
use runtime::simulated;

use super::Nemesis;
use super::disks::{Fate, LOG};
use crate::faults::Fault;

/// Between two looks at a leader.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Looks without a new commit, after which everybody has heard of the last one: a message takes one and a fifth at the most
/// when the weather is good.
const QUIET_LOOKS: u32 = 3;

/// How long such a moment may take to come.
const QUIET_MAX: Duration = Duration::from_secs(2);

/// What a leader has committed of one group, and what of it the others know that it has on its own disk.
#[derive(Clone, Copy, Debug, Default)]
struct Led {
    term: u64,
    committed: u64,
    flushed: u64,
    told: u64,
}

impl Led {
    /// A look later: with each commit the others hear what was on the leader's disk before.
    fn next(self, status: Led) -> Self {
        if self.term != status.term {
            return Led { told: 0, ..status };
        }
        let told = if status.committed > self.committed { self.flushed } else { self.told };
        Self { told, ..status }
    }
}

impl Nemesis {
    /// A leader dies in the moment after a commit, and has forgotten what it had synced for it. It is back at once, and is
    /// found out by those who are to vote next.
    pub(super) async fn lose_end(&mut self) {
        let Some(_peace) = self.peace_comes().await else { return };
        let shards: Vec<u16> = self.cluster.plan.shards.groups().collect();
        let shard = self.chance.pick(&shards).unwrap_or(0);
        let Some(id) = self.cluster.leader(shard).map(|(host, _)| host.node.id()) else { return };
        let Some(copy) = self.cluster.with_machine(id, |machine| machine.copy()) else { return };
        let before = match copy.last_entries(LOG) {
            Ok(before) => before,
            Err(error) => {
                let what = format!("a copy of the log of node {id} does not open: {error}");
                return self.oracle.accuses(what);
            }
        };
        let Some(told) = self.told_and_quiet(id, &before).await else { return };
        self.crash(id, false);
        self.note(format_args!("the log of node {id} ends with {before:?}; told was {told:?}"));
        self.cluster.with_machine(id, |machine| machine.restore(&copy));
        let away = self.chance.time(0, 300);
        simulated::sleep(away).await;
        match self.start_harmed(id, false).await {
            Fate::Stopped(reason @ StopReason::Forgot { .. }) => {
                self.note(format_args!("node {id} is found out: {reason}"));
            }
            fate @ (Fate::Refused(_) | Fate::Stopped(_) | Fate::TakesPart | Fate::Hangs) => {
                self.wonder(id, &fate);
            }
        }
        self.bites.bit(Fault::LostEnd);
        self.replace_dead(id);
    }

    /// Waits for a moment in which the others know of more on a node's disk than was there before, and nothing new has been
    /// committed for as long as a message takes. What they know, by group.
    async fn told_and_quiet(
        &self,
        id: u64,
        before: &BTreeMap<u32, u64>,
    ) -> Option<BTreeMap<u16, u64>> {
        let until = simulated::elapsed().saturating_add(QUIET_MAX);
        let (mut led, mut quiet) = (self.led_by(id)?, 0_u32);
        while simulated::elapsed() < until {
            simulated::sleep(LOOK_EVERY).await;
            let now = self.led_by(id)?;
            let is_new = |(shard, now): (&u16, &Led)| {
                led.get(shard).is_none_or(|led| led.committed < now.committed)
            };
            quiet = if now.iter().any(is_new) { 0 } else { quiet.saturating_add(1) };
            led = now
                .into_iter()
                .map(|(shard, now)| (shard, led.get(&shard).copied().unwrap_or_default().next(now)))
                .collect();
            let is_more = |(shard, led): (&u16, &Led)| {
                let was = before.get(&u32::from(*shard)).copied();
                (was.unwrap_or(0) < led.told).then_some((*shard, led.told))
            };
            let told: BTreeMap<u16, u64> = led.iter().filter_map(is_more).collect();
            if quiet >= QUIET_LOOKS && !told.is_empty() {
                return Some(told);
            }
        }
        None
    }

    /// The groups that a node leads.
    fn led_by(&self, id: u64) -> Option<BTreeMap<u16, Led>> {
        let host = self.cluster.host(id)?;
        let led = |replica: &Arc<Replica>| {
            let status = replica.status();
            let own = status.matched.iter().find(|(node, _)| *node == id)?.1;
            let (committed, flushed) = (status.cluster_committed.unwrap_or(0), own.unwrap_or(0));
            let led = Led { term: status.term, committed, flushed, told: 0 };
            status.is_leader.then_some((replica.shard(), led))
        };
        Some(host.node.replicas().iter().filter_map(led).collect())
    }
}
