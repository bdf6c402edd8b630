//! openraft's own suite over what it stands on here: the log on a simulated and on a real disk, the state machine over
//! each state store.

use std::sync::Arc;

use ledger::{Books, Ledger, Shards};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use super::LogStore;
use crate::checkpoint;
use crate::log::{Disk, Log, LogWriter, Options, RealDisk, SimDisk, Wal, WriterOptions};
use crate::machine::{Machine, Shard};
use crate::offload::Offload;
use crate::raft::Group;
use crate::roster::Roster;
use crate::state::State;
use crate::stop::StopSwitch;
use crate::store::{Files, MemoryStore, Parts, RealFiles, SledStore, StateStore};

#[derive(Clone, Copy, Debug)]
enum LogOn {
    RealDisk,
    SimDisk,
}

#[derive(Clone, Copy, Debug)]
enum StateIn {
    Sled,
    Memory,
}

struct Builder(LogOn, StateIn);

/// What must outlive a store under test.
struct Guard {
    _dir: tempfile::TempDir,
    _log: Log,
}

fn start<D: Disk>(disk: D) -> Log {
    let options = Options { segment_bytes: 1 << 20, cache_bytes: 64 };
    let (wal, _recovered) = Wal::open(disk, options, [7; 16]).unwrap();
    LogWriter::start(wal, WriterOptions::default())
}

impl StoreBuilder<Group, LogStore, Machine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, Machine), StorageError<Group>> {
        let dir = tempfile::tempdir().unwrap();
        let log = match self.0 {
            LogOn::RealDisk => start(RealDisk::new(dir.path().join("log")).unwrap()),
            LogOn::SimDisk => start(SimDisk::new(1)),
        };
        let files: Arc<dyn Files> = Arc::new(RealFiles);
        let store: Arc<dyn StateStore> = match self.1 {
            StateIn::Sled => Arc::new(SledStore::new(Arc::clone(&files))),
            StateIn::Memory => Arc::new(MemoryStore::default()),
        };
        let shards = Shards::new(1).unwrap();
        let books = Books { shard: 0, shards };
        let parts = Parts { files, store, filter_of: checkpoint::filter_of };
        let (checkpoints, _new) =
            checkpoint::open(&dir.path().join("shard"), parts, books).unwrap();
        let shard = Shard {
            number: 0,
            books,
            state: Arc::new(State::new(Ledger::new(books), None)),
            checkpoints: Arc::new(checkpoints),
            offload: Offload::Threads,
            stop: StopSwitch::new(),
            meter: crate::Meter::default(),
        };
        let roster =
            Arc::new(Roster::new(1, [7; 16], (shards, Default::default()), Default::default()));
        let log_store = LogStore::new(log.group(0), Offload::Threads);
        let machine = Machine::new(shard, roster);
        Ok((Guard { _dir: dir, _log: log }, log_store, machine))
    }
}

#[tokio::test]
async fn suite_on_a_real_disk_with_sled() {
    Suite::test_all(Builder(LogOn::RealDisk, StateIn::Sled)).await.unwrap();
}

#[tokio::test]
async fn suite_on_a_simulated_disk_with_memory() {
    Suite::test_all(Builder(LogOn::SimDisk, StateIn::Memory)).await.unwrap();
}
