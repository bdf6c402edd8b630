//! A simulated machine: its disks, which survive the process that uses them, and its clocks.

use std::path::PathBuf;
use std::sync::Arc;

use consensus::log::sim_disk::Keep;
use consensus::log::{LogWriter, SimDisk, Wal, WriterOptions};
use consensus::simulated::{self, SimNetwork};
use consensus::store::{Lost, MemoryStore, SimFiles};
use consensus::{Ground, NodeConfig, Offload, OpenError, Reading, TimeSource};
use tokio::sync::Notify;

use crate::chance::Chance;

/// Where every machine keeps its node's data.
pub(crate) fn data_dir() -> PathBuf {
    PathBuf::from("/node")
}

/// 2026-01-01, by every clock that is right.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// How fast and how right a machine's clock is.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    ahead_ms: u64,
    /// How much faster than time it runs, in millionths.
    fast_ppm: u64,
}

impl TimeSource for Clocks {
    fn read(&self) -> Reading {
        let elapsed = simulated::elapsed().as_millis();
        let uptime_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let gained = uptime_ms.saturating_mul(self.fast_ppm) / 1_000_000;
        let wall_ms = EPOCH_MS.saturating_add(self.ahead_ms);
        Reading { wall_ms: wall_ms.saturating_add(uptime_ms).saturating_add(gained), uptime_ms }
    }
}

/// One machine.
pub(crate) struct Machine {
    log: SimDisk,
    files: SimFiles,
    generations: MemoryStore,
    clocks: Clocks,
    chance: Chance,
}

impl Machine {
    /// A new one.
    pub(crate) fn new(mut chance: Chance) -> Self {
        let clocks = Clocks { ahead_ms: chance.below(400), fast_ppm: chance.below(200) };
        let log = SimDisk::new(chance.draw());
        let (files, generations) = (SimFiles::default(), MemoryStore::default());
        Self { log, files, generations, clocks, chance }
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
        let work = Arc::new(Notify::new());
        let tell = Arc::clone(&work);
        let on_work: Option<Box<dyn Fn() + Send + Sync>> =
            Some(Box::new(move || tell.notify_one()));
        let (log, mut writer) =
            LogWriter::inline(wal, WriterOptions { on_work, ..WriterOptions::default() });
        let mut chance = Chance::of(self.chance.draw(), "disk");
        simulated::spawn(async move {
            loop {
                work.notified().await;
                while writer.has_work() {
                    let slow = if chance.happens(10) { 60 } else { 3 };
                    simulated::sleep(chance.time(0, slow)).await;
                    writer.drain();
                }
            }
        });
        Ok(Ground {
            log,
            is_new_log: recovered.is_new,
            disk_id: recovered.disk_id,
            parts: Ground::parts(Arc::new(self.files.clone()), Arc::new(self.generations.clone())),
            clocks: Arc::new(self.clocks),
            roads: network.roads(),
            offload: Offload::Inline,
        })
    }

    /// Lets the power go at one of the next operations of the log's disk.
    pub(crate) fn fail_soon(&mut self) {
        let soon = self.log.operations().saturating_add(self.chance.below(6));
        self.log.power_off_at(soon);
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
        }
        before.saturating_sub(size(&self.log))
    }
}

/// Bytes on a disk that are not zero: what was prepared and not used does not count.
fn size(disk: &SimDisk) -> usize {
    let files = disk.files();
    files.values().map(|file| file.iter().filter(|byte| **byte != 0).count()).sum()
}
