//! Disks that are slow, and disks that rot.
//!
//! A slow disk is a limit on the writes of one process, set in the kernel's block controller. Proof: the kernel counted
//! writes under the limit. Rot is a few bits of the log that change while the node is down. Proof: the file differs; and
//! then the node must either stop and say so, or have no harm from it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::{Bite, Nemesis};
use crate::hosts::Role;
use crate::hosts::process::Process;
use crate::hosts::shell::{run, works};

/// Writes a second that a slow disk carries out.
const WRITES_A_SECOND: u64 = 25;

/// Where the block controller usually is.
const CONTROLLER: &str = "/sys/fs/cgroup/blkio";

/// How long a node with a rotten log has to notice.
const NOTICE_MAX: Duration = Duration::from_secs(10);

impl Nemesis<'_> {
    /// A leader's disk carries out only so many writes a second.
    pub(super) async fn slow_disk(&mut self, stays: Duration) -> anyhow::Result<Bite> {
        let shard = self.any_shard();
        let leader = self.cluster.leader(shard).await?;
        let pid = self.cluster.process(Role::Node(leader), |process| process.pid())?;
        let pid = pid.context("the leader does not run")?.to_string();
        let disk = std::fs::metadata(self.cluster.data(leader))?.dev();
        let disk = format!("{}:{}", disk / 256 % 4_096, disk % 256);
        let controller = Controller::find(&self.cluster.plan().dir)?;
        let group = controller.at.join(format!("jepsen-{}", std::process::id()));
        std::fs::create_dir(&group).context("making a control group")?;
        let slow = async {
            std::fs::write(
                group.join("blkio.throttle.write_iops_device"),
                format!("{disk} {WRITES_A_SECOND}"),
            )?;
            std::fs::write(group.join("cgroup.procs"), &pid)?;
            tokio::time::sleep(stays).await;
            Ok(std::fs::read_to_string(group.join("blkio.throttle.io_serviced"))?)
        };
        let counted: anyhow::Result<String> = slow.await;
        // Whatever was seen, the process goes back, and the group goes away.
        let back = std::fs::write(controller.at.join("cgroup.procs"), &pid);
        let gone = std::fs::remove_dir(&group);
        back.context("leaving the control group")?;
        gone.context("removing the control group")?;
        let writes = writes(&counted?);
        let evidence = format!(
            "n{leader}: {writes} writes to {disk} carried out, at most {WRITES_A_SECOND} a second"
        );
        Ok(Bite { targets: vec![format!("n{leader}")], bit: writes > 0, evidence: vec![evidence] })
    }

    /// Some bits of a node's log change while it is down. Whoever notices stops, gets back what was there, and goes on.
    pub(super) async fn flip_bits(&mut self, stays: Duration) -> anyhow::Result<Bite> {
        let node = self.any_node();
        let role = Role::Node(node);
        self.cluster.process(role, Process::kill)??;
        let (file, at, before) = flip(&self.cluster.data(node).join("log"))?;
        self.cluster.process(role, Process::start)??;
        let mut evidence = vec![format!("n{node}: byte {at} of {} changed", file.display())];
        if let Some(how) = self.until_stopped(role, NOTICE_MAX.max(stays)).await? {
            evidence.push(format!("it stopped: {how}"));
            std::fs::write(&file, before)?;
            let pid = self.cluster.process(role, Process::start)??;
            evidence.push(format!("with the file as it was, it is process {pid}"));
        } else {
            evidence.push("it went on, and keeps what it has".to_owned());
        }
        Ok(Bite { targets: vec![role.to_string()], bit: true, evidence })
    }
}

/// Where the kernel's block controller is mounted; unmounted again when it was mounted here.
struct Controller {
    at: PathBuf,
    is_ours: bool,
}

impl Controller {
    fn find(dir: &Path) -> anyhow::Result<Self> {
        let usual = PathBuf::from(CONTROLLER);
        if usual.join("blkio.throttle.write_iops_device").exists() {
            return Ok(Self { at: usual, is_ours: false });
        }
        // Whoever enters a network namespace loses sight of it.
        let at = dir.join("blkio");
        std::fs::create_dir_all(&at)?;
        run(&["mount", "-t", "cgroup", "-o", "blkio", "none", &at.display().to_string()])
            .context("no block controller here")?;
        Ok(Self { at, is_ours: true })
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if self.is_ours {
            // It goes with the tester's own mounts at the latest.
            let _ = works(&["umount", &self.at.display().to_string()]);
            let _ = std::fs::remove_dir(&self.at);
        }
    }
}

/// Writes that the controller has counted.
fn writes(text: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.split_once(" Write "));
    let counts = lines.filter_map(|(_, count)| count.trim().parse::<u64>().ok());
    counts.fold(0, u64::saturating_add)
}

/// Changes a byte in the middle of what is written in the first of a log's files. Gives the file, where, and the bytes
/// that were there before.
fn flip(log: &Path) -> anyhow::Result<(PathBuf, usize, Vec<u8>)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(log)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "log"));
    files.sort();
    let file = files.into_iter().next().context("a log has a file")?;
    let before = std::fs::read(&file)?;
    let written = before.iter().rposition(|byte| *byte != 0).context("the log is empty")?;
    let at = written / 2;
    let mut after = before.clone();
    let byte = after.get_mut(at).context("within the file")?;
    *byte ^= 0x10;
    std::fs::write(&file, after)?;
    Ok((file, at, before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_in_the_middle_changes_and_can_be_put_back() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("identity"), b"x").unwrap();
        std::fs::write(dir.path().join("2.log"), [1, 2, 3]).unwrap();
        std::fs::write(dir.path().join("1.log"), [9, 8, 7, 6, 5, 0, 0, 0, 0, 0]).unwrap();
        let (file, at, before) = flip(dir.path()).unwrap();
        assert_eq!((at, std::fs::read(&file).unwrap()[2]), (2, 7 ^ 0x10));
        assert_eq!(before, [9, 8, 7, 6, 5, 0, 0, 0, 0, 0]);
        assert_eq!(writes("254:0 Read 4\n254:0 Write 32\n254:0 Sync 36\nTotal 36\n"), 32);
    }
}
