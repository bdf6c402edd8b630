//! What a node is told at its start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ledger::Shards;

use crate::checkpoint::CheckpointOptions;
use crate::log;
use crate::meter::Meter;
use crate::transport::PeerTls;

/// How a node of a cluster runs its groups.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This node. Never given again to another data directory.
    pub node_id: u64,
    /// Everything the node keeps: `log/`, and a directory for each shard.
    pub data_dir: PathBuf,
    /// All nodes, this one included, and where each listens for its peers (`host:port`).
    pub peers: BTreeMap<u64, String>,
    /// How many shards the cluster has, for ever.
    pub shards: Shards,
    /// Replicas of each shard in a new cluster, as far as there are nodes.
    pub replicas: usize,
    /// The cluster exists, and the node joins it: it keeps nothing before a leader sends it something, and makes no group.
    pub joins: bool,
    /// Where checkpoints are kept.
    pub store: StoreKind,
    /// When checkpoints are made.
    pub checkpoint: CheckpointOptions,
    /// The sizes of the log.
    pub log: log::Options,
    /// How much of the disk stays free.
    pub space: SpaceOptions,
    /// How often everything on the disk is read again.
    pub scrub: ScrubOptions,
    /// How quickly a dead leader is noticed.
    pub timing: Timing,
    /// How peers are dialled with TLS; `None` for plaintext.
    pub tls: Option<PeerTls>,
    /// Where it counts what it does.
    pub meter: Meter,
}

impl NodeConfig {
    /// A configuration with the usual sizes and times.
    #[must_use]
    pub fn new(
        node_id: u64,
        data_dir: PathBuf,
        peers: BTreeMap<u64, String>,
        shards: Shards,
    ) -> Self {
        Self {
            node_id,
            data_dir,
            peers,
            shards,
            replicas: REPLICAS,
            joins: false,
            store: StoreKind::default(),
            checkpoint: CheckpointOptions::default(),
            log: log::Options::default(),
            space: SpaceOptions::default(),
            scrub: ScrubOptions::default(),
            timing: Timing::default(),
            tls: None,
            meter: Meter::default(),
        }
    }
}

/// How much of the disk stays free. Below either bound nothing more is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceOptions {
    /// Bytes: a checkpoint in the making, and log segments prepared ahead. 1 GiB.
    pub free_bytes_min: u64,
    /// In a hundred: file systems grow slow and fragment when they are fuller. 5.
    pub free_percent_min: u8,
}

impl Default for SpaceOptions {
    fn default() -> Self {
        Self { free_bytes_min: 1 << 30, free_percent_min: 5 }
    }
}

/// How often everything on the disk is read again, to find what has rotted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubOptions {
    /// From the beginning of a pass to that of the next, if it has ended by then. A day.
    pub every: Duration,
    /// So fast at the most; never, when it is 0. 16 MiB: a terabyte in a day, and a disk that hardly notices.
    pub bytes_per_second: u64,
}

impl Default for ScrubOptions {
    fn default() -> Self {
        Self { every: Duration::from_secs(24 * 60 * 60), bytes_per_second: 16 << 20 }
    }
}

/// One may die, and the rest still outvote it.
const REPLICAS: usize = 3;

/// The state store behind checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreKind {
    /// sled, written once and then only read.
    #[default]
    Sled,
    /// Memory: for simulations and throw-away nodes. Nothing survives the process.
    Memory,
}

/// Raft's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// A follower that hears nothing stands for election after this, at the earliest: three heartbeats past half of the
    /// latest, or later. The first half is the leader's lease, and what is drawn comes on top of it.
    pub election_min_ms: u64,
    /// And after this at the latest.
    pub election_max_ms: u64,
    /// How long a follower may take to check and install a snapshot.
    pub install_snapshot_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 200,
            election_min_ms: 1_600,
            election_max_ms: 2_000,
            // 1.3 GB are written, synced and read again in 10 s on a slow disk; a shard may be some times larger.
            install_snapshot_ms: 120_000,
        }
    }
}
