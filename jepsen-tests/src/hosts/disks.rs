//! Disks that can lose their power, fail, and be full: what each node keeps lies in a file system of its own, in a file.
//!
//! When the power of one is cut, the file system itself forgets what was not synced, and takes nothing any more
//! (`EXT4_IOC_SHUTDOWN`). A node that goes on meanwhile has a disk that fails. When the power is back, what is mounted is
//! a copy of what had reached the file: the kernel may still know the file system that it was.
//!
//! **Invariant:** nothing of it outlives the tester, however that ends. A file has no name any more as soon as it is
//! mounted, its loop device goes with the mount, and the tester has a mount namespace of its own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::shell::{run, text, works};

/// How large each is: a run fills a small part of it, and what is never written takes no space.
const DISK_BYTES: u64 = 384 << 20;

/// With less than so many bytes free, a node proposes nothing more.
pub(crate) const FREE_BYTES_MIN: u64 = 8 << 20;

/// What a full disk has left for what is under way: less than nodes want, and more than they need at once.
pub(crate) const NEARLY_FULL_BYTES: u64 = 4 << 20;

/// A part of what is free the file system needs itself.
const OWN_BYTES: u64 = 1 << 20;

/// What is written and not synced just before the power is cut.
const WITNESS_BYTES: u64 = 64 << 10;

/// Writes witnesses, then has one file system after the other forget what was not synced, and refuse everything from now
/// on. All in one process, so that hardly any time is between them.
const CUT: &str = "import fcntl,os,struct,sys\n\
                   fds=[os.open(at,os.O_RDONLY) for at in sys.argv[2:]]\n\
                   for at in sys.argv[2:]:\n \
                   with open(at+'/witness','wb') as file: file.write(b'w'*int(sys.argv[1]))\n\
                   for fd in fds: fcntl.ioctl(fd,0x8004587d,struct.pack('I',2))\n";

/// The disks of a run.
#[derive(Debug)]
pub(crate) struct Disks {
    at: PathBuf,
    /// The file of each node's disk.
    files: RefCell<BTreeMap<u64, File>>,
}

impl Disks {
    /// Where they will be; there are none yet.
    ///
    /// # Errors
    /// When this machine, or this user, may not.
    pub(crate) fn create(at: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&at)?;
        let disks = Self { at, files: RefCell::default() };
        let at = text(&disks.at);
        // Nodes have mount namespaces of their own: from there too a disk must go when it is taken away.
        run(&["mount", "--bind", &at, &at])?;
        run(&["mount", "--make-shared", &at])?;
        Ok(disks)
    }

    /// Gives a node a new, empty disk, unless it has one.
    ///
    /// # Errors
    /// When a command fails.
    pub(crate) fn give(&self, node: u64) -> anyhow::Result<()> {
        if self.files.borrow().contains_key(&node) {
            return Ok(());
        }
        let image = self.image(node);
        File::create(&image)?.set_len(DISK_BYTES)?;
        run(&["mkfs.ext4", "-q", "-m", "0", &text(&image)])?;
        std::fs::create_dir_all(self.disk(node))?;
        self.mount(node)
    }

    /// Where a node keeps what it knows.
    pub(crate) fn data(&self, node: u64) -> PathBuf {
        self.disk(node).join("data")
    }

    /// Cuts the power of these nodes' disks at once. Gives how many bytes had been written to each that were not synced.
    ///
    /// # Errors
    /// When it cannot be cut.
    pub(crate) fn cut_power(&self, nodes: &[u64]) -> anyhow::Result<u64> {
        let bytes = WITNESS_BYTES.to_string();
        let disks: Vec<String> = nodes.iter().map(|node| text(&self.disk(*node))).collect();
        let mut words = vec!["python3", "-c", CUT, &bytes];
        words.extend(disks.iter().map(String::as_str));
        run(&words).context("cutting the power")?;
        Ok(WITNESS_BYTES)
    }

    /// The power is there again. Gives how many bytes of what was written last are left. Nobody may use the disk meanwhile.
    ///
    /// # Errors
    /// When it cannot be mounted any more.
    pub(crate) fn come_back(&self, node: u64) -> anyhow::Result<u64> {
        let image = self.image(node);
        {
            let files = self.files.borrow();
            let file = files.get(&node).context("it has no disk")?;
            let nameless = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
            run(&["cp", "--sparse=always", &nameless, &text(&image)])?;
        }
        run(&["umount", "--lazy", &text(&self.disk(node))])?;
        self.mount(node)?;
        let witness = self.disk(node).join("witness");
        let left = std::fs::read(&witness).unwrap_or_default();
        // Where it never became durable there is nothing to remove.
        let _ = std::fs::remove_file(&witness);
        Ok(u64::try_from(left.iter().filter(|byte| **byte == b'w').count())?)
    }

    /// Takes all but so many bytes of what is free on a node's disk; all of them, when none is to be left. Gives how many
    /// are free then.
    ///
    /// # Errors
    /// When they cannot be taken.
    pub(crate) fn fill(&self, node: u64, leave: u64) -> anyhow::Result<u64> {
        let taken = self.free(node)?.saturating_sub(leave.max(OWN_BYTES));
        let ballast = text(&self.disk(node).join("ballast"));
        run(&["fallocate", "--length", &taken.to_string(), &ballast])?;
        if leave == 0 {
            let rest = File::create(self.disk(node).join("ballast-rest"))?;
            let full = std::io::copy(&mut std::io::repeat(7), &mut &rest);
            anyhow::ensure!(full.is_err(), "a disk without end");
            // What is not on it yet must have its place too; that there is none for all of it is what is wanted.
            drop(rest.sync_all());
        }
        self.free(node)
    }

    /// There is room again.
    ///
    /// # Errors
    /// When what took it cannot be removed.
    pub(crate) fn make_room(&self, node: u64) -> anyhow::Result<()> {
        for ballast in ["ballast-rest", "ballast"] {
            let ballast = self.disk(node).join(ballast);
            if ballast.exists() {
                std::fs::remove_file(ballast).context("removing the ballast")?;
            }
        }
        Ok(())
    }

    /// Copies what all nodes keep to where it stays when the disks are gone.
    ///
    /// # Errors
    /// When a disk cannot be read.
    pub(crate) fn keep(&self, to: &Path) -> anyhow::Result<()> {
        for node in self.files.borrow().keys() {
            let data = self.data(*node);
            if data.exists() {
                run(&["cp", "-a", &text(&data), &text(&to.join(format!("n{node}")))])?;
            }
        }
        Ok(())
    }

    fn free(&self, node: u64) -> anyhow::Result<u64> {
        let stat = rustix::fs::statvfs(self.disk(node)).context("asking what is free")?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Mounts a node's image, which has no name from then on.
    fn mount(&self, node: u64) -> anyhow::Result<()> {
        let image = self.image(node);
        let file = File::open(&image)?;
        run(&["mount", "-o", "loop", &text(&image), &text(&self.disk(node))])?;
        std::fs::remove_file(&image)?;
        self.files.borrow_mut().insert(node, file);
        Ok(())
    }

    fn image(&self, node: u64) -> PathBuf {
        self.at.join(format!("n{node}.img"))
    }

    fn disk(&self, node: u64) -> PathBuf {
        self.at.join(format!("n{node}"))
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for node in self.files.borrow().keys() {
            // What cannot be taken away here goes with the tester's mount namespace.
            let _ = works(&["umount", "--lazy", &text(&self.disk(*node))]);
        }
        let _ = works(&["umount", "--lazy", &text(&self.at)]);
        let _ = std::fs::remove_dir_all(&self.at);
    }
}

