//! Disks whose power is cut, and disks that fail under a process that goes on. Proof of a cut: what was written just
//! before it is gone, for it was not synced. Proof of a failure: the node has stopped by itself, with the error in its
//! last words.

use std::time::Duration;

use super::{Ailment, Bite, Nemesis};
use crate::checkers::DIED;
use crate::hosts::Role;
use crate::hosts::disks::{Disks, NEARLY_FULL_BYTES};
use crate::hosts::process::Process;

/// What was cut off is without power for a part of the fault's time, so that it has to catch up under load.
const DARK_PART: u32 = 2;

/// How long a node may take to notice that it can write nothing: it writes all the time.
pub(super) const NOTICE_MAX: Duration = Duration::from_secs(30);

/// How a node ends whose disk fails.
const STOPPED: &str = "exit status: 70";

/// How a node begins its last words.
const LAST_WORDS: &str = "the node stops";

/// What the system says of a disk that fails: what cannot be written; or, when the file system has noticed before the node
/// did, that it takes nothing any more.
const FAILED: &[&str] = &["Input/output error", "Read-only file system"];

impl Nemesis<'_> {
    /// Something happens to disks.
    pub(super) async fn ail(&mut self, ailment: Ailment, stays: Duration) -> anyhow::Result<Bite> {
        match ailment {
            Ailment::PowerCut => {
                let node = self.any_node();
                self.cut_power(&[node], stays).await
            }
            Ailment::PowerCutAll => self.cut_power(&self.cluster.nodes(), stays).await,
            Ailment::FailSync => self.fail(Disks::fail_syncs, stays).await,
            Ailment::FailDisk => {
                self.fail(|disks, node| disks.cut_power(&[node]).map(drop), stays).await
            }
            Ailment::Full => {
                let shard = self.any_shard();
                let leader = self.cluster.leader(shard).await?;
                self.fill(&[leader], NEARLY_FULL_BYTES, stays).await
            }
            Ailment::FullAll => self.fill(&self.cluster.nodes(), NEARLY_FULL_BYTES, stays).await,
            Ailment::NoSpace => self.no_space(stays).await,
        }
    }

    /// The power of these nodes is cut, and their processes die of it.
    async fn cut_power(&self, nodes: &[u64], stays: Duration) -> anyhow::Result<Bite> {
        let disks = self.cluster.disks()?;
        let mut before = Vec::new();
        for node in nodes {
            before.push(self.cluster.process(Role::Node(*node), |process| process.pid())?);
        }
        let written = disks.cut_power(nodes)?;
        for node in nodes {
            self.cluster.process(Role::Node(*node), Process::kill)??;
            // Whoever noticed before it was killed had to stop.
            self.cluster.process(Role::Node(*node), Process::forgive)?;
        }
        tokio::time::sleep(stays.checked_div(DARK_PART).unwrap_or(stays)).await;
        let mut bite = Bite { bit: !nodes.is_empty(), ..Bite::default() };
        for (node, pid) in nodes.iter().zip(before) {
            let left = disks.come_back(*node)?;
            let now = self.cluster.process(Role::Node(*node), Process::start)??;
            let lost = written.saturating_sub(left);
            bite.targets.push(format!("n{node}"));
            bite.bit &= lost > 0 && pid.is_some_and(|pid| pid != now);
            let pid = pid.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
            bite.evidence.push(format!(
                "n{node}: {lost} bytes lost of {written} that were not synced; process {pid} is {now} now"
            ));
        }
        Ok(bite)
    }

    /// A disk fails under its node, which has to stop by itself and say so.
    async fn fail(
        &mut self,
        fail: impl FnOnce(&Disks, u64) -> anyhow::Result<()>,
        stays: Duration,
    ) -> anyhow::Result<Bite> {
        let node = self.any_node();
        let disks = self.cluster.disks()?;
        let said = self.cluster.process(Role::Node(node), |process| process.log_len())?;
        fail(disks, node)?;
        let stopped = self.stopped_by(node, (said, FAILED)).await?;
        let mut bite = match stopped {
            Some(bite) => bite,
            None => self.went_on(node)?,
        };
        tokio::time::sleep(stays.checked_div(DARK_PART).unwrap_or(stays)).await;
        disks.come_back(node)?;
        let pid = self.cluster.process(Role::Node(node), Process::start)??;
        bite.evidence.push(format!("when the disk works again, it is process {pid}"));
        Ok(bite)
    }

    /// A node that goes on without a disk is a finding; it is killed.
    fn went_on(&self, node: u64) -> anyhow::Result<Bite> {
        let role = Role::Node(node);
        let what = format!("{role} went on for {NOTICE_MAX:?} on a disk that takes nothing");
        self.recorder.phase(&format!("{DIED}{what}"))?;
        self.cluster.process(role, Process::kill)??;
        Ok(Bite { targets: vec![role.to_string()], bit: true, evidence: vec![what] })
    }

    /// Waits until a node has stopped by itself, because of an error that it names in what it has said since; nothing,
    /// when it goes on.
    pub(super) async fn stopped_by(
        &self,
        node: u64,
        (said, errors): (usize, &[&str]),
    ) -> anyhow::Result<Option<Bite>> {
        let role = Role::Node(node);
        let Some(how) = self.until_stopped(role, NOTICE_MAX).await? else { return Ok(None) };
        let said = self.cluster.process(role, |process| process.said_since(said))?;
        let is_named = |line: &&str| errors.iter().any(|error| line.contains(error));
        let reason = said.lines().rfind(|line| line.contains(LAST_WORDS) && is_named(line));
        let words = reason.unwrap_or("no reason").trim();
        let evidence = vec![format!("{role}: it stopped, {how}: {words}")];
        let bit = how == STOPPED && reason.is_some();
        Ok(Some(Bite { targets: vec![role.to_string()], bit, evidence }))
    }
}
