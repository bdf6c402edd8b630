//! Nodes on disks that lose their power, are full, or fail: small file systems of their own, which can be made to.
//!
//! A power cut is a real file system's: everything that was not synced is gone, at one instant for all nodes on it.
//! `PAYCORE_POWER_CUTS=200` makes so many. All of it needs root, loop devices and Python 3, and says so where they are not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Cluster, until};

/// Checkpoints so close together that a power cut meets one.
const OFTEN: &str = "\n[store]\ncheckpoint_log_bytes = 65536\nlog_segment_bytes = 2097152\n\
                     free_bytes_min = 8388608\n";

/// Has a file system forget what was not synced, and refuse everything from now on, as when its power is cut.
const CUT: &str = "import fcntl,os,struct,sys\n\
                   fd=os.open(sys.argv[1],os.O_RDONLY)\n\
                   fcntl.ioctl(fd,0x8004587d,struct.pack('I',2))\n";

/// A file system in a file.
struct Disk {
    image: PathBuf,
    mounted: PathBuf,
    /// How often its power has been cut.
    cuts: std::cell::Cell<u32>,
}

impl Disk {
    /// A file system of so many MiB, mounted; nothing, where that is not to be had.
    fn new(home: &Path, name: &str, mib: u64) -> Option<Self> {
        let (image, mounted) = (home.join(format!("{name}.img")), home.join(name));
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        std::fs::create_dir(&mounted).unwrap();
        let made = quietly(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
        let disk = Self { image, mounted, cuts: std::cell::Cell::default() };
        let has_python = quietly(Command::new("python3").arg("--version"));
        (made && has_python && disk.mount(&disk.image)).then_some(disk)
    }

    fn mount(&self, image: &Path) -> bool {
        quietly(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&self.mounted))
    }

    /// Everything that was not synced is gone, and nothing is taken any more.
    fn cut_power(&self) {
        let mut cut = Command::new("python3");
        assert!(quietly(cut.args(["-c", CUT]).arg(&self.mounted)), "the power cannot be cut");
    }

    /// The power is there again. Nobody may use the disk meanwhile.
    ///
    /// What is mounted is a copy of what had reached the disk when its power was cut: the kernel may still know the file
    /// system that it was, wherever else it was seen.
    fn come_back(&self) {
        let image = |cuts: u32| self.image.with_extension(format!("{cuts}.img"));
        let cuts = self.cuts.get();
        let (before, after) =
            (if cuts == 0 { self.image.clone() } else { image(cuts) }, image(cuts + 1));
        assert!(quietly(Command::new("cp").arg("--sparse=always").args([&before, &after])));
        assert!(quietly(Command::new("umount").arg("-l").arg(&self.mounted)));
        std::fs::remove_file(before).unwrap();
        self.cuts.set(cuts + 1);
        assert!(self.mount(&after), "it cannot be mounted any more");
    }

    /// Takes all but so many bytes of what is free.
    fn fill(&self, leave: u64) {
        let stat = rustix::fs::statvfs(&self.mounted).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let ballast = self.mounted.join("ballast");
        // A part of what is free the file system needs itself.
        let len = free.saturating_sub(leave.max(1 << 20));
        let mut fill = Command::new("fallocate");
        fill.args(["-l", &len.to_string()]).arg(&ballast);
        assert!(quietly(&mut fill), "{len} bytes cannot be taken");
        if leave == 0 {
            let rest = std::fs::File::create(self.mounted.join("ballast-rest")).unwrap();
            std::io::copy(&mut std::io::repeat(7), &mut &rest).unwrap_err();
            drop(rest.sync_all());
        }
    }

    fn empty(&self) {
        for ballast in ["ballast", "ballast-rest"] {
            drop(std::fs::remove_file(self.mounted.join(ballast)));
        }
    }

