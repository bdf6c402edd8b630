//! Disks that forgot: a node comes back with nothing, or with what it had some time ago. It has promised things that it
//! no longer knows, so it must not take part, and stops by itself; then it gets its disk back. Proof: it stopped, under a
//! directory that was another.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use super::{Bite, Nemesis};
use crate::hosts::Role;
use crate::hosts::process::Process;
use crate::hosts::shell::run;

/// How long a node that forgot has to notice: it asks its peers first.
const NOTICE_MAX: Duration = Duration::from_secs(20);

impl Nemesis<'_> {
    /// A node comes back with an empty disk.
    pub(super) async fn lose_disk(&mut self) -> anyhow::Result<Bite> {
        let node = self.any_node();
        self.cluster.process(Role::Node(node), Process::kill)??;
        self.comes_back(node, None).await
    }

    /// A node comes back with what it had some time ago.
    pub(super) async fn stale_disk(&mut self, stays: Duration) -> anyhow::Result<Bite> {
        let node = self.any_node();
        let (role, data) = (Role::Node(node), self.cluster.data(node));
        self.cluster.process(role, Process::kill)??;
        let old = data.with_extension("old");
        run(&["cp", "-a", &data.display().to_string(), &old.display().to_string()])?;
        self.cluster.process(role, Process::start)??;
        tokio::time::sleep(stays).await;
        // Until it has something new to forget: a node that has just begun may take a while to catch up.
        let began = Instant::now();
        while bytes(&data) <= bytes(&old) && began.elapsed() < NOTICE_MAX {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.cluster.process(role, Process::kill)??;
        self.comes_back(node, Some(&old)).await
    }

    async fn comes_back(&self, node: u64, with: Option<&Path>) -> anyhow::Result<Bite> {
        let (role, data) = (Role::Node(node), self.cluster.data(node));
        let aside = data.with_extension("aside");
        std::fs::rename(&data, &aside).context("taking a disk away")?;
        if let Some(with) = with {
            std::fs::rename(with, &data).context("putting an old disk in")?;
        }
        self.cluster.process(role, Process::start)??;
        let began = Instant::now();
        let mut noticed = Vec::new();
        while noticed.is_empty() && began.elapsed() < NOTICE_MAX {
            tokio::time::sleep(Duration::from_millis(100)).await;
            noticed = self.cluster.process(role, Process::forgive)?;
        }
        let lost = bytes(&aside).saturating_sub(bytes(&data));
        let mut evidence = vec![format!("n{node}: came back with {lost} bytes less")];
        let bit = !noticed.is_empty();
        if bit {
            evidence.push(format!("it stopped: {}", noticed.join("; ")));
            std::fs::remove_dir_all(&data).context("taking the other disk away")?;
            std::fs::rename(&aside, &data).context("giving the disk back")?;
            let pid = self.cluster.process(role, Process::start)??;
            evidence.push(format!("with its own disk, it is process {pid}"));
        } else {
            // What it has promised since, only this disk knows: it keeps it, and the checkers judge.
            evidence.push("it did not stop, and takes part".to_owned());
        }
        Ok(Bite { targets: vec![role.to_string()], bit, evidence })
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
