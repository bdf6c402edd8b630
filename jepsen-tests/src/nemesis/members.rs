//! Changes that an operator makes under load: a node joins and is removed, leaders are handed over. Proof: what the
//! cluster says of itself before and after.

use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::{Bite, Nemesis};
use crate::hosts::Role;
use crate::hosts::cluster::Status;
use crate::hosts::process::Process;

/// Nodes that may join in one run: each has a number of its own, which is never used again.
pub(crate) const SPARE: u64 = 4;

impl Nemesis<'_> {
    /// A new node gets its share of the replicas, and is removed again.
    pub(super) async fn change_members(&mut self) -> anyhow::Result<Bite> {
        anyhow::ensure!(self.joined < SPARE, "no node is left that could join");
        self.joined = self.joined.saturating_add(1);
        let first = self.cluster.nodes();
        let id = self.cluster.plan().nodes.saturating_add(self.joined);
        let (role, number) = (Role::Node(id), id.to_string());
        let address = self.cluster.address(role).context("a spare node has an address")?;
        self.cluster.write_topology(&[first.as_slice(), &[id]].concat())?;
        let pid = self.cluster.process(role, Process::start)??;
        let joined = self.until_done(&["add-node", &number, &address, "--yes"]).await;
        let there = self.cluster.status().await?;
        let left = self.until_done(&["remove-node", &number, "--yes"]).await;
        let gone = self.cluster.status().await?;
        // It is stopped only when it keeps nothing: otherwise shards would be one short.
        if left.is_ok() {
            self.cluster.process(role, Process::kill)??;
            self.cluster.write_topology(&first)?;
        }
        let said = |what: anyhow::Result<u64>| match what {
            Ok(times) => format!("done at attempt {times}"),
            Err(why) => format!("{why:#}"),
        };
        let (kept, keeps) = (keeps(&there, id), keeps(&gone, id));
        let evidence = vec![
            format!(
                "n{id}: process {pid}; it kept {kept} replicas, and {keeps} after it was removed"
            ),
            format!("joining: {}", said(joined)),
            format!("leaving: {}", said(left)),
        ];
        Ok(Bite { targets: vec![format!("n{id}")], bit: kept > 0 && keeps == 0, evidence })
    }

    /// A command that plans from what it finds may be given again until it succeeds. Says at which attempt it did.
    async fn until_done(&self, words: &[&str]) -> anyhow::Result<u64> {
        let mut last = None;
        for attempt in 1..=5 {
            match self.cluster.command(words).await {
                Ok(_) => return Ok(attempt),
                Err(why) => last = Some(why),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Err(last.context("no attempt was made")?)
    }

    /// Leaders go from node to node.
    pub(super) async fn hand_over(&mut self, stays: Duration) -> anyhow::Result<Bite> {
        let began = Instant::now();
        let mut bite = Bite::default();
        while began.elapsed() < stays {
            let shard = self.any_shard();
            let old = self.cluster.leader(shard).await?;
            let new = self.cluster.nodes().into_iter().find(|node| *node > old).unwrap_or(1);
            let (of, to) = (shard.to_string(), new.to_string());
            let told = self.cluster.command(&["transfer-leader", &of, &to, "--yes"]).await;
            let now = self.cluster.leader(shard).await.ok();
            bite.bit |= now == Some(new);
            bite.targets.push(format!("n{old}"));
            let told = told.err().map(|why| format!(": {why:#}")).unwrap_or_default();
            bite.evidence
                .push(format!("shard {shard}: from n{old} to n{new}, led by {now:?}{told}"));
        }
        Ok(bite)
    }
}

/// Replicas that a node keeps.
fn keeps(status: &Status, node: u64) -> usize {
    let of = |shard: &&crate::hosts::cluster::ShardStatus| {
        shard.replicas.iter().any(|replica| replica.node == node)
    };
    status.shards.iter().filter(of).count()
}