    /// Has nodes keep what they know there.
    fn give(&self, home: &Path, nodes: &[u64]) {
        for node in nodes {
            let dir = self.mounted.join(format!("n{node}"));
            std::fs::create_dir(&dir).unwrap();
            std::os::unix::fs::symlink(&dir, home.join(format!("n{node}"))).unwrap();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        quietly(Command::new("umount").arg("-l").arg(&self.mounted));
    }
}

fn quietly(command: &mut Command) -> bool {
    let ran = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ran.is_ok_and(|status| status.success())
}

/// A disk in a directory of its own; nothing, and word of it, where there are none.
fn disk(mib: u64) -> Option<(tempfile::TempDir, Disk)> {
    let home = tempfile::tempdir().unwrap();
    let disk = Disk::new(home.path(), "disk", mib);
    if disk.is_none() {
        eprintln!("skipped: this needs root, mkfs.ext4, loop devices and Python 3");
    }
    disk.map(|disk| (home, disk))
}

/// Chance from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % count
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Every checkpoint that nodes of the cluster have named so far.
fn checkpoints(cluster: &Cluster) -> u64 {
    let of = |id: u64| cluster.status(id).map_or(0, |at| at.checkpoint_index);
    cluster.ids().into_iter().map(of).sum()
}

#[test]
fn no_power_cut_takes_what_was_acknowledged_and_none_keeps_a_node_from_starting() {
    let rounds = number("PAYCORE_POWER_CUTS").unwrap_or(10);
    // What each round's load makes stays.
    let Some((_dir, disk)) = disk(700 + 10 * rounds) else { return };
    let mut dice = Dice(number("PAYCORE_SEED").unwrap_or(0xc0_ffee));
    let mut cluster =
        Cluster::start_prepared("dev-3.toml", OFTEN, |home| disk.give(home, &[1, 2, 3]));
    cluster.leader();
    let (mut kills, mut made) = (0, 0);
    for round in 0..rounds {
        let name = format!("load-{round}");
        let load = cluster.begin_load("--duration 6s --rate 2000", &name);
        let before = checkpoints(&cluster);
        let at = 1_000 + dice.below(3_500);
        std::thread::sleep(Duration::from_millis(at));
        made += checkpoints(&cluster).saturating_sub(before);
        disk.cut_power();
        for id in cluster.ids() {
            cluster.kill_node(id);
        }
        disk.come_back();
        for id in cluster.ids() {
            cluster.start_node(id);
        }
        // Every second time all of them die again while they start.
        let killed_after = (round % 2 == 1).then(|| dice.below(600));
        if let Some(after) = killed_after {
            std::thread::sleep(Duration::from_millis(after));
            for id in cluster.ids() {
                cluster.kill_node(id);
            }
            for id in cluster.ids() {
                cluster.start_node(id);
            }
            kills += 1;
        }
        cluster.end_load(load, &name);
        let ended = cluster.ended();
        assert!(ended.is_none(), "round {round}: {ended:?}: {}", logs(&cluster));
        cluster.settled();
        eprintln!(
            "power cut {round} after {at} ms, killed again after {killed_after:?} ms: 0 lost"
        );
    }
    assert!(made > 0, "no checkpoint was made while there was load");
    eprintln!(
        "{rounds} power cuts, {kills} kills of all while they start: 0 lost, every start succeeded"
    );
}

/// All nodes die under load, and again at any moment of their start. `PAYCORE_START_KILLS=200` has them do so as often.
#[test]
fn a_kill_at_any_moment_of_a_start_does_no_harm() {
    let rounds = number("PAYCORE_START_KILLS").unwrap_or(10);
    let mut dice = Dice(number("PAYCORE_SEED").unwrap_or(0xbad_5eed));
    let mut cluster = Cluster::start("dev-3.toml", OFTEN);
    cluster.load(3_000, "first");
    let digest = cluster.settled();
    for round in 0..rounds {
        let load = cluster.begin_load("--duration 3s --rate 2000", &format!("l{round}"));
        std::thread::sleep(Duration::from_millis(500 + dice.below(1_000)));
        for id in cluster.ids() {
            cluster.kill_node(id);
            cluster.start_node(id);
        }
        std::thread::sleep(Duration::from_millis(dice.below(600)));
        for id in cluster.ids() {
            cluster.kill_node(id);
            cluster.start_node(id);
        }
        cluster.end_load(load, &format!("l{round}"));
        cluster.leader();
        let ended = cluster.ended();
        assert!(ended.is_none(), "round {round}: {ended:?}: {}", logs(&cluster));
    }
    assert_ne!(cluster.settled(), digest);
    eprintln!(
        "{rounds} kills of all under load, and {rounds} while they start: 0 lost, every start succeeded"
    );
}

#[test]
fn a_node_with_a_full_disk_refuses_reads_on_and_recovers() {
    let Some((_dir, disk)) = disk(160) else { return };
    let cluster = Cluster::start_prepared("dev-1.toml", OFTEN, |home| disk.give(home, &[1]));
    cluster.json("account open --currency CNY --opening 1000 --alias acc_a --idempotency-key 1");
    cluster.json("account open --currency CNY --alias acc_b --idempotency-key 2");
    disk.fill(4 << 20);
    let room = |cluster: &Cluster, has: bool| {
        until("the node knows its disk", || {
            let (_, page) = cluster.ask("n1", "/metrics")?;
            page.contains(&format!("\npaycore_disk_has_room {}\n", u8::from(has))).then_some(())
        });
    };
    room(&cluster, false);
    let pay = "transfer acc_a acc_b 1.25 --currency CNY --idempotency-key one";
    let (code, _, said) = cluster.run(&format!("{pay} --timeout 2s"));
    assert!(code == 75 && said.contains("DISK_FULL"), "{code}: {said}");
    assert_eq!(cluster.json("balance acc_a")["available"]["amount"], 100_000, "reads go on");
    disk.empty();
    room(&cluster, true);
    assert_eq!(cluster.json(pay)["replayed"], false, "it was never proposed");
    assert_eq!(cluster.json("balance acc_b")["available"]["amount"], 125);
}

#[test]
fn leaders_leave_a_node_whose_disk_is_full() {
    let Some((_dir, disk)) = disk(160) else { return };
    let cluster = Cluster::start_prepared("dev-3.toml", OFTEN, |home| disk.give(home, &[1]));
    let topology = cluster.topology().display();
    let words = format!("cluster transfer-leader 0 1 --yes --topology {topology}");
    until("node 1 may lead", || (cluster.run(&words).0 == 0).then_some(()));
    until("node 1 leads", || (cluster.leader() == 1).then_some(()));
    let load = cluster.begin_load("--duration 8s --rate 500", "load");
    disk.fill(4 << 20);
    until("another node leads", || (cluster.leader() != 1).then_some(()));
    cluster.end_load(load, "load");
    disk.empty();
    cluster.settled();
}

/// No bound is kept: so a write fails in the end, and the node with it.
#[test]
fn a_disk_that_has_no_byte_left_stops_its_node_until_there_is_room() {
    let Some((_dir, disk)) = disk(160) else { return };
    let unbounded = OFTEN.replace("8388608", "0") + "free_percent_min = 0\n";
    let mut cluster =
        Cluster::start_prepared("dev-3.toml", &unbounded, |home| disk.give(home, &[1]));
    cluster.leader();
    cluster.load(1_000, "before");
    disk.fill(0);
    let load = cluster.begin_load("--duration 10s --rate 4000", "load");
    let code = cluster.end_of(1).code();
    let said = cluster.log_of("n1");
    assert_eq!(code, Some(70), "{said}");
    assert!(said.contains("No space left") && said.contains("make room"), "{said}");
    cluster.end_load(load, "load");
    disk.empty();
    cluster.start_node(1);
    cluster.load(1_000, "after");
    cluster.settled();
}

#[test]
fn a_disk_that_fails_stops_its_node_and_nobody_else() {
    let Some((_dir, disk)) = disk(300) else { return };
    let mut cluster = Cluster::start_prepared("dev-3.toml", OFTEN, |home| disk.give(home, &[2]));
    cluster.leader();
    let load = cluster.begin_load("--duration 6s --rate 2000", "load");
    until("there is load", || cluster.status(2).filter(|at| at.applied_index > 20));
    disk.cut_power();
    let code = cluster.end_of(2).code();
    let said = cluster.log_of("n2");
    assert_eq!(code, Some(70), "{said}");
    assert!(said.contains("Input/output error") && said.contains("the node stops"), "{said}");
    cluster.end_load(load, "load");
    disk.come_back();
    cluster.start_node(2);
    cluster.load(1_000, "after");
    cluster.settled();
}

fn logs(cluster: &Cluster) -> String {
    ["n1", "n2", "n3"].map(|name| cluster.log_of(name)).concat()
}
