//! One node's data directory, made from a backup before the node's first start.
//!
//! All first voters of a group begin at the same entry: the cut's index, in term 0, with a membership that names them and
//! their data directories. A directory's id is drawn from the *birth*, sixteen random bytes that all nodes of one restored
//! cluster are given: so every node knows the others' directories before any of them has started, and whoever comes with
//! another, a node of the old cluster or of another restoration, is turned away.
//!
//! While a directory is being made, a file in it says so, and no node starts from it: half of a node would take itself for
//! a new one.
//!
//! The meta group's directory is brought up to what is so now: nodes of the old cluster are retired, the new ones stand
//! there with their directories, and who keeps what is as the topology says. Shards hear of it as of any other change.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::directory::{NodeRecord, Placement};
use ledger::{Books, LEVEL_MAX, Ledger};
use xxhash_rust::xxh3::xxh3_128;

use super::Folder;
use crate::checkpoint::{self, Meta};
use crate::codec;
use crate::config::{NodeConfig, StoreKind};
use crate::log::{DiskId, LogError, RealDisk, Wal};
use crate::node::{Ground, group_dir};
use crate::placement::voters;
use crate::raft::{LogId, Member, Membership, StoredMembership, log_id};
use crate::register::Register;
use crate::roster::{Known, Roster};
use crate::state::Frozen;
use crate::store::{Checkpoints, Files, RealFiles, SledStore, StoreError};

/// Says that a directory is only half made.
const UNFINISHED_NAME: &str = "RESTORING";

/// What one restored cluster has in common, and no other cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth(pub [u8; 16]);

impl Birth {
    /// What a node's data directory is born with.
    #[must_use]
    pub fn disk(&self, node: u64) -> DiskId {
        let mut seed = self.0.to_vec();
        seed.extend_from_slice(&node.to_be_bytes());
        xxh3_128(&seed).to_be_bytes()
    }
}

/// Why a data directory was not made. What was begun of it is of no use: remove it before you try again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The directory has something in it. Give one that is empty, or not there.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The configuration does not name the node, or keeps its checkpoints in memory.
    #[error("node {0} of this configuration cannot be restored")]
    NotANode(u64),
    /// The disk, or the backup; see there.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log; see there.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// The system refuses.
    #[error("the data directory: {0}")]
    Disk(#[from] io::Error),
}

/// A group that was restored on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Which one.
    pub group: u16,
    /// The last entry that its state has.
    pub index: u64,
    /// The digest of its state: the backup's, but for the meta group, whose directory names other nodes.
    pub digest: u128,
}

/// Makes one node's data directory. `folders` are those of all groups, the meta group's last. Blocks.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore_node(
    config: &NodeConfig,
    birth: Birth,
    folders: &[Folder],
) -> Result<Vec<Restored>, RestoreError> {
    let node = config.node_id;
    if !config.peers.contains_key(&node) || config.store != StoreKind::Sled {
        return Err(RestoreError::NotANode(node));
    }
    let dir = &config.data_dir;
    if !RealFiles.list(dir)?.is_empty() {
        return Err(RestoreError::NotEmpty(dir.clone()));
    }
    RealFiles.create_dir(dir)?;
    let unfinished = dir.join(UNFINISHED_NAME);
    RealFiles.create(&unfinished)?.sync()?;
    RealFiles.sync_dir(dir)?;
    let beginning = Beginning { config, birth, folders };
    let mut restored = Vec::new();
    for (group, folder) in (0..).zip(folders) {
        if voters(group, config).contains(&node) {
            restored.push(beginning.restore_group(group, folder)?);
        }
    }
    beginning.keep_roster()?;
    beginning.begin_log(&restored)?;
    RealFiles.sync_dir(dir)?;
    RealFiles.remove(&unfinished)?;
    RealFiles.sync_dir(dir)?;
    if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
        RealFiles.sync_dir(above)?;
    }
    Ok(restored)
}

/// Whether somebody has begun to make a data directory from a backup, and has not finished.
pub(crate) fn is_unfinished(data_dir: &Path) -> bool {
    data_dir.join(UNFINISHED_NAME).exists()
}

/// What all groups of the new cluster begin with.
struct Beginning<'a> {
    config: &'a NodeConfig,
    birth: Birth,
    folders: &'a [Folder],
}