/// Why there can be no such disks, in words; `None` when there can. `dir` is where some would be.
pub(crate) fn obstacle(dir: &Path) -> Option<String> {
    let tools = ["mkfs.ext4", "mount", "umount", "fallocate", "python3"];
    let missing: Vec<&str> = tools.into_iter().filter(|tool| !works(&["which", tool])).collect();
    if !missing.is_empty() {
        return Some(format!("no {} here", missing.join(", ")));
    }
    if !rustix::process::geteuid().is_root() {
        return Some("only root may mount disks".to_owned());
    }
    let tried = || {
        let disks = Disks::create(dir.join("disks"))?;
        disks.give(0)?;
        disks.cut_power(&[0])?;
        disks.come_back(0)
    };
    tried().err().map(|why| format!("no disk can be made here: {why:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was synced is there when the power is back, what was not is gone; a full disk takes nothing, until there is
    /// room. Where no disks can be made, it says so.
    #[test]
    fn a_disk_forgets_what_was_not_synced_and_is_full_until_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        if let Some(why) = obstacle(dir.path()) {
            eprintln!("skipped: {why}");
            return;
        }
        let disks = Disks::create(dir.path().join("disks")).unwrap();
        disks.give(1).unwrap();
        let file = disks.disk(1).join("kept");
        std::fs::write(&file, b"kept").unwrap();
        File::open(&file).unwrap().sync_all().unwrap();
        assert_eq!(disks.cut_power(&[1]).unwrap(), WITNESS_BYTES);
        assert!(std::fs::write(disks.disk(1).join("late"), b"late").is_err(), "it takes nothing");
        assert_eq!(disks.come_back(1).unwrap(), 0, "what was not synced is gone");
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
        assert!(disks.fill(1, NEARLY_FULL_BYTES).unwrap() < FREE_BYTES_MIN);
        disks.make_room(1).unwrap();
        assert!(
            disks.fill(1, 0).unwrap() < 64 << 10,
            "but for what the file system keeps to itself"
        );
        disks.make_room(1).unwrap();
        assert!(disks.free(1).unwrap() > DISK_BYTES / 2);
        drop(disks);
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        assert!(!mounts.contains(dir.path().to_str().unwrap()), "{mounts}");
    }
}
