//! Wall clocks that are wrong. The kernel has one wall clock for all, so this needs a planted build, which reads from a
//! file how far its clock is off. Proof: the node itself raises the alarm, and says by how much.

use std::time::Duration;

use anyhow::Context;
use rand::RngExt as _;
use tokio::time::Instant;

use super::{Bite, Nemesis};
use crate::hosts::Role;

/// How far a clock is off, in milliseconds.
const OFF_MS: i64 = 3_600_000;

/// How far it must be seen to be off.
const SEEN_MS: u64 = 1_800_000;

impl Nemesis<'_> {
    /// One node's clock is an hour off; or to and fro between that and the right time.
    pub(super) async fn skew(
        &mut self,
        strobe: Option<Duration>,
        stays: Duration,
    ) -> anyhow::Result<Bite> {
        let node = self.any_node();
        let off = if self.rng.random() { OFF_MS } else { OFF_MS.saturating_neg() };
        let file = self.cluster.clock_file(Role::Node(node));
        let began = Instant::now();
        let mut off_ms = 0;
        let mut jumps = 0_u64;
        while began.elapsed() < stays {
            std::fs::write(&file, off.to_string())?;
            jumps = jumps.saturating_add(1);
            tokio::time::sleep(strobe.unwrap_or(stays)).await;
            if off_ms < SEEN_MS {
                off_ms = self.alarm(node).await?.max(off_ms);
            }
            std::fs::write(&file, "0")?;
            if let Some(pause) = strobe {
                tokio::time::sleep(pause).await;
            }
        }
        let evidence = format!("n{node} said that its clock is {off_ms} ms off; {jumps} jumps");
        let targets = vec![format!("n{node}")];
        Ok(Bite { targets, bit: off_ms >= SEEN_MS, evidence: vec![evidence] })
    }

    /// How far a node says that its clock is off.
    async fn alarm(&self, node: u64) -> anyhow::Result<u64> {
        let status = self.cluster.status().await?;
        let at = status.nodes.iter().find(|at| at.node == node && at.up).context("it is down")?;
        let alarm = at.clock_alarm.as_deref().unwrap_or_default();
        Ok(alarm.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or(0))
    }
}
