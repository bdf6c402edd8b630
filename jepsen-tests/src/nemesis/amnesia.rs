//! Disks that forgot: a node comes back with nothing, or with what it had some time ago. It has promised things that it
//! no longer knows, so it must not take part, and stops by itself. Proof: it stopped, under a directory that was another.
//!
//! Whoever lost everything is replaced, as an operator would, by a new node under a new id; whoever came back with an old
//! disk gets its own again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::members::said;
use super::{Bite, Nemesis};
use crate::hosts::Role;
use crate::hosts::process::Process;
use crate::hosts::shell::{run, text};

/// How long a node that forgot has to notice: it asks its peers first.
const NOTICE_MAX: Duration = Duration::from_secs(20);

impl Nemesis<'_> {
    /// A node comes back with an empty disk; it is dead, and another gets what it kept.
    pub(super) async fn lose_disk(&mut self) -> anyhow::Result<Bite> {
        let node = self.any_node();
        let keeps = self.cluster.status().await?.kept_by(node);
        self.cluster.process(Role::Node(node), Process::kill)??;
        let (aside, mut bite) = self.comes_back(node, None).await?;
        if !bite.bit {
            return Ok(bite);
        }
        for disk in [&aside, &self.cluster.data(node)] {
            std::fs::remove_dir_all(disk).context("throwing a disk away")?;
        }
        let (heir, address, pid) = self.newcomer()?;
        let (dead, new) = (node.to_string(), heir.to_string());
        let told = self.until_done(&["replace-node", &dead, &new, &address, "--yes"]).await;
        if told.is_ok() {
            self.cluster.forget(node, Some(heir))?;
        }
        let now = self.cluster.status().await?;
        let (kept, left) = (now.kept_by(heir), now.kept_by(node));
        bite.bit = told.is_ok() && kept == keeps && left == 0;
        bite.evidence.push(format!("replaced by n{heir}, process {pid}: {}", said(told)));
        bite.evidence.push(format!(
            "n{node} kept {keeps} replicas before, and {left} now; n{heir} keeps {kept}"
        ));
        Ok(bite)
    }

    /// A node comes back with what it had some time ago.
    pub(super) async fn stale_disk(&mut self, stays: Duration) -> anyhow::Result<Bite> {
        let node = self.any_node();
        let (role, data) = (Role::Node(node), self.cluster.data(node));
        self.cluster.process(role, Process::kill)??;
        let old = data.with_extension("old");
        run(&["cp", "-a", &text(&data), &text(&old)])?;
        self.cluster.process(role, Process::start)??;
        tokio::time::sleep(stays).await;
        // Until it has something new to forget: a node that has just begun may take a while to catch up.
        let began = Instant::now();
        while bytes(&data) <= bytes(&old) && began.elapsed() < NOTICE_MAX {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.cluster.process(role, Process::kill)??;
        let (aside, mut bite) = self.comes_back(node, Some(&old)).await?;
        if bite.bit {
            std::fs::remove_dir_all(&data).context("taking the other disk away")?;
            std::fs::rename(&aside, &data).context("giving the disk back")?;
            let pid = self.cluster.process(role, Process::start)??;
            bite.evidence.push(format!("with its own disk, it is process {pid}"));
        }
        Ok(bite)
    }

    /// A node comes back with another disk, and is to stop. Says where its own one is.
    async fn comes_back(&self, node: u64, with: Option<&Path>) -> anyhow::Result<(PathBuf, Bite)> {
        let (role, data) = (Role::Node(node), self.cluster.data(node));
        let aside = data.with_extension("aside");
        std::fs::rename(&data, &aside).context("taking a disk away")?;
        if let Some(with) = with {
            std::fs::rename(with, &data).context("putting an old disk in")?;
        }
        self.cluster.process(role, Process::start)??;
        let stopped = self.until_stopped(role, NOTICE_MAX).await?;
        let lost = bytes(&aside).saturating_sub(bytes(&data));
        let evidence = vec![
            format!("n{node}: came back with {lost} bytes less"),
            match &stopped {
                Some(how) => format!("it stopped: {how}"),
                // What it has promised since, only this disk knows: it keeps it, and the checkers judge.
                None => "it did not stop, and takes part".to_owned(),
            },
        ];
        let targets = vec![role.to_string()];
        Ok((aside, Bite { targets, bit: stopped.is_some(), evidence }))
    }
}

/// Bytes below a directory that are not zero: logs are made larger than they are.
fn bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let of = |path: &Path| match path.is_dir() {
        true => bytes(path),
        false => {
            let read = std::fs::read(path).unwrap_or_default();
            u64::try_from(read.iter().filter(|byte| **byte != 0).count()).unwrap_or(u64::MAX)
        }
    };
    entries.flatten().map(|entry| of(&entry.path())).fold(0, u64::saturating_add)
}
