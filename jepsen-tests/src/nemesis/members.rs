//! Changes that an operator makes under load: a node joins and is removed, leaders are handed over. Proof: what the
//! cluster says of itself before and after.

use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::{Bite, Nemesis};
use crate::hosts::Role;

/// Nodes that may join in one run, each with a number of its own which is never used again: at the least, and at the most.
const SPARE_MIN: u64 = 4;
const SPARE_MAX: u64 = 60;

/// Nobody joins more often than once in so many seconds.
const JOIN_EVERY_S: u64 = 6;

/// Nodes that may join in a run that lasts so long.
pub(crate) fn spare(duration: Duration) -> u64 {
    (duration.as_secs() / JOIN_EVERY_S).clamp(SPARE_MIN, SPARE_MAX)
}

impl Nemesis<'_> {
    /// Starts a node that has never been, to join. Gives its id, where it listens, and its process's id.
    pub(super) fn newcomer(&mut self) -> anyhow::Result<(u64, String, u32)> {
        self.joined = self.joined.saturating_add(1);
        let id = self.cluster.plan().nodes.saturating_add(self.joined);
        let address = self.cluster.address(Role::Node(id));
        let address = address.context("no node is left that could join")?;
        Ok((id, address, self.cluster.join(id)?))
    }

    /// A new node gets its share of the replicas, and is removed again.
    pub(super) async fn change_members(&mut self) -> anyhow::Result<Bite> {
        let (id, address, pid) = self.newcomer()?;
        let number = id.to_string();
        let joined = self.until_done(&["add-node", &number, &address, "--yes"]).await;
        let there = self.cluster.status().await?;
        let left = self.until_done(&["remove-node", &number, "--yes"]).await;
        let gone = self.cluster.status().await?;
        // It is stopped only when it keeps nothing: otherwise shards would be one short.
        if left.is_ok() {
            self.cluster.forget(id, None)?;
        }
        let (kept, keeps) = (there.kept_by(id), gone.kept_by(id));
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
    pub(super) async fn until_done(&self, words: &[&str]) -> anyhow::Result<u64> {
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

/// How often a command was given, or why it was never carried out.
pub(super) fn said(what: anyhow::Result<u64>) -> String {
    match what {
        Ok(times) => format!("done at attempt {times}"),
        Err(why) => format!("{why:#}"),
    }
}
