//! Reading what is on the disk: log, checkpoints, identity.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, RwLock};

use ledger::Books;
use rand::RngExt;
use tokio::sync::{Semaphore, watch};

use super::Node;
use crate::checkpoint::{self, Mark};
use crate::clock::{Clock, ClusterClock, SystemClocks, TimeSource};
use crate::config::{NodeConfig, StoreKind};
use crate::desk::Desk;
use crate::log::{Log, LogError, LogWriter, RealDisk, Recovered, Wal, WriterOptions};
use crate::log_store::LogStore;
use crate::machine::Shard;
use crate::offload::Offload;
use crate::placement::voters;
use crate::roster::Roster;
use crate::state::State;
use crate::stop::{StopReason, StopSwitch};
use crate::store::{Files, MemoryStore, Parts, RealFiles, SledStore, StateStore, StoreError};
use crate::transport::Peers;
use crate::witness::Witness;

/// Why a node cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration does not name this node among the peers. Compare it with the topology.
    #[error("node {0} is not among its peers")]
    NotAPeer(u64),
    /// The data directory cannot be used: another process has it, or the system refuses. Look at the message.
    #[error("the data directory: {0}")]
    Disk(#[from] io::Error),
    /// The log cannot be opened; see there.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// There are checkpoints, but the log is gone. Bring it back; or let the node come back empty, under a new node id.
    #[error("shard {shard} has a checkpoint, but there is no log")]
    LogMissing {
        /// The first shard that has one.
        shard: u16,
    },
    /// A shard's checkpoints cannot be opened; see there.
    #[error("shard {shard}: {error}")]
    Store {
        /// The shard.
        shard: u16,
        /// What the store says.
        error: StoreError,
    },
}

/// What a node stands on. Simulations bring their own.
pub struct Ground {
    /// The log, opened.
    pub log: Log,
    /// Its directory was born just now.
    pub is_new_log: bool,
    /// What its directory was born with.
    pub disk_id: crate::log::DiskId,
    /// Where checkpoints lie.
    pub parts: Parts,
    /// This machine's clocks.
    pub clocks: Arc<dyn TimeSource>,
    /// Where blocking work goes.
    pub offload: Offload,
}

impl Ground {
    /// What checkpoints are built on: these files and this store.
    #[must_use]
    pub fn parts(files: Arc<dyn Files>, store: Arc<dyn StateStore>) -> Parts {
        Parts { files, store, filter_of: checkpoint::filter_of }
    }
}

impl Node {
    /// Opens a data directory, or makes one, and reads what is in it. Nothing is promised to anybody yet.
    ///
    /// # Errors
    /// When what is on the disk cannot be trusted, or cannot be read.
    pub async fn open(config: NodeConfig) -> Result<Self, OpenError> {
        let offload = Offload::Threads;
        let its = config.clone();
        let ground = offload.run(move || ground(&its, offload)).await?;
        Self::open_on(config, ground).await
    }

    /// The same on given ground.
    ///
    /// # Errors
    /// As [`Node::open`].
    pub async fn open_on(config: NodeConfig, ground: Ground) -> Result<Self, OpenError> {
        if !config.peers.contains_key(&config.node_id) {
            return Err(OpenError::NotAPeer(config.node_id));
        }
        let Ground { log, is_new_log, disk_id, parts, clocks, offload } = ground;
        let stop = StopSwitch::new();
        let watching = stop.clone();
        log.on_failure(Box::new(move |error| watching.stop(StopReason::Log(error.clone()))));

        let (its, its_log, its_stop) = (config.clone(), log.clone(), stop.clone());
        let finding = move || find(&its, &its_log, &parts, (offload, its_stop));
        let kept = offload.run(finding).await?;
        let has_checkpoint = kept.values().find(|(_, shard)| shard.state.mark().is_some());
        if let Some((_, shard)) = has_checkpoint.filter(|_| is_new_log) {
            return Err(OpenError::LogMissing { shard: shard.number });
        }

        let roster = Roster::new(config.node_id, disk_id, config.shards, config.peers.clone());
        let roster = Arc::new(roster);
        let clock = Arc::new(ClusterClock::new(clocks, Clock::new(config.peers.len())));
        let witness = Arc::new(Witness::default());

        for (_, shard) in kept.values() {
            if let Some(mark) = shard.state.mark() {
                roster.record(mark.meta.last_membership.membership());
            }
        }
        let going_down = watch::Sender::new(false);
        Ok(Self {
            peers: Arc::new(Peers::new(Arc::clone(&roster), Arc::clone(&witness), offload)),
            desk: Arc::new(Desk::new(
                roster,
                witness,
                Arc::clone(&clock),
                kept,
                going_down.subscribe(),
            )),
            config,
            log,
            clock,
            offload,
            stop,
            going_down,
            has_room: watch::Sender::new(true),
            checkpoint_turns: Arc::new(Semaphore::new(1)),
            replicas: RwLock::default(),
        })
    }
}

/// The real disk of a real machine.
pub(super) fn ground(config: &NodeConfig, offload: Offload) -> Result<Ground, OpenError> {
    let disk = RealDisk::new(config.data_dir.join("log"))?;
    let (wal, recovered) = Wal::open(disk, config.log, rand::rng().random())?;
    let Recovered { disk_id, is_new, cut, frames, bytes, .. } = recovered;
    tracing::info!(node = config.node_id, is_new, ?cut, frames, bytes, "log opened");
    let files: Arc<dyn Files> = Arc::new(RealFiles);
    let store: Arc<dyn StateStore> = match config.store {
        StoreKind::Sled => Arc::new(SledStore::new(Arc::clone(&files))),
        StoreKind::Memory => Arc::new(MemoryStore::default()),
    };
    let options =
        WriterOptions { on_commit: Some(config.meter.on_commit()), ..WriterOptions::default() };
    Ok(Ground {
        log: LogWriter::start(wal, options),
        is_new_log: is_new,
        disk_id,
        parts: Ground::parts(files, store),
        clocks: Arc::new(SystemClocks::default()),
        offload,
    })
}

/// Opens the shards that this node votes in, and those that it has a log of.
fn find(
    config: &NodeConfig,
    log: &Log,
    parts: &Parts,
    (offload, stop): (Offload, StopSwitch),
) -> Result<BTreeMap<u16, (LogStore, Shard)>, OpenError> {
    let mut found = BTreeMap::new();
    let logged = log.groups();
    for number in 0..config.shards.count() {
        let is_voter = voters(number, config).contains(&config.node_id);
        if !is_voter && !logged.contains(&number.into()) {
            continue;
        }
        let books = Books { shard: number, shards: config.shards };
        let dir = config.data_dir.join(format!("shard-{number:02}"));
        let opened = checkpoint::open(&dir, parts.clone(), books);
        let (checkpoints, opened) =
            opened.map_err(|error| OpenError::Store { shard: number, error })?;
        for passed in &opened.passed_over {
            tracing::error!(shard = number, index = passed.log_index.0, why = %passed.why, "a bad checkpoint");
        }
        let (mark, ledger) = match opened.image {
            Some((checkpoint, ledger)) => {
                (Some(Mark::of(&checkpoint, checkpoints.purge_upto())?), ledger)
            }
            None => (None, ledger::Ledger::new(books)),
        };
        let shard = Shard {
            number,
            books,
            state: Arc::new(State::new(ledger, mark)),
            checkpoints: Arc::new(checkpoints),
            offload,
            stop: stop.clone(),
            meter: config.meter.clone(),
        };
        let log = LogStore::new(log.group(number.into()), offload);
        found.insert(number, (log, shard));
    }
    Ok(found)
}
