//! Disks that are full, until there is room again. Proof of one that is nearly full: its node has seen it, and leads no
//! more; of all: callers were told so. Proof of one that has no byte left: the node has stopped by itself, with the error
//! in its last words.

use std::time::Duration;

use tokio::time::Instant;

use super::power::NOTICE_MAX;
use super::{Bite, LOOK, Nemesis};
use crate::hosts::Role;
use crate::hosts::disks::FREE_BYTES_MIN;
use crate::hosts::process::Process;

/// What callers are told.
const REFUSED: &str = "disk_full";

/// What the system says.
const FULL: &[&str] = &["No space left"];

impl Nemesis<'_> {
    /// So many bytes are left on these nodes' disks, which is too few, until it has bitten and the time is over.
    pub(super) async fn fill(
        &self,
        nodes: &[u64],
        leave: u64,
        stays: Duration,
    ) -> anyhow::Result<Bite> {
        let disks = self.cluster.disks()?;
        let (began, since) = (Instant::now(), self.recorder.now());
        let before = self.cluster.status().await?;
        let mut bite = Bite::default();
        for node in nodes {
            let left = disks.fill(*node, leave)?;
            let leads = before.led_by(*node);
            bite.targets.push(format!("n{node}"));
            bite.evidence.push(format!("n{node}: led {leads} shards, {left} bytes are left"));
        }
        while !bite.bit && began.elapsed() < NOTICE_MAX {
            tokio::time::sleep(LOOK).await;
            // Whoever is not told how the cluster does looks again.
            bite.bit = self.has_bitten(nodes, since).await.unwrap_or(false);
        }
        tokio::time::sleep(stays.saturating_sub(began.elapsed())).await;
        let now = self.cluster.status().await;
        nodes.iter().try_for_each(|node| disks.make_room(*node))?;
        for node in nodes {
            let leads = now.as_ref().map_or(0, |now| now.led_by(*node));
            bite.evidence.push(format!("n{node}: leads {leads} when there is room again"));
        }
        let told = self.recorder.told(REFUSED, since);
        bite.evidence.push(format!("{told} calls were told {REFUSED}"));
        Ok(bite)
    }

    /// A full disk is left by its leaders; when all are full, callers are told.
    async fn has_bitten(&self, nodes: &[u64], since: u64) -> anyhow::Result<bool> {
        if nodes.len() > 1 {
            return Ok(self.recorder.told(REFUSED, since) > 0);
        }
        let now = self.cluster.status().await?;
        let seen = |node: &u64| {
            let at = now.nodes.iter().find(|at| at.node == *node);
            at.and_then(|at| at.free_bytes).is_some_and(|free| free < FREE_BYTES_MIN)
        };
        Ok(nodes.iter().all(|node| seen(node) && now.led_by(*node) == 0))
    }

    /// A node's disk has no byte left: it has to stop by itself and say so, and goes on when there is room.
    pub(super) async fn no_space(&mut self, stays: Duration) -> anyhow::Result<Bite> {
        let node = self.any_node();
        let disks = self.cluster.disks()?;
        let began = Instant::now();
        let said = self.cluster.process(Role::Node(node), |process| process.log_len())?;
        let left = disks.fill(node, 0)?;
        let stopped = self.stopped_by(node, (said, FULL)).await?;
        tokio::time::sleep(stays.saturating_sub(began.elapsed())).await;
        disks.make_room(node)?;
        let pid = self.cluster.process(Role::Node(node), Process::start)??;
        // One that has needed no new byte so long has every right to go on.
        let mut bite = stopped.unwrap_or_default();
        bite.evidence.insert(0, format!("n{node}: {left} bytes are left"));
        bite.evidence.push(format!("with room, it is process {pid}"));
        Ok(bite)
    }
}
