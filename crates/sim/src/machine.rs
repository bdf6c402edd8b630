//! A simulated machine: its disks, which survive the process that uses them, and its clocks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use consensus::log::sim_disk::{Keep, Operation};
use consensus::log::{DiskId, LogError, LogWriter, Options, SimDisk, Wal, WriterOptions};
use consensus::simulated::SimNetwork;
use consensus::store::{Fault, FileStore, Lost, SimFiles};
use consensus::{Ground, NodeConfig, Offload, OpenError, Reading, TimeSource};
use runtime::simulated;
use tokio::sync::{Notify, watch};

use crate::chance::Chance;

/// Where every machine keeps its node's data.
pub(crate) fn data_dir() -> PathBuf {
    PathBuf::from("/node")
}

/// 2026-01-01, by every clock that is right.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// How fast and how right a machine's clock is. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Clocks(Arc<ClockState>);

#[derive(Debug)]
struct ClockState {
    ahead_ms: u64,
    /// How much faster than time it runs, in millionths.
    fast_ppm: AtomicI64,
    /// How far it has jumped.
    jumped_ms: AtomicI64,
}

impl Clocks {
    fn new(chance: &mut Chance) -> Self {
        let state = ClockState {
            ahead_ms: chance.below(400),
            fast_ppm: AtomicI64::new(
                i64::try_from(chance.below(400)).unwrap_or(0).wrapping_sub(200),
            ),
            jumped_ms: AtomicI64::new(0),
        };
        Self(Arc::new(state))
    }

    /// From the beginning of the run it has run so much faster, in millionths.
    pub(crate) fn drift(&self, fast_ppm: i64) {
        self.0.fast_ppm.store(fast_ppm, Ordering::Relaxed);
    }

    /// It shows so much more than it would, from now on.
    pub(crate) fn jump(&self, by_ms: i64) {
        self.0.jumped_ms.store(by_ms, Ordering::Relaxed);
    }

    /// What it shows, had it never jumped.
    pub(crate) fn honest_ms(&self) -> u64 {
        let uptime_ms = uptime_ms();
        let fast_ppm = self.0.fast_ppm.load(Ordering::Relaxed);
        let gained = i64::try_from(uptime_ms).unwrap_or(0).saturating_mul(fast_ppm) / 1_000_000;
        let wall_ms = EPOCH_MS.saturating_add(self.0.ahead_ms).saturating_add(uptime_ms);
        wall_ms.saturating_add_signed(gained)
    }
}

