//! `CURRENT`: the one file that says which checkpoints exist.
//!
//! It is replaced whole: written beside itself, synced, renamed, the directory synced. A crash leaves
//! the old one or the new one. Everything it names was made to last before, and everything it no longer
//! names is removed after, so what a crash leaves besides is rubbish that opening sweeps away.
//!
//! An empty `CURRENT` is written when the directory is made. So a directory with checkpoints and no
//! `CURRENT` is never a new one: it has lost a file, and is refused.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    Files, LogIndex, StoreError, VolumeFacts,
    encoding::{self, Magic},
    files,
    volume::PREFIX,
};

pub(super) const NAME: &str = "CURRENT";
const NAME_NEW: &str = "CURRENT.new";
const MAGIC: Magic = *b"PAYCURR";

/// What every generation's directory name begins with.
pub(super) const GENERATION_PREFIX: &str = "gen-";

/// How many checkpoints are named: the last one, and one to fall back to.
pub(super) const GENERATIONS_MAX: usize = 2;

/// Longest opaque part of a checkpoint: a log id and a membership are a few hundred bytes.
pub const META_LEN_MAX: usize = 1 << 20;

/// A durable point that a restart begins at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Part of its directory's name: no other directory here has it.
    pub number: u64,
    /// Last log entry whose effect is in the image.
    pub log_index: LogIndex,
    /// What the caller keeps beside it, unread here.
    pub meta: Vec<u8>,
    /// Number of logical records in the image, counted by the caller.
    pub records: u64,
    /// The caller's digest over them.
    pub digest: u128,
    /// The image as the state store has it.
    pub pages: PagesFacts,
    /// What left memory up to here, oldest first.
    pub volumes: Vec<VolumeFacts>,
    /// The feature level by which the image was written: whoever does not know it cannot read the pages.
    pub level: u32,
}

/// What is known of a generation's pages without opening it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagesFacts {
    /// Number of pages.
    pub count: u64,
    /// Length of all pages as a snapshot streams them.
    pub stream_len: u64,
    /// Our own sum over them.
    pub sum: u128,
    /// The seal of the generation, as its backend made it. It says nothing about another replica's.
    pub seal: u128,
}

impl Checkpoint {
    /// The name of the generation's directory.
    #[must_use]
    pub fn dir_name(&self) -> String {
        dir_name(self.number)
    }
}

/// The name of a generation's directory.
pub(super) fn dir_name(number: u64) -> String {
    format!("{GENERATION_PREFIX}{number:06}")
}

/// What `CURRENT` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Numbers from here on were never named.
    pub(super) next_number: u64,
    /// Oldest first, at most [`GENERATIONS_MAX`].
    pub(super) checkpoints: Vec<Checkpoint>,
}

impl Manifest {
    pub(super) fn newest(&self) -> Option<&Checkpoint> {
        self.checkpoints.last()
    }

    /// The files of all volumes that are named.
    pub(super) fn volume_names(&self) -> Vec<String> {
        let volumes = self.checkpoints.iter().flat_map(|checkpoint| &checkpoint.volumes);
        volumes.map(VolumeFacts::file_name).collect()
    }

    /// The directories of all generations that are named.
    pub(super) fn dir_names(&self) -> Vec<String> {
        self.checkpoints.iter().map(Checkpoint::dir_name).collect()
    }
}

/// Reads `CURRENT`, or makes the directory and an empty one.
pub(super) fn read_or_create(files: &dyn Files, dir: &Path) -> Result<Manifest, StoreError> {
    let entries = files.list(dir)?;
    if entries.iter().any(|entry| entry.name == NAME) {
        return read(files, &dir.join(NAME));
    }
    let is_used = |name: &str| name.starts_with(GENERATION_PREFIX) || name.starts_with(PREFIX);
    if entries.iter().any(|entry| is_used(&entry.name)) {
        let what = "it is missing, though checkpoints are there";
        return Err(StoreError::Corrupt { path: dir.join(NAME), offset: 0, what });
    }
    files.create_dir(dir)?;
    remove_half_written(files, dir)?;
    let manifest = Manifest { next_number: 1, checkpoints: Vec::new() };
    write(files, dir, &manifest)?;
    if let Some(above) = dir.parent() {
        files.sync_dir(above)?;
    }
    Ok(manifest)
}

/// Replaces `CURRENT`. When this returns the new one lasts; when it fails nobody knows which one does.
pub(super) fn write(files: &dyn Files, dir: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let (path, path_new) = (dir.join(NAME), dir.join(NAME_NEW));
    let mut file = files.create(&path_new)?;
    file.write(&encoding::seal(MAGIC, manifest))?;
    file.sync()?;
    files.rename(&path_new, &path)?;
    files.sync_dir(dir)
}

/// Removes what a crash left of a new `CURRENT` that has not got its name yet.
pub(super) fn remove_half_written(files: &dyn Files, dir: &Path) -> Result<(), StoreError> {
    if files.list(dir)?.iter().any(|entry| entry.name == NAME_NEW) {
        files.remove(&dir.join(NAME_NEW))?;
    }
    Ok(())
}

/// The number in the name of a generation or a volume.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let is_ours = name.starts_with(GENERATION_PREFIX) || name.starts_with(PREFIX);
    name.rsplit('-').next().filter(|_| is_ours)?.parse().ok()
}

/// Removes a volume or another file that `CURRENT` does not name (any more).
pub(super) fn is_leftover_file(manifest: &Manifest, name: &str) -> bool {
    let is_volume = name.starts_with(PREFIX) && !manifest.volume_names().iter().any(|n| n == name);
    is_volume || name == NAME_NEW
}

/// Refuses a `CURRENT` that does not say what was written last.
pub(super) fn check(files: &dyn Files, dir: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let path = dir.join(NAME);
    if read(files, &path)? == *manifest {
        return Ok(());
    }
    let what = "it is not what was written last";
    Err(StoreError::Corrupt { path, offset: 0, what })
}

fn read(files: &dyn Files, path: &Path) -> Result<Manifest, StoreError> {
    let mut bytes = Vec::new();
    files::read_through(&*files.open(path)?, |piece| bytes.extend_from_slice(piece))?;
    encoding::unseal(MAGIC, &bytes, path)
}
