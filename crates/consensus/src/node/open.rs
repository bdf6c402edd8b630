//! Reading what is on the disk: log, checkpoints, identity.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ledger::{Books, Shards};
use rand::RngExt;
use tokio::sync::{Semaphore, watch};

use super::{Node, Site};
use crate::backup::is_unfinished;
use crate::checkpoint::{self, Mark};
use crate::clock::{Clock, ClusterClock, SystemClocks, TimeSource};
use crate::config::{NodeConfig, StoreKind};
use crate::desk::Desk;
use crate::log::{self, Log, LogError, LogWriter, RealDisk, Recovered, Wal, WriterOptions};
use crate::log_store::LogStore;
use crate::machine::Shard;
use crate::offload::Offload;
use crate::placement::voters;
use crate::register::Register;
use crate::roster::{Known, Roster};
use crate::state::State;
use crate::stop::{StopReason, StopSwitch};
use crate::store::{
    Checkpoint, Checkpoints, Files, MemoryStore, Parts, RealFiles, SledStore, StateStore,
    StoreError,
};
use crate::transport::{Peers, Roads};
use crate::witness::Witness;

/// Why a node cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration does not name this node among the peers. Compare it with the topology.
    #[error("node {0} is not among its peers")]
    NotAPeer(u64),
    /// The data directory was to be made from a backup, and that was never finished. Empty it, and restore it again.
    #[error("the restoration of the data directory was not finished")]
    HalfRestored,
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
    /// The directory has been part of a cluster, and its log is gone. As [`OpenError::LogMissing`].
    #[error("the data directory has been part of a cluster, but there is no log")]
    LogGone,
    /// A shard's checkpoints cannot be opened; see there.
    #[error("shard {shard}: {error}")]
    Store {
        /// The shard.
        shard: u16,
        /// What the store says.
        error: StoreError,
    },
    /// The file that says which nodes there were cannot be read. Bring it back; or let the node come back empty, under a
    /// new node id.
    #[error("the roster: {error}")]
    Roster {
        /// What the store says.
        error: StoreError,
    },
}

impl OpenError {
    /// What an operator does about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NotAPeer(_) => "compare --id with the topology",
            Self::HalfRestored => "empty the directory, and restore it again",
            Self::Disk(_) => "is another process using it, and may this one?",
            Self::Log(error) => error.advice(),
            Self::LogMissing { .. } | Self::LogGone => log::ADVICE_NEW_ID,
            Self::Store { error, .. } => error.advice(),
            Self::Roster { error } => match error.advice() {
                _ if matches!(error, StoreError::Corrupt { .. }) => log::ADVICE_NEW_ID,
                other => other,
            },
        }
    }
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
    /// The ways to the peers.
    pub roads: Roads,
    /// Where blocking work goes.
    pub offload: Offload,
    /// Whether the disk has room for more. On a real disk the node finds out; a simulation says.
    pub has_room: watch::Sender<bool>,
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
        let Ground { log, is_new_log, disk_id, parts, clocks, roads, offload, has_room } = ground;
        let stop = StopSwitch::new();
        let watching = stop.clone();
        log.on_failure(Box::new(move |error| watching.stop(StopReason::Log(error.clone()))));

        let (dir, files) = (config.data_dir.clone(), Arc::clone(&parts.files));
        let is_log_empty = log.groups().is_empty();
        let opened = offload.run(move || Register::open(&dir, files, is_log_empty)).await;
        let (register, known) = opened.map_err(|error| OpenError::Roster { error })?;
        if is_new_log && known != Known::default() {
            return Err(OpenError::LogGone);
        }
        let configured = (config.shards, config.peers.clone());
        let roster = Arc::new(Roster::new(config.node_id, disk_id, configured, known));
        if config.joins {
            roster.settle();
        }

        let (its, its_log, its_stop) = (config.clone(), log.clone(), stop.clone());
        let (its_parts, its_roster) = (parts.clone(), Arc::clone(&roster));
        let finding = move || find(&its, &its_log, (&its_parts, &its_roster), &(offload, its_stop));
        let found = offload.run(finding).await?;
        let has_checkpoint = found.values().find(|(_, shard)| shard.state.mark().is_some());
        if let Some((_, shard)) = has_checkpoint.filter(|_| is_new_log) {
            return Err(OpenError::LogMissing { shard: shard.number });
        }
        let clock = Arc::new(ClusterClock::new(clocks, Clock::new(roster.members().len())));
        let witness = Arc::new(Witness::default());
        let going_down = watch::Sender::new(false);
        let (desk, calls) = Desk::new(
            Arc::clone(&roster),
            Arc::clone(&witness),
            Arc::clone(&clock),
            (has_room.subscribe(), going_down.subscribe()),
        );
        for (group, (log, shard)) in &found {
            if let Some(mark) = shard.state.mark() {
                roster.record(*group, &mark.meta.last_membership);
            }
            if !log.is_pristine() || shard.state.mark().is_some() {
                desk.trace(*group);
            }
        }
        for group in config.shards.groups().filter(|group| roster.has_left(*group)) {
            desk.trace(group);
        }
        let desk = Arc::new(desk);
        roads.lead_to(&desk);
        Ok(Self(Arc::new(Site {
            peers: Arc::new(Peers::new(roster, witness, offload)),
            desk,
            roads,
            config,
            log,
            parts,
            register: Arc::new(register),
            clock,
            offload,
            stop,
            going_down,
            has_room,
            checkpoint_turns: Arc::new(Semaphore::new(1)),
            replicas: watch::Sender::default(),
            found: Mutex::new(found),
            sending: Mutex::default(),
            calls: Mutex::new(Some(calls)),
        })))
    }
}