fn uptime_ms() -> u64 {
    u64::try_from(simulated::elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl TimeSource for Clocks {
    fn read(&self) -> Reading {
        let jumped = self.0.jumped_ms.load(Ordering::Relaxed);
        let wall_ms = self.honest_ms().saturating_add_signed(jumped);
        Reading { wall_ms, uptime_ms: uptime_ms() }
    }
}

/// One machine.
pub(crate) struct Machine {
    log: SimDisk,
    files: SimFiles,
    pub(crate) clocks: Clocks,
    /// Whether its disk has room.
    pub(crate) has_room: watch::Sender<bool>,
    /// How much longer than usual the log's disk takes, in milliseconds at the most.
    slow_ms: Arc<AtomicU64>,
    /// When the log was last opened, something at its end was cut off; or it was as good as new, and was born again.
    pub(crate) was_cut: bool,
    /// How many frames it had then.
    pub(crate) frames: u64,
    chance: Chance,
}

/// A machine's disks as they were at some moment.
pub(crate) struct DiskCopy {
    log: SimDisk,
    files: SimFiles,
}

impl DiskCopy {
    /// The last entry of each group that is on it. Not what a node says it has: that may be on its way to the disk.
    pub(crate) fn last_entries(&self, options: Options) -> Result<BTreeMap<u32, u64>, LogError> {
        let (wal, _) = Wal::open(self.log.fork(0).kill(), options, DiskId::default())?;
        let (log, _writer) = LogWriter::inline(wal, WriterOptions::default());
        let last = |group: u32| Some((group, log.group(group).last_index()?));
        Ok(log.groups().into_iter().filter_map(last).collect())
    }
}

impl Machine {
    /// A new one.
    pub(crate) fn new(mut chance: Chance) -> Self {
        let clocks = Clocks::new(&mut chance);
        let (log, files) = (SimDisk::new(chance.draw()), SimFiles::default());
        let (has_room, slow_ms) = (watch::Sender::new(true), Arc::default());
        Self { log, files, clocks, has_room, slow_ms, was_cut: false, frames: 0, chance }
    }

    /// What a node stands on here. Writing and syncing the log takes a time of the machine's own, within the life that is
    /// running now.
    pub(crate) fn ground(
        &mut self,
        config: &NodeConfig,
        network: &SimNetwork,
    ) -> Result<Ground, OpenError> {
        let birth = [self.chance.draw().to_le_bytes(), self.chance.draw().to_le_bytes()].concat();
        let birth = birth.try_into().expect("twice eight bytes");
        let (wal, recovered) = Wal::open(self.log.clone(), config.log, birth)?;
        self.was_cut = recovered.cut.is_some() || recovered.is_new;
        self.frames = recovered.frames;
        let work = Arc::new(Notify::new());
        let tell = Arc::clone(&work);
        let on_work: Option<Box<dyn Fn() + Send + Sync>> =
            Some(Box::new(move || tell.notify_one()));
        let (log, mut writer) =
            LogWriter::inline(wal, WriterOptions { on_work, ..WriterOptions::default() });
        let mut chance = Chance::of(self.chance.draw(), "disk");
        let slow_ms = Arc::clone(&self.slow_ms);
        simulated::spawn(async move {
            loop {
                work.notified().await;
                while writer.has_work() {
                    let usual = if chance.happens(10) { 60 } else { 3 };
                    let slow = slow_ms.load(Ordering::Relaxed).max(usual);
                    simulated::sleep(chance.time(0, slow)).await;
                    writer.drain();
                }
            }
        });
        let store = Arc::new(FileStore(self.files.clone()));
        Ok(Ground {
            log,
            is_new_log: recovered.is_new,
            disk_id: recovered.disk_id,
            parts: Ground::parts(Arc::new(self.files.clone()), store),
            clocks: Arc::new(self.clocks.clone()),
            roads: network.roads(),
            offload: Offload::Inline,
            has_room: self.has_room.clone(),
        })
    }

    /// Lets the power go at one of the next operations of its disks.
    pub(crate) fn fail_soon(&mut self) {
        let soon = self.log.operations().saturating_add(self.chance.below(6));
        self.log.power_off_at(soon);
        let soon = usize::try_from(self.chance.below(24)).unwrap_or(0);
        self.files.set_fault(self.files.ops().saturating_add(soon), Fault::PowerCut);
    }

    /// Lets the next operation of this kind fail on the log's disk.
    pub(crate) fn fail_log(&self, operation: Operation) {
        self.log.fail_next(operation);
    }

    /// Lets one of the next operations fail on the checkpoints' disk.
    pub(crate) fn fail_files(&mut self) {
        let soon = usize::try_from(self.chance.below(24)).unwrap_or(0);
        self.files.set_fault(self.files.ops().saturating_add(soon), Fault::Once);
    }

    /// Whether that operation has not come yet.
    pub(crate) fn awaits_failure(&self) -> bool {
        self.log.awaits_failure()
    }

    /// How many operations have changed the log's disk.
    pub(crate) fn log_operations(&self) -> u64 {
        self.log.operations()
    }

    /// From now on the log's disk takes so long at the most.
    pub(crate) fn slow_down(&self, most_ms: u64) {
        self.slow_ms.store(most_ms, Ordering::Relaxed);
    }

    /// Ends the process, and the power with it or not. Says how many bytes of the log are gone.
    pub(crate) fn crash(&mut self, with_power: bool) -> usize {
        let before = size(&self.log);
        if with_power {
            let keep = self.chance.pick(&Keep::ALL).unwrap_or(Keep::Nothing);
            self.log = self.log.power_on(keep);
            let lost = match self.chance.below(4) {
                0 => Lost::All,
                1 => Lost::Halves,
                2 => Lost::Nothing,
                _ => Lost::Some(self.chance.draw()),
            };
            self.files = self.files.after_power_cut(lost);
        } else {
            self.log = self.log.kill();
            self.files = self.files.kill();
        }
        self.has_room.send_replace(true);
        before.saturating_sub(size(&self.log))
    }

    /// A copy of its disks.
    pub(crate) fn copy(&mut self) -> DiskCopy {
        let files = self.files.fork();
        DiskCopy { log: self.log.fork(self.chance.draw()).reopened(), files }
    }

    /// Puts a copy in the place of its disks, of which no process has hold.
    pub(crate) fn restore(&mut self, copy: &DiskCopy) {
        (self.log, self.files) = (copy.log.kill(), copy.files.kill());
    }

    /// Puts empty disks in the place of its own.
    pub(crate) fn lose_disks(&mut self) {
        (self.log, self.files) = (SimDisk::new(self.chance.draw()), SimFiles::default());
    }

    /// How many frames its log has, were it opened now. No process has hold of it.
    pub(crate) fn frames_kept(&self, options: Options) -> Option<u64> {
        let opened = Wal::open(self.log.fork(0).kill(), options, DiskId::default());
        opened.ok().map(|(_, recovered)| recovered.frames)
    }

    /// Flips a bit of one byte of the log that says something. The file, if there was such a byte.
    pub(crate) fn flip_log(&mut self) -> Option<String> {
        let files = self.log.files();
        let names: Vec<&String> = files.keys().collect();
        let name = (*self.chance.pick(&names)?).clone();
        let bytes = files.get(&name)?;
        let said: Vec<usize> =
            bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
        let at = self.chance.pick(&said)?;
        let bit = u32::try_from(self.chance.below(8)).unwrap_or(0);
        self.log.flip(&name, at, 1_u8.wrapping_shl(bit)).then_some(name)
    }

    /// Flips a bit of one file of a shard's checkpoints. The file, if there is one.
    pub(crate) fn flip_checkpoint(&mut self) -> Option<PathBuf> {
        let content = self.files.content();
        let of_shards = content
            .iter()
            .filter(|(path, bytes)| !bytes.is_empty() && path.components().count() > SHARD_DEPTH);
        let paths: Vec<&PathBuf> = of_shards.map(|(path, _)| path).collect();
        let path = (*self.chance.pick(&paths)?).clone();
        self.files.flip(&path, usize::try_from(self.chance.below(1 << 20)).unwrap_or(0));
        Some(path)
    }
}

/// Components of a shard's directory: the root, `node`, `shard-00`.
const SHARD_DEPTH: usize = 3;

/// Bytes on a disk that are not zero: what was prepared and not used does not count.
fn size(disk: &SimDisk) -> usize {
    let files = disk.files();
    files.values().map(|file| file.iter().filter(|byte| **byte != 0).count()).sum()
}

/// The furthest that any of these clocks shows, had none ever jumped.
pub(crate) fn latest_ms(clocks: &[Clocks]) -> u64 {
    clocks.iter().map(Clocks::honest_ms).max().unwrap_or(0)
}

/// The clocks of all machines that there ever were. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watchmaker(Arc<Mutex<Vec<Clocks>>>);

impl Watchmaker {
    /// One more.
    pub(crate) fn knows(&self, clocks: &Clocks) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(clocks.clone());
    }

    /// The furthest that any shows, had none ever jumped.
    pub(crate) fn latest_ms(&self) -> u64 {
        latest_ms(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
