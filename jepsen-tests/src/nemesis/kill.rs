//! Processes that are killed. Proof: the process id is another one afterwards.

use std::time::Duration;

use rand::RngExt as _;

use super::{Bite, Nemesis};
use crate::hosts::Role;
use crate::hosts::process::Process;

/// What was killed stays dead for a part of the fault's time, so that it has to catch up under load.
const DEAD_PART: u32 = 2;

impl Nemesis<'_> {
    pub(super) async fn kill_nodes(
        &mut self,
        many: usize,
        stays: Duration,
    ) -> anyhow::Result<Bite> {
        let mut nodes = self.cluster.nodes();
        while nodes.len() > many.max(1) {
            let place = self.rng.random_range(0..nodes.len());
            nodes.remove(place);
        }
        self.kill(nodes.into_iter().map(Role::Node).collect(), stays).await
    }

    pub(super) async fn kill_leader(&mut self, stays: Duration) -> anyhow::Result<Bite> {
        let shard = self.any_shard();
        let leader = self.cluster.leader(shard).await?;
        self.kill(vec![Role::Node(leader)], stays).await
    }

    pub(super) async fn kill_gateway(&mut self, stays: Duration) -> anyhow::Result<Bite> {
        let number = self.rng.random_range(1..=self.cluster.plan().gateways);
        self.kill(vec![Role::Gateway(number)], stays).await
    }

    pub(super) async fn kill(&mut self, roles: Vec<Role>, stays: Duration) -> anyhow::Result<Bite> {
        let mut before = Vec::new();
        for role in &roles {
            before.push((*role, self.cluster.process(*role, Process::kill)??));
        }
        tokio::time::sleep(stays.checked_div(DEAD_PART).unwrap_or(stays)).await;
        let mut bite = Bite { bit: !before.is_empty(), ..Bite::default() };
        for (role, pid) in before {
            let now = self.cluster.process(role, Process::start)??;
            bite.targets.push(role.to_string());
            bite.bit &= pid.is_some_and(|pid| pid != now);
            let pid = pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
            bite.evidence.push(format!("{role}: process {pid} is {now} now"));
        }
        Ok(bite)
    }
}