/// The real disk of a real machine.
pub(super) fn ground(config: &NodeConfig, offload: Offload) -> Result<Ground, OpenError> {
    if is_unfinished(&config.data_dir) {
        return Err(OpenError::HalfRestored);
    }
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
        roads: Roads::grpc(config.tls.clone()),
        offload,
        has_room: watch::Sender::new(true),
    })
}

/// Opens the groups that this node votes in when the cluster is made, and those that it has a log of and has not left.
fn find(
    config: &NodeConfig,
    log: &Log,
    (parts, roster): (&Parts, &Roster),
    around: &(Offload, StopSwitch),
) -> Result<BTreeMap<u16, (LogStore, Shard)>, OpenError> {
    let mut found = BTreeMap::new();
    let logged = log.groups();
    for number in config.shards.groups() {
        let is_first = !roster.is_settled() && voters(number, config).contains(&config.node_id);
        let is_kept = is_first || logged.contains(&number.into());
        if is_kept && !roster.has_left(number) {
            found.insert(number, open_shard(config, log, parts, (number, around))?);
        }
    }
    Ok(found)
}

/// Where a data directory has a group's checkpoints.
pub(crate) fn group_dir(data_dir: &Path, shards: Shards, group: u16) -> PathBuf {
    data_dir.join(if group == shards.meta() { "meta".into() } else { format!("shard-{group:02}") })
}

/// Opens one shard's part of the disk: nothing of it, if there is nothing. Blocks.
pub(super) fn open_shard(
    config: &NodeConfig,
    log: &Log,
    parts: &Parts,
    (number, (offload, stop)): (u16, &(Offload, StopSwitch)),
) -> Result<(LogStore, Shard), OpenError> {
    let books = Books { shard: number, shards: config.shards };
    let dir = group_dir(&config.data_dir, config.shards, number);
    let log = LogStore::new(log.group(number.into()), *offload);
    let purged = log.purge_point()?.map(|purged| purged.index);
    let opened = open_state(&dir, parts, (books, purged));
    let (checkpoints, image) = opened.map_err(|error| OpenError::Store { shard: number, error })?;
    let (mark, ledger) = match image {
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
        offload: *offload,
        stop: stop.clone(),
        meter: config.meter.clone(),
    };
    Ok((log, shard))
}

/// Opens a shard's checkpoints, as many of them as can be believed: the newest, the one before, or none.
///
/// Only what lies in the log was ever promised to anybody. So a shard whose checkpoints are bad, or end before its log
/// begins, has lost nothing that its peers have not: it is opened as if it were new, and its log, or a peer's checkpoint,
/// makes it whole.
fn open_state(
    dir: &std::path::Path,
    parts: &Parts,
    (books, purged): (Books, Option<u64>),
) -> Result<(Checkpoints, Option<(Checkpoint, ledger::Ledger)>), StoreError> {
    let shard = books.shard;
    let why = match checkpoint::open(dir, parts.clone(), books) {
        Ok((checkpoints, opened)) => {
            for passed in &opened.passed_over {
                tracing::error!(shard, index = passed.log_index.0, why = %passed.why, "a bad checkpoint");
            }
            let newest = opened.image.as_ref().map(|(checkpoint, _)| checkpoint.log_index.0);
            if newest >= purged {
                return Ok((checkpoints, opened.image));
            }
            let purged = purged.unwrap_or_default();
            StoreError::Behind { dir: dir.to_path_buf(), checkpoint: newest, purged }
        }
        Err(why @ StoreError::Rebuild { .. }) => why,
        Err(error) => return Err(error),
    };
    tracing::error!(shard, %why, "no checkpoint can be used");
    Ok((Checkpoints::open_anew(dir, parts.clone(), &why)?, None))
}