impl Beginning<'_> {
    fn restore_group(&self, group: u16, folder: &Folder) -> Result<Restored, RestoreError> {
        let shards = self.config.shards;
        let (books, dir) = (Books { shard: group, shards }, self.group_dir(group));
        let files: Arc<dyn Files> = Arc::new(RealFiles);
        let parts = Ground::parts(Arc::clone(&files), Arc::new(SledStore::new(files)));
        let (checkpoints, _nothing) = checkpoint::open(&dir, parts, books)?;
        let meta = self.meta(group, folder.index());
        let mut install = checkpoints.install(folder.offer(codec::encode(&meta).into()))?;
        while let Some(wanted) = install.wanted() {
            install.write(&folder.chunk(wanted)?)?;
        }
        let (_published, mut ledger) =
            install.finish(|checkpoint, pages| checkpoint::read(books, checkpoint, pages))?;
        if group == shards.meta() {
            self.rewrite(&mut ledger, &checkpoints, &meta)?;
        }
        Ok(Restored { group, index: folder.index(), digest: ledger.digest() })
    }

    /// Brings the directory up to what is so now. Two checkpoints are kept, so it is written twice: there must be none to
    /// fall back to that has the old one.
    fn rewrite(
        &self,
        ledger: &mut Ledger,
        checkpoints: &Checkpoints,
        meta: &Meta,
    ) -> Result<(), StoreError> {
        let record = |(node, member): (u64, Member)| {
            let Member { address, disk } = member;
            (node, NodeRecord { disk, address, level_max: LEVEL_MAX, is_retired: false })
        };
        let nodes = self.config.peers.keys().map(|node| record((*node, self.member(*node))));
        let placement = |(group, folder): (u16, &Folder)| {
            let mut voters = voters(group, self.config);
            voters.sort_unstable();
            let (index, learners) = (folder.index(), Vec::new());
            (group, Placement { index, voters, learners })
        };
        let placements = (0..).zip(self.folders).map(placement);
        ledger.settle_in(&nodes.collect(), &placements.collect());
        for _ in 0..2 {
            let frozen = Frozen { image: ledger.freeze(), bytes: 0, life: 0 };
            checkpoint::write(checkpoints, &frozen, meta)?;
        }
        Ok(())
    }

    fn meta(&self, group: u16, index: u64) -> Meta {
        let at = beginning_of(index);
        let voters: BTreeMap<u64, Member> =
            voters(group, self.config).into_iter().map(|node| (node, self.member(node))).collect();
        let ids: BTreeSet<u64> = voters.keys().copied().collect();
        let membership =
            Membership::new(vec![ids], voters).expect("every voter stands among the members");
        Meta { last_log_id: Some(at), last_membership: StoredMembership::new(Some(at), membership) }
    }

    fn member(&self, node: u64) -> Member {
        let address = self.config.peers.get(&node).cloned().unwrap_or_default();
        Member { address, disk: self.birth.disk(node) }
    }

    /// Writes down whom the node knows: everybody, and that the cluster exists.
    fn keep_roster(&self) -> Result<(), StoreError> {
        let (config, files) = (self.config, Arc::new(RealFiles));
        let (register, _nothing) = Register::open(&config.data_dir, files, true)?;
        let configured = (config.shards, config.peers.clone());
        let disk = self.birth.disk(config.node_id);
        let roster = Roster::new(config.node_id, disk, configured, Known::default());
        roster.hear(config.peers.keys().map(|node| (*node, self.member(*node))).collect());
        for (group, folder) in (0..).zip(self.folders) {
            if voters(group, config).contains(&config.node_id) {
                roster.record(group, &self.meta(group, folder.index()).last_membership);
            }
        }
        roster.settle();
        register.keep(&roster)
    }

    /// Begins a log in which everything up to the cut is purged.
    fn begin_log(&self, restored: &[Restored]) -> Result<(), RestoreError> {
        let disk = RealDisk::new(self.config.data_dir.join("log"))?;
        let birth_id = self.birth.disk(self.config.node_id);
        let (mut wal, _recovered) = Wal::open(disk, self.config.log, birth_id)?;
        for Restored { group, index, .. } in restored {
            wal.purge(u32::from(*group), *index, codec::encode(&beginning_of(*index)));
        }
        wal.commit()?;
        Ok(())
    }

    fn group_dir(&self, group: u16) -> PathBuf {
        group_dir(Path::new(&self.config.data_dir), self.config.shards, group)
    }
}

/// The entry that a restored group begins behind. No leader has term 0, so no entry of the old cluster is taken for one
/// of the new.
fn beginning_of(index: u64) -> LogId {
    log_id(0, index)
}
